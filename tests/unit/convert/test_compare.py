from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from support.faulty_runtime import FaultyRuntime
from toolchain.agreement.differences import Array
from toolchain.agreement.runtimes import Litert, Runtime, Runtimes
from toolchain.convert.compare import Comparison, compare_outputs
from toolchain.convert.interface import Flat, Interface
from toolchain.convert.lower import lower
from toolchain.convert.reference import random_inputs, reference_outputs
from toolchain.convert.source import Source, load_source


class DepthAndScore(nn.Module):
    """Millimetres and probabilities."""

    def __init__(self, *, together: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.depth, self.score = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 3, 3)
        self.together = together

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        depth, score = self.depth(x).relu() * 60_000, self.score(x).sigmoid()
        if self.together:
            return torch.cat([depth, score], 1)
        return {"depth": depth, "score": score}


class LeftOvers(nn.Module):
    """What is left where large terms cancel, a channel that is always 0, and many classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 200)
        with torch.no_grad():
            mean = self.norm.get_buffer("running_mean").uniform_(-2, 2)
            root = (self.norm.get_buffer("running_var").uniform_(0.1, 3) + self.norm.eps).sqrt()
            self.conv.weight[0], self.conv.get_parameter("bias")[0] = 0, 0
            self.norm.bias[0] = self.norm.weight[0] * mean[0] / root[0]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.norm(self.conv(x)).relu()
        centred = y - y.mean((2, 3), keepdim=True)
        return y, y.softmax(1).sum(1) - 1, centred.mean((2, 3)), self.head(centred.amax((2, 3)))


def _source(model: nn.Module, path: Path, folder: Path) -> Source:
    program = torch.export.export(model.eval(), (torch.zeros(1, 2, 8, 8),))
    torch.export.save(program, folder / "model.pt2")
    source = load_source(folder / "model.pt2")
    flat = Flat(source.program.module(), source.interface)
    lower(flat, source.inputs, source.outputs, path)
    return source


@pytest.fixture(scope="module", params=[False, True], ids=["apart", "together"])
def scales(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scales:
    """A network of two scales: two outputs, or one."""
    folder = tmp_path_factory.mktemp("scales")
    together = bool(request.param)
    path = folder / "net.tflite"
    return Scales(_source(DepthAndScore(together=together), path, folder), path, together)


class Scales:
    def __init__(self, source: Source, path: Path, together: bool) -> None:
        self.source, self.path, self.together = source, path, together

    def compare(self, *runtimes: Runtime, tolerance: float | None = 1e-5) -> Comparison:
        return _compare(self.source, self.path, *runtimes, tolerance=tolerance)

    def score(self, outputs: list[Array]) -> Array:
        return outputs[0][..., 2:] if self.together else outputs[1]


def _compare(
    source: Source, path: Path, *runtimes: Runtime, tolerance: float | None = 1e-5
) -> Comparison:
    return compare_outputs(
        source, path, random_inputs(source, 1), Runtimes(runtimes, ()), tolerance=tolerance,
        step=lambda: None,
    )  # fmt: skip


def test_a_right_file_of_two_scales_is_near_in_both(scales: Scales) -> None:
    found = scales.compare(Litert("xnnpack"), Litert("builtin"))
    assert [item.inferences for item in found.agreements] == [5, 2]
    assert found.worst.relative_diff < 1e-5


def test_a_small_output_or_channel_that_is_wrong_is_found(scales: Scales) -> None:
    """Off by a tenth of a probability: 1e-6 of the depth beside it."""

    def change(outputs: list[Array]) -> list[Array]:
        outputs = [array.copy() for array in outputs]
        scales.score(outputs)[0, 2, 3, 1] += 0.1
        return outputs

    found = scales.compare(Litert("xnnpack"), FaultyRuntime(change))
    assert [item.relative_diff < 1e-5 for item in found.agreements] == [True, False]
    chief = found.worst.worst
    assert 0.1 <= chief.relative_diff <= 1
    assert chief.position[:3] == (0, 2, 3)
    assert (chief.name, chief.slice) == (
        ("output 0", "channel 3") if scales.together else ("output 1 ['score']", "channel 1")
    )


def test_a_file_whose_values_cancel_is_not_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    source = _source(LeftOvers(), path, tmp_path)
    found = _compare(source, path, Litert("xnnpack"), Litert("builtin"))
    assert found.worst.relative_diff < 1e-5


def test_where_values_cancel_what_is_more_than_rounding_is_found(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    source = _source(LeftOvers(), path, tmp_path)

    def change(index: int) -> Callable[[list[Array]], list[Array]]:
        def changed(outputs: list[Array]) -> list[Array]:
            return [array + 1e-3 * (place == index) for place, array in enumerate(outputs)]

        return changed

    for index in range(4):
        found = _compare(source, path, FaultyRuntime(change(index)))
        assert found.worst.worst.output == index
        assert found.worst.relative_diff > 1e-4


def test_what_a_runtime_does_to_its_inputs_reaches_no_other(scales: Scales) -> None:
    found = scales.compare(FaultyRuntime(spoils=True), Litert("xnnpack"))
    assert [item.relative_diff < 1e-5 for item in found.agreements] == [True, True]


class InPlace(nn.Module):
    """Writes into its input, into a buffer, and gives that buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(1, 3))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        calls, last = self.get_buffer("calls").add_(1), self.get_buffer("last")
        last.copy_(x.sub_(0.5).div_(0.25).mean((2, 3)))
        return last, x * calls


def _reference(model: nn.Module, program: torch.export.ExportedProgram) -> Source:
    spec = program.call_spec.in_spec
    assert spec is not None
    interface, inputs, outputs = Interface(spec), ((1, 3, 4, 4),), ((1, 3), (1, 3, 4, 4))
    return Source(
        description="a test",
        program=program,
        reference=Flat(model.eval(), interface),
        interface=interface,
        inputs=inputs,
        outputs=outputs,
        torch_inputs=inputs,
        torch_outputs=outputs,
        output_names=("[0]", "[1]"),
    )


def test_each_inference_of_the_reference_begins_with_what_is_its_own() -> None:
    program = torch.export.export(InPlace().eval(), (torch.zeros(1, 3, 4, 4),))
    source = _reference(InPlace(), program)
    samples = random_inputs(source, 3)
    before = [[tensor.clone() for tensor in row] for row in samples]
    means, images = reference_outputs(source, samples)
    for row, copies in zip(samples, before, strict=True):
        assert all(torch.equal(*pair) for pair in zip(row, copies, strict=True))
    for number, (x,) in enumerate(before):
        wanted = (x - 0.5) / 0.25
        np.testing.assert_allclose(means[number], wanted.mean((2, 3)), atol=1e-6)
        np.testing.assert_allclose(images[number], wanted.permute(0, 2, 3, 1), atol=1e-6)


def test_outputs_are_called_what_they_are_in_the_models_own_structure(tmp_path: Path) -> None:
    class Nested(nn.Module):
        def forward(self, x: Tensor) -> dict[str, object]:
            return {"boxes": x * 2, "masks": [x + 1, {"small": x - 1}]}

    torch.export.save(torch.export.export(Nested(), (torch.zeros(1, 2),)), tmp_path / "net.pt2")
    names = load_source(tmp_path / "net.pt2").output_names
    assert names == ("['boxes']", "['masks'][0]", "['masks'][1]['small']")
