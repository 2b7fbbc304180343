"""What a ``-march`` asks of a board's cores, in the words of the board's kernel.

The compiler itself is asked: the macros that it predefines for a ``-march`` (Arm C Language
Extensions; GCC's x86 options) say which instructions it may use. XNNPACK's kernels are not meant:
they are chosen when the program runs.
"""

from __future__ import annotations

import re

from toolchain import children
from toolchain.build.compiler import Compiler
from toolchain.errors import BuildError
from toolchain.hardware.facts import isa_facts


def required_features(compiler: Compiler, march: str) -> tuple[str, ...]:
    """The features that code for ``march``, and for the compiler's default, may use, sorted.

    Its default counts, too: the C library and XNNPACK's own code are compiled for that.

    Raises:
        BuildError: the compiler does not know ``march``.
    """
    macros = _macros(compiler, f"-march={march}") | _macros(compiler)
    features = isa_facts(compiler.isa).features
    return tuple(sorted({name for macro, name in features.items() if macro in macros}))


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
