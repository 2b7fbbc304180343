"""GoogleTest's output is counted right: what ran, what was skipped, what failed."""

from __future__ import annotations

from toolchain.build.xnnpack_tests import _result

PASSED = """[==========] Running 2 tests from 1 test suite.
[ RUN      ] A.one
[       OK ] A.one (0 ms)
[==========] 2 tests from 1 test suite ran. (3 ms total)
[  PASSED  ] 2 tests.
"""
FAILED = """[==========] Running 3 tests from 2 test suites.
[ RUN      ] A.two
[  FAILED  ] A.two (1 ms)
[ RUN      ] B.p/1
[  FAILED  ] B.p/1, where GetParam() = 4 (1 ms)
[==========] 3 tests from 2 test suites ran. (3 ms total)
[  PASSED  ] 0 tests.
[  SKIPPED ] 1 test, listed below:
[  SKIPPED ] A.three
[  FAILED  ] 2 tests, listed below:
[  FAILED  ] A.two
[  FAILED  ] B.p/1, where GetParam() = 4

 2 FAILED TESTS
"""


def test_shards_are_added_up() -> None:
    result = _result("x", [PASSED, PASSED], 1.0)
    assert (result.ran, result.skipped, result.failed) == (4, 0, ())


def test_failed_tests_are_named_once_each() -> None:
    result = _result("x", [PASSED, FAILED], 1.0)
    assert (result.ran, result.skipped) == (5, 1)
    assert result.failed == ("A.two", "B.p/1")
