"""A place of labgrid as a board: with labgrid itself, on a real OpenSSH server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.bundles import write_bundle, write_masked_model
from support.fresh_pi import USER, home_of_a_newcomer, make_user
from support.openssh import make_key, public_text
from support.pages import run_page
from support.places import REPOSITORY
from support.plugin import PLUGIN, Ran, run_pytest
from support.python_runner import python_runner
from support.ssh_user import SshUser, user_of_a_server
from toolchain.board import emulator
from toolchain.board.connect import connect
from toolchain.hardware.board_file import load_board
from toolchain.progress import Silent
from toolchain.storage.cache import cache_dir

ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Whether Tileskip is installed beside labgrid or not."""
PLUGINS = ("-p", "labgrid.pytestplugin", "-p", PLUGIN)
_RECORD = r"""
set -e
cd "/home/$1"
mkdir -p .ssh
echo "$2" >.ssh/authorized_keys
chown -R "$1:$1" .ssh
chmod 700 .ssh
"""
_OWN_LOCKS = """
from pathlib import Path
from toolchain.board import lease

lease.PLACES = (str(Path("locks").absolute()),) * 2
"""
"""Whoever else uses this machine as a board is not waited for."""
_TESTS = """
import numpy as np
import pytest
from labgrid.binding import BindingState, StateError

@pytest.fixture(scope="session")
def driver(target):
    return target.get_driver("TileskipDriver")

@pytest.fixture(scope="session")
def board(driver):
    return driver.connected

def test_it_runs(board):
    (output,) = board.run("net.tflite", np.zeros((2, 4, 4, 3), np.float32))
    assert output.shape == (2, 4, 4, 2)

def test_it_is_right(deployed_model):
    assert deployed_model("net.tflite").verify(inputs=1).passed

def test_it_ends_with_the_driver(target, driver):
    first = driver.connected
    target.deactivate(driver)
    assert driver.state is BindingState.bound
    with pytest.raises(StateError):
        driver.connected
    target.activate(driver)
    assert driver.connected is not first
    driver.connected.push("net.tflite")
"""


@dataclass
class Lab:
    """A repository of somebody who has a place."""

    user: SshUser
    python: str

    @property
    def folder(self) -> Path:
        return self.user.work

    @property
    def place(self) -> dict[str, Any]:
        """The resource."""
        server = self.user.server
        return {"address": "127.0.0.1", "username": server.user, "port": server.port}

    def test(
        self, driver: dict[str, Any], *, drivers: dict[str, Any] | None = None, **resources: Any
    ) -> Ran:
        """Run the tests in an environment with these resources and drivers."""
        environment = {
            "targets": {
                "main": {
                    "resources": resources or {"NetworkService": self.place},
                    "drivers": {**(drivers or {}), "TileskipDriver": driver},
                }
            },
            "imports": ["toolchain.labgrid"],
        }
        # JSON is YAML.
        (self.folder / "lab.yaml").write_text(json.dumps(environment))
        path = {"PYTHONPATH": f"{REPOSITORY}:{self.folder}"}
        return run_pytest(
            self.folder, "--lg-env", "lab.yaml", "-p", "own_locks", *PLUGINS,
            python=self.python, **(self.user.environment | ALONE | path),
        )  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path, labgrids_python: str) -> Iterator[Lab]:
    with user_of_a_server(tmp_path) as user:
        user.trust()
        # What names no alias is looked for, too: a place has an address.
        user.config.write_text(
            f"Host *\n  IdentityFile {user.key}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {user.known}\n"
        )
        here = user.work
        text = (REPOSITORY / "boards/host.toml").read_text().replace('"local"', '"ssh"')
        (here / "here.toml").write_text(text)
        write_bundle(here / "build/here", python_runner())
        write_masked_model(here / "net.tflite", size=4, channels=2)
        (here / "own_locks.py").write_text(_OWN_LOCKS)
        (here / "locks").mkdir(mode=0o1777)
        (here / "test_net.py").write_text(_TESTS)
        yield Lab(user, labgrids_python)


def test_a_place_is_tested_as_a_board(lab: Lab) -> None:
    done = lab.test({"board": "here.toml"})
    assert (done.code, done.count("passed")) == (0, 3), done.text
    assert list((lab.user.board / "tileskip/models").glob("*/net.tflite"))


def test_files_are_those_of_the_environments_folder(lab: Lab) -> None:
    (lab.folder / "build").rename(lab.folder / "elsewhere")
    key = lab.user.key.rename(lab.folder / "lab_key")
    lab.user.key.with_name("key.pub").rename(lab.folder / "lab_key.pub")
    done = lab.test({"board": "here.toml", "bundle": "elsewhere/here", "keyfile": key.name})
    assert (done.code, done.count("passed")) == (0, 3), done.text


def test_an_ssh_driver_says_which_key_and_user_log_in(lab: Lab) -> None:
    user = lab.user
    wrong = make_key(user.folder / "wrong")
    user.config.write_text(user.config.read_text().replace(str(user.key), str(wrong)))
    place = lab.place | {"username": "nobody"}
    ssh = {"keyfile": str(user.key), "username": user.server.user}
    done = lab.test({"board": "here.toml"}, drivers={"SSHDriver": ssh}, NetworkService=place)
    assert (done.code, done.count("passed")) == (0, 3), done.text


def test_a_board_that_ours_names_needs_no_place(lab: Lab) -> None:
    text = (lab.folder / "here.toml").read_text()
    where = f"{lab.user.server.user}@127.0.0.1:{lab.user.server.port}"
    (lab.folder / "here.toml").write_text(f'{text}\n[ssh]\nhost = "{where}"\n')
    done = lab.test({}, TileskipBoard={"board": "here.toml"})
    assert (done.code, done.count("passed")) == (0, 3), done.text


def test_a_host_key_that_is_not_on_record_is_refused(lab: Lab) -> None:
    """labgrid itself compares none."""
    lab.user.known.write_text("")
    done = lab.test({"board": "here.toml"})
    assert done.code == 1
    assert "the host key is not on record" in done.text
    assert "run: deploy boards trust" in done.text


def test_a_driver_that_names_no_board_is_told(lab: Lab) -> None:
    done = lab.test({})
    assert done.code == 1
    assert "which board is the place?" in done.text
    assert "hint: say so in the environment, as in: TileskipDriver: {board: rpi4}" in done.text


@pytest.fixture
def place_of_the_page(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The place that the page names, which is an emulated board; the user's variables."""
    path = tmp_path / f"labgrid-{os.getpid()}.toml"
    path.write_text(f'{(REPOSITORY / "boards/qemu.toml").read_text()}server = "openssh"\n')
    described = load_board(str(path))
    state = emulator.start(described, Silent())
    try:
        home = tmp_path / "home"
        config = "Host 192.168.1.20\n  HostName raspberrypi\n"
        programs = home_of_a_newcomer(home, config, state.port)
        known = state.target.known_hosts[0].read_text()
        (home / ".ssh/known_hosts").write_text(known)
        with connect(described) as root:
            make_user(root)
            root.run(["sh", "-c", _RECORD, "sh", USER, public_text(home / ".ssh/id_ed25519")])
        yield {
            "HOME": str(home),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "TILESKIP_CACHE": str(cache_dir()),
            "SSH_AUTH_SOCK": "",
        }
    finally:
        emulator.stop(described, Silent())


def test_every_command_of_the_page_runs(
    place_of_the_page: dict[str, str], labgrids_python: str, tmp_path: Path
) -> None:
    """``how-to/labgrid.md``."""
    ran: list[str] = []
    assert emulator.status(load_board("qemu")) is None
    options = {"PYTEST_ADDOPTS": " ".join(PLUGINS)}
    run_page(
        "how-to/labgrid.md", tmp_path, place_of_the_page | ALONE | options, ran.append,
        python=labgrids_python,
    )  # fmt: skip
    assert emulator.status(load_board("qemu")) is None, "the driver has left it running"
    assert sum("pytest" in line for line in ran) == 2
