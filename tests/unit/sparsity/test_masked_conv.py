"""What a mask means to a layer, and what is said about a mask that does not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from toolchain.errors import ModelError
from toolchain.sparsity.masked_conv import (
    MaskedConv2d,
    attach_masks,
    clean_mask,
    masked_layers,
    summary,
)
from toolchain.sparsity.policies import Pooled
from toolchain.sparsity.selection import every_conv
from toolchain.sparsity.sparsify import sparsify


def small_net() -> nn.Sequential:
    """Two convolutions with BatchNorm whose constants are not zero; 8x8 then 4x4 pixels."""
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(6),
    )
    for layer in net:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias)
            layer.running_mean = torch.randn(layer.num_features)
            layer.running_var = torch.rand(layer.num_features) + 0.5
    return net.eval()


@st.composite
def masked_convs(draw: st.DrawFn) -> tuple[nn.Conv2d, Tensor, Tensor]:
    groups = draw(st.sampled_from([1, 2]))
    kernel = draw(st.sampled_from([1, 3, 5]))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    conv = nn.Conv2d(
        groups * draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 3)),
        kernel,
        stride=draw(st.sampled_from([1, 2])),
        padding=draw(st.integers(0, 2)),
        dilation=draw(st.sampled_from([1, 2])),
        groups=groups,
        bias=draw(st.booleans()),
    )
    x = torch.randn(
        draw(st.integers(1, 3)),
        conv.in_channels,
        draw(st.integers(9, 13)),
        draw(st.integers(9, 13)),
    )
    with torch.no_grad():
        size = conv(x).shape[-2:]
    return conv, x, torch.rand(size) < draw(st.floats(0, 1))


@given(masked_convs())
@settings(max_examples=60, deadline=None)
def test_kept_pixels_equal_the_plain_convolution_and_masked_ones_are_zero(
    case: tuple[nn.Conv2d, Tensor, Tensor],
) -> None:
    conv, x, mask = case
    masked = MaskedConv2d.from_conv(conv, mask)
    with torch.no_grad():
        plain, got = conv(x), masked(x)
    assert torch.equal(got[..., mask], plain[..., mask])
    assert not got[..., ~mask].any()


def test_a_masked_pixel_is_the_constant_that_batchnorm_makes_of_zero() -> None:
    net = small_net()
    sparsify(net, torch.zeros(1, 3, 8, 8), Pooled(), 0.4, select=every_conv)
    first, norm = net[0], net[1]
    assert isinstance(first, MaskedConv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        after = functional.relu(norm(first(torch.randn(2, 3, 8, 8))))
        fill = functional.relu(norm(torch.zeros(1, 4, 1, 1)))
    assert torch.count_nonzero(fill) > 0
    skipped = after[..., ~first.mask]
    assert torch.equal(skipped, fill[..., 0].expand_as(skipped))


def test_padding_given_as_a_word_is_kept() -> None:
    conv = nn.Conv2d(1, 1, 3, padding="same", dilation=2)
    masked = MaskedConv2d.from_conv(conv, torch.ones(5, 5))
    x = torch.randn(1, 1, 5, 5)
    assert torch.equal(masked(x), conv(x))


def test_weights_stay_the_same_parameters() -> None:
    conv = nn.Conv2d(1, 2, 3)
    masked = MaskedConv2d.from_conv(conv, torch.ones(3, 3))
    assert masked.weight is conv.weight
    assert masked.bias is conv.bias


# --- what stands around a convolution --------------------------------------------------------

MASK = torch.eye(8, dtype=torch.bool)
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def attached(conv: nn.Conv2d) -> nn.Conv2d:
    net = nn.Sequential(conv)
    attach_masks(net, {"0": MASK}, example_input=IMAGES)
    assert isinstance(net[0], MaskedConv2d)
    return net[0]


def beside(conv: nn.Conv2d) -> nn.Conv2d:
    return MaskedConv2d.from_conv(conv, MASK)


def pruned(conv: nn.Conv2d) -> nn.Conv2d:
    prune.l1_unstructured(conv, "weight", 0.5)  # type: ignore[no-untyped-call]
    return conv


ways = pytest.mark.parametrize("mask", [attached, beside])


@ways
def test_hooks_stay_and_see_the_masked_output(mask: Callable[[nn.Conv2d], nn.Conv2d]) -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1)
    plain = nn.Conv2d(3, 4, 3, padding=1)
    plain.load_state_dict(conv.state_dict())
    conv.register_forward_pre_hook(lambda _, inputs: (inputs[0] - 1,))
    conv.register_forward_pre_hook(
        lambda _, inputs, named: ((2 * inputs[0],), named), with_kwargs=True
    )
    conv.register_forward_hook(lambda _, __, output: output + 0.5)
    conv.register_forward_hook(lambda _, __, ___, output: 3 * output, with_kwargs=True)
    conv.register_forward_hook(lambda _, __, output: output - 1, prepend=True, always_call=True)
    wanted = 3 * (plain(2 * (IMAGES - 1)) * MASK - 1 + 0.5)
    assert torch.equal(mask(conv)(IMAGES), wanted)


@ways
def test_what_a_hook_reads_of_its_layer_stays(mask: Callable[[nn.Conv2d], nn.Conv2d]) -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1)
    conv.register_buffer("scale", torch.randn(4, 1, 1))
    conv.power = 2  # type: ignore[assignment]
    conv.register_forward_hook(lambda layer, _, output: (output * layer.scale) ** layer.power)
    plain = conv(IMAGES)
    assert torch.equal(mask(conv)(IMAGES), plain * MASK)


@ways
@pytest.mark.parametrize(
    "split",
    [pruned, weight_norm, spectral_norm],
    ids=["prune", "weight_norm", "spectral_norm"],
)
def test_weights_that_a_hook_puts_together_are_masked(
    mask: Callable[[nn.Conv2d], nn.Conv2d], split: Callable[[nn.Conv2d], nn.Conv2d]
) -> None:
    conv = split(nn.Conv2d(3, 4, 3, padding=1)).eval()
    names, plain = set(conv.state_dict()), conv(IMAGES)
    masked = mask(conv)
    assert torch.equal(masked(IMAGES), plain * MASK)
    assert set(masked.state_dict()) == {*names, "mask"}


def test_a_masked_layer_beside_a_convolution_shares_no_later_hook_with_it() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1)
    plain, masked = conv(IMAGES), beside(conv)
    masked.register_forward_hook(lambda _, __, output: output + 1)
    assert torch.equal(conv(IMAGES), plain)
    assert type(conv) is nn.Conv2d
    assert "mask" not in conv.state_dict()


def test_a_mask_has_the_size_of_what_it_multiplies_and_not_of_what_a_hook_makes_of_it() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    net[0].register_forward_hook(lambda _, __, output: functional.pad(output, (1, 1, 1, 1)))
    sparsify(net, IMAGES, Pooled(), 0.25)
    assert net(IMAGES).shape == (2, 4, 10, 10)
    assert masked_layers(net)["0"].mask.shape == (8, 8)


def test_a_function_in_the_place_of_forward_is_refused() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1)
    plain = conv.forward
    vars(conv)["forward"] = lambda x: 2 * plain(x)
    with pytest.raises(ModelError, match="layer '0' has a forward function of its own"):
        attached(conv)


def test_a_layer_with_a_mask_of_its_own_is_refused() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1)
    conv.register_buffer("mask", ~MASK)
    conv.register_forward_hook(lambda layer, _, output: output * ~layer.mask)
    with pytest.raises(ModelError, match="layer '0' has a 'mask' of its own"):
        sparsify(nn.Sequential(conv), IMAGES, Pooled(), 0.25)
    assert torch.equal(conv.get_buffer("mask"), ~MASK)


def test_a_parametrized_convolution_is_refused_with_the_line_that_joins_its_parts() -> None:
    conv = parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1))
    with pytest.raises(ModelError, match="layer '0' is a ParametrizedConv2d") as caught:
        attached(conv)
    assert "remove_parametrizations(module, 'weight')" in (caught.value.hint or "")


# --- one layer under several names -----------------------------------------------------------


class Shared(nn.Module):
    """One convolution, twice registered and once in a list that torch does not know."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.second = self.first
        self.steps = [self.first]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(functional.relu(self.first(x)))
        return self.steps[0](y) - y  # type: ignore[no-any-return]


def test_a_layer_under_several_names_is_masked_wherever_it_is_used() -> None:
    net = Shared()
    plain = nn.Conv2d(3, 3, 3, padding=1)
    plain.load_state_dict(net.first.state_dict())
    attach_masks(net, {"second": MASK}, example_input=IMAGES)
    y = plain(functional.relu(plain(IMAGES) * MASK)) * MASK
    assert torch.equal(net(IMAGES), plain(y) * MASK - y)
    assert list(masked_layers(net)) == ["first"]
    assert len(summary(net)) == 1


def test_two_masks_for_one_layer_are_refused() -> None:
    net = Shared()
    attach_masks(net, {"first": MASK, "second": MASK.float()})
    with pytest.raises(ModelError, match="layers 'first' and 'second' are one, and their masks"):
        attach_masks(Shared(), {"first": MASK, "second": ~MASK})


# --- how it is kept and computed -------------------------------------------------------------


def test_the_mask_is_saved_under_the_layers_name() -> None:
    net = small_net()
    sparsify(net, torch.zeros(1, 3, 8, 8), Pooled(), 0.25)
    saved = net.state_dict()
    assert saved["0.mask"].dtype == torch.bool
    assert saved["0.mask"].shape == (8, 8)
    assert saved["3.mask"].shape == (4, 4)


def test_the_exported_graph_multiplies_the_convolution_by_the_mask_before_batchnorm() -> None:
    net = small_net()
    sparsify(net, torch.zeros(1, 3, 8, 8), Pooled(), 0.25)
    program = torch.export.export(net, (torch.zeros(1, 3, 8, 8),))
    aten = torch.ops.aten
    chain = [n for n in program.graph.nodes if n.target == aten.mul.Tensor]
    assert len(chain) == 2
    for multiply in chain:
        assert multiply.args[0].target == aten.conv2d.default
        assert [user.target for user in multiply.users] == [aten.batch_norm.default]


def test_gradients_reach_no_weight_through_masked_pixels() -> None:
    conv = nn.Conv2d(1, 1, 1)
    masked = MaskedConv2d.from_conv(conv, torch.zeros(4, 4))
    masked(torch.randn(1, 1, 4, 4)).sum().backward()
    assert conv.weight.grad is not None
    assert not conv.weight.grad.any()


def test_an_input_of_another_size_is_refused_with_both_sizes() -> None:
    net = small_net()
    sparsify(net, torch.zeros(1, 3, 8, 8), Pooled(), 0.25)
    with pytest.raises(ModelError, match="layer '0' is 8x8, but the layer's output is 9x7"):
        net(torch.zeros(1, 3, 9, 7))


def test_a_mask_of_the_wrong_size_is_refused_when_it_is_attached() -> None:
    with pytest.raises(ModelError, match=r"mask of layer '3' is 4x5, but .* output is 4x4"):
        attach_masks(small_net(), {"3": torch.ones(4, 5)}, example_input=torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("mask", "fault"),
    [
        (torch.tensor([[1.0, 0.5]]), "holds 1 values that are not 0 or 1, the first is 0.5"),
        (torch.tensor([[0, 2], [3, 1]]), "holds 2 values that are not 0 or 1, the first is 2"),
        (torch.tensor([[float("nan")]]), "the first is nan"),
        (torch.ones(2, 3, 3), r"has shape \[2, 3, 3\]; a mask is \[height, width\]"),
        (torch.ones(9), r"has shape \[9\]"),
        (torch.ones(0, 3), r"has shape \[0, 3\]"),
    ],
)
def test_a_faulty_mask_is_refused_with_its_layer_and_fault(mask: Tensor, fault: str) -> None:
    with pytest.raises(ModelError, match=f"mask of layer 'stem' {fault}|mask.*'stem'.*{fault}"):
        clean_mask(mask, "stem")


@pytest.mark.parametrize(
    "kind", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float32, torch.float64]
)
def test_masks_of_any_numeric_type_are_taken(kind: torch.dtype) -> None:
    mask = torch.tensor([[1, 0], [0, 1]]).to(kind)
    assert clean_mask(mask[None, None], "stem").tolist() == [[True, False], [False, True]]


def test_a_mask_for_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="mask for layer 'stem', which the model does not have"):
        attach_masks(small_net(), {"stem": torch.ones(8, 8)})


def test_a_mask_for_a_layer_that_is_no_convolution_is_refused() -> None:
    with pytest.raises(ModelError, match="layer '1', which is a BatchNorm2d"):
        attach_masks(small_net(), {"1": torch.ones(8, 8)})


def test_a_convolution_with_a_forward_of_its_own_is_refused() -> None:
    class Padded(nn.Conv2d):
        pass

    with pytest.raises(ModelError, match="layer 'stem' is a Padded"):
        MaskedConv2d.from_conv(Padded(1, 1, 1), torch.ones(1, 1), name="stem")


def test_nothing_is_attached_when_one_mask_is_at_fault() -> None:
    net = small_net()
    with pytest.raises(ModelError):
        attach_masks(net, {"0": torch.ones(8, 8), "3": torch.full((4, 4), 7)})
    assert not masked_layers(net)


def test_a_layer_used_at_two_sizes_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, stride=2, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(self.conv(x))
            return y

    with pytest.raises(ModelError, match="'conv' is used twice, with outputs of 4x4 and 2x2"):
        sparsify(Twice(), torch.zeros(1, 1, 8, 8), Pooled(), 0.2)


def test_the_summary_counts_pixels_and_macs() -> None:
    net = small_net()
    sparsify(net, torch.zeros(1, 3, 8, 8), Pooled(), 0.25)
    first, second = summary(net)
    assert (first.name, first.height, first.width, first.kept) == ("0", 8, 8, 48)
    assert first.macs == 64 * 4 * 3 * 9
    assert first.macs_kept == 48 * 4 * 3 * 9
    assert (second.name, second.pixels, second.kept, second.sparsity) == ("3", 16, 12, 0.25)


def test_a_layer_shows_how_many_pixels_it_keeps() -> None:
    masked = MaskedConv2d.from_conv(nn.Conv2d(1, 1, 1), torch.eye(3))
    assert "kept=3/9" in repr(masked)


def test_a_new_mask_must_have_the_size_of_the_old_one() -> None:
    masked = MaskedConv2d.from_conv(nn.Conv2d(1, 1, 1), torch.eye(3), name="stem")
    masked.set_mask(torch.ones(3, 3))
    assert masked.mask.all()
    with pytest.raises(ModelError, match="mask of layer 'stem' is 2x3"):
        masked.set_mask(torch.ones(2, 3))
