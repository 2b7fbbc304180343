"""Instructions of each operator of a model, counted by QEMU's user mode with our plugin.

The runner makes marks around operators (``runtime_patch/runner/marks.h``), the plugin counts
between them (``runtime_patch/qemu_plugin``). With one thread the counts of operators repeat
exactly, which is checked in every measurement; with more they depend a little on which thread takes
which part of the work.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from toolchain import children
from toolchain.build.qemu_user import emulator_command
from toolchain.errors import BoardError, VerificationError
from toolchain.formats.json_text import parse_json
from toolchain.hardware.facts import Core, core_facts, played_cores
from toolchain.hints import command as deploy_command
from toolchain.profile.runner_output import Op, computes_any_rows, parse_output
from toolchain.storage.cache import digest, entry, sha256_file
from toolchain.storage.scratch import temporary_folder
from toolchain.timing.qemu_plugin import compiled_plugin

# runtime_patch/runner/marks.h
_RUN_BEGIN, _RUN_END, _OPERATOR_BEGIN, _PART_BEGIN, _OPERATOR_END, _READY = range(1, 7)
WAITING = "(waiting)"
"""Where pthreadpool spins; in no total."""
_SETTLED = 5
"""Inferences until malloc's lists have filled, with every tunable of glibc that was tried."""
_MICRO_KERNEL = re.compile(r"^xnn_.*_ukernel_")
_GEMM = re.compile(r"^xnn_(f32|qs8_qc8w|qs8|qu8)_i?gemm_minmax_(?:\w+?_)?ukernel_(.+)$")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OpCount(_Part):
    """One operator of one inference."""

    type: str
    """XNNPACK's or TensorFlow Lite's name for it."""
    delegated: bool
    instructions: int
    """Of all threads, waiting left out."""
    functions: dict[str, int]
    """The same by function, as far as the program names them: micro-kernels, and ``(other)``."""
    ukernel: str | None
    mr: int | None
    nr: int | None
    pixels: int | None
    kept: int | None

    @property
    def in_kernels(self) -> int:
        """Instructions inside micro-kernels."""
        return sum(count for name, count in self.functions.items() if _MICRO_KERNEL.match(name))


class ModelCount(_Part):
    """One inference of a model."""

    model: str
    """The file's name without suffix."""
    core: Core
    threads: int
    patched: bool
    ops: list[OpCount]
    other: int
    """Instructions of the inference outside of operators, the marks' own among them."""
    prepare: int
    """Instructions from the program's start until the model can run, and what the first run adds:
    load, check, delegate, pack weights, allocate."""
    spread: float
    """The largest difference of the whole between two inferences, as a part of it: of those from
    the sixth on, or where there are fewer, of all after the first. With one thread the former is
    0; the latter is some hundred instructions of malloc, where operators' times are kept."""

    @property
    def instructions(self) -> int:
        """Of the whole inference."""
        return self.other + sum(op.instructions for op in self.ops)


def count_model(
    runner: Path, model: Path, *, core: Core = "cortex-a72", threads: int = 1, runs: int = 1
) -> ModelCount:
    """Count one inference; kept in the cache, as it does not change.

    Args:
        runner: ``tileskip-run`` of an aarch64 bundle.
        model: the file.
        core: what QEMU plays.
        threads: of the runner.
        runs: inferences after the first, which is counted, too. 0 saves time, and leaves it
            unchecked that counts repeat.

    Raises:
        BoardError: the runner or QEMU failed.
        VerificationError: counts of one thread differ from run to run, or XNNPACK took kernels of
            another core.
    """
    plugin = compiled_plugin("count_instructions")
    key = digest(
        "count 5", sha256_file(runner), sha256_file(model), plugin.parent.name, core,
        str(threads), str(runs),
    )  # fmt: skip

    def fill(folder: Path) -> None:
        counted = _count(runner, model, plugin, core, threads, runs)
        (folder / "count.json").write_text(counted.model_dump_json())

    kept = entry("bench-counts", key, fill) / "count.json"
    found = parse_json(
        ModelCount, kept.read_bytes(), BoardError, f"{kept} cannot be read", hint="delete it"
    )
    return found.model_copy(update={"model": model.stem})


def _count(
    runner: Path, model: Path, plugin: Path, core: Core, threads: int, runs: int
) -> ModelCount:
    with temporary_folder() as folder:
        counts, output = folder / "counts", folder / "output.json"
        command = [
            *emulator_command(core, folder),
            # QEMU reads the program's symbols only where it logs something.
            *("-d", "plugin", "-D", str(folder / "log"), "-plugin", f"{plugin},out={counts}"),
            *(str(runner), "--model", str(model), "--marks", "--warmup", "0"),
            *("--runs", str(runs), "--threads", str(threads), "--json", str(output)),
        ]
        done = children.run(command, limit=children.WORK_S, fault=BoardError)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            raise BoardError(
                f"counting instructions of {model} failed: {said[-1]}",
                hint="its bundle is from before the bench, run: "
                + deploy_command("build", "--board", "qemu", "--out", runner.parent)
                if "--marks" in said[-1]
                else None,
            )
        facts = parse_output(output.read_bytes())
        assert facts.ops is not None  # noqa: S101 (--marks asks for them)
        operators = facts.ops[:-1]
        ready, inferences = read_marks(counts.read_text())
    if len(inferences) != runs + 1:
        raise BoardError(f"{model}: {len(inferences)} runs were marked, not {runs + 1}")
    for inference in inferences:
        if len(inference.ops) != len(operators):
            raise BoardError(
                f"{model}: {len(inference.ops)} operators were marked, {len(operators)} told"
            )
    first, last = inferences[0], inferences[-1]
    if threads == 1 and (strange := _unsteady(operators, inferences)):
        raise VerificationError(
            f"{model}: the counts of {strange.type} (operator {strange.index}) differ from run to "
            "run"
        )
    settled = [one.total for one in inferences[_SETTLED:] or inferences[1:] or [first]]
    counted = ModelCount(
        model=model.stem,
        core=core,
        threads=threads,
        patched=facts.runner.patched,
        ops=[_operator(op, parts) for op, parts in zip(operators, last.ops, strict=True)],
        other=last.other,
        prepare=ready + first.total - last.total,
        spread=(max(settled) - min(settled)) / max(settled),
    )
    check_kernels(counted)
    return counted


def _unsteady(operators: Sequence[Op], inferences: Sequence[Inference]) -> Op | None:
    """An operator that takes other instructions in another run.

    TensorFlow Lite's own operators may prepare something when they run for the first time, and so
    do convolutions that skip taps: the biases for what the skipped ones would have added.
    """
    for index, op in enumerate(operators):
        counts = [one.ops[index] for one in inferences]
        prepares = not op.delegated or computes_any_rows(op.ukernel)
        if any(count != counts[-1] for count in counts[1 if prepares else 0 :]):
            return op
    return None


def _operator(op: Op, functions: dict[str, int]) -> OpCount:
    return OpCount(
        type=op.type,
        delegated=op.delegated,
        instructions=_without_waiting(functions),
        functions=functions,
        ukernel=op.ukernel,
        mr=op.mr,
        nr=op.nr,
        pixels=op.pixels,
        kept=op.kept,
    )


def check_kernels(counted: ModelCount) -> None:
    """Make sure that XNNPACK took the matrix kernels that it takes on the core.

    Raises:
        VerificationError: it took those of another core.
    """
    choices = [core_facts(core).kernels for core in played_cores("aarch64")]
    ran: dict[str, set[str]] = {}
    for op in counted.ops:
        for name in op.functions:
            if match := _GEMM.match(name):
                ran.setdefault(match[1], set()).add(match[2])
    for kind, tiles in ran.items():
        own = core_facts(counted.core).kernels.get(kind)
        several_rows = {tile for tile in tiles if not tile.startswith("1x")}
        if own is None or not several_rows:
            continue
        strange = {
            tile
            for tile in several_rows
            for choice in choices
            if kind in choice and re.fullmatch(choice[kind], tile) and not re.fullmatch(own, tile)
        }
        if strange or not any(re.fullmatch(own, tile) for tile in several_rows):
            raise VerificationError(
                f"{counted.model}: {kind} ran {', '.join(sorted(several_rows))}, which XNNPACK "
                f"does not take on a {counted.core}",
                hint="QEMU did not play the core, or a patch changed the choice: see the core's "
                "kernels in toolchain/hardware/facts.toml",
            )


class Inference:
    """What was counted of one marked run."""

    def __init__(self) -> None:
        self.ops: list[dict[str, int]] = []
        """Instructions by function, an entry an operator."""
        self.other = 0

    @property
    def total(self) -> int:
        """Instructions of the run, waiting left out."""
        return self.other + sum(_without_waiting(op) for op in self.ops)


def read_marks(text: str) -> tuple[int, list[Inference]]:
    """Read what the plugin wrote; see ``count_instructions.c`` for the form.

    Returns:
        The instructions until the model could run, and the marked runs.

    Raises:
        BoardError: it is cut off, or marks do not follow each other as they should.
    """
    lines = text.splitlines()
    if not lines or lines[-1] != "end":
        raise BoardError("QEMU's plugin did not finish its counts: was the emulator stopped?")
    names = {
        int(words[1]): words[2]
        for words in (line.split(maxsplit=2) for line in lines if line.startswith("function "))
    }
    inferences: list[Inference] = []
    ready = 0
    running = inside = False
    for line in lines:
        if not line.startswith("mark "):
            continue
        kind, functions = _mark(line.split(), names)
        if kind == _READY and not running:
            ready = _without_waiting(functions)
            continue
        begins = kind in (_OPERATOR_BEGIN, _PART_BEGIN)
        if running == (kind == _RUN_BEGIN) or (kind == _OPERATOR_END) != inside:
            raise BoardError("the runner's marks do not follow each other as they should")
        if kind == _RUN_BEGIN:
            inferences.append(Inference())
        elif kind == _OPERATOR_END:
            op = inferences[-1].ops[-1]
            for name, count in functions.items():
                op[name] = op.get(name, 0) + count
        else:
            inferences[-1].other += _without_waiting(functions)
            if kind == _OPERATOR_BEGIN:
                inferences[-1].ops.append({})
        running, inside = kind != _RUN_END, begins
    return ready, inferences


def _mark(words: Sequence[str], names: dict[int, str]) -> tuple[int, dict[str, int]]:
    functions = {}
    for pair in words[3:]:
        number, _, count = pair.partition(":")
        functions[names[int(number)]] = int(count)
    return int(words[1]), functions


def _without_waiting(functions: dict[str, int]) -> int:
    return sum(count for name, count in functions.items() if name != WAITING)


def qemu_version() -> str:
    """The line that QEMU's user mode tells of itself."""
    command = ["qemu-aarch64", "--version"]
    try:
        said = children.run(command, limit=children.LOOK_S, fault=BoardError).stdout
    except OSError:
        return "not installed"
    return said.splitlines()[0] if said else "unknown"
