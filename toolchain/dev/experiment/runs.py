"""The trainings of the experiment: a sweep, whose finished trainings are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, RootModel

from toolchain.errors import ModelError
from toolchain.failures import Failures
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.progress import Progress, Silent, Stage
from toolchain.sparsity.policies import POLICIES
from toolchain.storage.files import write_whole
from toolchain.sweep.axes import Value
from toolchain.sweep.cluster import RayPool, is_there
from toolchain.sweep.document import SweepRow
from toolchain.sweep.driver import State, run, state_of
from toolchain.sweep.plan import Plan, plan_sweep
from toolchain.sweep.pools import Ended, Here
from toolchain.sweep.results import results_of
from toolchain.sweep.search import Tried
from toolchain.sweep.spec import Grid, Sweep
from toolchain.sweep.store import Store
from toolchain.sweep.tasks import Task
from toolchain.train.recipe import (
    DataSet,
    Masks,
    Model,
    Optimizer,
    Recipe,
    Schedule,
    Training,
)
from toolchain.zoo import fashion_mnist

SPARSITIES = (0.1, 0.2, 0.3, 0.5)
SEEDS = (0, 1, 2)
EPOCHS = 5
_FILE = Path("experiment")
_RECIPE = Recipe(
    model=Model(factory="toolchain.zoo.fashion_resnet:fashion_resnet"),
    data=DataSet(source="fashion-mnist", augment=("mirror",)),
    training=Training(precision="bf16", threads=1),
    optimizer=Optimizer(learning_rate=0.1),
    masks=Masks(sparsity=0.1, kernels="3x3"),
    # So few epochs have to leave time to get used to masks that no longer change: frozen at 0.5 of
    # training and not at 0.2, three of three networks lost another 0.4 to 0.6 points.
    schedule=Schedule(end=0.2),
)
"""What all trainings share."""
_PRUNED = (0.0, 0.25, 0.5)
_PRUNED_SPARSITY = 0.3
_FINE_TUNING_RATE = 0.05
_DENSE, _TUNED = "dense", "tuned"


class CaseResult(BaseModel):
    """What is kept of a training."""

    model_config = ConfigDict(frozen=True)

    seed: int
    policy: str | None
    """``None`` for a network without masks."""
    sparsity: float
    """The target."""
    pruned: float
    """The share of channels that were removed before training."""
    fine_tuned: bool
    """Whether it starts from the dense network of its seed, or from nothing."""
    accuracy: float
    """On the 10,000 test images, 0 to 1, after the last epoch."""
    macs_kept: int
    """Multiply-accumulates of one image."""
    parameters: int
    epochs: int
    limit: int | None = None
    """Training images; ``None`` for all."""

    @property
    def key(self) -> str:
        """The name of its network's file."""
        parts = [self.policy or "dense", f"s{self.sparsity:g}" if self.policy else ""]
        parts += [f"p{self.pruned:g}" if self.pruned else "", "tuned" if self.fine_tuned else ""]
        return "-".join([*filter(None, parts), f"seed{self.seed}"])


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


def experiment(
    seeds: Sequence[int] = SEEDS,
    *,
    epochs: int = EPOCHS,
    limit: int | None = None,
    policies: Sequence[str] = tuple(POLICIES),
    sparsities: Sequence[float] = SPARSITIES,
    pruned: Sequence[float] = _PRUNED,
) -> Sweep:
    """Every training; all alike but for what is compared.

    Args:
        seeds: of each.
        epochs: of each training; a fine-tuned network has had as many before.
        limit: train on so many images only.
        policies: that are trained from nothing.
        sparsities: of those.
        pruned: shares of channels, of networks that are fine-tuned.
    """
    settings: dict[str, tuple[Value, ...]] = {"training.epochs": (epochs,)}
    settings |= {"data.limit": (limit,)} if limit else {}
    tuned = settings | {"optimizer.learning_rate": (_FINE_TUNING_RATE,)}
    return Sweep(
        recipe=_FILE,
        grid=(
            Grid(name=_DENSE, sparsities=(0.0,), seeds=tuple(seeds), settings=settings),
            Grid(
                name="masked", policies=tuple(policies), sparsities=tuple(sparsities),
                seeds=tuple(seeds), settings=settings,
            ),
            Grid(
                name=_TUNED, start=_DENSE, policies=("pooled",),
                sparsities=(0.0, _PRUNED_SPARSITY), pruning=tuple(pruned), seeds=tuple(seeds),
                settings=tuned,
            ),
        ),
    )  # fmt: skip


def plan_of(sweep: Sweep) -> Plan:
    """The tasks of :func:`experiment`."""
    return plan_sweep(sweep, _FILE, _RECIPE)


def run_all(
    sweep: Sweep,
    folder: Path,
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> list[CaseResult]:
    """Train what is not trained yet; a run that was stopped goes on after its last epoch.

    Networks lie in the folder by their names, beside the sweep's own folders.

    Args:
        sweep: see :func:`experiment`.
        folder: of the sweep.
        jobs: trainings at once, each with one thread; by default as many as there are cores.
            Without Ray they run one after the other.
        progress: where finished trainings are counted.

    Raises:
        DeployError: a training cannot be done.
    """
    progress = progress or Silent()
    fashion_mnist.load("train", progress=progress)  # once, before many want it
    plan, store = plan_of(sweep), Store(folder)
    state = state_of(plan, store)
    with progress.stage("experiment", len(plan.tasks)) as stage:
        stage.advance(len(state.done))
        if not state.finished:
            pool = RayPool(store, jobs=jobs) if is_there() else Here(store)
            run(state, store, pool, _Watch(stage))
    failures = Failures()
    failures.items += [(plan.tasks[key].name, error) for key, error in state.failed.items()]
    failures.require()
    rows = results_of(state, store).rows
    found = [_result(plan, row) for row in rows]
    for result, row in zip(found, rows, strict=True):
        network = (store.folder / row.checkpoint).read_bytes()
        write_whole(store.folder / f"{result.key}.safetensors", network)
    return found


def _result(plan: Plan, row: SweepRow) -> CaseResult:
    recipe = next(one.recipe for one in plan.networks if one.name == row.name)
    return CaseResult(
        seed=row.seed,
        policy=row.policy,
        sparsity=row.sparsity,
        pruned=row.pruned,
        fine_tuned=row.grid == _TUNED,
        # Not the best epoch's, which the test images choose: that flatters what varies most.
        accuracy=row.trained_accuracy,
        macs_kept=row.macs_kept,
        parameters=row.parameters,
        epochs=recipe.training.epochs,
        limit=recipe.data.limit,
    )


class _Watch:
    """Counts what has ended."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def begun(self, state: State, task: Task) -> None: ...

    def looked(self, state: State) -> None: ...

    def tried(self, state: State, tried: Tried) -> None: ...

    def ended(self, state: State, ended: Ended) -> None:
        if (record := state.done.get(ended.task.key)) is not None:
            accuracy = record.result["accuracy"]
            self._stage.advance(1, f"{ended.task.name}: {accuracy:.2%}")
