from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.profiles import measurement, profile_of
from support.runner_outputs import runner_output
from toolchain.errors import ModelError, OutputError
from toolchain.profile.document import Failure, load_profile


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = profile_of(measurement("dense", runner_output(ops=True, instructions=5000)))
    written.save(tmp_path / "p.json")
    assert load_profile(tmp_path / "p.json") == written
    assert json.loads((tmp_path / "p.json").read_text())["schema"] == 1


def test_on_a_real_board_the_ratio_is_of_times() -> None:
    profile = profile_of(
        measurement("dense", runner_output(samples_us=[1200.0] * 5, instructions=100)),
        measurement("s20", runner_output(samples_us=[1000.0] * 5, instructions=99)),
    )
    assert profile.ratio(profile.measurements[1]) == pytest.approx(1.2)


def test_under_emulation_the_ratio_is_of_instructions() -> None:
    profile = profile_of(
        measurement("dense", runner_output(samples_us=[1.0] * 5, instructions=1250)),
        measurement("s20", runner_output(samples_us=[9.0] * 5, instructions=1000)),
        emulated=True,
    )
    assert profile.ratio(profile.measurements[1]) == pytest.approx(1.25)


def test_the_ratio_by_pixels_is_of_the_multiply_accumulates_that_masks_leave() -> None:
    profile = profile_of(
        measurement("dense"),
        measurement("s20", macs_saved=200),
        measurement("s20", runner_output(patched=False), macs_saved=200),
    )
    ratios = [profile.ratio_by_pixels(item) for item in profile.measurements]
    assert ratios == [1.0, pytest.approx(1.25), 1.0], "the stock runtime saves nothing"


def test_dead_taps_come_on_top_where_they_are_known() -> None:
    profile = profile_of(
        measurement("dense", live_share=1.0),
        measurement("s20", macs_saved=200, live_share=0.8),
        measurement("unknown", macs_saved=200),
    )
    ratios = [profile.ratio_by_taps(item) for item in profile.measurements]
    assert ratios == [1.0, pytest.approx(1 / 0.64), None]


def test_the_plan_is_the_ideal_where_the_runtime_tells_it() -> None:
    told = {"dense": 1100, "s20": 640}
    first, second = (
        measurement(name, live_share=1.0, macs_saved=0 if name == "dense" else 200).model_copy(
            update={"macs_computed": macs}
        )
        for name, macs in told.items()
    )
    profile = profile_of(first, second, measurement("unknown", macs_saved=200, live_share=0.8))
    ratios = [profile.ratio_by_plan(item) for item in profile.measurements]
    assert ratios == [1.0, pytest.approx(1100 / 640), pytest.approx(1 / 0.64)]


def test_a_profile_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """It has no turns, no layers, nothing of models that failed."""
    document = json.loads(profile_of(measurement("m", runner_output(ops=True))).to_json())
    for name in ("failed", "reference_failed", "load"):
        del document[name]
    for name in ("turns", "layers", "operators", "live_share", "macs_computed"):
        del document["measurements"][0][name]
    (tmp_path / "p.json").write_text(json.dumps(document))
    profile = load_profile(tmp_path / "p.json")
    assert profile.ratio_interval(profile.measurements[0]) is None
    assert profile.measurements[0].output.ops


def test_what_cannot_be_written_is_kept_elsewhere(tmp_path: Path) -> None:
    profile = profile_of(measurement("m"))
    with pytest.raises(OutputError) as caught:
        profile.save(tmp_path / "absent" / "p.json")
    assert caught.value.hint is not None
    kept = Path(caught.value.hint.rpartition(" ")[2])
    try:
        assert load_profile(kept) == profile
    finally:
        kept.unlink()
        kept.parent.rmdir()


def test_without_the_model_that_failed_nothing_is_a_ratio_over_another_one() -> None:
    failed = [Failure(model="dense.tflite", error="cannot be read")]
    profile = profile_of(
        measurement("s20"), measurement("s30"), failed=failed, reference_failed=True
    )
    item = profile.measurements[1]
    assert profile.ratio(item) is None
    assert profile.ratio_by_pixels(item) is None
    assert profile.ratio_by_taps(item) is None


def test_without_counts_there_is_no_ratio_under_emulation() -> None:
    profile = profile_of(measurement("dense"), measurement("s20"), emulated=True)
    assert profile.ratio(profile.measurements[1]) is None


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "is no profile"),
        ("{}", "schema|tool"),
        ('{"schema": 2}', "schema"),
        ("[1]", "is no profile"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str, fault: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(ModelError, match=fault) as caught:
        load_profile(tmp_path / "p.json")
    assert "p.json" in caught.value.what


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_profile(tmp_path / "absent.json")
