from __future__ import annotations

import io
import json
import os
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from support.published import write_header
from toolchain.convert.source import load_source, make
from toolchain.errors import ModelError
from toolchain.zoo import catalog

SMALL = "fashion_resnet_dense"
_FACTORY = "toolchain.zoo.fashion_resnet:fashion_resnet"

_USER_MODULE = """
import torch
from torch import nn

number = 3

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

def wants_arguments(width):
    return nn.Conv2d(3, width, 3)

def gives_text():
    return "a model"

def fails():
    raise RuntimeError("no weights here")

class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x
"""


@pytest.fixture
def user_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """A module in the current folder, as a user has one."""
    name = f"user_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(_USER_MODULE)
    (tmp_path / f"{name}_broken.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / f"{name}_syntax.py").write_text("def net(:\n")
    monkeypatch.chdir(tmp_path)
    return name


def test_a_factory_of_the_current_folder_is_found(user_module: str) -> None:
    assert isinstance(make(f"{user_module}:net"), nn.Sequential)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("no_such_module:net", "there is no module called 'no_such_module'"),
        ("toolchain.nothing:net", "there is no module called 'toolchain.nothing'"),
        ("{user}:nothing", "has no function called 'nothing'"),
        ("{user}:number", "is a int, not a function"),
        ("{user}:gives_text", "gives a str, not a torch.nn.Module"),
        ("{user}:wants_arguments", "without arguments failed: TypeError"),
        ("{user}:fails", "without arguments failed: RuntimeError: no weights here"),
        ("{user}_broken:net", "importing '.*_broken' failed: ModuleNotFoundError: .*is_not_there"),
        ("{user}_syntax:net", "importing '.*_syntax' failed: SyntaxError"),
        ("net", "names no factory"),
        ("module:", "names no factory"),
        (":net", "names no factory"),
        ("../evil:net", "there is no module called 'evil'"),
    ],
)
def test_a_factory_that_gives_no_model_says_why(
    user_module: str, factory: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        make(factory.format(user=user_module))


def test_an_unknown_network_of_the_zoo_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match="'resnet99'") as caught:
        load_source(None, "resnet99")
    assert "resnet18" in (caught.value.hint or "")


def test_nothing_to_convert_is_said() -> None:
    with pytest.raises(ModelError, match="nothing to convert"):
        load_source(None)


def test_a_network_of_the_zoo_knows_its_input_shape() -> None:
    source = load_source(None, SMALL)
    assert source.inputs == (catalog.get(SMALL).input_shape,)
    assert source.outputs == ((1, 10),)


def test_a_checkpoint_of_this_project_needs_no_more_than_its_name() -> None:
    source = load_source(catalog.get(SMALL).checkpoint)
    assert source.inputs == (catalog.get(SMALL).input_shape,)


def test_a_factory_of_a_user_needs_an_input_shape(user_module: str) -> None:
    with pytest.raises(ModelError, match=r"input shape of .* is not known") as caught:
        load_source(None, f"{user_module}:net")
    assert "--input-shape" in (caught.value.hint or "")


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 3, 2, 2), (3,), (1, 3, 8, 8, 8)])
def test_a_wrong_input_shape_is_told_in_torchs_words(
    user_module: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ModelError, match=r"running .* on an input of") as caught:
        load_source(None, f"{user_module}:net", [shape])
    assert "--input-shape" in (caught.value.hint or "")


def test_a_model_that_torch_cannot_export_says_so(user_module: str) -> None:
    line = r"Branches: .*\.py:\d+ `return x if x.sum\(\) > 0 else -x`: what is computed depends on"
    with pytest.raises(ModelError, match=line) as caught:
        load_source(None, f"{user_module}:Branches", [(1, 3)])
    assert "torch.where" in (caught.value.hint or "")


# --- checkpoints -----------------------------------------------------------------------------


@pytest.mark.parametrize("save", [torch.save, safetensors.torch.save_file])
def test_a_checkpoint_with_a_factory_becomes_its_model(
    user_module: str, tmp_path: Path, save: object
) -> None:
    model = make(f"{user_module}:net")
    state = {**model.state_dict(), "0.mask": torch.eye(6)}
    assert callable(save)
    save(state, tmp_path / "weights")
    source = load_source(tmp_path / "weights", f"{user_module}:net", [(1, 3, 8, 8)])
    x = torch.randn(1, 3, 8, 8)
    masked = model.get_submodule("0")(x) * torch.eye(6)
    assert torch.equal(source.reference(x)[0], masked.relu())


def test_a_mask_of_the_wrong_size_names_its_layer(user_module: str, tmp_path: Path) -> None:
    state = {**make(f"{user_module}:net").state_dict(), "0.mask": torch.ones(5, 6)}
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"mask of layer '0' is 5x6, .* output is 6x6"):
        load_source(tmp_path / "weights.pt", f"{user_module}:net", [(1, 3, 8, 8)])


def test_a_mask_with_other_values_names_its_layer(user_module: str, tmp_path: Path) -> None:
    state = {**make(f"{user_module}:net").state_dict(), "0.mask": torch.full((6, 6), 3)}
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"mask of layer '0' holds 36 values that are not 0 or 1"):
        load_source(tmp_path / "weights.pt", f"{user_module}:net", [(1, 3, 8, 8)])


def test_a_factory_without_a_checkpoint_takes_the_masks_of_a_header(
    user_module: str, tmp_path: Path
) -> None:
    header = write_header(tmp_path / "bin_mask.h", {"0": torch.eye(6)})
    source = load_source(None, f"{user_module}:net", [(1, 3, 8, 8)], header)
    assert source.header is not None
    assert source.header.used
    output = source.reference(torch.randn(1, 3, 8, 8))[0]
    assert not output[:, :, ~torch.eye(6, dtype=torch.bool)].any()
    assert output.any()


def test_missing_weights_are_named(user_module: str, tmp_path: Path) -> None:
    torch.save({"0.bias": torch.zeros(4)}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"the checkpoint lacks '0.weight'"):
        load_source(tmp_path / "weights.pt", f"{user_module}:net", [(1, 3, 8, 8)])


def test_a_checkpoint_without_metadata_needs_a_model(tmp_path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match="does not say which model it belongs to") as caught:
        load_source(tmp_path / "weights.safetensors")
    assert "--model" in (caught.value.hint or "")


def test_a_checkpoint_may_not_name_code_that_is_not_ours(tmp_path: Path) -> None:
    safetensors.torch.save_file(
        {"weight": torch.zeros(1)}, tmp_path / "weights.safetensors", {"factory": "antigravity:fly"}
    )
    with pytest.raises(ModelError, match="names the model 'antigravity:fly'"):
        load_source(tmp_path / "weights.safetensors")


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0, 0.999))
def test_a_truncated_checkpoint_is_an_error_of_the_file(
    share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkpoint = catalog.get(SMALL).checkpoint
    assert checkpoint is not None
    raw = checkpoint.read_bytes()
    path = tmp_path_factory.mktemp("cut") / "weights.safetensors"
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(ModelError, match=r"weights.safetensors: "):
        load_source(path, _FACTORY)


# --- exported programs -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    torch.export.save(torch.export.export(model, (torch.randn(1, 3, 8, 8),)), path)
    return path


def test_an_exported_program_knows_its_input_shape(program: Path) -> None:
    source = load_source(program)
    assert source.inputs == ((1, 3, 8, 8),)
    assert source.outputs == ((1, 4, 6, 6),)


@pytest.fixture(scope="module")
def hostile(program: Path) -> Path:
    """A program whose weights are a pickle that makes a folder ``ran`` beside it."""

    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return os.makedirs, (str(program.with_name("ran")), 0o777, True)

    stream = io.BytesIO()
    torch.save(Runs(), stream)
    path = program.with_name("hostile.pt2")
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


@pytest.mark.parametrize("factory", [None, _FACTORY])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth", "w.bin", "w.PT2", "pt2", "w"])
def test_nothing_but_a_file_that_is_called_pt2_is_loaded_as_a_program(
    hostile: Path, tmp_path: Path, name: str, factory: str | None
) -> None:
    path = tmp_path / name
    os.link(hostile, path)
    with pytest.raises(ModelError) as caught:
        load_source(path, factory)
    assert not hostile.with_name("ran").exists()
    assert "deploy" not in str(caught.value.hint)  # no line to copy that would run it


def test_the_hostile_program_of_these_tests_does_what_it_says(hostile: Path) -> None:
    with suppress(ModelError):
        load_source(hostile)
    hostile.with_name("ran").rmdir()


def test_an_exported_program_takes_no_other_shape(program: Path) -> None:
    with pytest.raises(ModelError, match="exported for input shape 1x3x8x8, not 1x3x9x9"):
        load_source(program, None, [(1, 3, 9, 9)])


def test_a_dynamic_batch_becomes_one_unless_it_is_given(tmp_path: Path) -> None:
    model = nn.Conv2d(3, 4, 3).eval()
    batch = torch.export.Dim("batch", min=1, max=8)
    dynamic = torch.export.export(
        model, (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: batch, 1: None, 2: None, 3: None},)
    )
    torch.export.save(dynamic, tmp_path / "net.pt2")
    assert load_source(tmp_path / "net.pt2").inputs == ((1, 3, 8, 8),)
    assert load_source(tmp_path / "net.pt2", None, [(2, 3, 8, 8)]).outputs == ((2, 4, 6, 6),)


def test_an_exported_program_holds_its_own_model(program: Path) -> None:
    with pytest.raises(ModelError, match="holds its own model"):
        load_source(program, _FACTORY)


def test_an_exported_program_holds_its_own_masks(program: Path, tmp_path: Path) -> None:
    header = write_header(tmp_path / "bin_mask.h", {"0": torch.ones(6, 6)})
    with pytest.raises(ModelError, match="holds its own masks") as caught:
        load_source(program, masks=header)
    assert "--masks" in (caught.value.hint or "")


def test_inputs_have_to_be_float32(tmp_path: Path) -> None:
    class Lookup(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(Lookup(), (torch.zeros(3, dtype=torch.int64),)), path)
    with pytest.raises(ModelError, match=r"input of type torch.int64"):
        load_source(path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        load_source(tmp_path / "nothing.pt2")


@settings(max_examples=8, deadline=None)
@given(share=st.floats(0, 0.999))
def test_a_truncated_program_is_an_error_of_the_file(
    program: Path, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = program.read_bytes()
    path = tmp_path_factory.mktemp("cut") / "net.pt2"
    path.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(ModelError, match=r"net.pt2: is not an exported program"):
        load_source(path)


def test_a_checkpoint_called_pt2_is_told_from_a_program(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(3, 4, 3).state_dict(), tmp_path / "weights.pt2")
    with pytest.raises(ModelError, match="is not an exported program"):
        load_source(tmp_path / "weights.pt2")
