"""A small residual network for Fashion-MNIST: what the demo trains, masks and runs on a board."""

from __future__ import annotations

from toolchain.zoo.resnet import ResNet, Stem


def fashion_resnet(classes: int = 10) -> ResNet:
    """Seven 3x3 convolutions of 16, 32 and 64 channels, 4.4 million MACs; weights not trained.

    Takes ``[N, 1, 28, 28]``, normalised by :func:`toolchain.zoo.fashion_mnist.normalise`.
    The stem halves the image, so the layers work on 14x14 and 7x7 pixels.
    """
    return ResNet(
        (1, 1, 1),
        (16, 32, 64),
        (1, 2, 1),
        stem=Stem(kernel=3, stride=2, pool=False),
        in_channels=1,
        classes=classes,
    )
