"""A home whose SSH configuration knows the emulated board by a name."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from toolchain.board.emulator_state import State
from toolchain.board.target import option_words


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


def users_ssh(home: Path) -> Path:
    """A folder with an ``ssh`` that takes this home: OpenSSH takes that of the account.

    Args:
        home: as :func:`home_of_a_user_with_a_board` leaves it.
    """
    folder, program = home / "bin", shutil.which("ssh") or "ssh"
    folder.mkdir()
    config = shlex.quote(str(home / ".ssh" / "config"))
    known = shlex.join(option_words("UserKnownHostsFile", home / ".ssh" / "known_hosts"))
    (folder / "ssh").write_text(
        f'#!/bin/sh\nfor word; do [ "$word" = -G ] && exec {program} "$@"; done\n'
        f"exec {program} -F {config} {known} "
        '-o StrictHostKeyChecking=yes "$@"\n'
    )
    (folder / "ssh").chmod(0o755)
    return folder
