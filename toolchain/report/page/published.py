"""Times that others published, as the user gives them: a CSV file.

The project brings none: such figures belong to whoever published them.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from toolchain.errors import ModelError
from toolchain.formats.text_file import read_text
from toolchain.report.page.view import PublishedRow

_NEEDED = ("model", "ms", "source")
_KNOWN = tuple(PublishedRow.model_fields)
_HINT = (
    "its first line is model,board,threads,type,ms,source, of which board, threads and type may be "
    "missing; model is the name of a model of the report, or any other"
)


def load_published(path: Path) -> list[PublishedRow]:
    """Read a CSV of published times.

    Raises:
        ModelError: the file cannot be read or a row has a fault; names the line.
    """
    rows: Any = csv.DictReader(io.StringIO(read_text(path, ModelError)), strict=True)
    try:
        names = [name.strip() for name in rows.fieldnames or []]
        rows.fieldnames = names
        if missing := [name for name in _NEEDED if name not in names]:
            raise ModelError(f"{path}: has no column {', '.join(missing)}", hint=_HINT)
        found = []
        for row in rows:
            known = {name: (row[name] or "").strip() for name in names if name in _KNOWN}
            found.append(PublishedRow.model_validate(known))
    except csv.Error as error:
        raise ModelError(f"{path}: line {rows.line_num}: {error}", hint=_HINT) from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = f"line {rows.line_num}: {'.'.join(map(str, fault['loc']))}"
        raise ModelError(f"{path}: {where}: {fault['msg']}", hint=_HINT) from error
    if not found:
        raise ModelError(f"{path}: has no row", hint=_HINT)
    return found
