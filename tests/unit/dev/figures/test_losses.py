"""Where other runtimes take less time than ours, the README says so."""

from __future__ import annotations

from datetime import UTC, datetime

from toolchain.dev.bench.native import Machine, Spread
from toolchain.dev.bench.peer_estimates import PeerEstimate
from toolchain.dev.bench.peers import PeerGroup, PeerResult, PeerResults
from toolchain.dev.figures.tables import losses


def one(runtime: str, over: float | None, ms: float, sparsity: float = 0.0) -> PeerResult:
    share = over or 1.0
    around = Spread(median=share, low=share - 0.02, high=share + 0.02, samples=9)
    board = PeerEstimate(board="rpi4", ms=ms, low_ms=ms, high_ms=ms, instructions=1)
    return PeerResult(
        runtime=runtime, version="1", sparsity=sparsity, us=around,
        over_ours=around if over else None, difference=None, estimates=[board],
    )  # fmt: skip


def table(*results: PeerResult) -> list[str]:
    group = PeerGroup(network="resnet18", dtype="fp32", threads=1, results=[*results])
    found = losses(
        PeerResults(
            created=datetime(2026, 1, 1, tzinfo=UTC),
            machine=Machine(cpu="", cores=1, load=0.0),
            qemu="",
            rounds=1,
            groups=[group],
            missing=[],
        )
    )
    return found.splitlines()[2:]


def test_a_faster_runtime_is_told_where_it_is_faster() -> None:
    ours = one("tileskip", None, 100)
    assert table(ours, one("a", 0.5, 120), one("b", 1.5, 60)) == [
        "| resnet18 fp32 | a | 0.50 | |",
        "| resnet18 fp32 | b | | 0.60 |",
    ]


def test_what_is_as_fast_or_slower_is_no_loss_and_neither_are_masked_models_of_ours() -> None:
    ours = one("tileskip", None, 100)
    assert table(ours, one("a", 0.99, 99.8), one("tileskip", 0.5, 50, sparsity=0.3)) == []
