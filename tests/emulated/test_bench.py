"""QEMU's plugin and the bench on small models: counts are exact, repeat, and add up."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from support.bundles import write_masked_model
from support.runner_models import write_network, write_with_a_sine
from toolchain.build.bundle import Bundle
from toolchain.build.qemu_user import emulator_command
from toolchain.dev.bench.boards import estimate_boards
from toolchain.dev.bench.boards_page import boards_page
from toolchain.dev.bench.counts import check_kernels, count_model, read_marks
from toolchain.dev.bench.operators import compare_operators
from toolchain.dev.bench.peer_estimates import estimate_ours, estimate_peer
from toolchain.dev.bench.peers import LITERT, Contestant, guest_settings
from toolchain.errors import BoardError, VerificationError
from toolchain.timing.qemu_plugin import compiled_plugin

# Two instructions a turn, between marks as tileskip-run makes them.
_LOOP = r"""
#include <sys/syscall.h>
#include <unistd.h>
static void mark(long kind) { syscall(SYS_clock_getres, 0x74696c65, kind); }
static void turn(long n) {
  __asm__ volatile("1: subs %0, %0, #1\n b.ne 1b" : "+r"(n) : : "cc");
}
int main(void) {
  mark(1);
  mark(3); turn(1000); mark(5);
  mark(3); turn(3500); mark(5);
  mark(2);
}
"""


def count(program: Path, folder: Path) -> str:
    plugin = compiled_plugin("count_instructions")
    command = [
        *emulator_command("cortex-a72", folder), "-d", "plugin", "-D", str(folder / "log"),
        "-plugin", f"{plugin},out={folder / 'counts'}", str(program),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return (folder / "counts").read_text()


def test_a_loop_is_counted_to_the_instruction(tmp_path: Path) -> None:
    source, program = tmp_path / "loop.c", tmp_path / "loop"
    source.write_text(_LOOP)
    compiler = ["aarch64-linux-gnu-gcc", "-O2", "-static", str(source), "-o", str(program)]
    subprocess.run(compiler, check=True)
    _, (inference,) = read_marks(count(program, tmp_path))
    short, long = (sum(op.values()) for op in inference.ops)
    assert long - short == 2 * 2500
    assert 2000 <= short < 2050
    assert sum(op.get("main", 0) for op in inference.ops) >= 2 * 4500


def test_counts_repeat_and_add_up(qemu_bundle: Bundle, tmp_path: Path) -> None:
    # Two files that differ in nothing but their names and hashes would be one entry of the cache.
    first = write_network(tmp_path / "a.tflite", masked=True)
    second = tmp_path / "b.tflite"
    second.write_bytes(first.read_bytes() + bytes(16))
    one, other = (count_model(qemu_bundle.runner, path, runs=7) for path in (first, second))
    assert one.ops == other.ops
    assert one.instructions == other.instructions
    # Outside of operators the runner takes down their times, where malloc takes another way until
    # its lists have filled.
    assert one.spread == 0
    assert [op.kept for op in one.ops] == [70, 70, 70]
    for op in one.ops:
        assert op.ukernel in op.functions
        assert 0 < op.in_kernels < op.instructions == sum(op.functions.values())
    assert sum(op.instructions for op in one.ops) > 0.3 * one.instructions


def test_more_threads_do_about_the_same_work(qemu_bundle: Bundle, tmp_path: Path) -> None:
    model = write_masked_model(tmp_path / "m.tflite", size=48, channels=16)
    alone, together = (count_model(qemu_bundle.runner, model, threads=n) for n in (1, 2))
    for one, other in zip(alone.ops, together.ops, strict=True):
        assert other.in_kernels == pytest.approx(one.in_kernels, rel=0.02)
        assert other.instructions == pytest.approx(one.instructions, rel=0.05)


def test_operators_of_tensorflow_lite_are_counted_too(qemu_bundle: Bundle, tmp_path: Path) -> None:
    counted = count_model(qemu_bundle.runner, write_with_a_sine(tmp_path / "m.tflite"))
    kinds = [(op.type.partition(" ")[0], op.delegated) for op in counted.ops]
    assert kinds == [("Convolution", True), ("SIN", False), ("Convolution", True)]
    assert counted.ops[1].instructions > 32  # elements


def test_masks_save_instructions_and_what_is_missing_has_a_reason(
    qemu_bundle: Bundle, tmp_path: Path
) -> None:
    paths = [
        write_masked_model(tmp_path / f"{s}.tflite", sparsity=s, size=32, channels=16)
        for s in (0, 0.5)
    ]
    dense, masked = ((path, count_model(qemu_bundle.runner, path)) for path in paths)
    pixels, taps = (compare_operators(dense, masked, two_sided=both) for both in (False, True))
    assert pixels.dense == dense[1].instructions
    # Skipped pixels alone cannot save as much: masked taps are skipped, too.
    assert pixels.ideal < pixels.speedup < taps.ideal
    for table in (pixels, taps):
        assert [row.reason is None for row in table.rows] == [
            row.of_ideal is not None and row.of_ideal >= 0.95 for row in table.rows
        ]
        assert not table.unexplained


@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a72", "cortex-a76"])
def test_xnnpack_takes_the_kernels_of_the_core_that_is_played(
    qemu_bundle: Bundle, tmp_path: Path, core: str
) -> None:
    model = write_masked_model(tmp_path / "m.tflite", size=32, channels=16)
    counted = count_model(qemu_bundle.runner, model, core=core)  # type: ignore[arg-type]
    for other in {"cortex-a53", "cortex-a72", "cortex-a76"} - {core}:
        with pytest.raises(VerificationError, match=f"does not take on a {other}"):
            check_kernels(counted.model_copy(update={"core": other}))


def test_a_model_that_does_not_run_is_told_with_the_runners_words(
    qemu_bundle: Bundle, tmp_path: Path
) -> None:
    path = tmp_path / "no.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(BoardError, match="is damaged or no TensorFlow Lite model"):
        count_model(qemu_bundle.runner, path)


def test_a_runtime_of_pips_is_estimated_in_debians_python(
    qemu_bundle: Bundle, tmp_path: Path
) -> None:
    model = write_masked_model(tmp_path / "m.tflite", sparsity=0, size=64, channels=32)
    np.save(tmp_path / "input.npy", np.zeros((1, 64, 64, 3), np.float32))
    settings, files = guest_settings(Contestant(LITERT, 0.0, Path("python"), model), tmp_path)
    theirs = estimate_peer("ai-edge-litert==2.3.0", settings, files, "rpi4")
    ours = estimate_ours(qemu_bundle, model, "rpi4")
    # Kernels of the same library, years apart: neither an import nor a load is in the time.
    assert 0.5 < theirs.ms / ours.ms < 2
    assert 0.5 < theirs.instructions / ours.instructions < 2
    assert theirs.low_ms < theirs.ms < theirs.high_ms


def test_masks_gain_on_a_board_that_is_estimated(qemu_bundle: Bundle, tmp_path: Path) -> None:
    """A small network in the place of ResNet18, which is taken as it is."""
    for name, sparsity in (("resnet18", 0.0), ("resnet18_all_s30", 0.3)):
        write_masked_model(tmp_path / f"{name}.tflite", size=32, channels=16, sparsity=sparsity)
    found = estimate_boards(
        ["resnet18"], ["fp32"], {"rpi4": qemu_bundle}, sparsities=[0.3], models=tmp_path
    )
    dense, masked = found.cases
    assert dense.ms / masked.ms > 1.1
    assert dense.instructions / masked.instructions > 1.2
    assert dense.low_ms < dense.ms < dense.high_ms
    layers = [one for one in masked.operators if one.shape]
    assert all(one.dense and one.masked and one.dense.ms > one.masked.ms for one in layers)
    assert f"| {dense.ms / masked.ms:.2f} (" in boards_page(found)
