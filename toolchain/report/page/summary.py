"""What ``deploy report`` prints: what came out, and what was written."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from toolchain.report.fitting import note
from toolchain.report.page.view import Report


def report_summary(report: Report, written: Mapping[str, str]) -> RenderableType:
    """The headline of each result, the files that were written, and what could not be shown.

    Args:
        report: what was made.
        written: files, each with what is in it.
    """
    others = [result for result in report.results if result is not report.leading]
    lines = [Text(result.headline.text) for result in (report.leading, *others)]
    lines += [Text(f"{name}: {what}", no_wrap=True) for name, what in written.items()]
    lines += [note(said) for said in (*report.notes, *report.mask_notes)]
    return Group(*lines)
