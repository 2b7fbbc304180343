"""An emulated board that plays a Raspberry Pi out of the box: OpenSSH, a user, and a password."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from support.openssh import make_key
from toolchain.board.connection import Connection
from toolchain.board.target import option_words

USER, PASSWORD = "pi", "raspberry"  # of a board that lives as long as a test
_HASH = (
    "$6$tileskip$xkAtCc.k0/viTYfKlw9TAAHThwbHeL7zmlMtP6jXuzyn1BXELfqvaojsWu"
    "4x1s3OdK5Y8QF8fvwQeEMRk5LD00"
)
"""Of the password, as ``openssl passwd -6 -salt tileskip`` prints it."""
_MAKE = r"""
set -e
user=$1 hash=$2
mkdir -p "/home/$user"
chmod 755 / /home
mount -t tmpfs home "/home/$user"
echo "$user:x:1000:1000::/home/$user:/bin/sh" >>/etc/passwd
echo "$user:x:1000:" >>/etc/group
echo "$user:$hash:19000:0:99999:7:::" >>/etc/shadow
chmod 600 /etc/shadow
chmod 755 "/home/$user"
chown "$user:$user" "/home/$user"
sed -i '/^AuthorizedKeysFile/d; s/^PasswordAuthentication no/PasswordAuthentication yes/' \
  /etc/ssh/sshd_config
kill -HUP "$(pidof sshd | tr ' ' '\n' | sort -n | head -n 1)"
"""


def make_user(root: Connection) -> None:
    """Make the user on a board that is connected to as root.

    Args:
        root: to an emulated board whose server is OpenSSH.
    """
    root.run(["sh", "-c", _MAKE, "sh", USER, _HASH])


def home_of_a_newcomer(home: Path, config: str, port: int) -> Path:
    """A home with the SSH configuration that a page shows, a new key, and nothing else.

    Args:
        home: a folder that is not there yet.
        config: what the page shows.
        port: where the board listens, which the page's has a name instead of.

    Returns:
        A folder with an ``ssh`` that takes this home, as OpenSSH takes that of the account.
    """
    folder, programs = home / ".ssh", home / "bin"
    folder.mkdir(mode=0o700, parents=True)
    programs.mkdir()
    lines = config.replace("HostName raspberrypi", f"HostName 127.0.0.1\n  Port {port}")
    assert lines != config
    (folder / "config").write_text(lines)
    key = make_key(folder / "id_ed25519")
    program = shlex.quote(shutil.which("ssh") or "ssh")
    own: dict[str, str | Path] = {
        "UserKnownHostsFile": folder / "known_hosts",
        "IdentityFile": key,
        "StrictHostKeyChecking": "yes",
    }
    options = " ".join(shlex.join(option_words(name, value)) for name, value in own.items())
    (programs / "ssh").write_text(
        f'#!/bin/sh\nfor word; do [ "$word" = -G ] && exec {program} "$@"; done\n'
        f'exec {program} -F {shlex.quote(str(folder / "config"))} {options} "$@"\n'
    )
    (programs / "ssh").chmod(0o755)
    return programs
