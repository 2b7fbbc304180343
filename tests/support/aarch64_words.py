"""Words of AArch64 code for tests, without an assembler: a base for each form, and registers."""

from __future__ import annotations

_BASES = {
    "add": 0x8B000000,
    "add lsl 3": 0x8B000C00,
    "add lsl 8": 0x8B002000,
    "b.ne": 0x54000001,
    "cbnz": 0xB5000000,
    "cset": 0x9A9F07E0,
    "dup": 0x4E040C00,
    "fadd": 0x4E20D400,
    "fcmp": 0x1E202000,
    "fcvtn": 0x0E216800,
    "fmadd": 0x1F000000,
    "fmla": 0x4E20CC00,
    "fmla s[0]": 0x4F801000,
    "fmov x, d": 0x9E660000,
    "fmul": 0x6E20DC00,
    "ld1 lane": 0x0D409000,
    "ld1 x4 post": 0x4CDF2800,
    "ld1r": 0x4D40C800,
    "ldp q": 0xAD400000,
    "ldr d": 0xFD400000,
    "ldr q": 0x3DC00000,
    "ldr q post": 0x3CC10400,
    "ldr x": 0xF9400000,
    "lsl": 0xD37FF800,
    "madd w": 0x1B000000,
    "mov d[1]": 0x4E181C00,
    "movi": 0x4F000400,
    "movk": 0xF2800000,
    "mul x": 0x9B007C00,
    "nop": 0xD503201F,
    "orr immediate": 0x4F001420,
    "prfm": 0xF9800000,
    "ret": 0xD65F03C0,
    "sadalp": 0x4E606800,
    "sdiv w": 0x1AC00C00,
    "sdot": 0x4E809400,
    "smlal": 0x0E608000,
    "smull": 0x0E60C000,
    "smmla": 0x4E80A400,
    "sqxtn2": 0x4E614800,
    "str q": 0x3D800000,
    "str x": 0xF9000000,
    "subs 1": 0xF1000400,
    "tbl": 0x4E000000,
    "vector add": 0x4EA08400,
    "xtn": 0x0E612800,
}
_FIELDS = (0, 5, 16, 10)
"""Where the registers of an instruction stand: Rd, Rn, Rm, Ra."""


def word(name: str, *registers: int) -> bytes:
    """One instruction.

    Args:
        name: of the form, as in the table above.
        registers: Rd, Rn, Rm, Ra, as many as it has.
    """
    code = _BASES[name]
    for at, register in zip(_FIELDS, registers, strict=False):
        code |= register << at
    return code.to_bytes(4, "little")


def back(instructions: int) -> bytes:
    """``b.ne`` to what stands so many instructions before it."""
    return (_BASES["b.ne"] | ((-instructions & 0x7FFFF) << 5)).to_bytes(4, "little")
