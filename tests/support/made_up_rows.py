"""Published times that nobody published."""

from __future__ import annotations

from datetime import date

from toolchain.dev.timing.published import Row

ROW = Row(
    source="made up", board="rpi4", core="cortex-a72", clock_mhz=1800, threads=1, runtime="ncnn",
    published=date(2023, 6, 15), precision="fp32", network="resnet18", width=224, height=224,
    ms=1.0,
)  # fmt: skip
