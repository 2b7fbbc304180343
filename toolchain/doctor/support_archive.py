"""What is sent to whoever helps: findings, versions, facts, the board's file and the ends of logs.

Every text in it has gone through :class:`toolchain.doctor.scrub.Scrubber`, names of files as well.
The archive itself says nothing of its maker either: no user, no group, no name of a file here.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import os
import platform
import shlex
import stat
import tarfile
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import toolchain
from toolchain import children
from toolchain.board import emulator
from toolchain.build import compiler, ninja, qemu_user
from toolchain.build.stages import log_folder
from toolchain.doctor.examination import Examination
from toolchain.doctor.finding import Diagnosis
from toolchain.doctor.known_names import known_names
from toolchain.doctor.scrub import Scrubber
from toolchain.errors import BoardConfigError, BuildError, DeployError, OutputError
from toolchain.formats.input_file import read_limited
from toolchain.formats.json_text import to_json
from toolchain.formats.text_file import read_text
from toolchain.hardware.board_file import Board
from toolchain.hardware.facts import Isa
from toolchain.resources import boards_dir
from toolchain.storage.files import STDOUT, check_writable, write_whole

FOLDER = "tileskip-support"
"""The folder in the archive that everything is in."""
_SUFFIXES = (".tar.gz", ".zip")
_LOGS = 8
"""As many logs, those that were written last."""
_LOG_BYTES = 256 << 10
_LOG_LINES = 200
_LINE_LETTERS = 2000
_VERSION_S = 10.0
_OS_RELEASE = Path("/etc/os-release")


def check_archive(path: Path) -> None:
    """Make sure that an archive can be written, before the work whose result it gets.

    Raises:
        OutputError: it cannot, or its name does not say of what kind it is.
    """
    if path.is_dir():
        raise OutputError(
            f"{path}: is a folder, and --bundle names the archive that doctor writes",
            hint="bundles of a runtime are looked for in the folder build; give the name of a "
            f"file: {path.name or 'support'}{_SUFFIXES[0]}",
        )
    is_file = path.is_file() or not path.exists()
    if path != STDOUT and is_file and not path.name.lower().endswith(_SUFFIXES):
        raise OutputError(
            f"{path}: the name of an archive ends in {' or in '.join(_SUFFIXES)}",
            hint=f"give it one of these: {path}{_SUFFIXES[0]}",
        )
    check_writable(path)


def write_archive(path: Path, examination: Examination) -> dict[str, int]:
    """Write the archive; it is whole, or is not there.

    Args:
        path: ``.zip`` or ``.tar.gz``; ``-`` gets the latter.
        examination: one that has come to its end.

    Returns:
        Its files' names and bytes.

    Raises:
        OutputError: it cannot be written.
    """
    files = contents(examination)
    packed = _zip(files) if path.name.lower().endswith(".zip") else _tar(files)
    write_whole(path, packed)
    return {name: len(data) for name, data in files.items()}


def look_line(path: Path) -> str:
    """The line that shows all of an archive."""
    file = shlex.quote(str(path))
    if path.name.lower().endswith(".zip"):
        return f"unzip -p {file} | less"
    return f"tar -xzOf {file} | less"


def contents(examination: Examination) -> dict[str, bytes]:
    """The archive's files, by name: texts in UTF-8 without who and where."""
    board = examination.board
    scrubber = Scrubber(known_names(board, examination.host, examination.target))
    found = {
        "findings.json": _json(_findings(examination.diagnosis, scrubber)),
        "versions.json": _json(scrubber.value(_versions(board))),
    }
    if examination.facts is not None:
        facts = scrubber.value(examination.facts.model_dump(mode="json"))
        found["board-facts.json"] = _json(facts)
    if board is not None and (text := _board_file(board)) is not None:
        found["board-file.toml"] = scrubber.text(text).encode()
    for log in _newest_logs():
        if (text := _end_of(log)) is not None:
            found[f"logs/{_log_name(log, scrubber)}"] = _last_lines(scrubber.text(text))
    return found


def _findings(diagnosis: Diagnosis, scrubber: Scrubber) -> Diagnosis:
    """The same document; what stands in it by itself is ours, and stays as it is."""
    findings = [
        one.model_copy(
            update={
                "check": scrubber.text(one.check),
                "what": scrubber.text(one.what),
                "fix": None if one.fix is None else scrubber.text(one.fix),
            }
        )
        for one in diagnosis.findings
    ]
    board = None if diagnosis.board is None else scrubber.text(diagnosis.board)
    return diagnosis.model_copy(update={"findings": findings, "board": board})


def _json(document: Any) -> bytes:
    return to_json(document).encode() + b"\n"


# --- versions ------------------------------------------------------------------------------------


def _versions(board: Board | None) -> dict[str, Any]:
    return {
        "tool": toolchain.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "machine": platform.machine(),
        "distribution": _distribution(),
        "programs": _programs(board),
        "packages": _packages(),
    }


def _distribution() -> str | None:
    with suppress(OSError, ValueError):
        for line in read_limited(_OS_RELEASE, 1 << 16).decode(errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name == "PRETTY_NAME":
                return " ".join(shlex.split(value))
    return None


def _programs(board: Board | None) -> dict[str, str | None]:
    """The first line that each program says of itself; ``None`` for one that is not there."""
    tools: set[str] = {*emulator.NEEDED_TOOLS, *qemu_user.needed_tools("aarch64")}
    tools |= set(ninja.OPTIONAL_TOOLS)
    isas: tuple[Isa, ...] = get_args(Isa) if board is None else (board.isa,)
    for isa in isas:
        tools |= set(compiler.needed_tools(isa))
    found = {tool: _says([tool, "--version"]) for tool in sorted(tools)}
    return found | {"ssh": _says(["ssh", "-V"])}


def _says(line: list[str]) -> str | None:
    try:
        done = children.run(line, limit=_VERSION_S, fault=BuildError)
    except (OSError, BuildError):
        return None
    said = [text for text in (done.stdout + done.stderr).splitlines() if text.strip()]
    return said[0].strip() if said else None


def _packages() -> dict[str, str]:
    found = dict[str, str]()
    for package in importlib.metadata.distributions():
        with suppress(KeyError, OSError, ValueError):  # a folder that was half removed
            found[str(package.metadata["Name"])] = str(package.version)
    return dict(sorted(found.items()))


# --- files -------------------------------------------------------------------------------------


def _board_file(board: Board) -> str | None:
    given = Path(board.given)
    path = given if given.suffix == ".toml" else boards_dir() / f"{board.given}.toml"
    try:
        return read_text(path, BoardConfigError)
    except DeployError:  # it was there a moment ago
        return None


def _newest_logs() -> list[Path]:
    found = list[tuple[float, Path]]()
    with suppress(OSError):
        for path in log_folder().iterdir():
            with suppress(OSError):
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode):
                    found.append((facts.st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)[:_LOGS]]


def _end_of(log: Path) -> str | None:
    """The last part of a file, from the beginning of a line on."""
    try:
        number = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        facts = os.fstat(number)
        if not stat.S_ISREG(facts.st_mode):
            return None
        begin = max(0, facts.st_size - _LOG_BYTES)
        data = os.pread(number, _LOG_BYTES, begin)
    except OSError:
        return None
    finally:
        os.close(number)
    text = data.decode("utf-8", errors="replace")
    return text.partition("\n")[2] if begin else text


def _last_lines(text: str) -> bytes:
    """Cut after names were taken out: half of one might not be known for what it is."""
    lines = text.splitlines()[-_LOG_LINES:]
    shown = (line if len(line) <= _LINE_LETTERS else f"{line[:_LINE_LETTERS]}..." for line in lines)
    return "".join(f"{line}\n" for line in shown).encode()


def _log_name(log: Path, scrubber: Scrubber) -> str:
    """A name without folders; placeholders have letters that some systems take in no name."""
    name = scrubber.text(log.name).replace("/", "-")
    return "".join(letter for letter in name if letter.isalnum() or letter in "._-") or "log"


# --- the archive itself ------------------------------------------------------------------------


def _tar(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def _zip(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(f"{FOLDER}/{name}", time.gmtime()[:6])
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return stream.getvalue()
