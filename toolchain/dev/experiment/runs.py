"""The trainings of the experiment: each a recipe, each finished once and kept."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, RootModel

from toolchain.errors import ModelError
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.progress import Progress, Silent
from toolchain.sparsity.policies import POLICIES
from toolchain.storage.files import write_whole
from toolchain.train.recipe import (
    DataSet,
    Masks,
    Model,
    Optimizer,
    Pruning,
    Recipe,
    Schedule,
    Training,
)
from toolchain.train.run import TrainingReport, train_recipe
from toolchain.zoo import fashion_mnist

SPARSITIES = (0.1, 0.2, 0.3, 0.5)
SEEDS = (0, 1, 2)
EPOCHS = 5
_FACTORY = "toolchain.zoo.fashion_resnet:fashion_resnet"
_PRUNED = (0.25, 0.5)
_PRUNED_SPARSITY = 0.3
_FINE_TUNING_RATE = 0.05
_FROZEN = 0.2


@dataclass(frozen=True)
class Case:
    """One network, trained with one seed."""

    seed: int
    policy: str | None = None
    """``None`` for a network without masks."""
    sparsity: float = 0.0
    pruned: float = 0.0
    """The share of channels that were removed before training."""
    fine_tuned: bool = False
    """Whether it starts from the dense network of its seed, or from nothing."""

    @property
    def key(self) -> str:
        """A name for its files."""
        parts = [self.policy or "dense", f"s{self.sparsity:g}" if self.policy else ""]
        parts += [f"p{self.pruned:g}" if self.pruned else "", "tuned" if self.fine_tuned else ""]
        return "-".join([*filter(None, parts), f"seed{self.seed}"])


class CaseResult(BaseModel):
    """What is kept of a training."""

    model_config = ConfigDict(frozen=True)

    seed: int
    policy: str | None
    sparsity: float
    """The target."""
    pruned: float
    fine_tuned: bool
    accuracy: float
    """On the 10,000 test images, 0 to 1, after the last epoch."""
    macs_kept: int
    """Multiply-accumulates of one image."""
    parameters: int
    epochs: int
    limit: int | None = None
    """Training images; ``None`` for all."""


class _Trainings(RootModel[list[CaseResult]]):
    pass


def load_trainings(path: Path) -> list[CaseResult]:
    """Read ``docs/experiment.json``.

    Raises:
        ModelError: no such file, or it is none; names the first fault.
    """
    text = read_text(path, ModelError)
    hint = "make experiment writes it"
    return parse_json(_Trainings, text, ModelError, str(path), hint=hint).root


def cases(seeds: Iterable[int] = SEEDS) -> list[Case]:
    """Every training, dense ones first: the fine-tuned start from them."""
    from_nothing, tuned = [], []
    for seed in seeds:
        from_nothing += [
            Case(seed, policy, sparsity) for policy in POLICIES for sparsity in SPARSITIES
        ]
        tuned += [
            Case(seed, policy, sparsity, pruned, fine_tuned=True)
            for pruned in (0.0, *_PRUNED)
            for policy, sparsity in ((None, 0.0), ("pooled", _PRUNED_SPARSITY))
        ]
    # Seed by seed, so that an experiment that was stopped has whole seeds.
    return [Case(seed) for seed in seeds] + sorted(from_nothing + tuned, key=lambda case: case.seed)


def recipe(case: Case, epochs: int = EPOCHS, limit: int | None = None) -> Recipe:
    """How a case is trained; all alike but for what is compared.

    Args:
        case: what to train.
        epochs: of each training; a fine-tuned network has had as many before.
        limit: train on so many images only.
    """
    start = Path(f"{Case(case.seed).key}.safetensors") if case.fine_tuned else None
    return Recipe(
        model=Model(factory=_FACTORY, weights=start),
        data=DataSet(source="fashion-mnist", augment=("mirror",), limit=limit),
        training=Training(epochs=epochs, seed=case.seed, precision="bf16", threads=1),
        optimizer=Optimizer(learning_rate=_FINE_TUNING_RATE if case.fine_tuned else 0.1),
        masks=Masks(policy=case.policy, sparsity=case.sparsity, kernels="3x3")
        if case.policy
        else None,
        # So few epochs have to leave time to get used to masks that no longer change: frozen at 0.5
        # of training and not at 0.2, three of three networks lost another 0.4 to 0.6 points.
        schedule=Schedule(end=_FROZEN),
        pruning=Pruning(ratio=case.pruned) if case.pruned else None,
    )


def run_all(
    chosen: Sequence[Case],
    folder: Path,
    *,
    epochs: int = EPOCHS,
    limit: int | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> list[CaseResult]:
    """Train what is not trained yet; a run that was stopped goes on after its last epoch.

    Args:
        chosen: see :func:`cases`.
        folder: keeps the checkpoint and the result of each case.
        epochs: of each training.
        limit: train on so many images only, for a quick try.
        jobs: trainings at once, each in a process of its own with one thread.
        progress: where finished trainings are counted.

    Raises:
        SourceError: the images cannot be fetched.
    """
    progress = progress or Silent()
    folder.mkdir(parents=True, exist_ok=True)
    fashion_mnist.load("train", progress=progress)  # once, before many want it
    dense = [case for case in chosen if case == Case(case.seed)]
    others = [case for case in chosen if case not in dense]
    done: dict[Case, CaseResult] = {}
    with progress.stage("experiment", len(chosen)) as stage:
        for group in (dense, others):
            with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
                futures = {pool.submit(_run, case, folder, epochs, limit): case for case in group}
                try:
                    for future in as_completed(futures):
                        case = futures[future]
                        done[case] = future.result()
                        stage.advance(1, f"{case.key}: {done[case].accuracy:.2%}")
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
    return [done[case] for case in chosen]


def _run(case: Case, folder: Path, epochs: int, limit: int | None) -> CaseResult:
    kept = folder / f"{case.key}.json"
    if kept.is_file():
        result = parse_json(
            CaseResult, read_text(kept, ModelError), ModelError, str(kept), hint="delete it"
        )
        if (result.epochs, result.limit) == (epochs, limit):
            return result
    report: TrainingReport = train_recipe(
        recipe(case, epochs, limit),
        folder / f"{case.key}.safetensors",
        folder / f"{case.key}.run",
        base=folder,
        restart=kept.is_file(),  # of other settings
        name=case.key,
    )
    result = CaseResult(
        seed=case.seed,
        policy=case.policy,
        sparsity=case.sparsity,
        pruned=case.pruned,
        fine_tuned=case.fine_tuned,
        # Not the best epoch's, which the test images choose: that flatters what varies most.
        accuracy=report.last.accuracy,
        macs_kept=report.network.macs_kept,
        parameters=report.network.parameters,
        epochs=epochs,
        limit=limit,
    )
    write_whole(kept, result.model_dump_json(indent=1).encode())
    return result
