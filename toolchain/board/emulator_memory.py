"""Whether this machine has the memory for the emulated boards that are to be booted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from toolchain.board.emulator_state import State
from toolchain.errors import EmulatorError
from toolchain.formats.number_files import free_memory
from toolchain.hardware.board_file import Emulator
from toolchain.hints import command

BESIDE_MIB = 256
"""What QEMU takes beside the board's own memory: itself, and the code that it has translated."""
_GROUP = Path("/sys/fs/cgroup")


def needed_mib(settings: Emulator) -> int:
    """What a board takes at most, in MiB: files on it lie in its memory."""
    return settings.memory_mib + BESIDE_MIB


def check_memory(wanted: Sequence[Emulator], running: Sequence[State]) -> None:
    """Make sure that boards can be booted beside those that run.

    Args:
        wanted: the settings of each board that is to be booted.
        running: the boards that run, which have not yet taken all that they may take.

    Raises:
        EmulatorError: they cannot.
    """
    promised = sum(
        max(0, needed_mib(state.settings) - state.memory_kib // 1024) for state in running
    )
    free = max(0, _free_mib() - promised)
    needed = [needed_mib(settings) for settings in wanted]
    if sum(needed) <= free:
        return
    count = sum(sum(needed[: fits + 1]) <= free for fits in range(len(needed)))
    kept = f" beside the {len(running)} that run" if running else ""
    one = len(wanted) == 1
    raise EmulatorError(
        f"{'an emulated board takes' if one else f'{len(wanted)} emulated boards take'} "
        f"{sum(needed):,} MiB of memory, and {free:,} MiB are free{kept}",
        hint=_hint(count, one=one, running=bool(running)),
    )


def _hint(count: int, *, one: bool, running: bool) -> str:
    less = f"give {'it' if one else 'each'} less with --memory MIB"
    if count and not one:
        return f"{count} of them fit (--count {count}); or {less}"
    if running:
        return f"{less}; or run: {command('emulator', 'stop')}"
    return f"{less}, or end other programs"


def _free_mib() -> int:
    """MiB that can be taken here: of the machine, and of the container that this may be in."""
    free = free_memory()
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        limit = int((_GROUP / "memory.max").read_text())
        lines = (_GROUP / "memory.stat").read_text().splitlines()
        cached = next((int(one.split()[1]) for one in lines if one.startswith("inactive_file ")), 0)
        free = min(free, limit - int((_GROUP / "memory.current").read_text()) + cached)
    return free >> 20
