"""What is read of ncnn's benchncnn, by what it really prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.foreign_samples import SAMPLES, TERMINALS, reading, sample
from toolchain.errors import ModelError
from toolchain.profile.foreign import benchncnn, log_text
from toolchain.profile.results import Summary, read_result

ALL = "benchncnn/all_models.txt"
HEADER = """\
loop_count = 10
num_threads = 4
powersave = 0
gpu_device = -1
cooling_down = 1
"""
ROW = "          squeezenet  min =    2.80  max =    3.01  avg =    2.90\n"
VULKAN = """\
[0 V3D 7.1.7]  queueC=0[1]  queueG=0[1]  queueT=0[1]
[0 V3D 7.1.7]  bugsbn1=0  bugbilz=0  bugcopc=0  bugihfa=0
[0 V3D 7.1.7]  fp16-p/s/u/a=1/1/1/0  int8-p/s/u/a=1/1/1/0
[1 llvmpipe (LLVM 15.0.6, 128 bits)]  queueC=0[1]  queueG=0[1]  queueT=0[1]
"""


def test_every_model_of_real_output_is_read() -> None:
    rows = re.findall(r"(\S+) +min = +(\S+) +max = +(\S+) +avg = +(\S+)", sample(ALL))
    result = read_result(SAMPLES / ALL)
    assert (result.tool, result.threads, result.failed) == ("benchncnn", 1, [])
    assert len(rows) > 30
    assert [model.name for model in result.models] == [row[0] for row in rows]
    for model, (_, low, high, mean) in zip(result.models, rows, strict=True):
        wanted = [float(text) * 1000 for text in (low, high, mean)]
        summary = model.summary
        assert [summary.min_us, summary.max_us, summary.mean_us] == pytest.approx(wanted)
        assert (summary.count, model.threads, model.runtime) == (3, 1, "ncnn")


def test_what_the_tool_does_not_tell_is_none() -> None:
    (model,) = read_result(SAMPLES / "benchncnn/one_model.txt").models
    assert (model.name, model.threads, model.runtime) == ("small_net", 2, "ncnn, big cores")
    told = {"count", "min_us", "max_us", "mean_us"}
    assert {name for name, value in model.summary if value is not None} == told
    others = set(type(model).model_fields) - {"name", "threads", "runtime", "summary"}
    assert all(getattr(model, name) in (None, []) for name in others)


@pytest.mark.parametrize("terminal", TERMINALS)
def test_where_it_was_printed_makes_no_difference(tmp_path: Path, terminal: str) -> None:
    assert reading(tmp_path, TERMINALS[terminal](sample(ALL))) == reading(tmp_path, sample(ALL))


def test_a_decimal_comma_is_read(tmp_path: Path) -> None:
    comma = re.sub(r"(\d)\.(\d\d)\b", r"\1,\2", sample(ALL))
    assert comma != sample(ALL)
    assert reading(tmp_path, comma) == reading(tmp_path, sample(ALL))


def test_rows_without_a_header_are_read(tmp_path: Path) -> None:
    (model,) = reading(tmp_path, ROW)
    assert (model.threads, model.summary.count) == (None, None)
    assert model.summary == Summary(min_us=2800, max_us=3010, mean_us=2900)


def test_every_process_of_a_file_has_its_own_header(tmp_path: Path) -> None:
    other = (
        HEADER.replace("= 4", "= 1")
        .replace("= 10", "= 3")
        .replace("powersave = 0", "powersave = 1")
    )
    models = reading(tmp_path, HEADER + ROW + other + ROW + ROW)
    assert [model.threads for model in models] == [4, 1, 1]
    assert [model.summary.count for model in models] == [10, 3, 3]
    assert [model.runtime for model in models] == [
        "ncnn",
        "ncnn, little cores",
        "ncnn, little cores",
    ]
    path = tmp_path / "given.txt"
    assert read_result(path).threads is None, "not all had the same"


def test_a_gpu_is_named_where_vulkan_names_it(tmp_path: Path) -> None:
    on_gpu = HEADER.replace("= -1", "= 0")
    for text in (VULKAN + on_gpu + ROW, on_gpu + VULKAN + ROW):
        (model,) = reading(tmp_path, text)
        assert model.runtime == "ncnn, GPU 0 (V3D 7.1.7)"
    models = reading(tmp_path, VULKAN + on_gpu + ROW + HEADER + ROW)
    assert [model.runtime for model in models] == ["ncnn, GPU 0 (V3D 7.1.7)", "ncnn"]


def test_each_process_has_the_gpu_that_it_names_itself(tmp_path: Path) -> None:
    on_gpu = HEADER.replace("= -1", "= 0")
    other = VULKAN.replace("V3D 7.1.7", "Mali-G52")
    models = reading(tmp_path, VULKAN + on_gpu + ROW + other + on_gpu + ROW)
    assert [model.runtime for model in models] == [
        "ncnn, GPU 0 (V3D 7.1.7)", "ncnn, GPU 0 (Mali-G52)",
    ]  # fmt: skip
    # The first versions print no gpu_device.
    short = "loop_count = 4\nnum_threads = 2\npowersave = 0\n"
    models = reading(tmp_path, VULKAN + on_gpu + ROW + short + ROW)
    assert [model.runtime for model in models] == ["ncnn, GPU 0 (V3D 7.1.7)", "ncnn"]


def test_what_failed_before_the_tool_began_is_not_its_fault(tmp_path: Path) -> None:
    text = "Failed to set the governor\n" + HEADER + ROW
    assert reading(tmp_path, text) == reading(tmp_path, HEADER + ROW)


def test_a_gpu_that_nobody_names_may_not_have_computed() -> None:
    """ncnn without Vulkan takes the CPU and says nothing."""
    text = sample("benchncnn/gpu_without_vulkan.txt")
    assert "gpu_device = 0" in text
    assert "queue" not in text
    (model,) = read_result(SAMPLES / "benchncnn/gpu_without_vulkan.txt").models
    assert model.runtime == "ncnn (GPU 0 was asked for)"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unknown_layer", "unknown_layer: layer Nothing not exists or registered"),
        ("no_model", "absent: fopen absent.param failed"),
        ("no_loops", "small_net: no inference was timed"),
    ],
)
def test_a_model_that_could_not_be_computed_has_no_time(name: str, said: str) -> None:
    """The tool prints a row of it, too."""
    assert "avg =" in sample(f"benchncnn/{name}.txt")
    with pytest.raises(ModelError, match=f"no model was measured: {said}"):
        read_result(SAMPLES / f"benchncnn/{name}.txt")


def test_models_beside_one_that_failed_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    failed = sample("benchncnn/unknown_layer.txt").partition("cooling_down = 0\n")[2]
    path.write_text(HEADER + ROW + failed + ROW.replace("squeezenet", "  resnet18"))
    result = read_result(path)
    assert [model.name for model in result.models] == ["squeezenet", "resnet18"]
    assert [one.name for one in result.failed] == ["unknown_layer"]


def test_a_row_of_no_time_is_no_measurement(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(ROW + "  x  min =    0.00  max =    0.01  avg =    0.00\n")
    assert [one.name for one in read_result(path).failed] == ["x"]


@pytest.mark.parametrize("digits", range(len(ROW)))
def test_of_a_row_that_was_cut_nothing_is_made_up(tmp_path: Path, digits: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text(HEADER + ROW + ROW[:digits])
    result = read_result(path)
    whole = ROW[:digits] == ROW.rstrip("\n")
    assert len(result.models) == 1 + whole
    begun = " min =" in ROW[:digits] and not whole
    assert result.notes == ([log_text.CUT_LINE] if begun else [])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2.90", "nan", "avg: 'nan' is no time"),
        ("2.80", "-2.80", "min: '-2.80' is no time"),
        ("3.01", "1e99", "max: '1e99' is no time"),
        ("2.90", "9.90", "avg is not between min and max"),
        ("2.90", "2,900.00", "avg: '2,900.00' is no time"),
        ("avg =", "average", "is no row of min, max and avg"),
    ],
)
def test_a_figure_that_is_none_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        reading(tmp_path, HEADER + ROW.replace(old, new))
    assert "given.txt: line 6: " in caught.value.what


def test_more_models_than_anyone_measures_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchncnn, "MOST_MODELS", 3)
    reading(tmp_path, ROW * 3)
    with pytest.raises(ModelError, match="line 4: more than 3 models"):
        reading(tmp_path, ROW * 4)
