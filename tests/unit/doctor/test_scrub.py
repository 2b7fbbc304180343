"""What tells who and where is taken out of any text; what helps to mend something stays."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.openssh import make_key, shell
from toolchain.board import keys
from toolchain.doctor.known_names import KnownNames
from toolchain.doctor.scrub import PUBLIC_PATHS, Scrubber

KNOWN = KnownNames.of(
    users=["gwendolyn", "hugo", "jo", "Gwendolyn Fairfax"],
    hosts=["lab-17", "zeus", "build.example-lab.org"],
    paths=["/data/gwendolyn/my work", "/opt/secret boards/mine.toml"],
    secrets=["hunter2!", "s3cr3t value"],
)


def scrubbed(text: str) -> str:
    return Scrubber(KNOWN).text(text)


# --- each kind, in every surrounding -------------------------------------------------------

SURROUNDINGS = (
    "{}", "error: {} failed", "({})", "'{}'", '"{}"', "`{}`", "<{}>", "[{}]", "{}:", "{}, {}",
    "a={}", "--file={}", "\t{}\t{}", "x;{};y", "at {}.", "is {}!", "{}: cannot be read",
    "to {}; from {}", "ssh -t {} 'echo'", "set {} is 5\r", "\x1b[31m{}\x1b[0m", "|{}|",
    "é {} ü", "say:{}",
)  # fmt: skip
WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=5, max_size=12).map("zq".__add__)
NAMES = st.text(
    st.characters(codec="utf-8", categories=["L", "N"], include_characters="_-.+"), min_size=4
).map("zq".__add__)


def in_all(secret: str) -> list[str]:
    return [text.replace("{}", secret) for text in SURROUNDINGS]


def check_gone(texts: Iterable[str], *secrets: str) -> None:
    """Nothing of this is left of any of these texts."""
    for text, result in zip(texts, scrubbed("\n".join(texts)).split("\n"), strict=True):
        for secret in secrets:
            assert secret not in result, text


@given(address=st.ip_addresses(v=4))
def test_ipv4_addresses_are_taken_out(address: ipaddress.IPv4Address) -> None:
    shown = str(address)
    check_gone([*in_all(shown), f"{shown}:22", f"pi@{shown}: no", f"x{shown}y"], shown)


@given(address=st.ip_addresses(v=6), zone=st.sampled_from(["", "%eth0", "%wlan-1"]))
def test_ipv6_addresses_are_taken_out_however_they_are_written(
    address: ipaddress.IPv6Address, zone: str
) -> None:
    if address == ipaddress.ip_address("::"):
        return  # what stands between names of C++, and tells nothing
    for shown in {address.compressed, address.exploded, address.exploded.upper()}:
        whole = f"{shown}{zone}"
        more = (f"[{whole}]:22", f"pi@[{whole}]:22", f"ssh://pi@[{whole}]/")
        check_gone([*in_all(whole), *more], shown, zone or shown)


@given(octets=st.lists(st.integers(0, 255), min_size=6, max_size=6))
def test_mac_addresses_are_taken_out(octets: list[int]) -> None:
    pairs = [f"{octet:02x}" for octet in octets]
    words = ["".join(pairs[place : place + 2]) for place in (0, 2, 4)]
    for shown in (":".join(pairs), "-".join(pairs), ":".join(pairs).upper(), ".".join(words)):
        check_gone(in_all(shown), shown)


@given(user=WORDS, host=WORDS, domain=st.sampled_from(["example.org", "uni-x.de", "co.uk", "lan"]))
def test_mail_addresses_and_logins_are_taken_out(user: str, host: str, domain: str) -> None:
    for shown in (f"{user}@{host}", f"{user}@{host}.{domain}", f"{user}.x+y@{host}.{domain}",
                  f"DOMAIN\\{user}@{host}", f"{user}@{host}.{domain}:22"):  # fmt: skip
        check_gone(in_all(shown), user, host)


@given(host=WORDS, login=WORDS, secret=WORDS, path=WORDS)
def test_of_an_address_of_the_web_the_scheme_and_the_port_stay(
    host: str, login: str, secret: str, path: str
) -> None:
    for shown in (f"https://{host}.example.org/{path}/{path}.git?token={secret}",
                  f"http://{login}:{secret}@{host}:8080/{path}", f"ssh://{login}@{host}/~/{path}",
                  f"git+ssh://{login}@{host}.org:22/{path}#{secret}", f"file:///srv/{path}",
                  f"HTTPS://{host}"):  # fmt: skip
        check_gone(in_all(shown), host, login, secret, path)
    assert scrubbed(f"http://{host}:8080/{path}") == "http://<host-1>:8080<path-1>"


@given(parts=st.lists(NAMES, min_size=2, max_size=5), begin=st.sampled_from(
    ["/", "/home/", "~/", "~zquser/", "/usr/lib/", "/mnt/my disk/"]
))  # fmt: skip
def test_no_part_of_an_absolute_path_is_left(parts: list[str], begin: str) -> None:
    path = begin + "/".join(parts)
    suffix = Path(path).suffix
    secrets = [left for part in parts if len(left := part.removesuffix(suffix)) >= 4]
    more = (f"-I{path} -c", f"-L{path}", f"{path}:12:5: error: x", f"{path}:{path}", f"x@{path}",
            f"CMakeFiles/a.dir/home/{path.lstrip('~/')}.o")  # fmt: skip
    check_gone([*in_all(path), *more], *secrets)


@given(parts=st.lists(WORDS, min_size=2, max_size=4))
def test_paths_with_blanks_are_taken_out_whole_in_quotes(parts: list[str]) -> None:
    path = "/srv/" + " ".join(parts) + "/" + " ".join(parts)
    for text in (f"'{path}' is bad", f'open("{path}")', f"`{path}`"):
        assert not any(part in scrubbed(text) for part in parts), text


def test_paths_with_blanks_are_taken_out_where_a_slash_follows_or_the_file_is_there(
    tmp_path: Path,
) -> None:
    assert scrubbed("open /srv/a zqproject b/x.toml: no") == "open <path-1>.toml: no"
    file = tmp_path / "my zqnetwork v2.tflite"
    file.write_bytes(b"")
    assert scrubbed(f"{file}: is damaged") == "<path-1>.tflite: is damaged"
    assert scrubbed(f"{file}.") == "<path-1>.tflite."


def test_known_paths_are_taken_out_with_what_is_below_them_wherever_they_stand() -> None:
    assert scrubbed("/data/gwendolyn/my work/a/b.py: no") == "<path-1>.py: no"
    assert scrubbed("x.dir/data/gwendolyn/my work/a.cc.o") == "x.dir<path-1>.o"
    assert scrubbed("/opt/secret boards/mine.toml: isa: wrong") == "<path-1>.toml: isa: wrong"


@given(value=st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0189!$%&/()=?+*-_.", min_size=6))
def test_what_is_given_as_a_secret_is_taken_out(value: str) -> None:
    word = f"zq{value}"
    check_gone(
        [f"GITHUB_TOKEN='{word}'", f'password = "{word}"', f"api-key: '{word}'",
         f'{{"client_secret": "{word}"}}', f"AWS_ACCESS_KEY='{word}'"], word,
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "--token {}", "--my-password {} --x", "Authorization: Bearer {}", "authorization: Basic {}",
        "Cookie: {}", "PGPASSWD={}", "x.access_token={}&y=1", "passphrase: {}", "ghp_{}", "sk-{}",
        "github_pat_{}", "AKIA{upper}", "xoxb-{}", "hf_{}", "glpat-{}", "eyJ{}.eyJ{}.{}",
    ],
)  # fmt: skip
def test_tokens_are_taken_out_by_their_looks(text: str) -> None:
    secret = "zq5f6a7b8c9d0e1f2a3b4c5d6e7f"  # noqa: S105 - planted, to be looked for
    result = scrubbed(text.replace("{upper}", secret.upper()).replace("{}", secret))
    assert secret not in result.lower()


@given(before=st.text(max_size=5), after=st.text(max_size=5), secret=st.sampled_from(KNOWN.secrets))
def test_secrets_of_the_environment_are_taken_out_wherever_they_stand(
    before: str, after: str, secret: str
) -> None:
    assert secret not in scrubbed(f"{before}{secret}{after}")


def test_keys_of_every_form_are_taken_out(tmp_path: Path) -> None:
    for kind in ("ed25519", "rsa", "ecdsa"):
        file = make_key(tmp_path / kind, kind=kind)
        private, public = file.read_text(), Path(f"{file}.pub").read_text()
        pem = shell(f"ssh-keygen -e -m PEM -f {file} 2>/dev/null || true")
        told = shell(f"ssh-keygen -lf {file}"), shell(f"ssh-keygen -lE md5 -f {file}")
        for text in (private, public, pem, f"pi {public}", *told):
            result = scrubbed(f"before\n{text}\nafter")
            for run in re.findall(r"[A-Za-z0-9+/]{16,}|(?:[0-9a-f]{2}:){8,}", text):
                assert run not in result, (kind, run)
            assert result.startswith("before\n")
            assert result.endswith("\nafter")


@pytest.mark.parametrize(
    "kept", [range(1, 99), range(3), range(2, 5)], ids=["end", "begin", "middle"]
)
def test_a_key_of_which_a_log_has_a_part_is_taken_out(kept: range, tmp_path: Path) -> None:
    lines = make_key(tmp_path / "key", kind="rsa").read_text().splitlines()
    part = [line for number, line in enumerate(lines) if number in kept]
    result = scrubbed("\n".join(["before", *part]))
    for line in part:
        if "-----" not in line:
            assert line[:20] not in result


def test_a_line_of_a_key_is_taken_out_whole_whatever_it_looks_like() -> None:
    line = "Zk4GxM2bYt0QpL7vW9cRj3HsNaE6uKdX1oTfIy8mBgPiVhCwJrSzAqDlUe5nFOZk4GxM2b"
    for look in ("+/", "//", "/", "/+"):
        for at in range(0, len(line) - len(look), 3):
            told = line[:at] + look + line[at + len(look) :]
            result = scrubbed(f"before\n{told}\nafter")
            left = [run for run in re.findall("[A-Za-z0-9]{12,}", told) if run in result]
            assert not left, (told, result)


def test_fingerprints_and_hashed_hosts_are_taken_out() -> None:
    blob = keys.generate().public.split()[1].encode()
    print_ = keys.fingerprint(blob)
    assert scrubbed(f"it is now {print_}, on record is {print_}") == (
        "it is now <fingerprint-1>, on record is <fingerprint-1>"
    )
    assert "JfKTdBh7" not in scrubbed(
        "|1|JfKTdBh7rNbXkVAQCRp4OQoPfmI=|USECr3SWf1JUPsms5AqfD5QfxkM= x"
    )


# --- names that are known here -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gwendolyn", "hugo", "zeus", "lab-17", "Gwendolyn Fairfax"])
@pytest.mark.parametrize("change", [str, str.upper, str.title])
def test_known_names_are_taken_out_in_any_case(name: str, change: type[str]) -> None:
    for text in (*in_all(change(name)), f"my_{change(name)}-board", f"%2F{change(name)}%2F"):
        assert name.lower() not in scrubbed(text).lower(), text


def test_long_names_are_taken_out_of_the_middle_of_words_and_short_ones_are_not() -> None:
    assert "gwendolyn" not in scrubbed("xgwendolynx")
    assert scrubbed("hugolin joy a zeusx") == "hugolin joy a zeusx"
    assert scrubbed("by jo") == "by <user-1>"


def test_names_that_are_told_as_such_are_taken_out_though_nobody_knows_them() -> None:
    assert scrubbed("refuses user 'q'") == "refuses user '<user-1>'"
    assert scrubbed("the host 'zqhost' is off") == "the host '<host-1>' is off"
    assert "zq" not in scrubbed(
        "ssh: Could not resolve hostname zqhost: no; connect to host zqb port 22"
    )
    assert scrubbed("at zqhost.fritz.box and ntp.zqhost.org") == "at <host-1> and <host-2>"


def test_a_boards_file_tells_neither_host_nor_user_nor_folder() -> None:
    text = 'isa = "aarch64"\n[ssh]\nhost = "zqlab"\nuser="zqme"\n  directory = "zqdir/x" # c\n'
    result = scrubbed(text)
    assert "zq" not in result
    assert 'isa = "aarch64"\n[ssh]\nhost = "<host-1>"' in result
    assert "zq" not in scrubbed("host = \"zqme@zqlab:2222\"\nhost = 'zqlab'\n")


# --- placeholders --------------------------------------------------------------------------------


def test_equal_things_get_equal_placeholders_in_all_texts() -> None:
    scrubber = Scrubber(KNOWN)
    first = scrubber.text("pi@zeus: /srv/a.log, /srv/b.log, 10.0.0.7")
    assert first == "<user-1>@<host-1>: <path-1>.log, <path-2>.log, <address-1>"
    second = scrubber.text("ZEUS, 10.0.0.8, /srv/b.log, 10.0.0.7, hugo@zeus")
    assert second == "<host-1>, <address-2>, <path-2>.log, <address-1>, <user-2>@<host-1>"


def test_letters_that_placeholders_are_made_of_meanwhile_are_not_taken_for_one() -> None:
    assert scrubbed("\ue000\ue010\ue001 at 10.0.0.7") == "??? at <address-1>"


@given(st.text())
@example("\x1f@0")
def test_any_text_is_borne_and_what_was_taken_out_stays_out(text: str) -> None:
    once = scrubbed(text)
    assert not re.search("[\ue000-\uf8ff]", once)
    assert scrubbed(once) == once


@given(st.text("/~.:'\"@-=| \nab0f<>%[](){}\\ue000", max_size=200))
def test_any_punctuation_is_borne(text: str) -> None:
    scrubbed(text)


@pytest.mark.parametrize(
    "letter",
    ["a", ":", "/", "A1a", "a/ ", "-----BEGIN A-----", "x@", "..", "1.", "f:", "AAAA", "'/"],
)
def test_long_texts_take_no_time_that_grows_with_their_square(letter: str) -> None:
    """What took a second for this would take a day for a log; it ends, or the test hangs."""
    scrubbed(letter * (100_000 // len(letter)))


# --- what stays ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "deploy build --board rpi4", "build/rpi4 is no bundle: there is no such folder",
        "libtileskip_delegate.so needs glibc 2.36, the board has 2.31", "3 of 4 cores",
        "g++ (Debian 12.2.0-14+deb12u1) 12.2.0", "Linux-6.1.0-50-cloud-arm64", "12:34:56",
        "its clock is read from hpet", "std::vector<int>", "{anonymous}::Delegate",
        "docs/how-to/x.md", "and/or, N/A",
        "[38/46] Building CXX object programs/CMakeFiles/a.dir/operators/b.cc.o",
        "../src/tensorflow/lite/c.cc:12:5: warning: 'x' is deprecated [-Wdeprecated]",
        "undefined reference to `pthread_create@GLIBC_2.34'", "-march=armv8-a -O2", "a & b",
        "0369a327e79ba15f0369a327e79ba15f0369a327e79ba15f0369a327e79ba15f", "python3.11 -m pip",
        "was not asked: the board is not reached",
        "protected by a passphrase, and held by no agent",
        "toolchain.dev.bench", "the host key is not on record", "root", "user 'root'",
    ],
)  # fmt: skip
def test_what_helps_to_mend_something_stays_as_it_is(text: str) -> None:
    assert scrubbed(text) == text


@pytest.mark.parametrize("path", sorted(PUBLIC_PATHS))
def test_paths_that_are_the_same_everywhere_stay(path: str) -> None:
    text = f"ssh -t pi@zeus 'echo performance | sudo tee {path}'"
    assert path in scrubbed(text)
    assert path not in scrubbed(f"{path}/zqmore")


def test_what_a_terminal_would_act_on_is_written_as_plain_letters() -> None:
    assert scrubbed("\x1b[31mred\x1b[0m \x9b31m \x1b]0;title\x07 a\u202eb\r\nc\td") == (
        "red \\x9b31m  a\\u202eb\nc\td"
    )


def test_documents_keep_their_form() -> None:
    document = {"a": [1, None, True, "/srv/x.py"], "token": "zqvalue", "pi@zeus": {"n": 1.5}}
    assert Scrubber(KNOWN).value(document) == {
        "a": [1, None, True, "<path-1>.py"], "token": "<secret-1>", "<user-1>@<host-1>": {"n": 1.5},
    }  # fmt: skip
