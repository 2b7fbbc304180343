"""GoogleTest's output is counted right: what ran, what was skipped, what failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.build.compiler import Compiler
from toolchain.build.sanitizers import FOUND
from toolchain.dev.xnnpack_tests import _result, run_tests
from toolchain.errors import BuildError

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


NATIVE = Compiler("x86-64", "gcc", "g++", "strip", "g++ 12", cross=False)


def write_program(folder: Path, output: str, errors: str, status: int) -> None:
    """The test program ``x-test``: says both, ends with ``status``."""
    (folder / "output").write_text(output)
    (folder / "errors").write_text(errors)
    program = folder / "x-test"
    program.write_text(f"#!/bin/sh\ncd {folder}\ncat output\ncat errors >&2\nexit {status}\n")
    program.chmod(0o755)


def test_a_program_that_failed_a_test_is_counted(tmp_path: Path) -> None:
    write_program(tmp_path, FAILED, "", 1)
    (result,) = run_tests(tmp_path, NATIVE, tests=["x"])
    assert (result.ran, result.failed) == (3, ("A.two", "B.p/1"))


@pytest.mark.parametrize("output", [PASSED, PASSED[:90]], ids=["after", "during"])
def test_what_a_sanitizer_found_is_shown_whenever_it_was(tmp_path: Path, output: str) -> None:
    report = "==1==ERROR: LeakSanitizer: detected memory leaks\nDirect leak of 8 bytes\n"
    write_program(tmp_path, output, "a warning\n" + report, FOUND)
    with pytest.raises(BuildError) as caught:
        run_tests(tmp_path, NATIVE, tests=["x"])
    assert caught.value.what.endswith(f"x-test ended with {FOUND}:\n{report.strip()}")


def test_the_last_lines_of_a_crashed_program_are_shown(tmp_path: Path) -> None:
    write_program(tmp_path, PASSED[:90], "", 139)
    with pytest.raises(BuildError, match=r"x-test ended with 139:\n[^$]*A\.one"):
        run_tests(tmp_path, NATIVE, tests=["x"])
