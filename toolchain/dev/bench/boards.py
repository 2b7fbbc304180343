"""What masks gain on boards that are not there: estimated times beside counted instructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

import toolchain
from toolchain.build.bundle import Bundle
from toolchain.dev.bench.counts import qemu_version
from toolchain.dev.bench.models import NETWORKS, Dtype, model_file
from toolchain.errors import ModelError
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.hardware.board_file import load_board
from toolchain.profile.estimate_document import Estimate, EstimatedOperator, ModelEstimate
from toolchain.profile.estimator import Estimator
from toolchain.profile.operators import LayerTrace, Operator, pair, timed_slots
from toolchain.progress import Progress, Silent
from toolchain.timing.bounds import Limit
from toolchain.timing.model import Bound

BOARDS: Final = ("rpi3", "rpi4", "rpi5")
"""One of each core that can be estimated."""
SPARSITIES: Final = (0.1, 0.2, 0.3)
_DIGITS: Final = 6
"""Of milliseconds of an operator: a nanosecond."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Cost(_Part):
    """What a stretch of an inference costs."""

    ms: float
    instructions: int
    memory_lines: int
    """Of 64 bytes, from memory and to it."""


class OperatorCost(Cost):
    """What an operator costs in one of the two models."""

    bound: Limit | Bound
    """What it waits for most."""
    waiting_ms: float
    """Of ``ms``: for L2, L3 and memory, where the core has nothing else to do."""


class BoardOperator(_Part):
    """An operator of the masked model beside the dense one's."""

    name: str
    """The layer's, or XNNPACK's name for the operator."""
    kind: str
    shape: str
    """Empty where there is no layer."""
    dense: OperatorCost | None
    """``None`` where the dense model has no such operator."""
    masked: OperatorCost | None

    @property
    def lost_ms(self) -> float:
        """By how much it is slower than if time had shrunk as instructions did."""
        if self.masked is None:
            return 0.0
        if self.dense is None:
            return self.masked.ms
        share = self.masked.instructions / max(self.dense.instructions, 1)
        return self.masked.ms - self.dense.ms * share


class BoardCase(_Part):
    """One network at one sparsity and type, on one board."""

    board: str
    network: str
    dtype: Dtype
    sparsity: Annotated[float, Field(ge=0, lt=1)]
    ms: float
    low_ms: float
    """Nine of ten times are expected between this ..."""
    high_ms: float
    """... and this."""
    instructions: PositiveInt
    peak_share: float | None
    """Multiply-accumulates a cycle, as a part of what the core can do."""
    memory_lines: int
    """Of 64 bytes, from memory and to it, in all operators."""
    stock: Cost | None = None
    """The same dense model on upstream's XNNPACK; ``None`` of masked ones, or if not asked for."""
    operators: list[BoardOperator]
    """Beside the dense ones; empty for the dense model."""


class BoardHead(_Part):
    """A board as its file says."""

    name: str
    title: str
    core: str
    clock_mhz: int


class BoardResults(_Part):
    """Everything that one bench estimated."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    tool: str
    created: datetime
    qemu: str
    boards: list[BoardHead]
    cases: list[BoardCase]

    def case(self, board: str, network: str, dtype: Dtype, sparsity: float) -> BoardCase | None:
        """One case, if it is there."""
        key = (board, network, dtype, sparsity)
        return next(
            (one for one in self.cases if (one.board, one.network, one.dtype, one.sparsity) == key),
            None,
        )

    def joined(self, older: BoardResults) -> BoardResults:
        """With those groups of another document that are not in this one.

        A group is a network and a type on a board, whose masked models stand beside its dense one.
        """
        groups = {(one.board, one.network, one.dtype) for one in self.cases}
        kept = [one for one in older.cases if (one.board, one.network, one.dtype) not in groups]
        heads = {one.name: one for one in (*older.boards, *self.boards)}
        return self.model_copy(update={"boards": [*heads.values()], "cases": [*kept, *self.cases]})

    def dense(self, case: BoardCase) -> BoardCase:
        """The dense model of a case."""
        found = self.case(case.board, case.network, case.dtype, 0.0)
        assert found is not None  # noqa: S101 (each group begins with it)
        return found

    def to_json(self) -> bytes:
        """The document."""
        return self.model_dump_json(by_alias=True).encode() + b"\n"


def load_boards(path: Path) -> BoardResults:
    """Read a document.

    Raises:
        ModelError: no such file, or it is none; names the first fault.
    """
    return parse_json(
        BoardResults,
        read_text(path, ModelError),
        ModelError,
        f"{path}: holds no estimates for boards",
        hint="make bench-boards writes one",
    )


@dataclass(frozen=True)
class _Group:
    """The models of one network and type on one board, dense first."""

    board: str
    network: str
    dtype: Dtype
    files: Mapping[float, Path]


def estimate_boards(
    networks: Sequence[str],
    dtypes: Sequence[Dtype],
    bundles: Mapping[str, Bundle],
    *,
    stock: Mapping[str, Bundle] | None = None,
    sparsities: Sequence[float] = SPARSITIES,
    models: Path | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> BoardResults:
    """Estimate networks, dense and masked, on boards; one thread.

    Args:
        networks: of the bench.
        dtypes: of each.
        bundles: the runtime of each board, by its name.
        stock: upstream's runtime of boards, for dense models.
        sparsities: those of a network that are asked for; 0 is always estimated.
        models: a folder of converted files, which are taken as they are.
        jobs: groups that are traced at once.
        progress: where groups are counted.

    Raises:
        ModelError, VerificationError: a network cannot be converted.
        BoardError, MissingToolError: as :meth:`Estimator.models`.
    """
    progress = progress or Silent()
    groups = []
    for name in networks:
        wanted = [s for s in NETWORKS[name].sparsities if s == 0 or s in sparsities]
        for dtype in dtypes:
            files = {
                s: model_file(NETWORKS[name].zoo_name(s), dtype, folder=models, progress=progress)
                for s in sorted(wanted)
            }
            groups += [_Group(board, name, dtype, files) for board in bundles]
    heads: dict[str, BoardHead] = {}
    cases: list[BoardCase] = []
    with (
        progress.stage("estimates", len(groups)) as stage,
        ThreadPoolExecutor(jobs) as pool,
    ):

        def estimated(group: _Group) -> tuple[_Group, Estimate, Cost | None]:
            files = list(group.files.values())
            found = _estimated(bundles[group.board], group.board, files)
            before = None
            if stock and group.board in stock:
                before = _whole(_estimated(stock[group.board], group.board, files[:1]).models[0])
            stage.advance(1, f"{group.network} {group.dtype} on {group.board}")
            return group, found, before

        try:
            for group, found, before in pool.map(estimated, groups):
                heads[group.board] = BoardHead(
                    name=found.board, title=found.title, core=found.core, clock_mhz=found.clock_mhz
                )
                cases += _cases(group, found, before)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return BoardResults(
        tool=toolchain.__version__,
        created=datetime.now(UTC).replace(microsecond=0),
        qemu=qemu_version(),
        boards=[heads[name] for name in bundles if name in heads],
        cases=cases,
    )


def _estimated(bundle: Bundle, board: str, files: list[Path]) -> Estimate:
    found = Estimator(bundle, load_board(board), threads=1).models(files)
    assert found is not None  # noqa: S101 (there are files, and a fault of one is raised)
    return found


def _whole(one: ModelEstimate) -> Cost:
    return Cost(ms=one.ms, instructions=one.instructions, memory_lines=_lines(one))


def _lines(one: ModelEstimate) -> int:
    return sum(op.memory_lines for op in one.operators)


def _cases(group: _Group, found: Estimate, before: Cost | None) -> list[BoardCase]:
    dense = found.models[0]
    return [
        BoardCase(
            board=group.board,
            network=group.network,
            dtype=group.dtype,
            sparsity=sparsity,
            ms=one.ms,
            low_ms=one.low_ms,
            high_ms=one.high_ms,
            instructions=one.instructions,
            peak_share=one.peak_share,
            memory_lines=_lines(one),
            stock=None if sparsity else before,
            operators=beside(dense, one) if sparsity else [],
        )
        for sparsity, one in zip(group.files, found.models, strict=True)
    ]


def beside(dense: ModelEstimate, masked: ModelEstimate) -> list[BoardOperator]:
    """The operators of a masked model beside the dense one's, in the order of execution.

    Raises:
        ModelError: the two are not the same network.
    """
    sides = [timed_slots(one.timed_ops(), one.layers) for one in (dense, masked)]
    if sides[0] is None or sides[1] is None or len(dense.layers) != len(masked.layers):
        raise ModelError(f"{dense.name} and {masked.name} are not the same network: layers differ")
    return [
        _operator(_cost(dense, own), _cost(masked, other), layer, own or other)
        for own, other, layer in pair(sides[0], sides[1], masked.layers)
    ]


def _operator(
    dense: OperatorCost | None,
    masked: OperatorCost | None,
    layer: LayerTrace | None,
    op: Operator | None,
) -> BoardOperator:
    kind = op.type if op else ""
    return BoardOperator(
        name=layer.name if layer else kind,
        kind=layer.kind if layer else kind,
        shape=layer.shape if layer else "",
        dense=dense,
        masked=masked,
    )


def _cost(model: ModelEstimate, op: Operator | None) -> OperatorCost | None:
    if op is None or op.told is None:
        return None
    found: EstimatedOperator = model.operators[op.told.index]
    return OperatorCost(
        ms=round(found.ms, _DIGITS),
        instructions=found.instructions,
        memory_lines=found.memory_lines,
        bound=found.bound,
        waiting_ms=round(sum(ms for what, ms in found.by_bound.items() if what != "core"), _DIGITS),
    )
