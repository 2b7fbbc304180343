"""Checkpoints come back as they were saved; damaged or foreign ones are refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from support.conv_nets import SharedConvolution
from toolchain.errors import ModelError, OutputError
from toolchain.sparsity.checkpoint import (
    load_checkpoint,
    load_metadata,
    load_model,
    masks_in,
    save_checkpoint,
)
from toolchain.sparsity.masked_conv import masked_layers
from toolchain.sparsity.policies import Pooled
from toolchain.sparsity.sparsify import sparsify

EXAMPLE = torch.zeros(1, 1, 8, 8)


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, stride=2, padding=1)
    ).eval()


def masked_net() -> nn.Sequential:
    model = net()
    sparsify(model, EXAMPLE, Pooled(), 0.3)
    return model


@pytest.mark.parametrize("kind", ["safetensors", "torch", "torch-legacy"])
def test_weights_and_masks_come_back(tmp_path: Path, kind: str) -> None:
    model = masked_net()
    path = tmp_path / "any.name"
    if kind == "safetensors":
        save_checkpoint(path, model)
    else:
        torch.save(model.state_dict(), path, _use_new_zipfile_serialization=kind == "torch")
    loaded = load_model(net(seed=1), load_checkpoint(path), example_input=EXAMPLE)
    x = torch.randn(2, 1, 8, 8)
    assert list(masked_layers(loaded)) == ["0", "2"]
    assert torch.equal(loaded(x), model(x))


def test_the_same_model_gives_the_same_file(tmp_path: Path) -> None:
    metadata = {f"key{number}": str(number) for number in range(12)}
    files = [tmp_path / "a", tmp_path / "b"]
    for path in files:
        save_checkpoint(path, masked_net(), metadata)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert load_metadata(files[0]) == metadata


def test_a_file_without_metadata_has_none(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "a.pt")
    assert load_metadata(tmp_path / "a.pt") == {}
    safetensors.torch.save_file(net().state_dict(), tmp_path / "a.safetensors")
    assert load_metadata(tmp_path / "a.safetensors") == {}


def test_half_precision_weights_and_numeric_masks_become_those_of_the_model() -> None:
    state = {
        name: tensor.half() if tensor.dtype != torch.int64 else tensor
        for name, tensor in masked_net().state_dict().items()
    }
    assert state["0.mask"].dtype == torch.float16
    loaded = load_model(net(), state)
    assert loaded[0].weight.dtype == torch.float32
    assert masked_layers(loaded)["0"].mask.dtype == torch.bool


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_a_state_dict_inside_a_training_checkpoint_is_found(tmp_path: Path, key: str) -> None:
    state = {f"module.{name}": tensor for name, tensor in masked_net().state_dict().items()}
    torch.save({"epoch": 3, key: state}, tmp_path / "a.pt")
    loaded = load_model(net(), load_checkpoint(tmp_path / "a.pt"))
    assert list(masked_layers(loaded)) == ["0", "2"]


def test_weights_without_masks_leave_the_masks_of_the_model() -> None:
    model = masked_net()
    before = masked_layers(model)["0"].mask.clone()
    load_model(model, net(seed=4).state_dict())
    assert torch.equal(masked_layers(model)["0"].mask, before)
    assert torch.equal(model.state_dict()["0.weight"], net(seed=4).state_dict()["0.weight"])


def test_a_missing_counter_of_batchnorm_is_no_fault() -> None:
    state = net().state_dict()
    del state["1.num_batches_tracked"]
    load_model(net(), state)


def without(name: str) -> dict[str, Tensor]:
    state = dict(masked_net().state_dict())
    del state[name]
    return state


def changed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    return {**masked_net().state_dict(), name: tensor}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (without("0.weight"), "the checkpoint lacks '0.weight'"),
        (changed("7.bias", torch.ones(1)), "holds '7.bias', which the model does not have"),
        (
            changed("0.weight", torch.ones(4, 1, 5, 5)),
            r"'0.weight' has shape \[4, 1, 5, 5\] in the checkpoint and \[4, 1, 3, 3\]",
        ),
        (changed("0.bias", torch.full((4,), torch.nan)), "'0.bias' holds values that are not fin"),
        (changed("2.mask", torch.full((4, 4), 2)), "mask of layer '2' holds 16 values that are no"),
        (changed("2.mask", torch.ones(5, 5)), "mask of layer '2' is 5x5, but .* output is 4x4"),
        (changed("1.mask", torch.ones(8, 8)), "mask for layer '1', which is a BatchNorm2d"),
        (changed("9.mask", torch.ones(8, 8)), "mask for layer '9', which the model does not have"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused_by_name(
    state: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(net(), state, example_input=EXAMPLE)


# --- a model that masks by itself ------------------------------------------------------------

SIZE = (8, 8)


class Subclass(nn.Conv2d):
    def __init__(self) -> None:
        super().__init__(1, 2, 3, padding=1)
        self.register_buffer("mask", torch.ones(SIZE, dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.get_buffer("mask")


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(SIZE, dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.get_buffer("mask")


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        future = torch.full(SIZE, -torch.inf).triu(1)
        self.register_buffer("mask", future[None, None])

    def forward(self, x: Tensor) -> Tensor:
        scores = x @ x.transpose(-1, -2) + self.get_buffer("mask")
        return scores.softmax(-1) @ x


def hooked(mask: Tensor) -> nn.Conv2d:
    conv = nn.Conv2d(1, 2, 3, padding=1)
    conv.register_buffer("mask", mask)
    conv.register_forward_hook(lambda layer, _, y: torch.where(layer.mask[0] > 0, 0.5, y))
    return conv


_ON_THEIR_OWN: dict[str, Callable[[], nn.Module]] = {
    "a subclass": lambda: nn.Sequential(Subclass()),
    "a layer behind the convolution": lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), Layer()),
    "a hook, of what is skipped": lambda: nn.Sequential(hooked(torch.zeros(2, *SIZE))),
    "attention": lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), Attention()),
}


@pytest.mark.parametrize("make", _ON_THEIR_OWN.values(), ids=_ON_THEIR_OWN)
def test_a_model_that_masks_by_itself_loads_its_own_checkpoint(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    model, x = make().eval(), torch.randn(2, 1, 8, 8)
    (entry,) = [name for name in model.state_dict() if name.endswith(".mask")]
    if not model.state_dict()[entry].isinf().any():
        model.state_dict()[entry].copy_(torch.rand(SIZE) > 0.5)
    save_checkpoint(tmp_path / "a", model)
    loaded = load_model(make(), load_checkpoint(tmp_path / "a"), example_input=EXAMPLE)
    assert torch.equal(loaded(x), model(x))
    assert not masked_layers(loaded)


def test_such_a_model_may_have_masks_of_ours_besides() -> None:
    made = [nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), Subclass()) for _ in range(2)]
    mask = torch.eye(8, dtype=torch.bool)
    loaded = load_model(made[0], {**made[1].state_dict(), "0.mask": mask, "1.mask": ~mask})
    assert list(masked_layers(loaded)) == ["0"]
    assert torch.equal(loaded.get_buffer("1.mask"), ~mask)


def test_nan_is_refused_where_infinity_belongs() -> None:
    state = nn.Sequential(Attention()).state_dict()
    with pytest.raises(ModelError, match=r"'0\.mask' holds values that are not"):
        load_model(nn.Sequential(Attention()), {"0.mask": state["0.mask"].sqrt()})


def test_hooks_of_the_model_see_what_the_checkpoints_mask_leaves() -> None:
    state = masked_net().state_dict()
    model = net()
    model[0].register_forward_hook(lambda _, __, output: 3 * output)
    load_model(model, state)
    plain = load_model(net(), state)
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(model(x), plain[1:](3 * plain[0](x)))


def test_a_masked_layer_under_two_names_comes_back(tmp_path: Path) -> None:
    model, x = SharedConvolution(), torch.randn(2, 1, 8, 8)
    sparsify(model, EXAMPLE, Pooled(), 0.3)
    save_checkpoint(tmp_path / "a", model)
    state = load_checkpoint(tmp_path / "a")
    assert {"first.mask", "second.mask"} <= state.keys()
    assert torch.equal(load_model(SharedConvolution(), state, example_input=EXAMPLE)(x), model(x))
    weights = {name: tensor for name, tensor in state.items() if not name.endswith(".mask")}
    assert torch.equal(load_model(model, weights)(x), model(x))


# --- faults ----------------------------------------------------------------------------------


def test_a_mask_may_be_stored_once_a_channel() -> None:
    mask = torch.eye(3, dtype=torch.bool)
    for channels in (1, 4):
        assert torch.equal(masks_in({"a.mask": mask.expand(channels, 3, 3)})["a"], mask)


@pytest.mark.parametrize("channel", [1, 3])
def test_channels_whose_mask_is_not_the_first_ones_are_counted(channel: int) -> None:
    masks = torch.eye(3).repeat(4, 1, 1)
    masks[channel, 0, 1] = 1
    with pytest.raises(ModelError, match="'a' differs between channels: 1 of 4 are not as the f"):
        masks_in({"a.mask": masks})


@pytest.mark.parametrize(
    "parts",
    [
        ["0.parametrizations.weight.original0", "0.parametrizations.weight.original1"],
        ["0.weight_g", "0.weight_v"],
        ["0.weight_orig", "0.weight_u", "0.weight_v"],
    ],
    ids=["parametrizations", "weight_norm", "spectral_norm"],
)
def test_weights_that_were_saved_as_parts_are_told_with_the_line_that_joins_them(
    parts: list[str],
) -> None:
    """As torch.nn.utils stores them."""
    state = {**without("0.weight"), **dict.fromkeys(parts, torch.ones(4, 1, 3, 3))}
    with pytest.raises(ModelError, match=r"lacks '0\.weight'") as caught:
        load_model(net(), state)
    assert "parametrize.remove_parametrizations(module, 'weight')" in (caught.value.hint or "")


def test_a_long_list_of_missing_names_is_cut() -> None:
    with pytest.raises(ModelError, match="and 2 more"):
        load_model(net(), {"2.bias": torch.ones(2)})


def test_masks_for_some_layers_do_not_leave_old_ones_on_the_others() -> None:
    with pytest.raises(ModelError, match=r"the checkpoint lacks '2\.mask'"):
        load_model(masked_net(), without("2.mask"))


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "a"
    if kind == "torch":
        torch.save(net().state_dict(), path)
    else:
        save_checkpoint(path, net())
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(ModelError, match=r"a: is a truncated or damaged"):
        load_checkpoint(path)
    if kind == "safetensors":
        with pytest.raises(ModelError, match="truncated or damaged"):
            load_metadata(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is neither a safetensors file nor a PyTorch checkpoint"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "is neither a safetensors file"),
        (b"PK\x03\x04" + bytes(100), "truncated or damaged PyTorch checkpoint"),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_checkpoint(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        load_checkpoint(tmp_path / "a")
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        load_checkpoint(tmp_path)


def test_a_pickled_model_is_refused_and_not_executed(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "a.pt")
    with pytest.raises(ModelError, match="holds Python objects that are not tensors"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [[1, 2], {"lr": 0.1}, {}])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ModelError, match="holds no"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**12),
        torch.sparse_coo_tensor(
            torch.zeros(1, 0), torch.zeros(0), (10**12,), check_invariants=True
        ),
    ],
    ids=["strided", "sparse"],
)
def test_a_tensor_larger_than_its_file_is_refused(tmp_path: Path, tensor: Tensor) -> None:
    torch.save({"0.weight": tensor}, tmp_path / "a.pt")
    with pytest.raises(ModelError, match=r"'0.weight' has shape \[10+\], more than the file holds"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "a.safetensors", net())
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="taken: is a folder"):
        save_checkpoint(tmp_path / "taken", net())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken"]
