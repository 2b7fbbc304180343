"""Quantised files on the runtime that pip installed before ``ai-edge-litert``, and on ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.masked_case import SMALL
from support.runtimes import ByRunner
from toolchain.agreement.runtimes import Litert, Runtimes, TfliteRuntime, find_runtimes
from toolchain.build.bundle import Bundle
from toolchain.convert import quantize
from toolchain.convert.conversion import convert
from toolchain.convert.kinds import Boundary, Kind
from toolchain.convert.result import Conversion
from toolchain.errors import VerificationError

_ROOT = Path(__file__).resolve().parents[2]
_NETWORK = "fashion_resnet_s20"


@pytest.fixture(autouse=True)
def runtimes(monkeypatch: pytest.MonkeyPatch) -> Runtimes:
    """All of them; ``VENV_TFLITE`` is relative to the project, as for make."""
    monkeypatch.chdir(_ROOT)
    found = find_runtimes()
    if found.missing:
        pytest.skip("; ".join(found.missing) + "; make test-native makes one")
    return found


def _convert(path: Path, kind: Kind, **options: float) -> Conversion:
    return convert(
        None,
        path,
        model=_NETWORK,
        quantize=kind,
        calibration="random" if kind == "int8" else None,
        seed=1,
        min_sqnr_db=options.get("least"),
    )


@pytest.mark.parametrize(("kind", "least"), [("int8", 20.0), ("dynamic", 25.0), ("fp16", 55.0)])
def test_a_quantised_network_is_right_on_each_stock_runtime(
    tmp_path: Path, kind: Kind, least: float
) -> None:
    done = _convert(tmp_path / "net.tflite", kind)
    assert not done.not_run
    assert [(item.runtime.split()[0], item.kernels) for item in done.runtimes] == [
        (name, kernels)
        for name in ("ai-edge-litert", "tflite-runtime")
        for kernels in ("xnnpack", "builtin")
    ]
    assert min(item.sqnr_db for item in done.runtimes) == done.sqnr_db >= least
    assert done.between is not None
    assert done.between.sqnr_db >= least


def test_a_file_that_is_right_on_one_runtime_only_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trap of dynamic range: per-channel scales of the fully connected layer."""
    recipe = quantize._recipe

    def stock(kind: Kind, boundary: Boundary) -> list[dict[str, object]]:
        return recipe(kind, boundary)[:1]  # without what is said of fully connected layers

    monkeypatch.setattr(quantize, "_recipe", stock)
    with pytest.raises(VerificationError) as caught:
        _convert(tmp_path / "net.tflite", "dynamic")
    wrong, _, right = caught.value.what.partition("; right on ")
    for kernels in ("xnnpack", "builtin"):
        assert f"on tflite-runtime 2.14.0, {kernels} kernels" in wrong
        assert f"ai-edge-litert 2.3.0, {kernels} kernels" in right
    assert "FULLY_CONNECTED of 'fc'" in right
    assert not list(tmp_path.iterdir())


def test_a_file_that_the_older_runtime_cannot_load_is_refused(
    tmp_path: Path, runtimes: Runtimes
) -> None:
    path = SMALL.write(tmp_path / "model.tflite", signature=True)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    for runtime in runtimes.found:
        with pytest.raises(VerificationError, match=f"{runtime.name} cannot run the converted"):
            runtime.run(path, [])


def test_both_runtimes_give_the_same_bits_with_builtin_int8_kernels(
    tmp_path: Path, runtimes: Runtimes
) -> None:
    path = SMALL.write(tmp_path / "model.tflite", signature=True)
    x = SMALL.input()
    quantize.quantize_int8(path, [[x]], boundary="int8", step=lambda: None)
    stored = np.random.default_rng(0).integers(-128, 128, x.shape, np.int8)
    (other,) = (
        item
        for item in runtimes.found
        if isinstance(item, TfliteRuntime) and item.kernels == "builtin"
    )
    ((ours,),), ((theirs,),) = (item.run(path, [[stored]]) for item in (Litert("builtin"), other))
    assert np.array_equal(ours, theirs)


def test_dynamic_range_of_a_transposed_convolution_runs_on_each_stock_runtime_and_on_ours(
    tmp_path: Path, host_bundle: Bundle
) -> None:
    path = tmp_path / "net.tflite"
    done = convert(
        None, path, model="support.conv_nets:upsampling", input_shapes=[(1, 3, 9, 11)],
        quantize="dynamic", seed=1, min_sqnr_db=25,
    )  # fmt: skip
    assert not done.not_run
    assert len(done.runtimes) == 4
    x = np.random.default_rng(0).uniform(-1, 1, (1, 9, 11, 3)).astype(np.float32)
    ((expected,),) = Litert("builtin").run(path, [[x]])
    found = ByRunner(host_bundle).run(path, x).outputs[0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
