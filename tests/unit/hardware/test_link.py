from __future__ import annotations

import pytest

from toolchain.hardware.link import Link, parse_link


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("20ms,1%", Link(0.02, 0.01)),
        ("1%, 20 ms", Link(0.02, 0.01)),
        ("0.5s", Link(0.5)),
        ("20ms,1%,10Mbit", Link(0.02, 0.01, 10e6)),
        ("512kbit/s", Link(rate=512e3)),
        ("2.5%", Link(loss=0.025)),
    ],
)
def test_a_link_is_read_in_any_order(text: str, link: Link) -> None:
    assert parse_link(text) == link


@pytest.mark.parametrize("text", ["20ms,1%,10Mbit", "20ms", "1%", "512kbit", "0ms", "1.5Gbit"])
def test_what_is_written_is_read_again(text: str) -> None:
    assert str(parse_link(text)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no part of a link"),
        ("20", "is no part of a link"),
        ("fast", "'fast' is no part of a link; write a delay"),
        ("-20ms", "is no part of a link"),
        ("20ms,30ms", "has two of one kind"),
        ("20ms,", "is no part of a link"),
        ("11s", "at most 10s"),
        ("51%", "at most 50%"),
        ("100bit", "at least 1kbit"),
        ("1e3ms", "is no part of a link"),
        ("\u0661ms", "is no part of a link"),
    ],
)
def test_what_is_no_link_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_link(text)
