"""Recipes: what is read, and what is refused before any training starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from support.tiny_training import net, recipe, tables, write_recipe
from toolchain.errors import BoardConfigError, DataError, DeployError, ModelError, RecipeError
from toolchain.sparsity.checkpoint import save_checkpoint
from toolchain.train.recipe import Recipe, load_recipe
from toolchain.train.run import plan_recipe, train_recipe

INVALID = sorted((Path(__file__).parent / "invalid").glob("*.toml"))
PYTHON = "support.tiny_training"

ToFolder = Callable[[Path], object]


def nothing(_folder: Path) -> None: ...


def weights(name: str, **arguments: Any) -> ToFolder:
    return lambda folder: save_checkpoint(folder / name, net(**arguments))


def text(name: str, content: str) -> ToFolder:
    return lambda folder: (folder / name).write_text(content)


# --- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_a_faulty_recipe_is_refused_with_file_key_and_fault(path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# expect:").strip()
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.what.startswith(f"{path}: ")
    assert expected in caught.value.what
    assert "\n" not in caught.value.what


def test_every_fault_of_a_recipe_is_told(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "r.toml", "model", masks={"sparsity": 2}, training={"epochs": 0})
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert [line.split(": ")[1] for line in caught.value.what.splitlines()] == [
        "model",
        "training.epochs",
        "masks.sparsity",
    ]
    assert "docs/reference/recipes.md" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / name)


def test_a_recipe_says_what_its_file_says(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "model": {"arguments": {"classes": 3, "dropout": 0.5, "noise": True}},
        "data": {"augment": ["mirror", "shift"]},
        "masks": {
            "targets": {"layer4.*": 0.5, "*": 0.125},
            "exclude": ["stem"],
            "rounded": {"0": 4},
        },
        "distillation": {"weights": "dense.safetensors"},
        "pruning": {"ratio": 0.5},
    }
    loaded = load_recipe(write_recipe(tmp_path / "r.toml", **changes))
    assert loaded == Recipe.model_validate(tables(**changes))
    assert Recipe.model_validate_json(loaded.model_dump_json()) == loaded
    assert loaded.model.arguments["noise"] is True
    assert list(loaded.masks.targets) == ["layer4.*", "*"]  # type: ignore[union-attr]


def test_what_a_recipe_leaves_out_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[model]\nfactory = "resnet18"\n[data]\nsource = "pets"\n')
    loaded = load_recipe(path)
    assert loaded.masks is None
    assert (loaded.training.epochs, loaded.optimizer.kind) == (10, "sgd")


# --- what only shows when it is tried --------------------------------------------------------

BOARD = 'title = "x"\ncpu = "y"\nisa = "aarch64"\nmarch = "armv8-a"\n'

FAULTS: dict[str, tuple[dict[str, dict[str, Any]], ToFolder, type[DeployError], str]] = {
    "layers": (
        {"masks": {"layers": ["stem.*"]}},
        nothing,
        ModelError,
        r"layer pattern 'stem\.\*' matches none of the model's 3 convolutions",
    ),
    "excluded layers": (
        {"masks": {"exclude": ["9"]}},
        nothing,
        ModelError,
        "layer pattern '9' matches none",
    ),
    "every layer excluded": (
        {"masks": {"exclude": ["?"]}},
        nothing,
        ModelError,
        "none of the model's 3 convolutions is chosen",
    ),
    "target": (
        {"masks": {"targets": {"6": 0.5}}},
        nothing,
        ModelError,
        "layer pattern '6' of a target matches none of the layers to mask",
    ),
    "data folder": (
        {"data": {"source": "pets", "image_size": 8}},
        nothing,
        DataError,
        "pets: there is no such folder",
    ),
    "data folder is a file": (
        {"data": {"source": "pets", "image_size": 8}},
        text("pets", ""),
        DataError,
        "pets: is a file, not a folder",
    ),
    "data module": (
        {"data": {"source": "no_such_module:images"}},
        nothing,
        DataError,
        "there is no module called 'no_such_module'",
    ),
    "data function": (
        {"data": {"source": f"{PYTHON}:pictures"}},
        nothing,
        DataError,
        "has no function called 'pictures'",
    ),
    "data function that fails": (
        {"data": {"source": f"{PYTHON}:failing"}},
        nothing,
        DataError,
        r"calling 'support\.tiny_training:failing' with 'train' failed: OSError: no images",
    ),
    "images of another size": (
        {"data": {"image_size": 28}},
        nothing,
        DataError,
        "images are 8x8, not 28x28",
    ),
    "fewer images than a batch": (
        {"training": {"batch_size": 97}},
        nothing,
        DataError,
        "96 images do not fill one batch of 97",
    ),
    "network": (
        {"model": {"factory": "resnet19"}},
        nothing,
        ModelError,
        "there is no network called 'resnet19'",
    ),
    "factory's module": (
        {"model": {"factory": "no_such_module:net"}},
        nothing,
        ModelError,
        "there is no module called 'no_such_module'",
    ),
    "factory's function": (
        {"model": {"factory": f"{PYTHON}:network"}},
        nothing,
        ModelError,
        "has no function called 'network'",
    ),
    "factory's argument": (
        {"model": {"arguments": {"widht": 2}}},
        nothing,
        ModelError,
        "with widht=2 failed: TypeError",
    ),
    "no module made": (
        {"model": {"factory": f"{PYTHON}:tables"}},
        nothing,
        ModelError,
        "gives a dict, not a torch.nn.Module",
    ),
    "other classes": (
        {"model": {"arguments": {"classes": 10}}},
        nothing,
        ModelError,
        r"gives \[1, 10\] for one image, but support\.tiny_training:images has 3 classes",
    ),
    "other images": (
        {"model": {"arguments": {"side": 16}}},
        nothing,
        ModelError,
        "on an image of 1x1x8x8 failed",
    ),
    "nothing to train": (
        {"model": {"factory": f"{PYTHON}:frozen_net"}},
        nothing,
        ModelError,
        "has no parameters to train",
    ),
    "first weights": (
        {"model": {"weights": "dense.safetensors"}},
        nothing,
        ModelError,
        "dense.safetensors: cannot be read: No such file",
    ),
    "first weights of another shape": (
        {"model": {"weights": "dense.safetensors"}},
        weights("dense.safetensors", channels=4),
        ModelError,
        r"dense\.safetensors: '0\.weight' has shape",
    ),
    "first weights that are none": (
        {"model": {"weights": "dense.safetensors"}},
        text("dense.safetensors", "weights"),
        ModelError,
        "dense.safetensors: is neither a safetensors file nor a PyTorch checkpoint",
    ),
    "teacher": (
        {"distillation": {"weights": "teacher.safetensors"}},
        nothing,
        ModelError,
        "teacher.safetensors: cannot be read",
    ),
    "teaching itself from nothing": (
        {
            "model": {"factory": "toolchain.zoo.fashion_resnet:fashion_resnet"},
            "data": {"source": f"{PYTHON}:fashion_noise"},
            "distillation": {},
        },
        nothing,
        ModelError,
        "fashion_resnet cannot teach itself: it starts from weights that know nothing",
    ),
    "an own network teaching itself from nothing": (
        {"distillation": {}},
        nothing,
        ModelError,
        "tiny_training:net cannot teach itself: it starts from weights that know nothing",
    ),
    "own teacher without weights": (
        {"distillation": {"factory": f"{PYTHON}:net_of_norms"}},
        nothing,
        ModelError,
        "net_of_norms cannot teach: its weights are random ones",
    ),
    "teacher of the zoo without weights": (
        {"distillation": {"factory": "resnet18"}},
        nothing,
        ModelError,
        "resnet18 cannot teach: its weights are random ones",
    ),
    "teacher of a library without weights": (
        {"distillation": {"factory": "timm:resnet10t"}},
        nothing,
        ModelError,
        "timm:resnet10t cannot teach: its weights are random ones",
    ),
    "more than a head that differs": (
        {"model": {"weights": "dense.safetensors", "new_head": True}},
        weights("dense.safetensors", classes=10, channels=4),
        ModelError,
        "differ from the network in the shapes of 0, 1, 3, 4",
    ),
    "teaching itself with a new head": (
        {"model": {"weights": "dense.safetensors", "new_head": True}, "distillation": {}},
        weights("dense.safetensors", classes=10),
        ModelError,
        "cannot teach itself",
    ),
    "teacher of another shape": (
        {"distillation": {"weights": "teacher.safetensors"}},
        weights("teacher.safetensors", channels=4),
        ModelError,
        r"teacher\.safetensors: '0\.weight' has shape",
    ),
    "teacher of other classes": (
        {"distillation": {"weights": "teacher.safetensors", "factory": f"{PYTHON}:net_of_ten"}},
        weights("teacher.safetensors", classes=10),
        ModelError,
        r"the teacher \(support\.tiny_training:net_of_ten\) gives \[1, 10\]",
    ),
    "masks that end before they begin": (
        {"schedule": {"end_step": 1}},
        nothing,
        RecipeError,
        r"\[schedule\]: .* final at step 1, before they begin to grow at step 2",
    ),
    "board": (
        {"masks": {"board": "rpi9"}},
        nothing,
        BoardConfigError,
        "there is no board called 'rpi9'",
    ),
    "board's file": (
        {"masks": {"board": "mine.toml"}},
        nothing,
        BoardConfigError,
        "mine.toml: cannot be read",
    ),
    "rounded layers": (
        {"masks": {"rounded": {"6": 4}}},
        nothing,
        ModelError,
        "layer pattern '6' of what is rounded matches none of the layers to mask",
    ),
    "channels that are too few to prune": (
        {"pruning": {"ratio": 0.2}},
        nothing,
        ModelError,
        "removes none",
    ),
    "channels that cannot be pruned": (
        {"model": {"factory": f"{PYTHON}:net_of_groups"}, "pruning": {"ratio": 0.5}},
        nothing,
        ModelError,
        "there is nothing to prune",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_recipe_that_cannot_be_trained_is_told_before_and_leaves_nothing(
    tmp_path: Path, name: str
) -> None:
    changes, prepare, fault, message = FAULTS[name]
    faulty = recipe(**changes)
    prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(fault, match=message):
        plan_recipe(faulty, base=tmp_path)
    with pytest.raises(fault, match=message):
        train_recipe(faulty, tmp_path / "o.safetensors", tmp_path / "runs/mine", base=tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(tmp_path: Path) -> None:
    asked = recipe(training={"device": "cuda"})
    with pytest.raises(RecipeError, match=r"training\.device: there is no GPU"):
        train_recipe(asked, tmp_path / "o.safetensors", tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    faulty = recipe(model={"factory": "resnet19"})
    with pytest.raises(ModelError):
        train_recipe(faulty, tmp_path / "o.safetensors", tmp_path / "run")
    assert [path.name for path in tmp_path.rglob("*")] == ["run"]


def test_paths_of_a_recipe_are_relative_to_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("recipes", "elsewhere"):
        (tmp_path / name).mkdir()
    folder = tmp_path / "recipes"
    weights("dense.safetensors")(folder)
    text("mine.toml", BOARD)(folder)
    monkeypatch.chdir(tmp_path / "elsewhere")
    plan = plan_recipe(
        recipe(
            model={"weights": "dense.safetensors"},
            masks={"board": "mine.toml"},
            distillation={"weights": "dense.safetensors"},
        ),
        base=folder,
    )
    assert plan.network.rounding is not None
    assert plan.network.rounding.board == "mine"
