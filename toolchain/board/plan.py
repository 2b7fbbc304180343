"""How a board's core computes a file: its own runner says so, on this machine, and runs nothing.

XNNPACK chooses micro-kernels by the core that it finds. QEMU's user mode plays the cores of boards;
a board that is this machine needs none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from toolchain import children
from toolchain.board.endings import by_signal
from toolchain.board.invoke import build_command, last_words, load_bundle
from toolchain.build.bundle import Bundle
from toolchain.build.qemu_user import emulator_command
from toolchain.errors import BoardError, BundleError, DeployError, ModelError
from toolchain.hardware.board_file import Board
from toolchain.hardware.facts import Core, core_facts, played_cores
from toolchain.storage.scratch import temporary_folder
from toolchain.tflite_file.layers import Layer
from toolchain.tflite_file.plan import CorePlan, parse_plan, plan_layers


def core_plan(
    board: Board, model: Path, layers: Sequence[Layer], bundle: Bundle | None = None
) -> CorePlan:
    """Ask a board's runner how its core computes a file.

    Args:
        board: whose core and bundle.
        model: the file.
        layers: of the file.
        bundle: of the board; the one in ``build/<board>`` unless given.

    Raises:
        BundleError: it is not built, is no patched one, or is too old to tell; the hint is the line
            that builds it.
        MissingToolError: QEMU's user mode is not installed.
        BoardError: the core is not played, or the runner crashed.
        ModelError: the runner cannot load the file.
    """
    bundle = bundle or load_bundle(board)
    with _started_as(board) as (core, prefix):
        command = [*prefix, str(bundle.runner), "--plan", "--json", "-"]
        done = children.run(
            [*command, "--model", str(model.absolute())], limit=children.WORK_S, fault=BoardError
        )
    again = f"run: {build_command(board, bundle.path)}"
    if done.returncode == 2:
        raise BundleError(f"{bundle.path} is of a version that tells no plan", hint=again)
    if done.returncode:
        raise _failed(done.returncode, done.stderr)
    if (plan := plan_layers(layers, parse_plan(done.stdout), core)) is None:
        raise BundleError(f"{bundle.path} is not patched, and tells no plan", hint=again)
    return plan


def played_core(board: Board) -> Core | None:
    """The core that QEMU's user mode plays for a board's programs."""
    played = played_cores(board.isa)
    return next(
        (core for core in played if core_facts(core).name.casefold() == board.cpu.casefold()), None
    )


@contextmanager
def _started_as(board: Board) -> Iterator[tuple[str, list[str]]]:
    """What a core is called, and how a program is started on it."""
    if board.connection == "local":
        yield "this machine", []
        return
    core = played_core(board)
    if core is None:
        raise BoardError(f"QEMU plays no {board.cpu}: what it computes is not known here")
    with temporary_folder() as root:
        yield core_facts(core).name, emulator_command(core, root, board.isa)


def _failed(code: int, stderr: str) -> DeployError:
    last = last_words(stderr)
    if code == 3:
        return ModelError(last)
    if code < 0:
        last = f"it was ended by {by_signal(-code)}"
    return BoardError(f"the runner tells no plan: {last}")
