"""What the runner would print, with chosen figures."""

from __future__ import annotations

from collections.abc import Sequence

from toolchain.profile.runner_output import (
    REMAINDER,
    Instructions,
    Op,
    PerOp,
    RunnerOutput,
    TensorFacts,
    Timing,
)
from toolchain.tflite_file.runner_facts import Delegation, ModelFile, RunnerVersions


def timing(samples_us: Sequence[float]) -> Timing:
    """A summary of samples, as the runner makes it."""
    ordered = sorted(samples_us)
    median = ordered[len(ordered) // 2]
    deviations = sorted(abs(sample - median) for sample in samples_us)
    return Timing(
        runs=len(ordered), warmup=1, min_us=ordered[0], median_us=median,
        mean_us=sum(ordered) / len(ordered), p95_us=ordered[-1], max_us=ordered[-1],
        mad_us=deviations[len(deviations) // 2], samples_us=list(samples_us),
    )  # fmt: skip


def runner_output(
    *,
    samples_us: Sequence[float] = (1000.0, 1001.0, 999.0, 1000.0, 1002.0),
    instructions: int | None = None,
    patched: bool = True,
    ops: bool = False,
) -> RunnerOutput:
    """A run of a model of one convolution that keeps 3 of 4 pixels."""
    tensor = TensorFacts(name="x", dtype="float32", shape=[1, 2, 2, 3])
    conv = Op(
        index=0, type="Convolution (NHWC, F32) IGEMM", delegated=True, median_us=900.0, share=0.9,
        ukernel="xnn_f32_igemm_minmax_ukernel_6x8__aarch64_neonfma_cortex_a75", mr=6, nr=8,
        pixels=4, kept=3, skipped_share=0.25,
    )  # fmt: skip
    rest = Op(
        index=1, type=REMAINDER, delegated=False, median_us=100.0, share=0.1, ukernel=None,
        mr=None, nr=None, pixels=None, kept=None, skipped_share=None,
    )  # fmt: skip
    counted = None
    if instructions is not None:
        counted = Instructions(
            per_run=[instructions] * len(samples_us), median=float(instructions), init=5000
        )
    return RunnerOutput.model_validate(
        {
            "schema": 1,
            "runner": RunnerVersions(
                version="0.1.0", patched=patched, tflite="2.14.1", xnnpack="4ea82e5", compiler="GCC"
            ),
            "model": ModelFile(path="m.tflite", bytes=100),
            "threads": 1,
            "delegate": Delegation(used=True, partitions=1, nodes=1, nodes_delegated=1),
            "inputs": [tensor],
            "outputs": [tensor],
            "examples": 1,
            "seed": 1,
            "init_us": 10.0,
            "first_run_us": 20.0,
            "timing": timing(samples_us),
            "peak_rss_kib": 2048,
            "instructions": counted,
            "per_op": PerOp(runs=3, total_us=1000.0) if ops else None,
            "ops": [conv, rest] if ops else None,
            "notes": [] if instructions is not None else ["instructions: perf_event_open: denied"],
        }
    )
