"""What is shown of boards reads at every width."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from toolchain.board.description import describe
from toolchain.board.lease_holders import LeaseState, Use
from toolchain.doctor.checkup import BoardCheckup, Checkup, Vital
from toolchain.doctor.finding import Findings
from toolchain.errors import BoardError
from toolchain.hardware import inventory
from toolchain.hardware.board_file import load_board
from toolchain.report.boards_tables import checkup_table, description_table, lease_table

BOARD = Findings("board")


def text_of(table: RenderableType, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def checked(name: str, **settings: object) -> BoardCheckup:
    made = {
        "board": name, "address": f"pi@{name}", "state": "ok", "exit_code": 0, "reached": True,
        "bundle": True, "findings": [BOARD.ok("login", "fine")],
        "vital": Vital(free_bytes=12_345_678_901, temperature_c=48.3, governor="performance",
                       held_back=[], glibc="2.36", holders=[], queue=0),
    }  # fmt: skip
    return BoardCheckup.model_validate({**made, **settings})


def checkup(*boards: BoardCheckup) -> Checkup:
    return Checkup(tool="1", created=datetime.now(UTC), exit_code=0, boards=list(boards))


BAD = checked(
    "attic", state="fault", exit_code=8,
    findings=[
        BOARD.fault("glibc", BoardError, "libtileskip_delegate.so needs glibc 2.36, the board has "
                    "2.31", advice="build for it"),
        BOARD.warning("governor", "the frequency governor is 'ondemand'", run="ssh attic tee"),
    ],
    vital=Vital(free_bytes=None, temperature_c=81, governor="ondemand", glibc="2.31",
                held_back=["throttled"], holders=["ann@pc: profile a.tflite"], queue=1),
)  # fmt: skip


def test_a_board_that_is_well_is_one_line() -> None:
    lines = text_of(checkup_table(checkup(checked("kitchen"))), 160).splitlines()
    assert lines[1].split() == [
        "kitchen", "ok", "yes", "12.3", "GB", "48", "performance", "no", "2.36", "fits", "free",
        "pi@kitchen",
    ]  # fmt: skip
    assert lines[-1] == "1 board, none with a fault"
    assert len(lines) == 4


def test_what_is_wrong_is_told_by_board_with_what_mends_it() -> None:
    text = text_of(checkup_table(checkup(BAD, checked("kitchen"))), 160)
    row = text.splitlines()[1]
    for cell in ("attic", "fault", "81", "throttled", "does not fit", "ann@pc"):
        assert cell in row
    assert "1  build for it" in text
    assert "2  run: ssh attic tee" in text
    assert text.rstrip().endswith("2 boards, 1 with a fault")


@pytest.mark.parametrize("width", [70, 100, 160])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    text = text_of(checkup_table(checkup(BAD, checked("kitchen")), width), width)
    assert max(map(len, text.splitlines())) <= width
    for line in text.splitlines()[1:3]:
        assert line.split()[0] in ("attic", "kitchen")


@pytest.mark.parametrize("width", [70, 100, 160])
def test_a_description_folds_what_is_long(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "boards.toml"
    path.write_text(f'[kitchen]\nlike = "rpi4"\ntitle = "{"long title " * 30}"\n'
                    'ssh = { host = "pi@kitchen.example" }\n')  # fmt: skip
    monkeypatch.setenv(inventory.ENVIRONMENT, str(path))
    text = text_of(description_table(describe(load_board("kitchen"))), width)
    lines = [line for line in text.splitlines() if not line.startswith("next: ")]
    assert max(map(len, lines)) <= width
    assert "clock_mhz" in text
    assert "like rpi4" in text


def test_a_lease_tells_who_has_it_and_who_waits() -> None:
    state = LeaseState(
        (Use("ann@pc: profile a", 30, shared=False, own=False),),
        (Use("bob@pc: verify b", 200, shared=True, own=True),),
    )
    lines = text_of(lease_table("kitchen", state), 100).splitlines()
    assert lines[1].split() == ["has", "it", "30", "s", "ann@pc:", "profile", "a", "yes"]
    assert lines[2].split() == ["waits", "3", "min", "bob@pc:", "verify", "b", "no"]
    assert text_of(lease_table("kitchen", LeaseState((), ())), 100) == "kitchen is free\n"
