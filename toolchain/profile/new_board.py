"""A board's table in the inventory, from what the board says of itself."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from toolchain.board.target import parse_host
from toolchain.build.glibc import parse_version
from toolchain.errors import BoardError
from toolchain.hardware import inventory
from toolchain.hardware.board_file import Board, board_of_table, load_board
from toolchain.hardware.facts import Isa, isa_facts
from toolchain.hardware.inventory_file import table_text
from toolchain.hardware.likeness import BASELINES, OLDEST_GLIBC, isa_of, likest
from toolchain.profile.probe import Probe, line

_MOST_THREADS = 64
_KEPT = ("tags",)
"""Keys of the user's own that a table keeps when it is replaced ..."""
_KEPT_SSH = ("directory", "shared", "identity")
"""... and those of its ``[ssh]``."""
_GLIBC = re.compile(r"2\.[0-9]{1,2}")


class NewBoard(BaseModel):
    """What ``deploy boards add --json`` prints."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    board: Board
    """With the keys that it has from the board that it is like."""
    like: str | None
    """The board that ships which it is like; ``None`` where none has such a core."""
    host: str
    """As it was given."""
    inventory: Path
    """The file that has it."""
    toml: str
    """Its table there."""
    written: bool
    """Whether it was; not with ``--dry-run``."""
    replaced: bool
    """Whether one of its name was there before."""
    notes: list[str]
    """What is good to know of it."""


def name_from_host(host: str) -> str | None:
    """The name of a board that is reached by a host; ``None`` for one that is known by numbers.

    Raises:
        ConnectionFailed: it is no host.
    """
    address = parse_host(host).host
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return _as_name(address.partition(".")[0])
    return None


def name_from_probe(found: Probe) -> str | None:
    """The name that a board gives itself, as far as it is one."""
    return _as_name((found.hostname or "").partition(".")[0])


def _as_name(text: str) -> str | None:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:64]
    return name if inventory.is_name(name) else None


def new_board(
    name: str,
    host: str,
    found: Probe,
    *,
    like: str | None = None,
    tags: Sequence[str] = (),
    identity: Path | None = None,
) -> NewBoard:
    """The table of a new board, checked as it is when it is read.

    Args:
        name: of the board.
        host: how it is reached, as one gives it to ``ssh``.
        found: what it says of itself.
        like: the board that ships which it is to be like, if not the one that fits best.
        tags: words of the user's; those of a table that is replaced unless given.
        identity: the key to log in with, if one was given.

    Raises:
        BoardError: nothing is built for such a machine.
        BoardConfigError: there is no board that it is to be like.
    """
    machine = found.system.machine
    isa = isa_of(machine, found.bits)
    chosen = load_board(like) if like else None
    if chosen is not None and machine not in isa_facts(chosen.isa).runs_on:
        raise BoardError(
            f"the board is a machine of type {machine}, and {like} is for {chosen.isa}",
            hint="leave --like away, or name a board of its instruction set",
        )
    if chosen is not None:
        isa = chosen.isa
    if isa is None:
        raise BoardError(
            f"nothing is built for a machine of type {machine}"
            + (f" with {found.bits}-bit programs" if found.bits else ""),
            hint="boards have 64-bit Arm cores, or 32-bit ones from ARMv7 with NEON on",
        )
    chosen = chosen or likest(
        isa, found.system.cores, found.facts.model, emulated=found.facts.emulated
    )
    before = inventory.tables().get(name, {})
    table = _table(found, host, isa, chosen, like or (chosen.name if chosen else None))
    _keep(table, before, tags, identity)
    return NewBoard(
        board=board_of_table(name, table),
        like=None if chosen is None else chosen.name,
        host=host,
        inventory=inventory.place(),
        toml=table_text(name, table),
        written=False,
        replaced=bool(before),
        notes=list(_notes(found, chosen, isa)),
    )


def _table(
    found: Probe, host: str, isa: Isa, chosen: Board | None, like: str | None
) -> dict[str, Any]:
    table: dict[str, Any] = {} if like is None else {inventory.LIKE: like}
    cpu = next((core for core in reversed(list(found.system.cores)) if _is_core(core)), None)
    cpu = line(cpu or "")
    table["title"] = _title(found, cpu or isa, chosen)
    if chosen is None:
        table |= {"cpu": cpu or "unknown", "isa": isa, "march": BASELINES[isa]}
    elif cpu and isa == "armv7" and cpu.casefold() != chosen.cpu.casefold():
        table["cpu"] = cpu
    glibc = _glibc(found.system.glibc, chosen)
    if glibc is not None:
        table["glibc"] = glibc
    if chosen is not None and chosen.connection != "ssh":
        table["connection"] = "ssh"
    if cores := sum(found.system.cores.values()):
        table["threads"] = min(cores, _MOST_THREADS)
    if found.clock_mhz and 100 <= found.clock_mhz <= 10000:
        table["clock_mhz"] = found.clock_mhz
    said = {
        "model": line(found.facts.model or ""),
        "os": found.os,
        "kernel": line(found.facts.kernel or ""),
        "kernel_bits": found.kernel_bits,
        "bits": found.bits,
        "glibc": found.system.glibc,
        "memory_mib": found.memory_mib,
        "cores": found.cores,
        "cooling": found.cooling,
    }
    table["ssh"] = {"host": host}
    table["found"] = {key: value for key, value in said.items() if value is not None}
    return table


def _title(found: Probe, core: str, chosen: Board | None) -> str:
    if found.facts.emulated and chosen is not None:
        return chosen.title
    return line(found.facts.model or "") or " ".join(filter(None, (found.hostname, f"({core})")))


def _is_core(name: str) -> bool:
    """Whether a kind of cores is told by its name, not by numbers."""
    return not name.startswith("implementer")


def _glibc(own: str | None, chosen: Board | None) -> str | None:
    """The oldest glibc to build for, where that is not what the board that it is like has."""
    floor = OLDEST_GLIBC if chosen is None else chosen.glibc
    if own is None or floor is None or not _GLIBC.fullmatch(own):
        return None if chosen else floor
    if parse_version(own) < parse_version(floor):
        return own
    return None if chosen else floor


def _keep(
    table: dict[str, Any], before: Mapping[str, Any], tags: Sequence[str], identity: Path | None
) -> None:
    """Add what the user says, and else what the table that is replaced said of the same."""
    own = {"tags": list(dict.fromkeys(tags))} if tags else {}
    for key in _KEPT:
        value = own.get(key, before.get(key))
        if value:
            table[key] = value
    ssh = before.get("ssh")
    kept = {key: ssh[key] for key in _KEPT_SSH if key in ssh} if isinstance(ssh, Mapping) else {}
    if identity is not None:
        kept["identity"] = str(identity.expanduser().absolute())
    table["ssh"] |= kept


def _notes(found: Probe, chosen: Board | None, isa: Isa) -> list[str]:
    notes = []
    if chosen is None:
        notes.append(
            "no board that ships has such a core: it is built for by itself, and times are not "
            "estimated for it"
        )
    if isa == "armv7" and found.kernel_bits == 64:
        notes.append(
            "its system's programs are 32-bit ones under a 64-bit kernel: a 64-bit system has "
            "better kernels"
        )
    if found.system.glibc is None:
        notes.append("it has no glibc, or does not tell: the runner works, libraries may not load")
    if found.clock_mhz is None and not found.facts.emulated:
        notes.append("it does not tell its clock: clock_mhz is that of the board that it is like"
                     if chosen and chosen.clock_mhz else "it does not tell its clock")  # fmt: skip
    return notes
