"""The experiment's cases and its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolchain.dev.experiment.page import grouped, page, plot, write_page
from toolchain.dev.experiment.runs import Case, CaseResult, cases, recipe
from toolchain.errors import OutputError
from toolchain.sparsity.policies import POLICIES


def results() -> list[CaseResult]:
    """One for each case, of plausible size: the fuller the network, the better."""
    return [
        CaseResult(
            seed=case.seed,
            policy=case.policy,
            sparsity=case.sparsity,
            pruned=case.pruned,
            fine_tuned=case.fine_tuned,
            accuracy=0.9 - 0.02 * case.sparsity - 0.02 * case.pruned + 0.001 * case.seed,
            macs_kept=int(4_000_000 * (1 - case.sparsity) * (1 - case.pruned)),
            parameters=1,
            epochs=5,
        )
        for case in cases()
    ]


def test_every_policy_meets_every_sparsity_with_every_seed_once() -> None:
    every = cases()
    assert len(every) == len(set(every)) == len({case.key for case in every})
    wanted = {(p, s, seed) for p in POLICIES for s in (0.1, 0.2, 0.3, 0.5) for seed in (0, 1, 2)}
    assert {
        (c.policy, c.sparsity, c.seed) for c in every if c.policy and not c.fine_tuned
    } == wanted
    assert [c for c in every if c == Case(c.seed)] == every[:3]


def test_recipes_differ_in_what_is_compared_only() -> None:
    dense, masked = recipe(Case(1)), recipe(Case(1, "tile", 0.3))
    assert dense.masks is None
    assert masked.masks is not None
    assert dense == masked.model_copy(update={"masks": None})


def test_fine_tuned_networks_start_from_the_dense_one_of_their_seed() -> None:
    both = recipe(Case(2, "pooled", 0.3, 0.25, fine_tuned=True))
    assert str(both.model.weights) == f"{Case(2).key}.safetensors"
    assert both.pruning is not None
    assert both.pruning.ratio == 0.25


def test_means_and_spreads_are_those_of_the_seeds() -> None:
    dense, *_ = grouped(results())
    assert dense.accuracies == pytest.approx((0.9, 0.901, 0.902))
    assert dense.mean == pytest.approx(0.901)
    assert dense.spread == pytest.approx(0.001)


def test_the_page_has_a_line_for_each_policy_and_each_combination() -> None:
    text = page(results())
    assert "Dense: **90.10 ± 0.10**" in text
    assert "| lattice | 89.90 ± 0.10 (-0.20) | 89.70 ± 0.10 (-0.40) |" in text
    assert "| 50% | pooled, s = 0.3 | 1.40 M | 35% | 88.50 ± 0.10 |" in text
    assert all(f"| {policy} |" in text for policy in POLICIES)


def test_the_same_results_give_the_same_picture() -> None:
    groups = grouped(results())
    assert plot(groups) == plot(groups)
    assert plot(groups).startswith(b"<?xml")
    assert all(name in plot(groups).decode() for name in POLICIES)


def test_the_figures_are_written_beside_the_page(tmp_path: Path) -> None:
    paths = write_page(results(), tmp_path)
    assert [path.name for path in paths] == ["experiment.md", "experiment.svg", "experiment.json"]
    assert len(json.loads(paths[2].read_text())) == len(cases())
    with pytest.raises(OutputError):
        write_page(results(), paths[0])
