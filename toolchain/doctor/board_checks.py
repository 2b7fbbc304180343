"""Whether a board can run what is built for it: its cores, its system, and room for files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from toolchain.board import push
from toolchain.board.connection import TimeUp
from toolchain.board.private_folder import OpenPlaceError, require_private
from toolchain.board.requirements import Needs, Subject, compare_needs
from toolchain.board.system import System
from toolchain.build.bundle import Bundle, bundle_path
from toolchain.build.compiler import find_compiler
from toolchain.build.hwcap import required_features
from toolchain.build.stages import DELEGATE, RUNNER
from toolchain.doctor.finding import Finding, Findings
from toolchain.doctor.patient import Patient
from toolchain.errors import BoardError, BuildError, BundleError, MissingToolError
from toolchain.hardware.board_file import Board, board_names, load_board
from toolchain.hints import command, quoted

Check = Callable[[Patient], Iterator[Finding]]

_MODELS_ROOM = 200 << 20
"""Bytes for a few networks, besides the runtime."""
_RUNTIME_ROOM = 32 << 20
"""Bytes for a runtime that is not built yet, whose size is not known."""
_GOOD_MEMORY_KIB = 128 << 10
"""For networks of the size of MobileNet; ResNet18 takes 60 MiB of weights."""
_MOUNTS = "/proc/mounts"
_board = Findings("board")

# The nearest folder that is there, whether it can be written to, and its disk.
_FOLDER = r"""
place=$1
while [ ! -e "$place" ]; do
  case $place in
    /*/*) place=${place%/*} ;;
    /*) place=/ ;;
    */*) place=${place%/*} ;;
    *) place=. ;;
  esac
done
printf '%s\n' "$place"
if [ ! -d "$place" ]; then echo file
elif [ -w "$place" ] && [ -x "$place" ]; then echo writable
else echo closed; fi
df -Pk "$place"
"""
_STORE = r"""
CDPATH= cd -- "$1/bundles" 2>/dev/null || exit 0
for runner in */tileskip-run; do
  folder=${runner%/*}
  if [ -f "$runner" ]; then
    size=$(du -sk "$folder" 2>/dev/null)
    printf '%s %s\n' "${size%%[!0-9]*}" "$folder"
  fi
done
"""


# --- programs ----------------------------------------------------------------------------------


def _programs(patient: Patient) -> Iterator[Finding]:
    own, board = patient.system(), patient.board
    needs, compared = _needs(patient)
    build = command("build", "--board", board.given)
    found = {one.subject: one for one in compare_needs(needs, own, build=build)}
    fine: dict[Subject, str] = {
        "machine": " ".join(filter(None, (own.machine, own.kernel))),
        "cores": _cores(own) or "its cores can what is needed",
        "userland": f"its own programs are {own.bits or '?'}-bit ones",
        "glibc": f"glibc {own.glibc}" if own.glibc else "no glibc, and nothing needs one",
    }
    if other := found.get("machine"):
        yield _board.fault("machine", BoardError, other.what, advice=other.hint)
        rest = ("cores", "userland", "glibc", "board file")
        yield from _board.all_unknown(rest, "was not compared: it is another machine")
        return
    for subject, said in fine.items():
        told = found.get(subject)
        if told is None:
            yield from _fine(patient, subject, said, compared=compared)
        elif told.is_fault:
            yield _board.fault(subject, BoardError, told.what, advice=told.hint)
        elif subject == "userland":
            yield _board.warning(subject, told.what, advice=_userland_advice(board))
        else:
            yield _board.unknown(subject, told.what)
    yield from _core(patient)


def _fine(patient: Patient, subject: Subject, said: str, *, compared: bool) -> Iterator[Finding]:
    own = patient.system()
    if subject == "cores" and not compared:
        march = f'march = "{patient.board.march}"'
        what = f"{said}; what {march} needs of them is not known without a compiler"
        yield _board.unknown(subject, what)
    elif subject == "userland" and own.bits == 32 and patient.board.isa == "aarch64":
        what = (
            "its system's programs are 32-bit ones under a 64-bit kernel: the runner works, "
            "libraries of a 64-bit bundle do not load in them"
        )
        yield _board.warning(subject, what, advice=_userland_advice(patient.board))
    else:
        yield _board.ok(subject, said)


def _userland_advice(board: Board) -> str:
    other = "rpi3-armv7" if board.isa == "aarch64" else "rpi4"
    return (
        f"where programs of that system are to load the libraries, build with --board {other}, or "
        "a board file like it"
    )


def _needs(patient: Patient) -> tuple[Needs, bool]:
    """What is to run there needs, and whether the cores' features are among it."""
    board = patient.board
    if patient.bundle is not None:
        return Needs.of(patient.bundle, [RUNNER, DELEGATE]), True
    name = f"what is built for {board.name}"
    floors = {name: board.glibc} if board.glibc else {}
    try:
        features = required_features(find_compiler(board.isa), board.march)
    except (MissingToolError, BuildError):  # both are findings of this machine
        return Needs(board.isa, board.march, (), (name,), floors), False
    return Needs(board.isa, board.march, features, (name,), floors), True


def _core(patient: Patient) -> Iterator[Finding]:
    """Whether the board's file is that of these cores, by which masks and plans are made."""
    own, board = patient.system(), patient.board
    known = {name.casefold() for name in own.cores if not name.startswith("implementer")}
    check = "board file"
    if not known or board.isa == "x86-64":  # kernels tell no core there that a file would name
        return
    if board.cpu.casefold() in known:
        yield _board.ok(check, f"the file of board '{board.name}' is for such cores")
        return
    same = [
        one.name
        for one in map(load_board, board_names())
        if one.cpu.casefold() in known and one.isa == board.isa and one.connection == "ssh"
    ]
    yield _board.warning(
        check,
        f"it has {_cores(own)}, and the file of board '{board.name}' is for a {board.cpu}: tiles "
        "and estimates would be of another core",
        advice=f"name what it is: --board {same[0]} for example"
        if same
        else "write a board file for it: docs/how-to/add-a-board.md",
    )


def _cores(own: System) -> str:
    return ", ".join(f"{count} x {name}" for name, count in own.cores.items())


def _hashing(patient: Patient) -> Iterator[Finding]:
    try:
        patient.connection.sha256s([])
    except TimeUp:  # says nothing of what is there
        raise
    except BoardError as error:
        yield _board.told("hashing", error, "fault", name=patient.connection.name)
    else:
        yield _board.ok("hashing", "copies are compared by SHA-256")


# --- room --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """Where files go on the board."""

    there: str
    """The nearest folder that is there."""
    state: str
    """``writable``, ``closed``, ``file``."""
    free: int | None
    """Bytes."""
    mount: str | None
    """Where its file system is mounted."""


def _folder(patient: Patient) -> Iterator[Finding]:
    directory = patient.board.ssh.directory
    place = _place(patient.ask(_FOLDER, directory))
    where = "name another folder as [ssh] directory = in the board's file"
    if place is None:
        yield _board.unknown("folder", f"it does not tell where {directory} would be")
        return
    if place.state != "writable":
        said = "is no folder" if place.state == "file" else "cannot be written to"
        what = f"{_shown(place.there)} {said}, so {directory} cannot be made there"
        yield _board.fault("folder", BoardError, what, advice=where)
    elif "noexec" in _mount_options(patient, place.mount):
        what = f"{directory} is on {place.mount}, which is mounted noexec: programs do not start"
        line = patient.line(f"{{sudo}}mount -o remount,exec {quoted(place.mount or '/')}")
        yield _board.fault("folder", BoardError, what, run=line)
    else:
        yield from _private(patient)
    yield _disk(patient, place)


def _private(patient: Patient) -> Iterator[Finding]:
    directory = patient.board.ssh.directory
    if patient.board.ssh.shared:
        yield _board.ok("folder", f"the folder {directory} is shared, as the board's file says")
        return
    runner = posixpath.join(directory, "bundles", "any", RUNNER)
    try:
        require_private(patient.connection, directory, [runner])
    except OpenPlaceError as error:
        what = error.what.removeprefix(f"{patient.connection.name}: ")
        line = patient.line(error.mend, at_home=True) if error.mend else None
        yield _board.fault("folder", BoardError, what, run=line, advice=error.hint)
    else:
        yield _board.ok("folder", f"the folder {directory} can be written to, by its user alone")


def _place(text: str) -> _Place | None:
    lines = text.splitlines()
    if len(lines) < 2 or lines[1] not in ("writable", "closed", "file"):
        return None
    free, mount = None, None
    # Names of devices may have blanks: what is sure are three numbers, a share and a path.
    found = re.search(r"\s(\d{1,15})\s+(\d{1,15})\s+(\d{1,15})\s+\S+%\s+(/.*)$", lines[-1])
    if found and len(lines) > 2:
        free, mount = int(found[3]) << 10, found[4]
    return _Place(lines[0], lines[1], free, mount)


def _mount_options(patient: Patient, mount: str | None) -> list[str]:
    text = patient.read(_MOUNTS)
    options: list[str] = []
    for line in text.splitlines():
        fields = line.split(" ")
        if len(fields) > 3 and _unescaped(fields[1]) == mount:
            options = fields[3].split(",")  # the last one lies above others
    return options


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _shown(path: str) -> str:
    return "its home" if path == "." else path


def _disk(patient: Patient, place: _Place) -> Finding:
    patient.free = place.free
    if place.free is None:
        return _board.unknown("disk", "it does not tell how much of its disk is free")
    manifest = None if patient.bundle is None else patient.bundle.manifest
    needed = _RUNTIME_ROOM
    if manifest is not None:
        needed = sum(manifest.files[name].bytes for name in (RUNNER, DELEGATE)) + (1 << 20)
    what = f"{place.free / 1e6:,.0f} MB of {place.mount} are free"
    line = patient.line("du -xk . | sort -n | tail", at_home=True)
    shown = "free some space, the command shows what is large"
    if place.free < needed:
        what = f"{what}, and the runtime needs {needed / 1e6:,.0f} MB: {shown}"
        return _board.fault("disk", BoardError, what, run=line)
    if place.free < needed + _MODELS_ROOM:
        what = f"{what}, too little for large networks: {shown}"
        return _board.warning("disk", what, run=line)
    return _board.ok("disk", what)


def _memory(patient: Patient) -> Iterator[Finding]:
    facts = patient.facts()
    free = facts.memory_available_kib
    if free is None:
        yield _board.unknown("memory", "it does not tell how much memory is free")
    elif free < _GOOD_MEMORY_KIB:
        yield _board.warning(
            "memory",
            f"{free / 1024:,.0f} MiB of memory are free, and large networks may be ended: end "
            "other programs, the command shows which take it",
            run=patient.line("ps -eo rss,args | sort -n | tail"),
        )
    else:
        yield _board.ok("memory", f"{free / 1024:,.0f} MiB of memory are free")


# --- what earlier commands left ------------------------------------------------------------------


def _old_runners(patient: Patient) -> Iterator[Finding]:
    """Runners of bundles that are not those of today: nothing here starts them again."""
    check = "old runners"
    text = patient.ask(_STORE, patient.board.ssh.directory)
    lines = [line.split(" ") for line in text.split("\n")]
    there = {
        words[1]: int(words[0] or 0)
        for words in lines
        if len(words) == 2
        and re.fullmatch("[0-9a-f]{16}", words[1])
        and re.fullmatch("[0-9]{0,12}", words[0])
    }
    current = _current(patient.board)
    if there and not current:
        what = f"{_runners(len(there))} there, and no bundle here to compare with"
        yield _board.ok(check, what)
        return
    old = {name: size for name, size in there.items() if name not in current}
    if not old:
        yield _board.ok(check, "no runner of an earlier bundle is there")
        return
    folder = posixpath.join(patient.board.ssh.directory, "bundles")
    paths = " ".join(quoted(posixpath.join(folder, name)) for name in old)
    yield _board.warning(
        check,
        f"{_runners(len(old))} there that came from earlier bundles, "
        f"{sum(old.values()) / 1024:,.0f} MiB: nothing starts them any more",
        run=patient.line(f"rm -r -- {paths}", at_home=True),
    )


def _runners(count: int) -> str:
    return "1 runner is" if count == 1 else f"{count} runners are"


def _current(board: Board) -> set[str]:
    """The names of the folders that today's bundles have on a board."""
    found = set[str]()
    for stock in (False, True):
        try:
            bundle = Bundle.load(bundle_path(board, stock=stock))
        except BundleError:
            continue
        remote = push.bundle_uploads(board, bundle)[0].remote
        found.add(posixpath.basename(posixpath.dirname(remote)))
    return found


CHECKS: Mapping[tuple[str, ...], Check] = {
    ("machine", "cores", "userland", "glibc", "board file"): _programs,
    ("hashing",): _hashing,
    ("folder", "disk"): _folder,
    ("memory",): _memory,
    ("old runners",): _old_runners,
}
"""The checks, by what each looks at."""
