"""Tables of operators, as benchmark_model really prints them and as CSV."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.foreign_samples import SAMPLES, reading, sample
from toolchain.errors import ModelError
from toolchain.profile.foreign import benchmark_profile
from toolchain.profile.results import OperatorResult, read_result

RUNS = "Operator-wise Profiling Info for Regular Benchmark Runs:\n"
ORDER = "============================== Run Order ==============================\n"
BY_TYPE = "============================== Summary by node type ==============================\n"


def operators(name: str) -> list[OperatorResult]:
    (model,) = read_result(SAMPLES / "benchmark_model" / name).models
    return model.operators


def cells(name: str) -> list[list[str]]:
    """The rows of the inferences' table in the order of execution, by tabs."""
    text = sample(f"benchmark_model/{name}").partition("Regular Benchmark Runs:")[2]
    table = text.partition("Top by")[0]
    return [line.split("\t")[1:] for line in table.splitlines() if "%\t" in line]


@pytest.mark.parametrize("name", ["xnnpack.txt", "reference.txt"])
def test_every_operator_of_real_output_is_read(name: str) -> None:
    rows, found = cells(name), operators(name)
    assert len(rows) == len(found) > 10
    for index, (row, one) in enumerate(zip(rows, found, strict=True)):
        kind, _, mean_ms, share, _, _, calls, what = (cell.strip() for cell in row)
        assert (one.index, one.type, one.name) == (index, kind, what)
        assert one.mean_us == pytest.approx(float(mean_ms) * 1000)
        assert one.share == pytest.approx(float(share.rstrip("%")) / 100)
        assert (one.calls, one.median_us) == (int(calls), None)


@pytest.mark.parametrize("kind", ["xnnpack", "reference"])
def test_a_csv_has_the_same_operators_as_the_text(kind: str) -> None:
    in_csv, in_text = operators(f"{kind}.csv"), operators(f"{kind}.txt")
    assert [(one.index, one.type, one.name, one.calls) for one in in_csv] == [
        (one.index, one.type, one.name, one.calls) for one in in_text
    ]
    shares = [one.share for one in in_csv if one.share is not None]
    assert sum(shares) == pytest.approx(1, abs=0.01)


def test_a_csv_alone_tells_no_time_of_an_inference() -> None:
    (model,) = read_result(SAMPLES / "benchmark_model/xnnpack.csv").models
    assert {value for _, value in model.summary} == {None}
    assert (model.name, model.threads) == ("xnnpack", None)
    assert "operators alone" in model.notes[0]


def test_what_happens_before_the_first_inference_is_no_operator() -> None:
    text = sample("benchmark_model/xnnpack.txt")
    assert "ModifyGraphWithDelegate" in text
    assert all("Graph" not in (one.type or "") for one in operators("xnnpack.txt"))


def test_a_summary_by_type_stands_where_the_order_is_missing(tmp_path: Path) -> None:
    text = sample("benchmark_model/xnnpack.txt")
    begin = text.index(ORDER, text.index(RUNS))
    short = text[:begin] + text[text.index(BY_TYPE, begin) :]
    (model,) = reading(tmp_path, short)
    types = [one.type for one in model.operators]
    assert sorted(set(types), key=str) == sorted(types, key=str)
    assert set(types) == {one.type for one in operators("xnnpack.txt")}
    assert all(one.name is None for one in model.operators)
    assert sum(one.calls or 0 for one in model.operators) == 17
    assert model.notes == [benchmark_profile.SUMMED]


def test_a_table_with_starts_of_older_versions_is_read(tmp_path: Path) -> None:
    table = (
        f"{ORDER}"
        "\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]"
        "\t  [mem KB]\t[times called]\t[Name]\n"
        "\t                 CONV_2D\t            0.000\t    4.200\t    2.100\t 99.000%\t 99.000%"
        "\t     0.000\t        2\t[a, b]:0\n"
    )
    (model,) = reading(tmp_path, sample("benchmark_model/dry_run.txt") * 0 + table)
    (one,) = model.operators
    assert (one.type, one.name, one.calls, one.share) == ("CONV_2D", "[a, b]:0", 2, 0.99)
    assert one.mean_us == 2100
    csv = (
        f"{ORDER}node type, start, first, avg_ms, %, cdf%, mem KB, times called, name\n"
        "CONV_2D, 0, 4.2, 2.1, 99%, 99%, 0, 2, [a\t b]:0\n"
    )
    assert reading(tmp_path, csv)[0].operators == [one]


def test_a_delegates_inside_and_subgraphs_are_part_of_other_operators(tmp_path: Path) -> None:
    header = "\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]\n"
    row = "\t{0}\t1.0\t1.0\t50.0%\t50.0%\t0.0\t1\t{0}:0\n"
    text = (
        f"{RUNS}Primary graph profile:\n{ORDER}{header}{row.format('WHILE')}\n"
        "Timings (microseconds): count=1 curr=7\n\n"
        f"Subgraph (index: 1) profile:\n{ORDER}{header}{row.format('ADD')}\n"
        f"Delegate internal: \n{ORDER}{header}{row.format('DelegateOpInvoke')}\n"
    )
    (model,) = reading(tmp_path, text)
    assert [one.type for one in model.operators] == ["WHILE"]


def test_lines_of_others_between_rows_are_passed_by(tmp_path: Path) -> None:
    text = sample("benchmark_model/xnnpack.txt")
    noisy = re.sub(r"(?m)^(\t +Convolution.*)$", "\\1\nW/other: something 12% else", text)
    assert noisy != text
    assert reading(tmp_path, noisy) == reading(tmp_path, text)


def test_a_table_ends_at_an_empty_line(tmp_path: Path) -> None:
    text = sample("benchmark_model/xnnpack.txt")
    assert reading(tmp_path, text + "\tno row of it\n") == reading(tmp_path, text)
    begin = text.index("\n\n", text.index(RUNS))
    inside = text[: begin + 1] + "\tno row of it\n" + text[begin + 1 :]
    with pytest.raises(ModelError, match="'no row of it' is no row"):
        reading(tmp_path, inside)


def test_operators_that_took_no_time_have_no_share(tmp_path: Path) -> None:
    """The tool divides by their sum."""
    text = sample("benchmark_model/xnnpack.txt")
    broken = re.sub(r"\d+\.\d+%", "-nan%", text)
    (model,) = reading(tmp_path, broken)
    assert {one.share for one in model.operators} == {None}


@pytest.mark.parametrize("figure", ["nan", "-1.000", "inf", "-nan"])
def test_a_time_that_is_none_is_refused_with_its_line(tmp_path: Path, figure: str) -> None:
    lines = sample("benchmark_model/xnnpack.txt").splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if "IGEMM:1\n" in line)
    fields = lines[at].split("\t")
    fields[3] = figure
    lines[at] = "\t".join(fields)
    with pytest.raises(ModelError, match=f"line {at + 1}: '{figure}' is no time of an operator"):
        reading(tmp_path, "".join(lines))


def test_a_row_with_a_hole_is_refused_with_its_line(tmp_path: Path) -> None:
    lines = sample("benchmark_model/reference.txt").splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if "\tCONV_2D\t" in line.replace(" ", ""))
    lines[at] = lines[at].replace("%", "", 1)
    with pytest.raises(ModelError, match=f"line {at + 1}: .* is no row of the table"):
        reading(tmp_path, "".join(lines))


def test_a_row_that_was_cut_is_left_out_and_that_is_told(tmp_path: Path) -> None:
    text = sample("benchmark_model/xnnpack.csv")
    end = text.index("IGEMM:6\n") + len("IGEMM:")
    path = tmp_path / "cut.csv"
    path.write_text(text[:end])
    result = read_result(path)
    assert len(result.models[0].operators) == 6
    assert "cut" in result.notes[0] or "middle of a line" in result.notes[0]


def test_more_operators_than_a_model_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_profile, "MOST_OPERATORS", 16)
    with pytest.raises(ModelError, match="more than 16 operators"):
        reading(tmp_path, sample("benchmark_model/xnnpack.csv"))
