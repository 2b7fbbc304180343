"""``deploy compare``: whether results differ, and whether they go past a limit."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolchain.cli.command_help import App
from toolchain.cli.options import JsonOption, wrong_use
from toolchain.cli.output import note, say, show

if TYPE_CHECKING:
    from toolchain.profile.compare import Comparison
    from toolchain.profile.gate import Idle, Judgement, Rule

commands = App()


@commands.example(
    "deploy compare before.json after.json",
    "deploy compare before.json after.json --fail-if 'median > +3%' --fail-if 'size > 500kB'",
    "deploy compare after.json --baseline --policy tileskip-gate.toml",
)
def compare(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="BEFORE [AFTER ...]",
            help="Profiles of deploy profile --output, or what benchmark_model, benchncnn or "
            "ExecuTorch's Inspector said. Of one alone its models are compared.",
        ),
    ],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar="LIMIT",
            help="End with exit code 16 where a figure is past a limit; may be repeated.",
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="Limits in a file: tileskip-gate.toml."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="What may be past a limit by chance alone is, too."),
    ] = False,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline", help="Compare one profile with the latest earlier run in the history."
        ),
    ] = False,
    history: Annotated[
        Path | None,
        typer.Option(
            "--history",
            metavar="FILE",
            help="That --baseline reads.",
            show_default="where deploy profile keeps it",
        ),
    ] = None,
    per_op: Annotated[bool, typer.Option("--per-op", help="Compare layers as well.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Compare results, model by model: better, worse, or no change but for chance."""
    from toolchain.errors import ModelError
    from toolchain.formats.input_file import check_readable
    from toolchain.profile import gate
    from toolchain.report import compare_table

    if markdown and json_output:
        raise wrong_use("--json", "is no Markdown; leave one of the two away")
    if baseline and len(results) > 1:
        raise wrong_use("--baseline", "is what one profile is compared with; give one alone")
    if history and not baseline:
        raise wrong_use("--history", "is what --baseline reads; give both, or neither")
    rules, strict = _rules(fail_if or [], policy, strict=strict)
    for file in results:
        check_readable(file, ModelError, pipe=True)
    titles, found = _beside_history(results, history) if baseline else _compared(results)
    judgements = [one for comparison in found for one in gate.judge(rules, comparison)]
    without = list(gate.idle(rules, found))
    if markdown:
        text = compare_table.markdown(
            titles, found, judgements, without, strict=strict, per_op=per_op
        )
        say(text, fold=False)
    else:
        tables = [
            functools.partial(compare_table.comparison_table, one, title, per_op=per_op)
            for title, one in zip(titles, found, strict=True)
        ]
        if judgements:
            tables.append(functools.partial(compare_table.gate_table, judgements))
        show(_document(titles, found, judgements, without), *tables, json_output=json_output)
    for one in judgements:
        if one.outcome == "unclear" and not strict:
            note(f"unclear: {one.what}: may be past '{one.rule.text}' by chance", style="yellow")
    gate.require(judgements, without, strict=strict)


def _rules(texts: list[str], policy: Path | None, *, strict: bool) -> tuple[list[Rule], bool]:
    from toolchain.profile import gate

    rules, own = gate.read_policy(policy) if policy else ([], False)
    for text in texts:
        try:
            rules.append(gate.parse_rule(text))
        except ValueError as error:
            raise wrong_use("--fail-if", str(error)) from error
    return rules, strict or own


def _compared(results: list[Path]) -> tuple[list[str], list[Comparison]]:
    """What is compared in words, and the comparisons."""
    from toolchain.errors import ModelError
    from toolchain.profile.comparable import subjects_of, subjects_of_result
    from toolchain.profile.compare import compare_all
    from toolchain.profile.document import Profile
    from toolchain.profile.results import read_profile_or_result

    found = [read_profile_or_result(file) for file in results]
    sides = [
        subjects_of(one) if isinstance(one, Profile) else subjects_of_result(one) for one in found
    ]
    if len(results) > 1:
        titles = [f"{results[0].name} and {file.name}" for file in results[1:]]
        return titles, compare_all([(sides[0], after) for after in sides[1:]])
    (alone,) = sides
    first = alone[0]
    others = [one for one in alone[1:] if one.threads == first.threads]
    if not others:
        raise ModelError(
            f"{results[0]}: has one model, {first.model}: there is nothing to compare it with",
            hint="give a second result, or profile two models together",
        )
    titles = [f"{first.model} and {one.model}" for one in others]
    together = isinstance(found[0], Profile)
    return titles, compare_all([([first], [one]) for one in others], together=together)


def _beside_history(
    results: list[Path], history: Path | None
) -> tuple[list[str], list[Comparison]]:
    from toolchain.profile.comparable import baseline_of, subjects_of
    from toolchain.profile.compare import compare
    from toolchain.profile.document import load_profile
    from toolchain.profile.history import default_path

    profile = load_profile(results[0])
    before = baseline_of(profile, history or default_path())
    return [f"history and {results[0].name}"], [compare(before, subjects_of(profile))]


def _document(
    titles: list[str],
    found: list[Comparison],
    judgements: list[Judgement],
    without: list[Idle],
) -> dict[str, object]:
    return {
        "comparisons": [
            {
                "title": title,
                "comparable": not one.obstacles,
                "obstacles": one.obstacles,
                "changes": [change.row() for change in one.changes],
                "operators": [change.row() for change in one.operators],
                "notes": one.notes,
            }
            for title, one in zip(titles, found, strict=True)
        ],
        "limits": [
            {
                "limit": one.rule.text,
                "model": one.change.model,
                "figure": one.change.figure,
                "operator": one.change.operator,
                "outcome": one.outcome,
            }
            for one in judgements
        ],
        "limits_of_nothing": list(dict.fromkeys(one.rule.text for one in without)),
    }
