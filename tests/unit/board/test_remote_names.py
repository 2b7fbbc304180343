"""Names of files arrive on a board to the byte, by push, run and clean, behind every login shell.

Everything that reaches a shell there passes :func:`toolchain.board.remote_shell.command_line`.
"""

from __future__ import annotations

import ast
import os
import secrets
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.bundles import write_bundle, write_masked_model
from support.openssh import make_key, public_text, serving
from support.places import REPOSITORY
from toolchain.agreement.inputs import Batch
from toolchain.board import store
from toolchain.board.cleaning import Cleaning
from toolchain.board.invoke import BoardRunner, Settings
from toolchain.board.lease import WAIT_S
from toolchain.board.ssh import SshConnection
from toolchain.board.target import SshTarget
from toolchain.build.bundle import Bundle
from toolchain.errors import BoardError
from toolchain.hardware.board_file import load_board
from toolchain.progress import Silent
from toolchain.tflite_file.graph import read_model

BOARD = load_board("host")
SHELLS = {
    "sh": ["sh"], "dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash"],
    "tcsh": ["tcsh"], "csh": ["csh"], "fish": ["fish"], "zsh": ["zsh"],
}  # fmt: skip
AWKWARD = [
    " ", "a b", "it's", '"quoted"', "a!b", "!!", "$HOME", "${IFS}", "`id`", "$(id)", "back\\slash",
    "two\nlines", "\n", "tab\there", "*", "?", "[a]", "~", "~root", "ünïcode", "漢字", "#no", "%s",
    "-n", "-rf", "--", "--help", "a;b", "a|b", "a&b", "a>b", "(x)", "{a,b}", "^", "\x7f", "\x1b[2J",
    "\x01", ".hidden", "...", "\\0101", "end\\", "'", "\r", "a\u2028b", "e\u0301", "😀",
]  # fmt: skip
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=50
).filter(lambda name: name not in (".", ".."))
BYTES = (
    st.binary(min_size=1, max_size=40)
    .map(lambda raw: raw.replace(b"\0", b"\x01").replace(b"/", b"\\"))
    .filter(lambda raw: raw not in (b".", b".."))
)
WAYS = ("exec_command", "invoke_shell", "open_session", "invoke_subsystem", "open_sftp")
"""How paramiko starts something on the other side."""
# What the runner is given: its model's name and its inputs, as bytes in hexadecimal digits.
RUNNER = b"""#!/bin/sh
while [ "$#" -gt 0 ]; do
  case $1 in
    --model) model=$2 ;;
    --output-dir) cat -- "$model" >"$2/output0.bin" ;;
  esac
  shift
done
printf %s "${model##*/}" | od -An -v -tx1 | tr -d ' \\n'
"""


OWN = secrets.randbelow(2**31)
"""Tells what this process pushes from what others do: boards of tests share one machine, where a
program of another one that names the same hash would count as a user of it."""

pytestmark = pytest.mark.usefixtures("locks")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("key") / "user")


@pytest.fixture(scope="module", params=SHELLS)
def board(
    request: pytest.FixtureRequest, key: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SshConnection]:
    """A board whose login has this shell, and a home with a blank and a quote."""
    with behind(SHELLS[request.param], key, tmp_path_factory.mktemp("board")) as connection:
        yield connection


@contextmanager
def behind(shell: list[str], key: Path, folder: Path) -> Iterator[SshConnection]:
    if not shutil.which(shell[0]):
        pytest.skip(f"{shell[0]} is not installed")
    home = folder / "the user's home"
    home.mkdir()
    login = f'cd {shlex.quote(str(home))} && exec {shlex.join(shell)} -c "$SSH_ORIGINAL_COMMAND"'
    with serving(folder / "sshd", authorized=public_text(key) + "\n", login=login) as server:
        known = folder / "known_hosts"
        known.write_text(server.known_line)
        target = SshTarget("127.0.0.1", server.user, server.port, (key,), (known,), True)
        with SshConnection("pi", target) as connection:
            connection.home = home  # type: ignore[attr-defined]
            yield connection


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "b", RUNNER + b"# %d\n" % OWN)


def require_same_bytes(
    connection: SshConnection, bundle: Bundle, folder: Path, names: list[str]
) -> None:
    """Push models of such names, run one, find all and remove them."""
    home: Path = connection.home  # type: ignore[attr-defined]
    models = []
    for number, name in enumerate(dict.fromkeys(names)):
        (folder / str(number)).mkdir()
        write_masked_model(folder / str(number) / "m", size=4, channels=2, seed=OWN + number)
        models.append((folder / str(number) / "m").rename(folder / str(number) / name))
    runner = BoardRunner(connection, BOARD, bundle, Silent())
    pushed = runner.push_models(models)
    for item in pushed:
        # As this machine sees the board's disk, without any shell.
        assert (home / item.remote).read_bytes() == item.local.read_bytes()
        assert os.fsencode(item.remote.rpartition("/")[2]) == os.fsencode(item.local.name)
    report = runner.run(read_model(models[0]), Settings()).report
    assert bytes.fromhex(report) == os.fsencode(models[0].name)
    listed = {name for item in store.stored(connection, BOARD) for name in item.names}
    assert {item.local.name for item in pushed} <= listed
    cleaning = Cleaning(connection, BOARD)
    cleaning.choose(everything=True)
    cleaning.remove(wait=WAIT_S, force=False, note=lambda _: None)
    assert [path for path in (home / "tileskip").rglob("*") if not path.is_dir()] == []


def test_awkward_names_of_models(board: SshConnection, bundle: Bundle, tmp_path: Path) -> None:
    require_same_bytes(board, bundle, tmp_path, AWKWARD)


def test_any_names_of_models(
    board: SshConnection, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @settings(max_examples=5, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(names=st.lists(NAMES, min_size=1, max_size=6, unique=True))
    def names_arrive(names: list[str]) -> None:
        require_same_bytes(board, bundle, tmp_path_factory.mktemp("models"), names)

    names_arrive()


def test_any_bytes_in_a_name_and_a_folder(
    board: SshConnection, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Such names are none of a push, but the way there carries them as well."""
    home: Path = board.home  # type: ignore[attr-defined]

    @settings(
        max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(folder=BYTES, file=BYTES, content=st.binary(max_size=100))
    def bytes_arrive(folder: bytes, file: bytes, content: bytes) -> None:
        here = tmp_path_factory.mktemp("file") / "f"
        here.write_bytes(content)
        place = f"any/{os.fsdecode(folder)}"
        board.make_directory(place)
        board.put(here, f"{place}/{os.fsdecode(file)}")
        assert os.listdir(os.fsencode(home / "any")) == [folder]  # noqa: PTH208 - bytes
        with open(os.fsencode(home / "any") + b"/" + folder + b"/" + file, "rb") as there:  # noqa: PTH123
            assert there.read() == content
        board.get(f"{place}/{os.fsdecode(file)}", here.with_name("back"), most=1000)
        assert here.with_name("back").read_bytes() == content
        board.remove("any")
        assert not (home / "any").exists()

    bytes_arrive()


def test_the_names_of_inputs_and_outputs_are_ours(
    board: SshConnection, bundle: Bundle, tmp_path: Path
) -> None:
    """A run with inputs, whose model has an awkward name."""
    path = write_masked_model(tmp_path / "m", size=4, channels=2).rename(tmp_path / "it's $HOME\n")
    model = read_model(path)
    shape = model.graph.tensors[model.graph.inputs[0]].shape
    runner = BoardRunner(board, BOARD, bundle, Silent())
    with pytest.raises(BoardError, match="were expected"):
        # What the runner made has the size of the model, which it was given whole.
        runner.run(model, Settings(), Batch((np.zeros((1, *shape), np.float32),), joined=False))


def test_nothing_reaches_a_shell_there_by_another_way() -> None:
    """One place starts programs on a board, and it quotes; no other opens a session there."""
    found = list[tuple[str, str]]()
    for path in sorted((REPOSITORY / "toolchain").rglob("*.py")):
        tree = ast.walk(ast.parse(path.read_text()))
        names = [node.attr for node in tree if isinstance(node, ast.Attribute)]
        where = path.relative_to(REPOSITORY).as_posix()
        found += [(where, name) for name in names if name in WAYS]
    assert sorted(found) == [
        ("toolchain/board/ssh.py", "exec_command"), ("toolchain/board/ssh.py", "open_session"),
    ]  # fmt: skip
    text = (REPOSITORY / "toolchain/board/ssh.py").read_text()
    assert "command = remote_shell.command_line(argv, mark" in text
    assert "channel.exec_command(command)" in text
