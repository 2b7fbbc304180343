"""sources.toml says what every source is; faults in it are named."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import pytest

from toolchain.errors import SourceError
from toolchain.fetch.apt import AptRoot
from toolchain.fetch.sources import Source, load_sources, tree
from toolchain.storage.cache import sha256_file

GOOD = {
    "name": '"x"', "package": '"x"', "version": '"1-1"', "suite": '"trixie"',
    "file": '"x_1.orig.tar.xz"', "sha256": f'"{"0" * 64}"', "strip": "1",
}  # fmt: skip


def write(path: Path, changes: dict[str, str | None]) -> Path:
    table = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    lines = [f"{key} = {value}" for key, value in table.items()]
    path.write_text("deb = []\n[[source]]\n" + "\n".join(lines) + "\n")
    return path


def test_the_shipped_list_is_valid_and_every_file_is_pinned_once() -> None:
    sources = load_sources()
    names = [*(item.name for item in sources.source), *(item.name for item in sources.deb)]
    assert len(names) == len(set(names))
    assert {"xnnpack", "tensorflow", "pthreadpool", "cpuinfo", "ruy"} <= set(names)
    for deb in sources.deb:
        assert deb.amd64.file.endswith("_amd64.deb")
        assert deb.arm64.file.endswith("_arm64.deb")
        assert deb.armhf.file.endswith("_armhf.deb")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"sha256": '"abc"'}, "sha256"),
        ({"sha256": None}, "sha256"),
        ({"file": '"../x.tar.xz"'}, "file"),
        ({"suite": '"jammy"'}, "suite"),
        ({"strip": "-1"}, "strip"),
        ({"colour": '"red"'}, "colour"),
        ({"name": '"X Y"'}, "name"),
    ],
)
def test_a_fault_is_named_with_its_file_and_key(
    tmp_path: Path, changes: dict[str, str | None], fault: str
) -> None:
    path = write(tmp_path / "sources.toml", changes)
    with pytest.raises(SourceError, match=rf"(?m)^{re.escape(str(path))}: .*\b{fault}\b"):
        load_sources(path)


def test_what_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "sources.toml").write_text("[[source")
    with pytest.raises(SourceError, match="is not TOML"):
        load_sources(tmp_path / "sources.toml")


def test_a_tree_is_unpacked_once_and_only_from_the_pinned_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILESKIP_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "x_1.orig.tar.xz"
    with tarfile.open(archive, "w:xz") as stream:
        info = tarfile.TarInfo("x-1/README")
        info.size = 2
        stream.addfile(info, io.BytesIO(b"hi"))
    source = Source(
        name="xx", package="xx", version="1-1", suite="trixie", file=archive.name,
        sha256=sha256_file(archive), strip=1,
    )  # fmt: skip
    first = tree(source, AptRoot(sources=tmp_path))
    assert (first / "README").read_text() == "hi"
    archive.unlink()
    assert tree(source, AptRoot()) == first

    archive.write_bytes(b"corrupted")
    other = source.model_copy(update={"sha256": "f" * 64, "file": archive.name})
    with pytest.raises(SourceError, match=f"expected {'f' * 64}"):
        tree(other, AptRoot(sources=tmp_path))
    assert [path.name for path in first.parent.iterdir()] == [first.name]
