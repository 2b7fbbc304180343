"""Results of other benchmark tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from support.foreign_samples import SAMPLES, sample
from support.malformed import Bytes, damaged
from support.readers.format import Format
from toolchain.errors import ModelError
from toolchain.foreign_text import harmless
from toolchain.profile.results import Result, read_result

_ODD_LINES = (
    "", "\t", "INFO: ", "count=0", "count=1 curr=1", "count=3 first=1 curr=1 min=1 max=1 avg=1",
    "Inference timings in us: Init: 1", "Inference timings in us: ", "STARTING!", "Graph: []",
    "Graph: [x]", "Num threads: [-1]", "Num threads: [99999]", "Running benchmark for x",
    "============================== Run Order ==============================",
    "node type, first, avg_ms, %, cdf%, mem KB, times called, name", "a, 1, 1, 1%, 1%, 1, 1, b",
    "\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]",
    "\ta\t1\t1\t1%\t1%\t1\t1\tb", "\ta\t1\t1\t1\t1\t1\t1\tb", "[node type]", "node type,",
    "loop_count = 0", "num_threads = 0", "gpu_device = 9",
    "  a  min = 1.00  max = 1.00  avg = 1.00", "  min = 1.00  max = 1.00  avg = 1.00", " min =",
    "[0 x]  queueC=0",
    "event_block_name,event_name,avg (ms)", "event_block_name,event_name,avg (ms),raw",
    "Execute,Method::execute,1", 'Execute,Method::execute,1,"[1, 2]"', 'Execute,"Method', "│││",
    "{", '{"schema": 1}', "\x1b[31m", "\x1b]0;", "\r", "x" * 30_000, "=" * 30_000, " " * 30_000,
)  # fmt: skip


@st.composite
def _mixed(draw: st.DrawFn, whole: list[str]) -> bytes:
    """Lines of sound files in another order, with others between them."""
    lines = [line for text in whole for line in text.split("\n")]
    chosen = draw(
        st.lists(st.sampled_from(lines) | st.sampled_from(_ODD_LINES), min_size=1, max_size=40)
    )
    first = draw(st.sampled_from(whole))
    kept = first[: draw(st.integers(0, len(first)))]
    end = draw(st.sampled_from(["\n", "\r\n", "\r", "", "\n\n"]))
    return (kept + end.join(chosen) + draw(st.sampled_from(["", "\n"]))).encode()


def _files(tool: str) -> Callable[[], Bytes]:
    names = sorted(path.name for path in (SAMPLES / tool).iterdir())
    texts = [sample(f"{tool}/{name}") for name in names]
    return lambda: damaged([text.encode() for text in texts]) | _mixed(texts)


def _read(path: Path) -> None:
    """A result whose words are harmless, or an error of a file; nothing else."""
    told: str | None = None
    try:
        result = read_result(path)
    except ModelError as error:
        told = error.what
    if told is not None:
        assert str(path) in told
        return
    assert Result.model_validate_json(result.model_dump_json()) == result
    words = [model.name for model in result.models] + [model.runtime for model in result.models]
    words += [text for one in result.failed for text in (one.name, one.error)]
    words += [text for model in result.models for one in model.operators
              for text in (one.name, one.type) if text is not None]  # fmt: skip
    assert all(word == harmless(word) for word in words)


RESULTS = tuple(
    Format(f"{tool} output", "given.txt", _files(tool), _read)
    for tool in ("benchmark_model", "benchncnn", "executorch")
)
