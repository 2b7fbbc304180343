"""The ranks of one training as workers of Ray Train, on one machine or on many.

Ray Train begins them, joins them by ``torch.distributed``, and begins all of them again when one
has died: they go on from the training's own saved state. It keeps no checkpoints of its own.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import distributed

from toolchain import extras
from toolchain.errors import BoardError, DeployError, MissingToolError, first_line
from toolchain.foreign_text import harmless
from toolchain.sweep.session import Session, ray
from toolchain.train.ranks import Ranks, backend
from toolchain.train.recipe import Training
from toolchain.train.together import Job, Running, job_from, job_table, run_rank

_STORAGE = "ray"
"""What Ray Train writes, in the folder where the ranks meet."""
_QUICK = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
"""Settings of Ray Train: how often it looks after the workers."""
_END_S = 60.0
"""For ranks that are told to stop."""


class RayRanks:
    """Begins ranks on the Ray that this process is connected to.

    Args:
        retries: how often all of them are begun again after one has died.
    """

    def __init__(self, retries: int = 5) -> None:
        self._retries = retries

    def __call__(self, job: Job) -> Running:
        """See :data:`toolchain.train.together.Launch`.

        Raises:
            MissingToolError: Ray Train is not installed.
        """
        return _Fit(_trainer(job, self._retries), job)


@contextmanager
def on_cluster(address: str, training: Training) -> Iterator[RayRanks]:
    """What begins the ranks of a training on a cluster that has room for them.

    Args:
        address: of the cluster, as ``ray start`` tells it.
        training: of a recipe.

    Raises:
        ConnectionFailed: there is no such cluster.
        BoardError: it lacks CPUs or GPUs.
    """
    session = Session(
        address,
        ranked_cpus=training.ranks * max(1, training.threads),
        gpus=training.ranks if training.device == "cuda" else 0,
    )
    try:
        yield RayRanks()
    finally:
        session.close()


def _trainer(job: Job, retries: int) -> Any:
    for name, value in _QUICK.items():
        os.environ.setdefault(name, value)
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise MissingToolError(
            "several ranks on Ray need packages of Ray Train that are not installed",
            hint=f"run: {extras.install_line('sweep')}",
        ) from error

    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    gpus = ray().cluster_resources().get("GPU", 0) if job.device != "cpu" else 0
    gpu = job.device == "cuda" or gpus >= job.count
    storage = Path(job.folder, job.meeting, _STORAGE).absolute()
    return TorchTrainer(
        _rank,
        train_loop_config=job_table(job),
        torch_config=TorchConfig(backend=backend("cuda" if gpu else "cpu")),
        scaling_config=ScalingConfig(
            num_workers=job.count,
            use_gpu=gpu,
            resources_per_worker={"CPU": job.threads or 1, **({"GPU": 1} if gpu else {})},
        ),
        run_config=RunConfig(
            name=job.meeting,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=retries),
        ),
    )


class _Fit:
    """``fit`` of a trainer, which blocks, in a thread."""

    def __init__(self, trainer: Any, job: Job) -> None:
        self._job = job
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        self._thread.join(seconds)
        if self._thread.is_alive():
            return False
        if self._error is not None:
            said = harmless(first_line(self._error))
            raise BoardError(
                f"{self._job.name}: its ranks have died again and again: {said}",
                hint="they may need more memory than there is. The same command goes on from the "
                "last saved state",
            )
        return True

    def kill(self) -> None:
        """Ranks that are at work were told to stop, or find that the others are gone."""
        self._thread.join(_END_S)

    def _fit(self, trainer: Any) -> None:
        try:
            trainer.fit()
        except Exception as error:
            self._error = error


# --- in the process of a rank ----------------------------------------------------------------


def _rank(said: dict[str, Any]) -> None:
    from ray.train.torch import get_device

    try:
        run_rank(job_from(said), Ranks.joined(get_device()))
    except DeployError:  # which is told, and would only be met again
        distributed.destroy_process_group()  # or others would wait for this one
