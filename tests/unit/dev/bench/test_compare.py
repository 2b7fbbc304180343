"""Two benches: what got worse is told, and only that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.benches import bench, case, operator_row
from toolchain.dev.bench.__main__ import main
from toolchain.dev.bench.compare import compare
from toolchain.dev.bench.results import BenchResults, CaseResult, load_results
from toolchain.errors import ModelError

BEFORE = [case(0.0, speedup=1.0), case(0.2, instructions=800_000, speedup=1.2)]


def after(**changes: object) -> BenchResults:
    return bench([BEFORE[0], case(0.2, **{"instructions": 800_000, "speedup": 1.2} | changes)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({}, []),
        ({"instructions": 800_700}, []),  # 0.09 %
        ({"instructions": 801_000}, ["instructions"]),
        ({"instructions": 700_000}, []),
        ({"speedup": 1.19}, []),
        ({"speedup": 1.1}, ["speed-up in time"]),
        ({"speedup": 1.3}, []),
        # Three times what differs from run to run, beside the tenth of a percent.
        ({"instructions": 824_700, "spread": 0.01}, []),
        ({"instructions": 824_900, "spread": 0.01}, ["instructions"]),
    ],
)
def test_figures_beyond_their_threshold_are_worse(
    changes: dict[str, object], figures: list[str]
) -> None:
    found = compare(bench(BEFORE), after(**changes))
    assert [change.figure for change in found.worse] == figures


@pytest.mark.parametrize(("before", "now"), [(0.01, 0.0), (0.0, 0.01), (0.01, 0.01)])
@pytest.mark.parametrize(("instructions", "worse"), [(824_700, False), (824_900, True)])
def test_the_side_that_differs_more_from_run_to_run_counts(
    before: float, now: float, instructions: int, worse: bool
) -> None:
    old = bench([case(0.2, instructions=800_000, spread=before)])
    found = compare(old, bench([case(0.2, instructions=instructions, spread=now)]))
    assert [change.figure for change in found.worse] == ["instructions"] * worse


def test_an_operator_is_followed_by_its_name_wherever_it_stands() -> None:
    def with_ops(*rows: tuple[str, int]) -> CaseResult:
        ops = [operator_row(name=name, masked=masked) for name, masked in rows]
        return case(0.2, instructions=800_000, operators=ops)

    before = bench([with_ops(("a", 10_000), ("Copy", 500), ("b", 20_000), ("Copy", 700))])
    now = bench([with_ops(("Copy", 500), ("a", 10_000), ("Copy", 700), ("b", 23_000))])
    (change,) = compare(before, now).changes
    assert (change.figure, change.worse) == ("instructions of b", True)


def test_an_operator_too_small_to_matter_is_not_told() -> None:
    def with_op(masked: int) -> BenchResults:
        return bench(
            [case(0.2, instructions=800_000, operators=[operator_row(name="a", masked=masked)])]
        )

    assert compare(with_op(1000), with_op(1300)).changes == []


def test_cases_of_one_side_are_named_and_no_fault() -> None:
    found = compare(bench(BEFORE), bench([BEFORE[0], case(0.3)]))
    assert found.only_before == ["resnet18 fp32 s=0.2, 1 thread"]
    assert found.only_after == ["resnet18 fp32 s=0.3, 1 thread"]
    assert found.worse == []


def test_benches_that_cannot_be_compared_are_refused() -> None:
    other = bench(BEFORE).model_copy(update={"core": "cortex-a53"})
    with pytest.raises(ModelError, match="different cores"):
        compare(bench(BEFORE), other)
    with pytest.raises(ModelError, match="no case in common"):
        compare(bench([case(0.1)]), bench([case(0.2)]))


@pytest.mark.parametrize(("instructions", "code"), [(800_000, 0), (700_000, 0), (900_000, 1)])
def test_the_command_fails_where_something_got_worse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], instructions: int, code: int
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_bytes(bench(BEFORE).to_json())
    new.write_bytes(after(instructions=instructions).to_json())
    assert load_results(old) == bench(BEFORE)
    assert main(["compare", str(old), str(new)]) == code
    assert ("worse" in capsys.readouterr().out) or not code


@pytest.mark.parametrize("content", [None, "{}", "no JSON"])
def test_a_file_that_is_no_result_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    path = tmp_path / "r.json"
    if content is not None:
        path.write_text(content)
    assert main(["compare", str(path), str(path)]) == ModelError.exit_code
    assert str(path) in capsys.readouterr().err
