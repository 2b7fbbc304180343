"""Rows of published times are read as they stand, or left out with a reason."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from toolchain.dev.timing.published import Published, family, read_published
from toolchain.errors import DataError

HEAD = "source\tboard\tcore\tclock_MHz\tthreads\truntime\tversion\tprecision\tnetwork\tinput\tms\n"
NCNN = (
    "Tencent/ncnn benchmark/README.md @1", "Raspberry Pi 4B", "Cortex-A72", "1800", "1", "ncnn",
    "README row of 2023-06-15", "fp32", "resnet18", "224x224", "191.10",
)  # fmt: skip


def published(folder: Path, *rows: tuple[str, ...], head: str = HEAD) -> Published:
    text = head + "".join("\t".join(row) + "\n" for row in rows)
    (folder / "pi_times.tsv").write_text(text)
    return read_published(folder)


def changed(**fields: str) -> tuple[str, ...]:
    names = HEAD.strip().split("\t")
    return tuple(fields.get(name, value) for name, value in zip(names, NCNN, strict=True))


def test_a_row_tells_board_program_network_and_time(tmp_path: Path) -> None:
    (row,) = published(tmp_path, NCNN).rows
    assert (row.board, row.core, row.clock_mhz, row.threads) == ("rpi4", "cortex-a72", 1800, 1)
    assert (row.runtime, row.published) == ("ncnn", date(2023, 6, 15))
    assert (row.precision, row.network, row.width, row.height) == ("fp32", "resnet18", 224, 224)
    assert row.ms == 191.10
    assert row.cycles == pytest.approx(191.10e-3 * 1.8e9)


def test_a_type_may_be_explained_in_brackets(tmp_path: Path) -> None:
    row = changed(precision="fp16 arithmetic (benchncnn default, core has asimdhp)")
    assert published(tmp_path, row).rows[0].precision == "fp16"


def test_int8_networks_of_ncnn_have_descriptions_of_their_own(tmp_path: Path) -> None:
    assert published(tmp_path, changed(precision="int8")).rows[0].title == "resnet18_int8"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"board": "Raspberry Pi 4B (32-bit Raspbian Buster)"}, "32-bit"),
        ({"clock_MHz": "not said (1500 or 1800)"}, "clock is not said"),
        ({"source": "a blog", "runtime": "PyTorch"}, "not run here"),
        ({"core": "Cortex-A57"}, "not a board of ours"),
        ({"precision": "int8 (TFLite) / fp32 (TF)"}, "type"),
        ({"network": "not said"}, "network is not said"),
        ({"input": "not said"}, "input is not said"),
        ({"source": "google/XNNPACK issue #814", "runtime": "XNNPACK end2end-bench"}, "outlier"),
    ],
)
def test_what_cannot_be_used_is_left_out_with_its_reason(
    tmp_path: Path, fields: dict[str, str], reason: str
) -> None:
    found = published(tmp_path, changed(**fields), NCNN)
    assert len(found.rows) == 1
    assert found.left_out[0].line == 2
    assert reason in found.left_out[0].reason


def test_unsaid_threads_are_all_cores_and_known_to_be_assumed(tmp_path: Path) -> None:
    row = changed(
        source="google/XNNPACK README", runtime="XNNPACK end2end-bench", version="v2022-02-08",
        threads="multi (not said; 4 cores)",
    )  # fmt: skip
    (found,) = published(tmp_path, row).rows
    assert (found.runtime, found.threads, found.threads_said) == ("xnnpack", 4, False)
    assert found.published == date(2022, 2, 8)


@pytest.mark.parametrize("ms", ["fast", "0", "-1", "nan"])
def test_a_time_that_is_none_is_refused(tmp_path: Path, ms: str) -> None:
    with pytest.raises(DataError, match="line 2: ms"):
        published(tmp_path, changed(ms=ms))


def test_another_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="columns"):
        published(tmp_path, head="network\tms\n")
    with pytest.raises(DataError, match="line 2"):
        published(tmp_path, NCNN[:-1])
    with pytest.raises(DataError, match="cannot be read"):
        read_published(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("networks", "name"),
    [
        (("mobilenet", "mobilenet_int8", "mobilenet_ssd", "mobilenet_yolo", "mobilenet_v1",
          "mobilenet_v1-0.25-128"), "mobilenet"),
        (("mobilenet_v2", "mnasnet", "mobilenetv2_yolov3", "mobilenet_v2-1.4-224"), "mobilenet_v2"),
        (("efficientnet_b0", "efficientnet-lite4"), "efficientnet"),
        (("squeezenet", "squeezenet_int8", "squeezenet1_0"), "squeezenet"),
        (("resnet18", "resnet18_int8"), "resnet18"),
        (("yolov4-tiny",), "yolov4_tiny"),
    ],
)  # fmt: skip
def test_variants_of_a_network_are_one_family(networks: tuple[str, ...], name: str) -> None:
    assert {family(network) for network in networks} == {name}
