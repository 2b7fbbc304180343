"""New recipes: what they say follows from data, network and weights, and they train."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from support import picture_folders
from support.picture_folders import write_pictures
from toolchain.errors import DataError, DeployError, ModelError, OutputError, RecipeError
from toolchain.sparsity.checkpoint import load_checkpoint, load_metadata, masks_in, save_checkpoint
from toolchain.sparsity.masked_conv import summary
from toolchain.train.new_recipe import NewRecipes, Wish, new_recipes
from toolchain.train.recipe import Recipe, load_recipe
from toolchain.train.run import plan_recipe, train_recipe

NET = "support.picture_folders:net"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "pictures")
    return tmp_path


def new(**wish: Any) -> NewRecipes:
    return new_recipes(Wish(**{"data": "pictures", "model": NET, **wish}))


def dense_weights(path: Path, classes: int) -> torch.nn.Module:
    torch.manual_seed(3)
    made = picture_folders.net(classes)
    save_checkpoint(path, made)
    return made


# --- the whole way -------------------------------------------------------------------------------


def test_the_two_recipes_train_one_after_the_other(here: Path) -> None:
    done = new(sparsity=0.25, epochs=2, kernels="all")
    assert [(str(row.path), row.role) for row in done.recipes] == [
        ("net_dense.toml", "dense"),
        ("net_s25.toml", "masked"),
    ]
    for row in done.recipes:
        train_recipe(load_recipe(row.path), row.trains, here / row.path.with_suffix(".run"))
    assert masks_in(load_checkpoint("net_dense.safetensors")) == {}
    masks = masks_in(load_checkpoint("net_s25.safetensors"))
    assert {name: float(mask.float().mean()) for name, mask in masks.items()} == {
        "body.0": 0.75,
        "body.3": 0.75,
    }
    assert load_metadata("net_s25.safetensors")["arguments"] == '{"num_classes": 3}'


def test_the_masked_recipe_starts_from_the_dense_network_and_learns_from_it(here: Path) -> None:
    new()
    masked = load_recipe(here / "net_s20.toml")
    assert masked.model.weights == Path("net_dense.safetensors")
    assert masked.distillation is not None
    assert masked.distillation.weights is None
    assert masked.schedule.end_step is not None
    assert load_recipe(here / "net_dense.toml").masks is None


def test_a_run_of_the_advised_length_has_no_note(here: Path) -> None:
    dense_weights(here / "dense.safetensors", 3)
    (row,) = new(weights="dense.safetensors").recipes
    plan = plan_recipe(load_recipe(row.path), base=here)
    assert plan.notes == []
    assert plan.steps == row.advice.steps
    assert plan.schedule is not None
    assert row.masks is not None
    assert (plan.schedule.first_step, plan.schedule.final_step) == (
        row.masks.begin_step,
        row.masks.end_step,
    )
    assert (plan.network.macs, plan.network.macs_kept) == (row.macs, row.macs_kept)


@pytest.mark.usefixtures("here")
def test_the_next_commands_are_those_of_the_files_that_were_written() -> None:
    done = new(board="rpi4")
    assert done.commands == [
        "deploy train net_dense.toml",
        "deploy train net_s20.toml",
        f"deploy convert net_dense.safetensors --model {NET}",
        f"deploy convert net_s20.safetensors --model {NET}",
        "deploy inspect net_s20.tflite --board rpi4",
    ]


def test_recipes_in_another_folder_find_data_weights_and_modules(here: Path) -> None:
    (here / "recipes").mkdir()
    (here / "nets").mkdir()
    shutil.copy(picture_folders.__file__, here / "nets/my_pictures_net.py")
    done = new(output=Path("recipes/mine.toml"), model="nets/my_pictures_net:net", epochs=1)
    assert [str(row.path) for row in done.recipes] == [
        "recipes/mine_dense.toml",
        "recipes/mine.toml",
    ]
    dense = load_recipe(here / "recipes/mine_dense.toml")
    assert (dense.data.source, dense.model.factory) == (
        "../pictures",
        "../nets/my_pictures_net:net",
    )
    assert done.commands[0] == (
        "deploy train recipes/mine_dense.toml --output recipes/mine_dense.safetensors "
        "--run-dir recipes/mine_dense.run"
    )
    train_recipe(
        dense, here / "recipes/mine_dense.safetensors", here / "run", base=here / "recipes"
    )
    plan_recipe(load_recipe(here / "recipes/mine.toml"), base=here / "recipes")


# --- the network ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factory", "arguments"),
    [
        ("net", {"num_classes": 3}),
        ("net_of_any", {"num_classes": 3}),
        ("net_of_timm", {}),
    ],
)
def test_the_argument_that_sets_the_classes_is_found(
    here: Path, factory: str, arguments: dict[str, int]
) -> None:
    done = new(model=f"support.picture_folders:{factory}")
    assert done.network.arguments == arguments
    assert load_recipe(here / f"{factory}_s20.toml").model.arguments == arguments


def test_a_network_of_the_zoo_gets_its_classes(here: Path) -> None:
    done = new(model="mobilenet_v2")
    assert done.network.arguments == {"classes": 3}
    assert done.network.image_size == 64  # the pictures are 36 pixels high
    assert done.kernels == "all"  # nearly all of its work is in 1x1
    assert done.commands[-2] == "deploy convert mobilenet_v2_s20.safetensors"
    assert (here / "mobilenet_v2_dense.toml").is_file()


def test_a_network_of_other_classes_is_told_with_the_way_out(here: Path) -> None:
    with pytest.raises(
        ModelError, match=r"gives \[1, 7\] for one image, but pictures has 3"
    ) as told:
        new(model="support.picture_folders:net_of_seven")
    assert "--argument NAME=3" in (told.value.hint or "")
    assert list(here.glob("*.toml")) == []


@pytest.mark.usefixtures("here")
def test_images_are_scaled_to_what_the_network_says() -> None:
    done = new(model="support.picture_folders:net_of_timm")
    assert done.network.image_size == 48
    assert "normalised by the mean 0.5, 0.5, 0.5" in done.notes[0]


def test_small_images_are_not_blown_up_and_a_size_of_the_user_is_taken(here: Path) -> None:
    assert new().network.image_size == 64  # 36 pixels, to the next multiple of 32
    assert new(image_size=40, replace=True).network.image_size == 40
    assert load_recipe(here / "net_s20.toml").data.image_size == 40


@pytest.mark.usefixtures("here")
def test_where_3x3_do_most_of_the_work_they_alone_are_masked() -> None:
    assert new().kernels == "3x3"
    assert new(kernels="all", replace=True).kernels == "all"


# --- weights -------------------------------------------------------------------------------------


def test_weights_of_these_classes_make_one_recipe(here: Path) -> None:
    dense_weights(here / "dense.safetensors", 3)
    done = new(weights="dense.safetensors")
    assert [row.role for row in done.recipes] == ["masked"]
    assert load_recipe(here / "net_s20.toml").model.weights == Path("dense.safetensors")


def test_weights_of_other_classes_are_first_trained_on_these(here: Path) -> None:
    dense_weights(here / "other.safetensors", 10)
    done = new(weights="other.safetensors")
    assert [row.role for row in done.recipes] == ["dense", "masked"]
    dense = load_recipe(here / "net_dense.toml")
    assert (dense.model.weights, dense.model.new_head) == (Path("other.safetensors"), True)
    assert done.recipes[0].advice.start == "other data"
    plan_recipe(dense, base=here)


def test_weights_of_another_network_are_told(here: Path) -> None:
    save_checkpoint(here / "other.safetensors", torch.nn.Linear(3, 3))
    with pytest.raises(ModelError, match=r"other\.safetensors: 'body.* has shape"):
        new(weights="other.safetensors")


@pytest.mark.usefixtures("here")
def test_random_weights_of_the_zoo_are_not_taken_for_trained_ones() -> None:
    with pytest.raises(ModelError, match="mobilenet_v2 is made with are random") as told:
        new(model="mobilenet_v2", weights="own")
    assert "leave --weights away" in (told.value.hint or "")


def test_published_weights_are_asked_for_once(here: Path) -> None:
    done = new(model="efficientnet_lite0", arguments={"pretrained": True})
    assert done.recipes[0].advice.start == "other data"
    files = [load_recipe(here / f"efficientnet_lite0_{name}.toml") for name in ("dense", "s20")]
    assert [file.model.arguments["pretrained"] for file in files] == [True, False]
    assert files[0].model.arguments["classes"] == 3


def test_without_masks_the_dense_recipe_is_alone(here: Path) -> None:
    assert [row.role for row in new(sparsity=0.0).recipes] == ["dense"]
    assert [path.name for path in here.glob("*.toml")] == ["net_dense.toml"]


# --- a sparsity that is chosen -------------------------------------------------------------------


def test_a_chooser_sees_the_network_at_a_sparsity_and_names_the_file(here: Path) -> None:
    seen: dict[float, float] = {}

    def choose(
        network_at: Callable[[float], torch.nn.Module], example: torch.Tensor
    ) -> tuple[float, str]:
        for sparsity in (0.0, 0.5):
            network = network_at(sparsity)
            assert not network.training
            assert network(example).shape == (1, 3)
            seen[sparsity] = sum(layer.sparsity for layer in summary(network))
        return 0.35, "by a throw of dice"

    done = new_recipes(Wish(data="pictures", model=NET, board="rpi4"), chooser=choose)
    assert seen == {0.0: 0.0, 0.5: 0.5}
    assert [str(row.path) for row in done.recipes] == ["net_dense.toml", "net_s35.toml"]
    masks = load_recipe(here / "net_s35.toml").masks
    assert masks is not None
    assert masks.sparsity == 0.35
    assert "sparsity = 0.35  # by a throw of dice" in (here / "net_s35.toml").read_text()


# --- what is there stays -------------------------------------------------------------------------


def test_recipes_that_are_there_are_kept_unless_told_otherwise(here: Path) -> None:
    (here / "net_s20.toml").write_text("mine")
    with pytest.raises(OutputError, match=r"net_s20\.toml: is there already") as told:
        new()
    assert "--replace" in (told.value.hint or "")
    assert (here / "net_s20.toml").read_text() == "mine"
    assert not (here / "net_dense.toml").exists()  # neither, where one of the two is there
    new(replace=True)
    assert isinstance(load_recipe(here / "net_s20.toml"), Recipe)


@pytest.mark.parametrize(
    ("wish", "fault", "message"),
    [
        ({"data": "photos"}, DataError, "photos: there is no such folder"),
        ({"model": "resnet19"}, ModelError, "there is no network called 'resnet19'"),
        ({"weights": "absent.pt"}, ModelError, r"absent\.pt: cannot be read"),
        ({"output": Path("mine.json")}, OutputError, "name ends in .toml"),
        ({"output": Path("absent/mine.toml")}, OutputError, "absent"),
        ({"arguments": {"widht": 2}}, ModelError, "with widht=2 failed"),
        ({"policy": "poled"}, RecipeError, "there is no policy 'poled'"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(
    here: Path, wish: dict[str, Any], fault: type[DeployError], message: str
) -> None:
    before = sorted(here.rglob("*"))
    with pytest.raises(fault, match=message):
        new(**wish)
    assert sorted(here.rglob("*")) == before


# --- notes ---------------------------------------------------------------------------------------


def test_few_images_and_uneven_classes_are_told(here: Path) -> None:
    for number in range(15):
        (here / f"pictures/train/red/{number}.png").unlink()
    notes = " ".join(new().notes)
    assert "the smallest class has 1 training images" in notes
    assert "classes have 1 to 16 training images" in notes
    assert "on 12 test images an accuracy near 90 % is known to 17.0 points" in notes
