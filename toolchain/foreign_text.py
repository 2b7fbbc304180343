r"""Text of others, made harmless for a terminal.

Names in a model, keys of a file, what a board answers: any may hold escape sequences, with which a
terminal can be told to change its title, to hide what follows, or to type for the user; or marks
that turn the order of letters around. Such characters are written as Python would: ``\x1b``.
"""

from __future__ import annotations

import re

# Everything that is no letter to be seen, but for line ends, tabs and half bytes of file names:
# controls (C0, DEL, C1), marks of direction, other separators of lines, and letters of no width.
_NOT_SEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def harmless(text: str) -> str:
    r"""The same text with what a terminal would act on written as ``\x1b``."""
    return _NOT_SEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shortened(text: str, most: int = 400) -> str:
    """The beginning of a text of others, for a message: no more characters than these."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def last_line(text: str) -> str:
    """The last line of what a program of others said that holds anything; its beginning."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return shortened(lines[-1]) if lines else ""


def harmless_json(text: str) -> str:
    r"""The same JSON with such characters as ``\u009b``: they are in its strings alone."""
    return _NOT_SEEN.sub(_in_json, text)


def _in_json(found: re.Match[str]) -> str:
    pair = found[0].encode("utf-16-be")
    return "".join(f"\\u{pair[at : at + 2].hex()}" for at in range(0, len(pair), 2))
