"""A home whose SSH configuration knows the emulated board by a name."""

from __future__ import annotations

from pathlib import Path

from toolchain.board.emulator_state import State


def home_of_a_user_with_a_board(home: Path, state: State) -> None:
    """Write an SSH configuration in which the emulated board is called ``mypi``.

    Args:
        home: a folder that is there.
        state: of the board that runs.
    """
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    (folder / "config").write_text(
        f"Host mypi\n  HostName 127.0.0.1\n  Port {state.port}\n  User root\n"
        f"  IdentityFile {state.user_key}\n"
    )
    (folder / "known_hosts").write_bytes(state.target.known_hosts[0].read_bytes())
