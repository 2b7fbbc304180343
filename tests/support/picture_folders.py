"""Folders of small pictures, a folder a class, and networks of three channels for them."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image
from torch import Tensor, nn

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def write_pictures(
    folder: Path, *, train: int = 16, test: int = 4, size: tuple[int, int] = (40, 36)
) -> Path:
    """Pictures of one colour each, in noise: ``train/<colour>/0.png`` and so on."""
    draw = random.Random(0)  # noqa: S311 (pictures)
    for part, count in (("train", train), ("test", test)):
        for name, colour in COLOURS.items():
            place = folder / part / name
            place.mkdir(parents=True)
            for number in range(count):
                shade = tuple(max(0, channel - draw.randrange(120)) for channel in colour)
                Image.new("RGB", size, shade).save(place / f"{number}.png")
    return folder


class Net(nn.Module):
    """``[N, 3, H, W]`` to ``[N, classes]``: a 3x3 and a 1x1 convolution."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.fc = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(x)
        logits: Tensor = self.fc(features)
        return logits


def net(num_classes: int = 1000) -> Net:
    return Net(num_classes)


def net_of_any(**settings: int) -> Net:
    """Takes its arguments as they come, as many factories do."""
    return Net(settings.pop("num_classes", 1000))


def net_of_seven() -> Net:
    return Net(7)


def net_of_timm() -> Net:
    """Says what its images are like, as networks of timm do."""
    made = Net(3)
    made.default_cfg = {"input_size": (3, 48, 48), "mean": (0.5, 0.5, 0.5)}  # type: ignore[assignment]
    return made


def wide_net(num_classes: int = 1000) -> nn.Sequential:
    """Nearly all of its work is in one 3x3 convolution, so that masks on it save time."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, num_classes),
    )
