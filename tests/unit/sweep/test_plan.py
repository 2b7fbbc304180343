"""From a sweep to its tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.tiny_sweeps import DENSE, FILES, TUNED, named, plan_of
from support.tiny_training import write_recipe
from toolchain.errors import RecipeError
from toolchain.sweep.plan import Plan, plan_sweep
from toolchain.sweep.spec import load_sweep
from toolchain.sweep.tasks import Task, data_identity


def test_a_grid_is_multiplied_out(tmp_path: Path) -> None:
    text = (
        '[[grid]]\nname = "g"\npolicies = ["pooled", "tile"]\nsparsities = [0.25, 0.5]\n'
        'layers = [["0"], ["3", "6"]]\npruning = [0, 0.5]\nseeds = [3, 4]\n'
        'settings = { "optimizer.learning_rate" = [0.1, 0.05, 0.01] }\n'
        'models = ["support.tiny_training:net", '
        '{ factory = "support.tiny_training:net", arguments = { channels = 4 } }]\n'
    )
    plan = plan_of(tmp_path, text)
    assert len(plan.networks) == 2 * 2 * 2 * 2 * 2 * 3 * 2
    assert len({one.name for one in plan.networks}) == len(plan.networks)
    one = next(
        one for one in plan.networks
        if one.name == "g-net-channels=4-tile-s0.5-3+6-p0.5-learning_rate=0.05-seed4"
    )  # fmt: skip
    recipe = one.recipe
    assert recipe.masks is not None
    assert (recipe.masks.policy, recipe.masks.sparsity) == ("tile", 0.5)
    assert recipe.masks.layers == ("3", "6")
    assert recipe.pruning is not None
    assert recipe.pruning.ratio == 0.5
    assert recipe.optimizer.learning_rate == 0.05
    assert recipe.training.seed == 4
    assert recipe.model.arguments == {"channels": 4}


def configurations(plan: Plan) -> dict[str, list[int]]:
    """The seeds of each configuration."""
    found: dict[str, list[int]] = {}
    for one in plan.networks:
        found.setdefault(one.configuration, []).append(one.recipe.training.seed)
    return found


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (["nets_a:net", "nets_b:net"], {"g-nets_a_net", "g-nets_b_net"}),
        (["timm:resnet18", "torchvision:resnet18"], {"g-timm_resnet18", "g-torchvision_resnet18"}),
        (["a:net", "b:net", "c:other"], {"g-a_net", "g-b_net", "g-other"}),
        # A name that one has by its factory's last part is no other's.
        (["a:net", "b:net", "c:a_net"], {"g-a_net", "g-b_net"}),
    ],
)
def test_networks_whose_factories_end_alike_are_configurations_of_their_own(
    tmp_path: Path, models: list[str], names: set[str]
) -> None:
    found = []
    for order in (models, models[::-1]):
        text = f'[[grid]]\nname = "g"\nmodels = {order}\nseeds = [0, 1]\n'
        plan = plan_of(tmp_path, text)
        found.append({one.recipe.model.factory: one.configuration for one in plan.networks})
        assert list(configurations(plan).values()) == [[0, 1]] * len(models)
        labels = {one.recipe.model.factory: one.labels.model for one in plan.networks}
        assert len(set(labels.values())) == len(models)
    assert found[0] == found[1]
    assert names <= set(found[0].values())


LONG = [f"layer{number}.*" for number in range(40)]


@pytest.mark.parametrize(
    "text",
    [
        f'name = "g"\nlayers = [{LONG}, {[*LONG, "fc"]}]\n',
        'name = "g"\nlayers = [["layer?"], ["layer*"]]\n',
        'name = "g"\nsparsities = [0.1234567, 0.1234568]\n',
        'name = "g"\nsettings = { "data.source" = ["a/b", "a b"] }\n',
        'name = "g"\npolicies = ["pooled", "tile"]\n[[grid]]\nname = "g-tile"\n',
        'name = "a b"\n[[grid]]\nname = "a_b"\nsparsities = [0.5]\n',
    ],
)
def test_combinations_that_would_be_called_alike_are_configurations_of_their_own(
    tmp_path: Path, text: str
) -> None:
    plan = plan_of(tmp_path, f"[[grid]]\nseeds = [0, 1]\n{text}")
    seeds = configurations(plan)
    for configuration, of in seeds.items():
        assert len(of) == len(set(of)), configuration
        assert len(configuration) <= 120
    said = {
        (one.grid, one.recipe.model_dump_json(exclude={"training": {"seed"}})): one.configuration
        for one in plan.networks
    }
    assert len(said) == len(seeds)


def test_a_time_is_of_each_of_two_networks_whose_factories_end_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.bundles import LYING_RUNNER, write_bundle

    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "build/host", LYING_RUNNER)
    models = 'models = ["nets_a:net", "nets_b:net"]\nseeds = [0, 1]\n'
    text = f'[[grid]]\nname = "g"\n{models}[convert]\n[[measure]]\nboard = "host"\n'
    measured = [one.name for one in plan_of(tmp_path, text).tasks.values() if one.kind == "measure"]
    assert measured == ["g-nets_a_net-seed0", "g-nets_b_net-seed0"]


def test_without_masks_policies_and_layers_are_all_one(tmp_path: Path) -> None:
    text = (
        '[[grid]]\nname = "g"\npolicies = ["pooled", "tile"]\nsparsities = [0, 0.25]\n'
        'layers = [["0"], ["3"]]\n'
    )
    names = [one.name for one in plan_of(tmp_path, text).networks]
    assert names.count("g-dense-seed0") == 1
    assert len(names) == 1 + 2 * 2


def test_a_training_starts_from_the_one_of_its_seed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    tuned = named(plan, "train", "tuned-tile-seed1")
    assert tuned.needs == (named(plan, "train", "dense-seed1").key,)


def test_a_start_that_has_several_trainings_is_refused(tmp_path: Path) -> None:
    twice = DENSE.replace("[0]\n", "[0, 0.25]\n", 1)
    with pytest.raises(RecipeError, match="starts from 'dense', which has 2 trainings"):
        plan_of(tmp_path, twice + TUNED)


def test_files_follow_their_training(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, DENSE + FILES.replace('"float32"', '"float32", "fp16"'))
    convert = named(plan, "convert", "dense-seed0-fp16")
    assert convert.needs == (named(plan, "train", "dense-seed0").key,)
    assert named(plan, "evaluate", "dense-seed0-fp16").needs == (convert.key,)
    assert len(plan.tasks) == 2 * (1 + 2 + 2)


def test_threads_and_device_are_said_and_not_left_to_the_machine(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, DENSE + "[tasks]\nthreads = 3\n", training={"epochs": 1, "threads": 0})
    task = named(plan, "train", "dense-seed0")
    assert task.resources.cpus == 3
    assert task.settings["recipe"]["training"]["threads"] == 3
    assert task.settings["recipe"]["training"]["device"] == "cpu"
    gpu = named(plan_of(tmp_path, DENSE + "[tasks]\ngpus = 0.5\n"), "train", "dense-seed0")
    assert gpu.resources.gpus == 0.5
    assert gpu.settings["recipe"]["training"]["device"] == "cuda"


def test_keys_are_those_of_what_files_hold_and_not_of_where_they_are(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
        (folder / "own.py").write_text("def images(split): ...\n")
    keys = [set(plan_of(folder, data={"source": "own:images"}).tasks) for folder in folders]
    assert keys[0] == keys[1]
    (folders[1] / "own.py").write_text("def images(split): return None\n")
    assert keys[0].isdisjoint(plan_of(folders[1], data={"source": "own:images"}).tasks)
    assert keys[0].isdisjoint(
        plan_of(folders[0], data={"source": "own:images"}, training={"epochs": 2}).tasks
    )


def trained(folder: Path, **changes: dict[str, object]) -> Task:
    return named(plan_of(folder, DENSE, **changes), "train", "dense-seed0")


def test_weights_are_told_by_what_is_in_them_and_by_what_they_are_for(tmp_path: Path) -> None:
    for name in ("a", "b", "x/d", "y/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    roles = [
        trained(tmp_path, model={"weights": start}, distillation={"weights": teacher})
        for start, teacher in (("a", "b"), ("b", "a"), ("x/d", "y/d"), ("y/d", "x/d"))
    ]
    alone = [
        trained(tmp_path, model={"weights": "a"}, distillation={}),
        trained(tmp_path, distillation={"weights": "a"}),
    ]
    assert len({one.key for one in (*roles, *alone)}) == 6
    (tmp_path / "x/d").write_bytes(b"other")
    changed = trained(tmp_path, model={"weights": "x/d"}, distillation={"weights": "y/d"})
    assert changed.key != roles[2].key
    (tmp_path / "x/d").rename(tmp_path / "moved")
    moved = trained(tmp_path, model={"weights": "moved"}, distillation={"weights": "y/d"})
    assert moved.key == changed.key


def calibrated(path: Path) -> Task:
    return named(plan_sweep(load_sweep(path), path), "convert", "dense-seed0")


def test_calibration_data_counts_from_the_folder_of_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sweeps", "recipes", "here"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.npz").write_bytes(name.encode())
        (tmp_path / name / "own.py").write_text(f"name = '{name}'\n")
    monkeypatch.chdir(tmp_path / "here")
    write_recipe(tmp_path / "recipes/recipe.toml", training={"epochs": 1})
    path = tmp_path / "sweeps/sweep.toml"
    places = {}
    for source in ("c.npz", "own:batches", "fashion-mnist", "missing"):
        types = f'[convert]\ntypes = ["int8"]\ncalibration = "{source}"\n'
        path.write_text(f'recipe = "../recipes/recipe.toml"\n{DENSE}{types}')
        before = calibrated(path)
        places[source] = before.places["calibration"]
        for name, changes in (("recipes", False), ("here", False), ("sweeps", True)):
            for file in ("c.npz", "own.py"):
                with (tmp_path / name / file).open("a") as more:
                    more.write("# more\n")
            of_a_file = source in ("c.npz", "own:batches")
            assert (calibrated(path).key != before.key) is (changes and of_a_file), (source, name)
    assert places == {
        "c.npz": str(tmp_path / "sweeps/c.npz"),
        "own:batches": str(tmp_path / "sweeps/own:batches"),
        "fashion-mnist": "fashion-mnist",
        "missing": str(tmp_path / "sweeps/missing"),
    }


def test_a_folder_of_images_is_told_by_its_names_and_sizes(tmp_path: Path) -> None:
    images = tmp_path / "images" / "cat"
    images.mkdir(parents=True)
    (images / "1.png").write_bytes(b"1")
    first = data_identity("images", tmp_path)
    assert data_identity(str(tmp_path / "images"), Path("/")) == first
    (images / "1.png").write_bytes(b"12")
    second = data_identity("images", tmp_path)
    (images / "2.png").write_bytes(b"1")
    assert len({first, second, data_identity("images", tmp_path)}) == 3


def test_a_board_that_is_measured_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.bundles import LYING_RUNNER, write_bundle

    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "build/host", LYING_RUNNER)
    text = '[convert]\n[[measure]]\nboard = "host"\nthreads = 2\n'
    plan = plan_of(tmp_path, DENSE + text)
    measured = [one for one in plan.tasks.values() if one.kind == "measure"]
    assert [one.name for one in measured] == ["dense-seed0"]  # of the first seed alone
    assert measured[0].resources.board == "host"
    assert plan.boards == {"host"}
    every = plan_of(tmp_path, DENSE + text + 'seeds = "all"\n')
    assert sum(one.kind == "measure" for one in every.tasks.values()) == 2
