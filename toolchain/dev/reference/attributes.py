"""What the source says of a class's attributes: the text that stands below each."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap

_CODE = re.compile(r"``([^`]*)``")
_ROLE = re.compile(r":\w+:`~?([^`]*)`")


def attribute_docs(kind: type) -> dict[str, str]:
    """Attribute to its text, as Markdown on one line; those of base classes too.

    Args:
        kind: a class whose source is at hand.
    """
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("toolchain."):
            found |= _own(base)
    return found


def _own(kind: type) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 - it is the source of a class
    found = {}
    for item, after in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            found[item.target.id] = markdown(after.value.value)
    return found


def markdown(text: str) -> str:
    """A docstring's text as Markdown on one line."""
    return _ROLE.sub(r"`\1`", _CODE.sub(r"`\1`", " ".join(text.split())))
