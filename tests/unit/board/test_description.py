"""What is known of a board here says where it comes from, and how the board is reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.openssh import make_key, public_text
from toolchain.board.description import Description, describe
from toolchain.hardware import emulated, inventory
from toolchain.hardware.board_file import load_board


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(inventory.ENVIRONMENT, str(tmp_path / "boards.toml"))
    (tmp_path / "home/.ssh").mkdir(parents=True)
    return tmp_path


def described(place: Path, table: str, config: str = "") -> Description:
    (place / "boards.toml").write_text(table)
    (place / "home/.ssh/config").write_text(config)
    return describe(load_board("kitchen"))


def origins(found: Description) -> dict[str, tuple[Any, str]]:
    return {key.name: (key.value, key.origin) for key in found.keys}


def test_each_key_says_where_it_comes_from(place: Path) -> None:
    found = described(place, '[kitchen]\nlike = "rpi4"\nthreads = 2\n[kitchen.ssh]\nhost = "pi"\n')
    keys = origins(found)
    assert keys["threads"] == (2, "inventory")
    assert keys["ssh.host"] == ("pi", "inventory")
    assert keys["caches.l2.kib"] == (1024, "like rpi4")
    assert keys["ssh.directory"] == ("tileskip", "default")
    assert "found.model" not in keys, "what is not known is not told"
    assert (found.source, found.like) == (place / "boards.toml", "rpi4")


def test_a_board_file_is_its_own_source(place: Path) -> None:
    path = place / "mine.toml"
    path.write_text('title = "x"\ncpu = "y"\nisa = "aarch64"\nmarch = "armv8-a"\n')
    found = describe(load_board("mine.toml"))
    assert (found.source, found.like, origins(found)["march"]) == (
        Path("mine.toml"), None, ("armv8-a", "file"),
    )  # fmt: skip


def test_a_board_that_the_emulator_has_started_is_described(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILESKIP_CACHE", str(place / "cache"))
    keys = load_board("qemu").model_dump(mode="json", exclude={"name"}, exclude_none=True)
    emulated.folder("qemu-7").mkdir(parents=True)
    emulated.record("qemu-7", keys, "qemu")
    found = describe(load_board("qemu-7"))
    assert (found.source, found.like) == (place / "cache/emulator/qemu-7/board.json", None)
    assert origins(found)["emulator.cpu"] == ("cortex-a72", "emulator")
    assert found.way.fault == "it does not run"


def test_the_way_is_that_of_the_ssh_configuration(place: Path) -> None:
    key = make_key(place / "key")
    found = described(
        place,
        '[kitchen]\nlike = "rpi4"\nssh = { host = "pi" }\n',
        "Host pi\n  HostName 10.0.0.9\n  Port 2200\n  User ann\n  ProxyJump gate,inner\n"
        f"  IdentityFile {key}\nHost gate\n  User bob\nHost inner\n  User eve\n",
    ).way
    assert found.address == "ann@10.0.0.9:2200"
    assert found.through == ["bob@gate", "eve@inner"]
    assert found.identities == [key]
    assert found.login == "ssh pi"
    assert found.fault == "its host key is not on record"
    assert found.hint == "deploy boards trust kitchen"


def test_host_keys_on_record_are_told_with_their_place(place: Path) -> None:
    key = public_text(make_key(place / "host"))
    known = place / "home/.ssh/known_hosts"
    known.write_text(f"# mine\n10.0.0.9 {key}\n")
    way = described(place, '[kitchen]\nlike = "rpi4"\nssh = { host = "me@10.0.0.9" }\n').way
    (one,) = way.host_keys
    assert (one.kind, one.file, one.line) == ("ssh-ed25519", known, 2)
    assert way.fault is None


def test_a_board_without_a_host_says_so(place: Path) -> None:
    way = described(place, '[kitchen]\nlike = "rpi4"\n').way
    assert way.fault == "no host is known"
    assert way.address is None


def test_the_key_of_a_boards_file_is_the_only_one_tried(place: Path) -> None:
    key = make_key(place / "own")
    way = described(
        place, f'[kitchen]\nlike = "rpi4"\nssh = {{ host = "a", identity = "{key}" }}\n'
    ).way
    assert way.identities == [key]
    assert way.login == f"ssh -i {key} -o IdentitiesOnly=yes a"
