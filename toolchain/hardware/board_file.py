"""A board is a TOML file: what it is, how it is built for, and how it is reached.

See ``docs/reference/board-files.md`` for every key. Unknown keys are refused. A board file is data,
and may come from anywhere: none of its values can be more than one word of a compiler's, QEMU's or
``ssh``'s command line, nor an option of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from toolchain.errors import BoardConfigError
from toolchain.formats.toml_file import read_toml, validate
from toolchain.hardware import emulated, inventory
from toolchain.hardware.caches import Caches
from toolchain.hardware.facts import Isa
from toolchain.hardware.link import parse_link
from toolchain.hardware.tile import CoreTiles, Tiles
from toolchain.hints import command, did_you_mean
from toolchain.resources import boards_dir
from toolchain.storage.files import check_name

DEFAULT_BOARD = "qemu"
NO_ADDRESS = re.compile(r"[\s\x00-\x1f\x7f'\"`$\\;&<>|(){}]")
"""What no host's name and no user's has; a shell would take it for something else."""
_BUILT_FOR = {"isa", "march", "glibc"}
"""The keys that a bundle depends on."""
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


def _word(value: str) -> str:
    if not _WORD.fullmatch(value):
        raise ValueError("must be one word of letters, digits, '.', '_', '+' and '-'")
    return value


def _line(value: str) -> str:
    if not value.isprintable() or not value.strip():
        raise ValueError("must be one line of text")
    return value


def _file_name(value: str) -> str:
    """Folders are named after the board."""
    if value.startswith((".", "-")):
        raise ValueError("the name of a board's file must not begin with '.' or '-'")
    return _line(value)


def _link(value: str) -> str:
    return str(parse_link(value))


def _address(value: str) -> str:
    # A domain stands before its user with a backslash.
    if not value or value.startswith("-") or NO_ADDRESS.search(value.replace("\\", "")):
        raise ValueError("must be what ssh takes for a host or a user, without spaces and quotes")
    return value


Word = Annotated[str, AfterValidator(_word)]
Line = Annotated[str, AfterValidator(_line)]
Address = Annotated[str, AfterValidator(_address)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Ssh(_Table):
    """How a real board is reached; the command line's ``--host`` goes before it."""

    host: Address | None = None
    """What you would give to ``ssh``. ``--host`` goes before it."""
    user: Address | None = None
    """Who logs in. Without it, the user of your SSH configuration."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The SSH port. Without it, the port of your SSH configuration, else 22."""
    directory: str = "tileskip"
    """Folder on the board. It is relative to the user's home unless it begins with ``/``.

    ``~`` and ``~/folder`` are understood; variables are refused.
    """
    shared: bool = False
    """Whether the folder may be a link, or one that other users may write to."""
    identity: str | None = None
    """The private key to log in with; no other is tried. ``--identity`` goes before it.

    A whole path, or one that begins with ``~/``.
    """

    @field_validator("identity")
    @classmethod
    def _is_whole_path(cls, identity: str | None) -> str | None:
        """A board file may be read from any folder."""
        if identity is not None and not (identity.startswith(("/", "~/")) and _line(identity)):
            raise ValueError("must be a whole path, or one that begins with ~/")
        return identity

    @field_validator("directory")
    @classmethod
    def _is_no_shell_text(cls, directory: str) -> str:
        """No shell reads the path: what only a shell would replace must not become a name."""
        if directory == "~" or directory.startswith("~/"):
            directory = directory[1:].lstrip("/") or "."
        if directory.startswith("~"):
            raise ValueError("another user's home is not understood: write the whole path")
        if "$" in directory or "`" in directory:
            raise ValueError(
                "variables are not replaced: write the whole path, or one relative to the home"
            )
        if not directory or not directory.isprintable():
            raise ValueError("must name a folder")
        return f"./{directory}" if directory.startswith("-") else directory


class Emulator(_Table):
    """How ``deploy emulator`` boots the board with QEMU."""

    machine: Word = "virt"
    """QEMU's ``-M``."""
    cpu: Word
    """QEMU's ``-cpu``."""
    memory_mib: Annotated[int, Field(ge=128, le=16384)] = 512
    """Memory, in MiB."""
    cores: Annotated[int, Field(ge=1, le=8)] = 1
    """How many cores the board has."""
    icount_shift: Annotated[int, Field(ge=0, le=10)] | None = None
    """Count instructions. One core only. An instruction takes ``1 << shift`` ns of the board's
    time."""
    server: Literal["dropbear", "openssh"] = "dropbear"
    """The SSH server on the board."""
    link: Annotated[str, AfterValidator(_link)] | None = None
    """What lies between this machine and the board: ``20ms,1%,10Mbit`` for a slow and lossy
    network. Without it, nothing."""

    @model_validator(mode="after")
    def _one_core_counts(self) -> Self:
        if self.icount_shift is not None and self.cores > 1:
            raise ValueError("icount_shift counts instructions on one core only: cores must be 1")
        return self


class Found(_Table):
    """What a board said of itself when it was added. Nothing is computed from it."""

    model: Line | None = None
    """What its firmware calls it: ``Raspberry Pi 4 Model B Rev 1.5``."""
    os: Line | None = None
    """Its system: ``Debian GNU/Linux 12 (bookworm)``."""
    kernel: Line | None = None
    """``Linux 6.1.0``."""
    kernel_bits: Literal[32, 64] | None = None
    """Of its kernel."""
    bits: Literal[32, 64] | None = None
    """Of its own programs, which may have fewer than its kernel."""
    glibc: Line | None = None
    """Its C library's version: ``2.36``."""
    memory_mib: Annotated[int, Field(ge=1, le=1 << 24)] | None = None
    """All of its memory, in MiB."""
    cores: Line | None = None
    """How many there are of each kind: ``4 x Cortex-A72``."""
    cooling: Line | None = None
    """What cools it, as far as it tells: ``fan``."""


@dataclass(frozen=True)
class Source:
    """Where a board's keys stand; boards that differ in that alone are equal."""

    path: Path = field(compare=False)
    """The file that the board was read from."""
    layers: tuple[tuple[str, Mapping[str, Any]], ...] = field(default=(), compare=False)
    """Tables with the words for what each is: ``file``, ``inventory``, ``like rpi4``, ``emulator``.
    The first that has a key counts."""
    like: str | None = field(default=None, compare=False)
    """The board whose keys it takes where it has none of its own."""


class Board(_Table):
    """One board of ``boards/<name>.toml``."""

    name: Annotated[str, AfterValidator(_file_name)]
    """Taken from the file's name; not a key of the file."""
    title: Line
    """What people call the board."""
    cpu: Line
    """The core, as Arm or the vendor writes it: ``Cortex-A72``."""
    isa: Isa
    """The instruction set. It decides the compiler."""
    march: Word
    """The ``-march`` of the runner and of TensorFlow Lite. XNNPACK chooses its kernels when it
    runs."""
    glibc: Annotated[str, Field(pattern=r"^2\.[0-9]{1,2}$")] | None = None
    """The oldest glibc that the two libraries must load with: ``2.NN``. Without it, the
    compiler's."""
    connection: Literal["ssh", "emulator", "local"] = "ssh"
    """How the board is reached."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads of ``deploy run`` and ``deploy profile`` unless told otherwise."""
    clock_mhz: Annotated[int, Field(ge=100, le=10000)] | None = None
    """The clock of its cores under load, in MHz. Times are estimated for it."""
    caches: Caches | None = None
    tile: Tiles | None = None
    """What the micro-kernels of the core compute at once; masks may be cut to it."""
    ssh: Ssh = Ssh()
    emulator: Emulator | None = None
    tags: tuple[Word, ...] = ()
    """Words of the user's; ``--board WORD`` is all boards of the inventory that have it."""
    found: Found = Found()
    """What it said of itself when it was added."""
    _given: str | None = PrivateAttr(None)
    _like: str | None = PrivateAttr(None)
    _source: Source = PrivateAttr(Source(Path()))

    @property
    def given(self) -> str:
        """What ``--board`` was given: a name or a path. Hints repeat it."""
        return self._given or self.name

    @property
    def source(self) -> Source:
        """Where its keys stand."""
        return self._source

    @property
    def built_as(self) -> str:
        """The board whose bundle it takes: itself, or the one that it is like."""
        return self._like or self.name

    def named(self, name: str, **changes: Any) -> Board:
        """The same board under another name, which takes the same bundle.

        Args:
            name: the new one.
            changes: of its keys; they are not looked at.
        """
        other = self.model_copy(update={"name": name, **changes})
        other._given, other._like = name, self.built_as
        return other

    @model_validator(mode="after")
    def _emulator_is_described(self) -> Self:
        if self.connection == "emulator" and self.emulator is None:
            raise ValueError('connection = "emulator" needs an [emulator] table')
        if self.emulator is not None and self.isa != "aarch64":
            raise ValueError('an [emulator] emulates isa = "aarch64" only')
        return self


def board_names() -> list[str]:
    """The boards that ship with the project, sorted by name."""
    return sorted(path.stem for path in boards_dir().glob("*.toml"))


def load_board(name_or_path: str) -> Board:
    """Read a board by its name, or by a ``.toml`` path.

    Names are those of the boards that ship, of the inventory, and of the emulated boards that were
    started.

    Raises:
        BoardConfigError: no such board, not TOML, an unknown key, or a value out of range.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = boards_dir() / f"{name_or_path}.toml"
        if not path.is_file():
            return _of_inventory(name_or_path)
    check_name(path, BoardConfigError)
    return _board(path.stem, name_or_path, Source(path, (("file", _keys(path)),)))


def _of_inventory(name: str) -> Board:
    table = inventory.tables().get(name)
    if table is None:
        started = emulated.tables().get(name)
        if started is not None:
            return _started(name, started)
        check_is_one(name)
        raise BoardConfigError(f"there is no board called '{name}'", hint=_which_board(name))
    return board_of_table(name, table)


def board_of_table(name: str, table: Mapping[str, Any]) -> Board:
    """The board that a table of the inventory describes, be it written there or not.

    Raises:
        BoardConfigError: it has a fault, or is like a board that there is not.
    """
    where = inventory.place()
    own = dict(table)
    like = own.pop(inventory.LIKE, None)
    if like is None:
        return _board(name, name, Source(where, (("inventory", own),)))
    base = _base_of(name, like)
    layers = ("inventory", own), (f"like {like}", _keys(base))
    board = _board(name, name, Source(where, layers, like))
    if not _BUILT_FOR & own.keys():
        board._like = base.stem
    return board


def unknown_board(name: str) -> Board:
    """A board of which nothing is known yet, for what only reaches it."""
    return Board(name=name, title=name, cpu="unknown", isa="aarch64", march="armv8-a")


def _base_of(name: str, like: object) -> Path:
    """The file of the board that a board of the inventory is like.

    Args:
        name: of the latter.
        like: what its table says.

    Raises:
        BoardConfigError: that is none.
    """
    where = inventory.place()
    if not isinstance(like, str) or (like not in board_names() and not like.endswith(".toml")):
        raise BoardConfigError(
            f"{where}: {name}: {inventory.LIKE}: must name a board that ships, or a board file",
            hint=f"write one of {', '.join(board_names())}",
        )
    ships = like in board_names()
    return boards_dir() / f"{like}.toml" if ships else where.parent / Path(like).expanduser()


def _started(name: str, table: dict[str, Any]) -> Board:
    keys = dict(table)
    built_as = keys.pop(emulated.BUILT_AS, None)
    board = _board(name, name, Source(emulated.record_file(name), (("emulator", keys),)))
    board._like = built_as if isinstance(built_as, str) else None
    return board


def started_boards() -> list[Board]:
    """The emulated boards that were started, and that no other board has the name of, by name.

    Raises:
        BoardConfigError: the inventory cannot be read.
    """
    others = {*board_names(), *inventory.tables()}
    found = []
    for name, table in emulated.tables().items():
        if name not in others:
            with suppress(BoardConfigError):  # a command that names it says what is wrong with it
                found.append(_started(name, table))
    return found


def _keys(path: Path) -> dict[str, Any]:
    data = read_toml(path, BoardConfigError)
    if "name" in data:
        raise BoardConfigError(
            f"{path}: name: is not a key of a board file", hint="the file's own name is the name"
        )
    return data


def _board(name: str, given: str, source: Source) -> Board:
    keys: dict[str, Any] = {}
    for _, table in reversed(source.layers):
        keys = inventory.over(keys, table)
    is_table = any(layer == "inventory" for layer, _ in source.layers)
    board = validate(
        Board,
        {"name": name, **keys},
        f"{source.path}: {name}" if is_table else source.path,
        BoardConfigError,
        hint="docs/reference/board-files.md lists every key of a board file",
    )
    board._given, board._source = given, source
    return board


def boards_named(words: Sequence[str]) -> list[Board]:
    """The boards that ``--board`` names: names, paths, tags of the inventory, or ``all`` of it.

    ``emulated`` is a tag of each emulated board that was started. Each board comes once, in the
    order in which it is named first. A name goes before a tag.

    Args:
        words: each may be several, with commas between them.

    Raises:
        BoardConfigError: there is none of a name or tag, or it cannot be read.
    """
    found: dict[str, Board] = {}
    for word in (one.strip() for part in words for one in _parts(part)):
        for board in _boards_called(word):
            found.setdefault(board.given, board)
    return list(found.values())


def stands_for_several(words: Sequence[str]) -> bool:
    """Whether ``--board`` is a list, a tag or ``all``, however many boards these are just now."""
    parts = {one.strip() for part in words for one in _parts(part)}
    return len(parts) > 1 or not any(map(_is_one, parts))


def check_is_one(word: str) -> None:
    """Refuse what stands for several boards, where one is wanted.

    Raises:
        BoardConfigError: it is a list, a tag, ``all`` or ``emulated``.
    """
    if not stands_for_several([word]):
        return
    found: list[Board] = []
    with suppress(BoardConfigError):  # what is wrong with one of them does not matter here
        found = boards_named([word])
    names = ", ".join(board.name for board in found) or ", ".join(board_names())
    raise BoardConfigError(
        f"'{word}' stands for several boards, and one is wanted", hint=f"name one of {names}"
    )


def _parts(words: str) -> list[str]:
    # A file's name may have commas.
    return [words] if words.endswith(".toml") and Path(words).is_file() else words.split(",")


def _is_one(word: str) -> bool:
    """Whether a word is the name or the path of one board."""
    if word.endswith(".toml") or word in board_names():
        return True
    known = inventory.tables()
    return word in known or (word != emulated.TAG and not _of_tag(word, known))


def _of_tag(word: str, known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    own = list(known) if word == inventory.ALL else inventory.tagged(known).get(word, [])
    return list(dict.fromkeys([*own, *inventory.tagged(emulated.tables()).get(word, [])]))


def _boards_called(word: str) -> list[Board]:
    if word == inventory.ALL and not inventory.tables():
        raise BoardConfigError(
            f"the inventory has no boards: {inventory.place()}",
            hint=command("boards", "add", "pi@raspberrypi"),
        )
    names = [] if _is_one(word) else _of_tag(word, inventory.tables())
    if word == emulated.TAG and not names and not _is_one(word):
        raise BoardConfigError(
            "no emulated board was started", hint=command("emulator", "start", "--count", 2)
        )
    return [load_board(name) for name in names or [word]]


def _which_board(name: str) -> str:
    known = [*board_names(), *inventory.tables(), *emulated.tables()]
    use = f"use one of {', '.join(known)}, or the path of a board file (.toml)"
    path = Path(f"{name}.toml")
    return (
        f"did you mean the file {path}? {use}" if path.is_file() else did_you_mean(name, known, use)
    )


def known_caches(board: Board) -> Caches:
    """The caches of a board, for what is estimated from them.

    Raises:
        BoardConfigError: its file does not say.
    """
    if board.caches is None:
        raise BoardConfigError(
            f"the file of board '{board.name}' has no [caches]: what memory does is not known",
            hint="docs/reference/board-files.md says how caches are described",
        )
    return board.caches


def known_clock(board: Board) -> int:
    """The clock of a board in MHz.

    Raises:
        BoardConfigError: its file does not say.
    """
    if board.clock_mhz is None:
        raise BoardConfigError(
            f"the file of board '{board.name}' has no clock_mhz: cycles are no seconds without it"
        )
    return board.clock_mhz


def known_tiles(board: Board) -> CoreTiles:
    """The tiles of a board's core.

    A board without a ``[tile]`` has that of a shipped one with the same core and instruction set:
    XNNPACK chooses its micro-kernels by these.
    """
    if board.tile is not None:
        return CoreTiles(board.name, board.tile, board.name)
    for other in map(load_board, board_names()):
        same = (other.cpu.casefold(), other.isa) == (board.cpu.casefold(), board.isa)
        if same and other.tile is not None:
            return CoreTiles(board.name, other.tile, other.name)
    return CoreTiles(board.name, None, None)
