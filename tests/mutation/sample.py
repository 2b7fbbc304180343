"""The mutants of a room: which there are, and a sample of them that repeats."""

from __future__ import annotations

import difflib
import io
import random
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.utils.format_utils import get_mutant_name, mangled_name_from_mutant_name


@dataclass(frozen=True)
class Mutant:
    """One change of one function."""

    name: str
    """As mutmut has it: ``toolchain.profile.compare.x_compare__mutmut_3``."""
    module: str
    """``toolchain/profile/compare.py``"""
    change: str
    """A diff of the lines that differ."""


def mutants(module: Path) -> list[Mutant]:
    """Every mutant of a module, in order; but for those that change the words of a message alone.

    Args:
        module: relative to the working directory, where mutmut reads its configuration.
    """
    made = mutate_file_contents(str(module), module.read_text(encoding="utf-8"))
    lines = made.code.splitlines()
    functions = {
        name: lines[span.start - 1 : span.end]
        for name, span in made.line_span_by_function_name.items()
    }
    found = []
    for name in made.mutant_names:
        before = _plain(functions[f"{mangled_name_from_mutant_name(name)}__mutmut_orig"])
        after = _plain(functions[name])
        if not _words_alone(before, after):
            change = [
                line
                for line in difflib.unified_diff(before, after, lineterm="", n=0)
                if not line.startswith(("---", "+++", "@@"))
            ]
            found.append(Mutant(get_mutant_name(module, name), str(module), "\n".join(change)))
    return found


def sample(found: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """So many of them, drawn: a smaller sample is the beginning of a larger one."""
    drawn = list(found)
    random.Random(seed).shuffle(drawn)  # noqa: S311 - no secret
    return drawn[:count]


def _plain(lines: Sequence[str]) -> list[str]:
    """A function without the name that mutmut gives it and its comments."""
    without = (line.partition(" # type: ignore # mutmut generated")[0] for line in lines)
    return [re.sub(r"__mutmut_\w+", "", line) for line in without]


def _words_alone(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether all that differs is one string with a space in it: words for people."""
    old, new = _tokens(before), _tokens(after)
    if len(old) != len(new):
        return False
    pairs = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    return len(pairs) == 1 and all(
        token.startswith(("'", '"')) and " " in token.strip("'\" ") for token in pairs[0]
    )


def _tokens(lines: Sequence[str]) -> list[str]:
    text = "if True:\n" + "\n".join(f" {line}" for line in lines) + "\n"
    return [token.string for token in tokenize.generate_tokens(io.StringIO(text).readline)]
