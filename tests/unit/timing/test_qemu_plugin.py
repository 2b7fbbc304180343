from __future__ import annotations

import re

from toolchain.resources import runtime_patch_dir
from toolchain.timing import qemu_plugin

FOLDER = runtime_patch_dir() / "qemu_plugin"


def test_a_plugins_files_are_those_that_it_includes() -> None:
    """What is not listed would not be part of the key under which it is kept."""
    for plugin, sources in qemu_plugin._SOURCES.items():
        seen, left = set[str](), list(sources)
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                left += re.findall(r'^#include "(.*)"', (FOLDER / name).read_text(), re.MULTILINE)
        assert seen == {*sources, *qemu_plugin._HEADERS[plugin]}


def test_every_file_is_of_a_plugin() -> None:
    listed = {
        name
        for names in (*qemu_plugin._SOURCES.values(), *qemu_plugin._HEADERS.values())
        for name in names
    }
    assert listed == {path.name for path in FOLDER.iterdir()}
