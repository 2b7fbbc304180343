from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.errors import BoardConfigError
from toolchain.hardware.board_file import DEFAULT_BOARD, Ssh, board_names, known_tiles, load_board

INVALID = sorted((Path(__file__).parent / "invalid").glob("*.toml"))


@pytest.mark.parametrize("name", board_names())
def test_every_shipped_board_loads(name: str) -> None:
    assert load_board(name).name == name


def test_the_default_board_is_emulated_and_counts_instructions() -> None:
    board = load_board(DEFAULT_BOARD)
    assert board.connection == "emulator"
    assert board.emulator is not None
    assert board.emulator.icount_shift is not None


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_a_faulty_file_is_refused_with_file_key_and_fault(path: Path) -> None:
    first = path.read_text(encoding="utf-8", errors="replace").splitlines()[0]
    expected = first.removeprefix("# expect:").strip()
    with pytest.raises(BoardConfigError) as caught:
        load_board(str(path))
    assert caught.value.what.startswith(f"{path}: ")
    assert expected in caught.value.what


def test_every_fault_of_a_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text('title = "x"\nisa = "aarch64"\nmarch = "a"\nspeed = 1\n')
    with pytest.raises(BoardConfigError) as caught:
        load_board(str(path))
    assert "speed: is not a known key" in caught.value.what
    assert "cpu: is missing" in caught.value.what


def test_an_unknown_board_lists_the_known_ones() -> None:
    with pytest.raises(BoardConfigError, match="no board called 'rpi9'") as caught:
        load_board("rpi9")
    assert "rpi4" in (caught.value.hint or "")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BoardConfigError, match=r"absent\.toml: cannot be read"):
        load_board(str(tmp_path / "absent.toml"))


def test_a_board_file_may_lie_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "attic.toml"
    path.write_text('title = "x"\ncpu = "y"\nisa = "aarch64"\nmarch = "armv8-a"\n')
    assert load_board(str(path)).name == "attic"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("tileskip", "tileskip"),
        ("/srv/tileskip", "/srv/tileskip"),
        ("~/tileskip", "tileskip"),
        ("~/a folder/b", "a folder/b"),
        ("~", "."),
        ("~/", "."),
        ("~//x", "x"),
        ("a/~/b", "a/~/b"),
        ("-x", "./-x"),
    ],
)
def test_a_tilde_is_the_home_and_makes_no_folder_of_that_name(written: str, meant: str) -> None:
    assert Ssh(directory=written).directory == meant


# --- tiles -----------------------------------------------------------------------------------


def written(path: Path, cpu: str, isa: str = "aarch64", more: str = "") -> Path:
    path.write_text(f'title = "x"\ncpu = "{cpu}"\nisa = "{isa}"\nmarch = "armv8-a"\n{more}')
    return path


@pytest.mark.parametrize(
    ("cpu", "isa", "other"),
    [
        ("Cortex-A53", "aarch64", "rpi3"),
        ("cortex-a72", "aarch64", "rpi4"),
        ("Cortex-A76", "aarch64", "rpi5"),
        ("Cortex-A53", "armv7", "rpi3-armv7"),
    ],
)
def test_a_board_without_a_tile_has_that_of_a_shipped_one_with_its_core(
    tmp_path: Path, cpu: str, isa: str, other: str
) -> None:
    found = known_tiles(load_board(str(written(tmp_path / "mine.toml", cpu, isa))))
    assert found.board == "mine"
    assert found.source is not None
    assert found.tiles == load_board(other).tile == load_board(found.source).tile


def test_a_boards_own_tile_goes_before_that_of_its_core(tmp_path: Path) -> None:
    own = "[tile]\nrows = 8\ncolumns = 8\n"
    found = known_tiles(load_board(str(written(tmp_path / "mine.toml", "Cortex-A53", more=own))))
    assert found.tiles is not None
    assert (found.tiles.rows, found.source) == (8, "mine")


@pytest.mark.parametrize(("cpu", "isa"), [("Cortex-A55", "aarch64"), ("Cortex-A76", "armv7")])
def test_the_tile_of_a_core_that_no_shipped_board_has_is_not_known(
    tmp_path: Path, cpu: str, isa: str
) -> None:
    found = known_tiles(load_board(str(written(tmp_path / "mine.toml", cpu, isa))))
    assert (found.tiles, found.source) == (None, None)


# --- a board file is data --------------------------------------------------------------------


@pytest.mark.parametrize("stem", [".hidden", "-o", "..", "a\x1b[2J", "a\nb"])
def test_a_file_after_which_no_folder_can_be_named_is_no_board(tmp_path: Path, stem: str) -> None:
    with pytest.raises(BoardConfigError, match="name: "):
        load_board(str(written(tmp_path / f"{stem}.toml", "Cortex-A53")))


@pytest.mark.parametrize("march", ["armv8-a", "armv8.2-a+fp16+dotprod", "x86-64-v3", "native"])
def test_what_compilers_take_for_march_is_taken(tmp_path: Path, march: str) -> None:
    path = tmp_path / "my board.toml"
    path.write_text(f'title = "x"\ncpu = "y"\nisa = "aarch64"\nmarch = "{march}"\n')
    assert (load_board(str(path)).march, load_board(str(path)).name) == (march, "my board")


@pytest.mark.parametrize("host", ["pi@10.0.0.7:2222", "ssh://pi@[fe80::1]:22", "LAB\\\\pi@board+1"])
def test_what_ssh_takes_for_a_host_is_taken(host: str) -> None:
    assert Ssh(host=host).host == host
