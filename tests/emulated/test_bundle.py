"""The cross-built bundle: for the right machine, static where a board may lack libraries."""

from __future__ import annotations

import subprocess

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from toolchain.build.bundle import Bundle
from toolchain.build.stages import RUNNER
from toolchain.storage.cache import cache_dir


def test_the_runner_needs_no_library_of_the_board(qemu_bundle: Bundle) -> None:
    facts = qemu_bundle.manifest.files[RUNNER].elf
    assert facts is not None
    assert facts.static
    assert facts.glibc_floor is None
    command = ["qemu-aarch64", "-cpu", "cortex-a53", str(qemu_bundle.runner), "--version"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert qemu_bundle.manifest.version in said


def test_the_stripped_runner_still_knows_its_kernels_names(qemu_bundle: Bundle) -> None:
    with qemu_bundle.runner.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        names = {symbol.name for symbol in table.iter_symbols() if symbol.name}
    assert any("xnn_f32_igemm_minmax_ukernel_" in name for name in names)
    assert all("_ukernel_" in name for name in names)


def test_no_path_of_the_machine_that_built_it_is_in_a_program(qemu_bundle: Bundle) -> None:
    built = (cache_dir() / "programs").resolve().parent  # what the tests have leads there
    for path in (qemu_bundle.runner, qemu_bundle.delegate, qemu_bundle.c_library):
        content = path.read_bytes()
        assert str(built).encode() not in content
        assert str(cache_dir()).encode() not in content
