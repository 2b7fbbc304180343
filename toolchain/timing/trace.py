"""What a program for aarch64 does on a core with caches: a trace, made by QEMU with our plugin.

The plugin (``runtime_patch/qemu_plugin/trace.c``) tells it in windows, stretches of one thread of
about 50,000 instructions that end early at the marks that a program makes around runs and
operators (``runtime_patch/runner/marks.h``). A trace is of the last marked run. With one thread it
is the same each time.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from toolchain import children
from toolchain.errors import BoardConfigError, BoardError
from toolchain.hardware.board_file import Board, known_caches
from toolchain.hardware.caches import Cache, Caches, CoreMemory
from toolchain.hardware.facts import Core, core_called, core_facts
from toolchain.hints import command as deploy_command
from toolchain.storage.cache import digest, entry, sha256_file
from toolchain.storage.scratch import temporary_folder
from toolchain.timing.guest import HERE, cpu_files, guest_command, guest_environment, link_files
from toolchain.timing.qemu_plugin import compiled_plugin

WINDOW = 50_000
"""Instructions of a window, unless a mark ends it. Phases of a layer alternate, such as packing and
multiplying; in one window they would hide each other. The model's coefficients are for windows of
this size."""
START = -1
"""What the edge to the first block of a window comes from."""
_OUTPUT = "output.json"
_PATH_LENGTH = 240
"""Letters of the path of the folder that a program runs in; 255 are the most of one name."""
_MEMORY_AT = 5
"""The words of a window's line before those of its memory."""


@dataclass(frozen=True)
class Block:
    """A stretch of code that is entered at its beginning and runs to its end."""

    address: int
    code: bytes
    symbol: str | None
    """The function that it begins in, if the program names it."""
    sizes: tuple[int, ...] | None = None
    """Of each instruction, in bytes; ``None``: four each."""

    @property
    def instructions(self) -> int:
        """How many there are."""
        return len(self.code) // 4 if self.sizes is None else len(self.sizes)


@dataclass(frozen=True)
class Memory:
    """What a window did to memory; in the order of the plugin's file.

    Lines that L1D missed are counted by what missed them: a load that follows a stream, which a
    prefetcher would have brought in time, another load, or a store.
    """

    loads: int
    """Instructions that load; one of two registers is one."""
    stores: int
    l1_misses_stream: int
    l1_misses_random: int
    l1_misses_store: int
    l2_misses_stream: int
    """Of those of L1D, lines that L2 did not have either."""
    l2_misses_random: int
    l2_misses_store: int
    l3_misses: int
    """Of those of L2, lines that L3 did not have; 0 without an L3."""
    written_back: int
    """Dirty lines that went to memory."""
    tlb_misses: int
    """Pages that the first TLB did not know."""
    page_walks: int
    """Of those, pages that the second one did not know either."""


@dataclass(frozen=True)
class Window:
    """A stretch of one thread."""

    thread: int
    operator: int | None
    """Its number in the run, from 0; ``None`` outside of operators."""
    instructions: int
    mispredicted: int
    """Branches that the core would have gone wrong at."""
    memory: Memory
    edges: Mapping[tuple[int, int], int]
    """(From block, to block) -> times. Blocks are indices of :attr:`Trace.blocks`; the first block
    of a window comes from :data:`START`, as does one after a wait."""


@dataclass(frozen=True)
class Trace:
    """One run of a program."""

    blocks: Sequence[Block]
    windows: Sequence[Window]
    operators: int
    """How many the run marked."""
    output: str | None = None
    """What the runner wrote, JSON, where the program was one."""

    @property
    def instructions(self) -> int:
        """Of all threads; pthreadpool's spinning is left out."""
        return sum(window.instructions for window in self.windows)


def trace_model(runner: Path, model: Path, board: Board, *, threads: int = 1) -> Trace:
    """Trace one inference of a model, after one that fills the caches.

    Args:
        runner: ``tileskip-run`` of an aarch64 bundle.
        model: the file.
        board: whose core is played, with its caches.
        threads: of the runner.

    Raises:
        BoardConfigError: the board's file does not describe its caches, or QEMU does not play its
            core.
        BoardError: the runner or QEMU failed.
    """
    core = traced_core(board)
    options = ["--marks", "--warmup", "0", "--runs", "1", "--threads", str(threads)]
    try:
        return trace_program(
            [runner, "--model", model, *options, "--json", _OUTPUT], core, known_caches(board)
        )
    except BoardError as error:
        hint = error.hint
        if "--marks" in error.what:
            again = deploy_command("build", "--board", board.given, "--out", runner.parent)
            hint = f"its bundle is from before traces, run: {again}"
        raise BoardError(f"{model}: {error.what}", hint=hint) from error


def traced_core(board: Board) -> Core:
    """The core of a board whose programs can be traced.

    Raises:
        BoardConfigError: it is no such board.
    """
    core = core_called(board.cpu)
    if core is None or board.isa != "aarch64" or core_facts(core).memory is None:
        raise BoardConfigError(
            f"board '{board.name}' has a {board.cpu} ({board.isa}), of which no trace is made",
            hint="traces are of 64-bit programs on a Cortex-A53, A72 or A76",
        )
    return core


def trace_program(
    command: Sequence[str | Path],
    core: Core,
    caches: Caches,
    *,
    memory: CoreMemory | None = None,
    libraries: Path | None = None,
    links: Mapping[str, Path] | None = None,
    environment: Mapping[str, str] | None = None,
    contents: Sequence[str] = (),
    window: int = WINDOW,
) -> Trace:
    """Trace the last run that a program for aarch64 marks; kept in the cache.

    Args:
        command: the program and its arguments. A path is a file, and counts by its content; the
            program sees it in the folder :data:`HERE`, named after its place: ``/traced/2.tflite``.
            The first word is a path.
        core: what QEMU plays.
        caches: of the board.
        memory: policies and TLBs in place of the core's own.
        libraries: a folder with ``usr``, ``lib`` and ``etc`` for a program that is not static.
        links: further files and folders in :data:`HERE`, by their names there.
        environment: of the program, beside a fixed one.
        contents: what else the run depends on: folders do not count by what they hold.
        window: instructions of a window.

    Raises:
        BoardError: the program or QEMU failed, or it marked no run.
    """
    memory = memory or core_facts(core).memory
    assert memory is not None  # noqa: S101 (traced_core says for which cores it is known)
    options = {**cache_options(caches, memory), "window": str(window)}
    settings = guest_environment(environment)
    # A path's length moves the stack, and what hashes paths has other tables: so each has a name
    # here that is always the same.
    named = {f"{i}{it.suffix}": it for i, it in enumerate(command) if isinstance(it, Path)}
    named |= links or {}
    words = [
        it if isinstance(it, str) else f"{HERE}/{i}{it.suffix}" for i, it in enumerate(command)
    ]
    key = digest(
        "trace 4", compiled_plugin("trace").parent.name, core, *words, *contents,
        *(f"{name}={value}" for name, value in options.items()),
        *(f"{name}={value}" for name, value in settings.items()),
        *(f"{name}: {text}" for name, text in cpu_files(core, caches).items()),
        *(f"{name} {_content(path)}" for name, path in named.items()),
    )  # fmt: skip

    def run() -> tuple[str, str | None]:
        with temporary_folder() as outer:
            folder = _folder_of_fixed_length(outer)
            root = folder / "root"
            root.mkdir()
            link_files(root, named)
            # The program itself learns where it really lies.
            program = root / words[0].lstrip("/")
            program.unlink()
            shutil.copy(command[0], program)
            emulator = guest_command(core, caches, root, libraries)
            full = ("-0", words[0], str(program), *words[1:])
            return emulated(emulator, full, folder, options, settings)

    return kept_trace(key, run)


def kept_trace(key: str, run: Callable[[], tuple[str, str | None]]) -> Trace:
    """A trace from the cache; what ``run`` gives is :func:`emulated`'s, and is kept."""

    def fill(place: Path) -> None:
        text, output = run()
        read_trace(text)
        (place / "trace.gz").write_bytes(gzip.compress(text.encode(), 6, mtime=0))
        if output is not None:
            (place / _OUTPUT).write_text(output)

    kept = entry("traces", key, fill)
    output = (kept / _OUTPUT).read_text() if (kept / _OUTPUT).exists() else None
    return read_trace(gzip.decompress((kept / "trace.gz").read_bytes()).decode(), output)


def emulated(
    emulator: Sequence[str],
    program: Sequence[str],
    folder: Path,
    options: Mapping[str, str],
    environment: Mapping[str, str],
) -> tuple[str, str | None]:
    """Run a program under QEMU's user mode with the plugin.

    Args:
        emulator: QEMU, and what it plays.
        program: the rest of its command.
        folder: where the program runs, and writes ``output.json`` if it does.
        options: of the plugin.
        environment: all of the program's.

    Returns:
        What the plugin wrote, and the program's output.

    Raises:
        BoardError: the program or QEMU failed.
    """
    out = folder / "trace"
    told = (str(compiled_plugin("trace")), f"out={out}", *(f"{k}={v}" for k, v in options.items()))
    # QEMU reads the program's symbols only where it logs something.
    log = ("-d", "plugin", "-D", str(folder / "log"), "-plugin", ",".join(told))
    _run([*emulator, *log, *program], folder, environment)
    output = folder / _OUTPUT
    return out.read_text(), output.read_text() if output.exists() else None


def _content(path: Path) -> str:
    return sha256_file(path) if path.is_file() else "a folder"


def _folder_of_fixed_length(outer: Path) -> Path:
    """A folder whose path has as many letters as any other: programs keep their own on the heap."""
    missing = _PATH_LENGTH - len(str(outer.resolve())) - 1
    folder = outer.resolve() / ("t" * max(missing, 1))
    folder.mkdir()
    return folder


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    done = children.run(
        command, limit=children.WORK_S, fault=BoardError, cwd=folder, env=dict(environment)
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        # QEMU has the last word where the plugin refuses something.
        ours = [line for line in said if line.startswith("trace: ")]
        raise BoardError(f"its trace failed: {(ours or said)[-1]}")


def cache_options(caches: Caches, memory: CoreMemory) -> dict[str, str]:
    """The plugin's options for caches and TLBs."""

    def level(cache: Cache, policy: str, *more: str) -> str:
        return ":".join((str(cache.kib), str(cache.ways), policy, *more))

    options = {
        "l1d": level(caches.l1d, memory.l1d),
        "l2": level(caches.l2, memory.l2, "shared" if caches.l2.shared else "private"),
        "l1tlb": str(memory.l1_tlb),
        "l2tlb": f"{memory.l2_tlb.entries}:{memory.l2_tlb.ways}",
        "page": str(caches.page_kib),
        "streaming": f"{memory.streaming.l1d}:{memory.streaming.l2}",
    }
    if caches.l3 is not None:
        kind = "exclusive" if caches.l3.exclusive else "inclusive"
        options["l3"] = level(caches.l3, memory.l3, kind)
    return options


def read_trace(text: str, output: str | None = None) -> Trace:
    """Read what the plugin wrote; see ``trace.c`` for the form.

    Args:
        text: the file.
        output: what the runner wrote.

    Raises:
        BoardError: it is cut off, or the program marked no run.
    """
    lines = text.splitlines()
    if not lines or lines[-1] != "end":
        raise BoardError("QEMU's plugin did not finish its trace: was the emulator stopped?")
    blocks: list[Block] = []
    index = {str(START): START}
    for line in lines:
        if line.startswith("block "):
            _, number, address, code, symbol = line.split(maxsplit=4)
            index[number] = len(blocks)
            parts = [bytes.fromhex(part) for part in code.split(".")]
            sizes = tuple(map(len, parts))
            blocks.append(
                Block(
                    int(address, 16),
                    b"".join(parts),
                    None if symbol == "-" else symbol,
                    sizes if set(sizes) != {4} else None,
                )
            )
    windows = [_window(line.split(), index) for line in lines if line.startswith("window ")]
    if not windows:
        raise BoardError("the program marked no run, so there is nothing to trace")
    return Trace(blocks, windows, int(lines[-2].split()[1]), output)


def _window(words: Sequence[str], index: Mapping[str, int]) -> Window:
    behind = _MEMORY_AT + len(fields(Memory))
    thread, operator, instructions, mispredicted = map(int, words[1:_MEMORY_AT])
    edges = {}
    for word in words[behind:]:
        before, after, times = word.split(",")
        edges[index[before], index[after]] = int(times)
    return Window(
        thread=thread,
        operator=None if operator < 0 else operator,
        instructions=instructions,
        mispredicted=mispredicted,
        memory=Memory(*map(int, words[_MEMORY_AT:behind])),
        edges=edges,
    )
