"""Tables of times that others published."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.errors import ModelError
from toolchain.report.page.published import load_published
from toolchain.report.page.view import PublishedRow


def written(folder: Path, text: str) -> Path:
    path = folder / "p.csv"
    path.write_text(text)
    return path


def test_rows_are_read_with_what_is_told_of_them(tmp_path: Path) -> None:
    text = 'model,ms,source,board,note\nresnet18, 191.1 ,a bench,rpi4,x\nvgg,900,"b, c",,\n'
    assert load_published(written(tmp_path, text)) == [
        PublishedRow(model="resnet18", ms=191.1, source="a bench", board="rpi4"),
        PublishedRow(model="vgg", ms=900, source="b, c"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model,ms\na,1\n", "has no column source"),
        ("", "has no column model, ms, source"),
        ("model,ms,source\n", "has no row"),
        ("model,ms,source\na,fast,b\n", "line 2: ms: "),
        ("model,ms,source\na,1,b\na,-1,b\n", "line 3: ms: "),
        ('model,ms,source\na,1,"b\n', "line"),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ModelError, match=r"p\.csv") as caught:
        load_published(written(tmp_path, text))
    assert said in caught.value.what
    assert "model,board,threads,type,ms,source" in (caught.value.hint or "")
