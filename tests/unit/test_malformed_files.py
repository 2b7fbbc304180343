"""No exception but ours leaves what reads a file, whatever the file holds.

A few files of each format always, the same ones; ``--malformed N`` tries N others of each.
"""

from __future__ import annotations

import resource
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from support.readers import FORMATS
from support.readers.format import Format
from toolchain.errors import DeployError

_FEW = 24
_CPU_S = 10.0
"""Seconds of the processor, not of the clock: a busy machine is no hang."""
_MEMORY = 2 << 30
"""Bytes that reading a file of a megabyte may take."""


class HangError(BaseException):
    """Not caught by whoever catches all that can go wrong."""


@contextmanager
def limited() -> Iterator[None]:
    """Neither endless work nor endless memory: the one is ended, the other refused."""

    def ended(*_: object) -> None:
        raise HangError

    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    old = signal.signal(signal.SIGPROF, ended)
    signal.setitimer(signal.ITIMER_PROF, _CPU_S)
    resource.setrlimit(resource.RLIMIT_AS, (taken + _MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


def chosen_seed(config: pytest.Config) -> int:
    """Always the same; with ``--malformed`` a fresh one, which is told where the test fails."""
    if not config.getoption("--malformed"):
        return 0
    given_one = str(config.getoption("--hypothesis-seed") or "")
    number = int(given_one) if given_one.isdecimal() else secrets.randbits(32)
    print(f"the same files again: --malformed N --hypothesis-seed {number}")
    return number


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name.replace(" ", "-"))
def test_only_errors_of_ours_leave_a_reader(
    kind: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / kind.file
    many = request.config.getoption("--malformed")
    number = chosen_seed(request.config)

    @seed(number)
    @settings(
        max_examples=max(1, round((many or _FEW) * kind.light)),
        database=None,
        # Without what explains a failure, which follows each line that is run.
        phases=[Phase.generate, Phase.shrink],
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=kind.files())
    def reads(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(DeployError), limited():
            kind.read(path)

    reads()
