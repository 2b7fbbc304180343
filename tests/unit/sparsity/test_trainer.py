"""The training loop, on pictures that a tiny network learns in seconds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from toolchain.errors import ModelError
from toolchain.sparsity.masked_conv import masked_layers
from toolchain.sparsity.planes import sparsify
from toolchain.sparsity.schedule import PolynomialSchedule
from toolchain.sparsity.search import MaskSearch
from toolchain.sparsity.trainer import Settings, evaluate, mirror, train

SETTINGS = Settings(epochs=6, batch_size=16, learning_rate=0.2)


def pictures(count: int = 200) -> tuple[Tensor, Tensor]:
    """Noise with a bright upper or lower half: two classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (count,), generator=generator)
    images = torch.randn(count, 1, 8, 8, generator=generator)
    images[labels == 0, :, :4] += 1
    images[labels == 1, :, 4:] += 1
    return images, labels


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)
    )


def trained_masked() -> nn.Sequential:
    images, labels = pictures()
    model = net()
    layers = sparsify(model, images[:1], 0.0)
    schedule = PolynomialSchedule(0.25, SETTINGS.steps(len(images)), frequency=5)
    train(model, images, labels, SETTINGS, search=MaskSearch(layers, (8, 8), schedule))
    return model


def test_a_dense_network_learns() -> None:
    images, labels = pictures()
    model = net()
    history = train(model, images, labels, SETTINGS)
    assert len(history) == 6
    assert history[-1] < history[0]
    assert evaluate(model, images, labels) > 0.95
    assert not model.training


def test_a_masked_network_learns_and_ends_at_its_sparsity() -> None:
    images, labels = pictures()
    model = trained_masked()
    assert int(masked_layers(model)["0"].mask.sum()) == 48
    assert evaluate(model, images, labels) > 0.95


def test_training_again_gives_the_same_weights_and_masks() -> None:
    one, other = trained_masked().state_dict(), trained_masked().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_loss_may_look_at_the_images() -> None:
    images, labels = pictures()
    teacher = net().eval()

    def distil(logits: Tensor, wanted: Tensor, batch: Tensor) -> Tensor:
        del wanted
        with torch.no_grad():
            aim: Tensor = teacher(batch)
        return (logits - aim).square().mean()

    history = train(net(), images, labels, SETTINGS, loss=distil)
    assert history[-1] < history[0]


def test_training_that_diverges_is_stopped() -> None:
    images, labels = pictures()
    with pytest.raises(ModelError, match="training diverged: the loss at step"):
        train(net(), images * torch.inf, labels, SETTINGS)


def test_too_few_images_for_a_batch_are_refused() -> None:
    images, labels = pictures(10)
    with pytest.raises(ModelError, match="10 images do not fill one batch of 16"):
        train(net(), images, labels, SETTINGS)


def test_about_half_of_the_images_are_mirrored() -> None:
    image = torch.arange(64.0).view(1, 8, 8)
    changed = mirror(image.repeat(50, 1, 1, 1), torch.Generator().manual_seed(0))
    flipped = [torch.equal(one, image.flip(2)) for one in changed]
    assert 10 < sum(flipped) < 40
    assert all(
        torch.equal(one, image) for one, flip in zip(changed, flipped, strict=True) if not flip
    )
