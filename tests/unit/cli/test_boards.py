"""``deploy boards`` as its user runs it, with a real OpenSSH server for a board."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bundles import write_bundle
from support.openssh import client_logs_in, make_key, public_text, shell
from support.patience import PATIENCE, await_that
from support.ssh_user import RUN, SshUser, user_of_a_server
from toolchain.doctor.checkup import Checkup

COMMENTS = """\
# mine

[attic]
like = "rpi3" # old
tags = ["far"]
ssh = { host = "127.0.0.1:1" }
"""


@pytest.fixture
def user(tmp_path: Path) -> Iterator[SshUser]:
    """One who has compared the server's key."""
    with user_of_a_server(tmp_path) as found:
        found.trust()
        yield found


@pytest.fixture
def stranger(user: SshUser) -> SshUser:
    """One who has nothing on record."""
    user.known.unlink()
    return user


def fingerprint(user: SshUser) -> str:
    """As OpenSSH says it on the board."""
    return shell(f"ssh-keygen -lf {shlex.quote(f'{user.server.host_key}.pub')}").split()[1]


def logs_in(user: SshUser) -> bool:
    """Whether OpenSSH's own client does, too, with that file alone."""
    known = f"UserKnownHostsFile={user.known}"
    return client_logs_in(user.config, "pi", "-o", known, "-o", "GlobalKnownHostsFile=none",
                          "-o", "StrictHostKeyChecking=yes")  # fmt: skip


# --- add -----------------------------------------------------------------------------------------


def test_a_board_is_added_and_known_by_its_name_from_then_on(user: SshUser) -> None:
    user.inventory.write_text(COMMENTS)
    done = user.deploy("boards", "add", "pi", "--name", "kitchen", "--tag", "lab")
    assert done.returncode == 0, done.stderr
    assert f"Written to {user.inventory}" in done.stdout
    text = user.inventory.read_text()
    assert text.startswith(COMMENTS)
    table = tomllib.loads(text)["kitchen"]
    assert (table["like"], table["tags"], table["ssh"]) == ("host", ["lab"], {"host": "pi"})
    assert table["found"]["kernel"] == f"Linux {os.uname().release}"
    listed = user.deploy("boards", "--json")
    assert "kitchen" in {one["name"] for one in json.loads(listed.stdout)}


def test_a_dry_run_shows_it_and_writes_nothing(user: SshUser) -> None:
    done = user.deploy("boards", "add", "pi", "--dry-run", "--json")
    new = json.loads(done.stdout)
    assert (new["written"], new["board"]["name"]) == (False, "pi")
    assert tomllib.loads(new["toml"])["pi"]["ssh"] == {"host": "pi"}
    assert not user.inventory.exists()


def test_a_name_that_is_taken_is_refused_before_anybody_is_asked(user: SshUser) -> None:
    user.inventory.write_text(COMMENTS)
    done = user.deploy("boards", "add", "nowhere.invalid", "--name", "attic")
    assert done.returncode == 5
    assert "a board called 'attic' already" in done.stderr
    done = user.deploy("boards", "add", "pi", "--name", "attic", "--replace")
    assert done.returncode == 0, done.stderr
    text = user.inventory.read_text()
    assert text.startswith("# mine\n\n[attic]\n")
    assert tomllib.loads(text)["attic"]["tags"] == ["far"], "its tags stay"
    assert tomllib.loads(text)["attic"]["like"] == "host"


def test_a_key_that_was_given_is_the_boards_from_then_on(user: SshUser) -> None:
    user.configure()
    user.config.write_text(user.config.read_text().replace(str(user.key), "/nowhere"))
    done = user.deploy("boards", "add", "pi", "--identity", user.key)
    assert done.returncode == 0, done.stderr
    assert tomllib.loads(user.inventory.read_text())["pi"]["ssh"]["identity"] == str(user.key)
    assert user.deploy("boards", "lease", "pi").returncode == 0


def test_a_board_whose_key_is_unknown_is_not_added_and_the_line_that_trusts_it_runs(
    stranger: SshUser,
) -> None:
    done = stranger.deploy("boards", "add", "pi")
    assert done.returncode == 7
    assert not stranger.inventory.exists()
    line = re.search(r"equal, run: (deploy .*)$", done.stderr, re.MULTILINE)
    assert line
    words = shlex.split(line[1])
    assert words[1:4] == ["boards", "trust", "pi"]
    assert stranger.deploy(*words[1:]).returncode == 0
    assert stranger.deploy("boards", "add", "pi").returncode == 0


# --- show ----------------------------------------------------------------------------------------


def test_everything_that_is_known_is_shown_without_asking(user: SshUser) -> None:
    user.inventory.write_text('[kitchen]\nlike = "rpi4"\nthreads = 2\nssh = { host = "pi" }\n')
    user.server.process.send_signal(signal.SIGSTOP)  # a server that never answers
    try:
        (one,) = json.loads(user.deploy("boards", "show", "kitchen", "--json").stdout)
    finally:
        user.server.process.send_signal(signal.SIGCONT)
    origins = {key["name"]: (key["value"], key["origin"]) for key in one["keys"]}
    assert origins["threads"] == (2, "inventory")
    assert origins["clock_mhz"] == (1800, "like rpi4")
    assert origins["ssh.directory"] == ("tileskip", "default")
    way = one["way"]
    assert way["address"] == f"{user.server.user}@127.0.0.1:{user.server.port}"
    assert way["login"] == "ssh pi"
    assert [key["fingerprint"] for key in way["host_keys"]] == [fingerprint(user)]
    assert one["bundle"]["built"] is False
    assert one["bundle"]["build"] == "deploy build --board kitchen"


def test_a_host_key_that_is_not_on_record_is_shown_with_the_line_for_it(stranger: SshUser) -> None:
    stranger.inventory.write_text('[kitchen]\nlike = "rpi4"\nssh = { host = "pi" }\n')
    done = stranger.deploy("boards", "show", "kitchen")
    assert done.returncode == 0
    assert "its host key is not on record" in done.stdout
    assert "next: deploy boards trust kitchen" in done.stdout


@pytest.mark.parametrize("name", ["rpi4", "qemu", "host"])
def test_boards_that_ship_are_shown_too(user: SshUser, name: str) -> None:
    done = user.deploy("boards", "show", name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{name}: ")


# --- check ---------------------------------------------------------------------------------------


@pytest.fixture
def fleet(user: SshUser) -> SshUser:
    """Two boards, one of which is down, and the bundle of the other."""
    user.inventory.write_text(
        '[good]\nlike = "host"\nconnection = "ssh"\ntags = ["lab"]\nssh = { host = "pi" }\n\n'
        '[dead]\nlike = "host"\nconnection = "ssh"\ntags = ["lab"]\n'
        'ssh = { host = "me@127.0.0.1:1" }\n'
    )
    write_bundle(user.work / "build/host", b"#!/bin/sh\n")
    return user


def test_boards_are_looked_at_side_by_side_and_the_worst_comes_first(fleet: SshUser) -> None:
    done = fleet.deploy("boards", "check", "--json")
    found = Checkup.model_validate_json(done.stdout)
    assert [one.board for one in found.boards] == ["dead", "good"]
    dead, good = found.boards
    assert (dead.state, dead.reached, dead.exit_code) == ("fault", False, 6)
    assert done.returncode == found.exit_code == 6
    assert good.reached
    assert good.state != "fault", good.findings
    assert good.bundle
    assert good.vital.free_bytes
    assert (good.vital.holders, good.vital.queue) == ([], 0)
    assert {"login", "disk", "governor", "glibc", "lease"} <= {one.check for one in good.findings}


@pytest.mark.parametrize("columns", [70, 100, 160])
def test_the_table_reads_at_every_width(fleet: SshUser, columns: int) -> None:
    done = fleet.deploy("boards", "check", "lab", COLUMNS=str(columns))
    assert done.returncode == 6
    lines = done.stdout.splitlines()
    assert max(len(line) for line in lines if "run: " not in line) <= columns
    assert "\x1b" not in done.stdout
    assert lines[0].split()[:3] == ["board", "state", "reached"]
    assert lines[1].split()[:4] == ["dead", "fault", "no:", "port"]
    assert lines[2].split()[0] == "good"
    assert lines[-1] == "2 boards, 1 with a fault"


def test_a_board_without_a_bundle_fails_with_the_line_that_builds_it(fleet: SshUser) -> None:
    (fleet.work / "build/host/manifest.json").unlink()
    done = fleet.deploy("boards", "check", "good")
    assert done.returncode == 17
    assert "deploy build --board good" in done.stdout


def test_an_inventory_without_boards_is_told_what_to_do(user: SshUser) -> None:
    done = user.deploy("boards", "check")
    assert done.returncode == 5
    line = re.search(r"hint: (deploy .*)$", done.stderr, re.MULTILINE)
    assert line
    words = [word.replace("pi@raspberrypi", "pi") for word in shlex.split(line[1])]
    assert words == ["deploy", "boards", "add", "pi"]
    assert user.deploy(*words[1:]).returncode == 0


# --- trust ---------------------------------------------------------------------------------------


def test_without_anybody_to_ask_nothing_is_recorded(stranger: SshUser) -> None:
    done = stranger.deploy("boards", "trust", "pi")
    assert done.returncode == 7
    assert fingerprint(stranger) in done.stderr
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in done.stderr
    assert not stranger.known.exists()


def test_a_key_with_the_fingerprint_that_was_given_is_recorded_as_openssh_does(
    stranger: SshUser,
) -> None:
    assert not logs_in(stranger)
    words = ("boards", "trust", "pi", "--fingerprint", fingerprint(stranger))
    done = stranger.deploy(*words)
    assert done.returncode == 0, done.stderr
    assert stranger.known.read_text() == stranger.server.known_line
    assert stranger.known.stat().st_mode & 0o777 == 0o600
    assert logs_in(stranger)
    again = stranger.deploy(*words)
    assert again.returncode == 0
    assert "on record already" in again.stdout
    assert stranger.known.read_text() == stranger.server.known_line


@pytest.mark.parametrize("given", ["SHA256:AAAA", "SHA256:é", ""])
def test_a_key_with_another_fingerprint_is_not(stranger: SshUser, given: str) -> None:
    done = stranger.deploy("boards", "trust", "pi", "--fingerprint", given)
    assert done.returncode == 7
    assert "another machine answers" in done.stderr
    assert not stranger.known.exists()


def test_another_fingerprint_is_told_of_a_key_that_is_on_record_too(user: SshUser) -> None:
    assert user.deploy("boards", "trust", "pi", "--fingerprint", "SHA256:AAAA").returncode == 7


def test_yes_records_it_and_says_what_that_means(stranger: SshUser) -> None:
    done = stranger.deploy("boards", "trust", "pi", "--yes", "--json")
    assert "--yes trusts whoever answers" in done.stderr
    found = json.loads(done.stdout)
    assert (found["recorded"], found["fingerprint"]) == (True, fingerprint(stranger))
    assert logs_in(stranger)


def test_names_are_hashed_where_the_configuration_says_so(stranger: SshUser) -> None:
    stranger.configure("HashKnownHosts yes")
    assert stranger.deploy("boards", "trust", "pi", "--yes").returncode == 0
    text = stranger.known.read_text()
    assert text.startswith("|1|")
    assert "127.0.0.1" not in text
    assert "found" in shell(f"ssh-keygen -F '{stranger.name}' -f {stranger.known}")
    assert logs_in(stranger)
    assert "already" in stranger.deploy("boards", "trust", "pi").stdout


@pytest.mark.parametrize("before", ["a.example ssh-ed25519 AAAA", "# no line end\n\nb"])
def test_what_is_on_record_of_others_stays(stranger: SshUser, before: str) -> None:
    stranger.known.write_text(before)
    assert stranger.deploy("boards", "trust", "pi", "--yes").returncode == 0
    assert stranger.known.read_text() == f"{before}\n{stranger.server.known_line}"


def test_a_changed_key_is_replaced_only_when_that_is_asked_for(
    user: SshUser, tmp_path: Path
) -> None:
    other = public_text(make_key(tmp_path / "other"))
    before = f"# mine\na.example {other}\n{user.name} {other} old\nb.example {other}\n"
    user.known.write_text(before)
    given = ("--fingerprint", fingerprint(user))
    done = user.deploy("boards", "trust", "pi", *given)
    assert done.returncode == 7
    assert "someone may be listening in" in done.stderr
    assert user.known.read_text() == before
    line = re.search(r"run: (deploy .*)$", done.stderr, re.MULTILINE)
    assert line
    done = user.deploy(*shlex.split(line[1])[1:])
    assert done.returncode == 0, done.stderr
    assert "WARNING: another key is on record" in done.stderr
    assert user.known.read_text() == (
        f"# mine\na.example {other}\nb.example {other}\n{user.server.known_line}"
    )
    assert user.known.with_name("known_hosts.old").read_text() == before
    assert logs_in(user)


def test_a_record_of_several_hosts_is_not_taken_out(user: SshUser, tmp_path: Path) -> None:
    other = public_text(make_key(tmp_path / "other"))
    before = f"[127.0.0.*]:* {other}\n"
    user.known.write_text(before)
    done = user.deploy("boards", "trust", "pi", "--replace", "--yes")
    assert done.returncode == 7
    assert "line 1 is on record for" in done.stderr
    assert user.known.read_text() == before


def test_a_revoked_key_is_never_recorded(user: SshUser) -> None:
    before = f"@revoked * {public_text(user.server.host_key)}\n"
    user.known.write_text(before)
    done = user.deploy("boards", "trust", "pi", "--yes", "--replace")
    assert done.returncode == 7
    assert "is revoked" in done.stderr
    assert user.known.read_text() == before


def test_a_file_that_cannot_be_written_is_told(stranger: SshUser) -> None:
    stranger.known.mkdir()
    stranger.configure(f"UserKnownHostsFile {stranger.known}")
    done = stranger.deploy("boards", "trust", "pi", "--yes")
    assert done.returncode == 13
    assert f"{stranger.known}: cannot be written" in done.stderr


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_on_a_terminal_it_asks(stranger: SshUser, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*stranger.program, "boards", "trust", "pi"], cwd=stranger.work,
        env=stranger.environment, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        asked = b""
        while b"? [y/N]" not in asked:
            asked += os.read(ours, 1000)
        assert fingerprint(stranger).encode() in asked.replace(b"\r\n", b"")
        os.write(ours, answer.encode() + b"\n")
        process.communicate(timeout=PATIENCE)
        assert process.returncode == code
    os.close(ours)
    assert stranger.known.exists() is (answer == "y")


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("qemu", 5, "an emulated one"),
        ("host", 5, "this machine"),
        ("rpi4", 6, "no host is known"),
        ("me@127.0.0.1:1", 6, "refuses the connection"),
        ("-oProxyCommand=x", 2, "No such option"),
        ("a b", 6, "is no address"),
    ],
)
def test_what_has_no_host_key_is_told(user: SshUser, name: str, code: int, said: str) -> None:
    done = user.deploy("boards", "trust", name, "--yes")
    assert done.returncode == code
    assert said in done.stderr


# --- shell ---------------------------------------------------------------------------------------


@pytest.fixture
def owner(user: SshUser) -> SshUser:
    """One who calls the server ``kitchen``."""
    return owning(user)


def owning(user: SshUser) -> SshUser:
    user.inventory.write_text('[kitchen]\nlike = "rpi4"\nssh = { host = "pi" }\n')
    return user


def test_a_program_there_gets_its_arguments_to_the_letter(owner: SshUser) -> None:
    odd = ["a b", "$HOME", "'", '"', "*", "; exit 9", "ü", "new\nline", "-x", ""]
    done = owner.deploy("boards", "shell", "kitchen", "--", "printf", "[%s]", *odd)
    assert done.stdout == "".join(f"[{word}]" for word in odd)
    assert done.returncode == 0


def test_its_exit_code_is_that_of_the_program(owner: SshUser) -> None:
    assert owner.deploy("boards", "shell", "kitchen", "--", "sh", "-c", "exit 7").returncode == 7
    assert owner.deploy("boards", "shell", "host", "--", "sh", "-c", "exit 8").returncode == 8


def test_a_login_reads_what_is_typed(owner: SshUser) -> None:
    line = [*owner.program, "boards", "shell", "kitchen"]
    done = subprocess.run(
        [*line, "--", "cat"], input=b"typed\n", env=owner.environment, cwd=owner.work,
        capture_output=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stdout == b"typed\n"


def test_a_board_that_is_down_is_told_before_ssh_is_started(owner: SshUser) -> None:
    done = owner.deploy("boards", "shell", "qemu")
    assert done.returncode == 12
    assert "deploy emulator start --board qemu" in done.stderr


# --- logs ----------------------------------------------------------------------------------------


@pytest.fixture
def talker(tmp_path: Path) -> Iterator[SshUser]:
    """One whose board's journal is played by a script: there is none here."""
    folder = tmp_path / "programs"
    folder.mkdir()
    script = folder / "journalctl"
    script.write_text(
        '#!/bin/sh\ncase "$*" in *-q*) echo x; exit ;; esac\n'
        "echo 'Hint: you see your own messages alone' >&2\n"
        "printf 'one\\ntwo \\033]0;title\\007\\nthree\\n'\n"
        "case \"$*\" in *-f*) printf 'four\\n'; exec sleep 600 ;; esac\n"
    )
    script.chmod(0o755)
    with user_of_a_server(tmp_path, f"PATH={shlex.quote(str(folder))}:$PATH; {RUN}") as found:
        found.trust()
        yield owning(found)


def test_the_last_lines_of_a_log_are_shown_harmless(talker: SshUser) -> None:
    done = talker.deploy("boards", "logs", "kitchen", "--lines", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "two \\x1b]0;title\\x07\nthree\n"
    assert "kitchen: journalctl" in done.stderr
    assert "you see your own messages alone" in done.stderr
    found = json.loads(talker.deploy("boards", "logs", "kitchen", "--json").stdout)
    assert (found["source"], len(found["lines"])) == ("journalctl", 3)


def test_a_log_is_followed_until_it_is_interrupted(talker: SshUser) -> None:
    line = [*talker.program, "boards", "logs", "kitchen", "-f"]
    with subprocess.Popen(
        line, env=talker.environment, cwd=talker.work, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        seen = [process.stdout.readline() for _ in range(5)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert seen[-1] == "four\n"
    assert process.returncode == 130


def test_an_emulated_board_that_never_ran_has_no_log(owner: SshUser) -> None:
    done = owner.deploy("boards", "logs", "qemu")
    assert done.returncode == 12
    assert "has no log" in done.stderr


# --- lease ---------------------------------------------------------------------------------------


def test_a_board_is_held_by_hand_and_others_are_told(owner: SshUser) -> None:
    line = [*owner.program, "boards", "lease", "kitchen"]
    words = ["--hold", "1h", "--for", "soldering"]
    assert "is free" in owner.deploy("boards", "lease", "kitchen").stdout
    with subprocess.Popen(
        [*line, *words], env=owner.environment, cwd=owner.work, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr
        assert "yours for 60 min" in process.stderr.readline()
        found = json.loads(owner.deploy("boards", "lease", "kitchen", "--json").stdout)
        (holder,) = found["holders"]
        assert holder["words"].endswith(": soldering")
        assert holder["own"]
        late = owner.deploy("boards", "lease", "kitchen", "--hold", "1m", "--queue", 0)
        assert late.returncode == 19
        assert "soldering" in late.stderr
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "is given back" in out
    await_that(
        "the board is free",
        lambda: "is free" in owner.deploy("boards", "lease", "kitchen").stdout,
    )


def test_a_time_that_is_over_ends_it(owner: SshUser) -> None:
    done = owner.deploy("boards", "lease", "kitchen", "--hold", "0.01m")
    assert done.returncode == 0, done.stderr
    assert "is given back" in done.stdout


def test_ones_own_leases_are_ended(owner: SshUser) -> None:
    line = [*owner.program, "boards", "lease", "kitchen"]
    with subprocess.Popen(
        [*line, "--hold", "1h", "--for", "forgotten"], env=owner.environment, cwd=owner.work,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr
        process.stderr.readline()
        done = owner.deploy("boards", "lease", "kitchen", "--free")
        assert "forgotten" in done.stderr
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 19
    assert "the lease is lost" in said


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--for", "x"], "--hold"),
        (["--hold", "soon"], "--hold"),
        (["--hold", "1m", "--free"], "--hold"),
        (["--hold", "1m", "--json"], "--hold"),
    ],
)
def test_options_that_do_not_go_together(owner: SshUser, words: list[str], option: str) -> None:
    done = owner.deploy("boards", "lease", "kitchen", *words)
    assert done.returncode == 2
    assert option in done.stderr
