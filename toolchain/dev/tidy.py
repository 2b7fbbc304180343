"""clang-tidy over our C and C++, with the checks of ``.clang-tidy``.

``python -m toolchain.dev.tidy FILE ...`` ends with 1 if something is found; ``make lint`` runs it.
A file that passed is not read again, in any checkout, until it, a header of ours that it includes,
its command, the checks or upstream's sources change: the cache remembers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from pathlib import Path

from toolchain import children, console
from toolchain.build.bundle import recipe_for
from toolchain.build.stages import Workshop
from toolchain.dev.compile_commands import Commands, compile_commands
from toolchain.errors import BuildError
from toolchain.fetch.apt import AptRoot
from toolchain.hardware.board_file import load_board
from toolchain.progress import Lines, Progress
from toolchain.resources import runtime_patch_dir
from toolchain.storage.cache import digest, entry, present
from toolchain.storage.files import write_whole

PROGRAM = "clang-tidy"
"""Of the environment, where pip puts it."""
BOARDS = ("host", "qemu")
"""What is built for them has all files of ours: instruction sets of both are looked at."""
_PASSED = "tidy"
"""The cache's entries of this kind are empty: that one is there says that a file passed."""
_INCLUDE = re.compile(rb'^\s*#\s*include\s*["<]([^">]+)[">]', re.M)
_FINDING = re.compile(r"^(?=/\S*?:\d+:\d+: (?:warning|error): )", re.M)


class Sources:
    """Files of ours, and which of them each one includes."""

    def __init__(self, repository: Path, names: Iterable[str]) -> None:
        """Take the files ``names``, paths in the repository."""
        self._repository = repository
        self._names = tuple(names)

    def key(self, name: str) -> str:
        """Hash of a file and of all headers of ours that it includes, directly or not."""
        seen = {name}
        waiting = [name]
        while waiting:
            for included in _INCLUDE.findall(self._text(waiting.pop())):
                # By whichever folder it is found: one header too many costs little.
                new = self._headers.get(Path(included.decode()).name, set()) - seen
                seen |= new
                waiting += new
        return digest(*(part for each in sorted(seen) for part in (each, self._text(each))))

    @cached_property
    def _headers(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name in self._names:
            if name.endswith(".h"):
                found.setdefault(Path(name).name, set()).add(name)
        return found

    def _text(self, name: str) -> bytes:
        return (self._repository / name).read_bytes()


def findings(
    root: Path, repository: Path, names: Sequence[str], commands: Commands, progress: Progress
) -> list[str]:
    """What clang-tidy finds in files and in our headers that they include.

    Args:
        root: the folder of the trees, which gets the commands.
        repository: has ``.clang-tidy``.
        names: files of ours, headers among them, as paths in the repository.
        commands: how each of them is compiled, but headers.
        progress: is told of each file that is read.

    Returns:
        What clang-tidy said of each place, sorted; nothing twice.

    Raises:
        BuildError: clang-tidy failed.
    """
    sources = Sources(repository, names)
    common = digest("tidy 1", _version(), (repository / ".clang-tidy").read_bytes(),
                    *_upstream(repository))  # fmt: skip
    keys = {
        name: digest(common, *_anywhere(commands[name], root, repository), sources.key(name))
        for name in names
        if name in commands
    }
    due = [name for name, key in keys.items() if present(_PASSED, key) is None]
    _write_database(root, repository, commands)
    found: set[str] = set()
    with (
        progress.stage(f"{PROGRAM}: {len(due)} of {len(keys)} files", total=len(due)) as stage,
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
    ):
        checks = {pool.submit(_check, root, repository, name): name for name in due}
        for check in as_completed(checks):
            name, said = checks[check], check.result()
            stage.advance(detail=name)
            found.update(said)
            if not said:
                entry(_PASSED, keys[name], lambda _: None)
    return sorted(found)


def _anywhere(arguments: Sequence[str], root: Path, repository: Path) -> list[str]:
    """Arguments as they are in whatever folder the repository lies; its folder holds the trees."""
    return [
        word.replace(str(root), "<trees>").replace(str(repository), "<repository>")
        for word in arguments
    ]


def _check(root: Path, repository: Path, name: str) -> list[str]:
    ours = f"^{re.escape(str(repository))}/(runtime_patch|tests)/"
    command = [_program(), "-p", str(root), "--quiet", "--warnings-as-errors=*",
               f"--header-filter={ours}", str(repository / name)]  # fmt: skip
    done = children.run(command, limit=children.WORK_S, fault=BuildError)
    said = [text for text in _FINDING.split(done.stdout) if text.startswith("/")]
    if done.returncode and not said:
        raise BuildError(f"{PROGRAM} failed on {name}: {done.stderr.strip()}")
    # Places in headers of others are left out: there it only says where ours differs from them.
    return [
        text.replace(f"{repository}/", "")
        for text in said
        if re.match(ours, text) or "[clang-diagnostic-error" in text
    ]


def _write_database(root: Path, repository: Path, commands: Commands) -> None:
    entries = [
        {
            "directory": str(repository),
            "file": str(repository / name),
            "arguments": [*arguments, "-c", str(repository / name)],
        }
        for name, arguments in commands.items()
    ]
    write_whole(root / "compile_commands.json", json.dumps(entries, indent=1).encode())


def _program() -> str:
    return str(Path(sys.executable).with_name(PROGRAM))


def _version() -> str:
    return children.run([_program(), "--version"], limit=children.LOOK_S, fault=BuildError).stdout


def _upstream(repository: Path) -> list[bytes]:
    """What upstream's headers follow from."""
    folder = repository / "runtime_patch"
    return [
        path.read_bytes() for path in (folder / "sources.toml", *sorted(folder.rglob("*.patch")))
    ]


def not_compiled(names: Sequence[str], commands: Mapping[str, object]) -> list[str]:
    """The files but headers that have no command."""
    return [name for name in names if not name.endswith(".h") and name not in commands]


@console.telling
def main(arguments: Sequence[str] | None = None) -> int:
    """Check; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m toolchain.dev.tidy", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="of ours, headers too")
    parser.add_argument("--in", type=Path, default=Path("build/lint"), dest="root", metavar="DIR",
                        help="where sources are laid out [build/lint]")  # fmt: skip
    parser.add_argument("--sources", type=Path, help="folder of archives at hand")
    options = parser.parse_args(arguments)
    root, repository = options.root.absolute(), runtime_patch_dir().absolute().parent
    progress = Lines()
    recipes = [recipe_for(load_board(name)) for name in BOARDS]
    shop = Workshop(
        AptRoot(progress, sources=options.sources), len(os.sched_getaffinity(0)), progress
    )
    commands = compile_commands(root, repository, recipes, shop)
    found = findings(root, repository, options.files, commands, progress)
    for text in found:
        print(text, end="")
    missing = not_compiled(options.files, commands)
    for name in missing:
        print(f"{name}: how it is compiled is not known to toolchain/dev/compile_commands.py")
    # A machine of one instruction set alone does not compile the micro-kernels of others.
    whole = len({recipe.compiler.isa for recipe in recipes}) == len(BOARDS)
    return 1 if found or (missing and whole) else 0


if __name__ == "__main__":
    console.run(lambda: sys.exit(main()))
