"""``deploy cache``: what the cache holds, and its cleaning."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from toolchain.cli.command_help import App
from toolchain.cli.options import JsonOption, KindOption, wrong_use
from toolchain.cli.output import note, print_json, say, show
from toolchain.cli.removal import (
    AllOption,
    DryRunOption,
    MaxSizeOption,
    OlderThanOption,
    YesOption,
    ask_for_removal,
    limits,
)
from toolchain.console import out

commands = App(
    help="What the cache holds: sources, compiled parts, images, data sets; and its cleaning.",
    invoke_without_command=True,
    epilog="deploy cache\ndeploy cache clean --older-than 30d",
)


@commands.callback()
def cache(
    context: typer.Context,
    kind: KindOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show what the cache holds: sizes, when it was last used, and who uses it now.

    The cache is `$TILESKIP_CACHE`, or `tileskip` among the user's caches.
    """
    if context.invoked_subcommand is not None:
        for option, given in (("--kind", kind), ("--json", json_output)):
            if given:
                raise wrong_use(option, f"give it after '{context.invoked_subcommand}'")
        return
    from toolchain.report.cache_table import cache_table
    from toolchain.storage import cache_content
    from toolchain.storage.cache import cache_dir

    _check_kinds(kind or [])
    items = cache_content.content(kind or [])
    show(
        {
            "cache": str(cache_dir()),
            "bytes": sum(item.bytes for item in items),
            "entries": [item.document() for item in items],
        },
        lambda width: cache_table(items, width, title=str(cache_dir())),
        json_output=json_output,
        fold=False,
    )


@commands.example(
    "deploy cache clean --older-than 30d",
    "deploy cache clean --max-size 5GB --dry-run",
    "deploy cache clean --kind datasets --yes",
)
def clean(
    older_than: OlderThanOption = None,
    max_size: MaxSizeOption = None,
    kind: KindOption = None,
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    json_output: JsonOption = False,
) -> None:
    """Remove what the limits say, and in any case what programs that were killed have left.

    What another program uses stays. What is removed is fetched or made again when it is needed.
    `--kind` alone removes all of that kind.
    """
    from toolchain.errors import OutputError
    from toolchain.report.cache_table import cache_table, size_text
    from toolchain.storage import cache_content

    age, most = limits(older_than, max_size, everything=everything)
    _check_kinds(kind or [])
    limited = age is not None or most is not None
    wanted = cache_content.chosen(
        cache_content.content(kind or []),
        everything=everything or (bool(kind) and not limited),
        older_than=age,
        max_size=most,
    )
    free = [item for item in wanted if item.used_by is None]
    if not json_output and free:
        out.print(cache_table(free, out.width), soft_wrap=True)
    freed = size_text(sum(item.bytes for item in free))
    if not dry_run and free and not yes:
        ask_for_removal(f"Remove this from the cache, {freed}?", can_ask=not json_output)
    done = cache_content.Removal(free, [item for item in wanted if item.used_by], [])
    if not dry_run:
        done = cache_content.remove(wanted)
    if json_output:
        print_json({"dry_run": dry_run, **done.document()})
    else:
        for item in done.kept:
            note(f"{item.kind}/{item.short_name} stays: in use by {item.used_by or 'a program'}")
        said = "would be removed" if dry_run else "removed"
        say(f"{said}: {size_text(done.freed)}")
    if done.faults:
        raise OutputError(
            "\n".join(f"{fault}: cannot be removed" for fault in done.faults),
            hint="remove it as the user who owns it",
        )


def _check_kinds(kinds: Sequence[str]) -> None:
    from toolchain.hints import did_you_mean
    from toolchain.storage import cache_content

    known = cache_content.kinds()
    for kind in kinds:
        if kind not in known:
            meant = did_you_mean(kind, known) or f"there are: {', '.join(known) or 'none'}"
            raise wrong_use("--kind", f"the cache has nothing of the kind '{kind}'; {meant}")
