"""What this machine has: Python and its packages, programs, room, and bundles."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from toolchain import children, extras
from toolchain.board import emulator
from toolchain.board.invoke import build_command
from toolchain.build import bundle, compiler, ninja, qemu_user
from toolchain.build.bundle import Bundle
from toolchain.doctor.finding import Finding, Findings
from toolchain.errors import (
    BundleError,
    DeployError,
    MissingToolError,
    OutputError,
    SourceError,
)
from toolchain.fetch import apt
from toolchain.formats.input_file import read_limited
from toolchain.formats.number_files import free_memory
from toolchain.hardware.board_file import DEFAULT_BOARD, Board, board_names, load_board
from toolchain.hardware.facts import Isa
from toolchain.hints import apt_line, command, quoted
from toolchain.storage import cache
from toolchain.timing import qemu_plugin

Check = Callable[[], Iterator[Finding]]

LIMIT_S = 30.0
"""Seconds that a program of this machine may take to tell something."""
_LEAST_DISK, _GOOD_DISK = 1 << 30, 5 << 30
"""Bytes that have to be free for a build: of one runtime with its sources, and of several."""
_LEAST_TEMPORARY = 200 << 20
_GOOD_MEMORY = 2 << 30
"""Bytes for the conversion of a network, or for two compilers."""
_LARGEST_MAKEFILE = 1 << 20
_host = Findings("host")


def host_checks(board: Board | None, *, is_real: bool = False) -> Mapping[str, Check]:
    """The checks of this machine, by what they look at.

    Args:
        board: what things are needed for; the board that commands take by default if none.
        is_real: whether it is a real one, though its file may be that of the emulated one.
    """
    emulated = not is_real and (board is None or board.connection == "emulator")
    return {
        "Python": _python,
        "packages": _extras,
        "build": lambda: _build(board),
        **({"emulated board": _emulator} if emulated else {}),
        "estimates": _estimates,
        "Debian's archive": _archive,
        "test packages": _test_packages,
        "cache": _cache,
        "working folder": _working_folder,
        "temporary files": _temporary_files,
        "memory": _memory,
        "bundles": lambda: bundle_checks(board),
    }


# --- Python ------------------------------------------------------------------------------------


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    tried = extras.supported_pythons()
    minor = int(version.split(".")[1])
    if tried is None:
        yield _host.unknown("Python", f"Python {version}; which are tried is not recorded here")
    elif not int(tried[0].split(".")[1]) <= minor <= int(tried[1].split(".")[1]):
        yield _host.warning(
            "Python",
            f"Python {version}: tried are {tried[0]} to {tried[1]}",
            advice=f"install this program into an environment of Python {tried[1]}",
        )
    else:
        yield _host.ok("Python", f"Python {version}")


def _extras() -> Iterator[Finding]:
    for name in extras.MODULES:
        missing = extras.missing_modules(name)
        if missing and name in extras.OPTIONAL:
            yield _host.ok(f"extra {name}", f"not installed; it is for {extras.USED_BY[name]}")
        elif missing:
            yield _host.warning(
                f"extra {name}",
                _lack(missing, extras.USED_BY[name]),
                run=extras.install_line(name),
            )
        else:
            yield _host.ok(f"extra {name}", "all of its packages are installed")


# --- programs ----------------------------------------------------------------------------------


def _build(board: Board | None) -> Iterator[Finding]:
    wanted = board or load_board(DEFAULT_BOARD)
    check = f"build for {wanted.isa}"
    tools = compiler.needed_tools(wanted.isa)
    missing = compiler.missing_tools(tools)
    if not missing:
        yield _host.ok(check, "the compiler and all other programs are installed")
    else:
        what = _lack(missing, command("build", "--board", wanted.given))
        line = apt_line(*(tools[name] for name in missing))
        if board is not None and _whole(board):
            what = f"{what}; its bundle is built already"
            yield _host.warning(check, what, run=line)
        else:
            yield _host.fault(check, MissingToolError, what, run=line)
    known = set(missing)
    for isa in get_args(Isa) if board is None else ():
        if isa != wanted.isa:
            yield from _other_build(isa, known)
    if compiler.missing_tools(ninja.OPTIONAL_TOOLS):
        yield _host.warning(
            "ccache",
            "ccache is not installed: what was compiled once is compiled again",
            run=apt_line(*ninja.OPTIONAL_TOOLS.values()),
        )
    else:
        yield _host.ok("ccache", "ccache is installed")


def _other_build(isa: Isa, known: set[str]) -> Iterator[Finding]:
    """The compiler of boards that are not looked at; what is known to be missing is told once."""
    tools = compiler.needed_tools(isa)
    missing = [name for name in compiler.missing_tools(tools) if name not in known]
    if missing:
        yield _host.warning(
            f"build for {isa}",
            _lack(missing, f"deploy build for boards of {isa} ({', '.join(_boards_of(isa))})"),
            run=apt_line(*(tools[name] for name in missing)),
        )
    else:
        yield _host.ok(f"build for {isa}", "the compiler is installed")


def _lack(missing: Sequence[str], what: str) -> str:
    them = "it" if len(missing) == 1 else "them"
    return f"not installed: {', '.join(missing)}; without {them} {what} cannot run"


def _boards_of(isa: Isa) -> list[str]:
    return [name for name in board_names() if load_board(name).isa == isa]


def _emulator() -> Iterator[Finding]:
    missing = compiler.missing_tools(emulator.NEEDED_TOOLS)
    if not missing:
        yield _host.ok("emulated board", "QEMU is installed")
        return
    what = _lack(missing, "the emulated board")
    line = apt_line(*(emulator.NEEDED_TOOLS[name] for name in missing))
    yield _host.fault("emulated board", MissingToolError, what, run=line)


def _estimates() -> Iterator[Finding]:
    tools = {**qemu_user.needed_tools("aarch64"), **qemu_plugin.NEEDED_TOOLS}
    if missing := compiler.missing_tools(tools):
        yield _host.warning(
            "estimates",
            _lack(missing, "deploy estimate"),
            run=apt_line(*(tools[name] for name in missing)),
        )
    else:
        yield _host.ok("estimates", "QEMU's user mode and a C compiler are installed")


def _archive() -> Iterator[Finding]:
    """Whether sources and packages could be fetched; nothing is."""
    try:
        apt.require_tools()
        mirror = apt.debian_mirror(limit=LIMIT_S)
    except (MissingToolError, SourceError) as error:
        yield _host.told("Debian's archive", error, "warning")
    else:
        yield _host.ok("Debian's archive", f"sources are fetched from {mirror}")


def _test_packages() -> Iterator[Finding]:
    """What ``make test`` would install, of a checkout."""
    packages = _make_packages(Path(__file__).resolve().parents[2] / "Makefile")
    if not packages:
        return
    check = "test packages"
    if not shutil.which("dpkg-query"):
        what = "no dpkg-query: whether what make test needs is installed is not known"
        yield _host.unknown(check, what)
        return
    asked = ["dpkg-query", "--show", "--showformat", "${binary:Package} ${db:Status-Status}\n"]
    said = children.run([*asked, *packages], limit=LIMIT_S, fault=MissingToolError).stdout
    lines = [line.split() for line in said.splitlines()]
    there = {line[0].partition(":")[0] for line in lines if line[1:] == ["installed"]}
    missing = [name for name in packages if name not in there]
    if missing:
        yield _host.warning(
            check,
            _lack(missing, "make test"),
            run=apt_line(*missing),
        )
    else:
        yield _host.ok(check, "all that make test needs is installed")


def _make_packages(makefile: Path) -> list[str]:
    try:
        text = read_limited(makefile, _LARGEST_MAKEFILE).decode(errors="replace")
    except OSError:
        return []
    lists = re.findall(r"^DEBIAN_PACKAGES\w* := ((?:.*\\\n)*.*)$", text, re.M)
    return [name for words in lists for name in words.replace("\\\n", " ").split()]


# --- room --------------------------------------------------------------------------------------


def _cache() -> Iterator[Finding]:
    place = cache.cache_place()
    advice = "let TILESKIP_CACHE name a folder that you may write to"
    yield from _folder("cache", place, _LEAST_DISK, _GOOD_DISK, advice)


def _working_folder() -> Iterator[Finding]:
    """Where bundles are left."""
    place = Path("build")
    advice = "run deploy in a folder that you may write to"
    # On the disk of the cache there is one figure, and it is told once.
    same = _nearest(place).stat().st_dev == _nearest(cache.cache_place()).stat().st_dev
    least, good = (0, 0) if same else (_LEAST_DISK, _LEAST_DISK)
    yield from _folder("working folder", place.absolute(), least, good, advice)


def _temporary_files() -> Iterator[Finding]:
    check = "temporary files"
    try:
        place = Path(tempfile.gettempdir())
    except FileNotFoundError:
        yield _host.fault(
            check,
            OutputError,
            "there is no folder for temporary files that can be written to",
            advice="let TMPDIR name one",
        )
        return
    advice = "let TMPDIR name another folder"
    yield from _folder(check, place, _LEAST_TEMPORARY, _LEAST_TEMPORARY, advice)


def _folder(check: str, place: Path, least: int, good: int, advice: str) -> Iterator[Finding]:
    """Whether a folder, there or not, can be written to and has room.

    Args:
        check: what is looked at.
        place: the folder.
        least: bytes that have to be free, or it is a fault.
        good: bytes that should be.
        advice: what to do where it cannot be written to.
    """
    there = _nearest(place)
    if not there.is_dir():
        what = f"{place}: {there} is no folder"
        yield _host.fault(check, OutputError, what, advice=advice)
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield _host.fault(check, OutputError, f"{there} cannot be written to", advice=advice)
        return
    free = shutil.disk_usage(there).free
    what = f"{place}: {free / 1e9:,.1f} GB are free"
    if free >= good:
        yield _host.ok(check, what)
        return
    line, words = None, f"free some space there, or {advice}"
    if check == "cache" and place.is_dir():
        line = command("cache", "clean", "--older-than", "30d")
    if free < least:
        what = f"{what}, {least / 1e9:,.1f} GB are needed"
        yield _host.fault(check, OutputError, what, run=line, advice=words)
    else:
        what = f"{what}, {good / 1e9:,.1f} GB are a good measure"
        yield _host.warning(check, what, run=line, advice=words)


def _nearest(place: Path) -> Path:
    """The first part of a path, from its end, that is there."""
    whole = place.absolute()
    return next(part for part in (whole, *whole.parents) if os.path.lexists(part))


def _memory() -> Iterator[Finding]:
    free = free_memory()
    what = f"{free / 1e9:,.1f} GB of memory are free"
    if free < _GOOD_MEMORY:
        yield _host.warning(
            "memory",
            f"{what}: large networks may not convert, nor several files compile at once",
            advice=f"end other programs, and build with {command('build', '--jobs', 1)}",
        )
    else:
        yield _host.ok("memory", what)


# --- bundles -----------------------------------------------------------------------------------


def _whole(board: Board) -> bool:
    try:
        Bundle.load(bundle.bundle_path(board))
    except BundleError:
        return False
    return True


def bundle_checks(board: Board | None) -> Iterator[Finding]:
    """The bundles of a board, or of all shipped ones that have been built in this folder."""
    for one in [board] if board else map(load_board, board_names()):
        for stock in (False, True):
            place = bundle.bundle_path(one, stock=stock)
            if place.exists() or (board is not None and not stock):
                yield _bundle(one, place, stock=stock)


def _bundle(board: Board, place: Path, *, stock: bool) -> Finding:
    check = f"bundle {place.name}"
    line = build_command(board, place, stock=stock)
    try:
        found = Bundle.load(place)
    except BundleError as error:
        other = place.exists() and not (place / bundle.MANIFEST).is_file()
        if other and not (place.is_dir() and not any(place.iterdir())):
            # What is no bundle is never replaced.
            line = f"mv {quoted(str(place))} {quoted(f'{place}.old')} && {line}"
        return _host.fault(check, BundleError, error.what, run=line)
    if reason := _drift(found, board, stock=stock):
        what = f"{place} was built {reason}: a build now would make another one"
        return _host.warning(check, what, run=line)
    manifest = found.manifest
    return _host.ok(check, f"{place} is whole: {manifest.isa}, {manifest.march}")


def _drift(found: Bundle, board: Board, *, stock: bool) -> str | None:
    """In what a bundle is another than what would be built now; ``None`` if it is not."""
    manifest = found.manifest
    if (manifest.isa, manifest.march) != (board.isa, board.march):
        return f"for {manifest.isa}, {manifest.march}, not for what the board's file says now"
    try:
        if bundle.patch_hashes(bundle.patch_series(stock=stock)) != manifest.patches:
            return "with other patches than those that are here"
        recipe = bundle.recipe_for(board, stock=stock)
    except DeployError:  # no compiler: what it would make is not known
        return None
    if bundle.bundle_key(recipe, board) == manifest.key:
        return None
    if recipe.compiler.version != manifest.compiler:
        return f"by another compiler ({manifest.compiler})"
    return "from other sources, flags or programs of ours"
