"""AArch64 machine code as a pipeline sees it: what each instruction is, reads and writes.

Capstone says what an operand is. What the operand is for (read, written, accumulated into) is told
here by the class of the instruction, since a pipeline asks for more than the architecture does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import capstone
from capstone import arm64_const

STACK_POINTER: Final = 31
FIRST_VECTOR: Final = 32
FLAGS: Final = 64
REGISTERS: Final = 65
"""Registers are numbers: ``x0`` to ``x30``, ``sp``, ``v0`` to ``v31``, the flags."""

UNKNOWN: Final = "unknown"
"""The class of a word that is no instruction, or one that no class below names."""

_CLASSES: Final = {
    # --- integers ---
    "alu": "add sub adds subs and ands orr eor bic bics orn eon mov movz movn movk mvn cmp cmn tst "
    "neg negs adc adcs sbc sbcs ngc ngcs adr adrp clz cls",
    "select": "csel csinc csinv csneg cset csetm cinc cinv cneg",
    "compare_conditionally": "ccmp ccmn",
    "bitfield": "lsl lsr asr ror sxtb sxth sxtw uxtb uxth ubfx sbfx ubfiz sbfiz ubfm sbfm extr "
    "rbit rev rev16 rev32",
    "bitfield_insert": "bfi bfxil bfm bfc",
    "shift_by_register": "lslv lsrv asrv rorv",
    "multiply": "mul mneg madd msub",
    "multiply_long": "smull umull smnegl umnegl smaddl umaddl smsubl umsubl",
    "multiply_high": "smulh umulh",
    "divide": "sdiv udiv",
    "crc": "crc32b crc32h crc32w crc32x crc32cb crc32ch crc32cw crc32cx",
    # --- control ---
    "branch": "b cbz cbnz tbz tbnz",
    "branch_link": "bl",
    "branch_register": "br ret",
    "branch_link_register": "blr",
    "nop": "nop yield wfe wfi sev sevl hint bti csdb paciasp autiasp pacibsp autibsp xpaclri",
    "barrier": "dmb dsb isb clrex",
    "system": "mrs msr svc brk hlt udf dc ic at tlbi sys sysl eret",
    # --- memory, integers ---
    "load": "ldr ldrb ldrh ldrsb ldrsh ldrsw ldur ldurb ldurh ldursb ldursh ldursw ldtr ldtrb "
    "ldtrh ldtrsb ldtrsh ldtrsw",
    "load_pair": "ldp ldnp ldpsw",
    "store": "str strb strh stur sturb sturh sttr sttrb sttrh",
    "store_pair": "stp stnp",
    "load_acquire": "ldar ldarb ldarh ldapr ldaprb ldaprh ldlar ldlarb ldlarh ldapur",
    "store_release": "stlr stlrb stlrh stllr stllrb stllrh stlur",
    "load_exclusive": "ldxr ldxrb ldxrh ldxp ldaxr ldaxrb ldaxrh ldaxp",
    "store_exclusive": "stxr stxrb stxrh stxp stlxr stlxrb stlxrh stlxp",
    "prefetch": "prfm prfum",
    # --- floating point; scalars are 64-bit vectors ---
    "fp_add": "fadd fsub fabd",
    "fp_add_pairs": "faddp",
    "fp_simple": "fabs fneg",
    "fp_minmax": "fmax fmin fmaxnm fminnm",
    "fp_minmax_pairs": "fmaxp fminp fmaxnmp fminnmp",
    "fp_minmax_reduce": "fmaxv fminv fmaxnmv fminnmv",
    "fp_multiply": "fmul fnmul fmulx",
    "fp_multiply_add": "fmla fmls",
    "fp_multiply_add_scalar": "fmadd fmsub fnmadd fnmsub",
    "fp_multiply_add_long": "fmlal fmlal2 fmlsl fmlsl2",
    "fp_divide": "fdiv",
    "fp_root": "fsqrt",
    "fp_compare": "facge facgt fcmeq fcmge fcmgt fcmle fcmlt",
    "fp_compare_flags": "fcmp fcmpe fccmp fccmpe",
    "fp_select": "fcsel",
    "fp_round": "frinta frinti frintm frintn frintp frintx frintz",
    "fp_convert": "scvtf ucvtf fcvtas fcvtau fcvtms fcvtmu fcvtns fcvtnu fcvtps fcvtpu fcvtzs "
    "fcvtzu",
    "fp_convert_size": "fcvt",
    "fp_widen": "fcvtl fcvtl2",
    "fp_narrow": "fcvtn fcvtn2 fcvtxn fcvtxn2",
    "fp_estimate": "frecpe frsqrte frecpx urecpe ursqrte",
    "fp_step": "frecps frsqrts",
    "fp_complex_add": "fcadd",
    "fp_complex_multiply_add": "fcmla",
    # --- vectors of integers ---
    "int_add": "shadd uhadd srhadd urhadd shsub uhsub cmeq cmge cmgt cmhi cmhs cmle cmlt smax "
    "smin umax umin smaxp sminp umaxp uminp",
    "int_add_complex": "abs sqabs sqneg sqadd uqadd sqsub uqsub suqadd usqadd addp saddlp uaddlp "
    "saddl saddl2 uaddl uaddl2 ssubl ssubl2 usubl usubl2 saddw saddw2 uaddw uaddw2 ssubw ssubw2 "
    "usubw usubw2 sabd uabd sabdl sabdl2 uabdl uabdl2 cmtst",
    "int_add_narrow": "addhn addhn2 subhn subhn2",
    "int_add_narrow_round": "raddhn raddhn2 rsubhn rsubhn2",
    "int_reduce": "addv saddlv uaddlv smaxv sminv umaxv uminv",
    "int_multiply": "mul pmul sqdmulh sqrdmulh",
    "int_multiply_add": "mla mls sqrdmlah sqrdmlsh",
    "int_multiply_long": "smull smull2 umull umull2 sqdmull sqdmull2",
    "int_multiply_add_long": "smlal smlal2 umlal umlal2 smlsl smlsl2 umlsl umlsl2 sqdmlal sqdmlal2 "
    "sqdmlsl sqdmlsl2",
    "polynomial": "pmull pmull2",
    "dot": "sdot udot",
    "int_accumulate": "saba uaba",
    "int_accumulate_long": "sabal sabal2 uabal uabal2 sadalp uadalp",
    "shift": "shl sshr ushr",
    "shift_round": "srshr urshr sqshlu",
    "shift_accumulate": "ssra usra",
    "shift_accumulate_round": "srsra ursra",
    "shift_insert": "sli sri",
    "shift_variable": "sshl ushl",
    "shift_variable_round": "srshl urshl sqshl uqshl sqrshl uqrshl",
    "widen": "sshll sshll2 ushll ushll2 sxtl sxtl2 uxtl uxtl2 shll shll2",
    "narrow": "xtn xtn2",
    "shift_narrow": "shrn shrn2",
    "narrow_saturate": "sqxtn sqxtn2 uqxtn uqxtn2 sqxtun sqxtun2 sqshrn sqshrn2 uqshrn uqshrn2 "
    "sqshrun sqshrun2 sqrshrn sqrshrn2 uqrshrn uqrshrn2 sqrshrun sqrshrun2 rshrn rshrn2",
    # --- vectors, bits and lanes ---
    "logic": "bcax eor3",
    "select_bits": "bsl bit bif",
    "immediate": "movi mvni",
    "count": "cnt",
    "permute": "zip1 zip2 uzp1 uzp2 trn1 trn2 ext rev64",
    "crypto": "aese aesd aesmc aesimc sha1c sha1h sha1m sha1p sha1su0 sha1su1 sha256h sha256h2 "
    "sha256su0 sha256su1",
}  # fmt: skip
"""What instructions do, as far as pipelines tell them apart -> mnemonics."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CLASS_OF: Final = {
    mnemonic: kind
    for kind, mnemonics in reversed(_CLASSES.items())
    for mnemonic in _words(mnemonics)
}
_ON_VECTORS: Final = {
    **dict.fromkeys(_words("add sub neg"), "int_add"),
    **dict.fromkeys(_words("and orr eor bic orn mvn not mov"), "logic"),
    **dict.fromkeys(_words("cls clz rbit"), "count"),
    **dict.fromkeys(_words("rev16 rev32"), "permute"),
    **dict.fromkeys(_words("mul pmul"), "int_multiply"),
    **dict.fromkeys(_words("smull umull"), "int_multiply_long"),
}
"""Mnemonics of integers that vectors have, too."""
_NO_RESULT: Final = _words("cmp cmn tst ccmp ccmn fcmp fcmpe fccmp fccmpe")
_ACCUMULATES: Final = _words(
    "fp_multiply_add fp_multiply_add_long fp_complex_multiply_add int_multiply_add "
    "int_multiply_add_long dot int_accumulate int_accumulate_long shift_accumulate "
    "shift_accumulate_round"
)
_ADDS_ITS_LAST: Final = _words("fp_multiply_add_scalar multiply multiply_long")
_READS_ITS_RESULT: Final = _words(
    "movk bfi bfxil bfm bfc bsl bit bif sli sri ins suqadd usqadd sha1c sha1m sha1p sha256h "
    "sha256h2 aese aesd"
)
_SETS_FLAGS: Final = _words("adds subs ands bics adcs sbcs negs ngcs") | _NO_RESULT
_READS_FLAGS: Final = _words("adc adcs sbc sbcs ngc ngcs")
_ARRANGEMENTS: Final = {
    getattr(arm64_const, f"ARM64_VAS_{name}"): (bits, size)
    for name, bits, size in (
        ("16B", 128, 8), ("8H", 128, 16), ("4S", 128, 32), ("2D", 128, 64), ("1Q", 128, 128),
        ("8B", 64, 8), ("4H", 64, 16), ("2S", 64, 32), ("1D", 64, 64),
        ("4B", 32, 8), ("2H", 32, 16), ("1B", 0, 8), ("1H", 0, 16), ("1S", 0, 32),
    )
}  # fmt: skip
_SIZES: Final = {"b": 8, "h": 16, "s": 32, "d": 64, "q": 128}
_ATOMIC: Final = re.compile(
    r"(ld(add|clr|eor|set|smax|smin|umax|umin)|st(add|clr|eor|set)|swp|casp?)"
)
_MULTIPLE: Final = re.compile(r"(ld|st)([1-4])(r?)$")


@dataclass(frozen=True)
class Instruction:
    """One instruction; registers are numbers (see :data:`REGISTERS`)."""

    kind: str
    """Its class, by which a core's table is read."""
    form: str
    """Which of the class: ``d`` or ``q`` for vectors of 64 or 128 bits, ``w`` or ``x``, ..."""
    text: str
    """As a disassembler writes it."""
    reads: tuple[int, ...] = ()
    """Without the address and the accumulator."""
    writes: tuple[int, ...] = ()
    accumulates: int | None = None
    """The register that is added to, needed late."""
    address: tuple[int, ...] = ()
    """Registers that the address is made of."""
    write_back: int | None = None
    """The base register, where it is written as well."""
    branch: bool = False

    @property
    def mnemonic(self) -> str:
        """The first word of the text."""
        return self.text.partition(" ")[0]


def decode(code: bytes) -> tuple[Instruction, ...]:
    """The instructions of straight code, a word each.

    Args:
        code: little-endian words of 4 bytes.
    """
    return tuple(decode_word(code[at : at + 4]) for at in range(0, len(code) - 3, 4))


@cache
def decode_word(word: bytes) -> Instruction:
    """One instruction; of class :data:`UNKNOWN` if it is none that is known."""
    found = next(_disassembler().disasm(word, 0, 1), None)
    if found is None:
        return Instruction(UNKNOWN, "", f".word 0x{int.from_bytes(word, 'little'):08x}")
    text = f"{found.mnemonic} {found.op_str}".strip()
    mnemonic = found.mnemonic.partition(".")[0]
    operands = [_Operand.of(found, it) for it in found.operands]
    if _is_memory(mnemonic):
        return _memory(mnemonic, text, operands, bool(found.writeback))
    return _plain(mnemonic, text, operands, _has_condition(found.cc))


@cache
def _disassembler() -> Any:
    engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)
    engine.detail = True
    return engine


def _has_condition(code: int) -> bool:
    return code not in (
        arm64_const.ARM64_CC_INVALID,
        arm64_const.ARM64_CC_AL,
        arm64_const.ARM64_CC_NV,
    )


@dataclass(frozen=True)
class _Operand:
    """What is asked of one operand of capstone's."""

    registers: tuple[int, ...]
    """One, or those of an address; without the zero register."""
    is_register: bool
    is_memory: bool = False
    is_vector: bool = False
    bits: int = 0
    """Of the register or of the vector."""
    size: int = 0
    """Bits of an element."""
    lane: bool = False
    shifted: bool = False
    """Shifted or extended on its way."""
    little: bool = False
    """Shifted to the left, by 4 at most."""

    @classmethod
    def of(cls, found: Any, it: Any) -> _Operand:
        if it.type == arm64_const.ARM64_OP_MEM:
            both = (_register(found, it.mem.base), _register(found, it.mem.index))
            return cls(tuple(r for r in both if r is not None), False, is_memory=True)
        if it.type != arm64_const.ARM64_OP_REG:
            return cls((), False)
        name = found.reg_name(it.reg)
        number = _register(found, it.reg)
        shifted = (it.shift.type != 0 and it.shift.value != 0) or it.ext != 0
        little = it.shift.type == arm64_const.ARM64_SFT_LSL and it.shift.value <= 4 and it.ext == 0
        lane = it.vector_index >= 0
        if number is not None and number >= FIRST_VECTOR and number != FLAGS:
            bits, size = _ARRANGEMENTS.get(it.vas, (0, 0))
            if not size:
                bits = size = _SIZES.get(name[0], 128)
            return cls((number,), True, False, True, bits, size, lane)
        bits = 32 if name.startswith("w") else 64
        return cls(
            () if number is None else (number,),
            True,
            False,
            False,
            bits,
            bits,
            lane,
            shifted,
            little,
        )


def _register(found: Any, code: int) -> int | None:
    """The number of a register; ``None`` for the zero register, and for none at all."""
    return _numbers(found.reg_name(code)) if code else None


@cache
def _numbers(name: str) -> int | None:
    if name in ("fp", "lr"):
        return 29 if name == "fp" else 30
    if name in ("sp", "wsp"):
        return STACK_POINTER
    if match := re.fullmatch(r"[xw](\d+)", name):
        return int(match[1])
    if match := re.fullmatch(r"[vqdshb](\d+)", name):
        return FIRST_VECTOR + int(match[1])
    return FLAGS if name == "nzcv" else None


# --- memory ------------------------------------------------------------------------------------


def _is_memory(mnemonic: str) -> bool:
    kind = _CLASS_OF.get(mnemonic, "")
    return (
        kind.startswith(("load", "store", "prefetch"))
        or _MULTIPLE.match(mnemonic) is not None
        or _ATOMIC.match(mnemonic) is not None
    )


def _memory(mnemonic: str, text: str, operands: list[_Operand], write_back: bool) -> Instruction:
    at = next((i for i, it in enumerate(operands) if it.is_memory), len(operands))
    data = [it for it in operands[:at] if it.is_register]
    # What stands after the address is added to its base: a number, or a register.
    address = tuple(r for it in operands[at:] for r in it.registers)
    kind, form = _memory_class(mnemonic, data)
    moved = tuple(r for it in data for r in it.registers)
    reads: tuple[int, ...] = ()
    writes: tuple[int, ...] = ()
    if kind == "store_exclusive":
        writes, reads = data[0].registers, moved[len(data[0].registers) :]
    elif kind == "atomic":
        reads, writes = moved, moved
    elif mnemonic.startswith("st"):
        reads = moved
    elif mnemonic.startswith("ld"):
        writes = moved
        reads = moved if any(it.lane for it in data) else ()
    return Instruction(
        kind,
        form,
        text,
        reads=reads,
        writes=writes,
        address=address,
        write_back=address[0] if write_back and address else None,
    )


def _memory_class(mnemonic: str, data: list[_Operand]) -> tuple[str, str]:
    if match := _MULTIPLE.match(mnemonic):
        way, count, all_lanes = match.groups()
        form = "q" if data[0].bits == 128 else "d"
        if all_lanes:
            return f"{way}{count}r", form
        if any(it.lane for it in data):
            return f"{way}{count}_lane", "x" if data[0].size == 64 else ""
        if count == "1":
            return f"{way}1_{len(data)}", form
        return f"{way}{count}", "q64" if form == "q" and data[0].size == 64 else form
    kind = _CLASS_OF.get(mnemonic, "atomic")
    if data and data[0].is_vector:
        form = "q" if data[0].bits == 128 else "d"
        return kind.replace("_pair", "_vector_pair") if "pair" in kind else f"{kind}_vector", (
            "s" if "pair" in kind and data[0].bits == 32 else form
        )
    return kind, "x" if data and data[0].bits == 64 else "w"


# --- everything else ---------------------------------------------------------------------------


def _plain(mnemonic: str, text: str, operands: list[_Operand], condition: bool) -> Instruction:
    registers = [it for it in operands if it.is_register]
    kind, form = _class(mnemonic, registers)
    flags_in = condition or mnemonic in _READS_FLAGS
    if kind.startswith("branch"):
        reads = tuple(r for it in registers for r in it.registers)
        if mnemonic == "ret" and not reads:
            reads = (30,)
        return Instruction(
            kind,
            form,
            text,
            reads=reads + ((FLAGS,) if flags_in else ()),
            writes=(30,) if "link" in kind else (),
            branch=True,
        )
    has_result = mnemonic not in _NO_RESULT and mnemonic != "msr" and bool(registers)
    result = registers[0] if has_result else None
    sources = registers[1:] if has_result else registers
    reads = tuple(r for it in sources for r in it.registers)
    accumulates = None
    if result is not None and result.registers:
        number = result.registers[0]
        narrows_up = mnemonic.endswith("2") and "narrow" in kind
        into_part = result.lane or mnemonic in _READS_ITS_RESULT or narrows_up
        into_part |= kind.startswith("tbx") or (mnemonic in ("orr", "bic") and len(registers) == 1)
        if kind in _ACCUMULATES:
            accumulates = number
        elif kind in _ADDS_ITS_LAST and len(reads) == 3:
            accumulates, reads = reads[-1], reads[:-1]
        elif into_part:
            reads = (*reads, number)
    writes = result.registers if result else ()
    return Instruction(
        kind,
        form,
        text,
        reads=reads + ((FLAGS,) if flags_in else ()),
        writes=writes + ((FLAGS,) if mnemonic in _SETS_FLAGS else ()),
        accumulates=accumulates,
    )


def _class(mnemonic: str, registers: list[_Operand]) -> tuple[str, str]:
    vectors = [it for it in registers if it.is_vector]
    if not vectors:
        return _scalar_class(mnemonic, registers)
    first = registers[0]
    form = "q" if first.is_vector and first.bits == 128 and not first.lane else "d"
    if len(vectors) < len(registers):
        return _between(mnemonic, registers), form
    if mnemonic in ("tbl", "tbx"):
        return f"{mnemonic}{len(registers) - 2}", form
    if mnemonic == "fmov" or (mnemonic == "mov" and not any(it.lane for it in registers)):
        return "logic" if mnemonic == "mov" else "fp_move", form
    if mnemonic == "dup" or (mnemonic in ("mov", "ins") and any(it.lane for it in registers)):
        return ("insert_element" if first.lane else "duplicate_element"), form
    kind = _ON_VECTORS.get(mnemonic) or _CLASS_OF.get(mnemonic, UNKNOWN)
    if kind in ("shift_variable", "shift_variable_round") and len(vectors) < 3:
        kind = "shift_round"  # SQSHL and UQSHL by a number
    if kind in ("int_reduce", "fp_minmax_reduce"):
        form = {(128, 8): "16b", (64, 8): "8b", (128, 16): "8h"}.get(
            (registers[1].bits, registers[1].size), "4s"
        )
    elif kind in ("fp_divide", "fp_root"):
        form += {16: "h", 32: "s"}.get(first.size, "d")
    elif kind in ("fp_convert", "fp_round", "fp_estimate") and first.size != 32:
        form += "h" if first.size == 16 else "d"
    elif kind in ("fp_widen", "fp_narrow"):
        form = "h" if 16 in (first.size, registers[1].size) else "s"
    return kind, form


def _scalar_class(mnemonic: str, registers: list[_Operand]) -> tuple[str, str]:
    kind = _CLASS_OF.get(mnemonic, UNKNOWN)
    form = "w" if registers and registers[0].bits == 32 else "x"
    if kind == "alu" and registers and registers[-1].shifted:
        if mnemonic in ("and", "orr", "eor", "bic", "orn", "eon", "mvn"):
            return "alu_shift", "logic"
        return "alu_shift", "small" if registers[-1].little else form
    if kind == "bitfield" and mnemonic in ("lsl", "lsr", "asr", "ror") and len(registers) == 3:
        return "shift_by_register", form
    return kind, form


def _between(mnemonic: str, registers: list[_Operand]) -> str:
    """The class of what goes from general registers to vectors, or back."""
    if not registers[0].is_vector:
        if mnemonic.startswith("fcvt") or mnemonic.startswith("fjcvt"):
            return "fp_to_int"
        return "vector_to_general" if mnemonic == "fmov" else "element_to_general"
    if mnemonic in ("scvtf", "ucvtf"):
        return "int_to_fp"
    if mnemonic == "fmov":
        return "general_to_vector"
    return "general_to_element" if registers[0].lane else "general_to_all"
