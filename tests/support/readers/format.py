"""What a format of files is, and what several of them need."""

from __future__ import annotations

import functools
import io
import os
import shlex
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import click
import typer
from hypothesis import strategies as st

from support.bundles import write_masked_model
from support.malformed import Bytes, damaged
from toolchain.cli.app import app

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Format:
    """A kind of file."""

    name: str
    file: str
    """What such a file is called here."""
    files: Callable[[], Bytes]
    """Malformed ones."""
    read: Read
    """What reads it, and goes on to what a command does with it."""
    light: float = 1.0
    """Share of the usual number of examples: a reader that takes long has fewer."""


def deploy_here(*arguments: str) -> None:
    """A command in this process; ends in ours, or as the command line ends."""
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            typer.main.get_command(app).main(list(arguments), standalone_mode=False)
    except (click.exceptions.ClickException, click.exceptions.Exit, SystemExit):
        pass


def write_program(path: Path, printed: Path) -> None:
    """A program that prints a file, whatever it is asked."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\nexec cat {shlex.quote(str(printed))}\n")
    path.chmod(0o755)


@contextmanager
def on_path(folder: Path, *, alone: bool = False) -> Iterator[None]:
    before = os.environ["PATH"]
    os.environ["PATH"] = str(folder) if alone else f"{folder}:{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


@st.composite
def zips(draw: st.DrawFn, whole: bytes) -> bytes:
    """A zip archive with one damaged member that its own checksum takes for whole."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    chosen = draw(st.sampled_from(sorted(members)))
    fault = draw(st.sampled_from(["content", "content", "content", "remove", "name", "bomb"]))
    if fault == "content":
        members[chosen] = draw(damaged([members[chosen]]))
    elif fault == "bomb":
        members[chosen] = members[chosen][:128] + bytes(1 << 26)
    else:
        content = members.pop(chosen)
        if fault == "name":
            members[draw(st.sampled_from(["/x", "../x", "A" * 5000, "a/"]))] = content
    kind = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED if fault == "bomb" else kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def in_zip(make: Callable[[], bytes]) -> Callable[[], Bytes]:
    return lambda: damaged([make()]) | zips(make())


@functools.cache
def sound_model() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tileskip-readers-"))
    return write_masked_model(folder / "masked.tflite", size=8, channels=4)
