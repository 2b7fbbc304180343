"""Files are tried on the runtime that ships before they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from support.faulty_runtime import FaultyRuntime
from toolchain.agreement.runtimes import Runtimes
from toolchain.board.host_runtime import HostRuntime, host_runtimes
from toolchain.board.verify import verify
from toolchain.build.bundle import Bundle
from toolchain.convert.conversion import convert
from toolchain.convert.kinds import Kind
from toolchain.errors import VerificationError

pytestmark = pytest.mark.unsanitized


class SqueezeAndExcite(nn.Module):
    """A global mean in front of convolutions, which this project's runtimes once got wrong."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 1)
        self.down, self.up = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.first(x).relu()
        weights = self.up(self.down(y.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.last(y * weights), weights


def squeeze_and_excite() -> nn.Module:
    return SqueezeAndExcite()


@pytest.mark.parametrize("quantize", [None, "fp16", "dynamic", "int8"])
def test_a_file_is_tried_on_the_runtime_that_ships(
    tmp_path: Path, host_bundle: Bundle, quantize: Kind | None
) -> None:
    (ours,) = host_runtimes(host_bundle.path).found
    done = convert(
        None, tmp_path / "net.tflite", model=f"{__name__}:squeeze_and_excite",
        input_shapes=[(1, 3, 16, 16)], quantize=quantize,
        calibration="random" if quantize == "int8" else None, others=Runtimes((ours,), ()), seed=1,
    )  # fmt: skip
    told = done.runtimes[-1]
    assert told.runtime == ours.name
    assert [item.name for item in told.outputs] == ["output 0", "output 1"]
    assert told.sqnr_db > (20 if quantize else 90)


def test_the_runtime_that_ships_passes_where_another_does_not(
    tmp_path: Path, host_bundle: Bundle
) -> None:
    """Beside one that is wrong behind a MEAN: the message says which is right."""
    faulty = FaultyRuntime(lambda outputs: [array + 0.1 for array in outputs], fault_of="MEAN")
    with pytest.raises(VerificationError, match=r"right on .* and on tileskip") as caught:
        convert(
            None, tmp_path / "net.tflite", model=f"{__name__}:squeeze_and_excite",
            input_shapes=[(1, 3, 16, 16)], others=Runtimes((HostRuntime(host_bundle), faulty), ()),
        )  # fmt: skip
    assert "they part at operator" in caught.value.what
    assert not list(tmp_path.iterdir())


def test_verify_agrees_with_both_kinds_of_kernels(tmp_path: Path, host_bundle: Bundle) -> None:
    convert(None, tmp_path / "net.tflite", model=f"{__name__}:squeeze_and_excite",
            input_shapes=[(1, 3, 16, 16)])  # fmt: skip
    with HostRuntime(host_bundle).runner() as runner:
        done = verify(runner, tmp_path / "net.tflite")
    assert done.passed
    assert not done.ambiguous
    assert len(done.outputs) == 2
