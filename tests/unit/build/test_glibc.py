"""Which version of a symbol a library is linked with so that it loads on an older glibc."""

from __future__ import annotations

import pytest

from toolchain.build.glibc import Symbol, Version, newest, parse_version

SYMBOLS = [
    Symbol("pthread_create", (2, 34), function=True, size=8),
    Symbol("pthread_create", (2, 17), function=True, size=8),
    Symbol("exp", (2, 29), function=True, size=8),
    Symbol("exp", (2, 2, 5), function=True, size=8),
    Symbol("arc4random", (2, 36), function=True, size=8),
    Symbol("stdout", (2, 17), function=False, size=8),
]


@pytest.mark.parametrize(
    ("floor", "expected"),
    [
        ((2, 17), {"pthread_create": (2, 17), "exp": (2, 2, 5), "stdout": (2, 17)}),
        ((2, 31), {"pthread_create": (2, 17), "exp": (2, 29), "stdout": (2, 17)}),
        ((2, 36), {"pthread_create": (2, 34), "exp": (2, 29), "stdout": (2, 17),
                   "arc4random": (2, 36)}),
        ((2, 2), {}),
    ],
)  # fmt: skip
def test_of_each_symbol_the_newest_that_is_old_enough(
    floor: Version, expected: dict[str, Version]
) -> None:
    found = newest(SYMBOLS, floor)
    assert {item.name: item.version for item in found} == expected
    assert [item.name for item in found] == sorted(expected)


def test_versions_are_numbers() -> None:
    assert parse_version("2.9") < parse_version("2.31") < parse_version("2.31.1")
    with pytest.raises(ValueError, match="invalid literal"):
        parse_version("2.x")
