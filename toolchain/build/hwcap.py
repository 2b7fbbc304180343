"""What a ``-march`` asks of a board's cores, in the words of the board's kernel.

The compiler itself is asked: the macros that it predefines for a ``-march`` (Arm C Language
Extensions; GCC's x86 options) say which instructions it may use. XNNPACK's kernels are not meant:
they are chosen when the program runs.
"""

from __future__ import annotations

import re

from toolchain import children
from toolchain.build.compiler import Compiler, Isa
from toolchain.errors import BuildError

# Macro -> the name in /proc/cpuinfo ("Features", on x86 "flags"), which on Arm is the HWCAP bit's.
_FEATURES: dict[Isa, dict[str, str]] = {
    "aarch64": {
        "__ARM_FP": "fp", "__ARM_NEON": "asimd", "__ARM_FEATURE_CRC32": "crc32",
        "__ARM_FEATURE_AES": "aes", "__ARM_FEATURE_SHA2": "sha2",
        "__ARM_FEATURE_ATOMICS": "atomics", "__ARM_FEATURE_QRDMX": "asimdrdm",
        "__ARM_FEATURE_FP16_SCALAR_ARITHMETIC": "fphp",
        "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC": "asimdhp", "__ARM_FEATURE_DOTPROD": "asimddp",
        "__ARM_FEATURE_COMPLEX": "fcma", "__ARM_FEATURE_JCVT": "jscvt",
        "__ARM_FEATURE_RCPC": "lrcpc", "__ARM_FEATURE_MATMUL_INT8": "i8mm",
        "__ARM_FEATURE_BF16": "bf16", "__ARM_FEATURE_SVE": "sve", "__ARM_FEATURE_SVE2": "sve2",
    },
    "armv7": {
        "__ARM_FP": "vfpv3", "__ARM_NEON": "neon", "__ARM_FEATURE_FMA": "vfpv4",
        "__ARM_FEATURE_IDIV": "idivt", "__ARM_FEATURE_CRC32": "crc32", "__ARM_FEATURE_AES": "aes",
        "__ARM_FEATURE_SHA2": "sha2", "__ARM_FEATURE_DOTPROD": "asimddp",
        "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC": "asimdhp",
    },
    "x86-64": {
        "__SSE2__": "sse2", "__SSE3__": "pni", "__SSSE3__": "ssse3", "__SSE4_1__": "sse4_1",
        "__SSE4_2__": "sse4_2", "__POPCNT__": "popcnt", "__MOVBE__": "movbe", "__AVX__": "avx",
        "__F16C__": "f16c", "__FMA__": "fma", "__AVX2__": "avx2", "__BMI__": "bmi1",
        "__BMI2__": "bmi2", "__LZCNT__": "abm", "__AVX512F__": "avx512f",
        "__AVX512BW__": "avx512bw", "__AVX512CD__": "avx512cd", "__AVX512DQ__": "avx512dq",
        "__AVX512VL__": "avx512vl",
    },
}  # fmt: skip


def required_features(compiler: Compiler, march: str) -> tuple[str, ...]:
    """The features that code for ``march``, and for the compiler's default, may use, sorted.

    Its default counts, too: the C library and XNNPACK's own code are compiled for that.

    Raises:
        BuildError: the compiler does not know ``march``.
    """
    macros = _macros(compiler, f"-march={march}") | _macros(compiler)
    return tuple(sorted({name for key, name in _FEATURES[compiler.isa].items() if key in macros}))


def _macros(compiler: Compiler, *flags: str) -> set[str]:
    result = children.run(
        [compiler.cc, *flags, "-dM", "-E", "-x", "c", "/dev/null"],
        limit=children.LOOK_S,
        fault=BuildError,
    )
    if result.returncode:
        said = result.stderr.strip().splitlines()
        raise BuildError(
            f"{compiler.cc} does not take {' '.join(flags)}: {said[0] if said else 'no reason'}",
            hint="correct march = in the board's file",
        )
    return set(re.findall(r"^#define (\w+)", result.stdout, re.M))
