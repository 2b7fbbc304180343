"""The weights that fit a model are found wherever they lie in a file; what is not plain is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from toolchain.errors import ModelError
from toolchain.sparsity.checkpoint import load_checkpoint, load_model
from toolchain.sparsity.masked_conv import masked_layers
from toolchain.sparsity.state_dicts import match


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(3, 2)).eval()


def weight(model: nn.Module) -> Tensor:
    return model.get_parameter("0.weight")


def state(seed: int = 1, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in net(seed).state_dict().items()}


def taken(content: object, path: Path, weights: str | None = None) -> tuple[int, str]:
    """The seed of the network that is loaded from a file, and what is said about it."""
    torch.save(content, path)
    model = net()
    matched = match(model, load_checkpoint(path, weights=weights))
    load_model(model, matched)
    seeds = [n for n in range(9) if torch.equal(weight(model), state(n)["0.weight"])]
    return seeds[0], "; ".join(matched.notes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.pt"


# --- prefixes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "_orig_mod.module.",
     "model._orig_mod.", "model.net.module.", "whatever_it_is.called."],
)  # fmt: skip
def test_any_prefix_that_all_names_have_is_undone(path: Path, prefix: str) -> None:
    names = {**state(prefix=prefix), f"{prefix}0.mask": torch.eye(4)}
    torch.save({"state_dict": names}, path)
    model = load_model(net(), load_checkpoint(path))
    assert list(masked_layers(model)) == ["0"]
    assert torch.equal(weight(model), state()["0.weight"])


@pytest.mark.parametrize("theirs", ["", "module.", "model._orig_mod."])
def test_a_model_whose_own_names_have_a_prefix_is_loaded(path: Path, theirs: str) -> None:
    class Wraps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = net()

    torch.save(state(prefix=theirs), path)
    model = load_model(Wraps(), load_checkpoint(path))
    assert torch.equal(weight(model.backbone), state()["0.weight"])


def test_the_same_goes_for_safetensors(tmp_path: Path) -> None:
    safetensors.torch.save_file(state(prefix="_orig_mod.module."), tmp_path / "a")
    model = load_model(net(), load_checkpoint(tmp_path / "a"))
    assert torch.equal(weight(model), state()["0.weight"])


def test_names_outside_of_the_prefix_are_passed_over_and_told(path: Path) -> None:
    others = {"loss.weight": torch.ones(3), "metric.count": torch.ones(1)}
    seed, told = taken({"state_dict": {**state(3, "model."), **others}}, path)
    assert seed == 3
    assert told == "passed over in the file, as not of the model: 'loss.weight', 'metric.count'"


def test_a_part_of_a_larger_network_is_found_and_told(path: Path) -> None:
    seed, told = taken({**state(3, "encoder."), "head.weight": torch.ones(2)}, path)
    assert seed == 3
    assert "'encoder' are taken" in told
    assert "'head.weight'" in told


def test_names_without_a_prefix_that_the_model_does_not_have_are_refused() -> None:
    with pytest.raises(ModelError, match=r"holds 'head\.weight', which the model does not have"):
        load_model(net(), {**state(), "head.weight": torch.ones(2)})


def test_what_is_missing_behind_a_prefix_is_told_by_the_models_name() -> None:
    names = state(prefix="model.")
    del names["model.2.weight"]
    with pytest.raises(ModelError, match=r"the checkpoint lacks '2\.weight'$"):
        load_model(net(), names)


def test_parts_that_fit_equally_are_not_guessed(path: Path) -> None:
    torch.save({**state(1, "left."), **state(2, "right.")}, path)
    with pytest.raises(ModelError, match="2 sets of weights that fit: 'left', 'right'") as caught:
        load_model(net(), load_checkpoint(path))
    assert "--weights left" in (caught.value.hint or "")
    assert taken({**state(1, "left."), **state(2, "right.")}, path, "right")[0] == 2


def test_the_part_behind_a_usual_prefix_is_taken_and_the_other_told(path: Path) -> None:
    content = {"state_dict": {**state(1, "model."), **state(2, "teacher.")}}
    seed, told = taken(content, path)
    assert seed == 1
    assert "the file also holds 'state_dict.teacher'" in told
    assert taken(content, path, "teacher")[0] == 2


def test_parts_of_other_shapes_do_not_compete(path: Path) -> None:
    wider = {f"wide.{name}": torch.ones(7, 7) for name in state()}
    assert taken({**wider, **state(4, "narrow.")}, path)[0] == 4


@pytest.mark.parametrize("beside", ["total_ops", "0.total_params", "n_averaged"])
def test_counters_are_passed_over(path: Path, beside: str) -> None:
    assert taken({**state(2), beside: torch.zeros(1, dtype=torch.float64)}, path)[0] == 2


# --- wrappers --------------------------------------------------------------------------------


def wrapped(*keys: str, **beside: object) -> dict[str, Any]:
    content: Any = state(5)
    for key in reversed(keys):
        content = {key: content, **beside}
    return dict(content)


@pytest.mark.parametrize(
    "content",
    [
        wrapped("state_dict"),
        wrapped("model_state"),
        wrapped("weights", opt={}),
        wrapped("net", epoch=3, best=torch.tensor(0.5)),
        wrapped("model", "state_dict", epoch=1),
        wrapped("a", "b", "c", "d"),
        {**state(5), "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        {"generator": state(5), "discriminator": {"conv.weight": torch.ones(3)}},
    ],
)
def test_wrappers_of_any_name_and_depth_are_undone(path: Path, content: object) -> None:
    assert taken(content, path)[0] == 5


def test_weights_in_lists_and_tuples_go_by_their_numbers(path: Path) -> None:
    optimizer = torch.optim.Adam(net().parameters()).state_dict()
    assert taken((state(1), optimizer, 3), path) == (1, "the weights '0' are taken")
    assert taken({"models": [state(1), state(2)]}, path, "models.1")[0] == 2
    with pytest.raises(ModelError, match=r"holds 2 sets .*'models\.0', 'models\.1'"):
        taken({"models": [state(1), state(2)]}, path)


def test_the_usual_place_is_taken_and_the_other_told(path: Path) -> None:
    seed, told = taken({"best": state(1), "state_dict": state(2)}, path)
    assert seed == 2
    assert "'state_dict' are taken; the file also holds 'best' (--weights best takes them)" in told
    assert taken({"best": state(1), "state_dict": state(2)}, path, "best")[0] == 1


def test_two_networks_of_equal_rank_are_not_guessed(path: Path) -> None:
    with pytest.raises(ModelError, match="2 sets of weights that fit: 'student', 'teacher'"):
        taken({"student": state(1), "teacher": state(2)}, path)
    assert taken({"student": state(1), "teacher": state(2)}, path, "teacher")[0] == 2
    assert taken({"one": state(1), "the_same": state(1)}, path)[0] == 1


def test_weights_that_are_not_there_are_told_with_those_that_are(path: Path) -> None:
    with pytest.raises(ModelError, match="no weights called 'best' that fit") as caught:
        taken({"student": state(1), "teacher": state(2)}, path, "best")
    assert caught.value.hint == "it holds 'student', 'teacher'"
    with pytest.raises(ModelError, match="no averaged weights that fit"):
        taken({"model": state(1)}, path, "ema")
    with pytest.raises(ModelError, match=r"lacks '0\.weight', '0\.bias'"):
        taken({"model": state(1), "ema": {"1.bias": torch.ones(4)}}, path, "ema")


# --- averages --------------------------------------------------------------------------------


def swa(seed: int) -> Mapping[str, Tensor]:
    averaged = AveragedModel(net(seed))
    averaged.update_parameters(net(seed))
    return averaged.state_dict()


AVERAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "ema": lambda: {"model": state(1), "ema": state(2), "optimizer": {}},
    "timm": lambda: {"state_dict": state(1), "state_dict_ema": state(2)},
    "timm's module": lambda: {"state_dict": state(1), "state_dict_ema": state(2, "module.")},
    "model_ema": lambda: {"model": state(1), "model_ema": state(2)},
    "ModelEma": lambda: {"net": state(1), "ModelEma": {"decay": 0.9, "module": state(2)}},
    "torch": lambda: {"model": state(1), "swa_model": swa(2)},
    "torch, by its counter": lambda: {"model": state(1), "other": swa(2)},
    "a callback": lambda: {
        "state_dict": state(1, "model."),
        "callbacks": {"EMA": {"ema_state_dict": state(2, "model.")}},
    },
    "in one state_dict": lambda: {"state_dict": {**state(1, "model."), **state(2, "ema_model.")}},
    "beside names without a prefix": lambda: {**state(1), **state(2, "ema.module.")},
    "shadow": lambda: {"model": state(1), "polyak": {"shadow": state(2)}},
}


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_are_taken_on_request_only_and_told(path: Path, name: str) -> None:
    seed, told = taken(AVERAGES[name](), path)
    assert seed == 1
    assert "the file also holds '" in told
    assert "--weights " in told
    seed, told = taken(AVERAGES[name](), path, "ema")
    assert seed == 2
    assert "an average" in told
    key = told.partition("'")[2].partition("'")[0]
    assert taken(AVERAGES[name](), path, key)[0] == 2


@pytest.mark.parametrize("content", [{"ema": state(2)}, swa(2), {"module": swa(2)}])
def test_averages_alone_are_taken_and_told(path: Path, content: object) -> None:
    seed, told = taken(content, path)
    assert seed == 2
    assert "an average" in told


def test_averages_under_names_without_dots_are_passed_over_and_told(path: Path) -> None:
    copies = {"ema_" + name.replace(".", "_"): value for name, value in state(2).items()}
    mask = {"0.mask": torch.eye(4)}
    seed, told = taken({"meta": {}, "state_dict": {**state(1), **copies, **mask}}, path)
    assert seed == 1
    assert "passed over in the file, as not of the model: 'ema_0_weight'" in told


def test_the_number_of_averaged_models_is_told(path: Path) -> None:
    assert "an average of 3 models" in taken({**swa(2), "n_averaged": torch.tensor(3)}, path)[1]


def test_lightnings_averages_stand_in_the_usual_place(path: Path) -> None:
    content = {
        "state_dict": state(2),
        "current_model_state": state(1),
        "averaging_state": {"n_averaged": torch.tensor(4)},
    }
    seed, told = taken(content, path)
    assert seed == 2
    assert "'state_dict', an average," in told
    assert taken(content, path, "current_model_state")[0] == 1
    assert taken(content, path, "ema")[0] == 2


# --- load hooks ------------------------------------------------------------------------------


class Versioned(nn.Module):
    """As torchvision's MNASNet: its load hook asks for the version, and renames."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def _load_from_state_dict(
        self, state: dict[str, Any], prefix: str, local: dict[str, Any], *others: Any
    ) -> None:
        version = local.get("version")
        if version not in (1, 2):
            raise ValueError(f"version should be 1 or 2 instead of {version}")
        if version == 1:
            for name in ("weight", "bias"):
                state[f"{prefix}conv.{name}"] = state.pop(f"{prefix}old.{name}")
        super()._load_from_state_dict(state, prefix, local, *others)


def of_version(version: int, prefix: str = "", *, old: bool = False) -> Mapping[str, Any]:
    torch.manual_seed(6)
    model: nn.Module = Versioned()
    saved = model.state_dict(prefix=prefix)
    if old:
        for name in ("weight", "bias"):
            saved[f"{prefix}old.{name}"] = saved.pop(f"{prefix}conv.{name}")
    saved._metadata[prefix.removesuffix(".")]["version"] = version  # type: ignore[attr-defined]
    return saved


@pytest.mark.parametrize(
    ("version", "prefix", "old"), [(1, "", True), (2, "", False), (2, "module.", False)]
)
def test_a_modules_load_hook_gets_the_version_of_the_file(
    path: Path, version: int, prefix: str, old: bool
) -> None:
    torch.save({"state_dict": of_version(version, prefix, old=old)}, path)
    model = load_model(Versioned(), load_checkpoint(path))
    assert torch.equal(model.conv.weight, of_version(2)["conv.weight"])


def test_a_file_that_tells_no_versions_is_of_the_current_ones(tmp_path: Path) -> None:
    safetensors.torch.save_file(dict(of_version(2)), tmp_path / "a")
    model = load_model(Versioned(), load_checkpoint(tmp_path / "a"))
    assert torch.equal(model.conv.weight, of_version(2)["conv.weight"])


def test_what_a_load_hook_raises_is_an_error_of_the_checkpoint(path: Path) -> None:
    torch.save(of_version(7), path)
    with pytest.raises(ModelError, match="loading the checkpoint into Versioned failed: ValueEr"):
        load_model(Versioned(), load_checkpoint(path))


def test_extra_state_reaches_its_module(path: Path) -> None:
    class Counts(nn.Linear):
        seen = 0

        def get_extra_state(self) -> object:
            return {"seen": self.seen}

        def set_extra_state(self, state: Any) -> None:
            self.seen = state["seen"]

    saved = nn.Sequential(Counts(2, 2))
    saved.get_submodule("0").seen = 5  # type: ignore[assignment]
    torch.save(saved.state_dict(), path)
    model = load_model(nn.Sequential(Counts(2, 2)), load_checkpoint(path))
    assert model[0].seen == 5


def test_weights_that_were_pruned_in_place_are_told() -> None:
    from torch.nn.utils import prune

    model = net()
    prune.l1_unstructured(model[0], "weight", 0.5)  # type: ignore[no-untyped-call]
    with pytest.raises(ModelError, match=r"lacks '0\.weight'") as caught:
        load_model(net(), model.state_dict())
    assert "prune.remove(module, 'weight')" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        ("int8", lambda tensor: (tensor * 10).to(torch.int8)),
        ("complex64", lambda tensor: tensor.to(torch.complex64)),
        ("qint8", lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)),
    ],
)
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_weights_of_no_float_are_refused(
    path: Path, kind: str, stored: Callable[[Tensor], Tensor]
) -> None:
    names = {**state(), "0.weight": stored(state()["0.weight"])}
    with pytest.raises(ModelError, match=rf"'0\.weight' is of type {kind} ") as caught:
        taken(names, path)
    assert "--quantize" in str(caught.value.hint)
