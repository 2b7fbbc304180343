"""The experiment's cases and its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolchain.dev.experiment.page import grouped, page, plot, write_page
from toolchain.dev.experiment.runs import SEEDS, CaseResult, experiment, plan_of
from toolchain.errors import OutputError
from toolchain.sparsity.policies import POLICIES
from toolchain.sweep.plan import Network


def networks() -> list[Network]:
    return plan_of(experiment()).networks


def results() -> list[CaseResult]:
    """One for each training, of plausible size: the fuller the network, the better."""
    return [
        CaseResult(
            seed=seed,
            policy=one.labels.policy,
            sparsity=one.labels.sparsity,
            pruned=one.labels.pruned,
            fine_tuned=one.grid == "tuned",
            accuracy=0.9 - 0.02 * one.labels.sparsity - 0.02 * one.labels.pruned + 0.001 * seed,
            macs_kept=int(4_000_000 * (1 - one.labels.sparsity) * (1 - one.labels.pruned)),
            parameters=1,
            epochs=5,
        )
        for one in networks()
        for seed in [one.recipe.training.seed]
    ]


def test_every_policy_meets_every_sparsity_with_every_seed_once() -> None:
    every = results()
    assert len(every) == len({one.key for one in every}) == 3 * (1 + 5 * 4 + 6)
    wanted = {(p, s, seed) for p in POLICIES for s in (0.1, 0.2, 0.3, 0.5) for seed in SEEDS}
    found = {(one.policy, one.sparsity, one.seed) for one in every if not one.fine_tuned}
    assert found == wanted | {(None, 0.0, seed) for seed in SEEDS}


def test_recipes_differ_in_what_is_compared_only() -> None:
    every = {one.name: one.recipe for one in networks()}
    dense, masked = every["dense-seed1"], every["masked-tile-s0.3-seed1"]
    assert dense.masks is None
    assert masked.masks is not None
    assert (masked.masks.policy, masked.masks.sparsity, masked.masks.kernels) == (
        "tile", 0.3, "3x3",
    )  # fmt: skip
    assert dense == masked.model_copy(update={"masks": None})


def test_fine_tuned_networks_start_from_the_dense_one_of_their_seed() -> None:
    plan = plan_of(experiment())
    every = {one.name: one for one in plan.networks}
    both = every["tuned-s0.3-p0.25-seed2"]
    assert plan.tasks[both.train].needs == (every["dense-seed2"].train,)
    assert both.recipe.pruning is not None
    assert both.recipe.pruning.ratio == 0.25
    assert both.recipe.optimizer.learning_rate == 0.05


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
    assert len(json.loads(paths[2].read_text())) == len(networks())
    with pytest.raises(OutputError):
        write_page(results(), paths[0])
