"""What a new board says of itself, and the table that is made of it."""

from __future__ import annotations

import struct
import tomllib
from pathlib import Path

import pytest

from support.played_board import PlayedBoard
from toolchain.board.local import LocalConnection
from toolchain.errors import BoardConfigError, BoardError
from toolchain.hardware import inventory
from toolchain.profile.new_board import NewBoard, name_from_host, new_board
from toolchain.profile.probe import line, probe

CPU = "sys/devices/system/cpu"
CORE = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: {}\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(inventory.ENVIRONMENT, str(tmp_path / "boards.toml"))
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "boards.toml"


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedBoard:
    board = PlayedBoard(tmp_path / "board", monkeypatch)
    board.file("proc/sys/kernel/hostname", "kitchen-pi\n")
    for number, clock in enumerate((1500000, 1800000)):
        board.file(f"{CPU}/cpu{number}/cpufreq/cpuinfo_max_freq", f"{clock}\n")
    return board


def added(played: PlayedBoard, **settings: object) -> NewBoard:
    return new_board("kitchen", "pi@kitchen", probe(played), **settings)  # type: ignore[arg-type]


def test_a_raspberry_pi_is_told_whole(played: PlayedBoard) -> None:
    played.file("sys/class/thermal/cooling_device0/type", "pwm-fan\n")
    new = added(played, tags=["lab", "lab"])
    assert new.like == "rpi4"
    table = tomllib.loads(new.toml)["kitchen"]
    assert list(table) == ["like", "title", "threads", "clock_mhz", "tags", "ssh", "found"]
    assert (table["title"], table["threads"], table["clock_mhz"], table["tags"]) == (
        "Raspberry Pi 4 Model B Rev 1.5", 4, 1800, ["lab"],
    )  # fmt: skip
    found = new.board.found
    assert (found.model, found.kernel, found.kernel_bits, found.bits) == (
        "Raspberry Pi 4 Model B Rev 1.5", "Linux 6.1.0", 64, 64,
    )  # fmt: skip
    assert (found.glibc, found.memory_mib, found.cores, found.cooling) == (
        "2.36", 3792, "4 x Cortex-A72", "fan",
    )  # fmt: skip
    assert new.board.caches is not None, "it has those of the board that it is like"
    assert new.notes == []


@pytest.mark.parametrize(
    ("files", "cooling"),
    [
        ({}, None),
        ({"sys/class/thermal/cooling_device0/type": "cpufreq-cpu0\n"}, "no fan"),
        ({"sys/class/hwmon/hwmon3/fan1_input": "2100\n"}, "fan"),
    ],
)
def test_what_cools_it_is_told_as_far_as_it_says(
    played: PlayedBoard, files: dict[str, str], cooling: str | None
) -> None:
    for name, text in files.items():
        played.file(name, text)
    assert probe(played).cooling == cooling


def test_a_32_bit_system_is_built_for_as_such(played: PlayedBoard) -> None:
    played.file("proc/self/auxv", struct.pack("<6I", 6, 4096, 16, 0x8FF, 0, 0))
    new = added(played)
    assert (new.like, new.board.isa, new.board.cpu) == ("rpi3-armv7", "armv7", "Cortex-A72")
    assert (new.board.found.bits, new.board.found.kernel_bits) == (32, 64)
    assert any("64-bit system has better kernels" in note for note in new.notes)


def test_an_old_glibc_is_built_for(played: PlayedBoard) -> None:
    played.program("getconf", "echo glibc 2.28")
    assert added(played).board.glibc == "2.28"


def test_a_core_that_no_board_has_gets_a_table_of_its_own(played: PlayedBoard) -> None:
    played.file("proc/cpuinfo", CORE.format("0xd05"))
    new = added(played)
    table = tomllib.loads(new.toml)["kitchen"]
    assert new.like is None
    assert (table["cpu"], table["isa"], table["march"]) == ("Cortex-A55", "aarch64", "armv8-a")
    assert table["glibc"] == "2.31"
    assert any("no board that ships" in note for note in new.notes)


def test_a_machine_that_nothing_is_built_for_is_refused(played: PlayedBoard) -> None:
    played.program("uname", 'case "$*" in -m) echo armv6l ;; *) echo Linux 6.1.0 ;; esac')
    with pytest.raises(BoardError, match="nothing is built for a machine of type armv6l"):
        added(played)


def test_a_board_of_another_instruction_set_is_no_likeness(played: PlayedBoard) -> None:
    with pytest.raises(BoardError, match="is for x86-64"):
        added(played, like="host")
    assert added(played, like="rpi3").board.cpu == "Cortex-A53"


def test_what_it_says_is_harmless_and_on_one_line(played: PlayedBoard) -> None:
    played.file("proc/device-tree/model", "Evil\x1b]0;x\x07\nPi\u202e" + "x" * 500)
    new = added(played)
    model = new.board.found.model or ""
    assert model.startswith("Evil\\x1b]0;x\\x07 Pi\\u202e")
    assert len(model) == 120
    assert new.board.title == model


@pytest.mark.parametrize(("text", "told"), [("", None), ("\0", None), (" a \n b ", "a b")])
def test_a_line(text: str, told: str | None) -> None:
    assert line(text) == told


def test_a_table_that_is_replaced_keeps_what_only_the_user_knows(
    played: PlayedBoard, place: Path
) -> None:
    place.write_text(
        '[kitchen]\nlike = "rpi3"\ntags = ["lab"]\nclock_mhz = 1\n'
        'ssh = { host = "old", directory = "/data/t", identity = "~/.ssh/k" }\n'
    )
    new = added(played)
    assert new.replaced
    assert (new.board.tags, new.board.clock_mhz) == (("lab",), 1800)
    ssh = new.board.ssh
    assert (ssh.host, ssh.directory, ssh.identity) == ("pi@kitchen", "/data/t", "~/.ssh/k")
    assert added(played, tags=["b"]).board.tags == ("b",)


def test_this_machine_as_a_board_over_ssh_is_like_host(tmp_path: Path) -> None:
    new = new_board("pc", "me@pc", probe(LocalConnection("pc", tmp_path / "home")))
    assert (new.like, new.board.connection, new.board.built_as) == ("host", "ssh", "host")
    assert new.board.found.os


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("pi@kitchen.local", "kitchen"),
        ("ssh://pi@attic:2222", "attic"),
        ("lab pi".replace(" ", "_"), "lab_pi"),
        ("pi@192.168.1.20", None),
        ("pi@[fe80::1%eth0]:22", None),
        ("all", None),
    ],
)
def test_a_board_is_called_as_its_host(host: str, name: str | None) -> None:
    assert name_from_host(host) == name


@pytest.mark.parametrize(
    ("name", "tags", "said"),
    [
        ("rpi4", [], "the name of a board that ships"),
        ("a b", [], "no name of a board"),
        ("attic", [], "a board called 'attic' already"),
        ("lab", [], "is a tag of your boards"),
        ("shed", ["attic"], "'attic' is no tag"),
        ("shed", ["all"], "'all' is no tag"),
        ("shed", ["shed"], "'shed' is no tag"),
    ],
)
def test_each_word_means_one_thing(place: Path, name: str, tags: list[str], said: str) -> None:
    place.write_text('[attic]\nlike = "rpi3"\ntags = ["lab"]\n')
    with pytest.raises(BoardConfigError, match=said):
        inventory.check_new(name, tags, replace=False)
    inventory.check_new("shed", ["lab"], replace=False)
    inventory.check_new("attic", ["lab"], replace=True)
