"""A few mutations through the reader; ``make fuzz`` tries a hundred thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import workers
from fuzz.mutations import load_seeds, mutation
from fuzz.targets import through_reader
from support.bundles import write_masked_model
from support.places import REPOSITORY
from toolchain.tflite_file import inspection


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY / 'tests'}:{REPOSITORY}")
    write_masked_model(tmp_path / "m.tflite", size=8, channels=4)
    return tmp_path


def test_a_mutation_is_made_of_its_number_alone(folder: Path) -> None:
    seeds = load_seeds([folder])
    made = [mutation(seeds, number)[1] for number in range(50)]
    assert made == [mutation(seeds, number)[1] for number in range(50)]
    assert len(set(made)) > 45
    assert seeds[0].raw not in made[:10]


def test_mutations_are_read_or_refused(folder: Path) -> None:
    assert workers.fuzz("reader", [folder], 0, 300) == {}


def test_what_ends_the_reader_otherwise_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise ZeroDivisionError("here")

    monkeypatch.setattr(inspection, "find_layers", fails)
    assert through_reader(folder / "m.tflite").endswith("ZeroDivisionError: here\n")


def test_a_mutation_that_ends_the_process_is_kept_and_the_others_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = folder / "sitecustomize.py"
    module.write_text(
        "import os\n"
        "from fuzz import targets\n"
        "own = targets.through_reader\n"
        "count = 0\n"
        "def dies(path, **given):\n"
        "    global count\n"
        "    count += 1\n"
        "    return os.abort() if count == 3 else own(path, **given)\n"
        "targets.through_reader = dies\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{REPOSITORY / 'tests'}:{REPOSITORY}")
    found = workers.fuzz("reader", [folder], 100, 4)
    assert found == {102: "the process ended with -6"}
    assert (folder / "build/fuzz/102-m.tflite").is_file()
