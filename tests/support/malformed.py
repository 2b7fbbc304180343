"""Malformed files: what a fault, a disk or an enemy makes of one that was whole.

Bytes are flipped, cut, repeated, moved and replaced by extremes; of documents (JSON, TOML) keys are
taken away or doubled, values get another type, another size or a thousand brackets around them.
"""

from __future__ import annotations

import copy
import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Bytes = st.SearchStrategy[bytes]

LARGEST = 1 << 20
"""Bytes of a malformed file, at most: a repeated part makes it no longer."""

_EXTREMES = tuple(
    struct.pack(kind, value)
    for kind, values in {
        "<B": (0, 1, 0x7F, 0x80, 0xFF),
        "<H": (0x7FFF, 0x8000, 0xFFFF),
        "<I": (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF),
        ">I": (1, 0x7FFFFFFF, 0x80000000),
        "<Q": (0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1),
    }.items()
    for value in values
)
_NUMBERS = (
    b"0", b"-1", b"1" * 20, b"9" * 5000, b"-" + b"9" * 400, b"1e308", b"1e999", b"-1e999", b"nan",
    b"inf", b"0x", b"1_0", b"\xd9\xa3", b"2147483648", b"9223372036854775808", b"",
)  # fmt: skip
_TEXTS = (
    b"\0", b"\n", b"\r", b"\x1b]0;x\x07", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"\xff\xfe", b"\xfe\xff", b"../", b"/", b"-", b"%n%s", b"[" * 3000, b"(" * 3000, b"{" * 3000,
    b'"' * 100, b"'", b"\\", b"A" * 70000, "\u202e".encode(), b"${HOME}", b"`id`", b"*" * 64,
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, whole: Sequence[bytes]) -> bytes:
    """One of these files with one to four faults."""
    data = draw(st.sampled_from(list(whole)))
    for _ in range(draw(st.integers(1, 4))):
        data = draw(st.sampled_from(_EDITS))(draw, data)
    return data[:LARGEST]


def _span(draw: st.DrawFn, data: bytes) -> tuple[int, int]:
    begin = draw(st.integers(0, len(data)))
    return begin, min(len(data), begin + draw(st.sampled_from([1, 2, 4, 8, 16, 100, 1000])))


def _flip(draw: st.DrawFn, data: bytes) -> bytes:
    if not data:
        return data
    at, bits = draw(st.integers(0, len(data) - 1)), draw(st.integers(1, 255))
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


def _cut(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: draw(st.integers(0, len(data)))]


def _remove(draw: st.DrawFn, data: bytes) -> bytes:
    begin, end = _span(draw, data)
    return data[:begin] + data[end:]


def _repeat(draw: st.DrawFn, data: bytes) -> bytes:
    begin, end = _span(draw, data)
    times = draw(st.sampled_from([2, 3, 100, 10000]))
    return (data[:begin] + data[begin:end] * min(times, LARGEST // 100) + data[end:])[:LARGEST]


def _move(draw: st.DrawFn, data: bytes) -> bytes:
    begin, end = _span(draw, data)
    rest = data[:begin] + data[end:]
    at = draw(st.integers(0, len(rest)))
    return rest[:at] + data[begin:end] + rest[at:]


def _extreme(draw: st.DrawFn, data: bytes) -> bytes:
    value = draw(st.sampled_from(_EXTREMES))
    at = draw(st.integers(0, max(len(data) - len(value), 0)))
    if draw(st.booleans()):
        at -= at % 4  # where a field of the usual formats begins
    return data[:at] + value + data[at + len(value) :]


def _number(draw: st.DrawFn, data: bytes) -> bytes:
    """A number that stands there as text, replaced by one that nobody writes."""
    places = [found.span() for found in re.finditer(rb"\d+(?:\.\d+)?", data[:20000])]
    if not places:
        return _extreme(draw, data)
    begin, end = draw(st.sampled_from(places))
    return data[:begin] + draw(st.sampled_from(_NUMBERS)) + data[end:]


def _insert(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, len(data)))
    text = draw(st.sampled_from(_TEXTS) | st.binary(min_size=1, max_size=20))
    return data[:at] + text + data[at:]


_EDITS: tuple[Callable[[st.DrawFn, bytes], bytes], ...] = (
    _flip, _cut, _remove, _repeat, _move, _extreme, _number, _insert,
)  # fmt: skip


# --- documents -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Raw:
    """A value as it stands in a text, whatever it is."""

    text: str


_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, "",
    "x", " ", "-", "/", "..", "a/b", "\0", "\x1b[2J", "\u202e", "A" * 70000, "1" * 5000, "nan",
    "None", [], {}, [[]], [{}], {"": 0}, {"a": {"a": {}}}, [0] * 5000, ["x"] * 1000,
    Raw("9" * 5000), Raw("1e999"), Raw("-1e999"), Raw("1e-999"), Raw("0" * 30), Raw('"\\ud800"'),
    Raw('"\\u0000"'), Raw("[" * 300 + "]" * 300), Raw("[" * 100_000 + "]" * 100_000),
    Raw('{"a":' * 3000 + "1" + "}" * 3000), Raw("[" * 100_000), Raw("NaN"), Raw("Infinity"),
    Raw("nan"), Raw("inf"), Raw("{a" + " = {a" * 3000), Raw("2020-01-01"), Raw("1.2.3"),
    Raw("0x" + "f" * 5000), Raw("'''"), Raw(""), Raw("{}"), Raw("1,2"),
)  # fmt: skip


@st.composite
def damaged_tree(draw: st.DrawFn, whole: Any) -> Any:
    """A document with one to three faults in its keys and values."""
    tree = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(tree))
        if not places:
            return tree
        parent, key = draw(st.sampled_from(places))
        fault = draw(st.sampled_from(["value", "value", "value", "remove", "rename", "repeat"]))
        if fault == "remove":
            del parent[key]
        elif fault == "rename" and isinstance(parent, dict):
            parent[draw(st.sampled_from(["", "x", "\0", "\x1b[2J", "A" * 5000, "a.b"]))] = (
                parent.pop(key)
            )
        elif fault == "repeat":
            value = parent[key]
            parent[key] = value * 300 if isinstance(value, list | str) else [value, value]
        else:
            parent[key] = copy.deepcopy(draw(st.sampled_from(_VALUES)))  # later faults change it
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(pairs):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def json_text(value: Any) -> str:
    """JSON, with every :class:`Raw` as it stands."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(str(key))}:{json_text(part)}" for key, part in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(json_text, value)) + "]"
    return json.dumps(value)


def toml_text(tables: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """TOML, with every :class:`Raw` as it stands."""
    lines = [
        f"{json.dumps(key)} = {_toml(value)}"
        for key, value in tables.items()
        if not _is_table(value)
    ]
    for key, value in tables.items():
        if _is_table(value):
            name = ".".join(json.dumps(part) for part in (*path, key))
            for part in value if isinstance(value, list) else [value]:
                lines.append(f"[[{name}]]" if isinstance(value, list) else f"[{name}]")
                lines.append(toml_text(part, (*path, key)))
    return "\n".join(lines)


def _is_table(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(part, dict) for part in value)
    return isinstance(value, dict)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, Raw):
        return value.text
    return '""' if value is None else json.dumps(value)


def documents(*whole: Any, text: Callable[[Any], str] = json_text) -> Bytes:
    """Documents with faults in their keys and values, and with faults in their letters.

    Args:
        whole: sound ones, as Python holds them.
        text: how they are written.
    """

    def written(tree: Any) -> bytes:
        return text(tree).encode(errors="surrogatepass")

    trees = st.one_of([damaged_tree(one).map(written) for one in whole])
    return trees | damaged([written(one) for one in whole])
