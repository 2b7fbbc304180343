"""What is asked of apt, and what becomes of its answers; apt is played by scripts."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toolchain import children
from toolchain.errors import MissingToolError, SourceError
from toolchain.fetch import apt
from toolchain.fetch.apt import AptRoot, debian_mirror
from toolchain.progress import Silent, Stage

CONTENT = b"an archive"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64

_GET = """#!/bin/sh
echo "apt-get $*" >> "$PLAY/log"
[ "$LC_ALL" = C.UTF-8 ] || exit 9
case " $* " in *" indextargets "*) ;; *) [ -f "$APT_CONFIG" ] || exit 9 ;; esac
for word in "$@"; do case $word in APT::Status-Fd=*) status=${word#*=} ;; esac; done
tell() { printf "$1" > "/proc/self/fd/$status"; }
case " $* " in
*" indextargets "*) cat "$PLAY/targets" ;;
*" update "*) cat "$PLAY/update" >&2 ;;
*)
  echo >> "$PLAY/tries"
  tell 'dlstatus:1:30.0:x\\npmstatus:y:90.0:x\\ndlstatus:1:20.0:x\\n'
  tell 'dlstatus\\ndlstatus:2:140.0:x\\n'
  if [ "$(wc -l < "$PLAY/tries")" -lt "$(cat "$PLAY/works-at")" ]; then
    echo "N: nothing to see" >&2
    echo "E: no route to the mirror" >&2
    exit 100
  fi
  cp "$PLAY/archive" fetched ;;
esac
"""
_CACHE = """#!/bin/sh
echo "apt-cache $*" >> "$PLAY/log"
[ "$LC_ALL" = C.UTF-8 ] && [ -f "$APT_CONFIG" ] || exit 9
cat "$PLAY/shown"
"""
_CONFIG = """#!/bin/sh
cat "$PLAY/proxies"
"""


@dataclass
class Play:
    """What apt says and does."""

    folder: Path
    waits: list[float] = field(default_factory=list)
    """Seconds between two tries."""

    def says(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def asked(self, word: str) -> list[str]:
        """The calls of apt that hold a word."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if f" {word} " in f"{line} "]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    folder = tmp_path / "play"
    folder.mkdir()
    played = Play(folder)
    for name, text in (("apt-get", _GET), ("apt-cache", _CACHE), ("apt-config", _CONFIG)):
        played.says(name, text)
        (folder / name).chmod(0o755)
    for name, text in (("works-at", "1"), ("update", ""), ("shown", ""), ("proxies", "")):
        played.says(name, text)
    (folder / "archive").write_bytes(CONTENT)
    played.says("keyring", "keys")
    monkeypatch.setattr(apt, "_KEYRINGS", (folder / "absent", folder / "keyring"))
    clock = SimpleNamespace(time=time.time, sleep=played.waits.append)
    monkeypatch.setattr(apt, "time", clock)
    monkeypatch.setenv("PLAY", str(folder))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(apt.MIRROR_VARIABLE, "http://mirror.invalid/debian/")
    return played


class Steps(Silent):
    """What is told of stages."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.totals: list[float | None] = []
        self.steps: list[float] = []
        self.notes: list[str] = []

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        self.titles.append(title)
        self.totals.append(total)
        self.steps.append(0.0)
        yield self

    def advance(self, steps: float = 1, detail: str | None = None) -> None:
        del detail
        assert steps >= 0
        self.steps[-1] += steps

    def total(self, steps: float) -> None:
        self.totals.append(steps)

    def note(self, message: str) -> None:
        self.notes.append(message)


def stanza(version: str, sha256: str = SHA256) -> str:
    return f"Package: x\nVersion: {version}\nChecksums-Sha256:\n {sha256} 10 x_1.orig.tar.xz\n"


def source(root: AptRoot | None = None, sha256: str = SHA256) -> Path:
    return (root or AptRoot()).fetch_source("x", "1-2", "x_1.orig.tar.xz", sha256)


def archives(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache/archives").iterdir())


# --- the index -----------------------------------------------------------------------------------


def test_an_index_is_fetched_once_a_day(play: Play, tmp_path: Path) -> None:
    play.says("shown", stanza("1-2"))
    steps = Steps()
    for age, updates in ((0, 1), (23 * 3600, 1), (25 * 3600, 2)):
        for stamp in (tmp_path / "cache/apt").glob("*/updated"):
            os.utime(stamp, (time.time() - age,) * 2)
        for path in (tmp_path / "cache").glob("archives/*"):
            path.unlink()
        root = AptRoot(steps)
        assert source(root).read_bytes() == CONTENT
        assert len(play.asked("update")) == updates
    assert steps.titles.count("Debian trixie source index") == 2
    for path in (tmp_path / "cache").glob("apt/*/updated"):
        os.utime(path, (0, 0))
    with pytest.raises(SourceError):
        source(root, OTHER)
    assert len(play.asked("update")) == 2, "one that was looked at is not looked at again"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("W: Failed to fetch http://m/x  404", "Failed to fetch http://m/x  404"),
        ("W: Some index files failed to download.", "Some index files failed to download."),
        ("E: The repository is not signed.", "The repository is not signed."),
    ],
)
def test_an_index_that_cannot_be_renewed_is_used_as_it_was(
    play: Play, tmp_path: Path, said: str, told: str
) -> None:
    """apt-get update ends well all the same."""
    play.says("shown", stanza("1-2"))
    play.says("update", f"W: a warning\n{said}\n")
    with pytest.raises(SourceError) as caught:
        source()
    assert caught.value.what == f"Debian trixie source index could not be fetched: {told}"
    play.says("update", "W: Download is performed unsandboxed\n")
    assert source().read_bytes() == CONTENT
    play.says("update", said)
    (stamp,) = (tmp_path / "cache/apt").glob("*/updated")
    os.utime(stamp, (0, 0))
    (tmp_path / "cache/archives/x_1.orig.tar.xz").unlink()
    steps = Steps()
    assert source(AptRoot(steps)).read_bytes() == CONTENT
    (note,) = steps.notes
    assert note == "Debian trixie source index could not be renewed; the one of before is used"
    assert stamp.stat().st_mtime == 0


def test_each_suite_and_kind_has_settings_of_its_own(play: Play, tmp_path: Path) -> None:
    play.says("shown", "")
    play.says(
        "proxies",
        'Acquire::http "";\nAcquire::http::Proxy "http://proxy:1/";\nAcquire::https::Proxy "";\n'
        'Acquire::https::Verify-Peer "x";\nDPkg::Hook "rm";\n',
    )
    with pytest.raises(SourceError):
        source()
    with pytest.raises(SourceError, match="package 'xz' for arm64 is not in Debian sid"):
        AptRoot().fetch_debs(["xz"], arch="arm64", suite="sid")
    kept = {path.name.rpartition("-")[0]: path for path in (tmp_path / "cache/apt").iterdir()}
    assert set(kept) == {"trixie-source", "sid-arm64"}
    mirror, keyring = "http://mirror.invalid/debian", tmp_path / "play/keyring"
    assert (kept["trixie-source"] / "etc/sources.list").read_text() == (
        f"deb-src [signed-by={keyring}] {mirror} trixie main\n"
    )
    assert (kept["sid-arm64"] / "etc/sources.list").read_text() == (
        f"deb [signed-by={keyring} arch=arm64] {mirror} sid main\n"
    )
    for name, arch in (("trixie-source", "amd64"), ("sid-arm64", "arm64")):
        assert (kept[name] / "apt.conf").read_text().splitlines() == [
            f'Dir "{kept[name]}";',
            'Dir::Etc "etc";',
            'Dir::State "state";',
            f'Dir::State::status "{kept[name]}/state/status";',
            'Dir::Cache "cache";',
            'Dir::Log "state";',
            f'APT::Architecture "{arch}";',
            'APT::Sandbox::User "root";',
            'Acquire::Languages "none";',
            'Acquire::Retries "2";',
            'Acquire::Check-Valid-Until "false";',
            'Acquire::AllowReleaseInfoChange "true";',
            f'APT::Architectures {{ "{arch}"; }};',
            'Acquire::http::Proxy "http://proxy:1/";',
            'Acquire::https::Verify-Peer "x";',
        ]
        assert (kept[name] / "state/status").read_text() == ""
        assert (kept[name] / "state/lists/partial").is_dir()
        assert (kept[name] / "cache/archives/partial").is_dir()


def test_without_debians_keys_nothing_is_asked_of_it(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "_KEYRINGS", (play.folder / "absent",))
    with pytest.raises(MissingToolError, match="keys of Debian's archive"):
        source()
    assert play.asked("update") == []


# --- downloads -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("works_at", "waits"), [(1, []), (2, [2.0]), (3, [2.0, 4.0])])
def test_a_download_is_tried_three_times(
    play: Play, tmp_path: Path, works_at: int, waits: list[float]
) -> None:
    play.says("shown", stanza("1-2"))
    play.says("works-at", str(works_at))
    steps = Steps()
    assert source(AptRoot(steps)) == tmp_path / "cache/archives/x_1.orig.tar.xz"
    assert play.waits == waits
    assert archives(tmp_path) == ["x_1.orig.tar.xz"]
    assert steps.titles[1:] == ["fetch x_1.orig.tar.xz"] * works_at
    assert (steps.totals, steps.steps) == ([100] * (works_at + 1), [100.0] * (works_at + 1))


def test_a_download_that_fails_each_time_is_told_in_apts_words(play: Play, tmp_path: Path) -> None:
    play.says("shown", stanza("1-2"))
    play.says("works-at", "9")
    with pytest.raises(SourceError) as caught:
        source()
    assert caught.value.what == ("x_1.orig.tar.xz could not be fetched: no route to the mirror")
    assert len(play.asked("source")) == 3
    assert archives(tmp_path) == []


def test_what_comes_with_another_hash_is_not_kept(play: Play, tmp_path: Path) -> None:
    play.says("shown", stanza("1-2", OTHER))
    with pytest.raises(SourceError, match=rf"x_1\.orig\.tar\.xz: SHA-256 is {SHA256}, expected 0"):
        source(sha256=OTHER)
    assert archives(tmp_path) == []
    assert len(play.asked("source")) == 1


@pytest.mark.parametrize(
    ("there", "chosen"),
    [(["1-1", "1-2", "1-3"], "1-2"), (["1-1", "1-3"], "1-1"), (["1-3"], "1-3")],
)
def test_the_pinned_version_is_asked_for_or_another_with_the_same_archive(
    play: Play, there: list[str], chosen: str
) -> None:
    play.says("shown", "\n".join(map(stanza, there)))
    source()
    (call,) = play.asked("source")
    assert call.startswith(f"apt-get source --download-only --tar-only x={chosen} -q")
    (shown,) = play.asked("showsrc")
    assert shown == "apt-cache showsrc --only-source x"


def test_where_no_version_has_the_archive_those_that_are_there_are_named(play: Play) -> None:
    play.says("shown", "\n".join([stanza("2-1", OTHER), stanza("2-2", OTHER)]))
    with pytest.raises(SourceError, match=r"wanted 1-2; there: 2-1, 2-2\)"):
        source()
    play.says("shown", "")
    with pytest.raises(SourceError, match=r"wanted 1-2; there: none\)"):
        source()


def test_what_another_process_has_fetched_meanwhile_is_taken(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While this one waited for its turn."""
    play.says("shown", stanza("1-2"))
    taken: list[str] = []

    @contextmanager
    def locked(name: str) -> Iterator[None]:
        taken.append(name)
        if name.startswith("archive-"):
            (tmp_path / "cache/archives/x_1.orig.tar.xz").write_bytes(CONTENT)
        yield

    monkeypatch.setattr(apt, "locked", locked)
    assert source().read_bytes() == CONTENT
    assert play.asked("source") == []
    assert [name.partition("-")[0] for name in taken] == ["apt", "archive"]


def test_no_program_of_apts_is_waited_for_without_end(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    play.says("shown", stanza("1-2"))
    given: list[dict[str, object]] = []
    really_run = children.run

    def run(command: Sequence[str], **named: Any) -> subprocess.CompletedProcess[str]:
        given.append(named)
        return really_run(command, **named)

    monkeypatch.setattr(children, "run", run)
    monkeypatch.delenv(apt.MIRROR_VARIABLE)
    play.says("targets", "http://mirror.invalid/debian Debian\n")
    source()
    assert len(given) == 3  # the mirror, the proxies, the versions
    assert {(one["limit"], one["fault"]) for one in given} == {(apt._APT_S, SourceError)}


@pytest.mark.parametrize(("text", "last"), [("", ""), ("a\n b \n\n", "b"), ("only", "only")])
def test_a_program_is_quoted_by_its_last_line(text: str, last: str) -> None:
    assert apt._last_line(text) == last


# --- binary packages -----------------------------------------------------------------------------


def shown_deb(play: Play, sha256: str = SHA256) -> None:
    play.says("shown", f"Package: x\nFilename: pool/main/x/xz_1_arm64.deb\nSHA256: {sha256}\n")


def debs(*names: str, pins: dict[str, str] | None = None) -> list[Path]:
    return AptRoot().fetch_debs(list(names), arch="arm64", suite="sid", pins=pins)


@pytest.mark.parametrize("pins", [None, {"xz_1_arm64.deb": SHA256}, {"y_1_arm64.deb": OTHER}])
def test_a_package_is_fetched_and_found_again(
    play: Play, tmp_path: Path, pins: dict[str, str] | None
) -> None:
    shown_deb(play)
    for _ in range(2):
        (path,) = debs("xz=1:1~a+b", pins=pins)
        assert path == tmp_path / "cache/archives/xz_1_arm64.deb"
        assert path.read_bytes() == CONTENT
    (call,) = play.asked("download")
    assert call.startswith("apt-get download xz=1:1~a+b -q")
    assert play.asked("show")[0] == "apt-cache show --no-all-versions xz=1:1~a+b"


@pytest.mark.parametrize("pins", [{"xz_0_arm64.deb": SHA256}, {"xz_1_arm64.deb": OTHER}])
def test_a_package_that_has_moved_on_is_told(play: Play, pins: dict[str, str]) -> None:
    shown_deb(play)
    with pytest.raises(SourceError, match=rf"sid now has xz_1_arm64\.deb with SHA-256 {SHA256}"):
        debs("xz", pins=pins)
    assert play.asked("download") == []


@pytest.mark.parametrize("shown", ["", "Filename: x_1.deb\n", f"SHA256: {SHA256}\n"])
def test_a_package_that_is_not_there_is_told(play: Play, tmp_path: Path, shown: str) -> None:
    play.says("shown", shown)
    with pytest.raises(SourceError, match="package 'xz' for arm64 is not in Debian sid") as caught:
        debs("xz")
    (folder,) = (tmp_path / "cache/apt").iterdir()
    assert str(folder) in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["x", "xz=1 2", "xz=$(id)", "xz=1;2", "xz==1"])
def test_what_is_no_name_or_no_version_never_reaches_apt(play: Play, name: str) -> None:
    shown_deb(play)
    with pytest.raises(SourceError, match="is not a Debian package name"):
        debs(name)
    assert play.asked("show") == []


# --- the mirror ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "mirror"),
    [
        ("http://a/debian/ Debian", "http://a/debian"),
        ("https://a/mirror/debian/ Other", "https://a/mirror/debian"),
        ("file:/srv/packages Debian", "file:/srv/packages"),
        ("http://security.a/debian-security/ Debian\nhttp://b/debian Debian", "http://b/debian"),
        ("cdrom://a/debian Debian\nhttp://x/ubuntu Ubuntu\nhttp://b/x Debian", "http://b/x"),
        ("http://a/debian Debian\nhttp://b/debian Debian", "http://a/debian"),
    ],
)
def test_the_mirror_is_the_first_that_the_hosts_apt_has_of_debian(
    play: Play, monkeypatch: pytest.MonkeyPatch, listed: str, mirror: str
) -> None:
    monkeypatch.delenv(apt.MIRROR_VARIABLE)
    play.says("targets", f"{listed}\n")
    assert debian_mirror() == mirror
    assert play.asked("indextargets")


@pytest.mark.parametrize("listed", ["", "http://x/ubuntu Ubuntu", "ftp://a/debian Debian"])
def test_a_host_without_debians_mirror_is_told_how_to_name_one(
    play: Play, monkeypatch: pytest.MonkeyPatch, listed: str
) -> None:
    monkeypatch.delenv(apt.MIRROR_VARIABLE)
    play.says("targets", f"{listed}\n")
    with pytest.raises(SourceError, match="names no Debian mirror") as caught:
        debian_mirror()
    assert apt.MIRROR_VARIABLE in (caught.value.hint or "")


@pytest.mark.parametrize("said", ["E: The list of sources could not be read.", ""])
def test_an_apt_of_the_host_that_fails_is_told_with_what_it_says(
    play: Play, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.delenv(apt.MIRROR_VARIABLE)
    play.says("apt-get", f"#!/bin/sh\necho '{said}' >&2\nexit 7\n")
    with pytest.raises(SourceError) as caught:
        debian_mirror()
    assert str(caught.value).startswith("apt-get indextargets ")
    assert str(caught.value).endswith(f" failed: {said or 'exit code 7'}")


@pytest.mark.parametrize("address", ["http://a/debian", "https://a/debian/", "file:/srv/debian//"])
def test_a_mirror_of_the_variable_is_taken_before_the_hosts(
    play: Play, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    play.says("targets", "http://host/debian Debian\n")
    monkeypatch.setenv(apt.MIRROR_VARIABLE, address)
    assert debian_mirror() == address.rstrip("/")
    assert play.asked("indextargets") == []
