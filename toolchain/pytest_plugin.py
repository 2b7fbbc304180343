"""A plugin of pytest: models are tested on a board, by default on the emulated one.

It is there wherever Tileskip is installed, so importing it takes no time: what works on a board is
imported by the fixtures. ``docs/how-to/test-on-a-board.md`` shows its use.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from toolchain.api.board import Board, ConnectedBoard
    from toolchain.board.arrays import Inputs
    from toolchain.board.verify import Verification
    from toolchain.errors import DeployError
    from toolchain.operations.run import RunResult
    from toolchain.profile.document import Profile

DEFAULT_BOARD = "qemu"
_OPTION, _SHORT = "--tileskip-board", "--board"
_BOARD, _HOST, _BUNDLE = "tileskip_board", "tileskip_host", "tileskip_bundle"
_HELP = f"test models on this board: a name or a file (default: {DEFAULT_BOARD})"
_STARTED = "tileskip_started"
_LOG = logging.getLogger("tileskip")
_booted = pytest.StashKey[set[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the options of names that are surely ours."""
    group = parser.getgroup("tileskip", "models on boards (Tileskip)")
    group.addoption(_OPTION, dest=_BOARD, metavar="BOARD", help=_HELP)
    group.addoption(
        "--tileskip-host",
        dest=_HOST,
        metavar="USER@ADDRESS",
        help="a real board, as one gives it to ssh",
    )
    group.addoption(
        "--tileskip-bundle",
        dest=_BUNDLE,
        metavar="FOLDER",
        help="its runtime (default: build/BOARD below pytest's root folder; built if it is not "
        "there)",
    )


@pytest.hookimpl(hookwrapper=True)  # which every version of pytest understands
def pytest_load_initial_conftests(parser: pytest.Parser) -> Iterator[None]:
    """Take ``--board``, too, unless a conftest or another plugin has it: then it means theirs."""
    yield
    if _is_free(parser, _SHORT):
        group = parser.getgroup("tileskip")
        group.addoption(_SHORT, dest=_BOARD, metavar="BOARD", help=f"the same as {_OPTION}")


def _is_free(parser: pytest.Parser, option: str) -> bool:
    given = f"{option}=value"
    try:
        return given in parser.parse_known_and_unknown_args([given])[1]
    except (pytest.UsageError, SystemExit):  # it takes another value, or none
        return False


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Note what one of xdist's workers has booted: others may use it until all have ended."""
    started = getattr(node, "workeroutput", {}).get(_STARTED)
    if started:
        node.config.stash.setdefault(_booted, set()).add(started)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Shut down what workers have booted."""
    for name in config.stash.get(_booted, set()):
        from toolchain.api.board import Board

        Board(name).stop()


class DeployedModel:
    """A model on a board; :func:`deployed_model` makes it."""

    def __init__(self, board: ConnectedBoard, path: str | os.PathLike[str]) -> None:
        self.board = board
        """Where it is."""
        self.path = path
        """Its file on this machine."""

    def __repr__(self) -> str:
        return f"DeployedModel({os.fspath(self.path)!r})"

    def run(self, inputs: Inputs, *, threads: int | None = None) -> RunResult:
        """Run it; see :meth:`toolchain.api.board.ConnectedBoard.run`."""
        return self.board.run(self.path, inputs, threads=threads)

    def verify(self, **options: Any) -> Verification:
        """Compare its outputs with those of the stock interpreter on this machine.

        Args:
            options: of :meth:`toolchain.api.board.ConnectedBoard.verify`.

        Raises:
            VerificationError: they differ.
        """
        return self.board.verify(self.path, **options).models[0]

    def profile(self, **options: Any) -> Profile:
        """Measure it.

        Args:
            options: of :meth:`toolchain.api.board.ConnectedBoard.profile`.
        """
        return self.board.profile(self.path, **options)


@pytest.fixture(scope="session")
def board(pytestconfig: pytest.Config) -> Iterator[ConnectedBoard]:
    """The board of ``--board``, connected for the whole session.

    An emulated one is booted unless it runs, and then shut down at the end. Where QEMU or a
    compiler is not installed tests are skipped, unless the board was named. All else that is wrong
    fails them.
    """
    from toolchain.errors import DeployError, MissingToolError

    named = pytestconfig.getoption(_BOARD)
    try:
        with _connected(named or DEFAULT_BOARD, pytestconfig) as connected:
            yield connected
    except MissingToolError as error:
        if named is None:
            pytest.skip(_said(error))
        pytest.fail(_said(error), pytrace=False)
    except DeployError as error:
        pytest.fail(_said(error), pytrace=False)


@pytest.fixture(scope="session")
def deployed_model(board: ConnectedBoard) -> Callable[[str | os.PathLike[str]], DeployedModel]:
    """A function that brings a ``.tflite`` file to :func:`board`; its result is run there."""

    def deployed(path: str | os.PathLike[str]) -> DeployedModel:
        board.push(path)
        return DeployedModel(board, path)

    return deployed


@contextmanager
def _connected(name: str, config: pytest.Config) -> Iterator[ConnectedBoard]:
    from toolchain.api.board import Board
    from toolchain.api.commands import build
    from toolchain.build.bundle import MANIFEST

    given = config.getoption(_BUNDLE)
    folder = config.rootpath / "build" / Board(name).description.built_as
    made = Board(name, host=config.getoption(_HOST), bundle=given or folder, progress=_LOG.info)
    with _running(made, config):
        if given is None and not (folder / MANIFEST).is_file():
            build(made, out=folder, progress=_LOG.info)
        with made.connect() as connected:
            yield connected


@contextmanager
def _running(board: Board, config: pytest.Config) -> Iterator[None]:
    """An emulated board, booted unless it runs."""
    if not board.emulated or board.running:
        yield
        return
    board.start()
    output = getattr(config, "workeroutput", None)
    if output is not None:  # of xdist: other workers may use it, too
        output[_STARTED] = board.description.given
        yield
        return
    try:
        yield
    finally:
        board.stop()


def _said(error: DeployError) -> str:
    return error.what + (f"\nhint: {error.hint}" if error.hint else "")
