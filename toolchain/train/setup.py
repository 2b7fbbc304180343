"""From a recipe to what is trained: the model, its masks, their search, and the loss.

Everything that can be wrong with a recipe shows here, before any training starts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolchain.errors import DeployError, ModelError, RecipeError, failure
from toolchain.factory import make_module
from toolchain.hardware.board_file import load_board
from toolchain.sparsity.checkpoint import (
    has_pruned_channels,
    load_checkpoint,
    load_metadata,
    load_model,
)
from toolchain.sparsity.distillation import Distillation
from toolchain.sparsity.masked_conv import MASK_SUFFIX, own_mask_entries, summary
from toolchain.sparsity.policies import (
    LatticePolicy,
    Magnitude,
    Policy,
    Pooled,
    Random,
    TilePolicy,
    TileRows,
)
from toolchain.sparsity.pruning import prune_channels
from toolchain.sparsity.resize import resize_to
from toolchain.sparsity.schedule import PolynomialSchedule
from toolchain.sparsity.search import MaskSearch
from toolchain.sparsity.selection import KERNELS, select_layers
from toolchain.sparsity.sparsify import MaskSet, sparsify
from toolchain.sparsity.state_dicts import Matched, match
from toolchain.sparsity.targets import by_pattern
from toolchain.train.batches import Augment, Batches, in_turn, mirror, seeded, shift
from toolchain.train.data import Data
from toolchain.train.ranks import Ranks
from toolchain.train.recipe import DataSet, Masks, Recipe, place
from toolchain.train.recipe import Distillation as Teaching
from toolchain.train.rounding import Planner, Rounding, plan_rounding
from toolchain.zoo import catalog, libraries
from toolchain.zoo.init import initialise

_SHIFT = 0.08
"""Of the image's height: how far ``shift`` moves it; 2 pixels of 28."""


class CrossEntropy(nn.Module):
    """The plain loss of a classifier."""

    def forward(self, logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:  # noqa: ARG002
        """Logits ``[N, classes]`` and labels ``[N]`` to a scalar."""
        return functional.cross_entropy(logits, labels)


@dataclass(frozen=True, eq=False)
class Student:
    """What a run trains."""

    factory: str
    """``package.module:function`` that makes the model."""
    model: nn.Module
    """With masks laid on that keep every pixel yet."""
    search: MaskSearch | None
    """``None`` where the recipe has no masks."""
    loss: nn.Module
    """``loss(logits, labels, images)``."""
    pruned: bool
    """Whether channels were pruned, by this recipe or in the weights that it starts from."""
    tile_rows: TileRows
    """That kept pixels are rounded to; see :class:`toolchain.sparsity.policies.Policy`."""
    rounding: Rounding | None = None
    """What was decided by the plan of a board; ``None`` where the recipe names none."""
    notes: tuple[str, ...] = ()
    """Which weights of the checkpoints were taken, where they hold several."""

    def sparsity(self) -> float:
        """The share of masked pixels, a mean over the masked layers; 0 without any."""
        layers = summary(self.model)
        return sum(layer.sparsity for layer in layers) / len(layers) if layers else 0.0


def build_student(
    recipe: Recipe,
    data: Data,
    *,
    base: Path | None = None,
    resume_from: Mapping[str, Tensor] | None = None,
    rounding: Rounding | None = None,
    planner: Planner | None = None,
) -> Student:
    """Make the model of a recipe, prune it, lay masks on it and try it on one image.

    Args:
        recipe: what to make.
        data: what it will be trained on.
        base: the folder that relative paths, of weights and of a board's file, start from, and
            whose modules a factory may name.
        resume_from: the model's state_dict in a saved state, whose channel counts the model gets;
            its values are for :meth:`toolchain.train.trainer.Trainer.load_state_dict`.
        rounding: that was decided when the run began; it is not decided anew.
        planner: asks the runtime of the recipe's board which masks gain by being rounded.

    Raises:
        ModelError: the factory or its weights have a fault, the model does not take the data's
            images or has another number of classes, or no layer can be masked as asked for.
        BoardConfigError: there is no such board.
        RecipeError: in a run of so many steps the masks would be final before they begin to grow.
    """
    factory = network_factory(recipe.model.factory)
    seed = recipe.training.seed
    model = make_network(recipe, base)
    factory = libraries.without_weights(factory)
    example = torch.zeros(data.input_shape)
    pruned = False
    notes: tuple[str, ...] = ()
    if resume_from is not None:
        pruned = bool(resize_to(model, resume_from))
        if pruned and recipe.pruning is None and _first_weights(recipe, base) is None:
            raise ModelError(
                f"{factory} makes other numbers of channels than when this run began",
                hint="bring its code back, or begin anew with --restart",
            )
    else:
        pruned, notes = _load_first(model, recipe, base)
    check_classifier(model, data, factory)
    if recipe.pruning is not None and resume_from is None:
        prune_channels(model, example, recipe.pruning.ratio, round_to=recipe.pruning.round_to)
        pruned = True
    search = None
    rows: TileRows = 1
    batches = training_batches(recipe, data)
    if recipe.masks is not None:
        chosen = recipe.masks

        def masked(tile_rows: TileRows) -> nn.Module:
            try:
                draft = copy.deepcopy(model)
            except Exception as error:  # the code of the model is the user's
                raise failure(ModelError, f"copying {factory}", error) from error
            _lay_masks(draft, chosen, tile_rows, batches, example, share=1.0)
            return draft.eval()

        if chosen.board is not None and rounding is None:
            # A name, or a file.
            is_file = chosen.board.endswith(".toml")
            board = load_board(str(place(Path(chosen.board), base)) if is_file else chosen.board)
            with torch.random.fork_rng():
                rounding = plan_rounding(board, masked, example, planner)
        rows = rounding.tile_rows if rounding is not None else _tile_rows(chosen, model)
        masks = _lay_masks(model, chosen, rows, batches, example, share=0.0)
        search = MaskSearch(masks, _schedule(recipe, batches.steps_per_epoch), seed=seed)
    loss, more = _loss(recipe, data, factory, base)
    return Student(factory, model.train(), search, loss, pruned, rows, rounding, notes=notes + more)


def _schedule(recipe: Recipe, steps_per_epoch: int) -> PolynomialSchedule:
    total = recipe.training.epochs * steps_per_epoch
    try:
        return PolynomialSchedule(total, **recipe.schedule.model_dump())
    except DeployError as error:
        raise RecipeError(f"[schedule]: {error.what}", hint=error.hint) from error


def training_batches(
    recipe: Recipe,
    data: Data,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
) -> Batches:
    """The batches that a run trains on, or what a rank has of them."""
    training = recipe.training
    return Batches(
        data.train,
        training.batch_size,
        seed=training.seed,
        augment=_augmentation(recipe.data, data),
        workers=training.workers,
        limit=recipe.data.limit,
        ranks=ranks,
    )


def make_network(recipe: Recipe, base: Path | None = None) -> nn.Module:
    """The network of a recipe, with the weights that its factory gives it.

    Args:
        recipe: which.
        base: the folder whose modules a factory may name.

    Raises:
        ModelError: there is none of that name, or its factory has a fault.
    """
    chosen = recipe.model
    return _make(chosen.factory, chosen.arguments, base, recipe.training.seed)


def _make(
    name: str,
    arguments: Mapping[str, Any],
    base: Path | None,
    seed: int,
    option: str = "[model] factory",
) -> nn.Module:
    """A network as a recipe names it; what it draws depends on the seed alone."""
    factory = network_factory(name)
    with torch.random.fork_rng(), seeded(seed):
        torch.manual_seed(seed)
        if libraries.is_named(factory):
            return libraries.make(libraries.check(factory), arguments, seed=seed)
        model = make_module(factory, option, arguments, base=base)
        ours = catalog.by_factory(factory)
        if ours and ours.random_weights:
            initialise(model)
    return model


def network_factory(name: str) -> str:
    """``package.module:function`` of a recipe's network, which may be a name of the zoo.

    ``timm:NAME`` and ``torchvision:NAME`` stay as they are.

    Raises:
        ModelError: there is none of that name, or it is one with masks.
    """
    if ":" in name:
        return catalog.current_factory(name)
    entry = catalog.get(name)
    if entry.arguments:
        dense = catalog.by_factory(entry.factory)
        raise ModelError(
            f"the network '{name}' has masks, and training lays on its own",
            hint=f"name '{dense.name if dense else entry.factory}', and the masks under [masks]",
        )
    return entry.factory


def check_classifier(model: nn.Module, data: Data, name: str, table: str = "[model]") -> None:
    """Try a model on one image.

    Args:
        model: to try.
        data: whose images and classes count.
        name: of the model, for messages.
        table: of the recipe that has its arguments.

    Raises:
        ModelError: it does not take the image, or gives other than one value for each class.
    """
    model.eval()
    try:
        with torch.no_grad():
            logits = model(torch.zeros(data.input_shape))
    except Exception as error:
        shape = "x".join(map(str, data.input_shape))
        raise failure(ModelError, f"running {name} on an image of {shape}", error) from error
    if not isinstance(logits, Tensor) or logits.shape != (1, len(data.classes)):
        given = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(
            f"{name} gives {given} for one image, but {data.name} has {len(data.classes)} classes",
            hint=f"the model has to give [1, {len(data.classes)}]; under {table} a factory of ours "
            f"takes arguments = {{ classes = {len(data.classes)} }}, networks of timm and "
            f"torchvision {{ num_classes = {len(data.classes)} }}",
        )


def _load_first(
    model: nn.Module, recipe: Recipe, base: Path | None
) -> tuple[bool, tuple[str, ...]]:
    """Load what training starts from, without masks; as :func:`_load`."""
    path, chosen = _first_weights(recipe, base), recipe.model
    if path is None:
        return False, ()
    return _load(model, path, chosen.weights_key, masks=False, new_head=chosen.new_head)


def _first_weights(recipe: Recipe, base: Path | None) -> Path | None:
    """The checkpoint that training starts from."""
    name, path = recipe.model.factory, recipe.model.weights
    if path is not None:
        return place(path, base)
    return _shipped(name)


def _shipped(name: str) -> Path | None:
    """The weights that the zoo has of a network of that name."""
    return None if ":" in name else catalog.get(name).checkpoint


def _load(
    model: nn.Module, path: Path, key: str | None, *, masks: bool, new_head: bool = False
) -> tuple[bool, tuple[str, ...]]:
    """Load a checkpoint, with its masks or without; with ``new_head`` but for the classes' layer.

    Returns:
        Whether channels were pruned, and what there is to say about the file's weights.
    """
    pruned = has_pruned_channels(load_metadata(path))
    try:
        state = match(model, load_checkpoint(path, weights=key))
        if not masks:
            own = own_mask_entries(model)
            state = state.without(lambda name: name.endswith(MASK_SUFFIX) and name not in own)
        if new_head:
            state = _with_own_head(model, state)
        load_model(model, state, resize=pruned)
    except ModelError as error:
        what = error.what if error.what.startswith(str(path)) else f"{path}: {error.what}"
        raise ModelError(what, hint=error.hint) from error
    return pruned, tuple(f"{path}: {note}" for note in state.notes)


def _with_own_head(model: nn.Module, state: Matched) -> Matched:
    """The weights, but for those of other classes: they stay as the model has them.

    Raises:
        ModelError: they differ in more than their number of outputs.
    """
    own = model.state_dict()
    other = [
        name
        for name, value in state.items()
        if isinstance(value, Tensor) and name in own and value.shape != own[name].shape
    ]
    # Where a layer before the last is wider, the next one has other inputs, too.
    if any(state[name].shape[1:] != own[name].shape[1:] for name in other):
        layers = sorted({name.rpartition(".")[0] for name in other})
        raise ModelError(
            f"the weights differ from the network in the shapes of {', '.join(layers[:4])}",
            hint="new_head begins anew only what has an output for each class; check the factory "
            "and its arguments",
        )
    return state.with_tensors({name: own[name] for name in other})


def _lay_masks(
    model: nn.Module,
    masks: Masks,
    rows: TileRows,
    batches: Batches,
    example: Tensor,
    *,
    share: float,
) -> MaskSet:
    return sparsify(
        model,
        example,
        _policy(masks, rows, batches, model),
        masks.sparsity,
        select=KERNELS[masks.kernels],
        names=masks.layers,
        exclude=masks.exclude,
        targets=masks.targets,
        share=share,
    )


def _tile_rows(masks: Masks, model: nn.Module) -> TileRows:
    """What a recipe says itself."""
    if not masks.rounded:
        return masks.tile_rows or 1
    chosen = select_layers(model, KERNELS[masks.kernels], names=masks.layers, exclude=masks.exclude)
    return by_pattern(list(chosen), masks.rounded, "what is rounded")


def _policy(masks: Masks, rows: TileRows, batches: Batches, model: nn.Module) -> Policy:
    def images() -> Iterator[Tensor]:
        device = next(model.parameters()).device
        for batch, _ in islice(batches.iterate(0, batches.steps_per_epoch), masks.data_batches):
            yield batch.to(device)

    makers: dict[str, Callable[..., Policy]] = {
        Random.name: Random,
        Pooled.name: Pooled,
        LatticePolicy.name: lambda **tile: LatticePolicy(masks.modulus, **tile),
        TilePolicy.name: lambda **tile: TilePolicy(masks.block, **tile),
        Magnitude.name: lambda **tile: Magnitude(images, **tile),
    }
    return makers[masks.policy](tile_rows=rows, tile_share=masks.tile_share)


def _loss(
    recipe: Recipe, data: Data, factory: str, base: Path | None
) -> tuple[nn.Module, tuple[str, ...]]:
    """The loss, and what there is to say about a teacher's checkpoint."""
    chosen = recipe.distillation
    if chosen is None:
        return CrossEntropy(), ()
    notes: tuple[str, ...] = ()
    if chosen.weights is None and chosen.factory is None:
        name = factory
        teacher = _itself(recipe, data, factory, base)
    else:
        name = network_factory(chosen.factory or recipe.model.factory)
        teacher, notes = _other(recipe, chosen, data, name, base)
    loss = Distillation(teacher, weight=chosen.weight, temperature=chosen.temperature)
    return loss, notes


def _other(
    recipe: Recipe, chosen: Teaching, data: Data, name: str, base: Path | None
) -> tuple[nn.Module, tuple[str, ...]]:
    """The teacher that a recipe names, and what there is to say about its checkpoint.

    Raises:
        ModelError: its weights are random ones.
    """
    given = recipe.model if chosen.factory is None else chosen
    named, table = given.factory or "", "[model]" if given is recipe.model else "[distillation]"

    def made(seed: int) -> nn.Module:
        return _make(named, given.arguments, base, seed, f"{table} factory")

    weights = _shipped(named) if chosen.weights is None else place(chosen.weights, base)
    random = ModelError(
        f"{name} cannot teach: its weights are random ones, which know nothing of the data",
        hint="train it, and give the result as weights under [distillation]",
    )
    if weights is None and _comes_untrained(named):
        raise random
    teacher = made(recipe.training.seed)
    notes: tuple[str, ...] = ()
    if weights is not None:
        _, notes = _load(teacher, weights, chosen.weights_key, masks=chosen.weights is not None)
    check_classifier(teacher, data, f"the teacher ({name})", table)
    if weights is None and _is_drawn(teacher, made(recipe.training.seed + 1), data):
        raise random
    return teacher, notes


def _itself(recipe: Recipe, data: Data, factory: str, base: Path | None) -> nn.Module:
    """The dense network that training starts from, as a teacher.

    Raises:
        ModelError: its weights are random ones, or one of its layers begins anew.
    """
    chosen, seed = recipe.model, recipe.training.seed
    untrained = chosen.new_head
    teacher = make_network(recipe, base)
    if _first_weights(recipe, base) is None:
        untrained |= _comes_untrained(chosen.factory) or _is_drawn(
            teacher, _make(chosen.factory, chosen.arguments, base, seed + 1), data
        )
    if untrained:
        raise ModelError(
            f"{factory} cannot teach itself: it starts from weights that know nothing of the data",
            hint="train it dense first, and give the result as weights under [model]",
        )
    _load_first(teacher, recipe, base)
    check_classifier(teacher, data, f"the teacher ({factory})")
    return teacher


def _comes_untrained(name: str) -> bool:
    """Whether a network of the zoo or of a library is known to be made with random weights."""
    ours = catalog.by_factory(network_factory(name))
    if ours is not None:
        return ours.random_weights or ours.checkpoint is not None
    return libraries.is_named(name) and libraries.without_weights(name) == name


def _is_drawn(one: nn.Module, other: nn.Module, data: Data) -> bool:
    """Whether two networks of a factory, made with two seeds, differ in what they say of an image.

    Their weights are not compared: parts that count for nothing may be random in a trained one.
    """
    image = torch.randn(data.input_shape, generator=torch.Generator().manual_seed(0))
    said = []
    for model in (one, other):
        with torch.no_grad(), seeded(0):
            said.append(model.eval()(image.clone()))
    return not torch.allclose(said[0], said[1], equal_nan=True)


def _augmentation(chosen: DataSet, data: Data) -> Augment | None:
    known = {"mirror": mirror, "shift": shift(max(1, round(_SHIFT * data.input_shape[2])))}
    return in_turn(*(known[name] for name in chosen.augment)) if chosen.augment else None
