"""How-to pages that need no board but this machine: every command on them runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from support.pages import run_page
from support.places import REPOSITORY
from support.published import mask_by_hooks, publish, random_masks, write_header
from toolchain.zoo.init import randomise
from toolchain.zoo.resnet import ResNet

pytestmark = pytest.mark.unsanitized

PAGES = [
    "how-to/compare.md",
    "how-to/convert.md",
    "how-to/detect-objects.md",
    "how-to/embed.md",
    "how-to/evaluate.md",
    "how-to/find-the-slow-layer.md",
    "how-to/from-dense-to-masked.md",
    "how-to/look-at-a-profile.md",
    "how-to/quantise.md",
    "how-to/report.md",
    "how-to/train.md",
    "how-to/training-loop.md",
    "how-to/troubleshoot.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_runs(page: str, tmp_path: Path) -> None:
    run_page(page, tmp_path, {})


def test_what_published_code_leaves_is_converted(tmp_path: Path) -> None:
    """``how-to/published-masks.md``, on what the paper's code writes."""
    model = ResNet((2, 2, 2, 2), (64, 128, 256, 512), (1, 2, 2, 2), classes=102)
    randomise(model, 5)
    publish(model, tmp_path / "weights.pt")
    masks = random_masks(model, 224, sparsity=0.2, seed=1)
    write_header(tmp_path / "bin_mask.h", masks)
    publish(mask_by_hooks(model, masks), tmp_path / "best_state_dict.pt")
    run_page("how-to/published-masks.md", tmp_path, {})
    assert (tmp_path / "flowers.tflite").stat().st_size > 0
    assert (tmp_path / "header.tflite").stat().st_size > 0


def test_the_cache_is_cleaned(tmp_path: Path) -> None:
    """``how-to/free-space.md``, on a cache of its own."""
    run_page("how-to/free-space.md", tmp_path, {"TILESKIP_CACHE": str(tmp_path / "cache")})


def test_what_is_installed_from_a_checkout_runs(tmp_path: Path) -> None:
    """``how-to/install.md``, in a copy of the project.

    Extras come without what they depend on: that would be the whole of PyTorch once more.
    """
    project = tmp_path / "project"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in found.stdout.rstrip("\0").split("\0"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, project / name)
    run_page("how-to/install.md", project, {"PIP_NO_DEPS": "1", "PYTHONPATH": ""})
    deploy = project / "env/bin/deploy"
    for words in ("--version", "boards"):
        subprocess.run([deploy, words], cwd=tmp_path, capture_output=True, check=True)
