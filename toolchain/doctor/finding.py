"""One finding of a check, and the document that holds all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

import toolchain
from toolchain.errors import DeployError
from toolchain.formats.json_text import without_lone_bytes

Area = Literal["host", "ssh", "board"]
State = Literal["ok", "warning", "fault", "unknown"]
ORDER: tuple[State, ...] = ("fault", "warning", "unknown", "ok")
"""What comes first where findings are shown."""
_IS_LINE = re.compile(r"(?:run: )?((?:sudo |apt-get |deploy ).*)", re.S)
"""Hints of other rooms that are a line to run, and no sentence that has one."""


class Part(BaseModel):
    """What documents of findings are made of."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Finding(Part):
    """What one check found."""

    area: Area
    """Where: on this machine, in what reaches boards from here, or on the board."""
    check: str
    """What was looked at, in a word or two."""
    state: State
    """``warning`` is what works, but less well than it could; ``fault`` is what fails, or will;
    ``unknown`` is what could not be asked."""
    what: str
    """What is so, a sentence."""
    fix: str | None = None
    """What mends it: a command, or advice in words where there is none."""
    runs: bool = False
    """Whether ``fix`` is a command that runs as it stands."""
    exit_code: int = 0
    """Of a fault: what a command ends with that fails for it."""


class Diagnosis(Part):
    """What ``deploy doctor --json`` prints."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    tool: str
    """Version of this toolchain."""
    created: datetime
    board: str | None
    """What was looked at beside this machine, with the host where one is named."""
    exit_code: int
    """Of the first fault; 0 where there is none."""
    findings: list[Finding]
    """Faults first, then warnings, then what could not be asked; each in the order of checks."""

    @classmethod
    def of(
        cls, findings: Sequence[Finding], board: str | None, created: datetime | None = None
    ) -> Diagnosis:
        """The document of all findings.

        Args:
            findings: in the order of checks.
            board: what was looked at beside this machine.
            created: when; now unless given.
        """
        faults = [one.exit_code for one in findings if one.state == "fault"]
        return cls(
            tool=toolchain.__version__,
            created=created or datetime.now(UTC),
            board=board,
            exit_code=faults[0] if faults else 0,
            findings=sorted(findings, key=lambda one: ORDER.index(one.state)),
        )

    def of_state(self, state: State) -> list[Finding]:
        """Those of one state, in order."""
        return [one for one in self.findings if one.state == state]


class Findings:
    """Makes the findings of one area.

    Args:
        area: where they are.
    """

    def __init__(self, area: Area) -> None:
        self._area = area

    def ok(self, check: str, what: str) -> Finding:
        """Nothing is wrong."""
        return self._made(check, "ok", what)

    def warning(
        self, check: str, what: str, *, run: str | None = None, advice: str | None = None
    ) -> Finding:
        """Something works less well than it could.

        Args:
            check: what was looked at.
            what: a sentence.
            run: the line that mends it, ...
            advice: ... or what to do, in words.
        """
        return self._made(check, "warning", what, run, advice)

    def fault(
        self,
        check: str,
        kind: type[DeployError],
        what: str,
        *,
        run: str | None = None,
        advice: str | None = None,
    ) -> Finding:
        """Something fails, or will; ``kind`` is the error that a command ends with then."""
        return self._made(check, "fault", what, run, advice, kind.exit_code)

    def unknown(
        self, check: str, what: str, *, run: str | None = None, advice: str | None = None
    ) -> Finding:
        """Something could not be asked."""
        return self._made(check, "unknown", what, run, advice)

    def told(self, check: str, error: DeployError, state: State, *, name: str = "") -> Finding:
        """What an error of another room says, with its hint.

        Args:
            check: what was looked at.
            error: the error.
            state: what it means here.
            name: what its message begins with and a finding does not: the board's name.
        """
        what = error.what.removeprefix(f"{name}: ") if name else error.what
        run = _IS_LINE.fullmatch(error.hint or "")
        code = error.exit_code if state == "fault" else 0
        return self._made(check, state, what, run and run[1], None if run else error.hint, code)

    def all_unknown(self, checks: Iterable[str], what: str) -> Iterator[Finding]:
        """Several that could not be asked, for one reason."""
        return (self.unknown(check, what) for check in checks)

    def _made(
        self,
        check: str,
        state: State,
        what: str,
        run: str | None = None,
        advice: str | None = None,
        code: int = 0,
    ) -> Finding:
        fix = run or advice
        return Finding(
            area=self._area,
            check=check,
            state=state,
            what=without_lone_bytes(what),
            fix=None if fix is None else without_lone_bytes(fix),
            runs=run is not None,
            exit_code=code,
        )
