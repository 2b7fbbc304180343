"""Where the power of a board is read while a model runs: its PMIC, or a meter beside it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from toolchain import interrupts
from toolchain.board import pmic
from toolchain.board.connection import Connection
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.board.power_meter import Meter
from toolchain.errors import BoardError, MeterError, ModelError
from toolchain.profile.energy import (
    IDLE_S,
    LEAST_READINGS,
    RUN_S,
    Energy,
    Source,
    Taken,
    energy_of,
    runs_for,
    timed_watts,
)
from toolchain.profile.runner_output import parse_output
from toolchain.tflite_file.graph import Model

_PMIC_MARGIN_S = 0.1
_METER_MARGIN_S = 1.0
"""A meter shows the mean of a while, and its line takes time to get here."""
_MOST_IDLE_S = 60.0
"""For which a slow meter is waited for."""
_MOST_RUN_S = 120.0
_SPARE = 1.5
"""So many times the readings that are needed are asked for."""

SettingsFor = Callable[[float], Settings]
"""How a model is to run for so many seconds."""


class PowerSource(ABC):
    """What reads a board's power."""

    kind: Source

    @abstractmethod
    def missing(self, connection: Connection) -> str | None:
        """Why it reads nothing of this board; looked at before anything is measured.

        Raises:
            ConnectionFailed: the board went away.
            MeterError: the meter that was asked for does not work.
        """

    @abstractmethod
    def take(self, runner: BoardRunner, model: Model, settings_for: SettingsFor) -> Taken:
        """Read the power of an idle board, and then while it runs a model.

        Raises:
            BoardError: the model could not be run.
            MeterError: the meter no longer works.
        """

    def energy(
        self, runner: BoardRunner, model: Model, settings: Settings, median_us: float
    ) -> Energy | str:
        """The energy of an inference; the reason why it cannot be told.

        Args:
            runner: the runtime.
            model: that is run.
            settings: as it was timed; how often it is run follows from ``median_us``.
            median_us: what a run took, in microseconds.

        Raises:
            ConnectionFailed: the board went away.
        """

        def settings_for(seconds: float) -> Settings:
            return Settings(
                threads=settings.threads,
                runs=runs_for(seconds, median_us),
                warmup=settings.warmup,
                delegate=settings.delegate,
            )

        try:
            taken = self.take(runner, model, settings_for)
            return energy_of(self.kind, taken, parse_output(taken.report))
        except (BoardError, ModelError, MeterError) as error:
            return error.what


class Pmic(PowerSource):
    """The power management chip of a Raspberry Pi 5, read on the board itself."""

    kind = "pmic"

    def __init__(self) -> None:
        self._rails: frozenset[str] = frozenset()

    def missing(self, connection: Connection) -> str | None:
        """See :meth:`PowerSource.missing`."""
        found = pmic.look(connection)
        if isinstance(found, str):
            return f"{found}; with a meter, --meter takes its readings"
        self._rails = found
        return None

    def take(self, runner: BoardRunner, model: Model, settings_for: SettingsFor) -> Taken:
        """See :meth:`PowerSource.take`."""
        sampler = pmic.Sampler(self._rails, IDLE_S)
        outcome = runner.run(model, settings_for(RUN_S), sampler=sampler)
        found = sampler.sampled
        if found.idle is None or found.run is None or found.end is None:
            raise BoardError("the board did not tell when the model ran (/proc/uptime)")
        return Taken(
            readings=found.readings,
            unreadable=found.unreadable,
            idle=(found.idle, found.run),
            process=(found.run, found.end),
            margin_s=_PMIC_MARGIN_S,
            report=outcome.report,
        )


class MeterSource(PowerSource):
    """A meter, read by a program on this machine.

    Args:
        argv: the program and its arguments.
    """

    kind = "meter"

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = tuple(argv)

    def missing(self, connection: Connection) -> str | None:
        """See :meth:`PowerSource.missing`."""
        del connection
        with Meter(self._argv) as meter:
            meter.require_first()
        return None

    def take(self, runner: BoardRunner, model: Model, settings_for: SettingsFor) -> Taken:
        """See :meth:`PowerSource.take`."""
        with Meter(self._argv) as meter:
            meter.require_first()
            begin = time.monotonic()
            interrupts.sleep(IDLE_S)
            known = len(meter.readings)
            meter.wait_for(LEAST_READINGS + 3, _MOST_IDLE_S - IDLE_S)
            idle_end = time.monotonic()
            # A meter that is slow gets longer; its rate is what was seen.
            rate = max(known, len(meter.readings)) / (idle_end - begin)
            wanted = 2 * _METER_MARGIN_S + _SPARE * LEAST_READINGS / max(rate, 1e-3)
            seconds = min(_MOST_RUN_S, max(RUN_S, wanted))
            while True:
                start = time.monotonic()
                outcome = runner.run(model, settings_for(seconds))
                end = time.monotonic()
                if meter.fault:
                    raise MeterError(f"the meter's program {meter.fault}")
                taken = Taken(
                    readings=meter.readings,
                    unreadable=meter.unreadable,
                    idle=(begin, idle_end),
                    process=(start, end),
                    margin_s=_METER_MARGIN_S,
                    report=outcome.report,
                )
                came = len(timed_watts(taken, parse_output(outcome.report)))
                if came >= LEAST_READINGS or seconds >= _MOST_RUN_S:
                    return taken
                # It has become slower, as this machine has.
                seconds = min(_MOST_RUN_S, 2 * seconds)
