"""Tables that list what there is: boards, networks, files of a bundle, files on a board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from toolchain.build.bundle import Bundle
from toolchain.hardware.board_file import Board
from toolchain.report.fitting import NAME, Column, fitted_table
from toolchain.zoo.catalog import ZooModel

if TYPE_CHECKING:  # numpy is slow to import, and most lists need none of it
    from toolchain.operations.push import PushedFile


def boards_table(boards: Sequence[Board], width: int = 200) -> RenderableType:
    """The boards that ``--board`` knows, a line each.

    Args:
        boards: in order.
        width: columns that there are.
    """
    return fitted_table(
        [
            Column("name", [board.name for board in boards], NAME, right=False),
            Column("board", [board.title for board in boards], 1, right=False),
            Column("core", [board.cpu for board in boards], 3, right=False),
            Column("ISA", [board.isa for board in boards], 2, right=False),
            Column(
                "reached by",
                [board.ssh.host or board.connection for board in boards],
                4,
                right=False,
            ),
        ],
        width,
    )


def push_table(files: Sequence[PushedFile], board: str, width: int = 200) -> RenderableType:
    """What lies on a board now, a line a file.

    Args:
        files: in order.
        board: what it is called.
        width: columns that there are.
    """
    return fitted_table(
        [
            Column("file", [item.remote for item in files], NAME, right=False),
            Column("KiB", [f"{item.bytes / 1024:,.0f}" for item in files], 2),
            Column("", ["sent" if item.sent else "was there" for item in files], 1, right=False),
        ],
        width,
        title=f"On {board}",
    )


def bundle_table(bundle: Bundle, width: int = 200) -> RenderableType:
    """The programs of a bundle, a line a file.

    Args:
        bundle: that was built.
        width: columns that there are.
    """
    files = {name: one for name, one in bundle.manifest.files.items() if one.elf}
    facts = [one.elf for one in files.values() if one.elf]
    return fitted_table(
        [
            Column("file", list(files), NAME, right=False),
            Column("KiB", [f"{one.bytes / 1024:.0f}" for one in files.values()], 3),
            Column(
                "linked", ["static" if elf.static else "dynamic" for elf in facts], 2, right=False
            ),
            Column("glibc", [elf.glibc_floor or "any" for elf in facts], 1),
        ],
        width,
        title=str(bundle.path),
    )


def library_table(entries: Sequence[Mapping[str, Any]], width: int = 200) -> RenderableType:
    """Networks of another library, a line each.

    Args:
        entries: ``name`` and ``input_shape``, in order.
        width: columns that there are.
    """
    shapes = [",".join(map(str, entry["input_shape"] or ["?"])) for entry in entries]
    return fitted_table(
        [
            Column("name", [entry["name"] for entry in entries], NAME, right=False),
            Column("input (N,C,H,W)", shapes, 1),
        ],
        width,
        boxed=False,
    )


def networks_table(entries: Sequence[ZooModel], width: int = 200) -> RenderableType:
    """The networks that are known by name, a line each.

    Args:
        entries: in order.
        width: columns that there are.
    """
    shapes = [",".join(map(str, entry.input_shape)) for entry in entries]
    masked = [f"{entry.sparsity:.0%}" if entry.sparsity else "" for entry in entries]
    return fitted_table(
        [
            Column("name", [entry.name for entry in entries], NAME, right=False),
            Column("input (N,C,H,W)", shapes, 1),
            Column("classes", [str(entry.classes) for entry in entries], 3),
            Column("masked", masked, 2),
            Column("weights", [entry.weights for entry in entries], 4),
            Column("network", [entry.description for entry in entries], 5, right=False),
        ],
        width,
        boxed=False,
    )
