"""Programs run behind every login shell, and whatever its start-up files print."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.bundles import write_bundle
from support.openssh import make_key, public_text, serving
from support.patience import PATIENCE, await_that
from support.processes import running
from toolchain.board import exchange, push, remote_shell, requirements
from toolchain.board.remote_shell import BetweenMarks
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.errors import BoardError
from toolchain.hardware.board_file import load_board
from toolchain.progress import Silent
from toolchain.storage.cache import sha256_file

RUN = 'sh -c "$SSH_ORIGINAL_COMMAND"'
SHELLS = {
    "sh": ["sh"],
    "bash": ["bash"],
    "dash": ["dash"],
    "busybox": ["busybox", "sh"],
    "csh": ["csh"],
    "tcsh": ["tcsh"],
    "fish": ["fish"],
    "zsh": ["zsh"],
}
AWKWARD = ["", " ", "it's", '"quoted"', "a!b", "!!", "$HOME", "`id`", "back\\slash", "two\nlines",
           "tab\there", "*", "~", "ünïcode", "#no", "%s", "-n", "a\\0101b", "(x)", "{a,b}", "^",
           "\x7f"]  # fmt: skip


@pytest.fixture(params=SHELLS)
def login_shell(request: pytest.FixtureRequest) -> list[str]:
    if not shutil.which(SHELLS[request.param][0]):
        pytest.skip(f"{request.param} is not installed")
    return SHELLS[request.param]


def run(shell: list[str], argv: list[str], *, fed: bytes | None = None) -> tuple[bytes, int]:
    """What comes after the mark, as sshd runs a command: by the login shell's -c."""
    mark = remote_shell.new_mark()
    line = remote_shell.command_line(argv, mark, fed=fed is not None)
    # In the guarded form standard input has to stay open until the program has ended.
    with subprocess.Popen(
        [*shell, "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if fed is not None:
            process.stdin.write(fed)
            process.stdin.close()
        got: list[bytes] = []
        after = BetweenMarks(mark.encode(), got.append)
        while piece := process.stdout.read(7):
            after.feed(piece)
        after.finish()
        code = process.wait(PATIENCE)
    assert after.found
    return b"".join(got), code


def test_awkward_arguments_arrive_as_they_are(login_shell: list[str]) -> None:
    shown, code = run(login_shell, ["printf", r"%s\0", *AWKWARD])
    assert shown.split(b"\0")[:-1] == [argument.encode() for argument in AWKWARD]
    assert code == 0


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
@pytest.mark.parametrize("shell", ["tcsh", "fish", "sh"])
def test_any_argument_arrives_as_it_is(shell: str, text: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    assert run(SHELLS[shell], ["printf", "%s", text])[0] == text.encode()


def test_exit_codes_come_back(login_shell: list[str]) -> None:
    assert run(login_shell, ["sh", "-c", "exit 7"])[1] == 7
    assert run(login_shell, ["sh", "-c", "kill -SEGV $$"])[1] == 128 + 11
    assert run(login_shell, ["no-such-program"])[1] == 127


def test_input_reaches_the_program_whole(login_shell: list[str]) -> None:
    data = os.urandom(100_000)
    assert run(login_shell, ["cat"], fed=data) == (data, 0)


@pytest.mark.parametrize("end", [b"", b"RKMA", b"RKMAbye\nRKMA\n"])
def test_marks_are_found_wherever_the_pieces_end(end: bytes) -> None:
    text = b"noise\nMARK MARKS\nrest\nMARK\nRK, after" + end
    for size in range(1, len(text) + 1):
        got: list[bytes] = []
        after = BetweenMarks(b"MARK", got.append)
        for begin in range(0, len(text), size):
            after.feed(text[begin : begin + size])
        after.finish()
        assert b"".join(got) == b"RK, after"
        assert after.before == "noise\nMARK MARKS\nrest"


def test_the_end_is_seen_only_when_all_that_came_before_it_has_been_passed_on() -> None:
    """Another thread looks for it, and takes what it has then for the whole output."""
    seen: list[tuple[bytes, bool]] = []
    after = BetweenMarks(b"MARK", lambda piece: seen.append((piece, after.ended)))
    after.feed(b"MARK\nfirst")
    after.feed(b", lastRKMA")
    assert b"".join(piece for piece, _ in seen) == b"first, last"
    assert not any(ended for _, ended in seen)
    assert after.ended


# --- logins over a real server --------------------------------------------------------------------


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("key") / "user")


@contextmanager
def board(folder: Path, key: Path, login: str) -> Iterator[SshConnection]:
    home = folder / "home"
    home.mkdir(parents=True)
    text = f"cd {shlex.quote(str(home))} && {login}"
    with serving(folder / "sshd", authorized=public_text(key) + "\n", login=text) as server:
        known = folder / "known_hosts"
        known.write_text(server.known_line)
        target = SshTarget("127.0.0.1", server.user, server.port, (key,), (known,), True)
        with SshConnection("pi", target) as connection:
            yield connection


@pytest.mark.parametrize(
    ("shell", "before"),
    [
        ("sh", 'echo Welcome; echo "a warning" >&2'),
        ("sh", 'printf "no end of line"; printf "nor here" >&2'),
        ("sh", "head -c 1000000 /dev/zero"),
        ("sh", f"trap 'echo bye; echo bye >&2' EXIT; {RUN}; exit"),
        ("sh", f"{RUN}; code=$?; echo logout; exit $code"),
        ("tcsh", "true"),
        ("tcsh", "echo Welcome"),
        ("fish", "true"),
    ],
    ids=[
        *("prints", "prints no line", "prints much", "prints at its end", "says goodbye"),
        *("tcsh", "tcsh that prints", "fish"),
    ],
)
def test_everything_is_pushed_and_asked_behind_such_a_login(
    tmp_path: Path, key: Path, shell: str, before: str
) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    login = f'{before}; exec {shell} -c "$SSH_ORIGINAL_COMMAND"'
    with board(tmp_path, key, login) as connection:
        assert connection.run(["sh", "-c", "exit 3"], check=False).exit_code == 3
        result = connection.run(["sh", "-c", "echo out; echo err >&2"])
        assert (result.text, result.stderr) == ("out\n", "err\n")
        bundle = write_bundle(tmp_path / "b", os.urandom(1000))
        uploads = push.bundle_uploads(load_board("host"), bundle)
        names = [item.local.name for item in uploads]
        requirements.require(connection, bundle, names, Silent())
        assert all(
            item.sent for item in push.push(connection, load_board("host"), uploads, Silent())
        )
        assert not any(
            item.sent for item in push.push(connection, load_board("host"), uploads, Silent())
        )
        assert connection.free_bytes(".") > 0
        connection.get(uploads[0].remote, tmp_path / "back", most=1 << 20)
        assert sha256_file(tmp_path / "back") == uploads[0].sha256


@pytest.mark.parametrize(
    ("login", "words"),
    [
        ("exec /usr/sbin/nologin", "This account is currently not available."),
        ("echo 'Sorry, no.' >&2; exit 3", "Sorry, no."),
        ("exit 0", "it says nothing"),
        ("exec internal-sftp", "not found"),
    ],
    ids=["nologin", "its own words", "nothing", "no such shell"],
)
def test_a_login_that_runs_no_commands_is_told_in_its_words(
    tmp_path: Path, key: Path, login: str, words: str
) -> None:
    with board(tmp_path, key, login) as connection:
        for fed in (None, b"input"):
            with pytest.raises(BoardError, match="runs no commands") as caught:
                connection.run(["cat"], stdin=fed)
            assert words in caught.value.what


@pytest.mark.parametrize("fed", [None, b"touch swallowed\n"])
def test_a_login_that_waits_is_given_up_and_is_fed_nothing(
    tmp_path: Path, key: Path, fed: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start-up files that end with another shell, which reads commands from its input."""
    monkeypatch.setattr(exchange, "_BEGIN_TIMEOUT_S", 1.5)
    with board(tmp_path, key, "echo Welcome; exec sh") as connection:
        with pytest.raises(BoardError, match=r"has run no command after 1.5 s.*Welcome"):
            connection.run(["cat"], stdin=fed)
        assert not (tmp_path / "home" / "swallowed").exists()


# --- programs that a board lacks -----------------------------------------------------------------

BASE = ["sh", "cat", "chmod", "df", "find", "mkdir", "mv", "printf", "rm", "sleep", "test", "uname",
        "getconf", "touch", "id", "ls"]  # fmt: skip


def bare_path(folder: Path, *programs: str) -> str:
    """A PATH that holds nothing else."""
    folder.mkdir()
    for name in programs:
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    return f'PATH={shlex.quote(str(folder))} exec sh -c "$SSH_ORIGINAL_COMMAND"'


@pytest.mark.parametrize("program", ["sha256sum", "busybox", "openssl", "shasum"])
def test_sha256_is_computed_by_what_is_there(tmp_path: Path, key: Path, program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    extra = ["perl"] if program == "shasum" else []
    login = bare_path(tmp_path / "bin", *BASE, program, *extra)
    files = [tmp_path / name for name in ("a", "b\\c d", "-e")]
    for file in files:
        file.write_bytes(os.urandom(100))
    with board(tmp_path / "board", key, login) as connection:
        found = connection.sha256s([*map(str, files), str(tmp_path / "absent"), str(tmp_path)])
    assert list(found.values()) == [*map(sha256_file, files), None, None]


def test_a_board_without_any_is_told_that(tmp_path: Path, key: Path) -> None:
    login = bare_path(tmp_path / "bin", *BASE)
    model = tmp_path / "m.tflite"
    model.write_bytes(b"model")
    upload = push.model_upload(load_board("host"), model)
    with (
        board(tmp_path / "board", key, login) as connection,
        pytest.raises(BoardError, match="no program that computes SHA-256") as caught,
    ):
        push.push(connection, load_board("host"), [upload], Silent())
    assert "coreutils" in (caught.value.hint or "")


def test_a_board_that_does_not_tell_its_machine_is_told_in_its_words(
    tmp_path: Path, key: Path
) -> None:
    login = bare_path(tmp_path / "bin", *(name for name in BASE if name != "uname"))
    bundle = write_bundle(tmp_path / "b", b"runner")
    with (
        board(tmp_path / "board", key, login) as connection,
        pytest.raises(BoardError, match="does not tell what machine it is") as caught,
    ):
        requirements.require(connection, bundle, ["tileskip-run"], Silent())
    assert "uname: not found" in caught.value.what


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
@pytest.mark.parametrize("fed", [False, True])
def test_guards_of_programs_that_end_at_once_end_with_them(
    tmp_path: Path, shell: str, *, fed: bool
) -> None:
    (tmp_path / "sh").symlink_to(shutil.which(shell) or pytest.skip(f"{shell} is not installed"))
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    mark = remote_shell.new_mark()
    line = remote_shell.command_line(["true"], mark, fed=fed)
    for _ in range(100):
        with subprocess.Popen(
            [tmp_path / "sh", "-c", line], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            assert process.wait(PATIENCE) == 0
    # Long before they would go because they hear nothing.
    await_that("guards are gone", lambda: not running(mark[:16]), remote_shell.LINGER_S / 2)


def test_what_comes_is_passed_on_at_once_but_for_what_may_be_the_end() -> None:
    mark = "0123456789abcdef" * 2
    got = bytearray()
    between = BetweenMarks(mark.encode(), got.extend)
    end = (mark[16:] + mark[:16]).encode()
    between.feed(mark.encode() + b"\na line\n")
    assert got == b"a line\n"
    between.feed(b"more" + end[:5])
    assert got == b"a line\nmore"
    between.feed(b"!")
    assert got == b"a line\nmore" + end[:5] + b"!"
    between.feed(end)
    assert between.ended
    assert got == b"a line\nmore" + end[:5] + b"!"


def test_a_plain_line_runs_a_program_to_the_letter(login_shell: list[str]) -> None:
    line = remote_shell.plain_line(["printf", "[%s]", *AWKWARD])
    done = subprocess.run([*login_shell, "-c", line], capture_output=True, check=False)
    assert done.stdout.decode() == "".join(f"[{word}]" for word in AWKWARD)
    assert done.returncode == 0
