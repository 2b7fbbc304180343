"""What a board needs to run what is built for it, on a board that is played."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from support.bundles import write_bundle
from support.played_board import PlayedBoard
from toolchain.board import push
from toolchain.build.bundle import Bundle
from toolchain.doctor import board_checks
from toolchain.doctor.board_checks import CHECKS
from toolchain.doctor.finding import Finding
from toolchain.doctor.patient import Patient
from toolchain.hardware.board_file import Board, load_board


def found(patient: Patient, name: str) -> Finding:
    """The one finding of a check."""
    check = next(check for names, check in CHECKS.items() if name in names)
    (one,) = [one for one in check(patient) if one.check == name]
    return one


def with_bundle(patient: Patient, folder: Path, **needs: Any) -> Bundle:
    patient.bundle = write_bundle(folder, b"runner", isa="aarch64", **needs)
    return patient.bundle


def with_board(patient: Patient, **changes: Any) -> Board:
    patient.board = patient.board.model_copy(update=changes)
    return patient.board


def test_a_board_that_is_well_has_no_finding_but_that(patient: Patient, place: Path) -> None:
    with_bundle(patient, place / "b", hwcap=("asimd",), glibc_floor="2.31")
    states = {one.check: one.state for check in CHECKS.values() for one in check(patient)}
    assert set(states.values()) == {"ok"}
    assert set(states) == {name for names in CHECKS for name in names}


# --- programs ----------------------------------------------------------------------------------


def test_an_older_glibc_is_a_fault_with_what_mends_it(
    patient: Patient, played: PlayedBoard, place: Path
) -> None:
    played.program("getconf", "echo glibc 2.28")
    with_bundle(patient, place / "b", glibc_floor="2.31")
    one = found(patient, "glibc")
    assert (one.state, one.exit_code) == ("fault", 8)
    assert one.what == "libtileskip_delegate.so needs glibc 2.31, the board has 2.28"
    assert one.fix == (
        'put glibc = "2.28" into the board\'s file, then run: deploy build --board rpi4'
    )


def test_without_a_bundle_the_boards_file_says_which_glibc_is_needed(
    patient: Patient, played: PlayedBoard
) -> None:
    played.program("getconf", "echo glibc 2.28")
    assert (
        found(patient, "glibc").what
        == "what is built for rpi4 needs glibc 2.31, the board has 2.28"
    )


def test_another_machine_is_a_fault(patient: Patient, played: PlayedBoard, place: Path) -> None:
    played.program("uname", 'case "$*" in -m) echo x86_64 ;; *) echo Linux 6 ;; esac')
    with_bundle(patient, place / "b")
    one = found(patient, "machine")
    assert (one.state, one.exit_code) == ("fault", 8)
    assert "a machine of type x86_64" in one.what
    assert found(patient, "glibc").state == "unknown", "of another machine it says nothing"


def test_features_that_cores_lack_are_a_fault(patient: Patient, place: Path) -> None:
    with_bundle(patient, place / "b", hwcap=("asimd", "asimddp"))
    one = found(patient, "cores")
    assert one.state == "fault"
    assert "need cores with asimddp" in one.what


def test_without_a_compiler_what_the_cores_need_is_not_known(
    patient: Patient, played: PlayedBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient.system()  # a board has its own programs
    monkeypatch.setenv("PATH", str(played.bin))
    one = found(patient, "cores")
    assert one.state == "unknown"
    assert 'march = "armv8-a"' in one.what


def test_a_32_bit_system_under_a_64_bit_kernel_is_warned_of(
    patient: Patient, played: PlayedBoard, place: Path
) -> None:
    played.file("proc/self/auxv", struct.pack("<6I", 6, 4096, 16, 0x8FF, 0, 0))
    one = found(patient, "userland")
    assert one.state == "warning"
    assert "32-bit" in one.what
    assert "--board rpi3-armv7" in (one.fix or "")
    with_bundle(patient, place / "static")
    assert found(patient, "userland").state == "warning", "also where nothing needs a glibc"


def test_a_core_that_is_not_the_board_files_is_warned_of(
    patient: Patient, played: PlayedBoard
) -> None:
    played.file(
        "proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n"
        "CPU part\t: 0xd0b\n"
    )  # fmt: skip
    one = found(patient, "board file")
    assert one.state == "warning"
    assert "1 x Cortex-A76" in one.what
    assert "--board rpi5" in (one.fix or "")


def test_a_core_without_a_name_is_compared_with_no_file(
    patient: Patient, played: PlayedBoard
) -> None:
    played.file(
        "proc/cpuinfo", "processor: 0\nFeatures: fp asimd\nCPU implementer: 0x61\nCPU part: 1\n"
    )
    check = next(check for names, check in CHECKS.items() if "board file" in names)
    assert "board file" not in {one.check for one in check(patient)}


def test_a_board_that_tells_no_machine_is_not_known(patient: Patient, played: PlayedBoard) -> None:
    played.program("uname", "exit 1")
    check = next(check for names, check in CHECKS.items() if "machine" in names)
    with pytest.raises(Exception, match="does not tell what machine it is"):
        list(check(patient))


def test_without_a_program_that_hashes_nothing_can_be_pushed(
    patient: Patient, played: PlayedBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    (played.bin / "sh").symlink_to("/bin/sh")
    monkeypatch.setenv("PATH", str(played.bin))
    one = found(patient, "hashing")
    assert (one.state, one.exit_code) == ("fault", 8)
    assert "coreutils" in (one.fix or "")


# --- room --------------------------------------------------------------------------------------


def test_a_full_disk_is_a_fault_and_a_small_one_a_warning(
    patient: Patient, played: PlayedBoard
) -> None:
    head = "Filesystem 1024-blocks Used Available Capacity Mounted on"
    for free, state in ((1_000, "fault"), (100_000, "warning"), (1_000_000, "ok")):
        played.program("df", f"echo '{head}'; echo '/dev/my disk 9000000 1 {free} 99% /'")
        assert found(patient, "disk").state == state
    assert "ssh pi@raspberrypi 'du" in (found_at(patient, played, 1_000).fix or "")


def found_at(patient: Patient, played: PlayedBoard, free: int) -> Finding:
    played.program("df", f"echo head; echo '/dev/x 9000000 1 {free} 99% /'")
    return found(patient, "disk")


@pytest.mark.parametrize("said", ["", "nonsense", "a 1 2 3", "x 1 2 99999999999999999999 1% /"])
def test_a_disk_that_is_not_told_is_not_known(
    patient: Patient, played: PlayedBoard, said: str
) -> None:
    played.program("df", f"echo head; echo '{said}'")
    assert found(patient, "disk").state == "unknown"


def test_a_folder_on_a_disk_that_starts_no_programs_is_a_fault(
    patient: Patient, played: PlayedBoard
) -> None:
    played.program("df", "echo head; echo '/dev/x 9000000 1 9000000 1% /my disk'")
    played.file("proc/mounts", "/dev/x / ext4 rw 0 0\n/dev/x /my\\040disk ext4 rw,noexec 0 0\n")
    one = found(patient, "folder")
    assert (one.state, one.exit_code) == ("fault", 8)
    assert one.fix == "ssh -t pi@raspberrypi 'sudo mount -o remount,exec '\"'\"'/my disk'\"'\"''"


def test_a_mount_that_lies_above_another_counts(patient: Patient, played: PlayedBoard) -> None:
    played.program("df", "echo head; echo '/dev/x 9000000 1 9000000 1% /m'")
    played.file("proc/mounts", "a /m ext4 noexec 0 0\nb /m ext4 rw 0 0\n")
    assert found(patient, "folder").state == "ok"


def test_a_file_in_the_place_of_the_folder_is_a_fault(
    patient: Patient, played: PlayedBoard
) -> None:
    (played.home / "tileskip").write_text("")
    one = found(patient, "folder")
    assert (one.state, one.what) == (
        "fault", "tileskip is no folder, so tileskip cannot be made there",
    )  # fmt: skip


def test_a_folder_that_others_may_write_to_is_a_fault_with_the_line_that_closes_it(
    patient: Patient, played: PlayedBoard
) -> None:
    (played.home / "tileskip").mkdir()
    (played.home / "tileskip").chmod(0o777)
    one = found(patient, "folder")
    assert one.state == "fault"
    assert one.fix == "ssh pi@raspberrypi 'chmod go-w tileskip'"
    with_board(patient, ssh=patient.board.ssh.model_copy(update={"shared": True}))
    assert found(patient, "folder").state == "ok"


def test_a_link_in_the_place_of_the_folder_is_a_fault_without_a_line(
    patient: Patient, played: PlayedBoard
) -> None:
    (played.home / "tileskip").symlink_to(played.bin)
    one = found(patient, "folder")
    assert (one.state, one.runs) == ("fault", False)
    assert "is a link" in one.what


def test_the_folder_is_looked_for_and_not_made(patient: Patient, played: PlayedBoard) -> None:
    with_board(patient, ssh=patient.board.ssh.model_copy(update={"directory": "a/b/c"}))
    assert found(patient, "folder").state == "ok"
    absolute = str(played.home / "x" / "y")
    with_board(patient, ssh=patient.board.ssh.model_copy(update={"directory": absolute}))
    assert found(patient, "folder").state == "ok"
    assert list(played.home.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "state"),
    [("MemAvailable: 40000 kB\n", "warning"), ("MemAvailable: x\n", "unknown"), ("", "unknown")],
)
def test_little_memory_is_warned_of(
    patient: Patient, played: PlayedBoard, text: str, state: str
) -> None:
    played.file("proc/meminfo", text)
    assert found(patient, "memory").state == state


# --- earlier runners -----------------------------------------------------------------------------


def store(played: PlayedBoard, *names: str) -> None:
    for name in names:
        folder = played.home / "tileskip/bundles" / name
        folder.mkdir(parents=True)
        (folder / "tileskip-run").write_bytes(bytes(100_000))


def test_runners_of_earlier_bundles_are_told_with_the_line_that_removes_them(
    patient: Patient, played: PlayedBoard, place: Path
) -> None:
    bundle = write_bundle(place / "work/build/rpi4", b"runner", isa="aarch64")
    current = Path(push.bundle_uploads(load_board("rpi4"), bundle)[0].remote).parent.name
    store(played, "a" * 16, "b" * 16, current, "not-ours")
    one = found(patient, "old runners")
    assert one.state == "warning"
    assert one.what.startswith("2 runners are there that came from earlier bundles")
    paths = " ".join(f"tileskip/bundles/{letter * 16}" for letter in "ab")
    assert one.fix == f"ssh pi@raspberrypi 'rm -r -- {paths}'"


def test_a_search_path_of_cd_leads_to_no_other_runners(
    patient: Patient, played: PlayedBoard, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = place / "src/tileskip/bundles" / ("a" * 16)
    elsewhere.mkdir(parents=True)
    (elsewhere / "tileskip-run").touch()
    store(played)
    monkeypatch.setenv("CDPATH", str(place / "src"))
    write_bundle(place / "work/build/rpi4", b"runner", isa="aarch64")
    assert found(patient, "old runners").state == "ok"


def test_todays_runner_and_that_of_the_stock_bundle_are_no_old_ones(
    patient: Patient, played: PlayedBoard, place: Path
) -> None:
    for name, content in (("rpi4", b"ours"), ("rpi4-stock", b"stock")):
        bundle = write_bundle(place / "work/build" / name, content, isa="aarch64")
        store(played, Path(push.bundle_uploads(load_board("rpi4"), bundle)[0].remote).parent.name)
    assert found(patient, "old runners").state == "ok"


def test_without_a_bundle_here_no_runner_is_called_old(
    patient: Patient, played: PlayedBoard
) -> None:
    store(played, "a" * 16)
    one = found(patient, "old runners")
    assert one.state == "ok"
    assert "no bundle here to compare with" in one.what


def test_names_that_are_none_of_ours_never_reach_a_line(
    patient: Patient, played: PlayedBoard, place: Path
) -> None:
    write_bundle(place / "work/build/rpi4", b"runner", isa="aarch64")
    store(played, "$(reboot)", "a b", "-rf", "..." + "a" * 13)
    assert found(patient, "old runners").state == "ok"


def test_every_check_has_a_name_of_its_own() -> None:
    names = [name for names in board_checks.CHECKS for name in names]
    assert len(names) == len(set(names))
