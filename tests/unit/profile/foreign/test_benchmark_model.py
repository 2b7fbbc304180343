"""What is read of TensorFlow Lite's benchmark_model, by what it really prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.foreign_samples import SAMPLES, TERMINALS, reading, sample, told
from toolchain.errors import ModelError
from toolchain.profile.foreign import benchmark_model, log_text
from toolchain.profile.results import ModelResult, read_result

XNNPACK = "benchmark_model/xnnpack.txt"
STATS = re.compile(r"INFO: count=\d+ first=(.*)")

# What other versions print, by their sources; the figures are made up.
OLDEST = """\
STARTING!
Num runs: [50]
Num threads: [1]
Warmup runs: [1]
Graph: [net.tflite]
Loaded model net.tflite
resolved reporter
Initialized session in 4.452ms
Running benchmark for 1 iterations
count=1 curr=1460

Running benchmark for 50 iterations
count=50 first=1370 curr=1371 min=1360 max=1430 avg=1377.4 std=8

Average inference timings in us: Warmup: 1460, Init: 4452, no stats: 1377.4
"""
OLD = OLDEST.replace(
    "Warmup: 1460, Init: 4452, no stats: 1377.4", "Warmup: 1460, Init: 4452, Inference: 1377.4"
    "Overall max resident set size = 14.7 MB, total malloc-ed size = 0 MB"
)  # fmt: skip
PERCENTILES = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Num threads: [4]
INFO: Graph: [/usr/share/models/net.tflite]
INFO: Signature to run: []
INFO: #threads used for CPU inference: [4]
INFO: Use xnnpack: [1]
INFO: Loaded model /usr/share/models/net.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 66 out of 66 node(s) with delegate (TfLiteXNNPackDelegate) node
INFO: The input model file size (MB): 67.3128
INFO: Initialized session in 5.579ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate
INFO: count=1 curr=1357602 p5=1357602 median=1357602 p95=1357602

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate
INFO: count=50 first=1249964 curr=1240143 min=1238588 max=1252566 avg=1.24027e+06 std=2565 \
p5=1238753 median=1239807 p95=1247415

INFO: Inference timings in us: Init: 5579, First inference: 1357602, Warmup (avg): 1.3576e+06, \
Inference (avg): 1.24027e+06
INFO: Memory footprint delta from the start of the tool (MB): init=6.36328 overall=109.832
"""


def only(models: list[ModelResult]) -> ModelResult:
    assert len(models) == 1
    return models[0]


def test_the_figures_of_real_output_are_read() -> None:
    text = sample(XNNPACK)
    result = read_result(SAMPLES / XNNPACK)
    assert (result.tool, result.threads, result.failed) == ("benchmark_model", 1, [])
    model = only(result.models)
    assert (model.name, model.runtime) == ("net", "TensorFlow Lite, XNNPACK")
    assert model.init_us == told(text, "Init: ")
    assert model.first_run_us == told(text, "First inference: ")
    assert model.warmup_us == told(text, "Warmup (avg): ")
    assert model.summary.mean_us == told(text, "Inference (avg): ")
    regular = STATS.search(text)
    assert regular
    assert model.summary.count == 10
    assert model.summary.min_us == told(regular[0], "min=")
    assert model.summary.max_us == told(regular[0], "max=")
    assert model.summary.std_us == told(regular[0], "std=")
    assert model.model_bytes == told(text, "file size (MB): ") * 1e6
    peak_mb = told(text, "via periodic monitoring: ")
    assert model.peak_memory_kib == pytest.approx(peak_mb * 1024, rel=1e-4)


def test_what_the_tool_does_not_tell_is_none() -> None:
    model = only(read_result(SAMPLES / XNNPACK).models)
    unknown = ("median_us", "p5_us", "p90_us", "p95_us", "p99_us")
    assert {getattr(model.summary, name) for name in unknown} == {None}
    assert (model.sha256, model.instructions, model.turns) == (None, None, [])
    other = only(read_result(SAMPLES / "benchmark_model/every_parameter.txt").models)
    assert (other.peak_memory_kib, other.operators, other.threads) == (None, [], None)


def test_growth_of_memory_is_no_peak(tmp_path: Path) -> None:
    assert "Memory footprint delta" in PERCENTILES
    assert only(reading(tmp_path, PERCENTILES)).peak_memory_kib is None
    old = OLD + "Peak memory footprint (MB): init=4.9 overall=138.8\n"
    assert only(reading(tmp_path, old)).peak_memory_kib is None


@pytest.mark.parametrize("terminal", TERMINALS)
@pytest.mark.parametrize("name", ["xnnpack", "reference", "every_parameter"])
def test_where_it_was_printed_makes_no_difference(tmp_path: Path, name: str, terminal: str) -> None:
    text = sample(f"benchmark_model/{name}.txt")
    assert reading(tmp_path, TERMINALS[terminal](text)) == reading(tmp_path, text)


@pytest.mark.parametrize(
    "prefix",
    [
        "I tflite  : ",
        "I/tflite  ( 1234): ",
        "11-20 12:34:56.789  1234  1234 I tflite  : ",
        "2018-09-10 12:36:26.109025: I tensorflow/tools/benchmark/benchmark_model.cc:361] ",
        "I0520 12:34:56.789012    1234 tflite/tools/benchmark_model.cc:121] ",
    ],
)
def test_a_logger_of_another_system_is_read(tmp_path: Path, prefix: str) -> None:
    text = sample(XNNPACK)
    logged = re.sub(r"(?m)^(INFO: )?", prefix, text)
    assert reading(tmp_path, logged) == reading(tmp_path, text)


def test_tabs_that_became_spaces_are_read(tmp_path: Path) -> None:
    """As of what was copied from a terminal."""
    for name in ("xnnpack", "reference"):
        text = sample(f"benchmark_model/{name}.txt")
        assert reading(tmp_path, text.expandtabs(4)) == reading(tmp_path, text)


def test_a_decimal_comma_is_read(tmp_path: Path) -> None:
    text = sample(XNNPACK)
    comma = re.sub(r"(avg=|\(avg\): |MB\): |monitoring: )(\d+)\.(\d+)", r"\1\2,\3", text)
    assert comma.count(",") > text.count(",") + 2
    assert reading(tmp_path, comma) == reading(tmp_path, text)


@pytest.mark.parametrize(("text", "memory"), [(OLDEST, None), (OLD, None)])
def test_the_first_versions_are_read(tmp_path: Path, text: str, memory: float | None) -> None:
    model = only(reading(tmp_path, text))
    assert (model.summary.mean_us, model.summary.min_us, model.summary.count) == (1377.4, 1360, 50)
    assert (model.init_us, model.warmup_us, model.threads) == (4452, 1460, 1)
    assert model.peak_memory_kib == memory


def test_percentiles_and_exponents_of_new_versions_are_read(tmp_path: Path) -> None:
    model = only(reading(tmp_path, PERCENTILES))
    summary = model.summary
    assert (summary.p5_us, summary.median_us, summary.p95_us) == (1238753, 1239807, 1247415)
    assert (summary.mean_us, model.warmup_us) == (1.24027e6, 1.3576e6)
    assert (model.name, model.threads, model.runtime) == ("net", 4, "TensorFlow Lite, XNNPACK")
    assert model.model_bytes == 67_312_800


@pytest.mark.parametrize(
    ("line", "runtime"),
    [
        ("INFO: Created TensorFlow Lite delegate for GPU.", "TensorFlow Lite, GPU"),
        ("Explicitly applied NNAPI delegate, and the graph ...", "TensorFlow Lite, NNAPI"),
        ("Applied XNNPACK delegate, and the model graph ...", "TensorFlow Lite, XNNPACK"),
        ("VERBOSE: Replacing 6 out of 6 node(s) with delegate (TfLiteGpuDelegateV2) node",
         "TensorFlow Lite, Gpu"),
        ("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nINFO: Though XNNPACK delegate "
         "is explicitly applied, the model graph will not be executed by the delegate.",
         "TensorFlow Lite"),
    ],
)  # fmt: skip
def test_a_runtime_is_named_by_its_delegates(tmp_path: Path, line: str, runtime: str) -> None:
    text = OLDEST.replace("resolved reporter", line)
    assert only(reading(tmp_path, text)).runtime == runtime


def test_inferences_of_equal_length_have_one_figure(tmp_path: Path) -> None:
    text = PERCENTILES.replace(
        "count=50 first=1249964 curr=1240143 min=1238588 max=1252566 avg=1.24027e+06 std=2565 "
        "p5=1238753 median=1239807 p95=1247415", "count=50 curr=77(all same)",
    ).replace("Inference (avg): 1.24027e+06", "Inference (avg): 77")  # fmt: skip
    summary = only(reading(tmp_path, text)).summary
    assert (summary.count, summary.min_us, summary.median_us, summary.std_us) == (50, 77, 77, 0)


def test_without_a_warm_up_its_zeros_are_not_told() -> None:
    text = sample("benchmark_model/not_warmed_up.txt")
    assert "First inference: 0, Warmup (avg): 0" in text
    model = only(read_result(SAMPLES / "benchmark_model/not_warmed_up.txt").models)
    assert (model.first_run_us, model.warmup_us) == (None, None)
    assert model.summary.mean_us == model.summary.median_us == told(text, "Inference (avg): ")
    assert model.summary.std_us is None, "of one inference"


def test_zeros_of_the_last_line_alone_are_not_told_either(tmp_path: Path) -> None:
    line = "Inference timings in us: Init: 9, First inference: 0, Warmup (avg): 0, "
    model = only(reading(tmp_path, line + "Inference (avg): 7\n"))
    assert (model.first_run_us, model.warmup_us, model.summary.mean_us) == (None, None, 7)


def test_a_session_tells_when_it_is_ready(tmp_path: Path) -> None:
    """A run that is cut before its last lines does not."""
    text = PERCENTILES[: PERCENTILES.index("INFO: Inference timings")]
    model = only(reading(tmp_path, text))
    assert (model.init_us, model.first_run_us, model.summary.median_us) == (5579, None, 1239807)


def test_a_model_begins_a_process_where_nothing_else_does(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    begin = PERCENTILES.index("INFO: Graph:")
    path.write_text("Graph: [/a/other.tflite]\nERROR: it is broken\n" + PERCENTILES[begin:])
    result = read_result(path)
    assert [model.name for model in result.models] == ["net"]
    assert [(one.name, one.error) for one in result.failed] == [("other", "it is broken")]


def test_what_looks_like_a_parameter_begins_no_process(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(PERCENTILES + "INFO: Output shape: [1,10]\n")
    result = read_result(path)
    assert (result.models, result.failed) == (reading(tmp_path, PERCENTILES), [])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dry_run", "no inference was timed"),
        ("no_model", "Could not open 'absent.tflite'"),
    ],
)
def test_a_file_in_which_nothing_was_measured_is_refused(name: str, said: str) -> None:
    with pytest.raises(ModelError, match=f"no model was measured: .*{said}"):
        read_result(SAMPLES / f"benchmark_model/{name}.txt")


def test_several_models_in_one_file_are_told_apart(tmp_path: Path) -> None:
    other = sample("benchmark_model/reference.txt").replace("net.tflite", "/data/local/b.tflite")
    failed = sample("benchmark_model/no_model.txt")
    path = tmp_path / "all.txt"
    path.write_text(sample(XNNPACK) + failed + other + sample(XNNPACK))
    result = read_result(path)
    assert [model.name for model in result.models] == ["net", "b", "net"]
    assert [len(model.operators) for model in result.models] == [17, 16, 17]
    assert [model.threads for model in result.models] == [1, 2, 1]
    assert result.threads is None, "not all had the same"
    assert [(one.name, "Could not open" in one.error) for one in result.failed] == [
        ("absent", True)
    ]


def test_several_models_are_told_apart_by_few_lines(tmp_path: Path) -> None:
    """As of ``grep``."""

    def kept(text: str) -> str:
        words = ("Graph: ", "Inference timings", "Num threads", "count=")
        return "".join(line for line in text.splitlines(True) if any(w in line for w in words))

    text = kept(sample(XNNPACK)) + kept(PERCENTILES)
    models = reading(tmp_path, text)
    assert [model.name for model in models] == ["net", "net"]
    assert [model.threads for model in models] == [1, 4]
    assert models[1].summary.p95_us == 1247415
    bare = "".join(line for line in text.splitlines(True) if "Graph: " not in line)
    assert [model.summary.count for model in reading(tmp_path, bare)] == [10, 50]
    lines = [line for line in text.splitlines() if "Inference timings" in line]
    models = reading(tmp_path, "\n".join(lines) + "\n")
    assert [model.summary.mean_us for model in models] == [
        told(sample(XNNPACK), "Inference (avg): "), 1.24027e6,
    ]  # fmt: skip
    assert [model.name for model in models] == ["given", "given"], "the file's own name"


def test_an_invocation_that_fails_has_no_time(tmp_path: Path) -> None:
    text = (
        PERCENTILES
        + "ERROR: Node number 3 (CONV_2D) failed to invoke.\nERROR: Benchmarking failed.\n"
    )
    with pytest.raises(ModelError, match="net: Node number 3"):
        reading(tmp_path, text)


def test_a_crash_is_told_by_the_shells_words(tmp_path: Path) -> None:
    begun = PERCENTILES[: PERCENTILES.index("INFO: Running benchmark for at least 50")]
    path = tmp_path / "both.txt"
    path.write_text(PERCENTILES + begun + "Segmentation fault\n")
    result = read_result(path)
    assert len(result.models) == 1
    assert [one.error for one in result.failed] == ["Segmentation fault"]


def test_lines_of_statistics_alone_are_refused(tmp_path: Path) -> None:
    """Which of them warmed up nobody can say."""
    with pytest.raises(ModelError, match="line 2: whether these are inferences that warm up"):
        reading(tmp_path, "count=1 curr=9\ncount=5 first=7 curr=7 min=6 max=9 avg=7 std=1\n")


def test_a_summary_of_several_options_is_no_run(tmp_path: Path) -> None:
    summary = (
        "INFO: \n==============Summary of All Runs w/ Different Performance Options=====\n"
        "INFO:   cpu w/ 4 threads (xnnpack): count=50 first=1 curr=2 min=1 max=3 avg=2 std=1\n"
        "INFO:              gpu-default:  failed!\n"
    )
    assert reading(tmp_path, PERCENTILES + summary) == reading(tmp_path, PERCENTILES)


# --- runs that were cut short -----------------------------------------------------------------


def test_of_a_run_that_was_cut_short_nothing_is_made_up(tmp_path: Path) -> None:
    """Cut anywhere, a file has the figures of the whole one, fewer of them, or none."""
    text = sample(XNNPACK)
    (whole,) = reading(tmp_path, text)
    outcomes = set()
    for end in range(0, len(text), 7):
        try:
            model = only(reading(tmp_path, text[:end]))
        except ModelError:
            outcomes.add("refused")
            continue
        outcomes.add("read")
        for name, value in model:
            if name in ("summary", "operators", "notes"):
                continue
            assert value in (getattr(whole, name), None), (end, name)
        for name, value in model.summary:
            assert value in (getattr(whole.summary, name), None), (end, name)
        assert model.operators == whole.operators[: len(model.operators)], end
    assert outcomes == {"refused", "read"}


def test_a_warm_up_alone_is_no_result(tmp_path: Path) -> None:
    text = PERCENTILES[: PERCENTILES.index("INFO: Running benchmark for at least 50")]
    with pytest.raises(ModelError, match="net: the output ends before a time of it"):
        reading(tmp_path, text)


def test_a_cut_figure_is_not_taken_and_that_is_told(tmp_path: Path) -> None:
    end = PERCENTILES.index("1.24027e+06 std=") + 4
    path = tmp_path / "cut.txt"
    path.write_text(PERCENTILES[:end])
    result = read_result(path)
    assert result.models[0].summary.max_us == 1252566
    assert result.models[0].summary.mean_us is None
    assert result.notes == [log_text.CUT_LINE]


def test_a_last_line_that_another_one_confirms_needs_no_line_end(tmp_path: Path) -> None:
    text = PERCENTILES[: PERCENTILES.index("\nINFO: Memory footprint delta")]
    assert only(reading(tmp_path, text)).summary.mean_us == 1.24027e6


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Inference (avg): 1.24027e+06", "Inference (avg): nan", "'nan' is no time"),
        ("Inference (avg): 1.24027e+06", "Inference (avg): -5", "'-5' is no time"),
        ("Inference (avg): 1.24027e+06", "Inference (avg): 1e99", "'1e99' is no time"),
        ("Inference (avg): 1.24027e+06", "Inference (avg): 12x", "'12x' is no time"),
        ("Inference (avg): 1.24027e+06", "Inference (avg): 7", "is not what line 17 says"),
        ("avg=1.24027e+06", "avg=inf", "'inf' is no time"),
        ("min=1238588", "min=-1", "'-1' is no time"),
        ("min=1238588", "min=1400000", "max_us is less than min_us|less than min_us"),
        ("max=1252566", "max=1000", "less than"),
        ("median=1239807", "median=2", "median_us is less than p5_us"),
        ("count=50", "count=many", "'many' is no count"),
        ("count=50", "count=" + "9" * 19, "is no count"),
        ("(MB): 67.3128", "(MB): much", "'much' is no figure"),
        ("in 5.579ms", "in ?.579ms", "is no figure"),
    ],
)  # fmt: skip
def test_a_figure_that_is_none_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert PERCENTILES.count(old) >= 1
    text = PERCENTILES.replace(old, new)
    line = 1 + next(i for i, one in enumerate(text.splitlines()) if new in one)
    with pytest.raises(ModelError, match=said) as caught:
        reading(tmp_path, text)
    assert f"given.txt: line {line}: " in caught.value.what


def test_words_of_a_file_reach_no_terminal_raw(tmp_path: Path) -> None:
    name = "a\x9b31m\u202e\x1b[2Jb"
    model = only(reading(tmp_path, PERCENTILES.replace("/net.tflite", f"/{name}.tflite")))
    assert model.name == "a\\x9b31m\\u202eb"
    with pytest.raises(ModelError) as caught:
        reading(tmp_path, PERCENTILES.replace("min=1238588", "min=\x9b31m"))
    assert "\x9b" not in caught.value.what


def test_more_models_than_anyone_measures_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_model, "MOST_MODELS", 3)
    reading(tmp_path, PERCENTILES * 3)
    with pytest.raises(ModelError, match="more than 3 models"):
        reading(tmp_path, PERCENTILES * 4)


def test_more_operators_than_any_file_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_model, "MOST_ROWS", 40)
    reading(tmp_path, sample(XNNPACK) * 2)
    with pytest.raises(ModelError, match="more than 40 operators"):
        reading(tmp_path, sample(XNNPACK) * 3)
