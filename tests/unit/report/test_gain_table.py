"""The tables of ``deploy gain``: what fits, and what they say of masks that were not trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import rich.console
from rich.cells import cell_len
from rich.console import RenderableType

from support.gains import estimated_gain, measured_gain
from toolchain.profile.gain_document import Gain, LeftOut
from toolchain.report.gain_table import gain_by_layer, gain_table, left_out_lines


def lines(what: RenderableType, width: int = 200) -> list[str]:
    console = rich.console.Console(width=width)
    with console.capture() as capture:
        console.print(what)
    return capture.get().splitlines()


def text(what: RenderableType, width: int = 200) -> str:
    return " ".join(" ".join(lines(what, width)).split())


@pytest.fixture
def gain(tmp_path: Path) -> Gain:
    return estimated_gain(tmp_path)


@pytest.mark.parametrize("width", [50, 70, 100, 160])
@pytest.mark.parametrize("kind", ["estimated", "measured", "emulated"])
def test_no_line_is_wider_than_the_terminal(kind: str, width: int, tmp_path: Path) -> None:
    found = {
        "estimated": lambda: estimated_gain(tmp_path),
        "measured": lambda: measured_gain(tmp_path),
        "emulated": lambda: measured_gain(tmp_path, emulated=True),
    }[kind]()
    for table in (gain_table, gain_by_layer):
        assert max(map(cell_len, lines(table(found, width), width))) <= width


@pytest.mark.parametrize("width", [70, 160])
def test_times_by_sparsity_and_what_bounds_them(gain: Gain, width: int) -> None:
    shown = lines(gain_table(gain, width), width)
    for share, ms, speedup in (("0%", "0.32", "1.000x"), ("40%", "0.27", "1.189x")):
        (row,) = [line for line in shown if line.startswith(f"│ {share:>8} ")]
        assert ms in row
        assert speedup in row
        assert "core" in row


def test_it_says_what_is_estimated_and_that_nothing_was_trained(gain: Gain) -> None:
    shown = text(gain_table(gain))
    assert "Estimated, not measured" in shown
    assert "They are for measuring: not trained" in shown
    assert "pooled, on 2 layers that have 100% of the multiply-accumulates" in shown


def test_what_was_measured_is_not_called_an_estimate(tmp_path: Path) -> None:
    shown = text(gain_table(measured_gain(tmp_path)))
    assert "measured" in shown
    assert "stimated" not in shown
    assert "1.25" in shown


def test_an_emulated_board_has_instructions_and_no_times(tmp_path: Path) -> None:
    shown = text(gain_table(measured_gain(tmp_path, emulated=True)))
    assert "2,000" in shown
    assert "Emulated: seconds mean nothing here" in shown
    assert " ms " not in shown


def test_pixels_that_are_others_than_were_asked_for_are_shown(gain: Gain) -> None:
    assert "masked pixels" not in text(gain_table(gain))
    copies = [one.model_copy(update={"masked_pixels": 64}) for one in gain.copies]
    other = gain.model_copy(update={"copies": copies})
    assert "12.5%" in text(gain_table(other))


def test_layers_that_get_no_mask_are_told_by_their_reason() -> None:
    left = [LeftOut(layer=f"a{n}", kind="1x1", why="it is one", macs=1) for n in range(6)]
    left.insert(1, LeftOut(layer="b\x1b[31m", kind="1x1", why="it is another", macs=1))
    assert list(left_out_lines(left)) == [
        "Not masked: a0, a1, a2, a3 and 2 more: it is one.",
        "Not masked: b\\x1b[31m: it is another.",
    ]


def test_other_graphs_of_the_file_are_told(gain: Gain) -> None:
    assert "other graph" not in text(gain_table(gain))
    one = gain.model_copy(update={"other_graphs": 1})
    assert "The file's 1 other graph, of branches" in text(gain_table(one))


def test_by_layer_what_saves_most_comes_first_with_a_column_a_copy(gain: Gain) -> None:
    shown = lines(gain_by_layer(gain))
    places = [number for number, line in enumerate(shown) if "yes" in line]
    assert len(places) == 2
    assert "0.100" in shown[places[0]]
    assert "0.060" in shown[places[0]]
    assert "multiply" in shown[places[0]]
    assert "at 20%" in text(gain_by_layer(gain))
    assert "0.190" in shown[places[1]]


def test_operators_that_cannot_be_set_beside_each_other_are_told(gain: Gain) -> None:
    bare = gain.model_copy(update={"by_layer": []})
    assert "deploy estimate --per-op" in text(gain_by_layer(bare))
