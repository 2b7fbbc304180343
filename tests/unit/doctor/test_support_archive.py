"""What is in a support archive, and that nothing of who and where is, whatever file had it."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

from support.openssh import make_key
from support.places import REPOSITORY
from support.played_board import PlayedBoard
from toolchain.board.target import SshTarget
from toolchain.build.stages import log_folder
from toolchain.doctor import known_names
from toolchain.doctor.examination import Examination
from toolchain.doctor.finding import Diagnosis, Findings
from toolchain.doctor.patient import Patient
from toolchain.doctor.support_archive import (
    FOLDER,
    check_archive,
    contents,
    look_line,
    write_archive,
)
from toolchain.errors import BoardError, OutputError
from toolchain.hardware.board_file import load_board

SECRETS = {
    "user": "gwendolyn",
    "full_name": "Gwendolyn Fairfax",
    "short_user": "hugo",
    "own_host": "zqthinkbox",
    "board_host": "zqpi-7",
    "board_user": "zqcarol",
    "jump": "zqgate.example.org",
    "address": "192.168.178.93",
    "address6": "fe80::ba27:ebff:fe12:3456",
    "mac": "b8:27:eb:12:34:56",
    "mail": "cecily.zqcardew@example.com",
    "folder": "zqsecret-project",
    "password": "correct-horse-zq",
    "variable": "zq0c1d2e3f4a5b",
    "token": "ghp_zqzqzqzqzqzqzqzqzqzqzqzq",
    "fingerprint": "SHA256:uXvABCDEFGHIJ0123456789abcdefghijklmnopqrstu",
    "board": "zqboard",
}
TEXT = """\
{board} ({board_user}@{board_host}): no answer; ssh -t {board_user}@{board_host} 'sudo ls'
by {user} ({full_name}), {short_user} on {own_host}.fritz.box, {own_host}
cannot reach {address} port 22, [{address6}%eth0]:22, {mac}; {jump}
/home/{user}/{folder}/x.py:3: and ~/{folder}/y, -I/opt/{folder} '/srv/{folder}/a b'
x.dir/home/{user}/{folder}/a.cc.o {mail} {fingerprint}
https://{user}:{password}@{jump}/{folder}.git {token}
PASSWORD={password} and {variable} by itself
""".format(**SECRETS)
HERE = Findings("host")


@pytest.fixture
def private(place: Path) -> str:
    """All secrets as they may stand in a text, with a key of either kind."""
    key = make_key(place / "key")
    return f"{TEXT}{Path(f'{key}.pub').read_text()}{key.read_text()}"


@pytest.fixture
def examination(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    private: str,
    patient: Patient,
    played: PlayedBoard,
) -> Examination:
    """One of a board that has secrets wherever a text of others may have some."""
    names = SECRETS
    (place / "passwd").write_text(
        f"root:x:0:0::/root:\n{names['user']}:x:1001:1:{names['full_name']},,,:/home/x:/bin/sh\n"
        f"{names['short_user']}:x:1002:1::/home/y:/bin/sh\nbroken\n"
    )
    (place / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {names['own_host']} # me\n")
    monkeypatch.setattr(known_names, "_PASSWD", place / "passwd")
    monkeypatch.setattr(known_names, "_HOSTS", place / "hosts")
    monkeypatch.setenv("MY_API_KEY", names["variable"])
    text = (REPOSITORY / "boards/rpi4.toml").read_text().replace(
        "threads = 4", "# " + private.replace("\n", "\n# ") + "\nthreads = 4"
    )  # fmt: skip
    folder = place / "user" / names["folder"]
    folder.mkdir()
    host = f"{names['board_user']}@{names['board_host']}"
    (folder / "zqboard.toml").write_text(f'{text}\n[ssh]\nhost = "{host}"\ndirectory = "zqdir"\n')
    log_folder().mkdir(parents=True)
    (log_folder() / "xnnpack-0123.log").write_text(private)
    (log_folder() / f"of {names['user']}.log").write_text("\x1b[1m" + private.replace(" ", "\0 "))
    played.file("proc/device-tree/model", f"Pi of {names['full_name']} {names['address']}\0")
    played.file(
        "proc/cpuinfo", f"processor: 0\nmodel name: {names['board_host']}\nflags: zqcarol\n"
    )
    played.program("cmake", f"echo cmake of {names['user']} at /opt/{names['folder']}")
    made = Examination(load_board(str(folder / "zqboard.toml")))
    made.target = SshTarget(
        names["board_host"], names["board_user"], jump=SshTarget(names["jump"], "zqcarol")
    )
    made.findings = [
        HERE.fault(f"bundle {names['board']}", BoardError, private, run=private),
        HERE.warning("memory", "little is free", advice=private),
    ]
    made.facts = patient.facts()
    return made


def members(path: Path) -> dict[str, bytes]:
    """Each name in an archive, with what it holds."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path, "r:gz") as packed:
        found = {}
        for item in packed.getmembers():
            stream = packed.extractfile(item)
            assert stream is not None
            found[item.name] = stream.read()
        return found


@pytest.mark.parametrize("name", ["support.tar.gz", "support.zip", "SUPPORT.ZIP"])
def test_nothing_that_is_private_is_in_an_archives_bytes(
    place: Path, examination: Examination, private: str, name: str
) -> None:
    path = place / name
    write_archive(path, examination)
    packed = path.read_bytes()
    if name.endswith(".gz"):
        everything = gzip.decompress(packed)
    else:
        everything = b"\n".join(members(path).values()) + "\n".join(members(path)).encode()
    keys = [line for line in private.splitlines() if len(line) > 40 and " " not in line[:40]]
    keys += [word for word in private.split() if word.startswith("AAAA")]
    assert len(keys) >= 6
    for secret in (*SECRETS.values(), *keys, str(place), os.fspath(Path.cwd())):
        assert secret.lower().encode() not in (everything + packed).lower(), secret
    assert b"zq" not in everything.lower()


def test_equal_things_have_one_placeholder_in_all_files(examination: Examination) -> None:
    files = contents(examination)
    texts = {name: data.decode() for name, data in files.items()}
    (login,) = {
        line.split("(")[1].split(")")[0]
        for line in texts["board-file.toml"].splitlines()
        if "no answer" in line
    }
    for name in ("findings.json", "board-file.toml", "logs/xnnpack-0123.log"):
        assert login in texts[name], name
    assert login.startswith("<user-")


def test_it_holds_what_helps(examination: Examination) -> None:
    files = contents(examination)
    assert list(files)[:4] == [
        "findings.json", "versions.json", "board-facts.json", "board-file.toml",
    ]  # fmt: skip
    found = Diagnosis.model_validate_json(files["findings.json"])
    assert found.findings[0].check.startswith("bundle <")
    assert found.exit_code == 8
    assert found.findings[1].what == "little is free"
    versions = json.loads(files["versions.json"])
    assert set(versions) == {
        "tool", "python", "system", "machine", "distribution", "programs", "packages",
    }  # fmt: skip
    assert versions["packages"]["numpy"]
    assert versions["programs"]["cmake"].startswith("cmake of <user-")
    assert json.loads(files["board-facts.json"])["memory_total_kib"] == 3_884_000
    board = tomllib.loads(files["board-file.toml"].decode())
    assert (board["isa"], board["tile"]["rows"]) == ("aarch64", 4)
    assert "logs/xnnpack-0123.log" in files


def test_without_a_board_there_is_no_file_of_one(place: Path) -> None:
    del place
    assert list(contents(Examination(None))) == ["findings.json", "versions.json"]


def test_of_logs_the_last_lines_of_the_newest_are_kept(place: Path) -> None:
    del place
    log_folder().mkdir(parents=True)
    for number in range(12):
        path = log_folder() / f"log-{number:02}.log"
        path.write_text("".join(f"line {line}\n" for line in range(1000)))
        os.utime(path, (number, number))
    logs = {name: data for name, data in contents(Examination(None)).items() if "logs/" in name}
    assert sorted(logs) == [f"logs/log-{number:02}.log" for number in range(4, 12)]
    lines = logs["logs/log-11.log"].decode().splitlines()
    assert (len(lines), lines[-1]) == (200, "line 999")


def test_of_a_long_log_no_half_line_is_kept(place: Path) -> None:
    """Half of a secret might not be known for what it is."""
    del place
    log_folder().mkdir(parents=True)
    (log_folder() / "a.log").write_text("PASSWORD=" + "zqx" * 200_000 + "\nthe end\n")
    assert contents(Examination(None))["logs/a.log"] == b"the end\n"


def test_a_line_without_end_is_cut_after_it_was_cleaned(place: Path) -> None:
    del place
    log_folder().mkdir(parents=True)
    (log_folder() / "a.log").write_text("x " * 990 + "/srv/zqsecret/zqproject/zqfile " + "y" * 5000)
    (line,) = contents(Examination(None))["logs/a.log"].decode().splitlines()
    assert line.endswith("...")
    assert len(line) == 2003
    assert "zq" not in line


def test_what_is_no_log_is_left_alone(place: Path) -> None:
    (place / "outside").write_text("zqsecret")
    log_folder().mkdir(parents=True)
    (log_folder() / "link.log").symlink_to(place / "outside")
    os.mkfifo(log_folder() / "pipe.log")
    (log_folder() / "folder.log").mkdir()
    (log_folder() / "bad.log").write_bytes(b"\xff\xfe\0a\0b\n")
    os.utime(log_folder() / "bad.log", (1, 1))
    for number in range(10):  # none of these takes its place among the newest
        (log_folder() / f"newer-{number}.log").mkdir()
    assert list(contents(Examination(None)))[2:] == ["logs/bad.log"]


def test_a_log_without_a_name_that_may_stay_has_another(place: Path) -> None:
    del place
    log_folder().mkdir(parents=True)
    (log_folder() / "<>|:").write_text("x\n")
    assert contents(Examination(None))["logs/log"] == b"x\n"


# --- the archive itself ------------------------------------------------------------------------


def test_an_archive_says_nothing_of_its_maker(place: Path) -> None:
    path = place / "zqname.tar.gz"
    write_archive(path, Examination(None))
    assert path.read_bytes()[3] & 0x08 == 0, "gzip's own name of the file"
    with tarfile.open(path) as archive:
        for item in archive.getmembers():
            assert (item.uid, item.gid, item.uname, item.gname) == (0, 0, "", "")
            assert abs(item.mtime - time.time()) < 86400
            assert item.name.startswith(f"{FOLDER}/")
    assert b"zqname" not in gzip.decompress(path.read_bytes())


@pytest.mark.parametrize("name", ["a.tar.gz", "a b.zip"])
def test_the_line_that_shows_an_archive_shows_all_of_it(place: Path, name: str) -> None:
    path = place / name
    files = write_archive(path, Examination(None))
    assert set(members(path)) == {f"{FOLDER}/{one}" for one in files}
    assert sum(files.values()) == sum(map(len, members(path).values()))
    assert look_line(path).endswith("| less")
    assert str(path) in look_line(path)


def test_a_place_that_cannot_be_written_is_told_before_anything_is_asked(place: Path) -> None:
    (place / "folder").mkdir()
    for name, said in (
        ("x.tgz", "ends in .tar.gz or in .zip"),
        ("build", "ends in .tar.gz or in .zip"),
        ("none/x.zip", "mkdir -p"),
        ("folder", "bundles of a runtime"),
    ):
        with pytest.raises(OutputError) as caught:
            check_archive(place / name)
        assert said in f"{caught.value.what} {caught.value.hint}"
    for name in ("x.zip", "x.TAR.GZ"):
        check_archive(place / name)
    assert sorted(path.name for path in place.iterdir() if path.suffix in (".zip", ".GZ")) == []


def test_a_device_is_written_to_and_stays_one(place: Path) -> None:
    """A pipe gets an archive of the kind that has no name of its own."""
    del place
    check_archive(Path("/dev/null"))
    write_archive(Path("/dev/null"), Examination(None))
    assert Path("/dev/null").is_char_device()
