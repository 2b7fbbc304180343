"""What ``deploy gain`` says as a document: rows and layers of an estimate, and of a profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.gains import an_estimate, estimated_gain, maskable, measured_gain, records
from toolchain.formats.json_text import to_json
from toolchain.profile.gain_document import (
    Gain,
    layers_of_estimate,
    notes_of_estimate,
    rows_of_estimate,
)


def test_the_file_is_first_and_each_copy_has_its_sparsity(tmp_path: Path) -> None:
    for gain in (estimated_gain(tmp_path), measured_gain(tmp_path)):
        assert [row.sparsity for row in gain.rows] == [0, 0.2, 0.4]
        assert [row.untrained for row in gain.rows] == [False, True, True]


def test_an_estimate_has_times_their_ends_and_what_they_are_spent_on(tmp_path: Path) -> None:
    gain = estimated_gain(tmp_path)
    dense, first, second = gain.rows
    assert dense.ms == pytest.approx(0.315)
    assert first.speedup == pytest.approx(0.315 / 0.220)
    assert second.speedup == pytest.approx(0.315 / 0.265)
    for row in gain.rows:
        assert row.ms is not None
        assert row.low_ms is not None
        assert row.high_ms is not None
        assert row.low_ms < row.ms < row.high_ms
        assert sum(row.by_bound.values()) == pytest.approx(row.ms)
        assert row.bound == "core"
    assert [row.by_plan for row in gain.rows] == [1, 1.25, 1.25]
    assert not gain.measured
    assert gain.profile is None


def test_a_profile_has_medians_and_where_the_ratio_lies(tmp_path: Path) -> None:
    gain = measured_gain(tmp_path)
    assert [row.ms for row in gain.rows] == [2, 1.6, 1.25]
    assert gain.rows[0].speedup == 1
    last = gain.rows[-1]
    assert last.speedup == pytest.approx(1.6, rel=0.01)
    assert last.speedup is not None
    assert last.low_speedup is not None
    assert last.high_speedup is not None
    assert last.low_speedup <= last.speedup <= last.high_speedup
    assert last.bound is None
    assert gain.measured
    assert gain.estimate is None


def test_on_an_emulated_board_instructions_are_what_is_compared(tmp_path: Path) -> None:
    gain = measured_gain(tmp_path, emulated=True)
    assert gain.emulated
    assert [row.ms for row in gain.rows] == [None, None, None]
    assert [row.instructions for row in gain.rows] == [2000, 1600, 1250]
    assert gain.rows[-1].speedup == pytest.approx(1.6)


def test_layers_are_set_beside_each_other_what_saves_most_first(tmp_path: Path) -> None:
    gain = estimated_gain(tmp_path)
    assert [one.saved_ms for one in gain.by_layer] == sorted(
        (one.saved_ms for one in gain.by_layer), reverse=True
    )
    layers = [one for one in gain.by_layer if one.shape]
    assert [one.ms for one in layers] == [0.1, 0.2]
    assert [one.copies_ms for one in layers] == [[0.095, 0.06], [0.11, 0.19]]
    assert {one.bound for one in layers} == {"multiply"}
    for number, row in enumerate(gain.rows[1:]):
        every = sum(one.copies_ms[number] or 0 for one in gain.by_layer)
        assert row.ms is not None
        assert every == pytest.approx(row.ms - 0.005), "but for what is outside of operators"


def test_two_operators_after_one_layer_are_two(tmp_path: Path) -> None:
    source = maskable(tmp_path)
    copies = records(source, 0.2, 0.4)
    found = an_estimate(source, copies)
    doubled = [
        one.model_copy(update={"beside": [*one.beside, *one.beside[1:2]]}) for one in found.models
    ]
    before = layers_of_estimate(found)
    after = layers_of_estimate(found.model_copy(update={"models": [doubled[0], *doubled[1:]]}))
    assert len(after) == len(before) + 1


def test_a_copy_without_operators_beside_leaves_no_layers(tmp_path: Path) -> None:
    source = maskable(tmp_path)
    found = an_estimate(source, records(source, 0.2, 0.4))
    dense, first, second = found.models
    bare = second.model_copy(update={"beside": []})
    assert layers_of_estimate(found.model_copy(update={"models": [dense, first, bare]})) == []
    assert layers_of_estimate(found.model_copy(update={"models": [dense]})) == []


def test_sparse_weights_that_masks_cost_are_told_and_have_no_plan(tmp_path: Path) -> None:
    source = maskable(tmp_path)
    copies = records(source, 0.2, 0.4)
    found = an_estimate(source, copies)
    assert list(notes_of_estimate(found)) == []
    dense, *others = found.models
    sparse = [
        one.model_copy(update={"type": "Convolution (NCHW, F32) SPMM"})
        if one.macs_computed
        else one
        for one in dense.operators
    ]
    dense = dense.model_copy(update={"operators": sparse})
    found = found.model_copy(update={"models": [dense, *others]})
    (line,) = notes_of_estimate(found)
    assert "computes 2 layers by their sparse weights alone" in line
    assert [row.by_plan for row in rows_of_estimate(found, copies)] == [None, None, None]


def test_layers_that_xnnpack_does_not_take_are_told(tmp_path: Path) -> None:
    source = maskable(tmp_path)
    found = an_estimate(source, records(source, 0.2, 0.4))
    *others, last = found.models
    ops = list(last.operators)
    ops[0] = ops[0].model_copy(update={"type": "CONV_2D", "delegated": False})
    last = last.model_copy(update={"operators": ops})
    found = found.model_copy(update={"models": [*others, last]})
    assert list(notes_of_estimate(found)) == [
        "XNNPACK does not take 1 layer with masks: their masks are not skipped."
    ]


def test_the_document_is_read_as_it_is_written(tmp_path: Path) -> None:
    for gain in (estimated_gain(tmp_path), measured_gain(tmp_path)):
        assert Gain.model_validate_json(to_json(gain)) == gain
