"""The rooms of ``toolchain/`` as a drawing and as a table, from the contract in ``pyproject.toml``.

The contract says which rooms stand above which; each room's own docstring says what it holds.
"""

from __future__ import annotations

import ast
import re
import tomllib
from html import escape
from pathlib import Path

from toolchain.dev.reference.attributes import markdown
from toolchain.dev.reference.tables import table

_WORDS = {
    "dev": "bench, experiment, reference, runtime tree",
    "cli": "a module a group of commands",
    "console": "streams, exit codes",
    "report": "tables and plots",
    "api": "the commands as functions",
    "demo": "all of it, once",
    "doctor": "looks for what is wrong",
    "sweep": "many trainings, on Ray",
    "operations": "what each command does",
    "profile": "turns, intervals, comparison",
    "board": "SSH, push, run, verify",
    "timing": "traces under QEMU",
    "build": "sources to bundle",
    "convert": "PyTorch to .tflite",
    "train": "recipes, data, the loop",
    "zoo": "networks that ship",
    "agreement": "are outputs equal?",
    "tflite_file": "read a .tflite: layers, masks, tiles",
    "sparsity": "masks, policies",
    "fetch": "pinned archives",
    "hardware": "boards, cores, instruction sets",
    "storage": "files that appear whole; the cache",
    "errors": "every error and its exit code",
}
"""A few words for the rooms whose boxes have space for them."""
_BESIDE = {
    "cli": ("deploy.py", "the door"),
    "board": ("the board", "tileskip-run"),
    "build": ("runtime_patch/", "C and C++"),
    "hardware": ("boards/", "a file a board"),
}
"""What stands outside of ``toolchain/``, beside the room that works with it."""

_WIDTH, _MAIN, _SIDE, _GAP, _EDGE = 500, 314, 132, 8, 12
_STYLE = """
.sheet{fill:#fff;stroke:#d0d7de}
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1f2328}
.name{font-size:15px;font-weight:600}
.words{font-size:12px;fill:#57606a}
.room{fill:#eaf2fd;stroke:#4a7fc1}
.base{fill:#eef6ee;stroke:#5b9a5b}
.top{fill:#fdf3e3;stroke:#c98a2b}
.aside{fill:#f6f8fa;stroke:#8c959f;stroke-dasharray:4 3}
.line{stroke:#8c959f;stroke-width:1.5;fill:none}
"""


def layers(root: Path) -> list[list[str]]:
    """The rooms that there are, the highest first; those of one line know nothing of each other."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    (found,) = (
        item for item in contracts["tool"]["importlinter"]["contracts"] if item["id"] == "rooms"
    )
    lines = [re.findall(r"\w+", line) for line in found["layers"]]
    return [[room for room in line if _source(root, room).is_file()] for line in lines]


def room_table(root: Path) -> str:
    """A row for each room, in the order of the contract."""
    rows = []
    for line in layers(root):
        for room in line:
            path = _source(root, room)
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            folder = path.name == "__init__.py"
            name = f"`{room}/`" if folder else f"`{room}.py`"
            rows.append((name, markdown(text.partition("\n\n")[0])))
    return table(("room", "what it holds"), rows)


def _source(root: Path, room: str) -> Path:
    folder = root / "toolchain" / room
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def rooms_svg(root: Path) -> str:
    """The drawing: 500 units wide, so that it reads on a telephone."""
    lines, y = layers(root), 44
    body = [
        f'<text class="words" x="{_EDGE}" y="26">A room imports rooms below it, never above.</text>'
    ]
    for number, line in enumerate(lines):
        kind = "top" if number < 2 else "base" if line[0] in _FOUNDATION else "room"
        height = 46 if any(room in _WORDS for room in line) else 34
        for rooms in _rows(line):
            body += _boxes(rooms, y, height, kind)
            for room in rooms:
                body += _aside(room, y, height)
            y += height + _GAP
    body.append(f'<path class="line" marker-end="url(#tip)" d="M{_EDGE + 6} 44 V{y - _GAP - 6}"/>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 6}" '
        f'width="{_WIDTH}" height="{y + 6}" role="img" aria-label="The rooms of toolchain/">\n'
        f"<style>{_STYLE}</style>\n"
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="4" refY="4" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#8c959f"/></marker></defs>\n'
        f'<rect class="sheet" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{y + 5}" rx="6"/>\n'
    )
    return head + "\n".join(body) + "\n</svg>\n"


_FOUNDATION = ("hardware", "storage", "formats", "hints", "errors")


def _rows(line: list[str]) -> list[list[str]]:
    """A line of many rooms takes several rows; what has something beside it comes last."""
    line = sorted(line, key=lambda room: room in _BESIDE)
    wide = 3 if len(line) % 3 == 0 else 2
    return [line[i : i + wide] for i in range(0, len(line), wide)]


def _boxes(rooms: list[str], y: int, height: int, kind: str) -> list[str]:
    left = _EDGE + 18
    width = (_MAIN - _GAP * (len(rooms) - 1)) / len(rooms)
    found = []
    for index, room in enumerate(rooms):
        found += _box(left + index * (width + _GAP), y, width, height, kind, room, _WORDS.get(room))
    return found


def _aside(room: str, y: int, height: int) -> list[str]:
    if room not in _BESIDE:
        return []
    name, words = _BESIDE[room]
    left = _WIDTH - _EDGE - _SIDE
    middle = y + height / 2
    return [
        f'<path class="line" d="M{_EDGE + 18 + _MAIN} {middle} H{left}"/>',
        *_box(left, y, _SIDE, height, "aside", name, words),
    ]


def _box(
    x: float, y: float, width: float, height: float, kind: str, name: str, words: str | None
) -> list[str]:
    middle = x + width / 2
    found = [
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4"/>',
        f'<text class="name" x="{middle:g}" y="{y + (20 if words else 22):g}" '
        f'text-anchor="middle">{escape(name)}</text>',
    ]
    if words:
        found.append(
            f'<text class="words" x="{middle:g}" y="{y + 37:g}" text-anchor="middle">'
            f"{escape(words)}</text>"
        )
    return found
