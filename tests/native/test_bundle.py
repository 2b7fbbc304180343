"""The host's bundle as its user meets it: files, manifest, interfaces of the libraries."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
from ai_edge_litert.interpreter import load_delegate
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from toolchain.build import bundle
from toolchain.build.bundle import Bundle
from toolchain.build.patches import load_series
from toolchain.build.stages import C_LIBRARY, DELEGATE, RUNNER
from toolchain.hardware.board_file import load_board
from toolchain.resources import runtime_patch_dir


def exported(path: Path) -> set[str]:
    with path.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".dynsym")
        assert isinstance(table, SymbolTableSection)
        return {
            symbol.name
            for symbol in table.iter_symbols()
            if symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] != "STB_LOCAL"
        }


def test_the_manifest_says_what_went_in(host_bundle: Bundle, host_stock_bundle: Bundle) -> None:
    for made, stock in ((host_bundle, False), (host_stock_bundle, True)):
        manifest = made.manifest
        assert (manifest.board, manifest.isa, manifest.stock) == ("host", "x86-64", stock)
        assert {RUNNER, DELEGATE, C_LIBRARY} <= set(manifest.files)
        assert "GCC" in manifest.compiler or "g++" in manifest.compiler
        assert manifest.sources["xnnpack"].file.startswith("xnnpack_0.0~git20241108")
        for tree in ("xnnpack", "tensorflow"):
            patches = manifest.patches[tree]
            assert all(name.startswith("fixes/") for name in patches) is stock
            assert patches == load_series(runtime_patch_dir() / tree, stock=stock).hashes()
        assert (
            manifest.patches["pthreadpool"]
            == load_series(runtime_patch_dir() / "pthreadpool").hashes()
        )
        facts = manifest.files[RUNNER].elf
        assert facts is not None
        assert facts.static


def test_patched_and_stock_runtimes_differ_and_say_so(
    host_bundle: Bundle, host_stock_bundle: Bundle
) -> None:
    assert host_bundle.manifest.key != host_stock_bundle.manifest.key
    for made, patched in ((host_bundle, b'"patched": true'), (host_stock_bundle, b"false")):
        said = subprocess.run([made.runner, "--version"], capture_output=True, check=True).stdout
        assert patched in said


def test_a_second_build_changes_no_file(host_bundle: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "host"
    shutil.copytree(host_bundle.path, copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    bundle.build(load_board("host"), out=copy)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_damaged_bundle_is_made_again_from_the_cache(host_bundle: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "host"
    shutil.copytree(host_bundle.path, copy)
    (copy / RUNNER).write_bytes(b"half of it")
    made = bundle.build(load_board("host"), out=copy)
    assert made.manifest == host_bundle.manifest


def test_the_delegate_shows_two_functions_and_nothing_else(host_bundle: Bundle) -> None:
    assert exported(host_bundle.delegate) == {
        "tflite_plugin_create_delegate",
        "tflite_plugin_destroy_delegate",
    }


def test_the_c_library_shows_its_api_and_nothing_else(host_bundle: Bundle) -> None:
    names = exported(host_bundle.c_library)
    assert {"TfLiteInterpreterCreate", "TfLiteInterpreterInvoke", "TfLiteVersion"} <= names
    assert [name for name in names if not name.startswith(("TfLite", "VERS_"))] == []


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"threads": "4"}, "unknown option 'threads'"),
        ({"num_threads": "0"}, "num_threads is '0'"),
        ({"num_threads": "65"}, "num_threads is '65'"),
        ({"num_threads": "two"}, "num_threads is 'two'"),
        ({"num_threads": ""}, "num_threads is ''"),
    ],
)
def test_a_wrong_option_of_the_delegate_is_named(
    host_bundle: Bundle, options: dict[str, str], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        load_delegate(str(host_bundle.delegate), options)


def test_a_c_program_compiles_against_the_bundle_and_runs(
    host_bundle: Bundle, tmp_path: Path
) -> None:
    source = tmp_path / "version.c"
    source.write_text(
        '#include <stdio.h>\n#include "tensorflow/lite/c/c_api.h"\n'
        '#include "tensorflow/lite/c/c_api_experimental.h"\n'
        "int main(void) { puts(TfLiteVersion()); return 0; }\n"
    )
    program = tmp_path / "version"
    subprocess.run(
        [shutil.which("gcc") or "gcc", "-o", program, source, f"-I{host_bundle.path}/include",
         f"-L{host_bundle.path}", "-ltensorflowlite_c", f"-Wl,-rpath,{host_bundle.path.resolve()}"],
        check=True,
    )  # fmt: skip
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "2.14.1"


def test_the_c_library_stands_beside_another_tflite(host_bundle: Bundle) -> None:
    """Two TensorFlow Lites in one process (the test's own is one) must not mix their symbols."""
    library = ctypes.CDLL(str(host_bundle.c_library.resolve()))
    library.TfLiteVersion.restype = ctypes.c_char_p
    assert library.TfLiteVersion() == b"2.14.1"
