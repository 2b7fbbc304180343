"""What a ``-march`` asks of a board's cores, as this machine's compiler says it."""

from __future__ import annotations

import pytest

from toolchain.build.compiler import find_compiler
from toolchain.build.hwcap import required_features
from toolchain.errors import BuildError


@pytest.mark.parametrize(
    ("march", "names"),
    [
        ("x86-64", {"sse2"}),
        ("x86-64-v2", {"sse2", "pni", "ssse3", "sse4_1", "sse4_2", "popcnt"}),
        ("haswell", {"avx2", "fma", "bmi2", "f16c", "movbe", "sse2"}),
    ],
)
def test_the_features_of_a_march(march: str, names: set[str]) -> None:
    found = required_features(find_compiler("x86-64"), march)
    assert names <= set(found)
    assert len(found) == len(set(found))
    assert ("avx2" in found) == ("avx2" in names)


def test_a_march_that_the_compiler_does_not_know_is_told() -> None:
    with pytest.raises(BuildError, match="does not take -march=pdp-11") as caught:
        required_features(find_compiler("x86-64"), "pdp-11")
    assert "board's file" in (caught.value.hint or "")
