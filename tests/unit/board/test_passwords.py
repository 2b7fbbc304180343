"""Passphrases, passwords and a server's own questions, on a terminal; elsewhere nobody is asked."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import paramiko
import pytest
from paramiko.server import InteractiveQuery

from support.openssh import make_key, public_text, serving, shell
from support.password_server import PASSWORD, taking_passwords
from support.ssh_user import RUN, SshUser
from support.terminal import Terminal
from toolchain import questions
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.errors import ConnectionFailed

PASSPHRASE = "correct horse"  # noqa: S105 - of a key that lives as long as a test
ADD = ["boards", "add", "pi", "--name", "kitchen", "--dry-run"]
"""A command that logs in, and changes nothing."""
Logging = Callable[..., AbstractContextManager[SshUser]]


def on_a_terminal(user: SshUser, words: Sequence[str]) -> Terminal:
    return Terminal([*user.program, *words], cwd=user.work, environment=user.environment)


@pytest.fixture
def user_of(tmp_path: Path) -> Logging:
    """A user, and a server that takes what is said."""

    @contextmanager
    def make(*known: Path, passphrase: str = "", **options: object) -> Iterator[SshUser]:
        key = make_key(tmp_path / "own", passphrase=passphrase)
        board = tmp_path / "board"
        board.mkdir()
        text = "".join(f"{public_text(one)}\n" for one in (known or (key,)))
        login = f"cd {board} && {RUN}"
        opened = (
            taking_passwords(tmp_path / "sshd", text, options, login=login)
            if options
            else serving(tmp_path / "sshd", authorized=text, login=login)
        )
        with opened as server:
            user = SshUser(tmp_path, server, key)
            user.trust()
            yield user

    return make


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A key that servers know, and users have not."""
    return make_key(tmp_path / "other")


PASSWORDS: Mapping[str, object] = {"PasswordAuthentication": "yes"}
QUESTIONS: Mapping[str, object] = {"KbdInteractiveAuthentication": "yes", "UsePAM": "yes"}


# --- a key with a passphrase ---------------------------------------------------------------------


def test_a_locked_key_is_unlocked_by_what_is_typed(user_of: Logging) -> None:
    with user_of(passphrase=PASSPHRASE) as user:
        terminal = on_a_terminal(user, ADD)
        terminal.until(f"Passphrase of the key {user.key}: ")
        assert not terminal.shows_what_is_typed
        terminal.type("wrong\n")
        terminal.until(f"That does not unlock it. Passphrase of the key {user.key}: ")
        terminal.type(f"{PASSPHRASE}\n")
        assert terminal.close() == 0, terminal.text
        assert "kitchen" in terminal.text
        assert PASSPHRASE not in terminal.text


@pytest.mark.parametrize("form", ["PEM", "PKCS8"])
def test_a_locked_key_of_an_older_format_is_unlocked(user_of: Logging, form: str) -> None:
    with user_of() as user:
        key = make_key(user.folder / "old", kind="rsa")
        (user.folder / "sshd/authorized").write_text(f"{public_text(key)}\n")
        shell(f"ssh-keygen -q -p -P '' -N '{PASSPHRASE}' -m {form} -f {key}")
        terminal = on_a_terminal(user, [*ADD, "--identity", str(key)])
        terminal.until(f"Passphrase of the key {key}: ")
        terminal.type(f"{PASSPHRASE}\n")
        assert terminal.close() == 0, terminal.text


def test_who_types_nothing_is_told_how_to_load_the_key(user_of: Logging) -> None:
    with user_of(passphrase=PASSPHRASE) as user:
        terminal = on_a_terminal(user, ADD)
        terminal.until("Passphrase of the key")
        terminal.type("\n")
        assert terminal.close() == ConnectionFailed.exit_code
        assert "is protected by a passphrase" in terminal.text
        assert "ssh-add" in terminal.text


def test_no_passphrase_is_asked_for_where_another_key_will_do(
    user_of: Logging, stranger: Path
) -> None:
    with user_of(stranger, passphrase=PASSPHRASE) as user:
        user.configure(f"IdentityFile {stranger}")
        terminal = on_a_terminal(user, ADD)
        assert terminal.close() == 0, terminal.text
        assert "Passphrase" not in terminal.text


def test_ctrl_c_at_the_question_leaves_the_terminal_as_it_was(user_of: Logging) -> None:
    with user_of(passphrase=PASSPHRASE) as user:
        terminal = on_a_terminal(user, ADD)
        terminal.until("Passphrase of the key")
        terminal.type("half\x03")
        assert terminal.close() == 128 + signal.SIGINT
        assert "Traceback" not in terminal.text


# --- a password ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "asked"), [(PASSWORDS, "Password of "), (QUESTIONS, "(")])
def test_a_password_logs_in_where_no_key_does(
    user_of: Logging, stranger: Path, options: Mapping[str, object], asked: str
) -> None:
    with user_of(stranger, **options) as user:
        terminal = on_a_terminal(user, ADD)
        for typed in ("wrong", PASSWORD):
            terminal.until(f"{asked}{user.server.user}@pi")
            terminal.until(": ")
            assert not terminal.shows_what_is_typed
            terminal.type(f"{typed}\n")
        assert terminal.close() == 0, terminal.text
        assert PASSWORD not in terminal.text


def test_a_wrong_password_is_asked_for_as_often_as_the_configuration_says(
    user_of: Logging, stranger: Path
) -> None:
    with user_of(stranger, **PASSWORDS) as user:
        user.configure("NumberOfPasswordPrompts 2")
        terminal = on_a_terminal(user, ADD)
        for _ in range(2):
            terminal.until("Password of ")
            terminal.type("wrong\n")
        assert terminal.close() == ConnectionFailed.exit_code
        assert terminal.text.count("Password of ") == 2
        said = " ".join(terminal.text.split())
        assert f"the board refuses user '{user.server.user}'" in said
        assert "typed: password" in said


@pytest.mark.parametrize("second", ["password", "keyboard-interactive"])
def test_a_server_may_want_a_key_and_a_password(user_of: Logging, second: str) -> None:
    options = PASSWORDS if second == "password" else QUESTIONS
    with user_of(**options, AuthenticationMethods=f"publickey,{second}") as user:
        terminal = on_a_terminal(user, ADD)
        terminal.until(f"{user.server.user}@pi")
        terminal.until(": ")
        terminal.type(f"{PASSWORD}\n")
        assert terminal.close() == 0, terminal.text


@pytest.mark.parametrize(
    "line", ["BatchMode yes", "PasswordAuthentication no", "NumberOfPasswordPrompts 0"]
)
def test_nobody_is_asked_where_the_configuration_says_so(
    user_of: Logging, stranger: Path, line: str
) -> None:
    with user_of(stranger, **PASSWORDS) as user:
        user.configure(line)
        terminal = on_a_terminal(user, ADD)
        assert terminal.close() == ConnectionFailed.exit_code
        assert "Password of" not in terminal.text
        assert "ssh-copy-id" in terminal.text


def test_no_key_is_offered_where_the_configuration_says_so(user_of: Logging) -> None:
    with user_of(**PASSWORDS) as user:
        user.configure("PubkeyAuthentication no")
        terminal = on_a_terminal(user, ADD)
        terminal.until("Password of ")
        terminal.type(f"{PASSWORD}\n")
        assert terminal.close() == 0, terminal.text
        assert "Accepted password" in (user.folder / "sshd/sshd.log").read_text()


def test_without_a_terminal_nobody_is_asked_and_no_server_is_answered(
    user_of: Logging, stranger: Path
) -> None:
    """An answer that nobody gave would count as a break-in."""
    with user_of(stranger, **QUESTIONS) as user:
        done = user.deploy(*ADD)
        assert done.returncode == ConnectionFailed.exit_code
        assert "ssh-copy-id" in done.stderr
        log = (user.folder / "sshd/sshd.log").read_text()
        assert "Failed keyboard-interactive" not in log
        assert "authentication failure" not in log


def test_several_boards_at_once_ask_nothing(user_of: Logging) -> None:
    """Two questions on one terminal cannot be told apart."""
    with user_of(passphrase=PASSPHRASE) as user:
        user.inventory.write_text(
            "".join(f'[{name}]\nlike = "rpi4"\nssh = {{ host = "pi" }}\n' for name in ("a", "b"))
        )
        terminal = on_a_terminal(user, ["boards", "check", "all"])
        assert terminal.close() == ConnectionFailed.exit_code
        assert "Passphrase of" not in terminal.text
        assert "ssh-add" in terminal.text


# --- a server's words ----------------------------------------------------------------------------


class _Odd(paramiko.ServerInterface):
    """Asks for two things, one of which may be seen, with what a terminal would act on.

    PAM has no module that asks so.
    """

    def __init__(self) -> None:
        self.answers: list[str] = []

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        return "keyboard-interactive"

    def check_auth_interactive(self, username: str, submethods: str) -> InteractiveQuery:  # noqa: ARG002
        return InteractiveQuery(
            "\x1b]0;owned\x07Two factors", "", ("Code\x1b[2J: ", True), ("Pin: ", False)
        )

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        self.answers += responses
        return paramiko.common.AUTH_SUCCESSFUL


def test_a_servers_questions_are_shown_harmless(tmp_path: Path) -> None:
    server, asked = _Odd(), list[tuple[str, bool]]()
    host_key = paramiko.ECDSAKey.generate()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        link, _ = listener.accept()
        transport = paramiko.Transport(link)
        transport.add_server_key(host_key)
        transport.start_server(event=threading.Event(), server=server)

    threading.Thread(target=serve, daemon=True).start()
    port = listener.getsockname()[1]
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {host_key.get_name()} {host_key.get_base64()}\n")

    def line(question: str, echo: bool) -> str:
        asked.append((question, echo))
        return f"answer {len(asked)}"

    target = SshTarget("127.0.0.1", "ann", port, (), (known,))
    with questions.answered_by(questions.Asking(lambda: True, line)):
        SshConnection("pi", target).close()
    listener.close()
    assert server.answers == ["answer 1", "answer 2"]
    assert [echo for _, echo in asked] == [True, False]
    first, second = (question for question, _ in asked)
    assert "\x1b" not in first
    assert "\\x1b]0;owned\\x07Two factors" in first
    assert second == "(ann@127.0.0.1) Pin: "
