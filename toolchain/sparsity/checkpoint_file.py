"""Read what is in a checkpoint file, without running any code from it.

A file of ``torch.save`` is a pickle, which may name any function and have it called. It is read
with torch's ``weights_only`` unpickler. Objects that are no tensors (an ``argparse.Namespace``, a
configuration, a whole model) become :class:`StandIn`: they have the name of what they stand for
and hold what the file says about them, and nothing of theirs is imported or called.
"""

from __future__ import annotations

import _compat_pickle
import json
import pickle
import pickletools
import shlex
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import safetensors
import safetensors.torch
import torch

from toolchain.errors import DeployError, ModelError, first_line
from toolchain.formats import json_text
from toolchain.formats.input_file import check_readable, read_limited

_MAX_HEADER = 100_000_000  # of safetensors, the format's own limit
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that torch wrote before 1.6
_AGAIN = "copy or download it again"
_SAVE = "save the weights alone: torch.save(model.state_dict(), path)"


class StandIn:
    """An object of a file that is not a tensor, a number, a text or a container of these."""

    kind: ClassVar[str]
    """``module.name`` of its class."""
    attributes: dict[str, Any]

    def __new__(cls, *_args: object, **_named: object) -> StandIn:
        """Whatever it is made of."""
        made = super().__new__(cls)
        made.attributes = {}
        return made

    def __init__(self, *_args: object, **_named: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        # With __slots__ there are two dicts.
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.attributes.update(dict.items(part))

    @property
    def is_module(self) -> bool:
        """Whether it is an ``nn.Module``."""
        return {"_parameters", "_modules"} <= self.attributes.keys()


def read_checkpoint_file(path: Path) -> object:
    """The content of a checkpoint, of which nothing is run.

    Its kind is told by what is in it; but what is called ``.safetensors`` is nothing else.

    Returns:
        Of a safetensors file a dict of tensors, of another what was given to ``torch.save``.

    Raises:
        ModelError: the file is not there, truncated or of another kind; says which.
    """
    head = read_head(path)
    if is_safetensors(head):
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:  # whichever of its checks, or torch's, finds the fault
            raise ModelError(
                f"{path}: is a truncated or damaged safetensors file ({error})", hint=_AGAIN
            ) from error
    is_zip, is_pickle = head[:2] == b"PK", head[:1] == b"\x80"
    if path.suffix.lower() == ".safetensors" and (is_zip or is_pickle):
        raise ModelError(
            f"{path}: is no safetensors file, though it is called so, but one of torch.save",
            hint="whoever made it hid what it is; rename it to .pt only if you know why",
        )
    if is_zip:
        return _read_zip(path)
    if is_pickle and _LEGACY_MAGIC in head[:40]:
        return _read_pickle(path, _legacy_pickles)
    raise _of_another_kind(path, head)


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, sorted; empty for another kind of file.

    Raises:
        ModelError: the file cannot be read, or is a truncated or damaged safetensors file.
    """
    if not is_safetensors(read_head(path)):
        return {}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(sorted((file.metadata() or {}).items()))
    except Exception as error:
        raise ModelError(
            f"{path}: is a truncated or damaged safetensors file ({error})", hint=_AGAIN
        ) from error


def read_head(path: Path) -> bytes:
    """The first bytes of a file, 512 at most.

    Raises:
        ModelError: it cannot be read or is empty.
    """
    check_readable(path, ModelError)
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    if not head:
        raise ModelError(f"{path}: is empty", hint=_AGAIN)
    return head


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins so is a safetensors file."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER


def save_again(path: Path, model: str, saved: str = "model.state_dict()") -> str:
    """A line for the shell that writes the weights alone beside a file.

    Args:
        path: the file.
        model: Python that gives the model; ``{}`` in it is the file.
        saved: what of it is written.
    """
    old, new = (json.dumps(str(one)) for one in (path, path.with_name(f"{path.stem}_weights.pt")))
    code = f"import torch; model = {model.replace('{}', old)}; torch.save({saved}, {new})"
    return f"python -c {shlex.quote(code)}"


# --- files of torch --------------------------------------------------------------------------


def _read_zip(path: Path) -> object:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        reader = torch._C.PyTorchFileReader(str(path))
    except Exception as error:  # torch's reader and zipfile raise whatever they come upon
        names = _names_of_others(path)
        if names and all(name.endswith(".npy") for name in names):
            raise _other(path, "a NumPy archive", _SAVE) from error
        if names:
            raise _other(
                path, "a zip archive", "unpack it, and give the checkpoint in it"
            ) from error
        raise _damaged(path, error) from error
    if reader.has_record("constants.pkl"):  # type: ignore[attr-defined]
        raise ModelError(
            f"{path}: is a TorchScript program, which holds its code and not a state_dict alone",
            hint="write its weights with: "
            + save_again(path, 'torch.jit.load({}, map_location="cpu")')
            + " (if you trust the file), and give the model with --model",
        )
    if any(name.endswith("/models/model.json") or name == "models/model.json" for name in names):
        raise ModelError(
            f"{path}: is an exported program, which holds its own model, and not a state_dict",
            hint="exported programs are called .pt2, since they can run code when they are loaded; "
            "rename it only if you trust whoever made it",
        )
    if not reader.has_record("data.pkl"):  # type: ignore[attr-defined]
        raise _other(path, "a zip archive", "unpack it, and give the checkpoint in it")
    return _read_pickle(path, lambda _: iter([reader.get_record("data.pkl")]))


def _names_of_others(path: Path) -> list[str]:
    """The files of a zip archive that torch does not read; none of one that is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:
        return []


def _legacy_pickles(path: Path) -> Iterator[bytes | BinaryIO]:
    """A file as torch wrote it before 1.6: four pickles, the last one with the content."""
    with path.open("rb") as stream:
        for _ in range(4):
            yield stream


def _read_pickle(path: Path, pickles: Callable[[Path], Iterator[bytes | BinaryIO]]) -> object:
    kinds: dict[str, type] = {}
    try:
        for pickled in pickles(path):
            kinds |= {name: _stand_in(name) for name in _names_in(pickled, path)}
        while True:
            try:
                allowed: list[Any] = [(kind, name) for name, kind in kinds.items()]
                with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return torch.load(path, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError as error:
                if not _make_container(kinds, str(error)):
                    raise
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: holds Python objects that are not tensors and cannot be passed over, or is "
            f"truncated ({_reason(error)})",
            hint=f"nothing in it was run. Where it was made, {_SAVE}",
        ) from error
    except DeployError:
        raise
    except Exception as error:  # opcodes that no pickler writes bring about anything
        raise _damaged(path, error) from error


def _names_in(pickled: bytes | BinaryIO, path: Path) -> Iterator[str]:
    """``module.name`` of everything that one pickle refers to."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "PROTO" and argument in (3, 4, 5):
            load = 'torch.load({}, map_location="cpu", weights_only=False)'
            raise ModelError(
                f"{path}: was saved with pickle protocol {argument}, of which only 2, torch's own, "
                "can be read without running code",
                hint=f"if you trust the file, write it again: {save_again(path, load, 'model')}",
            )
        if opcode.name == "GLOBAL" and isinstance(argument, str):
            module, _, name = argument.partition(" ")
            # The protocol knows them by the names that they had in Python 2.
            if (module, name) in _compat_pickle.NAME_MAPPING:
                module, name = _compat_pickle.NAME_MAPPING[module, name]
            yield f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}"


def _stand_in(name: str) -> type:
    return type("StandIn", (StandIn,), {"kind": name, "__qualname__": f"<{name}>"})


def _make_container(kinds: dict[str, type], told: str) -> bool:
    """Where the unpickler told that an object of the file is a dict or a list, make it one."""
    for name, kind in kinds.items():
        if f"<{name}>" not in told or not issubclass(kind, StandIn):
            continue
        made: type = OrderedDict if "dict" in told else list
        kinds[name] = type(
            f"<{name}>", (), {"__new__": lambda _cls, *_args, made=made, **_named: made()}
        )
        return True
    return False


def _reason(error: Exception) -> str:
    """What torch says, without its advice to trust the file."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if "Unsupported" in line or "Trying to" in line]
    told += [line for line in lines if line.startswith("Can only")]
    text = (told or [first_line(error)])[0].removeprefix("WeightsUnpickler error:").strip()
    return text.partition(" Please use ")[0].rstrip(".")


# --- other files -----------------------------------------------------------------------------

_TO_TORCH = "take the network that it was made from: --model and its state_dict"
_TFLITE = ("a TensorFlow Lite model", "deploy inspect, push and profile take it")
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes", _TO_TORCH),
    (b"\x80", "a pickle that torch.save did not write", _SAVE),
    (b"GGUF", "a GGUF file", _TO_TORCH),
    (b"\x93NUMPY", "a NumPy array", _SAVE),
    (b"version https://git-lfs", "a pointer of Git LFS and not the file itself", "git lfs pull"),
    (b"\x1f\x8b", "a gzip archive", "unpack it, and give the checkpoint in it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it, and give the checkpoint in it"),
    (b"BZh", "a bzip2 archive", "unpack it, and give the checkpoint in it"),
    (b"\xfd7zXZ", "an xz archive", "unpack it, and give the checkpoint in it"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it, and give the checkpoint in it"),
)


def check_no_tflite(path: Path) -> None:
    """Refuse a file that is a model already, before its own name is taken for the output's.

    Raises:
        ModelError: it is one.
    """
    with suppress(OSError), path.open("rb") as stream:
        if stream.read(8)[4:] == b"TFL3":
            raise _other(path, *_TFLITE)


def _of_another_kind(path: Path, head: bytes) -> ModelError:
    for magic, kind, hint in _MAGIC:
        if head.startswith(magic):
            return _other(path, kind, hint)
    text = head.lstrip().lower()
    if head[4:8] == b"TFL3":
        return _other(path, *_TFLITE)
    if head[257:262] == b"ustar":
        return _other(path, "a tar archive", "unpack it, and give the checkpoint in it")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return _other(path, "a web page", "download the file itself: it may want a login")
    if text.startswith((b"{", b"[")):
        return _other(path, "JSON" + _index(path), _SAVE)
    if _is_onnx(path, head):
        return _other(
            path,
            "an ONNX model, which holds a graph of its own",
            "take the PyTorch network that it was exported from: --model and its state_dict",
        )
    return ModelError(
        f"{path}: is neither a safetensors file nor a PyTorch checkpoint",
        hint="save one with safetensors.torch.save_file(model.state_dict(), path)",
    )


def _index(path: Path) -> str:
    try:
        found = json_text.loads(read_limited(path))
    except (ValueError, OSError):
        return ""
    is_index = isinstance(found, dict) and "weight_map" in found
    return ", the index of weights that lie in several files" if is_index else ""


def _is_onnx(path: Path, head: bytes) -> bool:
    """A protobuf whose first field is the version of ONNX's format, or a file that is called so."""
    return path.suffix.lower() == ".onnx" or (
        head[0] == 0x08 and head[1] < 32 and head[2:3] in (b"\x12", b"\x1a", b"\x3a", b"\x42")
    )


def _other(path: Path, kind: str, hint: str) -> ModelError:
    return ModelError(
        f"{path}: is neither a safetensors file nor a PyTorch checkpoint but {kind}", hint=hint
    )


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path}: is a truncated or damaged PyTorch checkpoint ({first_line(error)})", hint=_AGAIN
    )
