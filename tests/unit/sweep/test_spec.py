"""What a sweep's file may say, and how faults in it are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.tiny_sweeps import DENSE, plan_of, write_sweep
from toolchain.errors import RecipeError
from toolchain.sweep.plan import plan_sweep
from toolchain.sweep.spec import load_sweep

FAULTS = {
    "an unknown key": (
        DENSE + '[[grid]]\nname = "b"\npolicy = ["tile"]\n',
        ["sweep.toml, line 8: grid.1.policy: is not a known key; did you mean 'policies'?"],
    ),
    "an unknown policy": (
        '[[grid]]\nname = "a"\nseeds = [1]\npolicies = ["pooled", "tiles"]\n',
        ["line 5: grid.0.policies: there is no policy 'tiles'", "did you mean 'tile'?"],
    ),
    "a value out of range": (
        DENSE + "[tasks]\nthreads = 0\n",
        ["line 7: tasks.threads: Input should be greater than or equal to 1"],
    ),
    "a missing name": ("[[grid]]\nseeds = [1]\n", ["line 2: grid.0.name: is missing"]),
    "an unknown type": (
        DENSE + '[convert]\ntypes = ["int4"]\n',
        ["line 7: convert.types.0: ", "did you mean 'int8'?"],
    ),
    "int8 without data": (
        DENSE + '[convert]\ntypes = ["int8"]\n',
        ["line 6: convert: int8 needs calibration"],
    ),
    "a grid that starts from none": (
        DENSE + '[[grid]]\nname = "b"\nstart = "dens"\n',
        ["grid 'b': no grid above it is called 'dens'; did you mean 'dense'?"],
    ),
    "two grids of a name": (DENSE + DENSE, ["two grids are called 'dense'"]),
    "files that nobody makes": (DENSE + "[evaluate]\n", ["add [convert]"]),
    "a setting that is an axis": (
        '[[grid]]\nname = "a"\nsettings = { "training.seed" = [1] }\n',
        ["line 4: grid.0.settings: 'training.seed' has a key of its own: seeds"],
    ),
    "nothing to train": ("[tasks]\nthreads = 1\n", ["add a [[grid]], or a [search]"]),
    "a search without a choice": (
        "[search]\ntrials = 4\n",
        ["line 2: search: there is nothing to choose: give sparsity"],
    ),
    "a search for speed alone": (
        '[search]\ntrials = 4\nsparsity = [0.1]\nobjectives = ["macs"]\n',
        ["search: objectives: accuracy is missing"],
    ),
    "a search by times of no board": (
        "[search]\ntrials = 4\nsparsity = [0.1]\nmost_ms = 3\n",
        ["search: milliseconds need a board: add [convert], and [[estimate]] or [[measure]]"],
    ),
    "a search by times of one of two boards": (
        "[search]\ntrials = 4\nsparsity = [0.1]\nmost_ms = 3\n[convert]\n"
        '[[estimate]]\nboard = "rpi4"\n[[estimate]]\nboard = "rpi5"\n',
        ["search: there are 2 boards", "say whose milliseconds count (board)"],
    ),
    "a search by times of another board": (
        '[search]\ntrials = 4\nsparsity = [0.1]\nmost_ms = 3\nboard = "rpi5"\n[convert]\n'
        '[[estimate]]\nboard = "rpi4"\n',
        ["search: board 'rpi5' stands neither under", "did you mean 'rpi4'?"],
    ),
    "a search of another type": (
        '[search]\ntrials = 4\nsparsity = [0.1]\ntype = "int8"\n[convert]\n',
        ["search: type 'int8' is none of [convert] types"],
    ),
    "a search that starts from none": (
        DENSE + '[search]\ntrials = 4\nsparsity = [0.1]\nstart = "dens"\n',
        ["search: no grid is called 'dens'; did you mean 'dense'?"],
    ),
    "a span that is upside down": (
        "[search]\ntrials = 4\nsparsity = { low = 0.4, high = 0.1 }\n",
        ["line 4: search.sparsity", "low 0.4 is not below high 0.1"],
    ),
    "a span of shares up to all": (
        "[search]\ntrials = 4\nsparsity = { low = 0.4, high = 1.0 }\n",
        ["line 4: search.sparsity: 0.4 to 1 is not from 0 and below 1"],
    ),
    "logarithms of nothing": (
        "[search]\ntrials = 4\n"
        'settings = { "optimizer.learning_rate" = { low = 0, high = 1, log = true } }\n',
        ["log goes with a low above 0"],
    ),
    "a setting of a search that is an axis": (
        '[search]\ntrials = 4\nsettings = { "masks.sparsity" = [0.1] }\n',
        ["line 4: search.settings: 'masks.sparsity' has a key of its own: sparsity"],
    ),
    "a board twice": (
        DENSE + '[convert]\n[[estimate]]\nboard = "rpi4"\n[[estimate]]\nboard = "rpi4"\n',
        ["board 'rpi4' stands twice under [[estimate]]"],
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_told_with_its_line(tmp_path: Path, case: str) -> None:
    text, wanted = FAULTS[case]
    with pytest.raises(RecipeError) as raised:
        load_sweep(write_sweep(tmp_path, text))
    assert [part for part in wanted if part not in raised.value.what] == []
    assert raised.value.hint is not None
    assert "docs/reference/sweeps.md" in raised.value.hint


def test_every_fault_has_a_line_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        load_sweep(write_sweep(tmp_path, DENSE + "[tasks]\nthreads = 0\ngpu = 1\n"))
    assert len(raised.value.what.splitlines()) == 2


def test_a_file_that_is_no_toml_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is not TOML"):
        load_sweep(write_sweep(tmp_path, "[[grid"))


def test_a_setting_that_no_recipe_has_is_told_with_its_grid(tmp_path: Path) -> None:
    text = '[[grid]]\nname = "a"\nsettings = { "optimizer.learning_rat" = [0.1] }\n'
    with pytest.raises(RecipeError, match=r"grid 'a': optimizer\.learning_rat: is not a known key"):
        plan_of(tmp_path, text)


def test_masks_need_a_sparsity(tmp_path: Path) -> None:
    text = '[[grid]]\nname = "a"\npolicies = ["tile"]\n'
    path = write_sweep(tmp_path, text)
    (tmp_path / "recipe.toml").write_text('[model]\nfactory="a:b"\n[data]\nsource="c:d"\n')
    with pytest.raises(RecipeError, match=r"grid 'a': masks\.sparsity: is missing"):
        plan_sweep(load_sweep(path), path)
