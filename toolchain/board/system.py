"""What a board's system says of itself: its machine, cores, features, HWCAP and glibc."""

from __future__ import annotations

import re
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args
from weakref import WeakKeyDictionary

from toolchain.board.connection import COMMAND_S, Connection, TimeUp
from toolchain.errors import BoardError
from toolchain.foreign_text import last_line, shortened
from toolchain.hardware.facts import Isa, core_name, isa_facts

TELL_S = 10.0
"""Seconds that a program may take there which tells one fact."""
AT_HWCAP, AT_HWCAP2 = 16, 26  # <elf.h>
_AT_PAGESZ = 6

_LOADERS = " ".join(isa_facts(isa).loader for isa in get_args(Isa))
_GLIBC = f"""\
getconf GNU_LIBC_VERSION 2>/dev/null || for loader in {_LOADERS}; do
  if [ -e "$loader" ]; then "$loader" --version; break; fi
done
"""
# One round trip. The shell keeps nothing that uname prints, for that may have no end. The last part
# asks a 64-bit Arm kernel about its 32-bit side: it refuses the personality if its cores have none,
# and else names their features as a 32-bit kernel does.
_SCRIPT = f"""\
mark=$1
part() {{ printf '%s%s\\n' "$mark" "$1"; }}
part machine; uname -m 2>&1; status=$?
part status; echo $status
part kernel; uname -s -r
part cpuinfo; cat /proc/cpuinfo
part auxv; cat /proc/self/auxv
part glibc
{_GLIBC}if uname -m | head -c 64 | grep -q "^aarch64"; then
  part arm32; linux32 cat /proc/cpuinfo 2>&1; echo "exit $?"
fi
"""


@dataclass(frozen=True)
class System:
    """What decides whether a program can run; what the system does not tell is ``None``."""

    machine: str
    """As ``uname -m``."""
    features: frozenset[str]
    """Of the first core, in the kernel's words; empty if it does not say."""
    features_arm32: frozenset[str] | None
    """The same for 32-bit programs on a 64-bit Arm kernel; empty if it runs none."""
    glibc: str | None
    bits: int | None
    """Of the system's own programs, 32 or 64: under a 64-bit kernel they may be either."""
    kernel: str | None = None
    """``Linux 6.1.0``."""
    cores: Mapping[str, int] = field(default_factory=dict)
    """How many there are of each kind."""
    listed: tuple[str, ...] = ()
    """Those of ``features`` that ``/proc/cpuinfo`` lists, in its order."""
    hwcap: int | None = None
    hwcap2: int | None = None


_known: WeakKeyDictionary[Connection, System] = WeakKeyDictionary()


def read_system(connection: Connection) -> System:
    """Ask a board's system, once a connection; runs only programs that every Linux has.

    Raises:
        BoardError: it does not tell its machine, without which nothing can be compared.
        ConnectionFailed: the board went away.
    """
    if connection not in _known:
        _known[connection] = _ask(connection)
    return _known[connection]


def _ask(connection: Connection) -> System:
    mark = secrets.token_hex(12)
    result = connection.run(["sh", "-c", _SCRIPT, "sh", mark], check=False)
    parts: dict[str, bytes] = {}
    for piece in result.stdout.split(mark.encode())[1:]:
        name, _, data = piece.partition(b"\n")
        parts[name.decode(errors="replace")] = data
    printed = parts.get("machine", b"").decode(errors="replace")
    status = parts.get("status", b"").decode(errors="replace").strip() or result.exit_code
    machine = shortened(printed.strip(), 64) if status == "0" else ""
    if not machine:
        said = last_line(printed) or last_line(result.stderr)
        raise BoardError(
            f"{connection.name}: does not tell what machine it is: uname -m: "
            f"{said or f'exit code {status}'}",
            hint="uname is in coreutils and in busybox: install one of them there",
        )
    bits, vector = parse_auxv(parts.get("auxv", b""))
    cores, listed = parse_cpuinfo(parts.get("cpuinfo", b"").decode(errors="replace"))
    return System(
        machine=machine,
        features=frozenset([*listed, *hwcap_names(machine, bits, vector.get(AT_HWCAP, 0))]),
        features_arm32=_arm32(parts.get("arm32")),
        glibc=parse_glibc(parts.get("glibc", b"").decode(errors="replace")),
        bits=bits,
        kernel=" ".join(parts.get("kernel", b"").decode(errors="replace").split()) or None,
        cores=cores,
        listed=tuple(listed),
        hwcap=vector.get(AT_HWCAP),
        hwcap2=vector.get(AT_HWCAP2),
    )


def parse_cpuinfo(text: str) -> tuple[dict[str, int], list[str]]:
    """Kinds of cores with their number, and the features of the first core."""
    cores: dict[str, int] = {}
    features: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        fields = {
            key.strip(): value.strip()
            for key, separator, value in (line.partition(":") for line in block.splitlines())
            if separator
        }
        if "processor" not in fields:
            continue
        # On 32-bit Arm "model name" is the architecture: the part's number says more.
        model = None if "CPU part" in fields else fields.get("model name")
        name = model or _part(fields)
        cores[name] = cores.get(name, 0) + 1
        features = features or (fields.get("Features") or fields.get("flags", "")).split()
    return cores, features


def parse_auxv(data: bytes) -> tuple[int | None, dict[int, int]]:
    """The auxiliary vector of a little-endian process: its word size in bits, and type -> value.

    The vector does not say how long its words are; the one of the page size tells.
    """
    for bits, pair in ((64, "<QQ"), (32, "<II")):
        step = struct.calcsize(pair)
        vector = dict(struct.iter_unpack(pair, data[: len(data) // step * step]))
        page = vector.get(_AT_PAGESZ, 0)
        if 4096 <= page <= 65536 and page & (page - 1) == 0:
            return bits, vector
    return None, {}


def hwcap_names(machine: str, bits: int | None, hwcap: int) -> list[str]:
    """The features that a process's AT_HWCAP shows; none for machines other than Arm."""
    if not machine.startswith(("aarch64", "arm")):
        return []
    table = isa_facts("aarch64" if bits == 64 else "armv7").hwcap
    return [name for name, bit in table.items() if hwcap >> bit & 1]


def parse_glibc(text: str) -> str | None:
    """The version in what ``getconf GNU_LIBC_VERSION`` or the dynamic linker's --version says."""
    found = re.search(r"(?:glibc|version|GLIBC)\D*?([0-9]{1,4}\.[0-9]{1,4})", text)
    return found[1] if found else None


def read_files(connection: Connection, paths: Sequence[str]) -> dict[str, bytes]:
    """Those of the files that can be read; one round trip for all."""
    return read_files_and_answer(connection, paths, [])[0]


def read_files_and_answer(
    connection: Connection, paths: Sequence[str], argv: Sequence[str]
) -> tuple[dict[str, bytes], bytes]:
    """Those of the files that can be read, and what a program prints; one round trip for all.

    Args:
        connection: the board.
        paths: the files.
        argv: the program, which need not be there, and its arguments; may be empty. One that
            hangs says nothing.
    """
    mark = secrets.token_hex(12)
    script = (
        'mark=$1; shift; while [ $# -gt 0 ] && [ "$1" != -- ]; do if [ -r "$1" ]; then '
        'printf "%s%s\\n" "$mark" "$1"; cat "$1" 2>/dev/null; fi; shift; done; '
        'if [ $# -gt 1 ]; then shift; printf "%s\\n" "$mark"; "$@" 2>/dev/null </dev/null; fi'
    )
    words = ["sh", "-c", script, "sh", mark, *paths, "--", *argv]
    try:
        result = connection.run(words, check=False, timeout=TELL_S if argv else COMMAND_S)
    except TimeUp:
        return read_files_and_answer(connection, paths, [])
    found: dict[str, bytes] = {}
    for piece in result.stdout.split(mark.encode())[1:]:
        name, _, data = piece.partition(b"\n")
        if data:
            found[name.decode(errors="replace")] = data
    return found, found.pop("", b"")


def _arm32(data: bytes | None) -> frozenset[str] | None:
    text = (data or b"").decode(errors="replace")
    _, features = parse_cpuinfo(text)
    if features:
        return frozenset(features)
    code = re.search(r"^exit ([0-9]{1,9})$", text, re.M)
    # 126, 127: there is no linux32, so nothing is known.
    return frozenset() if code and int(code[1]) not in (0, 126, 127) else None


def _part(fields: dict[str, str]) -> str:
    implementer, part = fields.get("CPU implementer", "?"), fields.get("CPU part", "?")
    if implementer == "0x41" and re.fullmatch(r"0x[0-9a-f]+", part):
        known = core_name(int(part, 16))
        if known:
            return known
    return f"implementer {implementer}, part {part}"
