from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from toolchain import extras
from toolchain.cli.app import app
from toolchain.errors import ModelError


def test_a_pattern_without_a_library_says_how_it_is_written() -> None:
    done = CliRunner().invoke(app, ["models", "resnet*"])
    assert done.exit_code == 2
    assert "write 'timm:resnet*'" in done.output


needs_timm = pytest.mark.skipif(bool(extras.missing_modules("timm")), reason="needs the extra timm")


@needs_timm
def test_networks_of_a_library_are_listed_by_a_pattern() -> None:
    done = CliRunner().invoke(app, ["models", "timm:resnet10t*", "--json"], catch_exceptions=False)
    assert json.loads(done.stdout) == [{"name": "timm:resnet10t", "input_shape": [1, 3, 176, 176]}]
    shown = CliRunner().invoke(app, ["models", "torchvision:r3d*"], catch_exceptions=False).stdout
    assert shown.split()[-2:] == ["torchvision:r3d_18", "?"]


@needs_timm
def test_a_pattern_that_fits_nothing_is_an_error() -> None:
    done = CliRunner().invoke(app, ["models", "timm:resnot*"])
    assert isinstance(done.exception, ModelError)
    assert "timm has no network called 'resnot*'" in done.exception.what
