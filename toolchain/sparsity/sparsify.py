"""Lay masks on a model's convolutions, as a policy chooses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from toolchain.errors import ModelError
from toolchain.sparsity.masked_conv import MaskedConv2d, mask_layers, output_shapes
from toolchain.sparsity.policies import Policy
from toolchain.sparsity.selection import Select, not_1x1, select_layers
from toolchain.sparsity.site import Site
from toolchain.sparsity.targets import layer_targets


class MaskSet:
    """The masked layers of a model, and the policy that draws their masks.

    :func:`sparsify` makes one.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, MaskedConv2d],
        sites: Sequence[Site],
        policy: Policy,
    ) -> None:
        self.layers = dict(layers)
        self.sites = tuple(sites)
        self.policy = policy
        self._model, self._prepared = model, False

    def draw(self, seed: int, share: float = 1.0) -> None:
        """Give every layer the mask of this seed, in place; all ranks get those of rank 0.

        Args:
            seed: the same seed gives the same masks.
            share: of the way from no masked pixel to each layer's target, 0 to 1.
        """
        if share > 0 and not self._prepared:
            for layer in self.layers.values():
                layer.mask.fill_(True)
            self.policy.prepare(self._model, self.sites)
            self._prepared = True
        for site in self.sites:
            layer = self.layers[site.name]
            layer.set_mask(self.policy.mask(site, seed, share) if share > 0 else _ones(site))
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.broadcast(layer.mask.view(torch.uint8), src=0)

    def state_dict(self) -> dict[str, object]:
        """What the policy learned; the masks themselves are in the model's state_dict."""
        return {"prepared": self._prepared, "policy": self.policy.state_dict()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self._prepared = bool(state["prepared"])
        policy = state["policy"]
        if isinstance(policy, Mapping):
            self.policy.load_state_dict(policy)


def sparsify(
    model: nn.Module,
    example_input: Tensor,
    policy: Policy,
    sparsity: float,
    *,
    select: Select = not_1x1,
    names: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    targets: Mapping[str, float] | None = None,
    seed: int = 0,
    share: float = 1.0,
) -> MaskSet:
    """Mask a model's convolutions in place.

    Args:
        model: any module that takes one tensor.
        example_input: ``[N, C, H, W]``; masks fit this size only.
        policy: which pixels, see :mod:`toolchain.sparsity.policies`.
        sparsity: the share of output pixels to skip, in [0, 1). Most policies keep exactly
            ``H*W - round(sparsity * H*W)`` of a layer's pixels, before rounding to tiles.
        select: which convolutions, by name and layer.
        names: of those, the ones whose name matches one of these patterns.
        exclude: of those, not the ones whose name matches one of these.
        targets: name pattern -> sparsity, where a layer has one of its own.
        seed: the same seed gives the same masks.
        share: lay the masks on at this share of the way to the target; 0 keeps every pixel, which
            is where training begins (:class:`toolchain.sparsity.search.MaskSearch`).

    Returns:
        The masked layers with their policy.

    Raises:
        ModelError: a sparsity is out of range, a pattern matches nothing, or a chosen layer cannot
            be masked.
    """
    chosen = select_layers(model, select, names=names, exclude=exclude)
    wanted = layer_targets(list(chosen), sparsity, targets or {})
    shapes = output_shapes(model, example_input, chosen)
    for name in chosen:
        if name not in shapes:
            raise ModelError(
                f"layer '{name}' is not used when the model runs, so it has no output to mask",
                hint="leave it out of the layers to mask",
            )
    image = (int(example_input.shape[-2]), int(example_input.shape[-1]))
    sites = [
        Site(name, (int(shape[-2]), int(shape[-1])), image, wanted[name])
        for name, shape in shapes.items()
    ]
    layers = mask_layers(
        {site.name: chosen[site.name] for site in sites}, {site.name: _ones(site) for site in sites}
    )
    masks = MaskSet(model, layers, sites, policy)
    masks.draw(seed, share)
    return masks


def _ones(site: Site) -> Tensor:
    return torch.ones(site.size, dtype=torch.bool)
