from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.profiles import in_turns, measurement, profile_of
from support.runner_outputs import runner_output
from toolchain.errors import ModelError, OutputError
from toolchain.profile.document import Failure, Profile, load_profile


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = profile_of(measurement("dense", runner_output(ops=True, instructions=5000)))
    written.save(tmp_path / "p.json")
    assert load_profile(tmp_path / "p.json") == written
    assert json.loads((tmp_path / "p.json").read_text())["schema"] == 2


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
    document["schema"] = 1
    for name in ("failed", "reference_failed", "load", "limits", "seed", "not_calm"):
        del document[name]
    for name in (
        "turns", "layers", "operators", "live_share", "macs_computed", "threads", "spread",
    ):  # fmt: skip
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
        ('{"schema": 3}', "schema"),
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


def turns_profile(*medians_us: list[float]) -> Profile:
    return profile_of(
        *(in_turns(f"m{index}", [[us] * 2 for us in one]) for index, one in enumerate(medians_us))
    )


def test_the_ratio_is_of_turns_that_came_one_after_the_other() -> None:
    """A board that slows down with time slows both."""
    first = [100.0 + 10 * index for index in range(12)]
    profile = turns_profile(first, [us / 2 for us in first])
    own = profile.measurements[1]
    assert profile.ratio(own) == pytest.approx(2.0)
    interval = profile.ratio_interval(own)
    assert interval is not None
    assert [interval.low, interval.high] == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize(
    ("second", "doubt"),
    [
        ([80.0] * 12, False),
        ([80.0, 80.0, 92.0, 92.0] * 4, True),  # blocks differ by more than a twentieth
        ([80.0] * 11, True),  # too few blocks to say
    ],
)
def test_a_ratio_is_in_doubt_where_it_is_wide_or_unknown(second: list[float], doubt: bool) -> None:
    profile = turns_profile([100.0] * len(second), second)
    one, other = (item.model_copy(update={"doubts": []}) for item in profile.measurements)
    calm = profile.model_copy(update={"measurements": [one, other]})
    assert calm.ratio_in_doubt(other) == doubt
    assert not calm.ratio_in_doubt(one)


@pytest.mark.parametrize("which", [0, 1])
def test_a_doubt_about_either_model_is_one_about_the_ratio(which: int) -> None:
    profile = turns_profile([100.0] * 12, [80.0] * 12)
    items = [item.model_copy(update={"doubts": []}) for item in profile.measurements]
    items[which] = items[which].model_copy(update={"doubts": ["it was busy"]})
    shaky = profile.model_copy(update={"measurements": items})
    assert shaky.ratio_in_doubt(items[1])
    emulated = profile_of(*items, emulated=True)
    assert not emulated.ratio_in_doubt(items[1]), "counts repeat"


def test_the_stock_runtime_computes_all_taps() -> None:
    profile = profile_of(
        measurement("dense", live_share=1.0),
        measurement("s20", runner_output(patched=False), macs_saved=200, live_share=0.8),
    )
    assert profile.ratio_by_taps(profile.measurements[1]) == 1.0
    assert profile.ratio_by_pixels(profile.measurements[1]) == 1.0
    nothing = profile_of(measurement("dense"), measurement("all", macs_saved=1000))
    assert nothing.ratio_by_pixels(nothing.measurements[1]) is None
    free = profile_of(measurement("none", macs=0), measurement("s20"))
    assert free.ratio_by_pixels(free.measurements[1]) is None
