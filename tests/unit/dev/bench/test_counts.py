"""What QEMU's plugin writes is read whole or refused; the kernels that ran tell the core."""

from __future__ import annotations

import pytest

from support.benches import KERNEL, model_count, op_count
from toolchain.dev.bench.counts import check_kernels, read_marks
from toolchain.errors import BoardError, VerificationError

NAMES = f"""function 0 (other)
function 1 (waiting)
function 2 {KERNEL}
end
"""
# kinds: 6 ready, 1 run begins, 3 operator begins, 4 another part, 5 operator ends, 2 run ends
MARKS = f"""mark 6 500 0:500
mark 1 70 0:70
mark 3 5 0:5
mark 5 110 0:10 2:100
mark 3 3 0:3
mark 5 20 0:20
mark 4 2 0:2
mark 5 30 0:30 1:9999
mark 2 7 0:7
{NAMES}"""


def test_instructions_go_to_the_operator_that_they_were_counted_in() -> None:
    ready, (inference,) = read_marks(MARKS)
    assert ready == 500
    assert inference.ops == [{"(other)": 10, KERNEL: 100}, {"(other)": 50, "(waiting)": 9999}]
    assert inference.other == 5 + 3 + 2 + 7


def test_waiting_is_in_no_total() -> None:
    _, (inference,) = read_marks(MARKS)
    assert inference.total == 110 + 50 + 17


def test_each_run_is_an_inference_of_its_own() -> None:
    body = "".join(line + "\n" for line in MARKS.splitlines() if line.startswith("mark"))
    _, inferences = read_marks(body + body.replace("mark 6 500 0:500\n", "") + NAMES)
    assert [one.ops for one in inferences] == [inferences[0].ops] * 2


@pytest.mark.parametrize(
    ("marks", "fault"),
    [
        (MARKS.removesuffix("end\n"), "did not finish"),
        ("", "did not finish"),
        (f"mark 3 5 0:5\n{NAMES}", "do not follow"),
        (f"mark 1 5 0:5\nmark 1 5 0:5\n{NAMES}", "do not follow"),
        (f"mark 1 5 0:5\nmark 5 5 0:5\n{NAMES}", "do not follow"),
        (f"mark 1 5 0:5\nmark 3 5 0:5\nmark 3 5 0:5\n{NAMES}", "do not follow"),
    ],
)
def test_marks_that_make_no_sense_are_refused(marks: str, fault: str) -> None:
    with pytest.raises(BoardError, match=fault):
        read_marks(marks)


@pytest.mark.parametrize(
    ("core", "kernel"),
    [
        ("cortex-a53", "xnn_f32_igemm_minmax_ukernel_6x8__asm_aarch64_neonfma_cortex_a53_prfm"),
        ("cortex-a72", KERNEL),
        ("cortex-a72", "xnn_qs8_qc8w_gemm_minmax_fp32_ukernel_2x8c8__asm_aarch64_neon_mlal_prfm"),
        ("cortex-a76", "xnn_f32_gemm_minmax_ukernel_6x8__asm_aarch64_neonfma_cortex_a75_prfm"),
        ("cortex-a76", "xnn_qs8_qc8w_igemm_minmax_fp32_ukernel_4x16c4__asm_aarch64_neondot_ld128"),
    ],
)  # fmt: skip
def test_kernels_of_the_core_pass_and_those_of_others_do_not(core: str, kernel: str) -> None:
    counted = model_count([op_count(10, kernel=kernel)])
    for played in ("cortex-a53", "cortex-a72", "cortex-a76"):
        as_played = counted.model_copy(update={"core": played})
        if played == core:
            check_kernels(as_played)
        else:
            with pytest.raises(VerificationError, match=f"does not take on a {played}"):
                check_kernels(as_played)


@pytest.mark.parametrize(
    "kernel",
    [
        "xnn_f32_igemm_minmax_ukernel_1x8__asm_aarch64_neonfma_cortex_a53",  # one row: any core's
        "xnn_f32_dwconv_minmax_ukernel_9p8c__neonfma",
        "(other)",
    ],
)
def test_kernels_that_tell_nothing_of_the_core_are_let_through(kernel: str) -> None:
    check_kernels(model_count([op_count(10, kernel=kernel)]))


def test_more_kernels_beside_the_cores_own_are_let_through() -> None:
    own = "xnn_f32_igemm_minmax_ukernel_2x8__asm_aarch64_neonfma_cortex_a75"
    check_kernels(model_count([op_count(10), op_count(10, kernel=own)]))
