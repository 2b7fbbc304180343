"""Traces of small programs whose accesses, edges and branches are known, and of the runner."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from support.plugin_player import Player
from support.runner_models import write_network
from toolchain.build.bundle import Bundle
from toolchain.dev.bench.counts import read_marks
from toolchain.errors import BoardConfigError, BoardError
from toolchain.hardware.board_file import load_board
from toolchain.hardware.caches import Cache, Caches, SecondCache
from toolchain.hardware.facts import Core
from toolchain.timing import trace
from toolchain.timing.qemu_plugin import compiled_plugin
from toolchain.timing.trace import START, WINDOW, Memory, Trace, trace_model, trace_program

PI4 = Caches(l1d=Cache(kib=32, ways=2), l2=SecondCache(kib=1024, ways=16))
LINE = 64

# What every program has: marks as tileskip-run makes them, and memory that is there.
_COMMON = r"""
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
static void mark(long kind) { syscall(SYS_clock_getres, 0x74696c65, kind); }
static char* memory(long bytes) {
  char* p = aligned_alloc(65536, bytes);
  for (long i = 0; i < bytes; i += 4096) p[i] = 1;
  return p;
}
static void load(const char* p, long times, long step) {
  __asm__ volatile("1: ldr x9, [%0]\n add %0, %0, %2\n subs %1, %1, #1\n b.ne 1b"
                   : "+r"(p), "+r"(times) : "r"(step) : "x9", "cc", "memory");
}
static void store(char* p, long times, long step) {
  __asm__ volatile("1: str xzr, [%0]\n add %0, %0, %2\n subs %1, %1, #1\n b.ne 1b"
                   : "+r"(p), "+r"(times) : "r"(step) : "cc", "memory");
}
static void turn(long n) {
  __asm__ volatile("1: subs %0, %0, #1\n b.ne 1b" : "+r"(n) : : "cc");
}
"""


class Compiled:
    """Programs for aarch64, and their traces; each is made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def program(self, body: str) -> Path:
        place = self._folder / f"p{len(list(self._folder.glob('*.c')))}.c"
        place.write_text(f"{_COMMON}\n{body}")
        made = place.with_suffix("")
        compiler = [
            "aarch64-linux-gnu-gcc", "-O2", "-static", "-pthread", str(place), "-o", str(made),
        ]  # fmt: skip
        subprocess.run(compiler, check=True)
        return made

    def trace(
        self, body: str, *more: str, core: Core = "cortex-a72", caches: Caches = PI4
    ) -> Trace:
        return trace_program([self.program(body), *more], core, caches)

    def run(self, work: str, before: str = "", **settings: object) -> Memory:
        """What the second of two runs does to memory."""
        body = f"""int main(void) {{ {before}
          for (int run = 0; run < 2; ++run) {{ mark(1); {work} mark(2); }} }}"""
        return total(self.trace(body, **settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return Compiled(tmp_path_factory.mktemp("programs"))


def total(found: Trace, operator: int | None = None) -> Memory:
    """Of all windows, or of those of an operator."""
    chosen = [w.memory for w in found.windows if operator is None or w.operator == operator]
    return Memory(*(sum(getattr(m, field.name) for m in chosen) for field in fields(Memory)))


def l1_loads(memory: Memory) -> int:
    return memory.l1_misses_stream + memory.l1_misses_random


def l2_loads(memory: Memory) -> int:
    return memory.l2_misses_stream + memory.l2_misses_random


FEW = 60
"""Accesses and lines of what surrounds the work: calls, marks, the stack."""


# --- memory ----------------------------------------------------------------------------------


def test_what_is_larger_than_every_cache_misses_each_line_once(compiled: Compiled) -> None:
    lines = (8 << 20) // LINE
    memory = compiled.run(f"load(p, {lines}, 64);", f"char* p = memory({lines * LINE});")
    assert lines <= memory.loads <= lines + FEW
    assert lines <= l1_loads(memory) <= lines + FEW
    assert lines - FEW <= l2_loads(memory) <= lines + FEW
    assert memory.l1_misses_random < FEW
    assert 2048 <= memory.page_walks <= 2048 + FEW
    assert memory.written_back < FEW


def test_each_word_of_a_line_is_a_load_and_a_line_is_missed_once(compiled: Compiled) -> None:
    lines = (2 << 20) // LINE
    memory = compiled.run(f"load(p, {lines * 8}, 8);", f"char* p = memory({lines * LINE});")
    assert lines * 8 <= memory.loads <= lines * 8 + FEW
    assert lines <= l1_loads(memory) <= lines + FEW


def test_what_fits_into_l1d_is_missed_by_the_first_of_two_passes_alone(compiled: Compiled) -> None:
    lines = (16 << 10) // LINE
    found = compiled.trace(
        f"""int main(void) {{ char* p = memory({lines * LINE}); char* q = memory(4 << 20);
          mark(6); load(q, {(4 << 20) // LINE}, 64); mark(1);
          mark(3); load(p, {lines}, 64); mark(5);
          mark(3); load(p, {lines}, 64); mark(5); mark(2); }}""",
        caches=PI4.model_copy(update={"page_kib": 64}),
    )
    first, second = total(found, 0), total(found, 1)
    assert lines <= l1_loads(first) <= lines + FEW
    assert l1_loads(second) < FEW
    assert first.loads - second.loads < FEW


def test_what_fits_into_l2_is_missed_in_l1d_alone(compiled: Compiled) -> None:
    lines = (256 << 10) // LINE
    memory = compiled.run(f"load(p, {lines}, 64);", f"char* p = memory({lines * LINE});")
    assert lines <= l1_loads(memory) <= lines + FEW
    assert l2_loads(memory) < FEW


def test_a_stride_of_a_page_thrashes_the_ways_of_few_sets(compiled: Compiled) -> None:
    # 16 lines: of one set, which has 2 ways in L1D and 16 in L2, or of 16 sets.
    work = "for (int i = 0; i < 50; ++i) load(p, 16, {});"
    before = "char* p = memory(8 << 20);"
    caches = PI4.model_copy(update={"page_kib": 64})
    alike = compiled.run(work.format(65536), before, caches=caches)
    apart = compiled.run(work.format(65536 + 64), before, caches=caches)
    assert 50 * 16 <= l1_loads(alike) <= 50 * 16 + FEW
    assert l1_loads(apart) <= 16 + FEW
    assert l2_loads(alike) <= 16 + FEW


def test_dirty_lines_are_written_back_once(compiled: Compiled) -> None:
    lines = (8 << 20) // LINE
    memory = compiled.run(f"store(p, {lines}, 64);", f"char* p = memory({lines * LINE});")
    assert lines <= memory.stores <= lines + FEW
    assert lines <= memory.l1_misses_store <= lines + FEW
    assert lines - FEW <= memory.l2_misses_store <= lines + FEW
    assert lines - FEW <= memory.written_back <= lines + FEW
    assert l1_loads(memory) < FEW


def test_a_core_that_streams_writes_reads_no_line_for_them(compiled: Compiled) -> None:
    lines = (8 << 20) // LINE
    board = load_board("rpi3").caches
    memory = compiled.run(
        f"store(p, {lines}, 64);", f"char* p = memory({lines * LINE});",
        core="cortex-a53", caches=board,
    )  # fmt: skip
    assert lines - FEW <= memory.l1_misses_store <= lines + FEW
    assert memory.l2_misses_store < FEW
    assert lines - 8192 <= memory.written_back <= lines + 8192


def test_an_l3_catches_what_an_l2_of_its_own_does_not_hold(compiled: Compiled) -> None:
    lines = (1536 << 10) // LINE
    board = load_board("rpi5").caches
    memory = compiled.run(
        f"load(p, {lines}, 64);", f"char* p = memory({lines * LINE});",
        core="cortex-a76", caches=board,
    )  # fmt: skip
    assert l2_loads(memory) > lines / 2
    assert memory.l3_misses < lines / 20


@pytest.mark.parametrize(
    ("code", "loads", "lines"),
    [
        ("ldr q0, [%0], #64", 1, 1),
        ("ldp q0, q1, [%0], #64", 1, 1),
        ("ldp x9, x10, [%0], #64", 1, 1),
        ("ldr q0, [%0, #56]\\n add %0, %0, #128", 1, 2),
        ("ldur x9, [%0, #60]\\n add %0, %0, #128", 1, 2),
        ("ld1 {v0.16b-v3.16b}, [%0], #64", 1, 1),
        ("ld4 {v0.16b-v3.16b}, [%0], #64", 1, 1),
        ("ld1r {v0.4s}, [%0]\\n add %0, %0, #64", 1, 1),
        ("prfm pldl1keep, [%0]\\n add %0, %0, #64", 0, 0),
        ("ldxr x9, [%0]\\n add %0, %0, #64", 1, 1),
    ],
)
def test_an_instruction_is_one_load_however_wide(
    compiled: Compiled, code: str, loads: int, lines: int
) -> None:
    times = 20_000
    memory = compiled.run(
        f"""char* q = p; long n = {times};
            __asm__ volatile("1: {code}\\n subs %1, %1, #1\\n b.ne 1b" : "+r"(q), "+r"(n)
              : : "x9", "x10", "v0", "v1", "v2", "v3", "cc", "memory");""",
        f"char* p = memory({times * 128 + 4096});",
    )
    assert times * loads <= memory.loads <= times * loads + FEW
    assert times * lines <= l1_loads(memory) <= times * lines + FEW


def test_an_exchange_loads_and_stores(compiled: Compiled) -> None:
    memory = compiled.run(
        """long n = 1000; __asm__ volatile(".arch armv8.1-a\\n1: ldadd %0, x9, [%1]\\n"
           "subs %0, %0, #1\\n b.ne 1b" : "+r"(n) : "r"(p) : "x9", "cc", "memory");""",
        "char* p = memory(4096);",
        core="cortex-a76",
    )
    assert 1000 <= memory.loads <= 1000 + FEW
    assert 1000 <= memory.stores <= 1000 + FEW


# --- edges, windows and branches -------------------------------------------------------------


def edges_of(found: Trace) -> Counter[tuple[int, int]]:
    edges: Counter[tuple[int, int]] = Counter()
    for window in found.windows:
        edges.update(window.edges)
    return edges


def test_the_edges_of_a_loop_are_counted_exactly(compiled: Compiled) -> None:
    found = compiled.trace("int main(void) { mark(1); mark(3); turn(12345); mark(5); mark(2); }")
    (loop,) = [
        i for i, block in enumerate(found.blocks)
        if (i, i) in edges_of(found) and block.instructions == 2
    ]  # fmt: skip
    edges = edges_of(found)
    # QEMU enters the loop's code by a block that begins before it.
    entered = sum(times for (a, b), times in edges.items() if b == loop and a != loop)
    assert (edges[loop, loop], entered) == (12343, 1)
    assert sum(times for (a, b), times in edges.items() if a == loop and b != loop) == 1
    assert found.blocks[loop].symbol == "main"


def test_edges_make_a_path_through_each_window(compiled: Compiled) -> None:
    found = compiled.trace(
        """int main(void) { char* p = memory(65536); mark(1);
          for (int i = 0; i < 3; ++i) { mark(3); qsort(p, 500, 8, (void*)strcmp); mark(5); }
          mark(2); }"""
    )
    assert found.operators == 3
    for window in found.windows:
        comes, goes = Counter[int](), Counter[int]()
        for (before, after), times in window.edges.items():
            goes[before] += times
            comes[after] += times
        assert goes.pop(START) == 1
        # Every block but the last is left as often as it is entered.
        (last,) = (comes - goes).elements()
        assert comes - goes == Counter([last])
        assert window.instructions == sum(
            times * found.blocks[block].instructions for block, times in comes.items()
        )


def test_windows_end_at_their_size_and_at_marks(compiled: Compiled) -> None:
    found = compiled.trace(
        """int main(void) { mark(1); turn(1000); mark(3); turn(87500); mark(5);
          mark(4); turn(1000); mark(5); mark(3); turn(500); mark(5); mark(2); }"""
    )
    sizes = [(w.operator, w.instructions) for w in found.windows]
    assert [operator for operator, _ in sizes] == [None, 0, 0, 0, 0, None, 0, None, 1, None] or [
        operator for operator, _ in sizes
    ] == [None, 0, 0, 0, 0, None, 0, None, 1]
    operators = [size for operator, size in sizes if operator == 0]
    assert operators[:3] == pytest.approx([WINDOW] * 3, abs=FEW)
    assert sum(operators) == pytest.approx(3.5 * WINDOW + 2000, abs=4 * FEW)
    assert {w.thread for w in found.windows} == {0}


def test_the_last_run_alone_is_told(compiled: Compiled) -> None:
    found = compiled.trace(
        """int main(void) { turn(5000); mark(6); mark(1); mark(3); turn(7000); mark(5); mark(2);
          turn(9000); mark(1); mark(3); turn(100); mark(5); mark(3); turn(30); mark(5); mark(2);
          turn(11000); }"""
    )
    assert found.operators == 2
    assert found.instructions < 260 + 6 * FEW


def test_branches_are_mispredicted_where_they_cannot_be_known(compiled: Compiled) -> None:
    body = """int main(void) {{ mark(1); mark(3); unsigned x = 1; long n = 100000, odd = 0;
      __asm__ volatile(
        "1: eor %w0, %w0, %w0, lsl #13\\n eor %w0, %w0, %w0, lsr #17\\n"
        "eor %w0, %w0, %w0, lsl #5\\n {test}\\n add %2, %2, #1\\n"
        "2: subs %1, %1, #1\\n b.ne 1b" : "+r"(x), "+r"(n), "+r"(odd) : : "cc", "x9");
      mark(5); mark(2); return odd & 1; }}"""
    chance = compiled.trace(body.format(test="tbz %w0, #0, 2f"))
    known = compiled.trace(body.format(test="tbz %1, #2, 2f"))
    assert 0.4 < sum(w.mispredicted for w in chance.windows) / 100_000 < 0.6
    assert sum(w.mispredicted for w in known.windows) < 200


# --- the same each time ----------------------------------------------------------------------

_ALL_SORTS = r"""int main(int argc, char** argv) {
  char* p = memory(1 << 20); void* held[100]; char on_stack[3000];
  for (int run = 0; run < 2; ++run) { mark(1);
    for (int i = 0; i < 100; ++i) { held[i] = malloc(100 * i); memset(held[i], i, 100 * i); }
    snprintf(on_stack, sizeof on_stack, "%s %s %d", argv[0], getenv("PATH"), getppid() > 0);
    for (int i = 0; i < 100; ++i) free(held[i]);
    load(p, 9000, 64); mark(2); } }"""


def test_a_trace_is_the_same_each_time_wherever_it_is_made(
    compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compiled.program(_ALL_SORTS)
    first = trace_program([program], "cortex-a72", PI4, contents=["first"])
    place = tmp_path / "another folder whose name is much longer"
    place.mkdir()
    other = place / program.name
    other.write_bytes(program.read_bytes())
    other.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("SOMETHING", "x" * 5000)
    assert trace_program([other], "cortex-a72", PI4, contents=["second"]) == first


def test_a_trace_is_kept(compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    program = compiled.program(_ALL_SORTS + "\n")
    first = trace_program([program], "cortex-a72", PI4)

    def fails(*_: object) -> None:
        raise AssertionError("it was run again")

    monkeypatch.setattr(trace, "_run", fails)
    assert trace_program([program], "cortex-a72", PI4) == first
    with pytest.raises(AssertionError):
        trace_program([program], "cortex-a53", PI4)


def test_a_program_sees_the_boards_caches_and_not_the_hosts(compiled: Compiled) -> None:
    names = ("cpu0/cache/index2/size", "cpu3/cache/index0/size", "possible",
             "cpu0/regs/identification/midr_el1")  # fmt: skip
    shows = "".join(
        f'show("/sys/devices/system/cpu/{name}", "{last}");'
        for name, last in zip(names, [","] * 3 + [""], strict=True)
    )
    found = compiled.trace(
        f"""static FILE* out;
        static void show(const char* path, const char* after) {{
          char text[100] = ""; FILE* in = fopen(path, "r");
          if (in && fgets(text, sizeof text, in)) text[strcspn(text, "\\n")] = 0;
          fprintf(out, "\\"%s\\"%s", text, after); }}
        int main(void) {{ mark(1); mark(2); out = fopen("output.json", "w"); fputs("[", out);
          {shows} fputs("]", out); fclose(out); }}"""
    )
    assert found.output is not None
    assert json.loads(found.output) == ["1024K", "32K", "0-3", "0x00000000410fd083"]


# --- several threads -------------------------------------------------------------------------


def test_threads_have_windows_of_their_own_and_share_l2(compiled: Compiled) -> None:
    lines = (128 << 10) // LINE
    found = compiled.trace(
        f"""static char* p; static pthread_barrier_t begin, end;
        static void* work(void* unused) {{
          for (int run = 0; run < 2; ++run) {{
            pthread_barrier_wait(&begin); load(p, {lines}, 64); pthread_barrier_wait(&end); }}
          return unused; }}
        int main(void) {{ p = memory({lines * LINE}); pthread_t thread;
          pthread_barrier_init(&begin, 0, 2); pthread_barrier_init(&end, 0, 2);
          pthread_create(&thread, 0, work, 0);
          for (int run = 0; run < 2; ++run) {{ mark(1); mark(3); pthread_barrier_wait(&begin);
            load(p, {lines}, 64); pthread_barrier_wait(&end); mark(5); mark(2); }}
          pthread_join(thread, 0); }}"""
    )
    assert {w.thread for w in found.windows} == {0, 1}
    for thread in range(2):
        windows = [w.memory for w in found.windows if w.thread == thread and w.operator == 0]
        loads = sum(memory.loads for memory in windows)
        assert lines <= loads <= lines + 10 * FEW
        missed = sum(l1_loads(memory) for memory in windows)
        assert lines <= missed <= lines + 5 * FEW
        assert sum(l2_loads(memory) for memory in windows) < 5 * FEW


# --- what does not work is said --------------------------------------------------------------


def test_a_program_that_marks_nothing_is_told(compiled: Compiled) -> None:
    with pytest.raises(BoardError, match="marked no run"):
        compiled.trace("int main(void) { turn(10); }")


def test_a_program_that_fails_is_told_with_its_words(compiled: Compiled) -> None:
    with pytest.raises(BoardError, match="failed: no such luck"):
        compiled.trace('int main(void) { fputs("no such luck\\n", stderr); return 3; }')


def test_a_program_that_is_killed_is_told(compiled: Compiled) -> None:
    with pytest.raises(BoardError, match="failed"):
        compiled.trace("int main(void) { mark(1); abort(); }")


def test_caches_that_cannot_be_played_are_told(compiled: Compiled) -> None:
    odd = Caches(l1d=Cache(kib=48, ways=3), l2=SecondCache(kib=1024, ways=16))
    with pytest.raises(BoardError, match="such caches cannot be played"):
        compiled.trace("int main(void) { mark(1); mark(2); }", core="cortex-a76", caches=odd)


def test_a_board_without_caches_is_told(qemu_bundle: Bundle, tmp_path: Path) -> None:
    model = write_network(tmp_path / "m.tflite", masked=False)
    with pytest.raises(BoardConfigError, match=r"has no \[caches\]"):
        trace_model(qemu_bundle.runner, model, load_board("qemu"))
    with pytest.raises(BoardConfigError, match="no trace is made"):
        trace_model(qemu_bundle.runner, model, load_board("rpi3-armv7"))


# --- the runner ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rpi3", "rpi4", "rpi5"])
def test_operators_take_the_instructions_that_are_counted(
    qemu_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model = write_network(tmp_path / "m.tflite", masked=True)
    counts, run = tmp_path / "counts", trace._run
    counter = f"{compiled_plugin('count_instructions')},out={counts}"

    def with_the_counter(command: Sequence[str], *more: object) -> None:
        at = command.index("-plugin")
        run([*command[:at], "-plugin", counter, *command[at:]], *more)  # type: ignore[arg-type]

    monkeypatch.setattr(trace, "_run", with_the_counter)
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    found = trace_model(qemu_bundle.runner, model, load_board(name))
    _, inferences = read_marks(counts.read_text())
    assert found.instructions == inferences[-1].total
    assert found.operators == len(inferences[-1].ops)
    for number, op in enumerate(inferences[-1].ops):
        mine = sum(w.instructions for w in found.windows if w.operator == number)
        assert mine == sum(op.values())
    assert found.output is not None
    assert len(json.loads(found.output)["ops"]) == found.operators + 1


def test_more_threads_do_about_the_same_work(qemu_bundle: Bundle, tmp_path: Path) -> None:
    model = write_network(tmp_path / "m.tflite", masked=False)
    board = load_board("rpi4")
    alone, together = (trace_model(qemu_bundle.runner, model, board, threads=n) for n in (1, 3))
    assert {w.thread for w in together.windows} <= {0, 1, 2}
    one, other = (sum(w.instructions for w in t.windows if w.operator is not None)
                  for t in (alone, together))  # fmt: skip
    assert other == pytest.approx(one, rel=0.3)


# --- instructions ----------------------------------------------------------------------------

_LINE = re.compile(r"^\s*[0-9a-f]+:\t([0-9a-f]{8}) \t(\S+)(?:\t(.*))?$")
_LOADS = re.compile(r"^(ld|cas|swp)")
_STORES = re.compile(r"^(st|cas|swp)")
# No core that is played has tags of memory, or SVE.
_TAGS, _SVE = re.compile(r"^(ldg|st2?z?2?gm?$)"), 0b0010
_BOTH = re.compile(r"^ld(add|clr|eor|set|[su](max|min))")


def test_instructions_are_told_as_the_disassembler_names_them(
    compiled: Compiled, tmp_path: Path
) -> None:
    player = Player(tmp_path)
    program = compiled.program('int main(void) { puts(getenv("PATH")); pthread_exit(0); }')
    dump = ["aarch64-linux-gnu-objdump", "-d", str(program)]
    text = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
    seen = {}
    for match in filter(None, map(_LINE.match, text.splitlines())):
        seen[int(match[1], 16)] = match[2]
    assert len(seen) > 20_000
    conditional = re.compile(r"^(b\.|cbn?z|tbn?z)")
    endings = {"bl": 2, "br": 3, "blr": 4, "ret": 5}
    for code, name in seen.items():
        if name in (".inst", ".word", "udf") or _TAGS.match(name) or code >> 25 & 0xF == _SVE:
            continue
        loads = bool(_LOADS.match(name))
        stores = bool(_STORES.match(name) or _BOTH.match(name))
        ending = 1 if conditional.match(name) else endings.get(name, 0)
        assert player.kind(code) == loads | stores << 1 | ending << 2, f"{code:08x} {name}"
