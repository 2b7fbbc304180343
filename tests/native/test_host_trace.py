"""Traces of programs for x86-64, and llvm-mca as their core: the study of this machine."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.plugin_player import Player
from support.runner_models import write_network
from toolchain.build.bundle import Bundle
from toolchain.dev.timing.host.core import LlvmMca
from toolchain.dev.timing.host.trace import CACHES, trace_on_host
from toolchain.timing.edges import simulated_edges
from toolchain.timing.trace import START, Trace
from toolchain.timing.windows import windows_of

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="programs are compiled for x86-64"
)
TIMES, LINE = 5000, 64

# Its runs load each line of a stretch of memory, in a loop of four instructions.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
  long times = %d;
  char* memory = aligned_alloc(4096, times * 64);
  for (long i = 0; i < times * 64; i += 64) memory[i] = 1;
  for (int run = 0; run < 2; ++run) {
    char* p = memory;
    long n = times;
    syscall(SYS_clock_getres, 0x74696c65, 1);
    __asm__ volatile("1: mov (%%0), %%%%rax\n add $64, %%0\n dec %%1\n jnz 1b"
                     : "+r"(p), "+r"(n) : : "rax", "cc", "memory");
    syscall(SYS_clock_getres, 0x74696c65, 2);
  }
  FILE* told = fopen("output.json", "w");
  fputs("{}", told);
  return fclose(told);
}
"""


def compiled(source: Path, made: Path) -> None:
    command = ["gcc", "-O2", "-static", str(source), "-o", str(made)]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    folder = tmp_path_factory.mktemp("loop")
    (source := folder / "loop.c").write_text(PROGRAM % TIMES)
    made = folder / "loop"
    compiled(source, made)
    return trace_on_host(made, source)


def test_the_edges_of_a_loop_are_counted_exactly(loop: Trace) -> None:
    total = {
        edge: sum(window.edges.get(edge, 0) for window in loop.windows)
        for window in loop.windows
        for edge in window.edges
    }
    (before, after), times = max(total.items(), key=lambda item: item[1])
    assert before == after
    assert loop.blocks[after].instructions == 4
    assert loop.blocks[after].sizes == (3, 4, 3, 2)
    # The first turn is a block of its own: it begins behind the mark.
    assert times in (TIMES - 1, TIMES - 2)


def test_each_line_of_what_is_larger_than_l1d_is_missed_once(loop: Trace) -> None:
    assert CACHES.l1d.bytes < TIMES * LINE < CACHES.l2.bytes
    missed = sum(w.memory.l1_misses_stream + w.memory.l1_misses_random for w in loop.windows)
    assert TIMES <= missed <= TIMES + 60
    assert sum(w.memory.l2_misses_stream for w in loop.windows) < 60


def test_blocks_have_the_sizes_of_their_instructions(host_bundle: Bundle, tmp_path: Path) -> None:
    model = write_network(tmp_path / "m.tflite", masked=True)
    found = trace_on_host(host_bundle.runner, model)
    assert found.operators > 0
    assert found.instructions > 10_000
    for block in found.blocks:
        assert block.sizes is None or sum(block.sizes) == len(block.code)
    for window in found.windows:
        ran = sum(n * found.blocks[to].instructions for (_, to), n in window.edges.items())
        assert ran == window.instructions


# --- endings ---------------------------------------------------------------------------------

_LINE = re.compile(r"^\s*[0-9a-f]+:\t((?:[0-9a-f]{2} )+)\s*\t(.*)$")
GOES_ON, CONDITIONAL, CALL, INDIRECT, INDIRECT_CALL, RETURN = range(6)
YIELDS = 1 << 8


_PREFIXES = ("addr32", "bnd", "cs", "data16", "notrack", "repz")


def ending(text: str) -> int:
    """As the disassembler's words say."""
    words = [it for it in text.split() if it not in _PREFIXES]
    name, rest = words[0] if words else "", " ".join(words[1:])
    if re.match(r"^(j(?!mp)|loop)", name):
        return CONDITIONAL
    if name.startswith("call"):
        return INDIRECT_CALL if rest.startswith("*") else CALL
    if name.startswith("jmp"):
        return INDIRECT if rest.startswith("*") else GOES_ON
    return RETURN if re.match(r"^ret", name) else GOES_ON


def test_a_blocks_ending_is_told_as_the_disassembler_names_it(tmp_path: Path) -> None:
    player = Player(tmp_path)
    (source := tmp_path / "p.c").write_text("int main(void) { return 0; }")
    made = tmp_path / "p"
    compiled(source, made)
    dump = ["objdump", "-d", "-w", "--section=.text", str(made)]
    text = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
    seen = {
        bytes.fromhex(match[1]): match[2]
        for match in filter(None, map(_LINE.match, text.splitlines()))
        if "(bad)" not in match[2]
    }
    assert len(seen) > 20_000
    for code, words in seen.items():
        expected = ending(words) << 2 | (YIELDS if words.split()[0] == "pause" else 0)
        assert player.kind_of("x86_64", code) == expected, f"{code.hex()} {words}"


# --- llvm-mca --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    address: int
    code: bytes
    instructions: int


_MULTIPLY = bytes.fromhex("480fafc0")  # imul %rax, %rax: three cycles
_ADDS = bytes.fromhex("4883c001 4883c101 4883c201 4883c301")  # four registers
_BACK = bytes.fromhex("48ffcf 75f0")


@pytest.fixture(scope="module")
def core() -> LlvmMca:
    assert shutil.which("llvm-mca-19"), "make packages-dev installs it"
    return LlvmMca("znver4")


def test_a_chain_takes_its_latency(core: LlvmMca) -> None:
    blocks = [Block(0, _MULTIPLY * 8 + _BACK, 10)]
    found = simulated_edges(blocks, {(START, 0): 1, (0, 0): 1000}, core)
    assert found[0, 0] == pytest.approx(24, rel=0.05)


def test_what_is_independent_takes_its_throughput(core: LlvmMca) -> None:
    blocks = [Block(0, _ADDS * 4 + _BACK, 18)]
    found = simulated_edges(blocks, {(START, 0): 1, (0, 0): 1000}, core)
    # 17 additions on four units; the branch has one of its own.
    assert 4 <= found[0, 0] <= 5


def test_a_trace_is_costed(core: LlvmMca, loop: Trace) -> None:
    found = windows_of(loop, core, has_l3=True)
    assert TIMES * 0.8 < found.core.sum() < TIMES * 2.5
