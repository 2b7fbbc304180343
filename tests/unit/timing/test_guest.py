from __future__ import annotations

from toolchain.hardware.board_file import known_caches, load_board
from toolchain.timing.guest import cpu_files, guest_environment


def files(name: str) -> dict[str, str]:
    core = {"rpi3": "cortex-a53", "rpi4": "cortex-a72", "rpi5": "cortex-a76"}[name]
    return cpu_files(core, known_caches(load_board(name)))  # type: ignore[arg-type]


def test_a_program_sees_the_boards_caches() -> None:
    found = files("rpi5")
    assert found["cpu0/cache/index0/size"] == "64K"
    assert (found["cpu0/cache/index2/size"], found["cpu0/cache/index2/level"]) == ("512K", "2")
    assert found["cpu3/cache/index2/shared_cpu_map"] == "8"
    assert found["cpu1/cache/index3/number_of_sets"] == "2048"
    assert found["cpu1/cache/index3/shared_cpu_list"] == "0-3"


def test_a_cache_that_the_board_lacks_is_none_of_the_hosts() -> None:
    found = files("rpi4")
    assert found["cpu0/cache/index3/level"] == "0"
    assert "cpu0/cache/index3/size" not in found


def test_all_cores_are_of_one_kind() -> None:
    found = files("rpi3")
    assert found["possible"] == "0-3"
    assert {found[f"cpu{i}/regs/identification/midr_el1"] for i in range(4)} == {
        "0x00000000410fd033"
    }


def test_the_environment_is_none_of_the_hosts() -> None:
    assert guest_environment() == {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    assert guest_environment({"A": "b"})["A"] == "b"
