"""What ``deploy boards`` shows: of boards that were looked at, added or described, and leases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from toolchain.board.description import BundleState, Description, Way
from toolchain.board.lease import duration
from toolchain.board.lease_holders import LeaseState, Use
from toolchain.doctor.checkup import BoardCheckup, Checkup
from toolchain.doctor.finding import ORDER
from toolchain.profile.new_board import NewBoard
from toolchain.report.doctor_table import STYLES, findings_parts
from toolchain.report.fitting import NAME, Column, fitted_table, note, printable

# --- check ---------------------------------------------------------------------------------------


def checkup_table(
    checkup: Checkup, width: int = 200, *, everything: bool = False
) -> RenderableType:
    """Boards that were looked at, a line each, the worst first; then what is wrong, and the cure.

    Args:
        checkup: all of them.
        width: columns that there are.
        everything: whether what is fine is told, too.
    """
    boards = checkup.boards
    table = fitted_table(
        [
            Column("board", [one.board for one in boards], NAME, right=False),
            Column("state", [Text(one.state, STYLES[one.state]) for one in boards], 1, right=False),
            Column("reached", [_reached(one) for one in boards], 2, right=False),
            Column("free", [_free(one.vital.free_bytes) for one in boards], 4),
            Column("°C", [_degrees(one.vital.temperature_c) for one in boards], 3),
            Column("governor", [one.vital.governor or "-" for one in boards], 7, right=False),
            Column("held back", [_held_back(one) for one in boards], 6, right=False),
            Column("glibc", [one.vital.glibc or "-" for one in boards], 9),
            Column("bundle", [_bundle_word(one) for one in boards], 8, right=False),
            Column("lease", [_lease_word(one) for one in boards], 5, right=False),
            Column("address", [one.address or "-" for one in boards], 10, right=False),
        ],
        width,
        boxed=False,
    )
    shown = ORDER if everything else ORDER[:-1]
    told = [(one.board, found) for one in boards for found in one.findings if found.state in shown]
    parts: list[RenderableType] = [table]
    if told:
        parts += [Text(""), *findings_parts(told, width, where="board")]
    return Group(*parts, Text(""), _count(boards))


def _reached(one: BoardCheckup) -> str:
    if one.reached:
        return "yes"
    ways = (found for found in one.findings if found.area == "board")
    first = next((found for found in ways if found.state == "fault"), None)
    return f"no: {first.check}" if first else "no"


def _free(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e9:,.1f} GB"


def _degrees(celsius: float | None) -> str:
    return "-" if celsius is None else f"{celsius:.0f}"


def _held_back(one: BoardCheckup) -> str:
    reasons = one.vital.held_back
    return "-" if reasons is None else ", ".join(reasons) or "no"


def _bundle_word(one: BoardCheckup) -> str:
    if not one.reached:
        return "-"
    if not one.bundle:
        return "not built"
    compared = {"machine", "cores", "glibc"}
    bad = any(found.check in compared and found.state == "fault" for found in one.findings)
    return "does not fit" if bad else "fits"


def _lease_word(one: BoardCheckup) -> str:
    if one.vital.holders is None:
        return "-"
    first = [words.partition(":")[0] for words in one.vital.holders]
    return ", ".join(dict.fromkeys(first)) or "free"


def _count(boards: Sequence[BoardCheckup]) -> Text:
    bad = sum(one.state == "fault" for one in boards)
    every = "1 board" if len(boards) == 1 else f"{len(boards)} boards"
    return note(f"{every}, {bad or 'none'} with a fault")


# --- show ----------------------------------------------------------------------------------------


def descriptions_table(found: Sequence[Description]) -> RenderableType:
    """Everything that is known of boards here, one below the other.

    Args:
        found: what is known of each.
    """
    parts: list[RenderableType] = []
    for one in found:
        parts += [Text("")] * bool(parts) + [description_table(one)]
    return Group(*parts)


def description_table(found: Description) -> RenderableType:
    """The same of one board."""
    keys = _grid(
        ("key", "value", "from"), [(key.name, _shown(key.value), key.origin) for key in found.keys]
    )
    where = f"{found.name}: {found.title}"
    parts: list[RenderableType] = [
        Text(printable(where), style="bold"),
        _folded([("file", str(found.source))]),
        Text(""),
        keys,
        Text(""),
        _folded([*_way_rows(found.way), *_bundle_rows(found.bundle)]),
    ]
    nexts = (found.way.hint, None if found.bundle.built else found.bundle.build)
    lines = [line for line in nexts if line]
    parts += [Text(f"next: {line}", style="dim", no_wrap=True, overflow="ignore") for line in lines]
    return Group(*parts)


def _way_rows(way: Way) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = [
        ("reached by", "this machine" if way.connection == "local" else way.connection)
    ]
    if way.address:
        rows.append(("address", way.address))
    if way.through:
        rows.append(("through", ", ".join(way.through)))
    if way.proxy_command:
        rows.append(("proxy command", way.proxy_command))
    rows += [("key to log in", str(path)) for path in way.identities]
    for one in way.host_keys:
        rows.append(("host key", f"{one.kind} {one.fingerprint} ({one.file} line {one.line})"))
    if way.fault:
        rows.append(("fault", way.fault))
    if way.login:
        rows.append(("log in", way.login))
    return rows


def _bundle_rows(bundle: BundleState) -> list[tuple[str, str]]:
    return [("bundle", str(bundle.path) if bundle.fault is None else bundle.fault)]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


# --- add -----------------------------------------------------------------------------------------


def new_board_table(new: NewBoard) -> RenderableType:
    """What a new board said of itself, and its table in the inventory.

    Args:
        new: the board.
    """
    board, found = new.board, new.board.found
    memory = None if found.memory_mib is None else f"{found.memory_mib:,} MiB"
    bits = f"{found.bits or '?'}-bit programs, {found.kernel_bits or '?'}-bit kernel"
    clock = None if board.clock_mhz is None else f"{board.clock_mhz:,} MHz"
    rows = [
        ("model", found.model),
        ("cores", found.cores),
        ("built for", f"{board.isa}, {board.march}"),
        ("like", new.like or "no board that ships"),
        ("system", ", ".join(filter(None, (found.os, found.kernel)))),
        ("bits", bits),
        ("glibc", found.glibc or "none told"),
        ("memory", memory),
        ("clock", clock),
        ("cooling", found.cooling),
    ]
    verb = "Written to" if new.written else "Would be written to"
    instead = ", in the place of the one that was there" if new.replaced else ""
    return Group(
        Text(printable(f"{board.name}: {board.title}"), style="bold"),
        _folded([(name, value) for name, value in rows if value]),
        Text(""),
        Text(f"{verb} {printable(str(new.inventory))}{instead}:"),
        Text(""),
        Text(new.toml.rstrip("\n"), style="cyan", no_wrap=True, overflow="ignore"),
    )


# --- lease ---------------------------------------------------------------------------------------


def lease_table(name: str, state: LeaseState) -> RenderableType:
    """Who has a board and who waits for it, a line each.

    Args:
        name: of the board.
        state: what it tells.
    """
    uses: list[tuple[str, Use]] = [("has it", use) for use in state.holders]
    uses += [("waits", use) for use in state.queue]
    if not uses:
        return Text(printable(f"{name} is free"))
    return _grid(
        ("", "for", "who, and what for", "alone"),
        [
            (what, duration(use.seconds), use.words, "no" if use.shared else "yes")
            for what, use in uses
        ],
        folded=2,
    )


# --- parts ---------------------------------------------------------------------------------------


def _grid(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, folded: int = 1
) -> RenderableType:
    """A table without lines, one of whose columns is folded where it is too long."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        if number == folded:
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _folded(rows: Sequence[tuple[str, str | None]]) -> RenderableType:
    """Names with what stands behind them."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(printable(value or "")))
    return table
