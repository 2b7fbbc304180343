"""Roles of Sphinx in docstrings become code: the site shows docstrings as Markdown.

An extension of Griffe, which `make docs` loads; see .zensical.toml.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

_ROLE = re.compile(r":[a-z]+:`~?([^`]*)`")


class DocstringRoles(Extension):
    """Changes docstrings as they are read."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r"`\1`", obj.docstring.value)
