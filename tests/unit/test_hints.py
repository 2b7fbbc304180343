"""Hints repeat what was typed, and the lines in them run as they stand."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

from support.brightness import SIDE, bright_images, write_bright_folder, write_classifier
from support.bundles import write_bundle, write_masked_model
from support.patience import PATIENCE
from support.places import REPOSITORY
from support.profiles import measurement, profile_of
from support.quantized_ops import FileWriter
from support.reports import estimate_of
from support.tiny_training import NET, write_recipe
from toolchain.board import emulator_memory
from toolchain.board.emulator_state import State
from toolchain.board.verify import Verification
from toolchain.cli.app import app
from toolchain.dev.bench import counts
from toolchain.doctor.finding import Diagnosis
from toolchain.errors import BoardError, EmulatorError
from toolchain.hardware.board_file import load_board
from toolchain.hints import apt_line, command, did_you_mean, nearest, quoted
from toolchain.operations.verify import narrow_down
from toolchain.report.page.estimated import result_of_estimate
from toolchain.report.page.measured import results_of_profile
from toolchain.tflite_file.image_metadata import Normalization
from toolchain.timing import trace

# --- the pieces ------------------------------------------------------------------------------


def test_a_line_is_quoted_for_the_shell() -> None:
    assert command("build", "--board", "rpi4") == "deploy build --board rpi4"
    assert command("build", "--out", Path("my 'b'")) == "deploy build --out 'my '\"'\"'b'\"'\"''"


@pytest.mark.parametrize("name", [b"plain", b"a b", b"a'b", b"a\xffb", b"\xc3\xa9\xff'\\ $x"])
def test_any_name_comes_back_from_the_shell(name: bytes) -> None:
    line = f"printf %s {quoted(os.fsdecode(name))}"
    assert line.isprintable()
    assert subprocess.run(["/bin/bash", "-c", line], capture_output=True, check=True).stdout == name


@pytest.mark.parametrize(("user", "begin"), [(0, "apt-get"), (1000, "sudo apt-get")])
def test_the_line_that_installs_packages_is_for_whoever_runs_it(
    monkeypatch: pytest.MonkeyPatch, user: int, begin: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert apt_line("g++", "cmake", "g++") == f"{begin} install --no-install-recommends cmake g++"


def test_the_nearest_name_is_meant() -> None:
    known = ["rpi4", "rpi5", "qemu", "host"]
    assert nearest("qmeu", known) == "qemu"
    assert nearest("QEMU", known) == "qemu"
    assert nearest("toaster", known) is None
    assert did_you_mean("rpi44", known, "use another") == "did you mean 'rpi4'? use another"
    assert did_you_mean("toaster", known, "use another") == "use another"
    assert did_you_mean("toaster", known) == ""


# --- lines that run --------------------------------------------------------------------------

BOARDS = ["../my.toml", "../my board.toml", "./it's.toml", "/TMP/absolute.toml", "rpi4"]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder to work in, boards in and above it, and models."""
    work = tmp_path / "work"
    work.mkdir()
    for text in BOARDS[:-1]:
        path = work / text.replace("/TMP", str(tmp_path))
        path.write_text((REPOSITORY / "boards/qemu.toml").read_text())
    (tmp_path / "pc.toml").write_text((REPOSITORY / "boards/host.toml").read_text())
    write_masked_model(work / "model.tflite", size=4, channels=2)
    return work


def run(here: Path, line: str) -> tuple[int, str]:
    """A command line in a shell where ``deploy`` is the only program there is."""
    script = f'deploy() {{ {shlex.join([sys.executable, str(REPOSITORY / "deploy.py")])} "$@"; }}\n'
    done = subprocess.run(
        ["/bin/bash", "-c", script + line], cwd=here, capture_output=True, text=True,
        check=False, timeout=PATIENCE,
        env={"PATH": "/nowhere", "TILESKIP_CACHE": str(here / "cache"), "HOME": str(here)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def line_in(told: str) -> str:
    """The command in a hint."""
    found = re.search(r"hint: (?:.*run: )?(deploy .*)$", told, re.MULTILINE)
    assert found, told
    return found[1]


NOT_INSTALLED = 11
"""The line was understood and its files were found: what misses is a compiler, or QEMU."""


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize(
    "typed",
    [
        "verify model.tflite --board {}",
        "profile model.tflite --board {} --bundle 'other place/b'",
        "push --board {} --host me@127.0.0.1 --bundle build/../b",
        "run model.tflite --board {} --input model.tflite -o out",
    ],
)
def test_the_line_that_builds_a_missing_bundle_runs(here: Path, board: str, typed: str) -> None:
    board = board.replace("/TMP", str(here.parent))
    if typed.startswith("run"):
        (here / "model.tflite").rename(here / "x.tflite")
        (here / "x.bin").write_bytes(bytes(4 * 4 * 4 * 3))
        typed = "run x.tflite --board {} --input x.bin -o out"
    code, told = run(here, "deploy " + typed.format(shlex.quote(board)))
    assert code == 17
    line = line_in(told)
    words = shlex.split(line)
    assert words[words.index("--board") + 1] == board
    if "--bundle" in typed:
        place = shlex.split(typed)[shlex.split(typed).index("--bundle") + 1]
        assert words[words.index("--out") + 1] == str(Path(place))
    assert run(here, line)[0] == NOT_INSTALLED


def test_the_line_for_a_stock_bundle_builds_a_stock_bundle(here: Path) -> None:
    write_bundle(here / "build/pc", b"#!/bin/sh\n")
    for place, out in (("stock here", ["--out", "stock here"]), ("build/pc-stock", [])):
        typed = f"deploy profile model.tflite --board ../pc.toml --stock-bundle '{place}'"
        code, told = run(here, typed)
        assert code == 17
        line = line_in(told)
        assert shlex.split(line) == ["deploy", "build", "--board", "../pc.toml", "--stock", *out]
        assert run(here, line)[0] == NOT_INSTALLED


@pytest.mark.parametrize("option", ["", "--bundle full"])
def test_a_folder_that_is_no_bundle_is_not_built_into(here: Path, option: str) -> None:
    folder = here / ("full" if option else "build/my")
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("years of work")
    code, told = run(here, f"deploy verify model.tflite --board ../my.toml {option}")
    assert code == 17
    line = line_in(told)
    assert line == "deploy build --board ../my.toml"
    if not option:
        assert "move it away, and run: " in told
        folder.rename(here / "away")
    assert run(here, line)[0] == NOT_INSTALLED


@pytest.mark.parametrize("board", BOARDS[:-1])
def test_the_line_that_starts_the_board_runs(here: Path, board: str) -> None:
    board = board.replace("/TMP", str(here.parent))
    write_bundle(here / "build" / Path(board).stem, b"#!/bin/sh\n")
    code, told = run(here, f"deploy verify model.tflite --board {shlex.quote(board)}")
    assert code == 12
    line = line_in(told)
    assert line == f"deploy emulator start --board {shlex.quote(board)}"
    assert run(here, line)[0] == NOT_INSTALLED


@pytest.mark.parametrize(
    ("typed", "line", "ends"),
    [
        ("start --board rpi4", "start --like rpi4", NOT_INSTALLED),
        ("start --board rpi3-armv7", "start --board qemu", NOT_INSTALLED),
        ("stop --board rpi4", "stop", 0),
        ("status --board rpi4", "status", 12),
    ],
)
def test_the_line_for_a_board_that_is_not_emulated_runs(
    here: Path, typed: str, line: str, ends: int
) -> None:
    code, told = run(here, f"deploy emulator {typed}")
    assert code == 5
    assert line_in(told) == f"deploy emulator {line}"
    assert run(here, f"deploy emulator {line}")[0] == ends


@pytest.mark.parametrize(
    "typed",
    [
        "start --like rpi3-armv7",
        "start --cpu a53,pmu=off",
        "start --name rpi4",
        "stop --board emulated",
    ],
)
def test_the_line_that_starts_a_board_which_can_be_made_runs(here: Path, typed: str) -> None:
    code, told = run(here, f"deploy emulator {typed}")
    assert code == 5
    assert run(here, line_in(told))[0] == NOT_INSTALLED


def test_the_line_that_makes_room_in_memory_runs(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = load_board("qemu")
    assert board.emulator is not None
    monkeypatch.setattr(emulator_memory, "free_memory", lambda: 0)
    state = State(
        board="qemu", settings=board.emulator, pid=1, port=1, user_key=here, known_hosts=here,
        log=here / "log",
    )  # fmt: skip
    with pytest.raises(EmulatorError) as caught:
        emulator_memory.check_memory([board.emulator], [state])
    assert run(here, line_in(f"hint: {caught.value.hint}"))[0] == 0


def test_the_line_that_stops_a_board_with_other_settings_runs(here: Path) -> None:
    """QEMU is played by a sleep that has its command line."""
    cache, fake = here / "cache", here / "bin/qemu-system-aarch64"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    log = cache / "emulator/my board/serial.log"
    log.parent.mkdir(parents=True)
    board = load_board(str(here.parent / "my board.toml"))
    assert board.emulator is not None
    qemu = here / "qemu-system-of-the-test"
    shutil.copy("/bin/sh", qemu)
    waits = [str(qemu), "-c", "sleep 600 & wait", "qemu", "-serial", f"file:{log}"]
    with subprocess.Popen(waits, start_new_session=True) as process:
        state = State(
            board=board.name, settings=board.emulator, pid=process.pid, port=1,
            user_key=log, known_hosts=log, log=log, ready=True,
        )  # fmt: skip
        (log.parent / "state.json").write_text(state.model_dump_json())
        try:
            line = f"PATH={fake.parent} deploy emulator start --board '../my board.toml'"
            code, told = run(here, f"{line} --no-icount")
            assert code == 12
            assert line_in(told) == "deploy emulator stop --board '../my board.toml'"
            assert run(here, line_in(told))[0] == 0
            assert process.wait(PATIENCE) != 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_what_a_board_lacks_ends_in_one_line_that_runs(here: Path) -> None:
    write_bundle(here / "b", b"#!/bin/sh\n", hwcap=("no-such-feature",), glibc_floor="2.99")
    line = "deploy push --board ../pc.toml --bundle b model.tflite"
    code, told = run(here, f"PATH={shlex.quote(os.environ['PATH'])} {line}")
    assert code == 8
    (hint,) = [line for line in told.splitlines() if "hint:" in line]
    assert hint.count("deploy build") == 1
    assert line_in(told) == "deploy build --board ../pc.toml --out b"
    assert run(here, line_in(told))[0] == NOT_INSTALLED


def test_the_line_after_a_training_runs_from_here(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here / "my nets"
    folder.mkdir()
    code = (
        f"from {NET.partition(':')[0]} import images, net as made\n"
        "def net(**named): return made(**named)\n"
    )
    (folder / "nets_of_hints.py").write_text(code)
    write_recipe(
        folder / "r.toml",
        model={"factory": "nets_of_hints:net"},
        data={"source": "nets_of_hints:images"},
        training={"epochs": 1},
    )
    monkeypatch.chdir(here)
    done = CliRunner().invoke(app, ["train", "my nets/r.toml"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = re.search(r"next: (deploy .*)$", done.stdout, re.MULTILINE)
    assert found
    assert found[1] == "deploy convert r.safetensors --model 'my nets/nets_of_hints:net'"
    words = shlex.split(found[1])[1:]
    sys.modules.pop("nets_of_hints")
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert (here / "r.tflite").is_file()


@pytest.mark.parametrize("board", ["../my board.toml", "../pc.toml"])
def test_the_lines_after_a_difference_run(here: Path, board: str) -> None:
    loaded = load_board(str(here / board))
    loaded._given = board
    done = Verification("./model.tflite", 2, 5, tolerance=1e-7, step_tolerance=0, outputs=())
    hint = narrow_down(loaded, done, threads=3)
    for asked in ("--inputs 2", "--seed 5", "--tolerance 1e-07", "--steps 0", "--threads 3"):
        assert asked in hint, "the same question"
    lines = hint.partition("run: ")[2].split(" && ")
    assert len(lines) == 2
    for line in lines:
        # Neither bundle is there yet.
        assert run(here, line)[0] == (NOT_INSTALLED if " build " in line else 17)


def test_the_line_that_converts_an_exported_program_is_understood(here: Path) -> None:
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, here / "my program.pt2")
    code, told = run(here, "deploy convert 'my program.pt2'")
    assert code == 3
    line = line_in(told)
    assert shlex.split(line) == ["deploy", "convert", "my program.pt2", "--trust"]
    code, told = run(here, f"{line} -o nowhere/x.tflite")
    assert code == 13, told


def test_the_line_that_inspects_a_file_that_cannot_run_runs(here: Path) -> None:
    file = FileWriter()
    x, y = (file.tensor((1, 3), "int8", scales=0.1) for _ in range(2))
    scales = np.array([0.1, 0.2, 0.3])
    other = file.tensor((1, 3), "int8", scales=scales, axis=1, data=b"\1\2\3")
    file.operator("MUL", [x, other], [y])
    file.write(here / "a model.tflite", [x], [y])
    code, told = run(here, "deploy verify './a model.tflite' --board ../my.toml")
    assert code == 3
    assert line_in(told) == "deploy inspect 'a model.tflite'"
    assert run(here, line_in(told))[0] == 0


@pytest.mark.parametrize("board", [*BOARDS[:-1], "../pc.toml"])
def test_the_lines_that_doctor_tells_run(here: Path, board: str) -> None:
    board = board.replace("/TMP", str(here.parent))
    _, told = run(here, f"deploy doctor --board {shlex.quote(board)} --json >&2")
    found = Diagnosis.model_validate_json(told[told.index("{") : told.rindex("}") + 1]).findings
    lines = [one.fix for one in found if one.runs and (one.fix or "").startswith("deploy ")]
    assert f"deploy build --board {shlex.quote(board)}" in lines
    if board != "../pc.toml":
        assert f"deploy emulator start --board {shlex.quote(board)}" in lines
    for line in lines:
        assert run(here, line or "")[0] == NOT_INSTALLED, line


def test_the_line_in_doctors_advice_on_an_old_board_runs(here: Path) -> None:
    write_bundle(here / "build/pc", b"#!/bin/sh\n", glibc_floor="2.99")
    typed = "deploy doctor --board ../pc.toml --json >&2"
    _, told = run(here, f"PATH={shlex.quote(os.environ['PATH'])} {typed}")
    found = Diagnosis.model_validate_json(told[told.index("{") : told.rindex("}") + 1]).findings
    (advice,) = [one.fix or "" for one in found if one.check == "glibc"]
    line = advice.rpartition("then run: ")[2]
    assert line == "deploy build --board ../pc.toml"
    assert run(here, line)[0] == NOT_INSTALLED


def test_the_lines_that_add_to_a_history_run(here: Path) -> None:
    code, told = run(here, "deploy history --history 'my runs.jsonl'")
    assert code == 3
    line = line_in(told)
    assert line == "deploy profile model.tflite --history 'my runs.jsonl'"
    assert run(here, line)[0] == 17, "there is no bundle"
    (here / "model.tflite").unlink()
    line = line_in(run(here, "deploy history")[1])
    assert line == "deploy profile --help"
    assert run(here, line)[0] == 0


def test_the_lines_that_evaluate_with_other_figures_run(here: Path) -> None:
    pixels, labels = bright_images(120)
    np.savez(here / "my data.npz", x=pixels, y=labels)
    write_classifier(here / "silent.tflite", says=None)
    wrong = Normalization.of_unit((0.0,), (1.0,))
    write_classifier(here / "my wrong.tflite", says=wrong)
    code, told = run(here, "deploy evaluate silent.tflite --data 'my data.npz'")
    assert code == 3
    code, told = run(here, line_in(told))
    assert code == 4, "the network was trained otherwise"
    assert run(here, line_in(told))[0] == 0
    code, told = run(here, "deploy evaluate 'my wrong.tflite' --data 'my data.npz'")
    assert code == 4
    assert run(here, line_in(told))[0] == 0
    write_bright_folder(here / "my recipes/grey", 240)
    data = {"source": "grey", "image_size": SIDE, "test_share": 0.5}
    write_recipe(here / "my recipes/r.toml", data=data)
    write_classifier(here / "colour.tflite", says=None, channels=3)
    code, told = run(here, "deploy evaluate colour.tflite --recipe 'my recipes/r.toml'")
    assert code == 4
    assert "--recipe 'my recipes/r.toml' --mean" in line_in(told)
    assert run(here, line_in(told))[0] == 0


def test_the_line_for_an_inventory_without_boards_names_a_command(here: Path) -> None:
    code, told = run(here, "TILESKIP_BOARDS=none.toml deploy push --board all")
    assert code == 5
    line = line_in(told)
    assert line == "deploy boards add pi@raspberrypi"
    assert run(here, line.replace("pi@raspberrypi", "pi@127.0.0.1:1"))[0] == 6, "nobody is there"


def test_the_line_of_each_board_that_fails_runs(here: Path) -> None:
    code, told = run(here, "deploy push --board '../my board.toml,../pc.toml'")
    assert code == 17
    lines = re.findall(r"hint: .*run: (deploy .*)$", told, re.MULTILINE)
    assert lines == ["deploy build --board '../my board.toml'", "deploy build --board ../pc.toml"]
    for line in lines:
        assert run(here, line)[0] == NOT_INSTALLED


# --- none is forgotten -----------------------------------------------------------------------

COMMANDS = "|".join(get_command(app).commands)  # type: ignore[attr-defined]
PROSE = {
    "a report is of what deploy profile or deploy estimate writes with --output, or of sweep.json",
    'a file of accuracies is {"MODEL": 0.919}, a CSV of model,accuracy, demo.json of deploy demo, '
    "or what deploy train --json prints; shares of 1, not percent",
    "free some space on the board: deploy boards clean removes models and bundles of earlier "
    "pushes, which are pushed again when they are needed",
    "deploy profile adds a run to the history each time",
    "quantized weights say nothing without their scales: give the weights from before, and "
    "quantize with deploy convert --quantize",
    "a .tflite file has 'TFL3' at byte 4; deploy convert makes one",
    "it is what deploy profile writes with --output",
    "deploy sweep writes it",
    "give that of one: with --save FOLDER, deploy profile writes FOLDER/BOARD/profile.json for "
    "each",
}
"""Hints that tell of a command without being one."""


@pytest.mark.parametrize("board", ["host", "qemu"])
def test_the_lines_of_a_report_that_measure_again_run(here: Path, board: str) -> None:
    profile = profile_of(measurement("model"))
    record = profile.board.model_copy(update={"name": board})
    lines = next(
        results_of_profile(profile.model_copy(update={"board": record}), "out.json", {})
    ).again.commands
    assert len(lines) == (3 if board == "qemu" else 2)
    for line in lines:
        # There is no compiler, no QEMU, and so no bundle.
        assert run(here, line)[0] == (17 if " profile " in line else NOT_INSTALLED)


def test_the_line_of_a_report_that_estimates_again_runs(here: Path) -> None:
    (line,) = (
        one
        for one in result_of_estimate(
            estimate_of({"model": here / "model.tflite"}), "out.json", {}
        ).again.commands
        if " estimate " in one
    )
    assert run(here, line)[0] in (17, NOT_INSTALLED)


TRIED = {
    "toolchain/cli/convert.py",
    "toolchain/cli/emulator.py",
    "toolchain/cli/history.py",
    "toolchain/tflite_file/support.py",
    "toolchain/dev/bench/counts.py",
    "toolchain/evaluation/image_file.py",
    "toolchain/hardware/board_file.py",
    "toolchain/operations/verify.py",
    "toolchain/timing/trace.py",
    "toolchain/board/emulator.py",
    "toolchain/board/emulator_memory.py",
    "toolchain/board/invoke.py",
    "toolchain/board/lab.py",
    "toolchain/board/requirements.py",
    "toolchain/doctor/board_checks.py",
    "toolchain/doctor/host_checks.py",
    "toolchain/doctor/reach.py",
    "toolchain/report/page/estimated.py",
    "toolchain/report/page/measured.py",
    "toolchain/train/run.py",
    # Tried with what they are about, in the tests of their own and of pages.
    "toolchain/board/board_log.py",
    "toolchain/board/description.py",
    "toolchain/board/host_keys.py",
    "toolchain/cli/command_help.py",
    "toolchain/cli/gain.py",
    "toolchain/profile/gain.py",
    "toolchain/report/page/swept.py",
    "toolchain/train/new_recipe.py",
    "toolchain/zoo/libraries.py",
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in [REPOSITORY / "deploy.py", *(REPOSITORY / "toolchain").rglob("*.py")]:
        yield str(path.relative_to(REPOSITORY)), ast.parse(path.read_text())


def is_hint(node: ast.AST) -> bool:
    """Whether a hint gets a name here."""
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id.endswith("_HINT") for target in node.targets
    )


def test_every_line_of_ours_is_made_by_command_and_tried_here() -> None:
    makers, literal = set(), []
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "toolchain.hints":
                makers |= {name for alias in node.names if alias.name == "command"}
            if (isinstance(node, ast.keyword) and node.arg == "hint") or is_hint(node):
                literal += [
                    part.value
                    for part in ast.walk(node)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                ]
    assert makers == TRIED
    assert {text for text in literal if re.search(rf"\bdeploy ({COMMANDS})\b", text)} == PROSE


def test_every_line_of_ours_names_a_command_and_options_that_are_there() -> None:
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    seen = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", None) != "command":
                continue
            words = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            texts = [word for word in words if isinstance(word, str)]
            named = commands.get(texts[0]) if texts else None
            if named is None:
                continue
            seen.add(texts[0])
            known = {option for one in named.params for option in (*one.opts, *one.secondary_opts)}
            given = {text for text in texts if re.fullmatch(r"--[a-z][a-z-]*", text)}
            if not hasattr(named, "commands"):  # a group's own are those of its commands
                assert given <= known, (texts[0], given - known)
    assert {"build", "convert", "inspect", "sweep", "train"} <= seen


def test_every_make_target_in_a_hint_is_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    found = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                found |= set(re.findall(r"\bmake ([a-z-]+)", ast.unparse(node.value)))
    targets = {name for name in found if name not in ("a", "the", "one", "it")}
    assert targets == {
        *("bench", "bench-boards", "bench-peers", "bench-threads", "experiment", "figures"),
        *("runtime-save", "runtime-tree"),
    }
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in targets)


def test_a_package_in_a_hint_is_named_by_its_extra_or_is_the_one_that_is_pinned() -> None:
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    found = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"pip install ([\w-]+==[\w.]+)", node.value))
    assert found == {"tflite-runtime==2.14.0"}
    assert found <= set(groups["tflite-runtime"])


def test_the_line_for_an_old_bundle_of_the_bench_runs(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ["sh", "-c", "echo 'tileskip-run: error: --marks is no option' >&2; exit 2", "sh"]
    monkeypatch.setattr(counts, "emulator_command", lambda *_: old)
    runner = write_bundle(here / "old bundle/qemu", b"#!/bin/sh\n").runner.relative_to(here)
    with pytest.raises(BoardError) as caught:
        counts._count(runner, here / "model.tflite", Path("plugin"), "cortex-a72", 1, 1)
    line = line_in(f"hint: {caught.value.hint}")
    assert line == "deploy build --board qemu --out 'old bundle/qemu'"
    assert run(here, line)[0] == NOT_INSTALLED


def test_the_line_for_a_bundle_from_before_traces_runs(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ["sh", "-c", "echo 'tileskip-run: error: --marks is no option' >&2; exit 2", "sh"]
    monkeypatch.setattr(trace, "guest_command", lambda *_: old)
    monkeypatch.setattr(trace, "compiled_plugin", lambda _: Path("plugin/trace.so"))
    monkeypatch.chdir(here)
    runner = write_bundle(here / "old bundle/rpi4", b"#!/bin/sh\n").runner.relative_to(here)
    with pytest.raises(BoardError) as caught:
        trace.trace_model(runner, here / "model.tflite", load_board("rpi4"))
    line = line_in(f"hint: {caught.value.hint}")
    assert line == "deploy build --board rpi4 --out 'old bundle/rpi4'"
    assert run(here, line)[0] == NOT_INSTALLED
