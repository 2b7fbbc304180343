"""All checks, one after the other: of this machine, of what reaches boards, and of a board."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from toolchain.board import target
from toolchain.board.connection import TimeUp
from toolchain.board.target import SshTarget
from toolchain.doctor import board_checks, measuring_checks
from toolchain.doctor.finding import Area, Diagnosis, Finding, Findings
from toolchain.doctor.host_checks import host_checks
from toolchain.doctor.patient import Patient
from toolchain.doctor.reach import STEPS, NotReached, reached
from toolchain.doctor.ssh_checks import ssh_checks
from toolchain.errors import ConnectionFailed, DeployError
from toolchain.hardware.board_file import Board
from toolchain.profile.facts import BoardFacts
from toolchain.progress import Progress, Stage

_CHECKS = {**board_checks.CHECKS, **measuring_checks.CHECKS}
_NOT_REACHED = "was not asked: the board is not reached"
_NO_CONFIGURATION = "was not asked: the SSH configuration has a fault"
_LOST = "was not asked: the connection was lost"
_HANGS = "was not asked: programs there do not come to an end"
_PATIENCE = 2
"""Checks, one after the other, that are waited for in vain before no more are made."""
_board = Findings("board")


@dataclass
class Examination:
    """Looks at everything, and has what was found, also where something ended it.

    Args:
        board: what is looked at beside this machine, if anything.
        host: a real board, as one gives it to ``ssh``.
        identity: a key to log in with.
    """

    board: Board | None
    host: str | None = None
    identity: Path | None = None
    findings: list[Finding] = field(default_factory=list)
    """In the order of checks."""
    facts: BoardFacts | None = None
    """What the board says of itself, if it was reached."""
    patient: Patient | None = None
    """The board, if it was reached; nothing more is asked of it."""
    target: SshTarget | None = None
    """Where a real board is."""
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def is_real(self) -> bool:
        """Whether the board is a real one."""
        return self.board is not None and bool(self.host or self.board.connection == "ssh")

    @property
    def diagnosis(self) -> Diagnosis:
        """The document."""
        name = None if self.board is None else self.board.name
        at = f" ({self.target})" if self.is_real and self.target else ""
        return Diagnosis.of(self.findings, name and f"{name}{at}", self.created)

    def run(self, report: Progress) -> None:
        """Make all checks; changes nothing anywhere.

        Args:
            report: is told of each.
        """
        found = self._find_target()
        host = host_checks(self.board, is_real=self.is_real)
        ssh = ssh_checks(found, matters=self.board is None or self.is_real)
        total = len(host) + len(ssh) + (0 if self.board is None else len(_CHECKS) + 1)
        name = f" and {self.board.name}" if self.board else ""
        with report.stage(f"look at this machine{name}", total=total) as stage:
            self._look("host", host, stage)
            self._look("ssh", ssh, stage)
            if self.board is not None:
                self._look_at_board(self.board, stage, is_known=isinstance(found, SshTarget))
            stage.advance(0, "")

    def run_on_board(self, stage: Stage) -> None:
        """Make the checks of the board alone: this machine is looked at elsewhere.

        Args:
            stage: is told of each.
        """
        found = self._find_target()
        if self.board is None:
            return
        if isinstance(found, ConnectionFailed) and self.is_real:
            self.findings.append(_board.told("configuration", found, "fault"))
            self._add_unknown([name for names in _CHECKS for name in names], _NO_CONFIGURATION)
            return
        self._look_at_board(self.board, stage, is_known=True)

    def _find_target(self) -> SshTarget | ConnectionFailed:
        """Where a real board is, or else what the configuration says of any host; why not."""
        try:
            if self.board is not None and self.is_real and (self.host or self.board.ssh.host):
                self.target = target.resolve(self.board, self.host, self.identity)
                return self.target
            return target.usual()
        except ConnectionFailed as error:
            return error

    def _look(
        self, area: Area, checks: Mapping[str, Callable[[], Iterator[Finding]]], stage: Stage
    ) -> None:
        """Make checks of this machine; one that fails keeps no other from being made."""
        made = Findings(area)
        for name, check in checks.items():
            stage.advance(0, name)
            try:
                self.findings.extend(check())
            except DeployError as error:
                self.findings.append(made.told(name, error, "unknown"))
            except OSError as error:
                said = f"{error.filename}: " if error.filename else ""
                what = f"was not looked at: {said}{error.strerror or error}"
                self.findings.append(made.unknown(name, what))
            stage.advance(1)

    def _look_at_board(self, board: Board, stage: Stage, *, is_known: bool) -> None:
        """Reach a board, and make its checks.

        Args:
            board: the board.
            stage: is told of each.
            is_known: whether the SSH configuration could be read.
        """
        stage.advance(0, f"connect to {board.name}")
        names = [name for names in _CHECKS for name in names]
        if self.is_real and not (self.host or board.ssh.host):
            what, advice = "was not asked: no host is named", "name it with --host user@address"
            self.findings.append(_board.unknown("board", what, advice=advice))
            return
        if self.is_real and not is_known:
            self.findings += _board.all_unknown([*STEPS, *names], _NO_CONFIGURATION)
            return
        try:
            with reached(board, self.host, self.identity, self.target) as (patient, found):
                self.findings += found
                self.patient = patient
                stage.advance(1)
                self._ask(patient, stage)
        except NotReached as error:
            self.findings += error.findings
            self._add_unknown([*(STEPS if self.target else ()), *names], _NOT_REACHED)

    def _ask(self, patient: Patient, stage: Stage) -> None:
        """Make the checks of a board that answers; what was found stays when it goes away."""
        given_up, name, slow = "", patient.connection.name, 0
        for names, check in _CHECKS.items():
            stage.advance(0, names[0])
            try:
                if not given_up:
                    # One by one: those before a fault are kept.
                    for one in check(patient):
                        self.findings.append(one)
                    slow = 0
            except ConnectionFailed as error:
                given_up = _LOST
                self.findings.append(_board.told("connection", error, "fault", name=name))
            except DeployError as error:
                self._add_unknown(names, error.what.removeprefix(f"{name}: "), error.hint)
                slow += isinstance(error, TimeUp)
                given_up = _HANGS if slow >= _PATIENCE else ""
            if given_up:
                self._add_unknown(names, given_up)
            stage.advance(1)
        if given_up != _HANGS:
            with suppress(DeployError):  # a finding says why
                self.facts = patient.facts()

    def _add_unknown(self, names: Iterable[str], what: str, advice: str | None = None) -> None:
        """Say of those checks of the board that have not said anything why they do not."""
        done = {one.check for one in self.findings if one.area == "board"}
        self.findings += [
            _board.unknown(name, what, advice=advice) for name in names if name not in done
        ]
