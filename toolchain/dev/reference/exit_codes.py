"""The exit codes, from the classes of errors."""

from __future__ import annotations

from toolchain import console, errors
from toolchain.dev.reference.attributes import markdown
from toolchain.dev.reference.tables import table

_OTHERS = {
    0: "Done.",
    1: "A question was answered with no; or a defect of this program, which ends with a traceback.",
    2: "Wrong use of the command line.",
    130: "Interrupted, as by Ctrl-C.",
    console.READER_GONE: "What read the output has gone, as after a pipe into `head`.",
    143: "Terminated.",
}
"""Those that no class of error has."""


def exit_codes() -> str:
    """A row for each code."""
    rows = dict(_OTHERS)
    for kind in vars(errors).values():
        if not isinstance(kind, type) or not issubclass(kind, errors.DeployError):
            continue
        if kind is not errors.DeployError:
            rows[kind.exit_code] = markdown(kind.__doc__ or "")
    return table(("code", "meaning"), [(f"{code}", rows[code]) for code in sorted(rows)])
