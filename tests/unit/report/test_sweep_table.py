"""What a sweep's table says of a search."""

from __future__ import annotations

import io

from rich.console import Console

from support.sweep_results import configuration, searched, sweep_results, time, trial
from toolchain.report.sweep_table import results_table
from toolchain.sweep.document import SearchResults


def shown(search: SearchResults) -> str:
    results = sweep_results(configuration("search-0", 0.9, 700, time("rpi4", 9.0)))
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(results_table(results.model_copy(update={"search": search}), 120))
    return console.export_text()


def test_the_best_trials_are_named_with_what_was_chosen_for_them() -> None:
    said = shown(searched(trial(0, 0.9), trial(1, 0.93, 11.5, best=True), trial(2, None)))
    assert "search: 3 of 6 trials have ended, 1 of them without a result" in said
    assert "best: search-1: 93.00%, 11.50 ms, 700 MACs (policy tile, sparsity 0.25)" in said
    assert "search-0:" not in said


def test_a_limit_that_no_trial_keeps_is_told() -> None:
    said = shown(searched(trial(0, 0.9), most_ms=5))
    assert "no trial keeps to the limits: at most 5 ms" in said


def test_a_long_front_is_cut() -> None:
    said = shown(searched(*(trial(number, 0.9, best=True) for number in range(13))))
    assert said.count("best: search-") == 10
    assert "and 3 more, which sweep.json marks" in said
