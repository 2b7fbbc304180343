from __future__ import annotations

import struct
from pathlib import Path

import pytest

from support.aarch64_words import back, word
from toolchain.dev.timing import cross_check
from toolchain.dev.timing.cross_check import Opinion, chosen_loops, reasons, short_name, table
from toolchain.dev.timing.inner_loops import Loop, inner_loops
from toolchain.errors import BuildError
from toolchain.timing.core_table import TIMED_CORES, core_table
from toolchain.timing.pipeline import steady_cycles

PRODUCTS = [word("ldr q post", 30, 0), *(word("fmla", at, 30, 31) for at in range(4))]


def elf(path: Path, code: bytes, functions: dict[str, int]) -> Path:
    """A file with one section of code at 0x1000, and its functions' names."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in functions)
    symbols = bytes(24)
    at = 1
    for name, offset in functions.items():
        symbols += struct.pack("<IBBHQQ", at, 0x12, 0, 1, 0x1000 + offset, 0)
        at += len(name) + 1
    titles = b"\0.text\0.symtab\0.strtab\0.shstrtab\0"
    parts = [code, symbols, names, titles]
    places = [64 + sum(map(len, parts[:number])) for number in range(5)]

    def header(name: int, kind: int, flags: int, address: int, number: int, link: int = 0,
               entry: int = 0) -> bytes:  # fmt: skip
        size = len(parts[number])
        return struct.pack(
            "<IIQQQQIIQQ", name, kind, flags, address, places[number], size, link, 1, 4, entry
        )

    sections = [
        bytes(64), header(1, 1, 6, 0x1000, 0), header(7, 2, 0, 0, 1, 3, 24),
        header(15, 3, 0, 0, 2), header(23, 3, 0, 0, 3),
    ]  # fmt: skip
    first = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    first += struct.pack("<HHIQQQIHHHHHH", 3, 183, 1, 0, 0, places[4], 0, 64, 0, 0, 64, 5, 4)
    path.write_bytes(first + b"".join(parts) + b"".join(sections))
    return path


def test_an_inner_loop_is_straight_code_that_ends_in_a_branch_to_its_beginning(
    tmp_path: Path,
) -> None:
    inner = [*PRODUCTS, word("subs 1", 2, 2)]
    outer = [word("nop"), *inner, back(len(inner)), word("nop"), back(len(inner) + 3)]
    code = b"".join([word("ret"), *outer, word("ret")])
    found = list(inner_loops(elf(tmp_path / "a", code, {"before": 0, "kernel": 4})))
    assert [(loop.symbol, loop.address) for loop in found] == [("kernel", 0x1008)]
    assert found[0].code == b"".join([*inner, back(len(inner))])
    assert found[0].multiply_adds == 4 * 4


@pytest.mark.parametrize(
    ("code", "products"),
    [
        (word("fmla", 0, 1, 2), 4),
        (word("fmadd", 0, 1, 2, 3), 1),
        (word("sdot", 0, 1, 2), 16),
        (word("smlal", 0, 1, 2), 4),
        (word("add", 0, 1, 2), 0),
    ],
)
def test_products_are_counted_in_all_lanes(code: bytes, products: int) -> None:
    assert Loop("", 0, code).multiply_adds == products


def test_a_program_without_a_loop_of_the_table_is_told(tmp_path: Path) -> None:
    code = b"".join([*PRODUCTS, back(len(PRODUCTS))])
    program = elf(tmp_path / "a", code, {cross_check.RUNNER_LOOPS[0]: 0})
    with pytest.raises(BuildError, match="have only 1 of the loops"):
        chosen_loops(program, program)


def test_names_of_micro_kernels_are_shortened() -> None:
    assert short_name("xnn_f32_gemm_minmax_ukernel_4x8__asm_aarch64_neonfma") == (
        "f32_gemm_4x8_asm_neonfma"
    )


def test_a_difference_is_explained_by_what_takes_it_away() -> None:
    moves = Loop("", 0, b"".join(word("movi", at) for at in range(6)))
    ours = steady_cycles(moves.instructions, core_table("cortex-a72"))
    assert Opinion(ours, 3.0).far
    assert reasons(moves, "cortex-a72", 3.0) == ("halves",)
    assert reasons(moves, "cortex-a72", 300.0) is None
    chain = Loop("", 0, word("fmla", 0, 30, 31))
    assert reasons(chain, "cortex-a76", 4.0) == ("forwarding",)


def test_the_table_says_why_beside_what_is_far() -> None:
    loop = Loop("kernel", 0, b"".join(PRODUCTS))
    told = {core: [Opinion(4.0, 4.1)] for core in TIMED_CORES}
    told["cortex-a72"] = [Opinion(4.0, 3.0, 3.5, ("halves",))]
    told["cortex-a53"] = [Opinion(4.0, 8.0, None, None)]
    cells = table({"kernel": loop}, told).splitlines()[-1].strip("| ").split(" | ")
    assert cells[:2] == ["`kernel`", "16"]
    assert cells[2:4] == ["4.0 (4.0)", "8.0 (order)"]
    assert cells[4:7] == ["4.0 (4.0)", "3.0 (halves)", "3.5"]
    assert cells[7:] == ["4.0 (4.0)", "4.1"]
