"""The tables of ``deploy train``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, RenderableType

from toolchain.report.training_table import network_table, plan_table, training_table
from toolchain.train.rounding import Rounding
from toolchain.train.run import (
    LastEpoch,
    NetworkReport,
    PlanReport,
    ScheduleReport,
    TrainedLayer,
    TrainingReport,
)
from toolchain.train.trainer import Epoch, SameImages

LAYERS = [
    TrainedLayer(name="stem[0]", pixels=100, kept=80, macs=9000, macs_kept=7200,
                 tile_rows=4, tiles=25, tiles_kept=20),
    TrainedLayer(name="layer1.0.conv1", pixels=49, kept=49, macs=1_500_000, macs_kept=1_500_000,
                 tile_rows=4, tiles=13, tiles_kept=13),
]  # fmt: skip
MASKED = NetworkReport(factory="pets:net", parameters=2500, macs=2_000_000, macs_kept=1_600_000,
                       layers=LAYERS, rounding=None)  # fmt: skip
DENSE = MASKED.model_copy(update={"macs_kept": 2_000_000, "layers": []})


SCHEDULE = ScheduleReport(first_step=3, final_step=21, steps=30)
FINAL = "masks grow from step 3 on and are final from step 21 on: 9 of 30 steps are left"


def lines(item: RenderableType) -> list[str]:
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured:
        console.print(item)
    return [" ".join(line.split()) for line in captured.get().splitlines()]


def report(network: NetworkReport, command: str) -> TrainingReport:
    return TrainingReport(
        path=Path("out.safetensors"),
        run_folder=Path("pets.run"),
        convert_command=command,
        epoch=2,
        accuracy=0.91234,
        loss=0.25,
        last=LastEpoch(
            path=Path("pets.run/last.safetensors"),
            epoch=3,
            accuracy=0.9,
            loss=0.125,
            convert_command="deploy convert pets.run/last.safetensors",
        ),
        same_images=SameImages(90, 0.1, 0.2, 0.9, 0.8),
        schedule=SCHEDULE if network.layers else None,
        notes=["look [here]"] if network.layers else [],
        epochs=[Epoch(n, 10 * n, 0.2, 0.9, 0.2, True, 0.1, 1.0) for n in (1, 2, 3)],
        network=network,
        resumed_at=None,
        seconds=1.0,
    )


def test_a_masked_network_has_a_line_for_each_layer_and_its_sums() -> None:
    assert lines(network_table(MASKED)) == [
        "layer pixels kept sparsity MACs MACs kept tiles saved",
        "stem[0] 100 80 20.0% 9.0 k 7.2 k 5 of 25",
        "layer1.0.conv1 49 49 0.0% 1.5 M 1.5 M 0 of 13",
        "",
        "pets:net: 2.5 k parameters, 2.0 M MACs an image, 1.6 M with its masks"
        " (speed-up by pixels 1.250)",
        "tiles of 4 pixels: 5 of 38 saved",
    ]


def test_tiles_of_one_pixel_are_not_spoken_of() -> None:
    layers = [layer.model_copy(update={"tile_rows": 1}) for layer in LAYERS]
    shown = lines(network_table(MASKED.model_copy(update={"layers": layers})))
    assert shown[0] == "layer pixels kept sparsity MACs MACs kept"
    assert "tiles" not in " ".join(shown)


def test_layers_that_are_not_rounded_have_no_tiles() -> None:
    layers = [LAYERS[0], LAYERS[1].model_copy(update={"tile_rows": 1})]
    shown = lines(network_table(MASKED.model_copy(update={"layers": layers})))
    assert shown[1].endswith("7.2 k 5 of 25")
    assert shown[2].endswith("1.5 M 1.5 M")
    assert shown[-1] == "tiles of 4 pixels: 5 of 25 saved"


def test_what_a_board_s_plan_decided_is_shown() -> None:
    rounding = Rounding(board="rpi4", core="Cortex-A72", runtime="0.1.0")
    shown = lines(network_table(MASKED.model_copy(update={"rounding": rounding})))
    assert shown[-1] == (
        "no mask is rounded to tiles: none gains by the plan of board 'rpi4' (Cortex-A72)"
    )


def test_a_dense_network_has_no_table() -> None:
    assert lines(network_table(DENSE)) == [
        "masked layers: none",
        "pets:net: 2.5 k parameters, 2.0 M MACs an image",
    ]


def test_what_was_trained_ends_with_what_to_do_next() -> None:
    command = "deploy convert out.safetensors --model pets:net"
    kept = [
        "",
        "kept epoch test accuracy training loss in",
        "best 2 of 3 91.23% 0.250 out.safetensors",
        "last 3 of 3 90.00% 0.125 pets.run/last.safetensors",
        "",
    ]
    end = [
        f"out.safetensors is written; next: {command}",
        "curves: tensorboard --logdir pets.run",
    ]
    assert lines(training_table(report(DENSE, command))) == [
        *lines(network_table(DENSE)), *kept, *end,
    ]  # fmt: skip
    assert lines(training_table(report(MASKED, command))) == [
        *lines(network_table(MASKED)), FINAL, *kept, "note: look [here]", *end,
    ]  # fmt: skip


def test_a_plan_says_what_would_be_done() -> None:
    plan = PlanReport(dataset="pets [small]", training_images=90, test_images=10, classes=2,
                      epochs=3, steps=30, schedule=SCHEDULE,
                      notes=["too short"], network=MASKED)  # fmt: skip
    assert lines(plan_table(plan)) == [
        *lines(network_table(MASKED)),
        "pets [small]: 90 training and 10 test images, 2 classes; 3 epochs, 30 steps",
        FINAL,
        "note: too short",
        "the recipe is good; nothing was trained",
    ]
