"""Files of others, and files that are written: kinds 1, 2, 6, 8 and 11 of the list."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from contextlib import chdir, suppress
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from torch import nn

from faults.fault import Fault, Place, refused, told
from support.malformed import toml_text
from support.places import REPOSITORY
from support.profiles import in_turns, measurement, profile_of
from support.readers import FORMATS
from support.tflite_writer import GraphWriter
from toolchain.errors import BoardConfigError, OutputError
from toolchain.foreign_text import harmless
from toolchain.hardware.board_file import load_board
from toolchain.report.profile_plot import plot_profile
from toolchain.storage.files import write_whole

CHECKPOINT = REPOSITORY / "toolchain/zoo/checkpoints/fashion_resnet_s20.safetensors"
_NAMES = ("w.safetensors", "w.pt", "w.pth", "w.bin", "w.PT2", "pt2", "w", "w.pt2.pt", "w.zip")


# --- 1: a program under another name ---------------------------------------------------------


def hostile_program(folder: Path) -> Path:
    """An exported program whose weights are a pickle that makes a folder ``ran`` beside it."""

    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return os.makedirs, (str(folder / "ran"), 0o777, True)

    stream, program = io.BytesIO(), io.BytesIO()
    torch.save(Runs(), stream)
    exported = torch.export.export(nn.Conv2d(3, 4, 3).eval(), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(exported, program)
    path = folder / "hostile.pt2"
    with zipfile.ZipFile(program) as whole, zipfile.ZipFile(path, "w") as changed:
        (config,) = [name for name in whole.namelist() if name.endswith("weights_config.json")]
        weights = json.loads(whole.read(config))
        first = next(iter(weights["config"].values()))
        first["use_pickle"] = True
        for name in whole.namelist():
            content = whole.read(name)
            if name == config:
                content = json.dumps(weights).encode()
            elif name.endswith("/" + first["path_name"]):
                content = stream.getvalue()
            changed.writestr(name, content)
    return path


def program_under_a_name(place: Place, number: int) -> str:
    """Also the program's own name, for which nobody gave trust: nobody can be asked here."""
    hostile = place.once("program", hostile_program)
    path = place.fresh(number) / (*_NAMES, "w.pt2")[number % (len(_NAMES) + 1)]
    os.link(hostile, path)
    options = [[], ["--model", "fashion_resnet_s20"], ["--input-shape", "1,3,8,8"]][number % 3]
    error = refused("convert", path, "--output", path.with_name("o.tflite"), *options)
    if hostile.with_name("ran").exists():
        hostile.with_name("ran").rmdir()
        return f"{path.name}: its code was run"
    return "" if error is not None else f"{path.name}: was converted"


# --- 2: values of a board, places of an output -----------------------------------------------

_KEYS = (
    "march", "cpu", "title", "ssh.host", "ssh.user", "ssh.directory", "emulator.machine",
    "emulator.cpu",
)  # fmt: skip
_VALUES = (
    "x;touch PWNED", "x\ntouch PWNED", "$(touch PWNED)", "`touch PWNED`",
    "-oProxyCommand=touch PWNED", "x,dumpdtb=PWNED", "x -wrapper touch,PWNED", "a\0b",
    "\x1b]0;x\x07", "x|touch PWNED",
)  # fmt: skip


def board_value(place: Place, number: int) -> str:
    """Refused, or a text that only a table shows, or a name that no shell reads."""
    key, value = _KEYS[number % len(_KEYS)], _VALUES[number // len(_KEYS) % len(_VALUES)]
    path = place.fresh(number) / "own.toml"
    tables = {
        "title": "t", "cpu": "Cortex-A72", "isa": "aarch64", "march": "armv8-a",
        "connection": "emulator", "ssh": {"host": "h"}, "emulator": {"cpu": "cortex-a72"},
    }  # fmt: skip
    table, _, last = key.rpartition(".")
    inner = tables[table] if table else tables
    assert isinstance(inner, dict)
    inner[last] = value
    path.write_text(toml_text(tables))
    try:
        board = load_board(str(path))
    except BoardConfigError:
        return ""
    shown = key in ("title", "cpu", "ssh.directory") and value.isprintable()
    named = key in ("ssh.host", "ssh.user") and re.fullmatch(r"\w[\w,.=]*", value)
    sound = (shown or named) and board.march == "armv8-a"
    return "" if sound else f"{key} = {value!r} was taken"


_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7)}


def special_output(place: Place, number: int) -> str:
    """Private nodes of devices, pipes and links: each is there afterwards, and is the same."""
    folder = place.fresh(number)
    kinds = ("null", "full", "zero", "fifo", "link", "device link", "broken link")
    kind = kinds[number % len(kinds)]
    path, target = folder / "out.png", folder / "target.png"
    if kind in _DEVICES or kind == "device link":
        device = path if kind in _DEVICES else target
        try:
            os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(*_DEVICES.get(kind, (1, 3))))
        except PermissionError:
            return ""  # only root makes them
    if kind == "fifo":
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if kind == "link":
        target.write_bytes(b"before")
    if "link" in kind:
        path.symlink_to("target.png")
    before, found = path.lstat(), list[str]()
    with told(found, kind), suppress(OutputError):
        if number % 2 and kind != "fifo":
            plot_profile(profile_of(measurement("a"), measurement("b")), path)
        else:
            write_whole(path, b"content")
    after = path.lstat()
    if kind == "fifo":
        got = os.read(reader, 100)
        os.close(reader)
        if got != b"content":
            found.append(f"fifo: {got!r} came through")
    if (before.st_mode, before.st_rdev, before.st_ino) != (
        after.st_mode,
        after.st_rdev,
        after.st_ino,
    ):
        found.append(f"{kind}: was replaced")
    if kind in ("link", "broken link") and target.read_bytes() in (b"before", b""):
        found.append(f"{kind}: its target was not written")
    if left := [item.name for item in folder.iterdir() if item not in (path, target)]:
        found.append(f"{kind}: left {left}")
    return "; ".join(found)


# --- 6: a full disk --------------------------------------------------------------------------

_FULL = """
mount -t tmpfs -o size=$1 none "$2" && cd "$2" && shift 2 && "$@"
code=$?
find . -type f -not -path './r.*' -not -name .lock
exit $code
"""


def _on_full_disk(folder: Path, size: str, *words: object) -> tuple[int, str, str]:
    """A command in a small file system of its own, which ends with it."""
    disk = folder / "disk"
    disk.mkdir()
    inside = [sys.executable, REPOSITORY / "deploy.py", *words]
    isolated = ["unshare", "--mount", "--propagation", "private"]
    done = subprocess.run(
        [*isolated, "sh", "-c", _FULL, "sh", size, disk, *map(str, inside)],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def _judge(code: int, left: str, said: str) -> str:
    found = [f"exit code {code}: {said[-300:]}"] if code != 13 else []
    if "Traceback" in said or "cannot be written" not in said:
        found.append(f"said: {said[-300:]}")
    if left.strip():
        found.append(f"left {left.split()}")
    return "; ".join(found)


def full_disk_convert(place: Place, number: int) -> str:
    """A file system with room for a part of the result."""
    size = ("4k", "40k", "100k", "200k", "300k")[number % 5]
    options = ["--quantize", "fp16"] if number % 5 == 1 else []
    words = ("convert", CHECKPOINT, "--output", "c.tflite", *options)
    return _judge(*_on_full_disk(place.fresh(number), size, *words))


def full_disk_train(place: Place, number: int) -> str:
    """The recipe lies elsewhere, the run on the full disk."""
    folder = place.fresh(number)
    recipe = (REPOSITORY / "toolchain/train/recipes/quick.toml").read_text()
    (folder / "r.toml").write_text(recipe.replace("epochs = 6", "epochs = 1"))
    size = ("4k", "60k", "200k", "400k")[number % 4]
    words = ("train", folder / "r.toml", "--output", "w.safetensors", "--run-dir", "r.run")
    return _judge(*_on_full_disk(folder, size, *words))


def full_disk_build(place: Place, number: int) -> str:
    """A bundle from the cache."""
    size = ("100k", "4m", "12m")[number % 3]
    words = ("build", "--board", "host", "--out", "b")
    return _judge(*_on_full_disk(place.fresh(number), size, *words))


# --- 8: escape sequences ---------------------------------------------------------------------

HOSTILE = "\x1b]0;owned\x07\x9b31m\x1b[2J\x08\x7f\u202ex[red]y[/red]"


def escape_sequence(place: Place, number: int) -> str:
    """In a name of a model, a key, a profile, a file or a checkpoint's metadata."""
    folder, name = place.fresh(number), f"{HOSTILE}{number}"
    kind = number % 5
    if kind == 0:
        graph = GraphWriter()
        graph.prefix = name
        source = graph.tensor((1, 4, 4, 3))
        weights, bias = torch.ones(2, 1, 1, 3).numpy(), torch.zeros(2).numpy()
        output = graph.conv_2d(source, weights, bias, (1, 4, 4, 2))
        graph.write(folder / "m.tflite", [source], [output])
        words = ["inspect", "m.tflite"]
    elif kind == 1:
        (folder / "b.toml").write_text(f"{json.dumps(name)} = 1\n")
        words = ["build", "--board", "b.toml"]
    elif kind == 2:
        profile_of(in_turns(name, [[1.0]] * 3)).save(folder / "p.json")
        words = ["compare", "p.json", "p.json"]
    elif kind == 3:
        words = ["inspect", f"{name.replace('/', '')}.tflite"]
    else:
        (folder / "m.h").write_text(f"{name}[1][1] = {{ {{1}} }};\n")
        words = ["convert", str(CHECKPOINT), "--masks", "m.h", "--output", "o.tflite"]
    # On a terminal of its own, with colours: what is ours may stand there.
    done = subprocess.run(
        [sys.executable, REPOSITORY / "deploy.py", *words], cwd=folder, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    )  # fmt: skip
    if "Traceback" in done.stdout:
        return done.stdout[-300:]
    return "" if harmless(done.stdout) == done.stdout else f"{words[0]}: reached the terminal"


# --- 11: malformed files ---------------------------------------------------------------------


def malformed_file(place: Place, number: int) -> str:
    """One of each 40 formats in turn."""
    kind, found = FORMATS[number % len(FORMATS)], list[str]()
    folder = place.fresh(number)
    path = folder / kind.file

    @seed(number)
    @settings(
        max_examples=1, database=None, phases=[Phase.generate], deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=kind.files())
    def read(data: bytes) -> None:
        path.write_bytes(data)
        with told(found, kind.name):
            kind.read(path)

    before = {name: os.environ.get(name) for name in ("HOME", "TILESKIP_CACHE")}
    os.environ.update(HOME=str(folder), TILESKIP_CACHE=str(folder / "cache"))
    try:
        with chdir(folder):
            read()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    shutil.rmtree(folder)
    return "; ".join(found)


FAULTS = (
    Fault(
        "a program under another name", 1, 30, "unit/convert/test_source.py", program_under_a_name
    ),
    Fault(
        "a board file's value that runs something", 2, 80,
        "unit/hardware/test_board_file.py", board_value,
    ),
    Fault(
        "an output that is a device, a pipe or a link", 2, 42,
        "unit/storage/test_files.py", special_output,
    ),
    Fault(
        "convert on a full disk", 6, 5, "unit/storage/test_full_disk.py", full_disk_convert,
        300, cheap=False,
    ),
    Fault(
        "train on a full disk", 6, 4, "unit/storage/test_full_disk.py",
        full_disk_train, 300, cheap=False,
    ),
    Fault(
        "build --out on a full disk", 6, 3, "unit/storage/test_full_disk.py", full_disk_build,
        300, cheap=False,
    ),
    Fault(
        "an escape sequence in a name", 8, 20, "unit/test_foreign_text.py", escape_sequence,
        cheap=False,
    ),
    Fault("a malformed file", 11, 1900, "unit/test_malformed_files.py", malformed_file),
)  # fmt: skip
