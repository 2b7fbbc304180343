"""Write a model of TensorFlow as a ``.tflite`` file, by TensorFlow's own converter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from toolchain.agreement import interpreter
from toolchain.agreement.silence import quiet
from toolchain.convert.check import Check, check_planes, masks_found
from toolchain.convert.fold import fold
from toolchain.convert.from_tensorflow.framework import framework
from toolchain.convert.from_tensorflow.source import TensorFlowSource
from toolchain.convert.original import Original
from toolchain.errors import ModelError, first_line
from toolchain.storage.scratch import temporary_folder

_MISSING = re.compile(r"'tf\.([\w.]+)' op is neither a custom op nor a flex op")
_SHOWN = 200


def lower_tensorflow(source: Original, path: Path) -> Check:
    """Write ``path``, a float32 file whose masked convolutions have BatchNorm in them.

    Args:
        source: of :func:`toolchain.convert.from_tensorflow.source.load_tensorflow`.
        path: where the file goes.

    Returns:
        What checks the masked layers of the file.

    Raises:
        OSError: the file cannot be written.
        ModelError: the model holds what TFLite has no operator for; names it.
    """
    from toolchain.keras.masked_layers import scoped_layer

    assert isinstance(source, TensorFlowSource)  # noqa: S101 (the two go together)

    def rename(tensor: str) -> str | None:
        name = scoped_layer(tensor)
        return None if name is None else f"tileskip[{name}]"

    try:
        with quiet():
            content = _converted(source)
    except OSError:
        raise
    except Exception as error:
        raise _not_converted(source, error) from error
    path.write_bytes(fold(content, rename))
    with quiet():
        interpreter.load(path, "builtin")
    planes = source.planes
    return masks_found if planes is None else lambda found: check_planes(planes, found)


def _converted(source: TensorFlowSource) -> bytes:
    """The file, with inputs ``args_0`` ... and outputs ``output_0`` ... in its signature."""
    tensorflow = framework().tensorflow
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = [
        tensorflow.TensorSpec(shape, tensorflow.float32, name=f"args_{number}")
        for number, shape in enumerate(source.torch_inputs)
    ]
    concrete = tensorflow.function(source.call).get_concrete_function(*specs)
    # The converter would leave variables as such, which a runtime cannot begin with.
    frozen = convert_variables_to_constants_v2(concrete)

    def named(*inputs: Any) -> dict[str, Any]:
        results = tensorflow.nest.flatten(frozen(*inputs))
        return {f"output_{number}": result for number, result in enumerate(results)}

    module = tensorflow.Module()
    module.call = tensorflow.function(named)
    with temporary_folder() as folder:
        signature = module.call.get_concrete_function(*specs)
        # A gradient that a function brings along, like that of swish, cannot be saved here.
        options = tensorflow.saved_model.SaveOptions(experimental_custom_gradients=False)
        signatures = {"serving_default": signature}
        tensorflow.saved_model.save(module, str(folder), signatures=signatures, options=options)
        converter = tensorflow.lite.TFLiteConverter.from_saved_model(str(folder))
        return bytes(converter.convert())


def _not_converted(source: TensorFlowSource, error: Exception) -> ModelError:
    missing = list(dict.fromkeys(_MISSING.findall(str(error))))
    if missing:
        return ModelError(
            f"{source.description}: TFLite has no operator for {', '.join(missing)}",
            hint="build the network of other operators, or leave that part out of the model",
        )
    return ModelError(
        f"{source.description}: TensorFlow's converter failed: "
        f"{type(error).__name__}: {first_line(error)[:_SHOWN]}",
        hint="model.export('folder') tells whether the model can be a graph at all",
    )
