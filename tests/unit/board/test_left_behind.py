"""A board ends by itself what a client left there that is gone; a healthy link ends nothing."""

from __future__ import annotations

import dataclasses
import io
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from support.openssh import Sshd, make_key, public_text, serving
from support.patience import PATIENCE, await_that, once, written
from support.places import REPOSITORY
from support.powered import program
from support.processes import running
from support.relay import Relay
from toolchain.board.connection import Result
from toolchain.board.remote_shell import LINGER_S
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.errors import ConnectionFailed

LINGER = 4
"""Seconds that the board waits; the tests wait for far longer before they fail."""
HEARD_BY_ALL = 10
"""The same where the client is there: on a busy machine it may be silent for some seconds, too."""
SHELLS = {"dash": "dash", "bash": "bash", "busybox": "busybox"}

# A client of its own, that can be killed. What it does is its last argument.
CLIENT = """\
import sys
from pathlib import Path
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
user, port, key, known, linger, job = sys.argv[1:]
target = SshTarget("127.0.0.1", user, int(port), (Path(key),), (Path(known),), only_identities=True)
with SshConnection("pi", target, linger=int(linger)) as board:
    print("logged in", flush=True)
    exec(job)
"""


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("key") / "user")


@pytest.fixture
def shell() -> str:
    return "dash"


@pytest.fixture
def server(key: Path, tmp_path: Path, shell: str) -> Iterator[Sshd]:
    """A board whose ``sh`` is a certain one."""
    program = shutil.which(SHELLS[shell])
    if not program:
        pytest.skip(f"{shell} is not installed")
    home = tmp_path / "board"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "sh").symlink_to(program)
    login = f'cd {home} && PATH={home}/bin:$PATH && exec sh -c "$SSH_ORIGINAL_COMMAND"'
    with serving(tmp_path / "sshd", authorized=public_text(key) + "\n", login=login) as running_:
        yield running_


@pytest.fixture
def relay(server: Sshd) -> Iterator[Relay]:
    with Relay(server.port) as running_:
        running_.holds = True
        yield running_


@pytest.fixture
def target(server: Sshd, relay: Relay, key: Path, tmp_path: Path) -> SshTarget:
    """The board behind the relay."""
    known = tmp_path / "known_hosts"
    known.write_text(server.known_line.replace(f":{server.port}", f":{relay.port}"))
    return SshTarget("127.0.0.1", server.user, relay.port, (key,), (known,), only_identities=True)


@contextmanager
def client(target: SshTarget, job: str) -> Iterator[subprocess.Popen[str]]:
    """A client that does something on the board and may be killed."""
    (key,), (known,) = target.identities, target.known_hosts
    words = [target.user, str(target.port), str(key), str(known), str(LINGER), job]
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, *words],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "logged in\n"
            yield process
        finally:
            process.kill()


def programs(server: Sshd) -> list[list[str]]:
    """The command lines of what runs in the connections of a server, beside the server itself."""
    found = []
    for pid in server.descendants():
        with suppress(OSError):
            program = os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if "sshd" not in program:
                found.append([str(pid), *words])
    return found


def pids(server: Sshd, *words: str) -> list[int]:
    """Those that were started by certain words."""
    return [int(pid) for pid, *line in programs(server) if line[: len(words)] == [*words]]


def require_nothing_left(server: Sshd, *texts: str) -> None:
    await_that(
        "nothing of ours runs",
        lambda: not programs(server) and not any(running(text) for text in texts),
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_a_program_whose_client_was_killed(server: Sshd, relay: Relay, target: SshTarget) -> None:
    seconds = f"6{secrets.randbelow(10**9):09}"
    with client(target, f"board.run(['sleep', '{seconds}'])") as process:
        await_that("the program runs", lambda: pids(server, "sleep", seconds))
        process.kill()
        process.wait()
        assert pids(server, "sleep", seconds), "the relay let the server know"
        require_nothing_left(server, seconds)
    assert relay.fault == "none"


@pytest.mark.parametrize(
    ("shell", "fault"),
    [("dash", "swallow"), ("dash", "stall"), ("bash", "stall"), ("busybox", "swallow")],
)
def test_an_upload_whose_client_was_killed(
    server: Sshd, relay: Relay, target: SshTarget, tmp_path: Path, fault: str
) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(8_000_000))
    relay.after = (relay.carried + 1_000_000, fault)  # type: ignore[assignment]
    with client(target, f"board.put(Path({str(big)!r}), 'big-there')") as process:
        await_that("the transfer is half way", lambda: relay.fault == fault)
        await_that("it is written there", lambda: list((tmp_path / "board").glob(".*.part")))
        (part,) = (tmp_path / "board").glob(".*.part")
        process.kill()
        process.wait()
        require_nothing_left(server, part.name)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_download_whose_client_was_killed(
    server: Sshd, relay: Relay, target: SshTarget, tmp_path: Path
) -> None:
    """The program there is in the middle of writing, and so would its shell's last words be."""
    job = f"board.get('/dev/zero', Path({str(tmp_path / 'zeros')!r}), most=1 << 40)"
    with client(target, job) as process:
        await_that("the transfer is under way", lambda: pids(server, "cat"))
        relay.fault = "stall"
        process.kill()
        process.wait()
        require_nothing_left(server)


def test_a_stopped_program_whose_client_was_killed(
    server: Sshd, relay: Relay, target: SshTarget
) -> None:
    seconds = f"7{secrets.randbelow(10**9):09}"
    with client(target, f"board.run(['sleep', '{seconds}'])") as process:
        await_that("the program runs", lambda: pids(server, "sleep", seconds))
        for pid in pids(server, "sleep", seconds):
            os.kill(pid, signal.SIGSTOP)
        process.kill()
        process.wait()
        require_nothing_left(server, seconds)
    assert relay.fault == "none"


def test_a_program_that_takes_no_hint(server: Sshd, relay: Relay, target: SshTarget) -> None:
    mark = secrets.token_hex(8)
    script = f"trap : TERM HUP; while :; do sleep 1; : {mark}; done"
    with client(target, f"board.run(['sh', '-c', {script!r}])") as process:
        await_that("the program runs", lambda: pids(server, "sh", "-c"))
        process.kill()
        process.wait()
        require_nothing_left(server, mark)
    assert relay.fault == "none"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("phase", ["idle", "run"])
def test_power_is_read_no_more_for_a_client_that_was_killed(
    server: Sshd, relay: Relay, target: SshTarget, tmp_path: Path, phase: str
) -> None:
    seconds, begun = f"6{secrets.randbelow(10**5):05}", tmp_path / "begun"
    program(tmp_path / "board" / "bin" / "vcgencmd", f"echo read >>{begun}")
    idle = seconds if phase == "idle" else 0.1
    job = (
        "from toolchain.board.pmic import Sampler\n"
        f"board.run(Sampler(frozenset(), {idle}).wrapped(['sleep', '{seconds}']))"
    )
    with client(target, job) as process:
        await_that("power is read", lambda: written(begun))
        await_that("the program, or its pause, runs", lambda: pids(server, "sleep", seconds))
        process.kill()
        process.wait()
        require_nothing_left(server, f"sleep\0{seconds}", "pmic_read_adc")
    assert relay.fault == "none"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_client_that_is_there_keeps_its_program(target: SshTarget, shell: str) -> None:
    with SshConnection("pi", target, linger=HEARD_BY_ALL) as board:
        script = f"sleep {HEARD_BY_ALL + 3}; echo done"
        assert board.run(["sh", "-c", script]).text == "done\n", shell


@pytest.mark.parametrize("shell", SHELLS)
def test_a_slow_upload_goes_on(target: SshTarget, tmp_path: Path, shell: str) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            del size
            time.sleep(0.5)
            return super().read(1000)

    with SshConnection("pi", target, linger=HEARD_BY_ALL) as board:
        script = 'exec cat > "$1"'
        code, said = board.execute(["sh", "-c", script, "sh", "slow"], stdin=Slow(bytes(26_000)))
    assert (code, said) == (0, ""), shell
    assert (tmp_path / "board" / "slow").read_bytes() == bytes(26_000)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_guard_of_a_program_that_ends_with_the_link_ends_with_it(
    server: Sshd, relay: Relay, target: SshTarget, tmp_path: Path, shell: str
) -> None:
    """Its shell finds nobody to tell its last words to."""
    relay.holds = False
    mark, begun = secrets.token_hex(8), tmp_path / f"begun-{shell}"
    script = f"echo >{begun}; exec cat >>/dev/null"
    # A guard that is not ended would look at its program again after half a day.
    with SshConnection("pi", target, linger=200_000) as board:
        once(lambda: written(begun), lambda: setattr(relay, "fault", "cut"))
        with pytest.raises(ConnectionFailed):
            board.execute(["sh", "-c", script, "sh", mark], stdin=cast("BinaryIO", _Endless()))
    require_nothing_left(server, mark)


class _Endless(io.RawIOBase):
    """What is fed a few bytes now and then, as a lease's script is."""

    def read(self, size: int = -1) -> bytes:
        del size
        time.sleep(0.1)
        return b"beat\n"


def test_a_client_that_was_stopped_is_told_what_became_of_its_program(
    server: Sshd, target: SshTarget
) -> None:
    with client(target, "board.run(['sleep', '6543217'])") as process:
        await_that("the program runs", lambda: pids(server, "sleep", "6543217"))
        process.send_signal(signal.SIGSTOP)
        require_nothing_left(server)
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert "has ended sleep, for it heard nothing from here for 4 s" in errors


def test_nothing_is_left_of_commands_that_end_by_themselves(
    server: Sshd, target: SshTarget, tmp_path: Path
) -> None:
    results: list[Result] = []
    (tmp_path / "file").write_text("text")
    with SshConnection("pi", target) as board:
        for _ in range(20):
            results.append(board.run(["echo", "said"]))
            board.put(tmp_path / "file", "file")
        # Long before they would go because they hear nothing.
        await_that("guards are gone", lambda: not programs(server), LINGER_S / 2)
        assert {result.text for result in results} == {"said\n"}
        assert {result.stderr for result in results} == {""}
    assert dataclasses.asdict(results[0])["exit_code"] == 0
