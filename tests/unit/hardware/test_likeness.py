"""The board that ships which a new one is like."""

from __future__ import annotations

import pytest

from toolchain.hardware.facts import Isa
from toolchain.hardware.likeness import isa_of, likest


@pytest.mark.parametrize(
    ("machine", "bits", "isa"),
    [
        ("aarch64", 64, "aarch64"),
        ("aarch64", None, "aarch64"),
        ("aarch64", 32, "armv7"),
        ("armv7l", 32, "armv7"),
        ("x86_64", 64, "x86-64"),
        ("armv6l", 32, None),
        ("riscv64", 64, None),
        ("x86_64", 32, None),
    ],
)
def test_what_is_built_for_follows_from_the_machine_and_its_own_programs(
    machine: str, bits: int | None, isa: str | None
) -> None:
    assert isa_of(machine, bits) == isa


@pytest.mark.parametrize(
    ("isa", "cores", "model", "name"),
    [
        ("aarch64", ["Cortex-A72"], "Raspberry Pi 4 Model B Rev 1.5", "rpi4"),
        ("aarch64", ["Cortex-A76"], "Raspberry Pi 5 Model B Rev 1.0", "rpi5"),
        ("aarch64", ["Cortex-A53"], "Raspberry Pi 3 Model B Plus Rev 1.3", "rpi3"),
        ("aarch64", ["Cortex-A53"], "Raspberry Pi Zero 2 W Rev 1.0", "zero2w"),
        ("aarch64", ["Cortex-A53", "Cortex-A72"], "Firefly RK3399", "rpi4"),
        ("aarch64", ["Cortex-A55"], "Odroid-C4", None),
        ("armv7", ["Cortex-A7"], "Raspberry Pi 2 Model B Rev 1.1", "rpi3-armv7"),
        ("x86-64", ["Some Processor"], None, "host"),
    ],
)
def test_a_board_is_like_the_one_with_its_core_and_its_model(
    isa: Isa, cores: list[str], model: str | None, name: str | None
) -> None:
    found = likest(isa, cores, model, emulated=False)
    assert (found.name if found else None) == name


def test_an_emulated_board_is_like_the_emulated_one() -> None:
    found = likest("aarch64", ["Cortex-A72"], "linux,dummy-virt", emulated=True)
    assert found is not None
    assert found.name == "qemu"
