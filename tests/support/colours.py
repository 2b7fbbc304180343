"""How far colours are apart, for people who see all of them and for those who do not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

_VISION = {
    "all": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip
"""Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision
Deficiency", 2009: severity 1.0, on linear light."""
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = _XYZ.sum(axis=1)


def _linear(colour: str) -> Numbers:
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, two: str) -> float:
    """The ratio of WCAG 2.2: 1 to 21."""
    lights = sorted(float(_XYZ[1] @ _linear(colour)) for colour in (one, two))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def as_seen_with(vision: str, colour: str) -> str:
    """A colour as somebody sees it, by the name of what they cannot tell apart."""
    light = np.clip(_VISION[vision] @ _linear(colour), 0, 1)
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(value * 255):02x}" for value in values)


def difference(one: str, two: str) -> float:
    """CIE 1976: 2.3 is just noticed, 100 is from black to white."""
    return float(np.linalg.norm(_lab(one) - _lab(two)))


def _lab(colour: str) -> Numbers:
    ratio = _XYZ @ _linear(colour) / _WHITE
    root = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])
