"""A profile as what a report shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from toolchain.errors import BoardConfigError
from toolchain.hardware.board_file import Board, load_board
from toolchain.hints import command
from toolchain.profile.document import Measurement, Profile
from toolchain.profile.facts import Vitals, clock_mhz
from toolchain.profile.figures import celsius, cores, megahertz, memory
from toolchain.profile.protocol import Limits
from toolchain.profile.turns import Interval, samples_of_turns
from toolchain.report.page.headline import headline
from toolchain.report.page.roofline import roofline
from toolchain.report.page.view import (
    Again,
    Doubt,
    Fact,
    Kind,
    Layers,
    Model,
    Result,
    Roofline,
    Span,
    Turn,
)
from toolchain.timing.roof import Roof, roof_of_board

_NINE_OF_TEN = (5, 95)


def results_of_profile(
    profile: Profile, file: str, accuracies: Mapping[str, float]
) -> Iterator[Result]:
    """What a profile says of its own board, for each number of threads; its estimates are others'.

    Args:
        profile: of a board, real or emulated.
        file: the document's name.
        accuracies: of models, by their files' names without suffix.
    """
    again = Again(commands=_commands(profile, file), versions=_versions(profile))
    for part in profile.by_threads():
        yield _result(part, file, accuracies, again)


def _result(profile: Profile, file: str, accuracies: Mapping[str, float], again: Again) -> Result:
    counted = profile.by_instructions
    facts = profile.board.facts
    models = [_model(profile, item, accuracies) for item in profile.measurements]
    kind: Kind = "counted" if counted else "measured"
    layers = _layers(profile)
    found, missing = _roofline(profile)
    return Result(
        file=file,
        kind=kind,
        unit="instructions" if counted else "us",
        board=profile.board.name,
        title=profile.board.title,
        threads=profile.threads,
        core=cores(facts.cores),
        clock_mhz=clock_mhz(facts, _board(profile)),
        created=profile.created,
        headline=headline(kind, profile.board.title, profile.threads, models),
        models=models,
        layers=layers,
        no_layers=None if layers else "No layer was timed. Measure with --per-op.",
        roofline=found,
        no_roofline=missing,
        facts=_facts(profile),
        doubts=list(_doubts(profile)),
        failed={item.model: item.error for item in profile.failed},
        again=again,
    )


def split_doubt(text: str) -> tuple[str, str | None]:
    """What is doubtful, and what to do: a profile's doubts have a colon between the two."""
    what, _, to_do = text.partition(": ")
    return what, to_do or None


def _model(profile: Profile, item: Measurement, accuracies: Mapping[str, float]) -> Model:
    first = item is profile.first(item)
    timing = item.output.timing
    counts = item.output.instructions
    interval = item.spread.interval if item.spread else None
    mad = None if profile.by_instructions or timing is None else timing.mad_us
    if profile.by_instructions and counts and counts.per_run:
        runs = np.array(counts.per_run, np.float64)
        mad = float(np.median(np.abs(runs - np.median(runs))))
    saved = 0 if item.stock else item.macs_saved
    return Model(
        name=profile.label(item),
        sha256=item.sha256,
        cost=profile.cost(item),
        mad=mad,
        interval=_span(interval),
        ratio=1.0 if first and not profile.reference_failed else profile.ratio(item),
        ratio_interval=None if first else _span(profile.ratio_interval(item)),
        in_doubt=profile.ratio_in_doubt(item) or bool(first and item.doubts),
        by_pixels=profile.ratio_by_pixels(item),
        by_plan=profile.ratio_by_plan(item),
        macs=item.macs,
        macs_left=item.macs - saved,
        dead_tap_share=None if item.live_share is None else 1 - item.live_share,
        instructions=item.instructions,
        peak_rss_kib=item.output.peak_rss_kib,
        accuracy=accuracies.get(item.name),
        energy_j=item.energy.energy_j if item.energy else None,
        power_w=item.energy.power_w if item.energy else None,
        turns=_turns(profile, item),
    )


def _span(interval: Interval | None) -> Span | None:
    return None if interval is None else Span(low=interval.low, high=interval.high)


def _turns(profile: Profile, item: Measurement) -> list[Turn]:
    """Every turn; every run where there were none, as under emulation."""
    if profile.by_instructions:
        counts = item.output.instructions
        return _single(counts.per_run if counts else [])
    samples = item.output.timing.samples_us if item.output.timing else []
    if not item.turns:
        return _single(samples)
    found = []
    by_turn = zip(item.turns, samples_of_turns(samples, item.turns), strict=True)
    for number, (turn, own) in enumerate(by_turn, start=1):
        low, high = np.percentile(own, _NINE_OF_TEN) if own else [turn.median_us] * 2
        span = Span(low=float(low), high=float(high))
        found.append(Turn(number=number, median=turn.median_us, span=span))
    return found


def _single(samples: Sequence[float]) -> list[Turn]:
    return [
        Turn(number=number, median=one, span=Span(low=one, high=one))
        for number, one in enumerate(samples, start=1)
    ]


def _layers(profile: Profile) -> list[Layers]:
    return [
        Layers(
            model=profile.label(item),
            beside=profile.label(profile.first(item))
            if any(row.dense for row in item.operators)
            else None,
            rows=item.operators,
        )
        for item in profile.measurements
        if item.operators
    ]


def _roofline(profile: Profile) -> tuple[Roofline | None, str | None]:
    if profile.by_instructions:
        return None, "The board is emulated: its seconds mean nothing."
    timed = [item for item in profile.measurements if item.output.ops]
    if not timed:
        return None, "No layer was timed. Measure with --per-op."
    facts = profile.board.facts
    roof = roof_of_board(facts.cores, clock_mhz(facts, _board(profile)), profile.threads)
    if not isinstance(roof, Roof):
        return None, roof
    return roofline(
        roof, [(profile.label(item), item.output.ops or [], item.layers) for item in timed]
    )


def _board(profile: Profile) -> Board | None:
    """The file of the board, where it is one that ships."""
    try:
        return load_board(profile.board.name)
    except BoardConfigError:
        return None


def _facts(profile: Profile) -> list[Fact]:
    facts, after = profile.board.facts, profile.board.after
    before = facts.vitals
    free = None
    if facts.memory_total_kib is not None:
        free = f"{memory(facts.memory_available_kib)} free of {memory(facts.memory_total_kib)}"
    load = None
    if profile.load:
        load = f"{sum(profile.load) / len(profile.load):.1f} on average in pauses between turns"
    fixed = {
        "board": facts.model,
        "emulated": "yes" if facts.emulated else "no",
        "cores": cores(facts.cores),
        "kernel": " ".join(word for word in (facts.kernel, facts.machine) if word) or None,
        "glibc": facts.glibc,
        "memory": free,
    }
    changing = {
        "governor": (before.governor, after.governor),
        "frequency": tuple(megahertz(one.frequency_khz) for one in (before, after)),
        "temperature": tuple(celsius(one.temperature_c) for one in (before, after)),
        "held back": tuple(_held(one) for one in (before, after)),
        "held back since its boot": tuple(_held(one, boot=True) for one in (before, after)),
    }
    return [
        *(Fact(name=name, before=value) for name, value in fixed.items()),
        *([Fact(name="cores that other programs kept busy", before=load)] if load else []),
        *(Fact(name=name, before=one, after=two) for name, (one, two) in changing.items()),
    ]


def _held(vitals: Vitals, *, boot: bool = False) -> str | None:
    if vitals.throttled is None:
        return None
    return ", ".join(vitals.throttled.since_boot if boot else vitals.throttled.now) or "no"


def _doubts(profile: Profile) -> Iterator[Doubt]:
    told: dict[str, list[str]] = {}
    for item in profile.measurements:
        for text in item.doubts:
            told.setdefault(text, []).append(profile.label(item))
    for text, models in told.items():
        what, to_do = split_doubt(text)
        yield Doubt(models=models, what=what, to_do=to_do)
    for item in profile.measurements[1:]:
        interval = profile.ratio_interval(item)
        if profile.ratio_in_doubt(item) and not item.doubts and not profile.first(item).doubts:
            what = "the ratio has no interval: too few turns"
            if interval:
                what = f"the ratio may be anything from {interval.low:.3f} to {interval.high:.3f}"
            yield Doubt(
                models=[profile.label(item)], what=what, to_do="end other programs, measure again"
            )


def _commands(profile: Profile, file: str) -> list[str]:
    """The lines that measure the same again; of a board that is far, its address is left open."""
    board, name = _board(profile), profile.board.name
    given = name if board else f"{name}.toml"
    models = dict.fromkeys(f"{item.name}.tflite" for item in profile.measurements)
    models |= dict.fromkeys(item.model for item in profile.failed)
    stock = any(item.stock for item in profile.measurements)
    counts = ",".join(map(str, profile.thread_counts))
    words: list[object] = ["profile", *models, "--board", given, "--threads", counts]
    words += ["--runs", profile.runs] if profile.runs else []
    # Without --runs no number is the rule: until times have settled.
    usual = None if profile.limits else 1
    words += ["--warmup", profile.warmup] if profile.warmup not in (None, usual) else []
    words += _limits(profile)
    words += ["--per-op"] if any(item.output.per_op for item in profile.measurements) else []
    sources = {item.energy.source for item in profile.measurements if item.energy}
    words += ["--meter", "METER"] if "meter" in sources else ["--energy"] if sources else []
    words += ["--stock-bundle", f"build/{name}-stock"] if stock else []
    words += ["--output", file]
    line = command(*words)
    if board is None or board.connection == "ssh":
        line += " --host USER@ADDRESS"
    lines = [command("build", "--board", given)]
    lines += [command("build", "--board", given, "--stock")] if stock else []
    lines += [command("emulator", "start")] if board and board.connection == "emulator" else []
    return [*lines, line]


def _limits(profile: Profile) -> list[object]:
    """Options for the limits that are not the usual ones."""
    own, usual = profile.limits or Limits(), Limits()
    given = {
        "--precision": (100 * own.precision, 100 * usual.precision),
        "--max-time": (own.max_time_s, usual.max_time_s),
        "--max-temp": (own.max_temp_c, usual.max_temp_c),
        "--max-wait": (own.max_wait_s, usual.max_wait_s),
    }
    return [
        word
        for option, (mine, other) in given.items()
        if mine != other
        for word in (option, f"{mine:g}")
    ]


def _versions(profile: Profile) -> dict[str, str]:
    found = {"tileskip": profile.tool}
    for item in profile.measurements:
        runner, key = item.output.runner, "stock runtime" if item.stock else "runtime"
        found[key] = (
            f"tileskip-run {runner.version}, TensorFlow Lite {runner.tflite}, "
            f"XNNPACK {runner.xnnpack}, {runner.compiler}"
        )
    return found
