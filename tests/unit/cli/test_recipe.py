"""The command line: ``deploy recipe new``."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support.picture_folders import write_pictures
from support.places import REPOSITORY
from toolchain.cli import recipe
from toolchain.cli.app import app, main
from toolchain.sparsity.policies import POLICIES
from toolchain.sparsity.selection import KERNELS

NET = "support.picture_folders:net"
GOOD = ["--data", "pictures", "--model", NET]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "pictures")
    return tmp_path


def invoke(*words: str) -> str:
    result = CliRunner().invoke(app, ["recipe", "new", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_it_says_what_it_found_what_it_advises_and_what_comes_next(here: Path) -> None:
    printed = invoke("--data", "pictures", "--model", NET)
    assert "pictures: 48 training and 12 test images, 3 classes of 16 training images, 36 pix" in (
        printed
    )
    assert f"{NET}: 331 parameters, 286.7 k MACs an image at 64x64 pixels" in printed
    words = [" ".join(line.split()) for line in printed.splitlines()]
    assert "recipe network epochs steps batch learning rate MACs" in words
    assert any(line.startswith("net_s20.toml masked 60 360 8") for line in words)
    assert words[words.index("next:") + 1] == "deploy train net_dense.toml"
    assert sorted(path.name for path in here.glob("*.toml")) == ["net_dense.toml", "net_s20.toml"]


def test_every_choice_that_was_made_has_its_reason_in_the_file(here: Path) -> None:
    invoke("--data", "pictures", "--model", NET, "--board", "rpi4")
    lines = (here / "net_s20.toml").read_text().splitlines()
    chosen = ("arguments", "weights =", "image_size", "epochs", "batch_size", "learning_rate",
              "sparsity", "kernels", "board", "begin_step", "end_step")  # fmt: skip
    for key in chosen:
        (at,) = (number for number, line in enumerate(lines) if line.startswith(key))
        assert "  # " in lines[at] or lines[at - 1].startswith("# "), key


@pytest.mark.usefixtures("here")
def test_json_says_all_of_it() -> None:
    told = json.loads(invoke("--data", "pictures", "--model", NET, "--json", "-o", "mine.toml"))
    assert [row["path"] for row in told["recipes"]] == ["mine_dense.toml", "mine.toml"]
    assert told["data"]["classes"] == ["blue", "green", "red"]
    assert told["network"]["arguments"] == {"num_classes": 3}
    assert told["recipes"][1]["masks"]["end_step"] > told["recipes"][1]["masks"]["begin_step"]
    assert told["commands"][1] == "deploy train mine.toml"


def test_arguments_are_truths_numbers_and_texts(here: Path) -> None:
    words = ["--argument", "num_classes=3"]
    invoke("--data", "pictures", "--model", NET, *words)
    made = tomllib.loads((here / "net_dense.toml").read_text())
    assert made["model"]["arguments"] == {"num_classes": 3}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "--data and --model"),
        (["--data", "pictures"], 2, "--model"),
        (["--model", NET], 2, "--data"),
        (["--data", "pictures", "--model", NET, "--policy", "poled"], 2, "did you mean 'pooled'?"),
        (["--data", "pictures", "--model", NET, "--kernels", "5x5"], 2, "there are all, not-1x1"),
        (["--data", "pictures", "--model", NET, "--argument", "x"], 2, "takes NAME=VALUE, not 'x'"),
        (["--data", "pictures", "--model", NET, "--board", "rpi9"], 5, "no board called 'rpi9'"),
        ([*GOOD, "--target", "30% less time"], 2, "needs --board"),
        ([*GOOD, "--bundle", "build/rpi4"], 2, "is what --target estimates with"),
        ([*GOOD, "--target", "fast", "--board", "rpi4"], 2, "as '30% less time', not 'fast'"),
        ([*GOOD, "--target", "30%", "--board", "rpi4", "--sparsity", "0.2"], 2, "chooses the spa"),
        ([*GOOD, "--target", "30%", "--board", "rpi4"], 17, "run: deploy build --board rpi4"),
        (["--data", "absent", "--model", NET], 14, "there is no such folder"),
        (["--data", "pictures", "--model", "resnet19"], 3, "did you mean 'resnet18'?"),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_told_and_nothing_is_asked(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    words: list[str], code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.argv", ["deploy", "recipe", "new", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert said in shown
    assert list(here.glob("*.toml")) == []


def test_the_choices_are_those_that_recipes_know() -> None:
    assert set(recipe.POLICIES) == set(POLICIES)
    assert set(recipe.KERNELS) == set(KERNELS)


def on_a_terminal(answers: list[str], *words: str, code: int = 0) -> str:
    """What the command shows on a terminal, while somebody answers its questions."""
    ours, theirs = pty.openpty()
    paths = os.pathsep.join([str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, REPOSITORY / "deploy.py", "recipe", "new", *words],
        stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs,
        env=os.environ | {"PYTHONPATH": paths, "COLUMNS": "200"},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown, seen = "", 0
        while True:
            try:
                shown += os.read(ours, 1000).decode(errors="replace")
            except OSError:  # its end is closed
                break
            if shown[seen:].rstrip().endswith("]:"):
                seen = len(shown)
                if not answers:
                    process.kill()
                    pytest.fail(f"asks what nobody answers: {shown}")
                os.write(ours, answers.pop(0).encode() + b"\n")
        process.wait()
        assert process.returncode == code, shown
    os.close(ours)
    assert not answers, shown
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


def test_on_a_terminal_it_asks_and_an_empty_answer_is_the_default(here: Path) -> None:
    shown = on_a_terminal(["", NET, "", "none", "0.3"])
    assert "[pictures]" in shown  # the folder here that is laid out as classes
    assert "[resnet18]" in shown
    made = tomllib.loads((here / "net_s30.toml").read_text())
    assert made["data"]["source"] == "pictures"
    assert made["masks"]["sparsity"] == 0.3
    assert "board" not in made["masks"]


def test_an_answer_that_will_not_do_is_asked_for_again(here: Path) -> None:
    answers = ["photos", "pictures", "resnet19", NET, "x.pt", "", "rpi9", "none", "2", "9%", "0.2"]
    shown = on_a_terminal(answers)
    for said in ("there is no folder 'photos'", "did you mean 'resnet18'?", "no file 'x.pt'",
                 "'2' is no number from 0 to 0.95", "there is no board called 'rpi9'",
                 "a time needs a board"):  # fmt: skip
        assert said in shown
    assert (here / "net_s20.toml").is_file()


@pytest.mark.usefixtures("here")
def test_a_time_may_be_answered_in_place_of_a_share(here: Path) -> None:
    answers = ["", NET, "", "rpi4", "fast%", "30% less time"]
    shown = on_a_terminal(answers, code=17)  # nothing is built here
    assert "'fast%': takes a share of the time, as '30% less time'" in shown
    assert "run: deploy build --board rpi4" in shown
    assert list(here.glob("*.toml")) == []


def test_with_an_option_it_asks_nothing_even_on_a_terminal() -> None:
    shown = on_a_terminal([], "--data", "pictures", code=2)
    assert "--model" in shown
