"""Several boards at once: each is looked at as ``deploy doctor`` does, side by side.

This machine is not looked at, but for the bundles of these boards.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

import toolchain
from toolchain.doctor.examination import Examination
from toolchain.doctor.finding import ORDER, Finding, Findings, Part, State
from toolchain.doctor.host_checks import bundle_checks
from toolchain.errors import DeployError
from toolchain.hardware.board_file import Board
from toolchain.operations.fleet import Fleet, Result, Task, names_of
from toolchain.progress import Progress, Silent, Stage

_AT_ONCE = 16
"""Boards that are looked at side by side."""
_board = Findings("board")


class Vital(Part):
    """What a board was like when it was looked at; ``None`` is what it did not tell."""

    free_bytes: int | None = None
    """Of the disk that files go to."""
    temperature_c: float | None = None
    governor: str | None = None
    """Of its cores' frequency."""
    held_back: list[str] | None = None
    """By what its firmware holds it back now: heat, power."""
    glibc: str | None = None
    holders: list[str] | None = None
    """Who has it, and what for."""
    queue: int | None = None
    """How many wait for it."""


class BoardCheckup(Part):
    """What was found of one board."""

    board: str
    """Its name."""
    address: str | None
    """Where it is, if it is reached over SSH."""
    state: State
    """The worst of its findings."""
    exit_code: int
    """Of the first fault; 0 where there is none."""
    reached: bool
    bundle: bool
    """Whether what it needs is built, and whole."""
    vital: Vital
    findings: list[Finding]
    """Faults first."""


class Checkup(Part):
    """What ``deploy boards check --json`` prints."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    tool: str
    """Version of this toolchain."""
    created: datetime
    exit_code: int
    """Of the worst board."""
    boards: list[BoardCheckup]
    """The worst ones first, else as they were named."""


def check_boards(
    boards: Sequence[Board], report: Progress, host: str | None = None, identity: Path | None = None
) -> Checkup:
    """Look at boards side by side; nothing is changed anywhere.

    Args:
        boards: which.
        report: is told of each that is done.
        host: ``--host``, of the one board that there is then.
        identity: ``--identity``, if given.
    """

    def work(task: Task[BoardCheckup]) -> None:
        task.result = _checked(task.board, host, identity)

    names = boards[0].name if len(boards) == 1 else f"{len(boards)} boards"
    with report.stage(f"look at {names}", total=len(boards)) as stage:
        fleet = Fleet(names_of(boards), work, _Counted(stage), at_once=_AT_ONCE)
        fleet.run()
        fleet.require()
        stage.advance(0, "")
    ordered = [task.result for task in fleet.tasks if task.result is not None]
    ordered.sort(key=lambda one: (ORDER.index(one.state), one.reached))
    codes = [one.exit_code for one in ordered if one.exit_code]
    return Checkup(
        tool=toolchain.__version__,
        created=datetime.now(UTC),
        exit_code=codes[0] if codes else 0,
        boards=ordered,
    )


class _Counted:
    """Boards that are done advance one stage; their steps are too many to be told.

    Args:
        stage: of all of them.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage, self._guard = stage, threading.Lock()

    def progress(self, name: str) -> Progress:  # noqa: ARG002 (see Audience)
        """Nothing is told of a board's own steps."""
        return Silent()

    def begun(self, name: str) -> None:
        """Nor that they begin."""

    def ended(self, task: Task[Result]) -> None:
        """One more is done."""
        with self._guard:
            self._stage.advance(1, task.name)

    def ending(self) -> None:
        """They end at once: nothing is changed on a board."""


def _checked(board: Board, host: str | None, identity: Path | None) -> BoardCheckup:
    """Look at one board; what fails is a finding of it, and no other board's."""
    examination = Examination(board, host, identity)
    try:
        with Silent().stage("") as unseen:
            examination.run_on_board(unseen)
        examination.findings += bundle_checks(board)
    except DeployError as error:
        examination.findings.append(_board.told("board", error, "fault", name=board.name))
    except OSError as error:
        said = f"was not looked at: {error.strerror or error}"
        examination.findings.append(_board.unknown("board", said))
    findings = sorted(examination.findings, key=lambda one: ORDER.index(one.state))
    faults = [one.exit_code for one in findings if one.state == "fault"]
    patient = examination.patient
    return BoardCheckup(
        board=board.name,
        address=str(examination.target) if examination.is_real and examination.target else None,
        state=findings[0].state if findings else "ok",
        exit_code=faults[0] if faults else 0,
        reached=patient is not None,
        bundle=patient is not None and patient.bundle is not None,
        vital=_vital(examination),
        findings=findings,
    )


def _vital(examination: Examination) -> Vital:
    patient, facts = examination.patient, examination.facts
    if patient is None:
        return Vital()
    lease, glibc = patient.lease, None
    with suppress(DeployError):  # a finding says why
        glibc = patient.system().glibc
    throttled = facts.vitals.throttled if facts else None
    return Vital(
        free_bytes=patient.free,
        temperature_c=facts.vitals.temperature_c if facts else None,
        governor=facts.vitals.governor if facts else None,
        held_back=None if throttled is None else throttled.now,
        glibc=glibc,
        holders=None if lease is None else [use.words for use in lease.holders],
        queue=None if lease is None else len(lease.queue),
    )
