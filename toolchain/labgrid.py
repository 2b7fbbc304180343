"""For labgrid: a driver that hands out a place's board, and a resource that names a board of ours.

An environment of labgrid imports this module by its name; both are known to it from then on.
``docs/how-to/labgrid.md`` shows them at work.
"""

from __future__ import annotations

from typing import Any

from toolchain import extras
from toolchain.api.board import Board, ConnectedBoard
from toolchain.errors import BoardConfigError, DeployError

extras.require("toolchain.labgrid", "labgrid")

import attr  # noqa: E402 (it comes with labgrid)
from labgrid import target_factory  # noqa: E402 (it has to be there)
from labgrid.driver import Driver  # noqa: E402
from labgrid.resource import Resource  # noqa: E402

_text: Any = attr.validators.instance_of(str)
_Place = "NetworkService"


@target_factory.reg_resource
@attr.s(eq=False)
class TileskipBoard(Resource):  # type: ignore[misc]
    """A board that ``--board`` knows by name.

    Args:
        board: its name, or a board file; its path counts from the environment's folder.
    """

    board: str = attr.ib(validator=_text)


@target_factory.reg_driver
@attr.s(eq=False)
class TileskipDriver(Driver):  # type: ignore[misc]
    """The board of a place, connected while the driver is active.

    It binds to a ``NetworkService``, or to a :class:`TileskipBoard`. An ``SSHDriver`` of the same
    target, if it has one, says which key and user log in. The host key of the place has to be on
    record: labgrid itself compares none.

    Args:
        board: for a ``NetworkService``: the board that it is, as ``rpi4``, or a board file.
        keyfile: the only key to log in with; unless given, that of the ``SSHDriver``, or else all
            that ``ssh`` would try. Its path counts from the environment's folder.
        bundle: the folder of the runtime, likewise; unless given, ``build/<board>`` in the current
            folder.
    """

    bindings = {  # noqa: RUF012 (labgrid reads it from the class)
        "place": {_Place, "TileskipBoard"},
        "ssh": {"SSHDriver", None},
    }
    board: str = attr.ib(default="", validator=_text)
    keyfile: str = attr.ib(default="", validator=_text)
    bundle: str = attr.ib(default="", validator=_text)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._found: Board | None = None
        self._connected: ConnectedBoard | None = None
        self._started = False

    @property
    def found(self) -> Board:
        """The board, connected or not.

        Raises:
            BoardConfigError: it is not said which board the place is, or there is none of that
                name.
        """
        if self._found is None:
            self._found = self._look()
        return self._found

    @property
    @Driver.check_active  # type: ignore[untyped-decorator]
    def connected(self) -> ConnectedBoard:
        """The board, to work on: it pushes, runs, verifies and profiles.

        Raises:
            StateError: the driver is not active.
        """
        assert self._connected is not None  # noqa: S101 (it is active)
        return self._connected

    def on_activate(self) -> None:
        """Connect; an emulated board is booted unless it runs.

        Raises:
            BundleError: its runtime is not built.
            ConnectionFailed: it is not reached, or refuses the user.
            HostKeyError: its host key is unknown or not the one on record.
        """
        try:
            board = self.found
            if board.emulated and not board.running:
                board.start()
                self._started = True
            self._connected = board.connect()
        except BaseException as error:
            if isinstance(error, DeployError) and error.hint:
                error.add_note(f"hint: {error.hint}")  # labgrid shows an error as Python does
            self._stop()
            raise

    def on_deactivate(self) -> None:
        """Close the connection; an emulated board that was booted here is shut down."""
        connected, self._connected = self._connected, None
        try:
            if connected is not None:
                connected.close()
        finally:
            self._stop()

    def _stop(self) -> None:
        if self._started:
            self._started = False
            self.found.stop()

    def _look(self) -> Board:
        bundle = self._path(self.bundle) or None
        if isinstance(self.place, TileskipBoard):
            return Board(
                self._named(self.place.board), identity=self._key(), bundle=bundle,
                progress=self.logger.info,
            )  # fmt: skip
        if not self.board:
            raise BoardConfigError(
                f"{self.display_name}: which board is the place?",
                hint="say so in the environment, as in: TileskipDriver: {board: rpi4}",
            )
        return Board(
            self._named(self.board), host=self._host(), identity=self._key(), bundle=bundle,
            progress=self.logger.info,
        )  # fmt: skip

    def _host(self) -> str:
        """The place as one gives it to ``ssh``.

        labgrid writes the interface of the exporter behind any address; only IPv6 has scopes.
        """
        service = self.place
        address = service.address if ":" in service.address else service.address.partition("%")[0]
        address = f"[{address}]" if ":" in address else address
        port = "" if service.port == 22 else f":{service.port}"
        user = (self.ssh is not None and self.ssh.username) or service.username
        return f"{user}@{address}{port}"

    def _key(self) -> str | None:
        return (
            self._path(self.keyfile or (self.ssh.keyfile if self.ssh is not None else "")) or None
        )

    def _named(self, board: str) -> str:
        return self._path(board) if board.endswith(".toml") else board

    def _path(self, path: str) -> str:
        """A path of the environment's file."""
        env = self.target.env
        return str(env.config.resolve_path(path)) if path and env is not None else path
