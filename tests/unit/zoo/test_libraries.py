from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from support.tiny_training import IMAGES
from toolchain import extras
from toolchain.convert.source import load_source
from toolchain.errors import ModelError
from toolchain.sparsity.masked_conv import summary
from toolchain.train.data import load_data
from toolchain.train.recipe import Recipe
from toolchain.train.setup import build_student
from toolchain.zoo import libraries

if extras.missing_modules("timm"):
    pytest.skip("the extra timm is not installed", allow_module_level=True)

SMALL = {"timm": "timm:lcnet_035", "torchvision": "torchvision:squeezenet1_1"}


@pytest.mark.parametrize("name", SMALL.values())
def test_a_network_of_a_library_is_made_by_its_name(name: str) -> None:
    source = load_source(None, name, [(1, 3, 64, 64)])
    assert source.outputs == ((1, 1000),)
    assert "they are random" in source.weights[0]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("timm:resnet10t", (1, 3, 176, 176)),
        ("timm:lcnet_035", (1, 3, 224, 224)),
        ("torchvision:inception_v3", (1, 3, 299, 299)),
        ("torchvision:resnet18", (1, 3, 224, 224)),
        ("torchvision:r3d_18", None),
    ],
)
def test_a_library_knows_the_input_of_a_network(name: str, shape: tuple[int, ...] | None) -> None:
    assert libraries.input_shape(libraries.check(name)) == shape


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(ModelError, match="timm has no network called 'resnet10x'") as caught:
        load_source(None, "timm:resnet10x")
    assert "did you mean 'resnet10" in (caught.value.hint or "")


def test_quantized_networks_of_torchvision_are_not_offered() -> None:
    with pytest.raises(ModelError, match="no network called 'quantized_resnet18'"):
        libraries.check("torchvision:quantized_resnet18")


def test_a_detector_of_torchvision_is_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match="is a detector that chooses its boxes") as caught:
        libraries.check("torchvision:ssdlite320_mobilenet_v3_large")
    assert "deploy convert --model yolov5n" in (caught.value.hint or "")


def test_a_network_of_unknown_input_asks_for_its_shape() -> None:
    with pytest.raises(ModelError, match="the input shape of torchvision:r3d_18 is not known"):
        load_source(None, "torchvision:r3d_18")


@pytest.mark.parametrize("name", SMALL.values())
def test_weights_of_a_file_are_taken(name: str, tmp_path: Path) -> None:
    named = libraries.check(name)
    torch.save(libraries.make(named, seed=7).state_dict(), tmp_path / "weights.pth")
    source = load_source(tmp_path / "weights.pth", name, [(1, 3, 64, 64)])
    image = torch.ones(1, 3, 64, 64)
    with torch.no_grad():
        expected = libraries.make(named, seed=7).eval()(image)
        assert torch.equal(source.reference(image)[0], expected)
    assert source.weights == ()


def test_a_checkpoint_that_names_a_network_of_a_library_needs_no_model(tmp_path: Path) -> None:
    named = libraries.check(SMALL["timm"])
    weights = libraries.make(named, {"num_classes": 5}).state_dict()
    path = tmp_path / "trained.safetensors"
    said = {"factory": f"{named}:pretrained", "arguments": '{"num_classes": 5}'}
    save_file(weights, path, {**said, "input_shape": "1,3,64,64"})
    assert load_source(path).outputs == ((1, 5),)


@pytest.mark.parametrize("argument", ["pretrained", "pretrained_cfg", "checkpoint_path"])
def test_no_argument_of_a_file_makes_a_library_read_or_fetch_weights(
    argument: str, tmp_path: Path
) -> None:
    named = libraries.check(SMALL["timm"])
    path = tmp_path / "hostile.safetensors"
    said = {"factory": str(named), "arguments": f'{{"{argument}": "x"}}'}
    save_file(nn.Linear(1, 1).state_dict(), path, said)
    with pytest.raises(ModelError, match=f"the argument '{argument}' would read or fetch"):
        load_source(path)


def test_weights_of_a_library_come_from_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    named = libraries.check(SMALL["torchvision"])
    model = libraries.make(named, seed=7)
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.save(model.state_dict(), tmp_path / "hub/checkpoints/squeezenet1_1-b8a52dc0.pth")
    found = libraries.make(libraries.check(f"{named}:pretrained"))
    assert torch.equal(
        found.state_dict()["features.0.weight"], model.state_dict()["features.0.weight"]
    )


def test_weights_that_cannot_be_fetched_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody listens
    with pytest.raises(
        ModelError, match="fetching the weights of torchvision:squeezenet1_1"
    ) as caught:
        libraries.make(libraries.check(f"{SMALL['torchvision']}:pretrained"))
    assert "--model torchvision:squeezenet1_1" in (caught.value.hint or "")


def test_a_detector_fetches_no_weights_of_its_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    libraries.make(libraries.check("torchvision:lraspp_mobilenet_v3_large"))
    assert not list(tmp_path.iterdir())


def test_random_weights_are_the_same_each_time_and_leave_torchs_generator_alone() -> None:
    named = libraries.check(SMALL["timm"])
    before = torch.random.get_rng_state()
    one, other = (libraries.make(named).state_dict() for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_layer_counts_in_a_network_with_random_weights() -> None:
    # The residual branches of this one begin with a last scale of 0.
    named = libraries.check("timm:resnet10t")
    example = torch.zeros(1, 3, 64, 64)
    model = libraries.make(named)
    libraries.liven(model, example)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    weight = model.get_submodule("layer1.0.conv1").get_parameter("weight")
    with torch.no_grad():
        before = model(image)
        weight.mul_(2)
        assert (model(image) - before).abs().max() > 0.01 * before.abs().max()


def recipe(factory: str, seed: int = 0, **masks: object) -> Recipe:
    return Recipe.model_validate(
        {
            "model": {"factory": factory, "arguments": {"num_classes": 3, "in_chans": 1}},
            "data": {"source": IMAGES},
            "training": {"batch_size": 16, "seed": seed},
            "masks": {"sparsity": 0.25, **masks},
        }
    )


def test_a_recipe_trains_a_network_of_a_library_with_masks() -> None:
    chosen = recipe(SMALL["timm"], kernels="all", layers=["conv_stem"])
    student = build_student(chosen, load_data(IMAGES))
    assert student.factory == SMALL["timm"]
    assert [layer.name for layer in summary(student.model)] == ["conv_stem"]


def test_a_recipes_seed_draws_the_first_weights() -> None:
    one, other = (
        build_student(recipe(SMALL["timm"], seed), load_data(IMAGES)).model.get_parameter(
            "conv_stem.weight"
        )
        for seed in (0, 1)
    )
    assert not torch.equal(one, other)
