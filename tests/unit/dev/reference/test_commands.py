"""The page of commands has every command, argument and option."""

from __future__ import annotations

from toolchain.dev.reference.commands import command_names, commands


def test_groups_are_walked() -> None:
    names = command_names()
    assert {"deploy build", "deploy emulator start", "deploy cache", "deploy cache clean"} <= {
        *names
    }
    assert "deploy emulator" not in names, "it does nothing by itself"


def test_an_option_has_its_value_default_and_limits() -> None:
    text = commands()
    assert "| `--board TEXT`, `-b` | `qemu` | Board name or file. |" in text
    assert "| `--inputs N`, `-n` | `3` | How many random inputs. At least 1. |" in text
    assert "| `--io KIND` | `float32` |" in text
    assert "One of `float32`, `int8`. |" in text
    assert "| `--icount/--no-icount` |" in text


def test_arguments_are_in_the_line_of_use() -> None:
    assert "```text\ndeploy profile MODEL ... [OPTION ...]\n```" in commands()


def test_examples_are_commands_to_copy() -> None:
    assert "```console\n$ deploy build --board rpi4\n" in commands()
