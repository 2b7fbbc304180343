"""The results of a bench: one JSON document."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from toolchain.dev.bench.models import Dtype
from toolchain.dev.bench.native import Machine, Spread
from toolchain.errors import ModelError
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.hardware.facts import Core
from toolchain.profile.operators import OperatorRow


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Counted(_Part):
    """Instructions on the emulated core."""

    instructions: PositiveInt
    """Of one inference."""
    prepare: PositiveInt
    """Until the first run, and what that adds to later ones."""
    spread: float
    """The largest difference between two inferences, as a part; 0 with one thread."""
    stock: int | None
    """Of one inference on the unpatched runtime; measured for dense models."""


class Timed(_Part):
    """Times on this machine."""

    us: Spread
    """Of one inference."""
    speedup: Spread
    """Dense over this model, of neighbouring runs."""
    prepare_us: Spread | None
    """Load, delegate, allocate, and the first run's surplus; of processes of their own."""
    prepare_ratio: Spread | None
    """This model over dense, of neighbouring processes."""
    peak_rss_kib: int | None
    """The median of the same processes."""
    stock_ratio: Spread | None
    """The unpatched runtime's time over this one's, of neighbouring processes; dense models."""


class CaseResult(_Part):
    """One network at one sparsity, type and number of threads."""

    network: str
    dtype: Dtype
    sparsity: Annotated[float, Field(ge=0, lt=1)]
    threads: int
    macs: PositiveInt
    macs_left: PositiveInt
    counted: Counted | None
    timed: Timed | None
    operators: list[OperatorRow]
    """Beside the dense ones; empty for the dense model and where not asked for."""

    @property
    def key(self) -> tuple[str, Dtype, float, int]:
        """What tells cases apart."""
        return (self.network, self.dtype, self.sparsity, self.threads)

    @property
    def title(self) -> str:
        """``resnet18 fp32 s=0.2, 1 thread``."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.network} {self.dtype} s={self.sparsity:g}, {threads}"

    @property
    def ideal(self) -> float:
        """Dense over remaining multiply-accumulates of the whole network."""
        return self.macs / self.macs_left


class BenchResults(_Part):
    """Everything that one bench measured."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    tool: str
    created: datetime
    core: Core
    runtime: str
    """TensorFlow Lite's and XNNPACK's versions, and the patches' hash."""
    qemu: str
    machine: Machine | None
    """Where times are from."""
    cases: list[CaseResult]
    missing: list[str]
    """What was to be measured and was not, with the reason."""

    def case(self, network: str, dtype: Dtype, sparsity: float, threads: int) -> CaseResult | None:
        """One case, if it is there."""
        key = (network, dtype, sparsity, threads)
        return next((case for case in self.cases if case.key == key), None)

    def speedup(self, case: CaseResult) -> float | None:
        """Dense over a case's instructions."""
        dense = self.case(case.network, case.dtype, 0.0, case.threads)
        if dense is None or dense.counted is None or case.counted is None:
            return None
        return dense.counted.instructions / case.counted.instructions

    def to_json(self) -> bytes:
        """The document; operators one a line."""
        return self.model_dump_json(by_alias=True, indent=None).encode() + b"\n"


def load_results(path: Path) -> BenchResults:
    """Read a document.

    Raises:
        ModelError: no such file, or it is none; names the first fault.
    """
    return parse_json(
        BenchResults,
        read_text(path, ModelError),
        ModelError,
        f"{path}: is no bench's result",
        hint="python -m toolchain.dev.bench run writes one",
    )
