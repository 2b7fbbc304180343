"""A real OpenSSH server that takes passwords: accounts of this machine as nobody else sees them.

Whoever runs the tests has a password there, in a mount namespace of the server's own. Only root may
make one.
"""

from __future__ import annotations

import getpass
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.openssh import Sshd, serving

PASSWORD = "open sesame"  # noqa: S105 - of a server that lives as long as a test
_HASH = (
    "$6$tileskip$9MnQGamb0vQfSiyd6lTavc347zavdkj5gQrf.oBwkdju7P44bWsAOaR3qo9M77UpREumV1Oqx5Yxk33x"
    "DRf250"
)
"""Of the password, as ``openssl passwd -6 -salt tileskip`` prints it."""
_PAM = "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n"


@contextmanager
def taking_passwords(
    folder: Path, authorized: str, options: Mapping[str, object], *, login: str
) -> Iterator[Sshd]:
    """Run it; the test is skipped where that is not possible.

    Args:
        folder: where its files go.
        authorized: the lines of ``authorized_keys``.
        options: of ``sshd_config``.
        login: as of :func:`support.openssh.serving`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shadow, pam = folder / "shadow", folder / "pam"
    shadow.write_text(f"{getpass.getuser()}:{_HASH}:19000:0:99999:7:::\n")
    shadow.chmod(0o600)
    pam.write_text(_PAM)
    mounts = [f"mount --bind {shlex.quote(str(shadow))} /etc/shadow"]
    if Path("/etc/pam.d/sshd").exists():
        mounts.append(f"mount --bind {shlex.quote(str(pam))} /etc/pam.d/sshd")
    apart = [shutil.which("unshare") or "unshare", "--mount", "sh", "-c"]
    try:
        done = subprocess.run([*apart, " && ".join(mounts)], capture_output=True, check=False)
    except OSError:
        pytest.skip("unshare is not installed")
    if done.returncode:
        pytest.skip("only root may give a server accounts of its own")
    within = [*apart, " && ".join([*mounts, 'exec "$@"']), "sh"]
    with serving(
        folder, authorized=authorized, options=options, within=within, login=login
    ) as running:
        yield running
