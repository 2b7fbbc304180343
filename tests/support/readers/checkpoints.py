"""Weights, exported programs and saved trainings."""

from __future__ import annotations

import functools
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from hypothesis import strategies as st
from torch import nn

from support import tiny_training
from support.malformed import Bytes, damaged, damaged_tree, documents, json_text
from support.readers.format import (
    Format,
    in_zip,
    saved,
    zips,
)
from toolchain.convert.source import load_source
from toolchain.sparsity.checkpoint import load_checkpoint
from toolchain.sparsity.checkpoint_file import read_safetensors_metadata
from toolchain.train import saved_state
from toolchain.zoo.catalog import CHECKPOINTS


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.register_buffer("mask", torch.ones(2, 2, dtype=torch.bool))


@functools.cache
def _safetensors() -> bytes:
    shape = {
        "input_shape": "1,1,28,28",
        "factory": "toolchain.zoo.fashion_resnet:fashion_resnet",
    }
    return safetensors.torch.save(_Net().state_dict(), shape | {"arguments": '{"sparsity": 0.2}'})


@st.composite
def _safetensors_files(draw: st.DrawFn) -> bytes:
    whole = _safetensors()
    size = int.from_bytes(whole[:8], "little")
    tree = draw(damaged_tree(json.loads(whole[8 : 8 + size])))
    header = json_text(tree).encode(errors="surrogatepass")
    return len(header).to_bytes(8, "little") + header + whole[8 + size :]


@st.composite
def _metadata_files(draw: st.DrawFn) -> bytes:
    """A sound file of a network of ours whose metadata is not."""
    whole = (CHECKPOINTS / "fashion_resnet_s20.safetensors").read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    known = header["__metadata__"]
    for key in draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=2)):
        text = draw(documents({"a": 1}, [1]) | damaged([known[key].encode()]))
        known[key] = text.decode(errors="replace")
    raw = json.dumps(header).encode()
    head: bytes = len(raw).to_bytes(8, "little") + raw
    return head + whole[8 + size :]


def _checkpoint(path: Path) -> None:
    load_checkpoint(path)
    read_safetensors_metadata(path)


def _source(path: Path) -> None:
    load_source(path)


@functools.cache
def _pt(*, legacy: bool = False, module: bool = False) -> bytes:
    net = _Net()
    given: Any = {"state_dict": net.state_dict(), "epoch": 3, "best": 0.5}
    if module:
        given = nn.Sequential(nn.Conv2d(1, 2, 3))
    return saved(
        lambda stream: torch.save(given, stream, _use_new_zipfile_serialization=not legacy)
    )


def _pickles() -> Bytes:
    return zips(_pt()) | zips(_pt(module=True)) | damaged([_pt(), _pt(legacy=True)])


@functools.cache
def _exported() -> bytes:
    program = torch.export.export(nn.Conv2d(1, 2, 3).eval(), (torch.zeros(1, 1, 5, 5),))
    return saved(lambda stream: torch.export.save(program, stream))


@st.composite
def _programs(draw: st.DrawFn) -> bytes:
    """An exported program with faults in the JSON that it is made of."""
    with zipfile.ZipFile(io.BytesIO(_exported())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    chosen = draw(st.sampled_from([name for name in sorted(members) if name.endswith(".json")]))
    members[chosen] = draw(documents(json.loads(members[chosen])))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


@functools.cache
def _state_file() -> bytes:
    state = {
        "version": 3, "recipe": tiny_training.recipe().model_dump_json(), "rounding": None,
        "data": ["x", 1, 1, [], []],
        "trainer": {"model": _Net().state_dict(), "step": 3},
    }  # fmt: skip
    return saved(lambda stream: torch.save(state, stream))


def _saved_state(path: Path) -> None:
    (path.parent / "state.pt").write_bytes(path.read_bytes())
    found = saved_state.load_state(path.parent, tiny_training.recipe())
    if found is not None:
        saved_state.weights(found)


CHECKPOINT_FILES = (
    Format(
        ".safetensors", "w.safetensors",
        lambda: damaged([_safetensors()]) | _safetensors_files(), _checkpoint,
    ),
    Format("metadata", "m.safetensors", _metadata_files, _source, 0.2),
    Format(".pt", "w.pt", _pickles, _checkpoint),
    Format(".pt2", "p.pt2", lambda: _programs() | in_zip(_exported)(), _source, 0.3),
    Format("training state", "given.pt", in_zip(_state_file), _saved_state),
)  # fmt: skip
