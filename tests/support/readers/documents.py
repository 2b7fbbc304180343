"""Documents in TOML and JSON, pages, headers."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st
from torch import nn

from support import tiny_training
from support.benches import bench, case
from support.bundles import write_bundle
from support.malformed import Bytes, damaged, documents, toml_text
from support.places import REPOSITORY
from support.plans import kernel, operator, runner_plan
from support.profiles import in_turns, profile_of, timed_in_turns
from support.readers.format import (
    Format,
    deploy_here,
    sound_model,
)
from support.reports import estimate_of, measured_profile, models
from support.runner_outputs import runner_output
from support.timed_ops import conv, listed, other
from toolchain.board import emulator
from toolchain.board.emulator_state import state_file
from toolchain.board.image import Image as BoardImage
from toolchain.build.bundle import Bundle
from toolchain.dev.bench import page, peers_page
from toolchain.dev.bench.peers import load_peers
from toolchain.dev.bench.results import load_results
from toolchain.dev.blocks import rendered
from toolchain.dev.experiment.runs import load_trainings
from toolchain.dev.figures.tables import writers
from toolchain.errors import DeployError
from toolchain.fetch.sources import load_sources
from toolchain.formats.json_text import to_json
from toolchain.formats.text_file import read_text
from toolchain.hardware.board_file import load_board
from toolchain.profile import history
from toolchain.profile.document import load_profile
from toolchain.profile.export.saved_run import save
from toolchain.profile.runner_output import parse_output, parse_versions
from toolchain.profile.series import read_trends
from toolchain.profile.turns import merged, turn_of
from toolchain.report.history_table import runs_table, series_table
from toolchain.report.page.accuracies import load_accuracies
from toolchain.report.page.charts import charts_of
from toolchain.report.page.documents import make_report, read_document
from toolchain.report.page.published import load_published
from toolchain.report.page.tables import model_table
from toolchain.sparsity.mask_header import by_layer, read_mask_header
from toolchain.storage.cache import RECORD, entry, present
from toolchain.tflite_file.plan import parse_plan, plan_layers
from toolchain.train.recipe import load_recipe


def _toml(path: Path) -> Bytes:
    return documents(tomllib.loads(path.read_text()), text=toml_text)


def _board(path: Path) -> None:
    load_board(str(path))
    deploy_here("inspect", str(sound_model()), "--board", str(path))


def _recipe() -> Bytes:
    everything = tiny_training.tables(
        model={"arguments": {"width": 1}},
        distillation={"weights": "a.pt", "factory": "a.b:c", "weight": 0.5},
        pruning={"ratio": 0.3},
    )
    return documents(everything, tiny_training.tables(), text=toml_text)


def _profiles() -> Bytes:
    one = profile_of(in_turns("dense", [[1000.0, 1010.0]] * 5), in_turns("s20", [[800.0]] * 5))
    other = profile_of(
        in_turns("dense", [[1000.0]] * 3, instructions=[1000]),
        in_turns("s20", [[800.0]] * 3, instructions=[700]),
        emulated=True,
    )
    return documents(*(json.loads(each.to_json()) for each in (one, other)))


def _profile(path: Path) -> None:
    sound = path.with_name("sound.json")
    if not sound.exists():
        profile_of(in_turns("dense", [[1000.0]] * 5), in_turns("s20", [[800.0]] * 5)).save(sound)
    deploy_here("compare", str(path), str(sound))
    deploy_here("compare", str(sound), str(path), "--json")


def _reported() -> Bytes:
    with tempfile.TemporaryDirectory() as folder:
        files = models(Path(folder), dense=0.0, s25=0.25)
        every = [measured_profile(files), estimate_of(files)]
    return documents(*(json.loads(to_json(one)) for one in every))


def _report(path: Path) -> None:
    document = read_document(path, {"dense": 0.9, "s25": 0.8})
    report = make_report([document], {"s25": 0.8})
    for result in report.results:
        model_table(result)
    charts_of(report)


def _accuracies() -> Bytes:
    demo = {"networks": [{"name": "s20", "accuracy_board": 0.9}]}
    return documents({"s20": 0.9, "dense": 0.92}, demo, {"path": "a.safetensors", "accuracy": 0.9})


def _timed_profiles() -> Bytes:
    item = timed_in_turns("m", [([1000.0], listed(conv(4.0), other(1.0)))] * 3)
    return documents(json.loads(profile_of(item, item).to_json()))


def _saved(path: Path) -> None:
    profile, place = load_profile(path), path.with_name("saved")
    try:
        save(place, profile)
        history.append(place / "history.jsonl", profile, place)
        assert list(history.read(place / "history.jsonl")) == [history.run_of(profile, place)]
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _histories() -> Bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        for name in "ab":
            history.append(path, profile_of(in_turns(name, [[1000.0]] * 9)))
        lines = path.read_bytes()
    values = [json.loads(line) for line in lines.splitlines()]
    return st.one_of(documents(*values), damaged([lines]))


def _history(path: Path) -> None:
    for run in history.read(path):
        assert [sum(one.turns_us) for one in run.models]
    history.latest(path, board="rpi4", model="a")
    series = read_trends(path).series
    series_table(series)
    for one in series:
        runs_table(one)
    history.append(path, profile_of(in_turns("c", [[1000.0]])))
    assert list(history.read(path))[-1].models[0].name == "c"


def _runner_outputs() -> Bytes:
    whole = [runner_output(ops=True), runner_output(instructions=700)]
    return documents(*(json.loads(one.model_dump_json(by_alias=True)) for one in whole))


def _runner_output(path: Path) -> None:
    output = parse_output(path.read_bytes())
    merged([output, output])
    turn_of(output)


def _bundles() -> Bytes:
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_bundle(Path(folder) / "b", b"#!/bin/sh\n", glibc_floor="2.34").manifest
    return documents(json.loads(manifest.model_dump_json(by_alias=True)))


def _bundle(path: Path) -> None:
    folder = path.parent / "bundle"
    if not folder.exists():
        write_bundle(folder, b"#!/bin/sh\n")
    (folder / "manifest.json").write_bytes(path.read_bytes())
    Bundle.load(folder)


def _records() -> Bytes:
    return documents({"files": {"a": "0" * 64, "b/c": "1" * 64, "d": "-> a"}})


def _record(path: Path) -> None:
    made = entry("malformed", "key", lambda folder: (folder / "a").touch())
    (made / RECORD).write_bytes(path.read_bytes())
    present("malformed", "key")
    entry("malformed", "key", lambda folder: (folder / "a").touch(), needs=["a"])


def _small_bench() -> Bytes:
    results = bench([case(sparsity=0.0), case(sparsity=0.2)])
    return documents(json.loads(results.to_json()))


def _bench(path: Path) -> None:
    page.page(load_results(path))


def _peers(path: Path) -> None:
    peers_page.peers_page(load_peers(path))


def _figures(path: Path) -> None:
    text = "".join(
        f"<!-- figures: {name} -->\n<!-- end of figures -->\n"
        for name in ("demo", "demo-instructions", "tiles")
    )
    rendered(text, writers(path.parent), page="page.md")


def _json(name: str) -> Callable[[], Bytes]:
    return lambda: documents(json.loads((REPOSITORY / "docs" / name).read_bytes()))


def _pages() -> Bytes:
    return damaged([b"# a\n<!-- figures: demo -->\nx\n<!-- end of figures -->\nb\n"])


def _page(path: Path) -> None:
    rendered(read_text(path, DeployError), {"demo": lambda: "x"}, page=path.name)


_HEADER = b"""#ifndef M_H
#define M_H
#include <stdint.h>
// masks
const uint8_t LAYER1_0_CONV1[2][3] = {{1,0,1},{0,1,1}};
static const uint8_t CONV1[1][1] = { {1}, }; /* one */
#endif
"""


def _headers() -> Bytes:
    rows = b"{" + b",".join([b"{1,0}"] * 500) + b"}"
    many = b"".join(b"const uint8_t A%d[1][1] = {{1}};\n" % number for number in range(3000))
    return damaged([_HEADER, b"const uint8_t A[500][2] = " + rows + b";\n", many])


def _header(path: Path) -> None:
    by_layer(nn.Sequential(nn.Conv2d(1, 1, 1)), read_mask_header(path), path)


def _states() -> Bytes:
    known = {
        "pid": os.getpid(), "port": 22, "log": "/tmp/x.log", "icount": True, "cores": 1,
        "ready": True, "ssh_command": "ssh x",
    }  # fmt: skip
    return documents(known)


def _state(path: Path) -> None:
    board = load_board("qemu")
    place = state_file(board.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(path.read_bytes())
    emulator.status(board)


def _packages(path: Path) -> None:
    folder = path.parent / "image"
    folder.mkdir(exist_ok=True)
    (folder / "packages.json").write_bytes(path.read_bytes())
    (folder / "host_key.pub").write_bytes(path.read_bytes())
    image = BoardImage(folder)
    _ = image.packages
    _ = image.host_key


DOCUMENTS = (
    Format("board", "own.toml", lambda: _toml(REPOSITORY / "boards/qemu.toml"), _board),
    Format("recipe", "recipe.toml", _recipe, load_recipe),
    Format(
        "sources.toml", "sources.toml",
        lambda: _toml(REPOSITORY / "runtime_patch/sources.toml"), load_sources, 0.3,
    ),
    Format("profile", "profile.json", _profiles, _profile),
    Format("report", "reported.json", _reported, _report, 0.5),
    Format("accuracies", "accuracies.json", _accuracies, load_accuracies),
    Format(
        "table of accuracies", "accuracies.csv",
        lambda: damaged([b"model,accuracy\ns20,0.9\n'a b',0.8\n"]), load_accuracies,
    ),
    Format(
        "published times", "published.csv",
        lambda: damaged([b'model,ms,source\nresnet18,191.1,"a, b"\nvgg,9,c\n']), load_published,
    ),
    Format("saved run", "timed.json", _timed_profiles, _saved),
    Format("history", "history.jsonl", _histories, _history),
    Format("runner output", "output.json", _runner_outputs, _runner_output),
    Format(
        "runner version", "version.json",
        lambda: documents(json.loads(runner_output().runner.model_dump_json())),
        lambda path: parse_versions(path.read_bytes()),
    ),
    Format(
        "runner plan", "plan.json",
        lambda: documents(json.loads(runner_plan([operator(), kernel(1)]))),
        lambda path: plan_layers([], parse_plan(path.read_bytes()), "a core"),
    ),
    Format("bundle manifest", "given.json", _bundles, _bundle),
    Format("cache record", "record.json", _records, _record),
    Format("bench results", "bench.json", _small_bench, _bench),
    Format("peers' results", "peers.json", _json("bench-peers.json"), _peers, 0.5),
    Format("experiment", "experiment.json", _json("experiment.json"), load_trainings, 0.5),
    Format("figures", "figures.json", _json("figures.json"), _figures),
    Format("page", "page.md", _pages, _page),
    Format("mask header", "masks.h", _headers, _header),
    Format("emulator state", "state.json", _states, _state),
    Format("image's packages", "p.json", lambda: documents(["a", "b"]), _packages),
)  # fmt: skip
