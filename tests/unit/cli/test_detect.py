"""The command line: ``deploy detect``, on a detector whose boxes are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from support.colour_detector import NAMES, SIZE, box_of, draw_cells, write_colour_detector
from toolchain.cli.app import app, main
from toolchain.zoo.pictures import colour_of


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_colour_detector(tmp_path / "d.tflite")
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
    draw_cells(tmp_path / "a.png", {(5, 6): "red", (9, 2): "blue"})
    return tmp_path


def invoke(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["detect", *words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.mark.usefixtures("here")
def test_objects_are_where_they_were_put() -> None:
    told = json.loads(invoke("d.tflite", "a.png", "--names", "names.txt", "--json"))
    (picture,) = told["pictures"]
    assert (picture["width"], picture["height"]) == (SIZE, SIZE)
    found = {one["name"]: one for one in picture["objects"]}
    assert set(found) == set(NAMES)
    np.testing.assert_allclose(found["red thing"]["box"], box_of(5, 6), atol=1e-3)
    np.testing.assert_allclose(found["blue thing"]["box"], box_of(9, 2), atol=1e-3)
    expected = 1 / (1 + np.exp(-5)) / (1 + np.exp(-10))
    assert [one["score"] for one in picture["objects"]] == pytest.approx([expected] * 2, rel=1e-4)
    assert [one["class_number"] for one in found.values()] in ([0, 1], [1, 0])
    assert told["ran_on"] == "this machine (stock interpreter)"


def test_boxes_come_back_to_the_pixels_of_a_larger_picture(here: Path) -> None:
    draw_cells(here / "big.png", {(5, 6): "red"}, scale=4)
    with Image.open(here / "big.png") as image:  # grey lies above and below it in the input
        image.crop((0, 4 * 16, 4 * SIZE, 4 * 80)).save(here / "wide.png")
    told = json.loads(invoke("d.tflite", "big.png", "wide.png", "--json", "--no-draw"))
    boxes = [[one["box"] for one in picture["objects"]] for picture in told["pictures"]]
    np.testing.assert_allclose(boxes[0], [box_of(5, 6, scale=4)], atol=1e-3)
    x1, y1, x2, y2 = box_of(5, 6, scale=4)
    np.testing.assert_allclose(boxes[1], [(x1, y1 - 64, x2, y2 - 64)], atol=1e-3)
    assert not (here / "detected").exists()


def test_copies_have_boxes_and_pictures_stay(here: Path) -> None:
    before = (here / "a.png").read_bytes()
    printed = invoke("d.tflite", "a.png", "--names", "names.txt")
    assert (here / "a.png").read_bytes() == before
    with Image.open(here / "detected/a.png") as image:
        x1, y1, _, y2 = box_of(5, 6)
        assert image.getpixel((round(x1), round((y1 + y2) / 2))) == colour_of(0)
    words = [" ".join(line.split()) for line in printed.splitlines()]
    assert words[0] == "picture object score left top right bottom"
    assert "a.png red thing 0.99 36 37 52 67" in words
    assert "2 objects on 1 picture, by d.tflite on this machine (stock interpreter)" in words
    assert words[-1] == "boxes are drawn in detected/a.png"


def test_a_jpeg_stays_one_and_pictures_of_one_name_get_numbers(here: Path) -> None:
    for folder in ("one", "two"):
        (here / folder).mkdir()
        draw_cells(here / folder / "b.jpg", {(1, 2): "red"})
    draw_cells(here / "one/c.bmp", {})
    told = json.loads(
        invoke("d.tflite", "one/b.jpg", "two/b.jpg", "one/c.bmp", "-o", "out", "--json")
    )
    drawn = [picture["drawn"] for picture in told["pictures"]]
    assert drawn == ["out/b.jpg", "out/b_2.jpg", "out/c.png"]
    for name, kind in (("b.jpg", "JPEG"), ("b_2.jpg", "JPEG"), ("c.png", "PNG")):
        with Image.open(here / "out" / name) as image:
            assert image.format == kind


def test_a_copy_is_never_written_over_a_picture(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (here / "a.png").read_bytes()
    (here / "sub").mkdir()
    draw_cells(here / "sub/a.png", {})
    for words in (["a.png", "--output-dir", "."], ["sub/a.png", "a.png", "--output-dir", "."]):
        monkeypatch.setattr("sys.argv", ["deploy", "detect", "d.tflite", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 13
        assert "a.png: is read here, and would be replaced" in capsys.readouterr().err
        assert (here / "a.png").read_bytes() == before


def test_thresholds_decide_what_counts(here: Path) -> None:
    draw_cells(here / "b.png", {(5, 5): "red", (6, 5): "red", (5, 9): "red"})

    def count(*words: str) -> int:
        told = json.loads(invoke("d.tflite", "b.png", "--json", "--no-draw", *words))
        return len(told["pictures"][0]["objects"])

    # Neighbours are 8 pixels apart and 16 wide: a third of their union is shared.
    assert count() == 3
    assert count("--overlap", "0.3") == 2
    assert count("--score", "0.999") == 0
    assert count("--limit", "1") == 1
    assert count("--score", "0", "--overlap", "1", "--limit", "10000") == 3 * (144 + 36 + 9)


def test_a_picture_with_nothing_on_it_is_told(here: Path) -> None:
    draw_cells(here / "empty.png", {})
    printed = " ".join(invoke("d.tflite", "empty.png").split())
    assert "nothing with a score of 0.25 or more: empty.png; --score sets it lower" in printed
    assert (here / "detected/empty.png").is_file()


def test_a_bad_picture_is_told_at_the_end_and_the_others_go_on(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "bad.png").write_bytes(b"no picture")
    words = ["detect", "d.tflite", "bad.png", "a.png", "absent.png", "--json"]
    monkeypatch.setattr("sys.argv", ["deploy", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 14
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert [one["picture"] for one in told["pictures"]] == ["a.png"]
    assert [one["picture"] for one in told["failed"]] == ["bad.png", "absent.png"]
    assert "bad.png: cannot be read as a picture" in shown.err
    assert "absent.png: cannot be read: No such file" in shown.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["absent.tflite", "a.png"], 3, "absent.tflite: cannot be read"),
        (["d.tflite", "a.png", "--host", "pi"], 2, "is for a board: name it with --board"),
        (["d.tflite", "a.png", "--names", "absent.txt"], 3, "absent.txt: cannot be read"),
        (["d.tflite", "a.png", "--names", "one.txt"], 3, "one.txt: has 1 names, the network 2 cl"),
        (["d.tflite", "a.png", "--board", "rpi9"], 5, "there is no board called 'rpi9'"),
        (["d.tflite", "a.png", "-o", "names.txt"], 13, "names.txt is no folder"),
        (["d.tflite"], 2, "PICTURE"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    words: list[str], code: int, said: str,
) -> None:  # fmt: skip
    (here / "one.txt").write_text("thing\n")
    monkeypatch.setattr("sys.argv", ["deploy", "detect", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (here / "detected").exists()


def test_more_pictures_than_run_at_once_keep_their_order(here: Path) -> None:
    cells = [(column, row) for row in (2, 5, 8) for column in (2, 5, 8, 10)]
    for number, cell in enumerate(cells):
        draw_cells(here / f"p{number:02}.png", {cell: "red"})
    names = [f"p{number:02}.png" for number in range(len(cells))]
    told = json.loads(invoke("d.tflite", *names, "--json", "--no-draw"))
    for picture, cell in zip(told["pictures"], cells, strict=True):
        (found,) = picture["objects"]
        np.testing.assert_allclose(found["box"], box_of(*cell), atol=1e-3)
