"""A run as a folder of files: what is in it, and that it is there whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bundles import write_masked_model
from support.places import REPOSITORY
from support.profiles import in_turns, profile_of, timed_in_turns
from support.timed_ops import conv, listed
from toolchain.errors import OutputError
from toolchain.profile.document import Measurement, Profile, load_profile
from toolchain.profile.export import saved_run
from toolchain.profile.export.saved_run import check_save, save
from toolchain.profile.operators import trace
from toolchain.storage.cache import sha256_file
from toolchain.tflite_file.graph import read_model
from toolchain.tflite_file.layers import find_layers


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, where what cannot be written is kept."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


PLAIN = ["profile.json", "models.csv", "samples.csv", "trace.json"]


def timed_model(path: Path, name: str = "m", *, stock: bool = False) -> Measurement:
    """A model of two layers whose operators were timed, with its file."""
    write_masked_model(path)
    layers = [trace(layer) for layer in find_layers(read_model(path))]
    item = timed_in_turns(name, [([9.0], listed(conv(1.0), conv(2.0)))], layers)
    return item.model_copy(update={"sha256": sha256_file(path), "stock": stock})


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def plain() -> Profile:
    return profile_of(in_turns("m", [[1.0], [2.0]]))


def test_every_file_of_a_run_is_in_its_folder(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    profile = profile_of(timed_model(model))
    saved = save(tmp_path / "runs/first", profile, [model])
    expected = [*PLAIN, "operators.csv", "model-explorer/m.json"]
    assert sorted(saved.files) == files_in(tmp_path / "runs/first") == sorted(expected)
    assert saved.notes == []
    assert load_profile(saved.folder / "profile.json") == profile
    for name in ("trace.json", "model-explorer/m.json"):
        json.loads((saved.folder / name).read_text())
    with (saved.folder / "operators.csv").open(newline="", encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == 3


def test_the_profile_is_the_one_of_output(tmp_path: Path) -> None:
    profile = plain()
    profile.save(tmp_path / "p.json")
    saved = save(tmp_path / "run", profile)
    assert (saved.folder / "profile.json").read_bytes() == (tmp_path / "p.json").read_bytes()


def test_without_operators_there_are_no_files_of_them(tmp_path: Path) -> None:
    save(tmp_path / "run", plain(), [tmp_path / "absent.tflite"])
    assert files_in(tmp_path / "run") == sorted(PLAIN)


def test_files_have_the_permissions_of_the_user(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save(tmp_path / "run", plain())
    finally:
        os.umask(before)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "run/trace.json").stat().st_mode & 0o777 == 0o640


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    check_save(tmp_path / "link")
    save(tmp_path / "link", plain())
    assert files_in(tmp_path / "run") == sorted(PLAIN)
    assert (tmp_path / "link").is_symlink()


def test_a_folder_with_something_in_it_is_refused_with_a_free_name(tmp_path: Path) -> None:
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run/kept").write_text("mine")
    (tmp_path / "my run-2").write_text("a file")
    for refuse in (check_save, lambda folder: save(folder, plain())):
        with pytest.raises(OutputError, match="is not empty") as caught:
            refuse(tmp_path / "my run")
        assert caught.value.hint
    with pytest.raises(OutputError) as caught:
        check_save(tmp_path / "my run")
    assert caught.value.hint == (
        f"give a folder of its own to each run: --save '{tmp_path}/my run-3'"
    )
    assert files_in(tmp_path / "my run") == ["kept"]


def test_the_working_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="working folder"):
        check_save(Path())


@pytest.mark.parametrize("output", ["run/p.json", "run"])
def test_no_other_result_lies_in_the_folder(tmp_path: Path, output: str) -> None:
    with pytest.raises(OutputError, match="alone"):
        check_save(tmp_path / "run", outputs=[tmp_path / output])
    check_save(tmp_path / "run", outputs=[tmp_path / "p.json"])


def test_a_look_at_the_place_leaves_nothing(tmp_path: Path) -> None:
    check_save(tmp_path / "runs/first")
    assert list(tmp_path.iterdir()) == []


def test_files_of_models_have_plain_names_of_their_own(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    names = ["a", "A", "../../x", "=é;$(id)", "...", "l" * 300]
    items = [timed_model(model, name) for name in names]
    saved = save(tmp_path / "run", profile_of(*items), [model])
    found = [Path(name).name for name in saved.files if name.startswith("model-explorer/")]
    assert found[:5] == ["a.json", "A-2.json", "x.json", "id.json", "model.json"]
    assert len(found[5]) < 110
    assert files_in(tmp_path / "run") == sorted(saved.files)


def test_a_model_whose_file_has_changed_is_told(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    profile = profile_of(timed_model(model))
    model.write_bytes(model.read_bytes() + b"\0")
    saved = save(tmp_path / "run", profile, [model, tmp_path / "absent.tflite"])
    assert files_in(tmp_path / "run") == sorted([*PLAIN, "operators.csv"])
    (told,) = saved.notes
    assert "no longer the one that was measured" in told


def test_a_model_of_other_layers_than_ran_is_told(tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    item = timed_model(model)
    output = item.output.model_copy(update={"ops": listed(conv(1.0))})
    profile = profile_of(item.model_copy(update={"output": output}))
    (told,) = save(tmp_path / "run", profile, [model]).notes
    assert "other layers" in told


# --- whole or not at all ---------------------------------------------------------------------


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may be larger than a trace is."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "place").mkdir()
    long = profile_of(in_turns("m", [[1.0] * 100]))
    with pytest.raises(OutputError, match="run: cannot be written: File too large"):
        save(tmp_path / "place/run", long)
    assert list((tmp_path / "place").iterdir()) == list(temporary.iterdir()) == []


def test_what_cannot_be_written_is_kept_elsewhere(tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        save(tmp_path / "file/run", plain())
    assert caught.value.hint is not None
    kept = Path(caught.value.hint.rpartition(" ")[2])
    assert kept.is_relative_to(temporary)
    assert files_in(kept) == sorted(PLAIN)


STOPPED = """
import sys
from pathlib import Path
from support.profiles import in_turns, profile_of
from toolchain.profile.export import saved_run
write = saved_run._write_file
def slow(path, content):
    write(path, content)
    print(path, flush=True)
    sys.stdin.readline()
saved_run._write_file = slow
saved_run.save(Path(sys.argv[1]), profile_of(in_turns("m", [[1.0]])))
"""


def stopped(folder: Path, how: signal.Signals) -> None:
    """Save a run in a process that is ended when its first file is written."""
    python = [sys.executable, "-c", STOPPED, str(folder)]
    path = os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "tests")))
    with subprocess.Popen(
        python, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env=os.environ | {"PYTHONPATH": path},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert "profile.json" in process.stdout.readline()
        process.send_signal(how)
    assert process.returncode != 0


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    stopped(tmp_path / "run", signal.SIGINT)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_does_not_look_finished_and_is_swept(tmp_path: Path) -> None:
    stopped(tmp_path / "run", signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".run-")
    save(tmp_path / "run", plain())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_came_to_lie_there_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = saved_run._write_file

    def beside(path: Path, content: bytes) -> None:
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run/mine").write_text("kept")
        write(path, content)

    monkeypatch.setattr(saved_run, "_write_file", beside)
    with pytest.raises(OutputError, match="is not empty"):
        save(tmp_path / "run", plain())
    assert files_in(tmp_path / "run") == ["mine"]
