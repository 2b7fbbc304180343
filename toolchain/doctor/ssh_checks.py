"""What this machine reaches boards with: OpenSSH's configuration, host keys on record, keys, agent.

All of it is read, and nothing is changed; a key is never added to any record. What would keep a
real board from being reached is a fault where one is looked at, and else a warning.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from toolchain.board import identities, known_hosts, ssh_config
from toolchain.board.agent import Agent
from toolchain.board.identities import Identity
from toolchain.board.target import SshTarget
from toolchain.build.compiler import missing_tools
from toolchain.doctor.finding import Finding, Findings
from toolchain.errors import ConnectionFailed, HostKeyError
from toolchain.formats.input_file import read_limited
from toolchain.hints import apt_line, quoted

Check = Callable[[], Iterator[Finding]]

_AGENT_S = 10.0
"""Seconds for each answer of the agent."""
_MANY_KEYS = 5
"""Keys that most servers let be tried: ``MaxAuthTries`` of sshd is 6, and one try asks what is
allowed."""
_LINES_TOLD = 3
_GROUP_OR_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_NAME = "keys"
"""What messages of others begin with here, which is taken off."""
_ssh = Findings("ssh")


def ssh_checks(target: SshTarget | ConnectionFailed, *, matters: bool) -> Mapping[str, Check]:
    """The checks of what reaches boards over SSH, by what they look at.

    Args:
        target: of the board, or of any host; or why the configuration tells none.
        matters: whether a real board is to be reached.
    """
    checks: dict[str, Check] = {"client": _client, "permissions": _permissions}
    if isinstance(target, ConnectionFailed):
        fault = target
        checks["configuration"] = lambda: _refused(fault, matters=matters)
        return checks
    found = target
    return checks | {
        "configuration": lambda: _configuration(found),
        "known_hosts": lambda: _known_hosts(found, matters=matters),
        "keys": lambda: _keys(found),
        "agent": lambda: _agent(found),
    }


def _client() -> Iterator[Finding]:
    if missing := missing_tools(ssh_config.OPTIONAL_TOOLS):
        yield _ssh.warning(
            "client",
            f"not installed: {', '.join(missing)}; its configuration is read without it, all but "
            "Match exec",
            run=apt_line(*(ssh_config.OPTIONAL_TOOLS[name] for name in missing)),
        )
    else:
        yield _ssh.ok("client", "OpenSSH's client is installed")


def _refused(error: ConnectionFailed, *, matters: bool) -> Iterator[Finding]:
    yield _ssh.told("configuration", error, "fault" if matters else "warning")


def _configuration(target: SshTarget) -> Iterator[Finding]:
    check = "configuration"
    for path in target.absent:
        what = f"your SSH configuration names a key that does not exist: {path}"
        yield _ssh.warning(check, what, advice="make it, or take its IdentityFile line out")
    if not target.absent:
        yield _ssh.ok(check, "your SSH configuration has no fault")


# --- permissions -------------------------------------------------------------------------------


def _permissions() -> Iterator[Finding]:
    """OpenSSH refuses a configuration, and servers a home, that others may write to."""
    folder = Path("~/.ssh").expanduser()
    check, wrong = "permissions", False
    for path in (folder, folder / "config"):
        facts = _facts(path)
        if facts is None:
            continue
        if facts.st_uid not in (os.geteuid(), 0):
            wrong = True
            what = f"{path} belongs to another user, so OpenSSH does not take it"
            line = f'sudo chown "$(id -u)" {quoted(str(path))}'
            yield _ssh.warning(check, what, run=line)
        elif facts.st_mode & _GROUP_OR_OTHERS_WRITE:
            wrong = True
            what = f"{path} may be written to by others, who could lead you to another machine"
            yield _ssh.warning(check, what, run=f"chmod go-w {quoted(str(path))}")
    if not wrong:
        yield _ssh.ok(check, f"{folder} is not open to others")


def _facts(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


# --- host keys ---------------------------------------------------------------------------------


def _known_hosts(target: SshTarget, *, matters: bool) -> Iterator[Finding]:
    check, wrong = "known_hosts", False
    found = known_hosts.read(target.known_hosts)
    for path in found.unreadable:
        wrong = True
        what = f"{path} cannot be read: {_reason(path)}; no host key in it counts"
        own = (facts := _facts(path)) is not None and facts.st_uid == os.geteuid()
        line = None if os.access(path, os.R_OK) else f"chmod u+r {quoted(str(path))}"
        if line and not own:
            line = f"sudo chmod a+r {quoted(str(path))}"
        advice = "move it away, and record the host keys of your boards anew"
        if matters:
            yield _ssh.fault(check, HostKeyError, what, run=line, advice=advice)
        else:
            yield _ssh.warning(check, what, run=line, advice=advice)
    for path in dict.fromkeys(path for path, _, _ in found.unusable):
        wrong = True
        yield _unusable(path, [line for other, line, _ in found.unusable if other == path])
    for path in target.known_hosts:
        facts = _facts(path)
        if facts is not None and facts.st_mode & _GROUP_OR_OTHERS_WRITE:
            wrong = True
            what = f"{path} may be written to by others, who could record a host key of theirs"
            yield _ssh.warning(check, what, run=f"chmod go-w {quoted(str(path))}")
    if not wrong:
        keys = "1 host key is" if len(found.records) == 1 else f"{len(found.records)} host keys are"
        yield _ssh.ok(check, f"{keys} on record")


def _reason(path: Path) -> str:
    try:
        read_limited(path)
    except OSError as error:
        return error.strerror or str(error)
    return "it could not be read a moment ago"


def _unusable(path: Path, lines: list[int]) -> Finding:
    shown = ", ".join(map(str, lines[:_LINES_TOLD])) + (", ..." if lines[_LINES_TOLD:] else "")
    what = (
        f"{path}: {'line' if len(lines) == 1 else 'lines'} {shown} "
        f"{'says' if len(lines) == 1 else 'say'} nothing of any host: damaged, or of a kind that "
        "is not known"
    )
    delete = quoted(";".join(f"{line}d" for line in lines))
    line = f"sed -i.bak {delete} {quoted(str(path))}"
    return _ssh.warning("known_hosts", what, run=line)


# --- keys and agent ----------------------------------------------------------------------------


def _keys(target: SshTarget) -> Iterator[Finding]:
    check, wrong = "keys", False
    for path, found in _read_keys(target):
        facts = _facts(path)
        if path.suffix != ".pub" and facts is not None and facts.st_mode & 0o077:
            wrong = True
            what = f"{path} may be read by others, so ssh refuses to log in with it"
            yield _ssh.warning(check, what, run=f"chmod 600 {quoted(str(path))}")
        if isinstance(found, ConnectionFailed):
            wrong = True
            yield _ssh.told(check, found, "warning", name=_NAME)
    if not wrong:
        count = len(target.identities)
        said = {0: "no key file is there", 1: "1 key file is"}.get(count, f"{count} key files are")
        yield _ssh.ok(check, said if not count else f"{said} there, closed to others")


def _read_keys(target: SshTarget) -> Iterator[tuple[Path, Identity | ConnectionFailed]]:
    for path in target.identities:
        try:
            yield path, identities.read_identity(_NAME, path, target.certificates)
        except ConnectionFailed as error:
            yield path, error


def _agent(target: SshTarget) -> Iterator[Finding]:
    keys = [key for _, key in _read_keys(target) if isinstance(key, Identity)]
    agent = Agent(target.agent, _AGENT_S)
    try:
        known = agent.keys() if agent.answers else []
    finally:
        agent.close()
    held = {key.blob for key in known}
    missing = [key.path for key in keys if key.locked and key.public not in held]
    check = "agent"
    if agent.path and not agent.answers:
        yield _ssh.warning(
            check,
            f"no agent answers at {agent.path}, where SSH_AUTH_SOCK or IdentityAgent names one",
            run='eval "$(ssh-agent)" && ssh-add',
        )
    elif missing:
        start = "" if agent.answers else 'eval "$(ssh-agent)" && '
        names = " ".join(quoted(str(path)) for path in missing)
        what = f"protected by a passphrase, and held by no agent: {', '.join(map(str, missing))}"
        yield _ssh.warning(check, what, run=f"{start}ssh-add {names}")
    elif len(held) > _MANY_KEYS and not target.only_identities:
        yield _ssh.warning(
            check,
            f"the agent holds {len(held)} keys, and most servers let no more than {_MANY_KEYS} be "
            "tried",
            advice="name the one that a board knows: --identity, or IdentityFile with "
            "IdentitiesOnly yes in your SSH configuration",
        )
    elif agent.answers:
        yield _ssh.ok(check, f"the agent answers, and holds {len(held)} of your keys")
    else:
        yield _ssh.ok(check, "no agent runs, and no key needs one")
