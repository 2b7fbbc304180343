"""Everything that is known of a board here, without a look at it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from toolchain.board import emulator, keys, trust
from toolchain.board.target import SshTarget, login_words, resolve
from toolchain.build.bundle import Bundle, bundle_path
from toolchain.errors import BundleError, ConnectionFailed
from toolchain.hardware.board_file import Board
from toolchain.hints import command


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Key(_Part):
    """One key of a board."""

    name: str
    """With the table that it is in: ``ssh.host``."""
    value: Any
    origin: str
    """Where it comes from: ``inventory``, ``file``, ``like rpi4``, ``emulator`` or ``default``."""


class KnownKey(_Part):
    """One host key that is on record."""

    kind: str
    fingerprint: str
    file: Path
    line: int


class Way(_Part):
    """How a board is reached."""

    connection: Literal["ssh", "emulator", "local"]
    address: str | None = None
    """``user@address:port``, as the SSH configuration says."""
    through: list[str] = []
    """Hosts that are jumped through, the first one first."""
    proxy_command: str | None = None
    identities: list[Path] = []
    """Keys that would be tried, besides those of the agent."""
    login: str | None = None
    """The line that logs in by hand."""
    host_keys: list[KnownKey] = []
    """Those on record; without any, the board is not talked to."""
    fault: str | None = None
    """Why it would not be reached, as far as that is known here."""
    hint: str | None = None
    """What to do about it."""


class BundleState(_Part):
    """What would be pushed to a board."""

    path: Path
    built: bool
    """Whether it is there and whole."""
    fault: str | None = None
    build: str
    """The line that builds it."""


class Description(_Part):
    """What ``deploy boards show --json`` prints of a board."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: str
    title: str
    source: Path
    """The file that its keys stand in."""
    like: str | None
    """The board whose keys it takes where it has none of its own."""
    keys: list[Key]
    way: Way
    bundle: BundleState


def describe(board: Board) -> Description:
    """Everything that is known of a board here; nobody is asked."""
    return Description(
        name=board.name,
        title=board.title,
        source=board.source.path,
        like=board.source.like,
        keys=list(_keys(board)),
        way=_way(board),
        bundle=_bundle(board),
    )


def _keys(board: Board) -> Iterator[Key]:
    said = [(origin, dict(_flat(table))) for origin, table in board.source.layers]
    for name, value in _flat(board.model_dump(mode="json", exclude={"name"})):
        origin = next((origin for origin, table in said if name in table), "default")
        if origin == "default" and value in (None, [], ""):
            continue
        yield Key(name=name, value=value, origin=origin)


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


# --- the way there -------------------------------------------------------------------------------


def _way(board: Board) -> Way:
    if board.connection == "local":
        return Way(connection="local")
    if board.connection == "emulator":
        state = emulator.status(board)
        if state is None:
            return Way(
                connection="emulator",
                fault="it does not run",
                hint=command("emulator", "start", "--board", board.given),
            )
        return _over_ssh("emulator", state.target, state.ssh_command)
    try:
        target = resolve(board, None, None)
        login = shlex.join(login_words(board, None, None))
    except ConnectionFailed as error:
        return Way(
            connection="ssh",
            fault=error.what.removeprefix(f"board '{board.name}': "),
            hint=error.hint,
        )
    return _over_ssh("ssh", target, login, board.name)


def _over_ssh(
    connection: Literal["ssh", "emulator"], target: SshTarget, login: str, name: str | None = None
) -> Way:
    found = trust.on_record(target)
    missing = not found and name is not None
    return Way(
        connection=connection,
        address=str(target),
        through=[str(host) for host in _through(target)],
        proxy_command=target.proxy_command,
        identities=list(target.identities),
        login=login,
        host_keys=[
            KnownKey(
                kind=record.kind,
                fingerprint=keys.fingerprint(record.blob),
                file=record.path,
                line=record.line,
            )
            for record in found
        ],
        fault="its host key is not on record" if missing else None,
        hint=command("boards", "trust", name) if missing else None,
    )


def _through(target: SshTarget) -> list[SshTarget]:
    return [] if target.jump is None else [*_through(target.jump), target.jump]


def _bundle(board: Board) -> BundleState:
    path = bundle_path(board)
    build = command("build", "--board", board.given)
    fault = None
    try:
        Bundle.load(path)
    except BundleError as error:
        fault = error.what
    return BundleState(path=path, built=fault is None, fault=fault, build=build)
