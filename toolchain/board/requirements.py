"""Whether a bundle's programs can run on a board, told before any of them is started there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

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
    build = build or command("build", "--board", bundle.manifest.board)
    found = list(compare_needs(Needs.of(bundle, files), system, build=build))
    lacks = [one for one in found if one.is_fault]
    return Findings(
        tuple(one.what for one in lacks),
        tuple(dict.fromkeys(one.hint for one in lacks if one.hint)),
        tuple(one.what for one in found if not one.is_fault),
    )


Subject = Literal["machine", "cores", "userland", "glibc"]
"""What of a board is compared: its instruction set, the features of its cores, how many bits its
own programs have, and its C library."""


@dataclass(frozen=True)
class Needs:
    """What programs need of a board."""

    isa: Isa
    march: str
    """What they were compiled for."""
    hwcap: tuple[str, ...]
    """The features of its cores."""
    files: tuple[str, ...]
    """What messages call them."""
    floors: Mapping[str, str]
    """The oldest glibc that each of them loads with; those that need none are not in it."""

    @classmethod
    def of(cls, bundle: Bundle, files: Sequence[str]) -> Needs:
        """What files of a bundle need, as its manifest says."""
        manifest = bundle.manifest
        floors = {
            name: record.elf.glibc_floor
            for name in files
            if (record := manifest.files[name]).elf and record.elf.glibc_floor
        }
        return cls(manifest.isa, manifest.march, manifest.hwcap, tuple(files), floors)


@dataclass(frozen=True)
class Difference:
    """One thing that a board lacks or does not tell."""

    subject: Subject
    what: str
    is_fault: bool
    hint: str | None = None
    """What to do about a fault."""


def compare_needs(needs: Needs, system: System, *, build: str) -> Iterator[Difference]:
    """Compare what programs need with what a board has, see :func:`compare`."""
    if system.machine not in isa_facts(needs.isa).runs_on:
        fault = f"it was built for {needs.isa}, the board is a machine of type {system.machine}"
        yield Difference("machine", fault, True, _other_machine(system.machine))
        return
    features = _features(needs.isa, system)
    one = len(needs.files) == 1
    if features is None:
        said = "does not tell what its cores can do, so that was not compared"
        yield Difference("cores", said, False)
    elif not features:
        yield Difference(
            "cores",
            "its programs are 32-bit ones, which the board's kernel does not run",
            True,
            "build for its 64-bit system, with --board rpi4 for example",
        )
    elif missing := [name for name in needs.hwcap if name not in features]:
        yield Difference(
            "cores",
            f"{_joined(needs.files)} {'needs' if one else 'need'} cores with "
            f"{' '.join(missing)}, the board's have {' '.join(sorted(features))}",
            True,
            f"lower march in the board's file (now {needs.march}), then run: {build}",
        )
    yield from _compare_libraries(needs, system, build)


def _compare_libraries(needs: Needs, system: System, build: str) -> Iterator[Difference]:
    floors = needs.floors
    libraries = _joined(list(floors))
    if not floors:
        return
    if system.bits not in (None, isa_facts(needs.isa).bits):
        said = (
            f"its system's programs are {system.bits}-bit ones: {libraries} will not load in them"
        )
        yield Difference("userland", said, False)
        return
    if system.glibc is None:
        said = f"has no glibc, or does not tell: {libraries} may not load there"
        yield Difference("glibc", said, False)
        return
    for name, floor in floors.items():
        if _older(system.glibc, floor):
            yield Difference(
                "glibc",
                f"{name} needs glibc {floor}, the board has {system.glibc}",
                True,
                f'put glibc = "{system.glibc}" into the board\'s file, then run: {build}',
            )


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
