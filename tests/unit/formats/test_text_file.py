"""Text of users in whatever Unicode encoding their editor left it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.places import REPOSITORY
from support.profiles import measurement, profile_of
from support.tiny_training import write_recipe
from toolchain.errors import DeployError, ModelError
from toolchain.formats.text_file import read_text
from toolchain.hardware.board_file import load_board
from toolchain.profile.document import load_profile
from toolchain.sparsity.mask_header import read_mask_header
from toolchain.train.recipe import load_recipe

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]
"""The last three begin with a byte-order mark."""
BIG_ENDIAN = {"utf-16-be": b"\xfe\xff", "utf-32-be": b"\x00\x00\xfe\xff"}


@pytest.mark.parametrize("encoding", [*ENCODINGS, *BIG_ENDIAN])
def test_a_byte_order_mark_says_the_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(BIG_ENDIAN.get(encoding, b"") + "a = 'é±'\r\n".encode(encoding))
    assert read_text(path, ModelError) == "a = 'é±'\r\n"


def _board(path: Path) -> None:
    path.write_text((REPOSITORY / "boards/rpi4.toml").read_text())


def _header(path: Path) -> None:
    path.write_text("#include <stdint.h>\nconst uint8_t CONV1[1][2] = {{1, 0}};\n")


def _profile(path: Path) -> None:
    profile_of(measurement("net")).save(path)


READERS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any]]] = {
    "board.toml": (_board, lambda path: load_board(str(path))),
    "recipe.toml": (write_recipe, load_recipe),
    "bin_mask.h": (_header, lambda path: read_mask_header(path)["CONV1"].tolist()),
    "profile.json": (_profile, load_profile),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_text_file_of_the_users_is_read(tmp_path: Path, name: str, encoding: str) -> None:
    write, read = READERS[name]
    path = tmp_path / name
    write(path)
    expected = read(path)
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert read(path) == expected


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_text_is_told_with_its_place(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"# caf\xc3\xa9\n# caf\xe9\n")
    with pytest.raises(DeployError, match=r"a text file in UTF-8 \(byte 13, line 2\)"):
        READERS[name][1](path)


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ModelError, match="/dev/zero: cannot be read: is larger than 64 MiB"):
        read_text(Path("/dev/zero"), ModelError)
