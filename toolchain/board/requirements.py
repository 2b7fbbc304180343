"""Whether a bundle's programs can run on a board, told before any of them is started there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.board.connection import Connection
from toolchain.board.system import System, read_system
from toolchain.build.bundle import Bundle
from toolchain.build.glibc import parse_version
from toolchain.errors import BoardError
from toolchain.hardware.facts import Isa, isa_facts
from toolchain.hints import command
from toolchain.progress import Progress


@dataclass(frozen=True)
class Findings:
    """What was compared, and what came of it."""

    faults: tuple[str, ...]
    """Each says what a file needs and what the board has."""
    hints: tuple[str, ...]
    """What to do about the faults."""
    notes: tuple[str, ...]
    """What is no fault, but good to know."""


def require(
    connection: Connection,
    bundle: Bundle,
    files: Sequence[str],
    report: Progress,
    *,
    build: str | None = None,
) -> None:
    """Refuse a bundle that the board cannot run; ask it once, tell every fault.

    Args:
        connection: the board.
        bundle: what is to be pushed there.
        files: the names of its files that are.
        report: is told what could not be compared.
        build: the line that builds the bundle.

    Raises:
        BoardError: another instruction set, a missing feature of the cores, or an older glibc.
        ConnectionFailed: the board went away.
    """
    build = build or command("build", "--board", bundle.manifest.board)
    found = compare(bundle, files, read_system(connection), build=build)
    for note in found.notes:
        report.note(f"{connection.name}: {note}")
    if found.faults:
        raise BoardError(
            f"{connection.name}: {bundle.path} cannot run there: {'; '.join(found.faults)}",
            hint=_joined_hints(found.hints, build),
        )


def compare(
    bundle: Bundle, files: Sequence[str], system: System, *, build: str | None = None
) -> Findings:
    """Compare what a bundle's files need, as its manifest says, with what a board has.

    Args:
        bundle: the bundle.
        files: the names of its files that are to be pushed.
        system: the board's.
        build: the line that builds the bundle, for hints.
    """
    manifest = bundle.manifest
    build = build or command("build", "--board", manifest.board)
    if system.machine not in isa_facts(manifest.isa).runs_on:
        fault = f"it was built for {manifest.isa}, the board is a machine of type {system.machine}"
        return Findings((fault,), (_other_machine(system.machine),), ())
    faults, hints, notes = [], [], []
    features = _features(manifest.isa, system)
    if features is None:
        notes.append("does not tell what its cores can do, so that was not compared")
    elif not features:
        faults.append("its programs are 32-bit ones, which the board's kernel does not run")
        hints.append("build for its 64-bit system, with --board rpi4 for example")
    elif missing := [name for name in manifest.hwcap if name not in features]:
        faults.append(
            f"{_joined(files)} {'needs' if len(files) == 1 else 'need'} cores with "
            f"{' '.join(missing)}, the board's have {' '.join(sorted(features))}"
        )
        hints.append(f"lower march in the board's file (now {manifest.march}), then run: {build}")
    floors = {
        name: record.elf.glibc_floor
        for name in files
        if (record := manifest.files[name]).elf and record.elf.glibc_floor
    }
    old = {name: floor for name, floor in floors.items() if _older(system.glibc, floor)}
    if not floors:
        pass
    elif system.bits not in (None, isa_facts(manifest.isa).bits):
        notes.append(
            f"its system's programs are {system.bits}-bit ones: {_joined(list(floors))} will not "
            "load in them"
        )
    elif system.glibc is None:
        notes.append(f"has no glibc, or does not tell: {_joined(list(floors))} may not load there")
    elif old:
        faults += [
            f"{name} needs glibc {floor}, the board has {system.glibc}"
            for name, floor in old.items()
        ]
        hints.append(f'put glibc = "{system.glibc}" into the board\'s file, then run: {build}')
    return Findings(tuple(faults), tuple(hints), tuple(notes))


def _joined_hints(hints: Sequence[str], build: str) -> str:
    """One sentence with the line to run at its end, once."""
    last = f", then run: {build}"
    parts = [hint.removesuffix(last) for hint in hints]
    return "; ".join(parts) + (last if any(hint.endswith(last) for hint in hints) else "")


def _features(isa: Isa, system: System) -> frozenset[str] | None:
    """What programs of ``isa`` find there; ``None``: not known; empty: they do not run at all."""
    if isa == "armv7" and system.machine == "aarch64":
        if system.features_arm32 is None:
            # Its own programs are 32-bit ones: what they were told in HWCAP is what counts.
            return system.features if system.bits == 32 else None
        return system.features_arm32
    return system.features or None


def _older(have: str | None, floor: str) -> bool:
    return have is not None and parse_version(have) < parse_version(floor)


def _other_machine(machine: str) -> str:
    if machine in isa_facts("armv7").runs_on:
        board = "rpi4" if machine == "aarch64" else "rpi3-armv7"
        return f"take a board file of that instruction set: --board {board} for example"
    return "name the board that it is with --board"


def _joined(names: Sequence[str]) -> str:
    return " and ".join(names)
