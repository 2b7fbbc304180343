"""Lines of known_hosts, as OpenSSH reads them; ``ssh-keygen -F`` is the reference for names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.board import known_hosts

ED25519 = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMzrW1kq8dOMzp7aTyoHEjdhLC2QBAGM6WtGFjc9AzBw"
)  # fmt: skip


def read(path: Path, text: str) -> known_hosts.KnownHosts:
    path.write_text(text)
    return known_hosts.read([path])


@pytest.mark.parametrize(
    ("names", "host", "expected"),
    [
        ("pi", "pi", True),
        ("PI,10.0.0.7", "pi", True),
        ("pi,10.0.0.7", "10.0.0.7", True),
        ("pi", "pi.lab", False),
        ("*.lab", "pi.lab", True),
        ("*.lab", "lab", False),
        ("pi?", "pi4", True),
        ("pi?", "pi", False),
        ("*.lab,!gate.lab", "pi.lab", True),
        ("*.lab,!gate.lab", "gate.lab", False),
        ("!gate.lab,*.lab", "gate.lab", False),
        ("!gate.lab", "pi.lab", False),
        ("[pi]:2222", "[pi]:2222", True),
        ("[pi]:2222", "pi", False),
        ("[10.0.0.*]:2222", "[10.0.0.7]:2222", True),
        ("[1]", "1", False),
        ("p.", "pi", False),
        ("fe80::1", "fe80::1", True),
    ],
)
def test_names_match_as_in_openssh(names: str, host: str, expected: bool) -> None:
    assert known_hosts.matches(names, host) is expected


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(
        st.text(st.sampled_from("ab.*?!"), min_size=1, max_size=5), min_size=1, max_size=3
    ),
    host=st.text(st.sampled_from("ab."), min_size=1, max_size=4),
)
def test_any_pattern_matches_what_openssh_finds(
    names: list[str], host: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = ",".join(names)
    path = tmp_path_factory.mktemp("k") / "known_hosts"
    path.write_text(f"{text} {ED25519}\n")
    asked = ["ssh-keygen", "-F", host, "-f", str(path)]
    found = subprocess.run(asked, capture_output=True, check=False).returncode == 0
    assert known_hosts.matches(text, host) is found


@pytest.mark.parametrize("host", ["pi.lab", "[pi.lab]:2222"])
def test_hashed_names_are_understood(tmp_path: Path, host: str) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"{host} {ED25519}\n")
    hashing = ["ssh-keygen", "-q", "-H", "-f", str(path)]
    subprocess.run(hashing, check=True, capture_output=True)
    found = known_hosts.read([path])
    assert path.read_text().startswith("|1|")
    assert len(found.of(host)) == 1
    assert not found.of("other")


UNUSABLE = {
    "SSH-1": "pi 1024 35 1409376291",
    "damaged": "pi ssh-ed25519 AAAA!broken",
    "cut off": "pi ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
    "another kind within": f"pi ssh-rsa {ED25519.split()[1]}",
    "no key": "pi",
    "an unknown marker": f"@later pi {ED25519}",
    "a marker alone": "@revoked",
    "no text": "\xff\xfe\x00",
}


@pytest.mark.parametrize("line", UNUSABLE.values(), ids=UNUSABLE)
def test_a_line_that_cannot_be_used_keeps_no_other_from_being_read(
    tmp_path: Path, line: str
) -> None:
    path = tmp_path / "known_hosts"
    path.write_bytes(f"{line}\npi {ED25519} comment\n".encode("latin-1"))
    found = known_hosts.read([path])
    assert [record.line for record in found.of("pi")] == [2]
    assert [number for _, number, _ in found.unusable] == [1]


def test_comments_and_blank_lines_are_nothing(tmp_path: Path) -> None:
    found = read(tmp_path / "known_hosts", f"# mine\n\n   \n\t pi\t{ED25519}\r\n")
    assert len(found.records) == 1
    assert not found.unusable


def test_markers_keep_records_apart(tmp_path: Path) -> None:
    found = read(
        tmp_path / "known_hosts",
        f"@cert-authority *.lab {ED25519}\n@revoked * {ED25519}\npi.lab {ED25519}\n",
    )
    assert [record.line for record in found.of("pi.lab", "@cert-authority")] == [1]
    assert [record.line for record in found.of("pi.lab", "@revoked")] == [2]
    assert [record.line for record in found.of("pi.lab")] == [3]


def test_files_that_are_not_there_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(f"pi {ED25519}\n")
    found = known_hosts.read([tmp_path / "absent", tmp_path, Path("/dev/null"), tmp_path / "one"])
    assert len(found.records) == 1
