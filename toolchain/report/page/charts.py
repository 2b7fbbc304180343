"""The charts of a report."""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.report.page.chart import Chart
from toolchain.report.page.layers_chart import layers_chart
from toolchain.report.page.roofline_chart import roofline_chart
from toolchain.report.page.tradeoff_chart import tradeoff_chart
from toolchain.report.page.turns_chart import turns_chart
from toolchain.report.page.view import Report, Result


def charts_of(report: Report) -> list[Chart]:
    """Every chart of a report, in the order of the page."""
    several = len(report.results) > 1
    found: list[Chart] = []
    for number, result in enumerate(report.results, start=1):
        found += _charts(result, f"{number}-" if several else "")
    order = ("tradeoff", "turns", "layers", "roofline")
    return sorted(found, key=lambda chart: order.index(chart.section))


def _charts(result: Result, prefix: str) -> Iterator[Chart]:
    if all(one.cost for one in result.models):
        yield tradeoff_chart(result, prefix)
        yield turns_chart(result, prefix)
    if result.layers:
        yield layers_chart(result, prefix)
    if result.roofline:
        yield roofline_chart(result, result.roofline, prefix)
