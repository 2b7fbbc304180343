"""What this machine lacks, each with the line that mends it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.bundles import write_bundle
from support.places import REPOSITORY
from toolchain import extras
from toolchain.build import bundle as bundles
from toolchain.build.bundle import Bundle
from toolchain.doctor import host_checks
from toolchain.doctor.finding import Finding
from toolchain.doctor.host_checks import _make_packages
from toolchain.fetch.apt import MIRROR_VARIABLE
from toolchain.hardware.board_file import Board, load_board
from toolchain.hints import apt_line


def found(name: str, board: Board | None = None) -> list[Finding]:
    return list(host_checks.host_checks(board)[name]())


def one(name: str, board: Board | None = None) -> Finding:
    (finding,) = found(name, board)
    return finding


@pytest.fixture
def bare(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Takes all programs away but those that are named."""
    folder = place / "bin"

    def only(*programs: str) -> None:
        folder.mkdir(exist_ok=True)
        for name in programs:
            target = shutil.which(name) or "/bin/true"
            (folder / name).symlink_to(target)
        monkeypatch.setenv("PATH", str(folder))

    return only


# --- Python ------------------------------------------------------------------------------------


def test_this_python_is_one_that_is_supported() -> None:
    assert one("Python").state == "ok"


@pytest.mark.parametrize(("version", "state"), [("3.99.0", "warning"), ("3.12.1", "ok")])
def test_a_python_that_nobody_has_tried_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, version: str, state: str
) -> None:
    monkeypatch.setattr("platform.python_version", lambda: version)
    assert one("Python").state == state


def test_an_extra_that_is_missing_is_told_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as Python itself does for what is not
    told = {item.check: item for item in found("packages")}
    assert set(told) == {f"extra {name}" for name in extras.MODULES}
    assert told["extra plot"].state == "warning"
    assert "matplotlib" in told["extra plot"].what
    assert told["extra plot"].fix == extras.install_line("plot")


def test_an_extra_that_few_people_need_is_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    (told,) = [item for item in found("packages") if item.check == "extra tensorflow"]
    assert (told.state, told.what) == (
        "ok",
        f"not installed; it is for {extras.USED_BY['tensorflow']}",
    )


# --- programs ----------------------------------------------------------------------------------


def test_missing_compilers_are_told_in_one_line_and_others_once(bare: Callable[..., None]) -> None:
    bare()
    told = {item.check: item for item in found("build")}
    first = told["build for aarch64"]
    assert (first.state, first.exit_code) == ("fault", 11)
    assert "cmake" in (first.fix or "")
    assert (first.fix or "").startswith(apt_line()[:-1])
    armv7 = told["build for armv7"]
    assert armv7.state == "warning"
    assert "cmake" not in armv7.what, "it is told already"
    assert "rpi3-armv7" in armv7.what
    assert told["ccache"].fix == apt_line("ccache")


def test_of_a_board_only_its_own_compiler_is_told(bare: Callable[..., None]) -> None:
    bare("cmake", "ninja", "patch", "ccache")
    told = found("build", load_board("rpi3-armv7"))
    assert [item.check for item in told] == ["build for armv7", "ccache"]
    assert told[0].state == "fault"
    assert told[0].fix == apt_line("g++-arm-linux-gnueabihf")


def test_who_has_a_bundle_needs_no_compiler_now(bare: Callable[..., None], place: Path) -> None:
    bare()
    write_bundle(place / "work/build/rpi4", b"runner", isa="aarch64")
    assert found("build", load_board("rpi4"))[0].state == "warning"


def test_without_qemu_there_is_no_emulated_board(bare: Callable[..., None]) -> None:
    bare()
    told = one("emulated board", load_board("qemu"))
    assert (told.state, told.exit_code, told.fix) == ("fault", 11, apt_line("qemu-system-arm"))
    checks = host_checks.host_checks(load_board("rpi4"))
    assert "emulated board" not in checks, "a real one needs no QEMU"
    assert "emulated board" not in host_checks.host_checks(load_board("qemu"), is_real=True)


def test_what_estimates_need_is_told(bare: Callable[..., None]) -> None:
    bare("gcc")
    told = one("estimates")
    assert (told.state, told.fix) == ("warning", apt_line("qemu-user"))


def test_a_machine_without_apt_is_told_how_to_go_on(bare: Callable[..., None]) -> None:
    bare()
    told = one("Debian's archive")
    assert told.state == "warning"
    assert "--sources" in (told.fix or "")


def test_a_mirror_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, "nonsense")
    if not shutil.which("apt-get"):
        pytest.skip("a machine without apt")
    assert one("Debian's archive").state == "warning"


def test_an_apt_that_hangs_is_given_up(
    place: Path, monkeypatch: pytest.MonkeyPatch, bare: Callable[..., None]
) -> None:
    bare("apt-cache", "apt-config", "dpkg-deb", "sleep")
    script = place / "bin/apt-get"
    script.write_text("#!/bin/sh\nsleep 600\n")
    script.chmod(0o755)
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr(host_checks, "LIMIT_S", 0.5)
    monkeypatch.setattr("toolchain.fetch.apt._KEYRINGS", (script,))
    told = one("Debian's archive")
    assert told.state == "warning"
    assert "did not end in 0.5 s" in told.what


def test_the_packages_of_the_tests_are_those_of_the_makefile() -> None:
    listed = _make_packages(REPOSITORY / "Makefile")
    assert {"cmake", "qemu-user", "fish", "openssh-server", "valgrind"} <= set(listed)
    assert not {"\\", ":="} & set(listed)


def test_packages_of_the_tests_that_are_missing_are_told(
    place: Path, bare: Callable[..., None]
) -> None:
    bare("cat")
    script = place / "bin/dpkg-query"
    script.write_text(
        "#!/bin/sh\nfor name; do case $name in -*|fish|*bin*) ;; tcsh:*|tcsh) "
        'echo "$name config-files" ;; *) echo "$name:amd64 installed" ;; esac; done\n'
    )
    script.chmod(0o755)
    told = one("test packages")
    assert told.state == "warning"
    assert told.fix == apt_line("fish", "tcsh")


def test_without_dpkg_what_the_tests_need_is_not_known(bare: Callable[..., None]) -> None:
    bare()
    assert one("test packages").state == "unknown"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"DEBIAN_PACKAGES\n", b"A := b\\\n"])
def test_a_makefile_that_is_garbled_lists_nothing(place: Path, content: bytes) -> None:
    (place / "Makefile").write_bytes(content)
    assert _make_packages(place / "Makefile") == []
    assert _make_packages(place / "none") == []


# --- room --------------------------------------------------------------------------------------


def test_folders_are_looked_at_and_not_made(place: Path) -> None:
    for name in ("cache", "working folder", "temporary files"):
        assert one(name).state == "ok"
    assert not (place / "cache").exists()
    assert not (place / "work/build").exists()


def test_a_cache_that_is_a_file_is_a_fault(place: Path) -> None:
    (place / "cache").write_text("")
    told = one("cache")
    assert (told.state, told.exit_code) == ("fault", 13)
    assert "TILESKIP_CACHE" in (told.fix or "")


def test_a_folder_that_may_not_be_written_to_is_a_fault(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so that the system's answer is played."""
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != place)
    told = one("cache")
    assert (told.state, told.exit_code) == ("fault", 13)


def test_a_disk_that_is_nearly_full_is_told_with_the_line_that_frees_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "cache").mkdir()
    monkeypatch.setattr(host_checks, "_GOOD_DISK", 1 << 60)
    told = one("cache")
    assert (told.state, told.fix) == ("warning", "deploy cache clean --older-than 30d")
    monkeypatch.setattr(host_checks, "_LEAST_DISK", 1 << 60)
    assert one("cache").state == "fault"


def test_a_folder_for_temporary_files_that_is_gone_is_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    assert one("temporary files").exit_code == 13


def test_little_memory_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    assert one("memory").state in ("ok", "warning")
    monkeypatch.setattr(host_checks, "_GOOD_MEMORY", 1 << 60)
    told = one("memory")
    assert told.state == "warning"
    assert "--jobs 1" in (told.fix or "")


# --- bundles -----------------------------------------------------------------------------------


def write(place: Path, name: str = "rpi4") -> Bundle:
    return write_bundle(place / "work/build" / name, b"runner", isa="aarch64")


def current(place: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """A bundle that was made from what is here, but for ``changes``."""
    board = load_board("rpi4")
    made = write(place)
    patches = bundles.patch_hashes(bundles.patch_series())
    known = {"march": board.march, "patches": patches, "key": "1", **changes}
    manifest = made.manifest.model_copy(update=known)
    (made.path / "manifest.json").write_text(manifest.model_dump_json(by_alias=True))
    monkeypatch.setattr(bundles, "bundle_key", lambda _recipe, _board: "1")


def test_a_bundle_that_is_not_built_is_a_fault_of_its_board_alone(place: Path) -> None:
    told = one("bundles", load_board("rpi4"))
    assert (told.state, told.exit_code) == ("fault", 17)
    assert told.fix == "deploy build --board rpi4"
    assert found("bundles") == [], "nobody asked for a board"
    assert not (place / "work/build").exists()


def test_a_bundle_that_was_changed_is_a_fault(place: Path) -> None:
    bundle = write(place)
    bundle.runner.write_bytes(b"another")
    (told,) = found("bundles")
    assert (told.state, told.fix) == ("fault", "deploy build --board rpi4")
    assert "was changed since it was built" in told.what


@pytest.mark.parametrize("manifest", [b"", b"{", b"\xff", b"[]", b'{"schema": 2}'])
def test_a_manifest_that_is_garbled_is_a_fault(place: Path, manifest: bytes) -> None:
    (write(place).path / "manifest.json").write_bytes(manifest)
    assert one("bundles").exit_code == 17


def test_what_is_in_the_place_of_a_bundle_is_moved_away_by_the_line(place: Path) -> None:
    (place / "work/build/rpi4").mkdir(parents=True)
    (place / "work/build/rpi4/mine").write_text("kept")
    told = one("bundles", load_board("rpi4"))
    assert told.fix == "mv build/rpi4 build/rpi4.old && deploy build --board rpi4"


def test_a_bundle_that_is_current_is_fine(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    current(place, monkeypatch)
    assert one("bundles", load_board("rpi4")).state == "ok"


def test_a_bundle_of_other_patches_is_warned_of_even_without_a_compiler(
    place: Path, monkeypatch: pytest.MonkeyPatch, bare: Callable[..., None]
) -> None:
    current(place, monkeypatch, patches={"xnnpack": {"hooks/0001-x.patch": "0"}})
    bare()
    told = one("bundles", load_board("rpi4"))
    assert (told.state, told.fix) == ("warning", "deploy build --board rpi4")
    assert "with other patches" in told.what


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"key": "2", "compiler": "old"}, "by another compiler (old)"),
     ({"march": "armv8.2-a"}, "for aarch64, armv8.2-a, not for what the board's file says")],
)  # fmt: skip
def test_a_bundle_that_would_be_another_now_is_warned_of(
    place: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], said: str
) -> None:
    if not shutil.which("aarch64-linux-gnu-g++"):
        pytest.skip("no cross compiler")
    current(place, monkeypatch, **changes)
    told = one("bundles", load_board("rpi4"))
    assert told.state == "warning"
    assert said in told.what


def test_a_stock_bundle_is_built_again_as_one(place: Path) -> None:
    bundle = write(place, "rpi4-stock")
    bundle.delegate.unlink()
    told = [item for item in found("bundles") if item.check == "bundle rpi4-stock"]
    assert told[0].fix == "deploy build --board rpi4 --stock"


def test_a_board_file_of_the_users_is_named_in_the_line_as_he_named_it(place: Path) -> None:
    path = place / "my boards"
    path.mkdir()
    (path / "mine.toml").write_text((REPOSITORY / "boards/rpi4.toml").read_text())
    told = one("bundles", load_board(str(path / "mine.toml")))
    assert shlex.split(told.fix or "")[-1] == str(path / "mine.toml")
