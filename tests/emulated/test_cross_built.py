"""What a cross-built bundle asks of a board is what its manifest says, and no more."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from support.bundles import CrossBuilt
from support.places import REPOSITORY
from support.runner_models import SIDE, write_network
from toolchain.agreement.inputs import Batch
from toolchain.board.connection import Connection
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.build import glibc
from toolchain.build.bundle import Bundle
from toolchain.build.compiler import find_compiler
from toolchain.build.stages import C_LIBRARY, DELEGATE, RUNNER
from toolchain.errors import SourceError
from toolchain.fetch.apt import AptRoot, unpack_deb
from toolchain.hardware.board_file import Board, load_board
from toolchain.profile.runner_output import parse_output
from toolchain.progress import Silent
from toolchain.tflite_file.graph import read_model

FLOOR = "2.31"
"""Of every Raspberry Pi's board file; Debian Bullseye's."""
HERE = Path(__file__).parent


def board_of(bundle: Bundle) -> Board:
    return load_board(bundle.manifest.board)


def test_every_program_is_for_the_board(cross_built: CrossBuilt) -> None:
    manifest = cross_built.bundle.manifest
    machine, hwcap = {
        "aarch64": ("AArch64", ("asimd", "fp")),
        "armv7": ("ARM", ("neon", "vfpv3", "vfpv4")),
    }[manifest.isa]
    assert manifest.hwcap == hwcap
    for name in (RUNNER, DELEGATE, C_LIBRARY):
        facts = manifest.files[name].elf
        assert facts is not None
        assert facts.machine == machine
        assert facts.static == (name == RUNNER)


def test_the_libraries_need_only_a_c_library_as_old_as_the_board_file_says(
    cross_built: CrossBuilt,
) -> None:
    board, manifest = board_of(cross_built.bundle), cross_built.bundle.manifest
    assert board.glibc == FLOOR
    own = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2",
           "ld-linux-aarch64.so.1", "ld-linux-armhf.so.3"}  # fmt: skip
    assert manifest.glibc_floor is not None
    assert glibc.parse_version(manifest.glibc_floor) <= glibc.parse_version(FLOOR)
    for name in (DELEGATE, C_LIBRARY):
        facts = manifest.files[name].elf
        assert facts is not None
        assert set(facts.needed) <= own


@pytest.fixture(scope="session")
def bullseye(cross_built: CrossBuilt, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C library of Debian Bullseye, glibc 2.31, as a root folder."""
    compiler = find_compiler(cross_built.bundle.manifest.isa)
    root = tmp_path_factory.mktemp("bullseye")
    try:
        (deb,) = AptRoot().fetch_debs(["libc6"], arch=compiler.deb_arch, suite="bullseye")
    except SourceError as error:
        pytest.skip(f"Debian's mirror no longer has Bullseye: {error.what}")
    unpack_deb(deb, root)
    return root


def test_the_libraries_load_and_work_on_that_old_c_library(
    cross_built: CrossBuilt, bullseye: Path, tmp_path: Path
) -> None:
    """And every function that stands in for one of a newer glibc does what that does."""
    bundle, compiler = cross_built.bundle, find_compiler(cross_built.bundle.manifest.isa)
    old = glibc.stand_in(compiler, FLOOR, tmp_path / "glibc")
    patch_dir = REPOSITORY / "runtime_patch"
    compat, library, main = (tmp_path / name for name in ("compat.o", "check.so", "main"))
    link = [f"-L{old}", "-Wl,--no-as-needed", "-lpthread", "-ldl", "-lm"]
    for command in (
        [compiler.cc, "-O1", "-fPIC", "-c", f"-DTILESKIP_GLIBC_MINOR={FLOOR.split('.')[1]}",
         patch_dir / "glibc_compat.c", "-o", compat],
        [compiler.cxx, "-O1", "-fPIC", "-shared", "-Wl,-z,defs", "-static-libstdc++",
         "-static-libgcc", HERE / "old_glibc_check.cc", compat, "-o", library, *link],
        [compiler.cc, "-O1", HERE / "old_glibc_main.c", "-o", main, *link],
    ):  # fmt: skip
        subprocess.run([str(part) for part in command], check=True)

    model = write_network(tmp_path / "m.tflite", masked=True)
    x = np.random.default_rng(0).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
    x.tofile(tmp_path / "x.bin")
    (bullseye / "proc").mkdir(exist_ok=True)
    emulator = list(cross_built.emulator)
    cpuinfo = Path(emulator[emulator.index("-L") + 1]) / "proc/cpuinfo"
    (bullseye / "proc/cpuinfo").write_bytes(cpuinfo.read_bytes())
    emulator[emulator.index("-L") + 1] = str(bullseye)
    done = subprocess.run(
        [*emulator, str(main), str(library), str(bundle.delegate), str(bundle.c_library),
         str(model), str(tmp_path / "x.bin"), str(tmp_path / "y.bin")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{FLOOR}\n"

    subprocess.run(
        [*cross_built.emulator, str(bundle.runner), "--model", str(model), "--runs", "0",
         "--input", str(tmp_path / "x.bin"), "--output-dir", str(tmp_path)],
        check=True, capture_output=True,
    )  # fmt: skip
    assert (tmp_path / "y.bin").read_bytes() == (tmp_path / "output0.bin").read_bytes()


def test_it_is_pushed_to_the_emulated_board_and_runs_there(
    cross_built: CrossBuilt, board: Board, connection: Connection, tmp_path: Path
) -> None:
    """Its kernel is a 64-bit one, as that of most 32-bit Raspberry Pi systems is."""
    model = read_model(write_network(tmp_path / "m.tflite", masked=True))
    x = np.random.default_rng(1).uniform(-1, 1, (2, 1, SIDE, SIDE, 3)).astype(np.float32)
    x.tofile(tmp_path / "x.bin")
    runner = BoardRunner(connection, board, cross_built.bundle, Silent())
    outcome = runner.run(model, Settings(runs=1, per_op=True), Batch((x,), joined=False))
    report = parse_output(outcome.report)
    assert report.instructions is not None
    assert report.ops is not None
    assert all(op.kept == 70 for op in report.ops[:3])

    subprocess.run(
        [*cross_built.emulator, str(cross_built.bundle.runner), "--model", model.path,
         "--input", str(tmp_path / "x.bin"), "--output-dir", str(tmp_path), "--runs", "0"],
        check=True, capture_output=True,
    )  # fmt: skip
    here = np.fromfile(tmp_path / "output0.bin", np.float32).reshape(outcome.outputs[0].shape)
    np.testing.assert_allclose(outcome.outputs[0], here, rtol=0, atol=1e-5)
