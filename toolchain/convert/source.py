"""What is converted: a network with its weights, an exported program, or an ONNX file."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx, nn

from toolchain.agreement.silence import quiet
from toolchain.convert.explain import export_failure, where_raised
from toolchain.convert.from_onnx.source import load as load_onnx
from toolchain.convert.interface import (
    Flat,
    Interface,
    describe_outputs,
    images_first,
    register_containers,
)
from toolchain.convert.kinds import is_onnx, is_program
from toolchain.convert.layout import channels_last_inputs, channels_last_outputs
from toolchain.convert.original import Original, Shape
from toolchain.convert.precision import OTHERS, computed_in, has_other_floats, to_float32
from toolchain.errors import DeployError, ModelError, failure, first_line
from toolchain.factory import make_module
from toolchain.formats import json_text
from toolchain.formats.input_file import check_readable
from toolchain.hints import quoted
from toolchain.sparsity.checkpoint import (
    has_pruned_channels,
    load_checkpoint,
    load_metadata,
    load_model,
)
from toolchain.sparsity.published import HeaderReport, with_header
from toolchain.sparsity.state_dicts import match
from toolchain.train.normalization import trained_normalization
from toolchain.zoo import catalog, libraries

_RANDOM = (
    "they are random, and the same each time: good for measuring time and nothing else; give a "
    "checkpoint, or :pretrained behind the name, for those of its library"
)
_MOST = 1e6  # of a number that a file gives to a factory, so that it cannot ask for all memory
_MOST_INPUT = 2**28  # values of an input whose shape a file names: 1 GiB


@dataclass(frozen=True, eq=False, kw_only=True)
class Source(Original):
    """A model as torch has it: the reference that the file is compared with, masks multiplied."""

    program: torch.export.ExportedProgram
    interface: Interface


def load_source(
    path: str | os.PathLike[str] | None,
    model: str | None = None,
    input_shapes: Sequence[Shape] | None = None,
    masks: str | os.PathLike[str] | None = None,
    weights: str | None = None,
) -> Source:
    """Load a model with its weights and masks, and export it.

    Args:
        path: a checkpoint (safetensors or a PyTorch ``state_dict``) or an exported program
            (``.pt2``, and called so; torch runs what is in it: only if whoever made it is trusted)
            or an ONNX file (``.onnx``, and called so); ``None`` takes the weights that the factory
            gives.
        model: ``package.module:factory``, a name of the zoo, or one of another library
            (:mod:`toolchain.zoo.libraries`). A checkpoint of this project names its own in its
            metadata. Not for a ``.pt2`` or ``.onnx``.
        input_shapes: one shape an input; checkpoints of this project, networks of the zoo and
            exported programs know theirs.
        masks: a header of masks, ``bin_mask.h``, for weights that come without; where they have
            masks of their own, these are taken. Not for a ``.pt2`` or ``.onnx``.
        weights: which of a checkpoint's weights, see
            :func:`toolchain.sparsity.checkpoint.load_checkpoint`. Not for a ``.pt2`` or ``.onnx``.

    Raises:
        ModelError: something cannot be found, read, loaded or exported; says which and why.
    """
    if path is None and model is None:
        raise ModelError(
            "there is nothing to convert",
            hint="give a checkpoint, an exported program (.pt2), an ONNX file, or --model "
            "package.module:factory",
        )
    if path is not None and (is_program(Path(path)) or is_onnx(Path(path))):
        _check_alone(Path(path), {"model": model, "masks": masks, "weights": weights})
        if is_onnx(Path(path)):
            module, inputs, notes = load_onnx(Path(path), input_shapes)
            source = module_source(module, inputs, str(path))
            return replace(source, notes=(*notes, *source.notes))
        return _from_program(Path(path), input_shapes)
    if path is None and weights is not None:
        raise ModelError(
            f"there is no checkpoint to take the weights '{weights}' from",
            hint="give the checkpoint, or leave --weights away",
        )
    return _from_factory(path, model, input_shapes, masks, weights)


def _check_alone(path: Path, options: Mapping[str, object]) -> None:
    """Raise where an option is given for a file that holds what the option is for."""
    kind = "an ONNX file" if is_onnx(path) else "an exported program"
    for option, given in options.items():
        if given is not None:
            raise ModelError(
                f"{path}: is {kind}, which holds its own {option}",
                hint=f"leave --{option} away",
            )


# --- factories -------------------------------------------------------------------------------


def _from_factory(
    path: str | os.PathLike[str] | None,
    model: str | None,
    shapes: Sequence[Shape] | None,
    masks: str | os.PathLike[str] | None,
    weights: str | None,
) -> Source:
    state: Mapping[str, Any] | None = None
    header: HeaderReport | None = None
    taken: tuple[str, ...] = ()
    metadata: Mapping[str, str] = {}
    if path is not None:
        state, metadata = load_checkpoint(path, weights=weights), load_metadata(path)
        model = model or _factory_in(path, metadata)
    assert model is not None  # noqa: S101 (load_source was given one of the two)
    named = libraries.check(model) if libraries.is_named(model) else None
    factory, checkpoint = str(named) if named else catalog.current_factory(model), None
    arguments: Mapping[str, Any] = {} if path is None else _arguments_in(path, metadata)
    if ":" not in model:
        entry = catalog.get(model)
        factory, checkpoint = entry.factory, entry.checkpoint
        arguments = {**entry.arguments, **arguments}
    ours = catalog.by_factory(factory)
    known_shape: Shape | None = ours.input_shape if ours else None
    if named is not None and not shapes:
        known_shape = libraries.input_shape(named)
    if not shapes:
        if path is not None:
            known_shape = _shape_in(path, metadata) or known_shape
        if known_shape is None:
            raise ModelError(
                f"the input shape of {factory} is not known",
                hint="give it as --input-shape 1,3,224,224 (N,C,H,W)",
            )
        shapes = [known_shape]
    if state is None and checkpoint is not None:
        state = load_checkpoint(checkpoint)
    inputs = [torch.zeros(shape) for shape in shapes]
    if named is None:
        module = make(factory, arguments)
    else:
        module = libraries.make(named, arguments)
        if state is None and not named.pretrained:
            _try(module.eval(), inputs, factory)
            libraries.liven(module, inputs[0])
            taken = (_RANDOM,)
    if state is not None:
        state = matched = match(module, state)
        taken = matched.notes
    if masks is not None:
        state, header = with_header(module.state_dict() if state is None else state, module, masks)
    if state is not None:
        module = load_model(module, state, resize=has_pruned_channels(metadata))
    what = f"{factory} with {path}" if path is not None else model
    source = module_source(module, inputs, factory, description=what)
    trained = trained_normalization(metadata, model, own_weights=path is None)
    return replace(source, header=header, weights=taken, normalization=trained)


def module_source(
    module: nn.Module, inputs: Sequence[Tensor], name: str, *, description: str | None = None
) -> Source:
    """Try a model on inputs, and export it; it is in eval mode then.

    Args:
        module: with its weights and masks.
        inputs: examples, whose shapes the file will have.
        name: of the model, for messages.
        description: of the source; ``name`` unless given.

    Raises:
        ModelError: it does not run on the inputs, or cannot be exported; says why.
    """
    module.eval()
    changed = _try(module, inputs, name)
    program = _export(module, tuple(inputs), name)
    source = _source(description or name, program, module, [tuple(item.shape) for item in inputs])
    return replace(source, notes=(*changed, *source.notes))


def network_source(network: nn.Module, input_shapes: Sequence[Shape] | None) -> Source:
    """A network that is at hand, exported; it is in eval mode then.

    Args:
        network: with its weights and masks.
        input_shapes: one shape an input.

    Raises:
        ModelError: there are no shapes, it does not run on such inputs, or cannot be exported.
    """
    name = type(network).__name__
    if not input_shapes:
        raise ModelError(
            f"the input shape of {name} is not known",
            hint="give it as input_shapes=[(1, 3, 224, 224)]: (N, C, H, W), one shape an input",
        )
    return module_source(network, [torch.zeros(shape) for shape in input_shapes], name)


def make(factory: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """Call ``package.module:function``; modules of the current folder are found too.

    Args:
        factory: as the user wrote it.
        arguments: of the call, by name.

    Raises:
        ModelError: there is no such module or function, it fails, or gives no ``nn.Module``.
    """
    others = ", timm:NAME, torchvision:NAME, or a network of the zoo: " + ", ".join(catalog.ZOO)
    return make_module(factory, "--model", arguments, otherwise=others)


def _factory_in(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> str:
    factory = metadata.get("factory")
    if factory is None:
        raise ModelError(
            f"{path}: does not say which model it belongs to",
            hint="give --model package.module:factory, a function that makes the model",
        )
    # A file must not choose which code of this machine runs: only networks that ship with us, or
    # with the libraries that a user has installed for their networks.
    if libraries.is_named(factory):
        return libraries.without_weights(factory)
    if catalog.by_factory(factory) is None:
        raise ModelError(
            f"{path}: names the model '{factory}', which is not one of this project",
            hint=f"if you trust it, say so: --model {quoted(factory)}",
        )
    return factory


def _arguments_in(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> dict[str, Any]:
    """The factory's arguments that a checkpoint names, such as ``{"classes": 10}``."""
    try:
        arguments = json_text.loads(metadata.get("arguments", "{}"))
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict) or not all(
        isinstance(value, bool | str) or (isinstance(value, int | float) and abs(value) < _MOST)
        for value in arguments.values()
    ):
        raise ModelError(
            f"{path}: names '{metadata['arguments'][:80]}' as arguments of its factory",
            hint="they are a JSON object of numbers, texts and booleans",
        )
    return arguments


def _shape_in(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> Shape | None:
    """The input shape that a checkpoint names, as ``1,3,224,224``."""
    text = metadata.get("input_shape")
    if text is None:
        return None
    try:
        shape = tuple(int(size) for size in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1 or math.prod(shape) > _MOST_INPUT:
        raise ModelError(
            f"{path}: names '{text[:80]}' as the shape of its input",
            hint="give the right one as --input-shape 1,3,224,224 (N,C,H,W)",
        )
    return shape


def _try(module: nn.Module, inputs: Sequence[Tensor], name: str) -> list[str]:
    """Run a model once, so that a shape that does not fit is told in torch's plain words.

    Weights of other floats become float32 where the model does not take float32 images otherwise.

    Returns:
        What was changed, a sentence each.
    """
    others, notes = has_other_floats(module), []
    try:
        try:
            result = _run(module, inputs)
        except DeployError:
            raise
        except Exception:
            if not others:
                raise
            module.float()
            notes = [f"weights are {' and '.join(others)} in torch, float32 in the file"]
            result = _run(module, inputs)
    except DeployError:
        raise
    except Exception as error:
        shapes = " and ".join("x".join(str(size) for size in tensor.shape) for tensor in inputs)
        place = where_raised(error)
        doing = f"running {name} on an input of {shapes}" + (f", {place}," if place else "")
        hint = "--input-shape gives the input's shape, N,C,H,W"
        turned = [_turned(tensor) for tensor in inputs]
        if any(tensor.dim() == 4 for tensor in inputs) and _runs(module, turned):
            given = " ".join(
                "--input-shape " + ",".join(str(size) for size in tensor.shape) for tensor in turned
            )
            hint = f"the model takes channels behind the batch: {given}"
        raise failure(ModelError, doing, error, hint=hint) from error
    register_containers(result)
    describe_outputs(result, name)
    return notes


def _run(module: nn.Module, inputs: Sequence[Tensor]) -> Any:
    with torch.no_grad():
        return module(*(tensor.clone() for tensor in inputs))  # it may write into them


def _runs(module: nn.Module, inputs: Sequence[Tensor]) -> bool:
    try:
        _run(module, inputs)
    except Exception:
        return False
    return True


def _turned(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor


def _export(
    module: nn.Module, inputs: tuple[Tensor, ...], name: str
) -> torch.export.ExportedProgram:
    try:
        # Torch prints the part of the graph that it has, to Python's own standard error.
        with quiet(), redirect_stderr(io.StringIO()):
            return torch.export.export(module, inputs, strict=False)
    except DeployError:
        raise
    except Exception as error:
        raise export_failure(name, error) from error


# --- exported programs -----------------------------------------------------------------------


def _from_program(path: Path, shapes: Sequence[Shape] | None) -> Source:
    check_readable(path, ModelError)
    try:
        with path.open("rb"), quiet():
            program = torch.export.load(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise ModelError(
            f"{path}: is not an exported program, or is truncated or damaged ({first_line(error)})",
            hint="write one with torch.export.save(torch.export.export(model, inputs), path)",
        ) from error
    own = _placeholder_shapes(program, path)
    if not shapes:
        shapes = [tuple(size if isinstance(size, int) else 1 for size in shape) for shape in own]
    elif len(shapes) != len(own) or not all(map(_fits, shapes, own)):
        raise ModelError(
            f"{path}: was exported for input shape {_shown(own)}, not {_shown(shapes)}",
            hint="leave --input-shape away, or export the model again",
        )
    notes = []
    kinds = sorted({OTHERS[kind] for kind in _placeholder_types(program) if kind in OTHERS})
    if kinds or any(not isinstance(size, int) for shape in own for size in shape):
        program = _fixed(program, shapes)
        if kinds:
            notes = [f"inputs are {' and '.join(kinds)} in torch, float32 in the file, as all is"]
    module = cast(nn.Module, program.module(check_guards=False))
    source = _source(str(path), program, module, [tuple(shape) for shape in shapes])
    return replace(source, notes=(*notes, *source.notes))


def _fixed(
    program: torch.export.ExportedProgram, shapes: Sequence[Shape]
) -> torch.export.ExportedProgram:
    """A program for float32 inputs of these shapes alone.

    Sizes that may vary are fixed in a file: so they are in all that is made of the program.
    """
    spec = program.call_spec.in_spec
    if spec is None:
        return program
    args, kwargs = pytree.tree_unflatten([torch.zeros(shape) for shape in shapes], spec)
    with quiet():
        flat = program.run_decompositions({})
        module = cast(fx.GraphModule, flat.module(check_guards=False))
        to_float32(module)
        return torch.export.export(module, tuple(args), kwargs, strict=False)


def _placeholder_shapes(program: torch.export.ExportedProgram, path: Path) -> list[tuple[Any, ...]]:
    values = _placeholders(program)
    for value in values:
        floats = (torch.float32, *OTHERS)
        if not isinstance(value, Tensor) or value.dtype not in floats:
            kind = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
            raise ModelError(
                f"{path}: has an input of type {kind}; inputs have to be float32",
                hint="export a model that takes float32, and casts it itself",
            )
    return [tuple(value.shape) for value in values if isinstance(value, Tensor)]


def _placeholder_types(program: torch.export.ExportedProgram) -> list[torch.dtype]:
    return [value.dtype for value in _placeholders(program) if isinstance(value, Tensor)]


def _placeholders(program: torch.export.ExportedProgram) -> list[Any]:
    users = set(program.graph_signature.user_inputs)
    return [
        node.meta.get("val")
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in users
    ]


def _fits(shape: Shape, own: tuple[Any, ...]) -> bool:
    return len(shape) == len(own) and all(
        not isinstance(known, int) or known == size for size, known in zip(shape, own, strict=True)
    )


def _shown(shapes: Sequence[Sequence[Any]]) -> str:
    return " and ".join(
        "x".join(str(size) if isinstance(size, int) else "?" for size in shape) for shape in shapes
    )


# --- both ------------------------------------------------------------------------------------


def _source(
    description: str, program: torch.export.ExportedProgram, module: nn.Module, shapes: list[Shape]
) -> Source:
    spec = program.call_spec.in_spec
    if spec is None or spec.num_leaves != len(shapes):
        raise ModelError(f"{description}: takes inputs that are not tensors")
    args, kwargs = pytree.tree_unflatten([torch.zeros(shape) for shape in shapes], spec)
    outputs = describe_outputs(_without_traces(module, args, kwargs), description)
    notes = list(outputs.notes)
    last_inputs = channels_last_inputs(program)
    last_outputs = channels_last_outputs(program) & set(outputs.leaves)
    module, moved = _in_float32(program, module, shapes, Interface(spec, outputs.leaves))
    notes += moved
    interface = Interface(spec, outputs.leaves, frozenset(last_inputs), frozenset(last_outputs))
    plain = Flat(module, Interface(spec, outputs.leaves))
    results = _without_traces(plain, tuple(map(torch.zeros, shapes)), {})
    given = [tuple(result.shape) for result in results]
    notes += [
        f"input {number} is N,H,W,C in torch, {_shown([shapes[number]])}: so it is in the file"
        for number in sorted(last_inputs)
    ]
    for number, (leaf, name) in enumerate(zip(outputs.leaves, outputs.names, strict=True)):
        if leaf in last_outputs:
            what = f"output {number} {name}".rstrip()
            notes.append(
                f"{what} is N,H,W,C in torch, {_shown([given[number]])}: so it is in the file"
            )
    return Source(
        description=description,
        program=program,
        reference=Flat(module, interface),
        interface=interface,
        inputs=tuple(images_first(shapes, last_inputs)),
        outputs=tuple(
            images_first(
                given, {n for n, leaf in enumerate(outputs.leaves) if leaf in last_outputs}
            )
        ),
        torch_inputs=tuple(shapes),
        torch_outputs=tuple(given),
        output_names=outputs.names,
        notes=tuple(notes),
    )


def _without_traces(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """Run a model that may write into its buffers, and leave them as they are."""
    state = {
        name: tensor.detach().clone()
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }
    with torch.no_grad():
        return torch.func.functional_call(module, state, args, kwargs)


def _in_float32(
    program: torch.export.ExportedProgram,
    module: nn.Module,
    shapes: Sequence[Shape],
    interface: Interface,
) -> tuple[nn.Module, list[str]]:
    """The model with every float of another type as float32; and what that changes."""
    kinds = computed_in(program)
    if not kinds:
        return module, []
    with quiet():
        single = cast(fx.GraphModule, program.run_decompositions({}).module(check_guards=False))
    to_float32(single)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    pairs = list(
        zip(
            *(
                _without_traces(
                    Flat(item, interface), tuple(tensor.clone() for tensor in inputs), {}
                )
                for item in (single, module)
            ),
            strict=True,
        )
    )
    apart = max(
        (
            float((one - other).abs().max() / other.abs().max().clamp_min(1e-30))
            for one, other in pairs
            if one.is_floating_point() and one.numel()
        ),
        default=0.0,
    )
    return single, [
        f"what is {' and '.join(kinds)} in torch is float32 in the file, and the file is compared "
        f"with that: it moves outputs by up to {apart:.1g} of the largest"
    ]
