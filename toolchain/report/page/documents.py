"""Documents that a report is made of, and everything that is given beside them.

Whoever adds a kind of document adds a line to :data:`READERS` and a module that makes
:class:`~toolchain.report.page.view.Result` of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import toolchain
from toolchain.errors import ModelError, first_line
from toolchain.foreign_text import harmless
from toolchain.formats.json_text import loads, parse_json
from toolchain.formats.text_file import read_text
from toolchain.profile.document import Profile
from toolchain.profile.estimate_document import Estimate
from toolchain.report.page.estimated import result_of_estimate
from toolchain.report.page.measured import results_of_profile
from toolchain.report.page.swept import results_of_sweep
from toolchain.report.page.view import Masks, PublishedRow, Report, Result, Source, boards_of
from toolchain.sweep.document import SweepResults

Accuracies = Mapping[str, float]
_HINT = (
    "a report is of what deploy profile or deploy estimate writes with --output, or of sweep.json"
)


def _of_profile(text: str, path: Path, accuracies: Accuracies) -> Iterator[Result]:
    profile = parse_json(Profile, text, ModelError, f"{path}: is no profile", hint=_HINT)
    yield from results_of_profile(profile, path.name, accuracies)
    for estimate in profile.estimates:
        yield result_of_estimate(estimate, path.name, accuracies)


def _of_estimate(text: str, path: Path, accuracies: Accuracies) -> Iterator[Result]:
    estimate = parse_json(Estimate, text, ModelError, f"{path}: is no estimate", hint=_HINT)
    yield result_of_estimate(estimate, path.name, accuracies)


def _of_sweep(text: str, path: Path, accuracies: Accuracies) -> Iterator[Result]:
    found = parse_json(SweepResults, text, ModelError, f"{path}: is no sweep", hint=_HINT)
    yield from results_of_sweep(found, path.name, accuracies)


Reader = Callable[[str, Path, Accuracies], Iterator[Result]]
READERS: Mapping[str, Reader] = {
    "measurements": _of_profile,
    "timing_model": _of_estimate,
    "configurations": _of_sweep,
}
"""A key that only one kind of document has, and what reads that kind."""


def read_document(path: Path, accuracies: Accuracies) -> tuple[Source, list[Result]]:
    """Read a document of any known kind.

    Args:
        path: of the file.
        accuracies: of models, 0 to 1, by their names.

    Raises:
        ModelError: it cannot be read, or is no such document; names the first fault.
    """
    text = read_text(path, ModelError)
    try:
        content = loads(text)
    except ValueError as error:
        raise ModelError(f"{path}: is no JSON: {error}", hint=_HINT) from error
    keys = content if isinstance(content, dict) else {}
    reader = next((reader for key, reader in READERS.items() if key in keys), None)
    if reader is None:
        raise ModelError(f"{path}: is neither a profile, an estimate nor a sweep", hint=_HINT)
    try:
        results = list(reader(text, path, accuracies))
    except (ArithmeticError, LookupError, ValueError) as error:
        # A document of the right form may say what no board does: a layer of no pixels.
        raise ModelError(
            f"{path}: has figures that make no sense: {first_line(error)}", hint=_HINT
        ) from error
    source = Source(
        file=path.name,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        schema=keys.get("schema", 1),
        text=text,
    )
    return source, results


def make_report(
    documents: Sequence[tuple[Source, list[Result]]],
    accuracies: Accuracies,
    *,
    masks: Sequence[Masks] = (),
    mask_notes: Sequence[str] = (),
    published: Sequence[PublishedRow] = (),
    title: str | None = None,
) -> Report:
    """Put together what was read.

    Args:
        documents: what :func:`read_document` gave of each.
        accuracies: that it was given; those of no model are told in a note.
        masks: of models.
        mask_notes: on models whose masks are not shown.
        published: times of others.
        title: of the page; by default the names of the boards.
    """
    results = [result for _, found in documents for result in found]
    shown = [model.name for one in results for model in one.models]
    lost = sorted(
        name
        for name in accuracies
        if not any(model == name or model.startswith(f"{name} (") for model in shown)
    )
    notes = []
    if lost:
        notes.append(f"Accuracies of no model of this report: {', '.join(map(harmless, lost))}.")
    return Report(
        tool=toolchain.__version__,
        title=title or boards_of(results),
        results=results,
        sources=[source for source, _ in documents],
        masks=list(masks),
        published=list(published),
        notes=notes,
        mask_notes=list(mask_notes),
    )
