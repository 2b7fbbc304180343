"""What a fresh run has to repeat exactly: instructions of the demo, tiles of masked networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolchain.demo import DemoResult, NetworkResult
from toolchain.dev.results_page import Part
from toolchain.errors import ModelError
from toolchain.formats.json_text import parse_json
from toolchain.formats.text_file import read_text
from toolchain.hardware.board_file import known_tiles, load_board
from toolchain.tflite_file.inspection import inspect_model
from toolchain.tflite_file.tiling import Tiling

TILED = tuple(
    (network, board)
    for network in ("resnet18_all_s20", "mobilenet_v2_s20")
    for board in ("rpi4", "rpi3")
)
"""Network of the zoo and board of each row of the table of tiles."""


class TileRow(Part):
    """What the last tile of each layer wastes on one board."""

    network: str
    tiling: Tiling
    """Without its layers."""


class Measured(Part):
    """``docs/figures.json``."""

    board: str
    """Title of the board of the demo."""
    images: int
    """Test images that the demo classified."""
    demo: list[NetworkResult]
    tiles: list[TileRow]

    def demo_result(self) -> DemoResult:
        """The demo's table as it was; how long stages took is not kept, for it does not repeat."""
        return DemoResult(
            board=self.board, emulated=True, networks=self.demo, stages={}, folder=Path()
        )

    def to_json(self) -> bytes:
        """The document."""
        return self.model_dump_json(indent=1).encode() + b"\n"


def measured(demo: DemoResult, tiles: Sequence[TileRow]) -> Measured:
    """What is kept of a run of the demo on the emulated board, and of :func:`tile_rows`."""
    # Seconds under emulation mean nothing and do not repeat.
    kept = [one.model_copy(update={"median_us": None}) for one in demo.networks]
    return Measured(board=demo.board, images=demo.networks[0].images, demo=kept, tiles=list(tiles))


def tile_rows(models: dict[str, Path]) -> list[TileRow]:
    """The rows of :data:`TILED`.

    Args:
        models: name in the zoo to its converted file.

    Raises:
        ModelError: a file cannot be read.
    """
    rows = []
    for network, board in TILED:
        tiling = inspect_model(models[network], known_tiles(load_board(board))).tiling
        assert tiling is not None  # noqa: S101 - the board was given
        rows.append(TileRow(network=network, tiling=tiling.model_copy(update={"layers": []})))
    return rows


def load_measured(path: Path) -> Measured:
    """Read ``docs/figures.json``.

    Raises:
        ModelError: no such file, or it is none; names the first fault.
    """
    text = read_text(path, ModelError)
    return parse_json(Measured, text, ModelError, str(path), hint="make figures writes it anew")
