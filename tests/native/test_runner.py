"""``tileskip-run`` as a program: what it computes, what it reports, and how it fails."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.bundles import write_masked_model
from support.patience import PATIENCE
from support.runner_models import SIDE, mask, write_network, write_two_inputs, write_with_a_sine
from support.tflite_writer import Array, GraphWriter
from toolchain.build.bundle import Bundle
from toolchain.profile.runner_output import (
    REMAINDER,
    RunnerOutput,
    parse_output,
    parse_versions,
)

Run = Callable[..., subprocess.CompletedProcess[str]]

MEMORY_LIMIT = 2**30
"""Bytes of address space: a damaged model may ask for a tensor of any size."""


@pytest.fixture(scope="session")
def runner(host_bundle: Bundle) -> Path:
    return host_bundle.runner


@pytest.fixture(scope="session")
def run(runner: Path) -> Run:
    """Run the program with these arguments; its output is text."""

    def start(*arguments: object, program: Path = runner) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["prlimit", f"--as={MEMORY_LIMIT}", program, *map(str, arguments)],  # noqa: S607 - the one that is there
            capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False,
        )  # fmt: skip

    return start


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_network(folder / "dense.tflite", masked=False)
    write_network(folder / "masked.tflite", masked=True)
    write_with_a_sine(folder / "sine.tflite")
    write_two_inputs(folder / "two.tflite")
    return folder


def measure(run: Run, *arguments: object) -> RunnerOutput:
    """The runner's JSON, checked."""
    done = run(*arguments, "--json", "-")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return parse_output(done.stdout)


def error(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The message of a failure, which must be one line and have this exit code."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("tileskip-run: error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("tileskip-run: error: ").rstrip("\n")


def stock_outputs(model: Path, *inputs: Array) -> list[Array]:
    """What an interpreter from the package registry computes, with its reference kernels."""
    interpreter = Interpreter(
        str(model),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def assert_close(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(
        found.ravel(), expected.ravel(), rtol=0, atol=1e-5 * float(np.abs(expected).max())
    )


# --- what it computes ------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["dense", "masked", "sine"])
@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_outputs_equal_those_of_the_stock_interpreter(
    run: Run, models: Path, tmp_path: Path, model: str, threads: int
) -> None:
    path = models / f"{model}.tflite"
    shape = (1, 4, 4, 2) if model == "sine" else (1, SIDE, SIDE, 3)
    x = np.random.default_rng(threads).uniform(-1, 1, shape).astype(np.float32)
    x.tofile(tmp_path / "x.bin")
    report = measure(
        run, "--model", path, "--input", tmp_path / "x.bin", "--output-dir", tmp_path / "out",
        "--threads", threads,
    )  # fmt: skip
    assert report.threads == threads
    assert report.seed is None
    found = np.fromfile(tmp_path / "out" / "output0.bin", np.float32)
    assert_close(found, stock_outputs(path, x)[0])


@pytest.mark.parametrize("model", ["dense", "masked"])
def test_without_the_delegate_outputs_stay_the_same(
    run: Run, models: Path, tmp_path: Path, model: str
) -> None:
    path = models / f"{model}.tflite"
    x = np.random.default_rng(0).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
    x.tofile(tmp_path / "x.bin")
    report = measure(
        run, "--model", path, "--input", tmp_path / "x.bin", "--output-dir", tmp_path,
        "--no-delegate",
    )  # fmt: skip
    assert not report.delegate.used
    assert report.delegate.nodes_delegated == 0
    assert_close(np.fromfile(tmp_path / "output0.bin", np.float32), stock_outputs(path, x)[0])


def test_a_file_of_k_inputs_gives_k_outputs_in_a_row(
    run: Run, models: Path, tmp_path: Path
) -> None:
    path = models / "masked.tflite"
    x = np.random.default_rng(1).uniform(-1, 1, (5, SIDE, SIDE, 3)).astype(np.float32)
    x.tofile(tmp_path / "x.bin")
    report = measure(
        run, "--model", path, "--input", tmp_path / "x.bin", "--output-dir", tmp_path, "--runs", 0
    )
    assert report.examples == 5
    found = np.fromfile(tmp_path / "output0.bin", np.float32).reshape(5, -1)
    for i in range(5):
        assert_close(found[i], stock_outputs(path, x[i : i + 1])[0])


def test_inputs_are_taken_in_the_models_order_and_every_output_is_written(
    run: Run, models: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    a = rng.uniform(-1, 1, (4, 2, 3)).astype(np.float32)
    b = rng.uniform(-1, 1, (4, 3)).astype(np.float32)
    a.tofile(tmp_path / "a.bin")
    b.tofile(tmp_path / "b.bin")
    report = measure(
        run, "--model", models / "two.tflite", "--input", tmp_path / "a.bin",
        "--input", tmp_path / "b.bin", "--output-dir", tmp_path / "made" / "here",
    )  # fmt: skip
    assert [tensor.shape for tensor in report.inputs] == [[2, 3], [3]]
    assert [tensor.dtype for tensor in report.outputs] == ["float32", "float32"]
    out = tmp_path / "made" / "here"
    total = a + b[:, None, :]
    assert_close(np.fromfile(out / "output0.bin", np.float32), total)
    assert_close(np.fromfile(out / "output1.bin", np.float32), total * a)
    assert sorted(file.name for file in out.iterdir()) == ["output0.bin", "output1.bin"]


def test_generated_inputs_are_splitmix64(run: Run, tmp_path: Path) -> None:
    graph = GraphWriter()
    x = graph.tensor((7,))
    graph.write(
        tmp_path / "m.tflite", [x], [graph.add(x, graph.constant(np.zeros(7, np.float32)), (7,))]
    )
    report = measure(run, "--model", tmp_path / "m.tflite", "--output-dir", tmp_path)
    assert report.seed == 1

    def draws(state: int) -> list[float]:
        values = []
        for _ in range(7):
            state = (state + 0x9E3779B97F4A7C15) % 2**64
            z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
            values.append(((z ^ (z >> 31)) >> 40) * 2.0**-23 - 1)
        return values

    found = np.fromfile(tmp_path / "output0.bin", np.float32)
    np.testing.assert_array_equal(found, np.array(draws(1), np.float32))


# --- what it reports -------------------------------------------------------------------------


def test_version_is_one_line_of_json(
    run: Run, host_bundle: Bundle, host_stock_bundle: Bundle
) -> None:
    for bundle, patched in ((host_bundle, True), (host_stock_bundle, False)):
        done = run("--version", program=bundle.runner)
        assert done.returncode == 0
        assert done.stdout.count("\n") == 1
        versions = parse_versions(done.stdout)
        assert versions.patched is patched
        assert versions.tflite == "2.14.1"
        assert versions.version == bundle.manifest.version


def test_help_goes_to_standard_output(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: tileskip-run --model FILE")


def test_timing_summarises_its_samples(run: Run, models: Path) -> None:
    timing = measure(run, "--model", models / "dense.tflite", "--runs", 9, "--warmup", 2).timing
    assert timing is not None
    samples = np.array(timing.samples_us)
    assert (timing.runs, timing.warmup, len(samples)) == (9, 2, 9)
    assert (samples > 0).all()
    assert timing.min_us == samples.min()
    assert timing.max_us == samples.max()
    assert timing.median_us == pytest.approx(np.median(samples), abs=0.001)
    assert timing.mean_us == pytest.approx(samples.mean(), abs=0.001)
    assert timing.p95_us == pytest.approx(np.percentile(samples, 95), abs=0.001)
    deviations = np.abs(samples - np.median(samples))
    assert timing.mad_us == pytest.approx(np.median(deviations), abs=0.001)


def test_no_runs_time_nothing(run: Run, models: Path) -> None:
    report = measure(run, "--model", models / "dense.tflite", "--runs", 0, "--per-op")
    assert report.timing is None
    assert report.first_run_us > 0
    assert report.per_op is not None
    assert (report.per_op.runs, report.per_op.total_us) == (0, None)
    assert (report.per_op.input_copy_us, report.per_op.output_copy_us) == (None, None)
    assert report.ops is not None
    assert len(report.ops) == 4
    assert all(op.median_us is None and op.share is None for op in report.ops)


def test_a_figure_that_is_not_to_be_had_has_its_reason_in_the_notes(run: Run, models: Path) -> None:
    report = measure(run, "--model", models / "dense.tflite")
    assert report.ops is None
    assert any(note.startswith("ops: ") for note in report.notes)
    explained = any(note.startswith("instructions: ") for note in report.notes)
    assert explained == (report.instructions is None)
    assert report.peak_rss_kib is not None
    assert report.load_us is not None
    assert report.init_us > report.load_us > 0


def test_copies_are_timed_apart_from_the_operators(run: Run, models: Path) -> None:
    for options in ([], ["--no-delegate"]):
        per_op = measure(run, "--model", models / "two.tflite", "--per-op", *options).per_op
        assert per_op is not None
        assert per_op.input_copy_us is not None
        assert per_op.output_copy_us is not None
        assert per_op.input_copy_us > 0 < per_op.output_copy_us


def test_instruction_counts_are_one_a_run(run: Run, models: Path) -> None:
    instructions = measure(run, "--model", models / "dense.tflite", "--runs", 5).instructions
    if instructions is None:
        pytest.skip("this machine shows no instruction counter")
    assert len(instructions.per_run) == 5
    assert instructions.median == np.median(instructions.per_run)
    assert instructions.init > 0


def test_the_whole_graph_is_one_partition_although_it_is_masked(run: Run, models: Path) -> None:
    for model, nodes in (("dense", 3), ("masked", 6)):
        delegate = measure(run, "--model", models / f"{model}.tflite").delegate
        assert delegate.used
        assert (delegate.partitions, delegate.nodes) == (1, nodes)
        assert delegate.nodes_delegated == nodes


@pytest.mark.parametrize("model", ["dense", "masked"])
def test_each_convolution_tells_its_micro_kernel_and_what_it_skips(
    run: Run, models: Path, model: str
) -> None:
    report = measure(run, "--model", models / f"{model}.tflite", "--per-op")
    assert report.ops is not None
    convolutions = [op for op in report.ops if op.type.startswith("Convolution")]
    assert len(convolutions) == 3
    kept = int(mask().sum()) if model == "masked" else SIDE * SIDE
    for op in convolutions:
        assert op.delegated
        assert (op.pixels, op.kept) == (SIDE * SIDE, kept)
        assert op.skipped_share == pytest.approx(1 - kept / SIDE**2)
        assert op.dead_tap_share is not None
        assert op.dead_tap_share == 0 or "live_igemm" in (op.ukernel or "")
        assert op.ukernel is not None
        assert op.mr
        assert op.nr
    # Under a mask IGEMM may be the one that skips masked taps as well, on cores that have it.
    live = r"(?:live_)?" if model == "masked" else ""
    kinds = ["igemm", "dwconv", "igemm" if model == "masked" else "gemm"]
    for op, kind in zip(convolutions, kinds, strict=True):
        tile = r"\d+p\d+c" if kind == "dwconv" else f"{op.mr}x{op.nr}"
        assert re.match(rf"xnn_f32_{live}{kind}_(minmax|relu)_ukernel_{tile}", str(op.ukernel))


def test_the_stock_runtime_says_that_it_cannot_tell(
    run: Run, models: Path, host_stock_bundle: Bundle
) -> None:
    done = run(
        "--model", models / "masked.tflite", "--per-op", "--json", "-",
        program=host_stock_bundle.runner,
    )  # fmt: skip
    report = parse_output(done.stdout)
    assert not report.runner.patched
    assert report.delegate.partitions == 3
    assert report.ops is not None
    assert [op.type for op in report.ops].count("SELECT_V2") == 3
    assert all(op.ukernel is None and op.kept is None for op in report.ops)
    assert any("patched runtime" in note for note in report.notes)


@pytest.mark.parametrize("model", ["dense", "masked", "sine", "two"])
@pytest.mark.parametrize("delegate", [True, False])
def test_operators_and_the_remainder_add_up(
    run: Run, models: Path, model: str, delegate: bool
) -> None:
    flags = [] if delegate else ["--no-delegate"]
    report = measure(run, "--model", models / f"{model}.tflite", "--per-op", *flags)
    assert report.ops is not None
    assert report.per_op is not None
    assert report.per_op.runs == 20
    assert report.ops[-1].type == REMAINDER
    assert all(op.delegated is delegate for op in report.ops[:-1] if op.type != "SIN")
    medians = [op.median_us for op in report.ops if op.median_us is not None]
    shares = [op.share for op in report.ops if op.share is not None]
    assert len(medians) == len(shares) == len(report.ops)
    assert sum(shares) == pytest.approx(1)
    total = report.per_op.total_us
    assert total is not None
    assert total > 0
    assert sum(medians) == pytest.approx(total, abs=0.001 * len(medians))
    # XNNPACK itself has whole microseconds, of which such small operators take none.
    assert all(medians)
    assert any(us % 1 for us in medians)


def test_operators_of_both_sides_stand_in_the_order_of_execution(run: Run, models: Path) -> None:
    report = measure(run, "--model", models / "sine.tflite", "--per-op")
    assert report.delegate.partitions == 2
    assert report.ops is not None
    kinds = [(op.type.split(" ")[0], op.delegated) for op in report.ops]
    assert kinds == [("Convolution", True), ("SIN", False), ("Convolution", True), ("other", False)]
    reasons = [op.why_not_delegated for op in report.ops]
    assert reasons == [None, "unsupported operator type SIN", None, None]
    assert report.ops[0].kept == report.ops[2].kept == 16


def test_without_json_a_summary_is_printed(run: Run, models: Path) -> None:
    done = run("--model", models / "masked.tflite", "--per-op")
    assert done.returncode == 0
    assert "20 runs: median" in done.stdout
    assert "70 of 100 pixels" in done.stdout


def test_json_goes_to_a_file_whole(run: Run, models: Path, tmp_path: Path) -> None:
    done = run("--model", models / "dense.tflite", "--json", tmp_path / "r.json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    parse_output((tmp_path / "r.json").read_bytes())
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]


def test_a_path_that_is_no_utf8_still_gives_valid_json(
    run: Run, models: Path, tmp_path: Path
) -> None:
    path = os.fsencode(tmp_path) + b'/caf\xe9 "\n.tflite'
    Path(os.fsdecode(path)).write_bytes((models / "dense.tflite").read_bytes())
    report = measure(run, "--model", os.fsdecode(path), "--runs", 1)
    assert report.model.path.endswith('/caf\ufffd "\n.tflite')


# --- how it fails ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model is missing; --help lists the options"),
        (["--frobnicate"], "unknown argument '--frobnicate'; --help lists the options"),
        (["--model"], "--model needs a value"),
        (["--model", "m", "--threads", "0"], "--threads needs a number from 1 to 64, not '0'"),
        (["--model", "m", "--runs", "-1"], "--runs needs a number from 0 to 1000000, not '-1'"),
    ],
)
def test_wrong_use_exits_2(run: Run, arguments: list[str], message: str) -> None:
    assert error(run(*arguments), 2) == message


def test_a_missing_model_exits_3(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "none.tflite"
    assert error(run("--model", path), 3) == f"{path}: cannot be opened: No such file or directory"
    assert error(run("--model", tmp_path), 3) == f"{tmp_path}: is no file"


def test_what_is_no_model_exits_3(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"")
    assert error(run("--model", path), 3) == f"{path}: is empty"
    path.write_bytes(b"PK\3\4" + bytes(500))
    assert error(run("--model", path), 3).startswith(
        f"{path}: is damaged or no TensorFlow Lite model: "
    )


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_model_that_is_cut_short_is_refused(
    run: Run, models: Path, tmp_path: Path, share: float
) -> None:
    whole = (models / "masked.tflite").read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(whole[: int(share * len(whole))])
    message = error(run("--model", path), 3)
    assert message.startswith(f"{path}: is ")
    assert "crashed" not in message


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_model_with_a_wrong_byte_runs_or_is_refused(
    run: Run, models: Path, tmp_path: Path, place: float, value: int
) -> None:
    damaged = bytearray((models / "masked.tflite").read_bytes())
    damaged[int(place * len(damaged))] = value
    path = tmp_path / "damaged.tflite"
    path.write_bytes(damaged)
    done = run("--model", path, "--runs", 1, "--json", os.devnull)
    if done.returncode != 0:
        assert str(path) in error(done, 3)


@pytest.mark.unsanitized
def test_a_model_that_needs_more_memory_than_there_is_exits_3(run: Run, tmp_path: Path) -> None:
    path = write_masked_model(tmp_path / "large.tflite", sparsity=0, size=2048, channels=128)
    assert error(run("--model", path), 3) == f"{path}: needs more memory than there is"


@pytest.mark.unsanitized
def test_a_model_for_which_there_is_no_address_space_exits_3(
    run: Run, models: Path, tmp_path: Path
) -> None:
    """As on a 32-bit board: it is not called damaged."""
    path = tmp_path / "large.tflite"
    path.write_bytes((models / "masked.tflite").read_bytes())
    os.truncate(path, MEMORY_LIMIT)
    assert error(run("--model", path), 3) == f"{path}: needs more memory than there is"


def test_an_operator_that_is_too_new_exits_3(run: Run, tmp_path: Path) -> None:
    graph = GraphWriter()
    x = graph.tensor((1, 4))
    path = graph.write(
        tmp_path / "m.tflite", [x], [graph.operator("STABLEHLO_ADD", [x, x], (1, 4))]
    )
    message = error(run("--model", path), 3)
    assert message.startswith(f"{path}: ")
    assert "STABLEHLO_ADD" in message or "newer model" in message


def test_an_index_past_the_end_exits_3(run: Run, tmp_path: Path) -> None:
    graph = GraphWriter()
    x = graph.tensor((1, 4))
    path = graph.write(tmp_path / "m.tflite", [x], [graph.operator("SIN", [7], (1, 4))])
    assert error(run("--model", path), 3).endswith(": operator 0 names tensor 7 of 2")


def test_an_operator_that_reads_what_nothing_wrote_exits_3(run: Run, tmp_path: Path) -> None:
    graph = GraphWriter()
    x, never = graph.tensor((1, 4)), graph.tensor((1, 4))
    path = graph.write(tmp_path / "m.tflite", [x], [graph.add(x, never, (1, 4))])
    message = error(run("--model", path), 3)
    assert message.endswith(": operator 0 reads tensor 1 before anything fills it")


def test_an_output_whose_shape_is_known_only_while_running_exits_3(
    run: Run, tmp_path: Path
) -> None:
    graph = GraphWriter()
    x, shape = graph.tensor((1, 4)), graph.tensor((2,), "int32")
    path = graph.write(
        tmp_path / "m.tflite", [x, shape], [graph.operator("RESHAPE", [x, shape], (2, 2))]
    )
    message = error(run("--model", path), 3)
    assert "output 0 ('t2') has a shape that is known only while running" in message


def test_an_input_without_elements_exits_3(run: Run, tmp_path: Path) -> None:
    graph = GraphWriter()
    x = graph.tensor((0, 4))
    path = graph.write(tmp_path / "m.tflite", [x], [graph.operator("SIN", [x], (0, 4))])
    assert "input 0 ('t0') has no elements" in error(run("--model", path), 3)


def test_a_missing_input_file_exits_4(run: Run, models: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    message = error(run("--model", models / "dense.tflite", "--input", path), 4)
    assert message == f"{path}: cannot be opened: No such file or directory"


@pytest.mark.parametrize("size", [0, 1, 1199, 1201, 2399])
def test_an_input_of_the_wrong_size_exits_4_and_names_both_sizes(
    run: Run, models: Path, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(size))
    message = error(run("--model", models / "dense.tflite", "--input", path), 4)
    assert message == (
        f"{path}: has {size} bytes; input 0 ('t0'), float32 [1, 10, 10, 3], needs 1200 or a "
        "multiple of that"
    )


def test_too_few_or_uneven_inputs_exit_4(run: Run, models: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a.bin", tmp_path / "b.bin"
    a.write_bytes(bytes(24 * 2))
    b.write_bytes(bytes(12 * 3))
    two = models / "two.tflite"
    message = error(run("--model", two, "--input", a), 4)
    assert message == "the model has 2 inputs, --input was given 1 times"
    message = error(run("--model", two, "--input", a, "--input", b), 4)
    assert message == f"{b}: holds 3 inputs, {a} holds 2"


def test_a_full_disk_exits_4(run: Run, models: Path, tmp_path: Path) -> None:
    (tmp_path / "output0.bin").symlink_to("/dev/full")
    done = run("--model", models / "dense.tflite", "--output-dir", tmp_path)
    assert error(done, 4).endswith("output0.bin: cannot be written: No space left on device")
    done = run("--model", models / "dense.tflite", "--json", "/dev/full")
    assert error(done, 4) == "/dev/full: cannot be written: No space left on device"


def test_an_output_folder_that_cannot_be_made_exits_4(
    run: Run, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run("--model", models / "dense.tflite", "--output-dir", tmp_path / "file" / "out")
    assert "cannot be made: Not a directory" in error(done, 4)


def test_a_failure_leaves_neither_outputs_nor_json(run: Run, models: Path, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(bytes(1200))
    (tmp_path / "output1.bin").mkdir()
    done = run(
        "--model", models / "two.tflite", "--output-dir", tmp_path, "--json", tmp_path / "r.json"
    )
    assert "output1.bin" in error(done, 4)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["output1.bin", "x.bin"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_an_interrupt_ends_it_cleanly(
    runner: Path, models: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    arguments: list[str | Path] = [
        runner, "--model", models / "dense.tflite", "--runs", "1000000",
        "--output-dir", tmp_path / "out", "--json", tmp_path / "r.json",
    ]  # fmt: skip
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "out" / "output0.bin").exists():  # the timed runs begin after it
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code
    assert said == "tileskip-run: interrupted\n"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("others", [0, 1, 2])
def test_json_is_written_by_one_who_reads_it_back(run: Run, models: Path, others: int) -> None:
    versus = ["--versus", models / "dense.tflite"] * others
    done = run("--model", models / "masked.tflite", "--per-op", *versus, "--json", "-")
    assert done.stdout.endswith("}\n")
    output = parse_output(done.stdout)
    assert len(output.versus) == others
    assert output.model_dump(mode="json", by_alias=True) == json.loads(done.stdout)
