"""What is read of ExecuTorch's Inspector, by what it really writes."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from support.foreign_samples import SAMPLES, reading, sample
from toolchain.errors import ModelError
from toolchain.profile.foreign import executorch
from toolchain.profile.results import ModelResult, read_result, summary_of

CSV, TSV = "executorch/xnnpack.csv", "executorch/xnnpack.tsv"
# With columns that a test needs alone.
HEADER = "event_block_name,event_name,p50 (ms),avg (ms),is_delegated_op,delegate_backend_name\n"


def rows(name: str) -> dict[str, dict[str, str]]:
    """Events by name."""
    separator = "\t" if name.endswith("tsv") else ","
    found = csv.DictReader(io.StringIO(sample(name)), delimiter=separator)
    return {row["event_name"]: row for row in found}


def model_of(name: str) -> ModelResult:
    (model,) = read_result(SAMPLES / name).models
    return model


def samples_us(text: str) -> list[float]:
    return [float(part) * 1000 for part in text.strip("[]").split(",")]


def test_every_inference_of_a_csv_is_kept() -> None:
    whole = rows(CSV)["Method::execute"]
    model = model_of(CSV)
    assert model.turns == [pytest.approx(samples_us(whole["raw"]))]
    assert model.summary == summary_of(model.turns[0])
    for column, key in (("p50", "median_us"), ("p90", "p90_us"), ("avg", "mean_us")):
        wanted = float(whole[f"{column} (ms)"]) * 1000
        assert getattr(model.summary, key) == pytest.approx(wanted, abs=1e-5)


def test_a_tsv_has_figures_alone() -> None:
    """Without the lists, which it leaves out."""
    whole = rows(TSV)["Method::execute"]
    model = model_of(TSV)
    assert model.turns == []
    assert model.summary.median_us == pytest.approx(float(whole["p50 (ms)"]) * 1000)
    assert model.summary.count == whole["start_time"].count(",") + 1 == 4
    unknown = ("std_us", "p5_us", "p95_us", "p99_us")
    assert {getattr(model.summary, name) for name in unknown} == {None}


def test_a_method_is_ready_when_the_program_has_loaded_it() -> None:
    """Its initialisation is part of that."""
    loaded = float(rows(CSV)["Program::load_method"]["avg (ms)"]) * 1000
    assert model_of(CSV).init_us == pytest.approx(loaded)


def test_operators_are_what_runs_once_each() -> None:
    text = sample(CSV)
    assert text.count("OPERATOR_CALL") > 0
    assert text.count("DELEGATE_CALL") > 0
    names = [one.name for one in model_of(CSV).operators]
    assert "Convolution (NHWC, F32) IGEMM #1" in names
    assert "native_call_cumsum.out" in names
    assert not {"OPERATOR_CALL", "DELEGATE_CALL", "Method::execute", "Method::init"} & set(names)
    assert [one.index for one in model_of(CSV).operators] == list(range(len(names)))


def test_operators_times_are_read() -> None:
    told = rows(CSV)["native_call_cumsum.out"]
    one = next(one for one in model_of(CSV).operators if one.name == "native_call_cumsum.out")
    assert one.median_us == pytest.approx(float(told["p50 (ms)"]) * 1000, abs=1e-5)
    assert one.mean_us == pytest.approx(float(told["avg (ms)"]) * 1000, abs=1e-5)
    assert (one.share, one.calls, one.type) == (None, None, None)


def test_a_delegates_own_operators_have_times() -> None:
    told = rows(CSV)["Convolution (NHWC, F32) IGEMM #1"]
    assert told["is_delegated_op"] == "True"
    one = next(one for one in model_of(CSV).operators if one.name == told["event_name"])
    assert one.mean_us == pytest.approx(float(told["avg (ms)"]) * 1000, abs=1e-5)


def test_csv_tsv_and_the_printed_table_say_the_same() -> None:
    in_csv, in_tsv = model_of("executorch/portable.csv"), model_of("executorch/portable.tsv")
    printed = model_of("executorch/table.txt")
    for model in (in_tsv, printed):
        assert [one.name for one in model.operators] == [one.name for one in in_csv.operators]
        for one, other in zip(model.operators, in_csv.operators, strict=True):
            assert one.median_us == pytest.approx(other.median_us, rel=1e-4)
        assert model.summary.median_us == pytest.approx(in_csv.summary.median_us, rel=1e-4)
        assert model.summary.count == in_csv.summary.count


def test_the_tool_does_not_name_the_model() -> None:
    model = model_of(CSV)
    assert (model.name, model.sha256, model.model_bytes, model.threads) == (
        "xnnpack", None, None, None,
    )  # fmt: skip
    assert (model.first_run_us, model.warmup_us, model.peak_memory_kib) == (None, None, None)
    assert executorch.WITH_FIRST in model.notes


def test_a_runtime_is_named_by_its_delegates(tmp_path: Path) -> None:
    assert model_of("executorch/portable.csv").runtime == "ExecuTorch"
    assert model_of(CSV).runtime == "ExecuTorch, a delegate"
    text = HEADER + "Execute,op,0.1,0.1,True,XnnpackBackend\nExecute,Method::execute,1,1,False,\n"
    assert reading(tmp_path, text)[0].runtime == "ExecuTorch, XnnpackBackend"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: re.sub(r"(?m)^\d*,", "", text),  # without pandas' index
        lambda text: "\n" + text,
        lambda text: text + "\n",
        lambda text: re.sub(
            r'"\[([^\]"]+)\]"',
            lambda found: '"[' + re.sub(r"([\d.e-]+)", r"np.float64(\1)", found[1]) + ']"',
            text,
        ),
    ],
    ids=["CRLF", "mark", "no index", "empty before", "empty after", "numpy"],
)  # fmt: skip
def test_how_it_was_saved_makes_no_difference(tmp_path: Path, change: object) -> None:
    assert callable(change)
    text = sample(CSV)
    assert change(text) != text
    assert reading(tmp_path, change(text)) == reading(tmp_path, text)


def test_a_spreadsheets_semicolons_and_commas_are_read(tmp_path: Path) -> None:
    text = re.sub(r"(\d)\.(\d)", r"\1,\2", sample(TSV).replace("\t", ";"))
    assert reading(tmp_path, text) == reading(tmp_path, sample(TSV))


def test_a_table_of_markdown_is_read(tmp_path: Path) -> None:
    lines = sample(TSV).splitlines()
    table = [f"| {line.replace(chr(9), ' | ')} |" for line in lines]
    table.insert(1, "|" + "---|" * len(lines[0].split("\t")))
    assert reading(tmp_path, "\n".join(table) + "\n") == reading(tmp_path, sample(TSV))


@pytest.mark.parametrize(("unit", "scale"), [("ns", 1e-3), ("us", 1.0), ("ms", 1e3), ("s", 1e6)])
def test_the_headers_unit_counts(tmp_path: Path, unit: str, scale: float) -> None:
    text = HEADER.replace("ms", unit) + "Execute,Method::execute,2,3,False,\n"
    (model,) = reading(tmp_path, text)
    assert (model.summary.median_us, model.summary.mean_us) == (2 * scale, 3 * scale)


def test_blocks_of_the_first_versions_are_numbered(tmp_path: Path) -> None:
    text = (
        HEADER
        + "0,Program::load_method,5,5,False,\n1,op,1,1,False,\n1,Method::execute,2,2,False,\n"
    )
    (model,) = reading(tmp_path, text)
    assert (model.init_us, model.summary.median_us) == (5000, 2000)
    assert [one.name for one in model.operators] == ["op"]


@pytest.mark.parametrize("order", ["last", "first"])
def test_each_way_through_a_model_is_a_result(tmp_path: Path, order: str) -> None:
    """As of a branch; blocks of one name follow each other."""
    blocks = [["a,1,1,False,", "Method::execute,2,2,False,"],
              ["b,3,3,False,", "Method::execute,4,4,False,"]]  # fmt: skip
    if order == "first":
        blocks = [block[::-1] for block in blocks]
    lines = "".join(f"Execute,{line}\n" for block in blocks for line in block)
    models = reading(tmp_path, HEADER + lines)
    assert [model.summary.median_us for model in models] == [2000, 4000]
    assert [[one.name for one in model.operators] for model in models] == [["a"], ["b"]]


def test_delegated_times_in_another_unit_are_left_out(tmp_path: Path) -> None:
    """Some delegates count cycles in columns that say milliseconds."""
    text = HEADER + (
        "Execute,matmul,81234,81234,True,QnnBackend\nExecute,cpu,0.5,0.5,False,\n"
        "Execute,DELEGATE_CALL,1,1,False,\nExecute,Method::execute,2,2,False,\n"
    )
    (model,) = reading(tmp_path, text)
    assert [(one.name, one.median_us) for one in model.operators] == [
        ("matmul", None), ("cpu", 500),
    ]  # fmt: skip
    assert executorch.OTHER_UNIT in model.notes


def test_types_of_an_operator_are_named(tmp_path: Path) -> None:
    text = sample(CSV).replace(",[],,{},{},False", ",\"['aten.cumsum.default']\",,{},{},False")
    (model,) = reading(tmp_path, text)
    assert "aten.cumsum.default" in {one.type for one in model.operators}


# --- what is refused --------------------------------------------------------------------------


def test_a_table_without_units_is_refused() -> None:
    with pytest.raises(ModelError, match="line 1: p10 has no unit") as caught:
        read_result(SAMPLES / "executorch/without_units.tsv")
    assert "with units" in (caught.value.hint or "")


def test_cycles_are_no_time(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="line 1: 'cycles' is no unit of time"):
        reading(tmp_path, sample(CSV).replace("(ms)", "(cycles)"))


@pytest.mark.parametrize("figure", ["nan", "-1.0", "inf", "1e300", "abc"])
def test_a_figure_that_is_none_is_refused_with_its_line(tmp_path: Path, figure: str) -> None:
    text = HEADER + f"Default,a,1,1,False,\nExecute,Method::execute,{figure},3,False,\n"
    with pytest.raises(ModelError, match=rf"line 3: p50 \(ms\): '{figure}' is no time"):
        reading(tmp_path, text)


@pytest.mark.parametrize("figure", ["nan", "-1.0", "inf", "None"])
def test_a_sample_that_is_none_is_refused_with_its_line(tmp_path: Path, figure: str) -> None:
    lines = sample(CSV).splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if ",Method::execute," in line)
    lines[at] = re.sub(r'"\[[\d.]+', f'"[{figure}', lines[at], count=1)
    with pytest.raises(ModelError, match=f"line {at + 1}: raw: '{figure}' is no time"):
        reading(tmp_path, "".join(lines))


def test_figures_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    text = sample(TSV)
    median = rows(TSV)["Method::execute"]["p50 (ms)"]
    with pytest.raises(ModelError, match=r"line \d+: .*less than"):
        reading(tmp_path, text.replace(median, "99999"))


def test_a_row_with_too_many_columns_is_refused_with_its_line(tmp_path: Path) -> None:
    text = HEADER + "Execute,op,1,1,False,,,\nExecute,Method::execute,1,1,False,\n"
    with pytest.raises(ModelError, match="line 2: 8 columns instead of 6"):
        reading(tmp_path, text)


def test_a_table_without_an_inference_is_refused(tmp_path: Path) -> None:
    text = sample(CSV)
    begin = text[: text.index("2,Execute")]
    with pytest.raises(ModelError, match="no event is called Method::execute"):
        reading(tmp_path, begin)


def test_of_a_table_that_was_cut_nothing_is_made_up(tmp_path: Path) -> None:
    text = sample(CSV)
    (whole,) = reading(tmp_path, text)
    for end in range(0, len(text), 13):
        try:
            (model,) = reading(tmp_path, text[:end])
        except ModelError:
            continue
        assert model == whole, end
    names = HEADER.rstrip("\n").split(",")
    swapped = ",".join([*names[:2], *names[4:], *names[2:4]]) + "\n"
    lines = "Execute,Method::execute,False,,2,2\nExecute,Method::execute,False,,2,29"
    path = tmp_path / "given.csv"
    path.write_text(swapped + lines)
    result = read_result(path)
    assert (len(result.models), result.notes) == (1, [executorch.CUT])


def test_more_events_and_samples_than_anyone_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executorch, "MOST_EVENTS", 3)
    with pytest.raises(ModelError, match="more than 3 events"):
        reading(tmp_path, sample(CSV))
    monkeypatch.undo()
    monkeypatch.setattr(executorch, "MOST_SAMPLES", 20)
    with pytest.raises(ModelError, match="more than 20 samples"):
        reading(tmp_path, sample(CSV))


def test_a_long_list_of_samples_is_read(tmp_path: Path) -> None:
    """Python's csv takes fields of 128 KiB unless it is told otherwise."""
    many = ", ".join(["0.123456789"] * 20_000)
    before = csv.field_size_limit()
    text = HEADER.replace("p50 (ms)", "raw,p50 (ms)")
    text += f'Execute,Method::execute,"[{many}]",1,1,False,\n'
    (model,) = reading(tmp_path, text)
    assert model.summary.count == 20_000
    assert csv.field_size_limit() == before
