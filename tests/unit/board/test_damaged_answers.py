"""Whatever a board's programs print, no exception but ours leaves a command that works on it.

The board is this machine; of all that its programs answer, one answer is emptied, cut or damaged.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.bundles import write_bundle, write_masked_model
from support.malformed import damaged
from support.runner_outputs import runner_output
from toolchain.agreement.inputs import random_inputs
from toolchain.board.connection import Sink
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.board.local import LocalConnection
from toolchain.board.system import read_system
from toolchain.errors import BoardError, DeployError
from toolchain.failures import Failures
from toolchain.hardware.board_file import load_board
from toolchain.profile.facts import read_facts, read_load
from toolchain.profile.measure import Session
from toolchain.progress import Silent
from toolchain.tflite_file.graph import read_model

Answer = tuple[int, bytes, str]
"""Exit code, standard output and standard error."""
_ANSWERS = 45
"""Programs that such a command runs, about."""


class Lying(LocalConnection):
    """This machine, but that ``change`` is given each answer, with its number."""

    def __init__(self, home: Path, change: Callable[[int, Answer], Answer]) -> None:
        super().__init__("board", home)
        self._change, self.asked = change, 0

    def execute(
        self,
        argv: Sequence[str],
        *,
        stdout: Sink | None = None,
        **given: Any,
    ) -> tuple[int, str]:
        output = io.BytesIO()
        code, said = super().execute(argv, stdout=output, **given)
        code, printed, said = self._change(self.asked, (code, output.getvalue(), said))
        self.asked += 1
        if stdout is not None:
            stdout.write(printed)
        return code, said


def profiled(connection: Lying, folder: Path) -> None:
    """What ``deploy profile`` and ``deploy verify`` do there, with a runner that is a script."""
    model = read_model(write_masked_model(folder / "m.tflite", size=4, channels=2))
    report = folder / "report.json"
    report.write_text(runner_output(instructions=700).model_dump_json(by_alias=True))
    script = (
        f'#!/bin/sh\nwhile [ $# -gt 0 ]; do if [ "$1" = --output-dir ]; then\n'
        f'head -c 128 /dev/zero >"$2/output0.bin"; fi; shift; done\ncat {report}\n'
    )
    bundle = folder / "bundle"
    made = write_bundle(bundle, script.encode())
    board, failures = load_board("qemu"), Failures()
    runner = BoardRunner(connection, board, made, Silent())
    session = Session(connection, board, runner, Silent(), Settings(runs=2), failures=failures)
    session.measure([Path(model.path)])
    session.profile()
    runner.run(model, Settings(), random_inputs(model, 1, 0))
    failures.require()


def test_an_honest_board_is_profiled(tmp_path: Path) -> None:
    connection = Lying(tmp_path / "board", lambda _, answer: answer)
    profiled(connection, tmp_path)
    assert 15 <= connection.asked <= _ANSWERS


def _empty(_: st.DataObject, answer: Answer) -> Answer:
    return answer[0], b"", ""


def _cut(data: st.DataObject, answer: Answer) -> Answer:
    return answer[0], answer[1][: data.draw(st.integers(0, len(answer[1])))], answer[2]


def _damaged(data: st.DataObject, answer: Answer) -> Answer:
    return answer[0], data.draw(damaged([answer[1], b"0 0 0\n"])), answer[2]


def _failed(data: st.DataObject, answer: Answer) -> Answer:
    said = data.draw(damaged([b"no such file\n"])).decode(errors="replace")
    return data.draw(st.sampled_from([1, 3, 126, 127, 128, 130, 255, 300, 2**31])), answer[1], said


FAULTS = (_empty, _cut, _damaged, _failed)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_only_errors_of_ours_come_of_a_damaged_answer(
    fault: Callable[[st.DataObject, Answer], Answer],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> None:
    many = request.config.getoption("--malformed")

    @settings(
        max_examples=many or 12,
        derandomize=not many,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data(), chosen=st.integers(0, _ANSWERS))
    def answers(data: st.DataObject, chosen: int) -> None:
        folder = tmp_path_factory.mktemp("lying")

        def change(number: int, answer: Answer) -> Answer:
            return fault(data, answer) if number == chosen else answer

        with suppress(DeployError):
            profiled(Lying(folder / "board", change), folder)

    answers()


def _all(fault: Callable[[Answer], Answer], folder: Path) -> Lying:
    return Lying(folder, lambda _, answer: fault(answer))


@pytest.mark.parametrize("printed", [b"", b"\n", b"\xff\xfe", b"- - -\n", b"0" * 5000])
def test_a_hash_that_is_none_is_a_fault_of_the_board(tmp_path: Path, printed: bytes) -> None:
    connection = _all(lambda answer: (0, printed, answer[2]), tmp_path / "board")
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(BoardError):
        connection.put(tmp_path / "file", "file")


@pytest.mark.parametrize(
    "printed",
    [
        b"", b"cpu " + b" 1" * 10 + b"\n", b"cpu " + b" " + b"9" * 5000 + b" 1" * 9 + b"\n",
        b"cpu " + (b" " + b"9" * 4000) * 10 + b"\ncpu0 1\ncpu " + b" 1" * 10 + b"\n",
    ],
)  # fmt: skip
def test_a_load_that_is_none_is_not_known(tmp_path: Path, printed: bytes) -> None:
    assert read_load(_all(lambda _: (0, printed, ""), tmp_path / "board")) is None


class Echoing(Lying):
    """Repeats the mark that it was given, with what is no name behind it."""

    def __init__(self, home: Path, behind: bytes) -> None:
        super().__init__(home, lambda _, answer: answer)
        self._behind = behind

    def execute(self, argv: Sequence[str], **given: object) -> tuple[int, str]:
        mark = next((word for word in argv[3:] if len(word) == 24), "").encode()
        sink = given.get("stdout")
        if isinstance(sink, io.BytesIO) or hasattr(sink, "write"):
            told = b"machine\naarch64\n" + mark + b"status\n0\n"
            sink.write(mark + self._behind + mark + told)
        return 0, ""


@pytest.mark.parametrize(
    "behind",
    [
        b"\xff\n1\n", b"\n", b"", b"/proc/meminfo\nMemTotal: " + b"9" * 5000 + b" kB\n",
        b"/sys/class/thermal/thermal_zone0/temp\n" + b"9" * 4000 + b"\n",
        b"/sys/class/thermal/thermal_zone0/temp\n" + b"9" * 5000 + b"\n",
        b"/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq\n-" + b"9" * 5000 + b"\n",
    ],
)  # fmt: skip
def test_facts_that_are_none_are_not_known(tmp_path: Path, behind: bytes) -> None:
    connection = Echoing(tmp_path / "board", behind)
    facts = read_facts(connection)
    assert facts.memory_total_kib is None
    assert facts.max_frequency_khz is None
    assert facts.vitals.temperature_c is None
    assert read_system(connection).machine == "aarch64"
