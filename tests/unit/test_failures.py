from __future__ import annotations

import pytest

from toolchain.errors import (
    BoardError,
    BundleError,
    ConnectionFailed,
    ModelError,
    OutputError,
)
from toolchain.failures import Failures


def test_a_bad_one_ends_its_own_work_alone() -> None:
    failures, done = Failures(), []
    for name in ("a", "b", "c"):
        with failures.of(name):
            if name == "b":
                raise ModelError("b: cannot be read", hint="look at b")
            done.append(name)
    assert done == ["a", "c"]
    assert failures.rows() == [{"model": "b", "error": "b: cannot be read"}]
    with pytest.raises(ModelError, match=r"^b: cannot be read$") as caught:
        failures.require()
    assert caught.value.hint == "look at b"


def test_several_bad_ones_are_all_told_with_the_code_of_the_first() -> None:
    failures = Failures()
    for name, kind in (("a", BoardError), ("b", ModelError)):
        with failures.of(name):
            raise kind(f"{name}: failed", hint="the same")
    with pytest.raises(BoardError, match="a: failed; b: failed") as caught:
        failures.require()
    assert caught.value.hint == "the same"


def test_each_hint_has_a_line_of_its_own() -> None:
    failures = Failures()
    with failures.of("a"):
        raise ModelError("a: failed", hint="look at a")
    with failures.kept():
        raise BundleError("no bundle", hint="run: deploy build --board b")
    with pytest.raises(BundleError) as caught:
        failures.require()
    assert caught.value.hint == "look at a\n  hint: run: deploy build --board b"


@pytest.mark.parametrize("stop", [ConnectionFailed("the board went away"), KeyboardInterrupt()])
def test_what_ends_the_work_is_raised_after_what_was_done_is_shown(stop: BaseException) -> None:
    failures, done = Failures(), []
    with failures.kept():
        for name in ("a", "b"):
            with failures.of(name):
                if name == "b":
                    raise stop
                done.append(name)
    assert done == ["a"]
    with pytest.raises(type(stop)):
        failures.require()


def test_a_lost_connection_does_not_hide_a_bad_model() -> None:
    failures = Failures()
    with failures.kept():
        with failures.of("a"):
            raise ModelError("a: cannot be read")
        raise ConnectionFailed("the board went away")
    with pytest.raises(ConnectionFailed, match="a: cannot be read; the board went away"):
        failures.require()


def test_an_output_that_fails_is_told_at_the_end() -> None:
    failures = Failures()
    with failures.of_output("p.json"):
        raise OutputError("p.json: cannot be written")
    with pytest.raises(OutputError):
        failures.require()


def test_without_failures_nothing_is_raised() -> None:
    failures = Failures()
    with failures.kept(), failures.of("a"):
        pass
    failures.require()


def test_a_defect_of_ours_is_no_failure_of_a_model() -> None:
    failures = Failures()
    with pytest.raises(ZeroDivisionError), failures.of("a"):
        raise ZeroDivisionError
