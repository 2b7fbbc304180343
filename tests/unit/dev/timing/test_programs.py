"""A row's program is the wheel nearest to its date, on the board that the row is of."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from support.made_up_rows import ROW as MADE_UP
from toolchain.dev.bench.arm_python import NEWEST, OLDER
from toolchain.dev.timing.counted import run_threads
from toolchain.dev.timing.programs import (
    NcnnProgram,
    RunnerProgram,
    TfliteProgram,
    nearest_wheel,
    program_of,
)
from toolchain.dev.timing.published import Row
from toolchain.errors import BoardError

ROW = replace(MADE_UP, precision="int8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ncnn_networks").mkdir()
    (tmp_path / "ncnn_networks/resnet18_int8.param").write_text("7767517\n")
    return tmp_path


def program(row: Row, folder: Path) -> NcnnProgram:
    found = program_of(row, folder)
    assert isinstance(found, NcnnProgram)
    return found


@pytest.mark.parametrize(
    ("published", "wheel"),
    [
        (date(2022, 1, 3), "20220216"),
        (date(2022, 1, 17), "20220216"),
        (date(2023, 6, 15), "20230517"),
        (date(2023, 9, 28), "20230816"),
        (date(2023, 12, 12), "20240102"),
    ],
)
def test_the_nearest_wheel_is_taken(published: date, wheel: str) -> None:
    assert nearest_wheel(published) == wheel


def test_a_row_is_run_with_its_network_threads_and_core(folder: Path) -> None:
    found = program(replace(ROW, threads=4), folder)
    assert found.requirement == "ncnn==1.0.20230517"
    assert (found.core, found.threads, found.width) == ("cortex-a72", 4, 224)
    assert found.param.name == "resnet18_int8.param"
    assert found.release is NEWEST


def test_older_wheels_need_an_older_python_and_an_older_benchmark(folder: Path) -> None:
    found = program(replace(ROW, published=date(2022, 1, 17)), folder)
    assert found.release is OLDER
    assert found.workspace_ratio == 0.5


def test_rows_without_a_program_say_why(folder: Path) -> None:
    assert "no wheel" in str(program_of(replace(ROW, published=date(2021, 5, 6)), folder))
    assert "vgg16_int8.param" in str(program_of(replace(ROW, network="vgg16"), folder))
    assert "no model of resnet18" in str(program_of(replace(ROW, runtime="tflite"), folder))
    assert "no runner" in str(program_of(replace(ROW, runtime="xnnpack"), folder))
    unknown = replace(ROW, runtime="executorch", network="deit_tiny")
    assert "no model of deit_tiny" in str(program_of(unknown, folder, folder / "tileskip-run"))


def test_rows_of_xnnpack_are_run_by_our_runner(folder: Path) -> None:
    row = replace(ROW, runtime="executorch", threads=4, core="cortex-a76")
    found = program_of(row, folder, folder / "tileskip-run")
    assert isinstance(found, RunnerProgram)
    assert (found.network, found.precision, found.threads) == ("resnet18", "int8", 4)


def test_rows_of_mlperf_are_run_by_tensorflow_lite_itself(folder: Path) -> None:
    row = replace(ROW, runtime="tflite", network="mobilenet_v1-1.0-224", precision="fp32")
    found = program_of(row, folder)
    assert isinstance(found, TfliteProgram)
    assert (found.network, found.precision) == ("mobilenet_v1", "fp32")
    whole = replace(row, precision="int8")
    assert "does not run our int8 files" in str(program_of(whole, folder))
    smaller = replace(row, network="mobilenet_v1-1.0-192", width=192)
    assert "no model of mobilenet_v1-1.0-192" in str(program_of(smaller, folder))


def test_what_decides_the_instructions_is_in_the_key_and_the_clock_is_not(folder: Path) -> None:
    found = program(ROW, folder)
    assert found.key == program(replace(ROW, clock_mhz=1500), folder).key
    assert found.key != program(replace(ROW, threads=4), folder).key
    assert found.key != program(replace(ROW, core="cortex-a53"), folder).key


COUNTS = """mark 6 900 0:900
mark 1 10 0:10
mark 2 50,40 0:90
mark 1 7,3 0:10
mark 2 60,30,20 0:110
function 0 (other)
end
"""


def test_the_last_marked_run_is_counted_by_thread() -> None:
    assert run_threads(COUNTS) == [60, 30, 20]


@pytest.mark.parametrize("text", ["", "mark 1 5 0:5\nend\n", COUNTS.removesuffix("end\n")])
def test_counts_that_are_cut_off_are_refused(text: str) -> None:
    with pytest.raises(BoardError):
        run_threads(text)
