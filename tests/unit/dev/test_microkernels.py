"""A micro-kernel of ours that no test calls is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.dev.microkernels import Coverage, by_rows, coverage, own_microkernels
from toolchain.errors import BuildError
from toolchain.hardware.facts import Isa
from toolchain.resources import runtime_patch_dir

ONE, TWO = "xnn_f32_live_igemm_minmax_ukernel_1x16__fma3", "xnn_f32_live_igemm_ukernel_2x16__fma3"
OUTPUT = f"""[ RUN      ] ukernels/LiveIgemm.any_taps/{ONE}
[       OK ] ukernels/LiveIgemm.any_taps/{ONE} (3 ms)
"""


def shipped(isa: Isa) -> tuple[str, ...]:
    return own_microkernels(runtime_patch_dir() / "xnnpack", isa)


@pytest.mark.parametrize(
    ("isa", "families"),
    [
        (
            "x86-64",
            [
                "5 xnn_f32_live_igemm_minmax_ukernel_*x16__fma3_broadcast",
                "7 xnn_f32_live_igemm_minmax_ukernel_*x32__avx512f_broadcast",
                "7 xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_*x16c8__avx512vnni",
                "1 xnn_qs8_qc8w_live_sum_ukernel_*x16c8__avx512vnni",
            ],
        ),
        (
            "aarch64",
            [
                "6 xnn_f32_live_igemm_minmax_ukernel_*x8__aarch64_neonfma",
                "6 xnn_f32_live_igemm_minmax_ukernel_*x8__asm_aarch64_neonfma_cortex_a53",
            ],
        ),
        ("armv7", []),
    ],
)
def test_micro_kernels_are_those_of_the_instruction_set(isa: Isa, families: list[str]) -> None:
    assert sorted(by_rows(shipped(isa)), key=lambda line: line[2:]) == families


def test_a_file_that_is_listed_adds_its_micro_kernels_but_not_their_table(tmp_path: Path) -> None:
    (tmp_path / "overlay/cmake").mkdir(parents=True)
    (tmp_path / "overlay/one.c").write_text(f"ukernel(1, {ONE}) \\\n {TWO}(xnn_x_ukernel_table__y)")
    (tmp_path / "overlay/cmake/tileskip.cmake").write_text(
        "FUNCTION(TILESKIP_ADD_MICROKERNELS ISA)\nTILESKIP_ADD_MICROKERNELS(FMA3\n  one.c)\n"
    )
    assert own_microkernels(tmp_path, "x86-64") == (ONE, TWO)
    assert own_microkernels(tmp_path, "aarch64") == ()


def test_a_list_of_no_known_instruction_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "overlay/cmake").mkdir(parents=True)
    (tmp_path / "overlay/cmake/tileskip.cmake").write_text(
        "TILESKIP_ADD_MICROKERNELS(RVV\n  a.c)\n"
    )
    with pytest.raises(BuildError, match="RVV"):
        own_microkernels(tmp_path, "x86-64")


@pytest.mark.parametrize("outcome", ["OK", "FAILED"])
def test_a_test_that_ran_called_its_micro_kernel(outcome: str) -> None:
    output = OUTPUT.replace("[       OK ]", f"[ {outcome:>8} ]")
    assert coverage((ONE, TWO), output) == Coverage((ONE,), (), untested=(TWO,))


def test_a_failed_test_is_told_with_its_parameter() -> None:
    output = f"[  FAILED  ] ukernels/LiveIgemm.any_taps/{ONE}, where GetParam() = {ONE} (1 ms)\n"
    assert coverage((ONE,), output) == Coverage((ONE,), (), ())


def test_a_micro_kernel_whose_tests_were_all_skipped_was_not_called() -> None:
    skipped = OUTPUT.replace("[       OK ]", "[  SKIPPED ]")
    assert coverage((ONE,), skipped) == Coverage((), (ONE,), ())
    assert coverage((ONE,), skipped + OUTPUT) == Coverage((ONE,), (), ())


def test_a_test_that_began_and_did_not_end_called_nothing() -> None:
    assert coverage((ONE,), OUTPUT.splitlines()[0]) == Coverage((), (), (ONE,))
