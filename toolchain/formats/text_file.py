"""Text files of the user's, in whichever encoding of Unicode their editor left them."""

from __future__ import annotations

import codecs
from pathlib import Path

from toolchain.errors import DeployError
from toolchain.formats.input_file import LARGEST, read_limited

# UTF-32's mark begins like UTF-16's, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(data: bytes) -> str:
    """What the byte-order mark at the beginning of a file says; UTF-8 without one."""
    return next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")


def read_text(
    path: Path, fault: type[DeployError], *, kind: str = "", hint: str | None = None
) -> str:
    """A file's text: UTF-8, or what the byte-order mark at its beginning says.

    Args:
        path: of the file.
        fault: the class of the error.
        kind: what the file should be, such as ``TOML``, for messages.
        hint: what to do about a file that is no text.

    Raises:
        DeployError: of class ``fault``: the file cannot be read, or is no text.
    """
    try:
        data = read_limited(path, LARGEST, pipe=True)
    except OSError as error:
        raise fault(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return data.decode(encoding_of(data))
    except UnicodeDecodeError as error:
        what = f"is not {kind}: not" if kind else "is not"
        line = 1 + data[: error.start].count(b"\n")
        raise fault(
            f"{path}: {what} a text file in UTF-8 (byte {error.start}, line {line})",
            hint=hint or "save it as UTF-8",
        ) from error
