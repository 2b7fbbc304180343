"""What a bundle's ELF files ask of a board."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from pydantic import BaseModel, ConfigDict

from toolchain.errors import BuildError, DeployError, first_line

_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")


class ElfFacts(BaseModel):
    """One ELF file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str
    """``AArch64`` or ``x86-64``."""
    static: bool
    """True if it needs no dynamic linker and no library."""
    needed: tuple[str, ...]
    """The shared libraries that it names, in order."""
    glibc_floor: str | None
    """The oldest glibc that has every symbol version it needs, ``2.34``; ``None`` if static."""


def read_elf(path: Path) -> ElfFacts:
    """Read the facts from a file.

    Raises:
        BuildError: it is not an ELF file, or a damaged one.
    """
    with opened(path) as elf:
        needed: list[str] = []
        versions: list[tuple[int, int]] = []
        for section in elf.iter_sections():
            if isinstance(section, DynamicSection):
                # The attribute is set by name, out of mypy's sight.
                needed += [str(vars(tag)["needed"]) for tag in section.iter_tags("DT_NEEDED")]
            elif isinstance(section, GNUVerNeedSection):
                for _, entries in section.iter_versions():
                    for entry in entries:
                        match = _GLIBC.fullmatch(entry.name)
                        if match:
                            versions.append((int(match[1]), int(match[2])))
        floor = ".".join(map(str, max(versions))) if versions else None
        interpreter = any(s.header.p_type == "PT_INTERP" for s in elf.iter_segments())
        return ElfFacts(
            machine="x86-64" if elf["e_machine"] == "EM_X86_64" else elf.get_machine_arch(),
            static=not needed and not interpreter,
            needed=tuple(needed),
            glibc_floor=floor,
        )


@contextmanager
def opened(path: Path) -> Iterator[ELFFile]:
    """An ELF file to read from within the block.

    Raises:
        BuildError: it is none, or the block comes upon damage.
    """
    try:
        with path.open("rb") as stream:
            yield ELFFile(stream)
    except DeployError:
        raise
    except Exception as error:  # of a damaged file pyelftools raises anything
        known = isinstance(error, ELFError)
        what = "is not an ELF file" if known else "is a damaged ELF file"
        raise BuildError(f"{path} {what}: {first_line(error)}") from error
