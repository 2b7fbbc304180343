"""Times and sizes are read as people write them."""

from __future__ import annotations

import pytest

from toolchain.quantities import byte_count, seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [("30d", 30 * 86400), ("12h", 43200), ("2w", 1209600), ("1.5 h", 5400), ("0m", 0)],
)
def test_times(text: str, count: float) -> None:
    assert seconds(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [("5GB", 5 * 10**9), ("5 gb", 5 * 10**9), ("2GiB", 2 << 30), ("1.5k", 1500), ("7", 7),
     ("0", 0), ("1TB", 10**12)],
)  # fmt: skip
def test_sizes(text: str, count: int) -> None:
    assert byte_count(text) == count


@pytest.mark.parametrize(
    "text", ["", "d", "30", "-1d", "1e9d", "nan", "30days", "٣d", "9" * 5000 + "d", "1" * 18 + "w"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no time; write 10m"):
        seconds(text)


@pytest.mark.parametrize("text", ["", "GB", "5q", "-5GB", "inf", "5GB5", "9" * 18 + "TB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size; write 5GB"):
        byte_count(text)
