"""One training on several ranks: the same network on each, and the same one whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

from support.patience import PATIENCE, await_that
from support.shared_training import (
    DAMAGED,
    files,
    own_ranks,
    ranks_of,
    shared_recipe,
    train_shared,
    weights,
)
from support.tiny_training import HELD, HOLD, deploy_train, images, recipe, write_recipe
from toolchain.cli.app import app
from toolchain.errors import BoardError, DataError, ModelError, RecipeError
from toolchain.progress import Stage
from toolchain.train.batches import Batches, evaluation_batches
from toolchain.train.data import load_data
from toolchain.train.ranks import Ranks
from toolchain.train.relay import Relay, Sender
from toolchain.train.run import train_recipe
from toolchain.train.setup import build_student
from toolchain.train.trainer import Trainer

TWO = [Ranks(number, 2) for number in range(2)]


# --- shares ----------------------------------------------------------------------------------


def test_a_batch_is_what_its_ranks_have_together() -> None:
    whole = Batches(images("train"), 16, seed=3)
    shares = [Batches(images("train"), 16, seed=3, ranks=ranks) for ranks in TWO]
    for step in (0, 5, 7):
        parts = [one.batch(step)[0] for one in shares]
        assert [len(part) for part in parts] == [8, 8]
        assert torch.equal(torch.cat(parts), whole.batch(step)[0])


def test_ranks_augment_their_shares_by_different_draws() -> None:
    alike = TensorDataset(torch.zeros(16, 1, 2, 2), torch.zeros(16))

    def draw(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return batch + torch.rand(batch.shape, generator=generator)

    one, other = (Batches(alike, 16, seed=3, ranks=ranks, augment=draw) for ranks in TWO)
    assert not torch.equal(one.batch(0)[0], other.batch(0)[0])


@pytest.mark.parametrize("count", [1, 40, 96, 1000])
def test_ranks_take_images_to_look_at_in_turns(count: int) -> None:
    def looked_at(batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> list[list[float]]:
        return [row.flatten().tolist() for batch, _ in batches for row in batch]

    data, most = images("train"), max(count, 16)
    parts = [Batches(data, 16, seed=3, ranks=ranks) for ranks in TWO]
    shares = [looked_at(one.unchanged(most)) for one in parts]
    whole = looked_at(Batches(data, 16, seed=3).unchanged(most))
    assert all(shares)
    assert sorted(shares[0] + shares[1]) == sorted(whole)
    tests = [looked_at(evaluation_batches(data, 10, ranks=ranks)) for ranks in TWO]
    assert sorted(tests[0] + tests[1]) == sorted(looked_at(evaluation_batches(data, 10)))


# --- on every rank ---------------------------------------------------------------------------


def _join(rank: int, folder: str) -> Ranks:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    return Ranks.joined(torch.device("cpu"))


def _train_rank(rank: int, folder: str, changes: dict[str, Any]) -> None:
    ranks = _join(rank, folder)
    chosen = recipe(**{**changes, "training": {"ranks": 2, "epochs": 2, **changes["training"]}})
    data = load_data(chosen.data.source, seed=0)
    trainer = Trainer(chosen, data, build_student(chosen, data), ranks)
    history = [replace(epoch, seconds=0.0) for epoch in trainer.train()]
    torch.save(
        {"model": trainer.model.state_dict(), "history": str(history),
         "same": str(trainer.same_images())},
        f"{folder}/{rank}.pt",
    )  # fmt: skip
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "changes",
    [
        {"masks": {"policy": "magnitude"}, "data": {"augment": ("mirror", "shift")}},
        {"model": {"factory": "support.tiny_training:net_of_norms"}},
        {"model": {"arguments": {"dropout": 0.5}}},
    ],
    ids=["magnitude", "statistics", "dropout"],
)
def test_all_ranks_end_with_the_same_masks_weights_statistics_and_figures(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    spawn(_train_rank, (str(tmp_path), {"training": {}, **changes}), nprocs=2)  # type: ignore[no-untyped-call]
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert [
        name for name in one["model"] if not torch.equal(one["model"][name], other["model"][name])
    ] == []
    masks = [value for name, value in one["model"].items() if name.endswith("mask")]
    assert masks
    assert all(0.7 <= mask.float().mean() <= 0.8 for mask in masks)
    assert (one["history"], one["same"]) == (other["history"], other["same"])


def _without_norms(rank: int, folder: str) -> None:
    ranks = _join(rank, folder)
    chosen = recipe(
        "masks", model={"factory": "support.tiny_training:net_of_groups"}, training={"ranks": 2},
    )  # fmt: skip
    data = load_data(chosen.data.source, seed=0)
    trainer = Trainer(chosen, data, build_student(chosen, data), ranks)
    trainer.train()
    if rank == 0:
        torch.save(trainer.model.state_dict(), f"{folder}/two.pt")
    dist.destroy_process_group()


def test_without_batchnorm_two_ranks_take_the_steps_of_one(tmp_path: Path) -> None:
    spawn(_without_norms, (str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    chosen = recipe("masks", model={"factory": "support.tiny_training:net_of_groups"})
    data = load_data(chosen.data.source, seed=0)
    alone = Trainer(chosen, data, build_student(chosen, data))
    begun = {name: value.clone() for name, value in alone.model.state_dict().items()}
    alone.train()
    two = torch.load(tmp_path / "two.pt")
    for name, value in alone.model.state_dict().items():
        assert not torch.allclose(value, begun[name], atol=1e-2)
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)


# --- begun, stopped, killed ------------------------------------------------------------------


def test_two_ranks_train_as_one_recipe_and_leave_what_one_leaves(tmp_path: Path) -> None:
    chosen = shared_recipe(tmp_path)
    report = train_shared(chosen, tmp_path / "two")
    assert len(report.epochs) == 2
    assert report.path == tmp_path / "two/out.safetensors"
    assert report.convert_command.startswith(f"deploy convert {report.path}")
    assert sorted(weights(tmp_path / "two")) == sorted(weights_of_one(tmp_path))
    one, two = (
        sorted(p.name for p in (tmp_path / name / "run").iterdir()) for name in ("one", "two")
    )
    assert two == sorted([*one, "best.safetensors", ".ranks.lock"])
    again = train_shared(chosen, tmp_path / "again")
    assert files(tmp_path / "again") == files(tmp_path / "two")
    assert again.same_images == report.same_images
    assert own_ranks() == []


def weights_of_one(folder: Path) -> dict[str, torch.Tensor]:
    train_shared(shared_recipe(folder, training={"ranks": 1}), folder / "one")
    return weights(folder / "one")


def test_a_training_of_which_a_rank_was_killed_goes_on_and_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "limit"
    monkeypatch.setenv(HOLD, str(limit))
    # Its training depends on statistics, which are each rank's own until they share them.
    model = {"factory": "support.tiny_training:net_of_norms"}
    chosen = shared_recipe(tmp_path, data={"source": HELD}, model=model)
    train_shared(chosen, tmp_path / "whole")
    limit.write_text("50")  # of 48 images of an epoch, a rank's share
    state = tmp_path / "killed/run/state.pt"

    def kill() -> None:
        await_that("a state is saved", state.exists, PATIENCE)
        os.kill(own_ranks()[-1], signal.SIGKILL)
        limit.unlink()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(BoardError, match=r"recipe: a rank of the training was killed \(SIGKILL\)"):
        train_shared(chosen, tmp_path / "killed")
    thread.join()
    assert own_ranks() == []
    report = train_shared(chosen, tmp_path / "killed")
    assert report.resumed_at
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a command has trained on two ranks, undisturbed."""
    above = tmp_path_factory.mktemp("undisturbed")
    shared_recipe(above, data={"source": HELD})
    (above / "whole").mkdir()
    line, environment = deploy_train("../recipe.toml")
    subprocess.run(line, cwd=above / "whole", env=environment, check=True, capture_output=True)
    return above / "whole"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_was_stopped_takes_its_ranks_along_and_goes_on(
    tmp_path: Path, number: signal.Signals, whole: Path
) -> None:
    shared_recipe(tmp_path, data={"source": HELD})
    limit, folder = tmp_path / "limit", tmp_path / "stopped"
    line, environment = deploy_train("../recipe.toml")
    folder.mkdir()
    limit.write_text("50")
    with subprocess.Popen(
        line, cwd=folder, env=environment | {HOLD: str(limit)}, stderr=subprocess.PIPE, text=True
    ) as process:
        state = folder / "recipe.run/state.pt"
        await_that("a state is saved", state.exists, PATIENCE)
        ranks = ranks_of(process.pid)
        assert len(ranks) == 2
        process.send_signal(number)
        if number != signal.SIGKILL:
            await_that("it was told", lambda: [*folder.glob("recipe.run/ranks-*/stop")], PATIENCE)
        limit.unlink()
        _, told = process.communicate(timeout=PATIENCE)
    await_that("the ranks have ended", lambda: not any(map(is_alive, ranks)), PATIENCE)
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number, told
        assert "; saved: the same command goes on from there" in told
        assert "Traceback" not in told
    done = subprocess.run(
        line, cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    assert "resumed after step" in done.stderr
    for name in ("recipe.safetensors", "recipe.run/last.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- faults ----------------------------------------------------------------------------------


def test_a_fault_is_told_as_by_one_process(tmp_path: Path) -> None:
    wrong = {"model": {"arguments": {"classes": 4}}}
    said = []
    for ranks in (1, 2):
        with pytest.raises(ModelError) as raised:
            train_shared(
                shared_recipe(tmp_path, training={"ranks": ranks}, **wrong), tmp_path / "o"
            )
        said.append((raised.value.what, raised.value.hint))
    assert said[0] == said[1]
    assert not (tmp_path / "o/run").exists()


def test_a_fault_of_one_rank_ends_the_others(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="image 7 is damaged"):
        train_shared(shared_recipe(tmp_path, data={"source": DAMAGED}), tmp_path / "o")
    assert own_ranks() == []


def test_a_batch_that_ranks_cannot_share_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="batch_size 16 is not a multiple of ranks 3"):
        shared_recipe(tmp_path, training={"ranks": 3})


def test_a_recipe_of_several_ranks_is_not_trained_by_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the recipe is for 2, and there are 1"):
        train_recipe(shared_recipe(tmp_path), tmp_path / "o.safetensors", tmp_path / "run")


def test_machines_that_see_different_files_are_told() -> None:
    steps = {0: 4, 1: 8}

    class Apart(Ranks):
        def most(self, value: int) -> int:
            return max(steps.values()) if value > 0 else -min(steps.values())

    with pytest.raises(Exception, match="one goes on from step 4, another from step 8"):
        Apart(0, 2).check_same(steps[0], "run")


# --- the command and its progress ------------------------------------------------------------


def test_the_command_says_how_many_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_recipe(tmp_path / "tiny.toml", training={"epochs": 1})
    done = CliRunner().invoke(app, ["train", str(path), "--ranks", "2"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "tiny.safetensors is written" in done.stdout
    with pytest.raises(RecipeError, match="is not a multiple of ranks 3") as raised:
        CliRunner().invoke(app, ["train", str(path), "--ranks", "3"], catch_exceptions=False)
    assert "a multiple of 3" in (raised.value.hint or "")
    alone = CliRunner().invoke(app, ["train", str(path), "--address", "a:1"])
    assert alone.exit_code == 2
    assert "add --ranks 2" in " ".join(alone.output.replace("│", " ").split())


class Heard:
    """Keeps what a progress is told."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        self.said.append((title, total))
        yield _HeardStage(self.said)
        self.said.append(f"end of {title}")

    def note(self, message: str) -> None:
        self.said.append(message)


class _HeardStage:
    def __init__(self, said: list[Any]) -> None:
        self.said = said

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        self.said.append((steps, detail))

    def total(self, steps: float) -> None:
        self.said.append(steps)


def test_progress_of_another_process_is_shown_here(tmp_path: Path) -> None:
    path, heard = tmp_path / "p", Heard()
    with Relay(path, heard) as relay:
        relay.look()
        sender = Sender(path)
        with sender.stage("train", None) as stage:
            stage.total(3)
            stage.advance(1, "a")
            relay.look()
            assert heard.said == [("train", None), 3, (1, "a")]
            for _ in range(2):
                stage.advance(1, "b")
            sender.note("so far")
            relay.look()
        relay.look()
        assert sum(one[0] for one in heard.said[2:] if isinstance(one, tuple)) == 3
        assert heard.said[-1] == "end of train"
        assert "so far" in heard.said


def test_progress_of_a_process_that_died_ends_when_the_next_begins(tmp_path: Path) -> None:
    path, heard = tmp_path / "p", Heard()
    with Relay(path, heard) as relay:
        Sender(path).tell(begin=1, title="train", total=4)
        Sender(path)
        relay.look()
        assert heard.said == [("train", 4), "end of train"]
