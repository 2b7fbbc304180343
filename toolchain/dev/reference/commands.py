"""The commands of the command line, from Typer's own description of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from toolchain.cli.app import app
from toolchain.dev.reference.tables import table

_VALUES = {
    "str": "TEXT", "list[str]": "TEXT", "int range": "N", "float range": "X", "float": "X",
    "path": "PATH", "dir": "FOLDER", "file": "FILE",
}  # fmt: skip
"""What Typer calls a kind of value, to what stands for one."""
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")


def commands() -> str:
    """A section for each command: what it does, its arguments and options, examples."""
    return "\n\n".join(_section(path, command) for path, command in _walk("deploy", _root()))


def command_names() -> list[str]:
    """Every command, as it is typed."""
    return [path for path, _ in _walk("deploy", _root())]


def _root() -> Any:
    return get_command(app)


def _walk(path: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        here = f"{path} {name}"
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield here, command
        if hasattr(command, "commands"):
            yield from _walk(here, command)


def _section(path: str, command: Any) -> str:
    context = typer.Context(command, info_name=path)
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    usage = " ".join([path, *map(_argument, arguments), "[OPTION ...]"])
    help_text = re.sub(r"\\([<&])", r"\1", command.help or "")
    parts = [f"## `{path}`", help_text.strip(), f"```text\n{usage}\n```"]
    if arguments:
        rows = [(f"`{_value(one)}`", _text(one)) for one in arguments]
        parts.append(table(("argument", "meaning"), rows))
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    if options:
        told = [
            (_names(one, context), _default(one, context), _text(one) + _choices(one, context))
            for one in options
        ]
        parts.append(table(("option", "default", "meaning"), told))
    if examples := getattr(command, "examples", None):
        lines = "\n".join(f"$ {line}" for line in examples)
        parts.append(f"```console\n{lines}\n```")
    return "\n\n".join(parts)


def _value(argument: Any) -> str:
    # No renderer takes a bar within code in a table as it is meant.
    return str(argument.metavar or argument.name.upper()).replace("|", " or ")


def _argument(argument: Any) -> str:
    """How an argument is shown in the line of use."""
    value = _value(argument) + (" ..." if argument.nargs != 1 else "")
    return value if argument.required else f"[{value}]"


def _names(option: Any, context: Any) -> str:
    long_first = sorted(option.opts, key=lambda name: not name.startswith("--"))
    if option.secondary_opts:
        long_first = ["/".join([*long_first, *option.secondary_opts])]
    value = "" if option.is_flag else f" {_metavar(option, context)[0]}"
    return f"`{long_first[0]}{value}`" + "".join(f", `{name}`" for name in long_first[1:])


def _metavar(option: Any, context: Any) -> tuple[str, list[str]]:
    """What stands for a value, and the values that there are where they are few."""
    kind = str(option.display_type(context)).strip("<>")
    if "|" in kind:
        return "KIND", kind.split("|")
    return str(option.metavar or _VALUES.get(kind, kind)), []


def _choices(option: Any, context: Any) -> str:
    values = [] if option.is_flag else _metavar(option, context)[1]
    return f" One of {', '.join(f'`{value}`' for value in values)}." if values else ""


def _default(option: Any, context: Any) -> str:
    if option.required:
        return "required"
    if isinstance(option.show_default, str):
        return option.show_default
    value = option.get_default(context)
    if value is None or value is False or callable(value) or value == ():
        return ""
    if value is True:
        return str(option.opts[0])
    return f"`{value}`"


def _text(parameter: Any) -> str:
    text = re.sub(r"([<*_])", r"\\\1", _ESCAPED.sub(r"\1", parameter.help or ""))
    text += _limits(parameter.min, parameter.max)
    return text + (f" `${parameter.envvar}` sets another default." if parameter.envvar else "")


def _limits(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" From {low:g} to {high:g}."
    return "" if low is None else f" At least {low:g}."
