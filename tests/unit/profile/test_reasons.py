"""Why an operator misses its ideal: each part of the gap by a rule, and what no rule names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from support.benches import GEMM, KERNEL, operator_row
from support.places import REPOSITORY
from support.timed_ops import two_layers
from toolchain.profile.operator_reasons import UNEXPLAINED, reason, time_reason
from toolchain.profile.operators import LayerTrace, OperatorRow, Tile

LARGE = KERNEL.replace("4x8", "6x8")
LIVE = "xnn_qs8_qc8w_live_igemm_minmax_fp32_ukernel_6x8__neon"

SENTENCES: list[tuple[dict[str, Any], str | None]] = [
    ({"masked": 800}, None),
    ({"masked": 842}, None),  # 0.9501 of the ideal
    ({"masked": 843}, f"{UNEXPLAINED}: 43 instructions more (4.30%)"),
    ({"masked": 610, "live": 0.75}, None),
    ({"masked": 0}, None),
    # Three pixels less are no tile less.
    (
        {"dense": 1600, "masked": 1600, "pixels": 16, "kept": 13},
        "tiles of 4: 16 rows computed for 13 kept, dense 16 for 16 (30.00% of the inference)",
    ),
    (
        {"dense": 1600, "masked": 1800, "pixels": 16, "kept": 13, "mr": (4, 6)},
        "tiles of 6: 18 rows computed for 13 kept, dense 16 for 16 (tiles of 4) "
        "(50.00% of the inference)",
    ),
    (
        {"masked": 1000, "outside": (0, 200)},
        "outside of the micro-kernel 2.5 instructions a kept pixel, dense 0.0 "
        "(20.00% of the inference)",
    ),
    (
        {"masked": 1000, "outside": (100, 280)},  # 80 of them would be there in any case
        "outside of the micro-kernel 3.5 instructions a kept pixel, dense 1.0 "
        "(20.00% of the inference)",
    ),
    (
        {"masked": 900, "kernels": (GEMM, KERNEL)},
        "another micro-kernel: igemm, dense gemm (10.00% of the inference)",
    ),
    (
        {"masked": 900, "kernels": (KERNEL, LIVE)},
        "another micro-kernel: live igemm 6x8__neon, dense igemm "
        "4x8__asm_aarch64_neonfma_cortex_a75_prfm (10.00% of the inference)",
    ),
    (
        {"masked": 900, "kind": "dw 3x3", "mr": (1, 1)},
        "more calls of the micro-kernel, for short runs of pixels (10.00% of the inference)",
    ),
    ({"masked": 800, "live": 0.75}, "masked taps are computed (20.00% of the inference)"),
    # Of taps that may be skipped fewer than half are: then something else is the reason.
    ({"masked": 690, "live": 0.75}, f"{UNEXPLAINED}: 90 instructions more (9.00%)"),
    (
        {"masked": 1100, "pixels": None, "kept": None},
        f"{UNEXPLAINED}: not masked, and still more instructions than dense "
        "(10.00% of the inference)",
    ),
    (
        {"masked": 1100, "kept": 100},
        f"{UNEXPLAINED}: not masked, and still more instructions than dense "
        "(10.00% of the inference)",
    ),
    (
        {"dense": 0, "masked": 50, "pixels": None, "kept": None},
        "only the masked model has it, a change of layout (5.00% of the inference)",
    ),
    (
        {"masked": 1200, "outside": (0, 100)},
        "outside of the micro-kernel 1.2 instructions a kept pixel, dense 0.0 "
        f"(10.00% of the inference); {UNEXPLAINED}: 300 instructions more (30.00%)",
    ),
]


@pytest.mark.parametrize(("figures", "said"), SENTENCES)
def test_a_sentence_says_what_the_gap_is_made_of(figures: dict[str, Any], said: str | None) -> None:
    assert reason(operator_row(**figures), None, total=1000) == said


@pytest.fixture
def layer(tmp_path: Path) -> LayerTrace:
    """With a mask."""
    return two_layers(tmp_path)[0]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("the fill is computed", "its mask is not skipped: the fill is computed (10.00% of the "
         "inference)"),
        (None, f"{UNEXPLAINED}: its mask is not skipped (10.00% of the inference)"),
    ],
)  # fmt: skip
def test_a_mask_that_is_not_skipped_is_the_reason(
    layer: LayerTrace, fault: str | None, said: str
) -> None:
    row = operator_row(masked=1100, kept=100)
    assert reason(row, layer.model_copy(update={"fault": fault}), total=1000) == said


TIMES: list[tuple[dict[str, Any], bool, str | None]] = [
    ({"masked": 800}, True, None),
    ({"masked": 0}, True, None),
    ({"masked": 842}, True, None),
    ({"masked": 843}, True, "calls, moves or memory, which a time does not tell apart"),
    ({"masked": 900}, False, "the same work in both models: caches, or chance"),
    (
        {"dense": 1600, "masked": 1600, "pixels": 16, "kept": 13},
        True,
        "tiles of 4: 16 rows computed for 13 kept, dense 16 for 16",
    ),
    (
        {"dense": 1600, "masked": 1800, "pixels": 16, "kept": 13},
        True,
        "tiles of 4: 16 rows computed for 13 kept, dense 16 for 16; "
        "calls, moves or memory, which a time does not tell apart",
    ),
    (
        {"masked": 900, "kernels": (GEMM, KERNEL)},
        True,
        "another micro-kernel: igemm, dense gemm",
    ),
    (
        {"dense": 1600, "masked": 2000, "pixels": 16, "kept": 13, "kernels": (KERNEL, LARGE),
         "mr": (4, 6)},
        True,
        "tiles of 6: 18 rows computed for 13 kept, dense 16 for 16 (tiles of 4); "
        "another micro-kernel: igemm 6x8__asm_aarch64_neonfma_cortex_a75_prfm, dense igemm "
        "4x8__asm_aarch64_neonfma_cortex_a75_prfm",
    ),
    (
        {"dense": 0, "masked": 50, "pixels": None, "kept": None},
        True,
        "only this model has it, a change of layout",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("figures", "skipped", "said"), TIMES)
def test_a_time_tells_less(figures: dict[str, Any], skipped: bool, said: str | None) -> None:
    row = operator_row(**figures)
    if not row.dense:
        assert time_reason(row.model_copy(update={"shape": "1 -> 2"}), None, skipped=True) is None
        row = row.model_copy(update={"shape": ""})
    assert time_reason(row, None, skipped=skipped) == said


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("the fill is computed", "its mask is not skipped: the fill is computed"),
        (None, "its mask is not skipped"),
    ],
)
def test_a_time_misses_its_ideal_where_its_mask_is_not_skipped(
    layer: LayerTrace, fault: str | None, said: str
) -> None:
    row = operator_row(masked=1000)
    own = layer.model_copy(update={"fault": fault})
    assert time_reason(row, own, skipped=False) == said
    assert time_reason(row, own.model_copy(update={"masked": False}), skipped=False) == (
        "the same work in both models: caches, or chance"
    )


def test_a_micro_kernel_for_live_taps_computes_no_row_too_many() -> None:
    assert Tile(ukernel=KERNEL, mr=4, rows=13).computed == 16
    assert Tile(ukernel=LIVE, mr=6, rows=13).computed == 13
    assert Tile(ukernel=None, mr=4, rows=12).computed == 12


def test_what_a_row_lacks_has_no_ratio() -> None:
    row: OperatorRow = operator_row(dense=1000, masked=500)
    assert (row.speedup, row.of_ideal, row.lost, row.by_pixels) == (2.0, 1.6, -300.0, 1.25)
    only = operator_row(dense=0, masked=50, pixels=None, kept=None)
    assert (only.speedup, only.of_ideal, only.by_pixels) == (None, None, None)
    gone = operator_row(dense=50, masked=0)
    assert (gone.speedup, gone.of_ideal) == (None, None)


def test_the_page_on_slow_layers_explains_every_reason(layer: LayerTrace) -> None:
    row, masked = operator_row(masked=1100, kept=100), layer.model_copy(update={"fault": "so"})
    said = [text for *_, text in TIMES] + [time_reason(row, masked, skipped=False)]
    parts = {part for text in said if text for part in text.split("; ")}
    heads = {re.split(r"\d|: ", part)[0].strip() for part in parts}
    page = (REPOSITORY / "docs/how-to/find-the-slow-layer.md").read_text(encoding="utf-8")
    table = page.partition("| `why` begins with |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)) == heads
