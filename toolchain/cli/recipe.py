"""``deploy recipe``: recipes of training, written from a look at data and network."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchain.cli import bars
from toolchain.cli.command_help import App, complete
from toolchain.cli.options import BundleOption, JsonOption, board_option, network_names, wrong_use
from toolchain.cli.output import ask, can_ask, show

if TYPE_CHECKING:
    from torch import Tensor, nn

    from toolchain.progress import Progress
    from toolchain.train.new_recipe import Chooser

commands = App(
    help="Recipes of training: from a dense network to a masked one.",
    no_args_is_help=True,
    epilog="deploy recipe new",
)

POLICIES = ("random", "pooled", "lattice", "tile", "magnitude")
KERNELS = ("all", "not-1x1", "3x3")
"""What recipes know, which needs torch; a test holds the two together."""
_DATA = "a folder of images, fashion-mnist, or package.module:function"
_MODEL = "a network of the zoo, timm:NAME, torchvision:NAME, or package.module:function"


@commands.callback()
def recipe() -> None:
    """Recipes of training: from a dense network to a masked one."""


@commands.example(
    "deploy recipe new --data photos --model resnet18",
    "deploy recipe new --data photos --model my_nets:net --weights dense.pt --board rpi4",
    "deploy recipe new --data photos --model resnet18 --board rpi4 --target '30% less time'",
    "deploy recipe new",
)
def new(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Option("--data", "-d", metavar="DATA", help=f"What to train on: {_DATA}.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NETWORK",
            help=f"What to train: {_MODEL}.",
            autocompletion=complete(network_names),
        ),
    ] = None,
    argument: Annotated[
        list[str] | None,
        typer.Option(
            "--argument",
            metavar="NAME=VALUE",
            help="Of the network's factory, such as pretrained=true; may be repeated.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="Checkpoint of the dense network; own for the weights that it is made with. "
            "Without it, a recipe for the dense network is written, too.",
        ),
    ] = None,
    weights_key: Annotated[
        str | None,
        typer.Option(
            "--weights-key", metavar="KEY", help="Which weights of a checkpoint with several."
        ),
    ] = None,
    sparsity: Annotated[
        float,
        typer.Option(
            "--sparsity",
            "-s",
            min=0,
            max=0.95,
            help="Share of pixels to mask; 0 writes the dense recipe alone.",
        ),
    ] = 0.2,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="TEXT",
            help="Choose the sparsity by estimates on --board: '30% less time'.",
        ),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            metavar="NAME",
            help="How masks are drawn: pooled (the paper's), lattice, tile, random or magnitude.",
        ),
    ] = "pooled",
    kernels: Annotated[
        str | None,
        typer.Option(
            "--kernels",
            metavar="KIND",
            help="Convolutions to mask: all, not-1x1 or 3x3.",
            show_default="3x3 where they do most of the work, else all",
        ),
    ] = None,
    board: Annotated[
        str | None,
        board_option("Board name or file: masks are rounded to its tiles where that gains."),
    ] = None,
    bundle: BundleOption = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            min=1,
            help="Height and width of a folder's images.",
            show_default="what the network was made for, or less",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, help="Of each recipe.", show_default="by the size of the data"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The masked recipe; the dense one lies beside it.",
            show_default="NETWORK_sPERCENT.toml",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace recipes that are there.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Write recipes that make a masked network of a dense one.

    Data and network are looked at: the number and the size of the images choose batch, epochs and
    learning rate. Each line of a recipe has its reason behind it. Without `--weights` of a network
    that was trained on this data, two recipes are written: the dense network, and the masked one
    that starts from it and learns from it.

    On a terminal and without any option, the command asks. A network that is named as
    `package.module:function` is code, which is run.
    """
    from toolchain import extras
    from toolchain.errors import OutputError
    from toolchain.hardware.board_file import load_board
    from toolchain.storage.files import check_name

    if not _any_given(context) and can_ask():
        data, model, weights, board, masks = _asked()
        target = masks if "%" in masks else None
        sparsity = sparsity if target else float(masks)
    if data is None or model is None:
        raise _missing(data, model)
    if output is not None:
        check_name(output, OutputError)
    if board is not None:
        load_board(board)
    if bundle is not None and target is None:
        raise wrong_use("--bundle", "is what --target estimates with")
    arguments = dict(map(_argument, argument or []))
    _check_choices(policy, kernels)
    extras.require("deploy recipe", "train")
    chooser = None
    if target is not None:
        chooser = _chooser(context, target, board, bundle, bars.progress(quiet=json_output))
    from toolchain.report.recipe_table import new_recipes_table
    from toolchain.train.new_recipe import Wish, new_recipes

    wish = Wish(
        data=data,
        model=model,
        output=output,
        arguments=arguments,
        weights=weights,
        weights_key=weights_key,
        image_size=image_size,
        sparsity=sparsity,
        policy=policy,
        kernels=kernels,
        board=board,
        epochs=epochs,
        replace=replace,
    )
    done = new_recipes(wish, bars.progress(quiet=json_output), chooser)
    show(done, lambda width: new_recipes_table(done, width), json_output=json_output, fold=False)


def _chooser(
    context: typer.Context,
    target: str,
    board: str | None,
    bundle: Path | None,
    progress: Progress,
) -> Chooser:
    """Chooses the sparsity by what the network would take on a board."""
    from toolchain import extras
    from toolchain.board.invoke import load_bundle
    from toolchain.hardware.board_file import load_board
    from toolchain.profile.estimator import Estimator
    from toolchain.profile.time_target import estimated_time, parse_target, sparsity_for

    source = context.get_parameter_source("sparsity")
    if source is not None and source.name != "DEFAULT":
        raise wrong_use("--target", "chooses the sparsity: leave --sparsity away")
    if board is None:
        raise wrong_use("--target", "needs --board, on which times are estimated")
    try:
        less = parse_target(target)
    except ValueError as error:
        raise wrong_use("--target", str(error)) from error
    extras.require("deploy recipe new --target", "convert", "train")
    chosen = load_board(board)
    estimator = Estimator(load_bundle(chosen, bundle), chosen, threads=chosen.threads)

    def choose(network_at: Callable[[float], nn.Module], example: Tensor) -> tuple[float, str]:
        time_of = estimated_time(estimator, network_at, example, progress)
        found, tried = sparsity_for(less, time_of)
        saved = 1 - found.ms / tried[0].ms
        return found.sparsity, (
            f"{tried[0].ms:.3g} ms become {found.ms:.3g} ms on {chosen.name}, estimated: "
            f"{saved:.0%} less, {less:.0%} asked for"
        )

    return choose


def _missing(data: str | None, model: str | None) -> typer.BadParameter:
    told = {"--data": (data, _DATA), "--model": (model, _MODEL)}
    wanted = {option: what for option, (given, what) in told.items() if given is None}
    said = "; ".join(f"{option} names {what}" for option, what in wanted.items())
    have = "has" if len(wanted) == 1 else "have"
    return wrong_use(" and ".join(wanted), f"{have} to be given: {said}")


def _any_given(context: typer.Context) -> bool:
    """Whether any option stands on the command line."""
    sources = (context.get_parameter_source(name) for name in context.params)
    return any(source is not None and source.name != "DEFAULT" for source in sources)


def _asked() -> tuple[str, str, str | None, str | None, str]:
    """Data, network, weights, board, and a sparsity or a target; each has a default."""
    from toolchain.zoo.catalog import ZOO

    data = ask(f"Images to train on: {_DATA}", default=_likely_data(), check=_check_data)
    fashion = data == "fashion-mnist"
    model = ask(
        f"Network: {_MODEL}",
        default="fashion_resnet_dense" if fashion else "resnet18",
        check=_check_model,
    )
    ready = model in ZOO and ZOO[model].weights == data
    weights = ask(
        "Checkpoint of the dense network, trained on these images; own for the weights that it is "
        "made with; none to train it first",
        default="own" if ready else "none",
        check=_check_weights,
    )
    board = ask("Board: a name of deploy boards, or none", default="rpi4", check=_check_board)
    masks = ask(
        "Share of each layer's pixels to skip, 0 to 0.95"
        + ("" if board == "none" else f"; or a time to reach on {board}: 30% less time"),
        default="0.2",
        check=functools.partial(_check_masks, has_board=board != "none"),
    )
    return (
        data,
        model,
        None if weights == "none" else weights,
        None if board == "none" else board,
        masks,
    )


def _likely_data() -> str:
    """A folder here that is laid out as images of classes are, else what can be fetched."""
    from contextlib import suppress

    with suppress(OSError):
        for folder in sorted(path for path in Path().iterdir() if path.is_dir()):
            inside = [path for path in folder.iterdir() if path.is_dir()]
            if not folder.name.startswith(".") and len(inside) > 1 and _holds_images(inside[0]):
                return folder.name
    return "fashion-mnist"


def _holds_images(folder: Path) -> bool:
    """Whether it, or the first folder in it, holds a file that ends like an image."""
    endings = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
    first = sorted(folder.iterdir())[:50]
    if any(path.suffix.lower() in endings for path in first):
        return True
    inner = [path for path in first if path.is_dir()]
    return bool(inner) and any(
        path.suffix.lower() in endings for path in sorted(inner[0].iterdir())[:50]
    )


def _check_data(text: str) -> str | None:
    if text == "fashion-mnist" or ":" in text or Path(text).expanduser().is_dir():
        return None
    return f"there is no folder '{text}'"


def _check_model(text: str) -> str | None:
    from toolchain.hints import did_you_mean
    from toolchain.zoo.catalog import ZOO

    if ":" in text or text in ZOO:
        return None
    return did_you_mean(text, ZOO, f"there is no network '{text}'; deploy models lists them")


def _check_weights(text: str) -> str | None:
    if text in ("none", "own") or Path(text).expanduser().is_file():
        return None
    return f"there is no file '{text}'"


def _check_masks(text: str, *, has_board: bool) -> str | None:
    if "%" in text:
        from toolchain.profile.time_target import parse_target

        if not has_board:
            return "a time needs a board"
        try:
            parse_target(text)
        except ValueError as error:
            return f"'{text}': {error}"
        return None
    try:
        good = 0 <= float(text) <= 0.95
    except ValueError:
        good = False
    return None if good else f"'{text}' is no number from 0 to 0.95"


def _check_board(text: str) -> str | None:
    from toolchain.errors import BoardConfigError
    from toolchain.hardware.board_file import load_board

    if text == "none":
        return None
    try:
        load_board(text)
    except BoardConfigError as error:
        return error.what
    return None


def _check_choices(policy: str, kernels: str | None) -> None:
    from toolchain.hints import did_you_mean

    for option, given, known in (
        ("--policy", policy, POLICIES),
        ("--kernels", kernels, KERNELS),
    ):
        if given is not None and given not in known:
            meant = did_you_mean(given, known, f"there are {', '.join(known)}")
            raise wrong_use(option, f"'{given}' is not known; {meant}")


def _argument(text: str) -> tuple[str, Any]:
    """``name=value``; a value is a truth, a number, or else a text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise wrong_use("--argument", f"takes NAME=VALUE, not '{text}'")
    if value in ("true", "false"):
        return name, value == "true"
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value
