"""With whom boards end."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from support.patience import PATIENCE, await_that
from support.places import REPOSITORY
from toolchain.board.session import Owner, await_end_of_any, owner, this_program

WHO = (
    f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); "
    "from toolchain.board.session import of_terminal; "
    "who = of_terminal(); print('owner', who and (who.pid, who.kind, who.name), flush=True)"
)


def asked_on_a_terminal(*words: str) -> tuple[int, str]:
    """Run a program on a terminal of its own, as the leader of its session: its pid, its output."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(words[0], words)  # noqa: S606 (no shell)
    said = b""
    with suppress(OSError):  # EIO: everybody on it has ended
        while select.select([terminal], [], [], PATIENCE)[0]:
            piece = os.read(terminal, 4096)
            if not piece:
                break
            said += piece
    os.close(terminal)
    os.waitpid(pid, 0)
    return pid, said.decode()


def test_what_runs_on_a_terminal_belongs_to_the_shell_that_leads_its_session() -> None:
    # Two commands: for one alone the shell would make place.
    script = f'"$0" -c "$1"; exit {os.EX_OK}'
    pid, said = asked_on_a_terminal("/bin/sh", "-c", script, sys.executable, WHO)
    assert said == f"owner ({pid}, 'session', 'sh')\r\n"


def test_a_command_that_leads_its_session_itself_belongs_to_none() -> None:
    """As of ``ssh -t host deploy ...``: the session ends with it."""
    _, said = asked_on_a_terminal(sys.executable, "-c", WHO)
    assert said == "owner None\r\n"


def test_what_runs_without_a_terminal_belongs_to_no_session() -> None:
    line = ["/bin/sh", "-c", '"$0" -c "$1"; exit 0', sys.executable, WHO]
    done = subprocess.run(
        line, capture_output=True, text=True, start_new_session=True, check=True, timeout=PATIENCE
    )
    assert done.stdout == "owner None\n"


def test_a_process_is_told_with_its_name() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:  # noqa: S607 (of PATH)
        line = Path(f"/proc/{process.pid}/comm")
        await_that("it has begun", lambda: line.read_text() == "sleep\n")
        found = owner(process.pid, "session")
        assert found is not None
        assert str(found) == f"session {process.pid} (sleep)"
        assert found.alive
        process.kill()
        process.wait()
        assert not found.alive
        assert owner(process.pid, "session") is None


def test_a_later_process_of_the_same_number_is_another_one() -> None:
    ours = this_program()
    assert ours is not None
    assert ours.alive
    earlier = Owner(ours.pid, ours.started - 1, "session", ours.name)
    assert not earlier.alive
    assert earlier.handle() is None


def test_a_process_that_ended_and_was_not_waited_for_has_ended() -> None:
    child = subprocess.Popen(["true"])  # noqa: S607 (of PATH)
    found = owner(child.pid, "session")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert owner(child.pid, "session") is None
    assert found is None or not found.alive
    child.wait()


def test_the_end_of_any_is_waited_for() -> None:
    with (
        subprocess.Popen(["sleep", "600"]) as one,  # noqa: S607 (of PATH)
        subprocess.Popen(["sleep", "600"]) as other,  # noqa: S607 (of PATH)
    ):
        handles = [os.pidfd_open(process.pid) for process in (one, other)]
        wait = threading.Thread(target=await_end_of_any, args=handles)
        wait.start()
        assert wait.is_alive()
        other.kill()
        wait.join(PATIENCE)
        assert not wait.is_alive()
        one.send_signal(signal.SIGKILL)
        for handle in handles:
            os.close(handle)


def test_a_name_that_a_terminal_would_act_on_is_made_harmless(tmp_path: Path) -> None:
    program = tmp_path / "a\x1b[2Jb"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "600"]) as process:
        line = Path(f"/proc/{process.pid}/comm")
        await_that("it has begun", lambda: line.read_text().startswith("a"))
        found = owner(process.pid, "session")
        process.kill()
    assert found is not None
    assert found.name == "a\\x1b[2Jb"
