"""Libraries that load on an older glibc than the compiler's: a stand-in for it at link time.

A shared library asks, symbol by symbol, for the version that the linker found: linked against glibc
2.36, ``pthread_create`` becomes ``pthread_create@GLIBC_2.34`` and loads nowhere below. But 2.36
still has the older versions of its symbols. So the linker is given libraries of the same names
that hold, of each symbol, the newest version that is no newer than wanted, and no code. What only
a newer glibc has is then missing when linking, not when loading; the few such functions that are
needed are in ``runtime_patch/glibc_compat.c``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerSymSection
from elftools.elf.sections import SymbolTableSection

from toolchain import children
from toolchain.build.compiler import Compiler
from toolchain.build.elf import opened
from toolchain.errors import BuildError

Version = tuple[int, ...]
MERGED: Version = (2, 34)
"""Since this version libpthread and libdl are part of libc, and empty."""
_PREFIX = "GLIBC_"
_HIDDEN = 0x8000
_NONSHARED = "libc_nonshared.a"


@dataclass(frozen=True, order=True)
class Symbol:
    """One version of a symbol that a library exports."""

    name: str
    version: Version
    """``(2, 34)`` of ``GLIBC_2.34``."""
    function: bool
    size: int
    """Bytes, if it is data."""


def parse_version(text: str) -> Version:
    """``2.34`` -> ``(2, 34)``.

    Raises:
        ValueError: it is not numbers with dots between.
    """
    return tuple(int(part) for part in text.split("."))


def exported(library: Path) -> tuple[str, list[Symbol]]:
    """A shared library's soname, and every public version of its symbols, old ones included.

    Raises:
        BuildError: it is no shared library with symbol versions.
    """
    with opened(library) as elf:
        table = elf.get_section_by_name(".dynsym")
        indices = elf.get_section_by_name(".gnu.version")
        definitions = elf.get_section_by_name(".gnu.version_d")
        dynamic = elf.get_section_by_name(".dynamic")
        if not (
            isinstance(table, SymbolTableSection)
            and isinstance(indices, GNUVerSymSection)
            and isinstance(definitions, GNUVerDefSection)
            and isinstance(dynamic, DynamicSection)
        ):
            raise BuildError(f"{library} is no C library with symbol versions")
        names = {entry["vd_ndx"]: next(aux).name for entry, aux in definitions.iter_versions()}
        sonames = [vars(tag)["soname"] for tag in dynamic.iter_tags("DT_SONAME")]
        found = []
        for number, symbol in enumerate(table.iter_symbols()):
            index = indices.get_symbol(number)["ndx"]
            version = names.get(index & ~_HIDDEN, "") if isinstance(index, int) else ""
            kind = symbol["st_info"]["type"]
            public = version.startswith(_PREFIX) and version[len(_PREFIX) :][:1].isdigit()
            if public and symbol["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS") and kind != "STT_TLS":
                number_of = parse_version(version.removeprefix(_PREFIX))
                is_function = kind in ("STT_FUNC", "STT_LOOS", "STT_GNU_IFUNC")
                found.append(Symbol(symbol.name, number_of, is_function, symbol["st_size"]))
        return str(sonames[0]), found


def newest(symbols: Iterable[Symbol], floor: Version) -> list[Symbol]:
    """Of each symbol the newest version that is not newer than ``floor``, sorted by name."""
    chosen: dict[str, Symbol] = {}
    for symbol in symbols:
        if symbol.version <= floor:
            known = chosen.get(symbol.name)
            if known is None or known.version < symbol.version:
                chosen[symbol.name] = symbol
    return [chosen[name] for name in sorted(chosen)]


def stand_in(compiler: Compiler, floor: str, folder: Path) -> Path:
    """Fill ``folder`` with link-time libraries of glibc ``floor``; give it to the linker with -L.

    Raises:
        BuildError: the compiler's C library is not glibc, or no stand-in can be linked.
    """
    wanted = parse_version(floor)
    folder.mkdir(parents=True, exist_ok=True)
    libc = _find(compiler, "libc.so.6")
    loader_name = _loader(libc)
    _link(compiler, folder / "libc-floor.so", *exported(libc), wanted)
    _link(compiler, folder / "libm.so", *exported(_find(compiler, "libm.so.6")), wanted)
    _link(compiler, folder / "ld-floor.so", *exported(_find(compiler, loader_name)), wanted)
    for name, soname in (("libpthread.so", "libpthread.so.0"), ("libdl.so", "libdl.so.2")):
        _link(compiler, folder / name, soname, [], wanted)
    # As glibc's own libc.so: what a library has to bring along itself comes from the archive.
    nonshared = _find(compiler, _NONSHARED)
    (folder / "libc.so").write_text(
        f"GROUP ( {folder / 'libc-floor.so'} {nonshared} AS_NEEDED ( {folder / 'ld-floor.so'} ) )\n"
    )
    return folder


def _find(compiler: Compiler, name: str) -> Path:
    said = children.run(
        [compiler.cc, f"-print-file-name={name}"], limit=children.LOOK_S, fault=BuildError
    ).stdout.strip()
    if not Path(said).is_absolute():
        raise BuildError(
            f"{compiler.cc} has no {name}, so no older glibc can be linked for",
            hint="take a compiler of a glibc system, or remove glibc = from the board's file",
        )
    return Path(said)


def _loader(libc: Path) -> str:
    with opened(libc) as elf:
        dynamic = elf.get_section_by_name(".dynamic")
        tags = dynamic.iter_tags("DT_NEEDED") if isinstance(dynamic, DynamicSection) else ()
        for tag in tags:
            return str(vars(tag)["needed"])
    raise BuildError(f"{libc} names no dynamic linker")


def _link(
    compiler: Compiler, path: Path, soname: str, symbols: Iterable[Symbol], floor: Version
) -> None:
    code, data, nodes = [".text"], [".bss"], dict[Version, list[str]]()
    for symbol in newest(symbols, floor):
        nodes.setdefault(symbol.version, []).append(symbol.name)
        kind = "%function" if symbol.function else "%object"
        lines = [f".globl {symbol.name}", f".type {symbol.name}, {kind}"]
        if symbol.function:
            code += [*lines, f"{symbol.name}: .long 0"]
        else:
            size = max(symbol.size, 1)
            data += [*lines, f".size {symbol.name}, {size}", f"{symbol.name}: .zero {size}"]
    source, script = path.with_suffix(".s"), path.with_suffix(".map")
    source.write_text("\n".join([*code, *data, '.section .note.GNU-stack,"",%progbits', ""]))
    versions = [
        f"{_PREFIX}{'.'.join(map(str, version))} {{ {' '.join(f'{n};' for n in names)} }};"
        for version, names in sorted(nodes.items())
    ]
    script.write_text("\n".join([*versions, ""]))
    command = [
        compiler.cc, "-shared", "-nostdlib", f"-Wl,-soname,{soname}",
        *([f"-Wl,--version-script,{script}"] if nodes else []),
        "-o", str(path), str(source),
    ]  # fmt: skip
    result = children.run(command, limit=children.WORK_S, fault=BuildError)
    if result.returncode:
        raise BuildError(f"no stand-in for {soname} could be linked: {result.stderr.strip()}")
