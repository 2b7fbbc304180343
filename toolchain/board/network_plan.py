"""How a board's core would compute a network that is not in a file yet: for training.

The network is lowered to a file, unchecked, which :func:`toolchain.board.plan.core_plan` asks of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolchain import extras
from toolchain.board.invoke import load_bundle
from toolchain.board.plan import core_plan
from toolchain.build.bundle import Bundle
from toolchain.hardware.board_file import Board
from toolchain.storage.scratch import temporary_folder
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers
from toolchain.tflite_file.plan import CorePlan

if TYPE_CHECKING:  # the base installation has none
    from torch import Tensor, nn


def network_plan(
    board: Board, model: nn.Module, example: Tensor, bundle: Bundle | None = None
) -> CorePlan:
    """Ask a board's runner how its core computes a network, in fp32.

    Args:
        board: whose core and bundle.
        model: in eval mode, with its masks; its weights do not matter.
        example: an image ``[N, C, H, W]``.
        bundle: of the board; the one in ``build/<board>`` unless given.

    Raises:
        BundleError, MissingToolError, BoardError: as :func:`toolchain.board.plan.core_plan`.
        MissingToolError: the packages that convert are not installed; the hint is the line that
            installs them.
        ModelError: the network cannot be converted.
    """
    bundle = bundle or load_bundle(board)
    extras.require("planning a network for a board", "convert")
    from toolchain.convert.conversion import lower_unchecked

    with temporary_folder() as folder:
        path = folder / "network.tflite"
        lower_unchecked(model, example, path)
        return core_plan(board, path, find_layers(read_model(path)), bundle)
