"""Files of every kind are read without running code, or called by their names."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import gzip
import io
import json
import os
import pickle
import shlex
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from support.places import REPOSITORY
from toolchain.errors import ModelError
from toolchain.sparsity.checkpoint import load_checkpoint, load_model


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).eval()


def weight(model: nn.Module) -> Tensor:
    return model.get_parameter("0.weight")


# --- objects beside the tensors --------------------------------------------------------------


class Config:
    """As OmegaConf's or a user's: attributes, and what a class may do when it is unpickled."""

    ran = False

    def __init__(self) -> None:
        self.rate, self.names = 0.1, ["a"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        Config.ran = True


class Bag(dict[str, Any]):
    """A dict of a user's own, with attributes, as EasyDict and mmcv's have them."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.note = "kept"


class Listing(list[int]):
    """A list of a user's own."""


class Mode(enum.Enum):
    """A user's own choice."""

    FAST = 1


class Slots:
    """An object without a dict."""

    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1


class Tied:
    """An object that holds itself."""

    def __init__(self) -> None:
        self.me = self


BESIDE: dict[str, Callable[[], Any]] = {
    "argparse.Namespace": lambda: argparse.Namespace(lr=0.1, tags=["a"], deep=argparse.Namespace()),
    "numpy scalar": lambda: np.float64(0.5),
    "numpy array": lambda: np.arange(3),
    "numpy's random state": lambda: np.random.RandomState(1).get_state(),
    "a config": Config,
    "a path": lambda: Path("data"),
    "a date": lambda: datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC),
    "an enum": lambda: Mode.FAST,
    "a class": lambda: Config,
    "a function": lambda: functools.partial(print, "x"),
    "a defaultdict": lambda: collections.defaultdict(list, {"a": [1], "b": [Config()]}),
    "a dict of a user's own": lambda: Bag(a=1, b=Bag(c=Config())),
    "a list of a user's own": lambda: Listing([1, 2]),
    "slots": Slots,
    "an object that holds itself": Tied,
    "an optimizer": lambda: torch.optim.AdamW(net().parameters()),
    "a device": lambda: torch.device("cpu"),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", BESIDE)
def test_what_is_beside_the_tensors_does_not_matter(
    tmp_path: Path, name: str, legacy: bool
) -> None:
    wanted = net(seed=1)
    content = {"state_dict": wanted.state_dict(), "beside": BESIDE[name](), "epoch": 3}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    Config.ran = False
    allowed = torch.serialization.get_safe_globals()
    loaded = load_model(net(), load_checkpoint(tmp_path / "a.pt"))
    assert torch.equal(weight(loaded), weight(wanted))
    assert not Config.ran
    assert set(torch.serialization.get_safe_globals()) == set(allowed)


@pytest.mark.parametrize("wrapper", [Bag, lambda content: argparse.Namespace(**content)])
def test_weights_inside_of_an_object_are_found(
    tmp_path: Path, wrapper: Callable[[dict[str, Any]], object]
) -> None:
    wanted = net(seed=1)
    torch.save(wrapper({"state_dict": wanted.state_dict()}), tmp_path / "a.pt")
    loaded = load_model(net(), load_checkpoint(tmp_path / "a.pt"))
    assert torch.equal(weight(loaded), weight(wanted))


# --- what would run --------------------------------------------------------------------------


class Calls:
    """Is a call of a function, once it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


HOSTILE: dict[str, Calls] = {
    "os.mkdir": Calls(os.mkdir, "evil"),
    "os.system": Calls(os.system, "mkdir evil"),
    "subprocess": Calls(subprocess.call, ["mkdir", "evil"]),
    "eval": Calls(eval, "__import__('os').mkdir('evil')"),
    "exec": Calls(exec, "import os; os.mkdir('evil')"),
    "torch.hub": Calls(torch.hub.load, "inner", "model"),
    "a method of a class": Calls(Path.mkdir, Path("evil")),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_in_a_file_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, legacy: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": net(seed=1).state_dict(), "beside": HOSTILE[name]}
    torch.save(content, "a.pt", _use_new_zipfile_serialization=not legacy)
    try:
        load_model(net(), load_checkpoint(tmp_path / "a.pt"))
    except ModelError as error:
        assert "nothing in it was run" in (error.hint or "")  # noqa: PT017 (it may load as well)
    assert not (tmp_path / "evil").exists()


def test_a_state_dict_whose_methods_were_replaced_is_read_as_it_is(tmp_path: Path) -> None:
    class Shadowed:
        def __reduce__(self) -> tuple[Any, ...]:
            versions = {"": 5, 3: {}, "0": {"version": 2, 4: None}}
            attributes = {"items": Mode.FAST, "keys": 1, "get": 2, "_metadata": versions}
            items = iter(net(seed=1).state_dict().items())
            return collections.OrderedDict, (), attributes, None, items

    torch.save(Shadowed(), tmp_path / "a.pt")
    loaded = load_model(net(), load_checkpoint(tmp_path / "a.pt"))
    assert torch.equal(weight(loaded), weight(net(seed=1)))


# --- files of other kinds --------------------------------------------------------------------


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(net(), (torch.zeros(1, 1, 5, 5),)), path)


def scripted(path: Path) -> None:
    program = torch.jit.trace(net(), torch.zeros(1, 1, 5, 5))  # type: ignore[no-untyped-call]
    torch.jit.save(program, path)


def archived(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("a.pt"), io.BytesIO())


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/a.pt", b"x")


def onnx(path: Path) -> None:
    # ir_version 8, producer "pytorch", an empty graph, opset 17
    path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.0.0\x3a\x00\x42\x02\x10\x11")


def pickled_model(path: Path) -> None:
    torch.save({"epoch": 3, "model": net()}, path)


KINDS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "TorchScript": (scripted, "is a TorchScript program", "torch.jit.load"),
    "an exported program": (exported, "is an exported program", "only if you trust whoever made"),
    "a pickled model": (pickled_model, r"a whole pickled model \(torch\.nn\.\S*\.Sequential\)",
                        r'["model"].float(); torch.save(model.state_dict()'),
    "ONNX": (onnx, "but an ONNX model", "exported from"),
    "NumPy's npz": (lambda p: np.savez(p.open("wb"), a=np.zeros(3)), "a NumPy archive", "state_d"),
    "NumPy's npy": (lambda p: np.save(p.open("wb"), np.zeros(3)), "a NumPy array", "state_dict"),
    "a zip": (zipped, "a zip archive", "unpack it"),
    "gzip": (lambda p: p.write_bytes(gzip.compress(b"x")), "a gzip archive", "unpack it"),
    "tar": (archived, "a tar archive", "unpack it"),
    "HDF5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "an HDF5", "--model"),
    "TFLite": (lambda p: p.write_bytes(b"\x1c\0\0\0TFL3" + bytes(99)), "TensorFlow Lite", "profi"),
    "a web page": (lambda p: p.write_text("<!DOCTYPE html><html>"), "a web page", "login"),
    "Git LFS": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"),
                "a pointer of Git LFS", "git lfs pull"),
    "an index": (lambda p: p.write_text(json.dumps({"weight_map": {}})), "in several files", ""),
    "a plain pickle": (lambda p: p.write_bytes(pickle.dumps({"a": 1})), "torch.save did not w", ""),
    "an optimizer": (lambda p: torch.save({"optimizer": {"lr": 1}}, p), "dict of 'optimizer'", ""),
    "models in a list": (lambda p: torch.save([net()], p), "a whole pickled model", "False)[0]."),
    "another protocol": (lambda p: torch.save(net().state_dict(), p, pickle_protocol=4),
                         "saved with pickle protocol 4, of which only 2", "python -c"),
    "a list of tensors": (lambda p: torch.save([torch.ones(1)], p), "1 tensors without names", ""),
    "an object": (lambda p: torch.save(Config(), p), r"no state_dict .*, but a \S*\.Config", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_another_kind_is_called_by_its_name(tmp_path: Path, name: str) -> None:
    write, message, hint = KINDS[name]
    path = tmp_path / "weights.pt"
    write(path)
    with pytest.raises(ModelError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in caught.value.what
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("name", ["w.safetensors", "w.SafeTensors"])
def test_what_is_called_safetensors_is_nothing_else(
    tmp_path: Path, name: str, legacy: bool
) -> None:
    torch.save(net().state_dict(), tmp_path / name, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match="is no safetensors file, though it is called so"):
        load_checkpoint(tmp_path / name)


def of_protocol_4(path: Path) -> None:
    torch.save({"model": net().state_dict()}, path, pickle_protocol=4)


@pytest.mark.parametrize("write", [scripted, pickled_model, of_protocol_4])
def test_the_line_that_is_told_writes_the_weights(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    path = tmp_path / "it's a [file].pt"
    write(path)
    with pytest.raises(ModelError) as caught:
        load_checkpoint(path)
    line = (caught.value.hint or "").partition("python -c ")[2]
    code = shlex.split(line)[0]
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=REPOSITORY, stdin=subprocess.DEVNULL
    )
    loaded = load_model(net(seed=2), load_checkpoint(tmp_path / "it's a [file]_weights.pt"))
    assert torch.equal(weight(loaded), weight(net()))


def test_an_onnx_file_is_known_by_its_name_as_well(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x99" * 40)
    with pytest.raises(ModelError, match="but an ONNX model"):
        load_checkpoint(tmp_path / "net.onnx")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_damaged_file_is_an_error_of_the_file(tmp_path: Path, legacy: bool) -> None:
    good = tmp_path / "good.pt"
    content = {"state_dict": net().state_dict(), "args": argparse.Namespace(lr=0.1)}
    torch.save(content, good, _use_new_zipfile_serialization=not legacy)
    raw, path = good.read_bytes(), tmp_path / "a.pt"
    generator = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(raw)
        for at in generator.integers(2, len(raw), 3):
            damaged[at] = generator.integers(256)
        path.write_bytes(bytes(damaged[: generator.integers(2, len(raw) + 1)]))
        try:
            load_model(net(), load_checkpoint(path))
        except ModelError:
            continue
