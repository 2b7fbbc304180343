"""The bundles of this machine, built once a session and taken from the cache after that."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.runtimes import ByRunner, InPython, Runtime
from toolchain.build.bundle import Bundle, build
from toolchain.build.sanitizers import Sanitizer
from toolchain.hardware.board_file import load_board
from toolchain.storage.cache import locked

# What makes sense on a runtime with a sanitizer; all else tests other things than its memory.
_SANITIZED = (
    "test_masked_convolution.py", "test_masked_networks.py", "test_memory.py",
    "test_padded_max_pooling.py",
)  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--sanitizer"):
        here = Path(__file__).parent
        others = [item for item in items if item.path not in [here / name for name in _SANITIZED]]
        others += [item for item in items if item.get_closest_marker("unsanitized")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@pytest.fixture(scope="session")
def sanitizer(request: pytest.FixtureRequest) -> Sanitizer | None:
    """The sanitizer that the patched runtime was compiled for, if any."""
    chosen: Sanitizer | None = request.config.getoption("--sanitizer")
    return chosen


@pytest.fixture(scope="session")
def host_bundle(sanitizer: Sanitizer | None) -> Bundle:
    """The patched runtime for this machine."""
    with locked("tests-host-bundle"):  # pytest-xdist starts several sessions at once
        return build(load_board("host"), sanitizer=sanitizer)


@pytest.fixture(scope="session")
def host_stock_bundle() -> Bundle:
    """The unpatched runtime for this machine, without a sanitizer."""
    with locked("tests-host-bundle"):
        return build(load_board("host"), stock=True)


@pytest.fixture(scope="session")
def patched(host_bundle: Bundle, sanitizer: Sanitizer | None) -> Runtime:
    """The patched runtime, to run models on."""
    # Python cannot load what needs a sanitizer's own allocator.
    return ByRunner(host_bundle, sanitizer) if sanitizer else InPython(host_bundle)


@pytest.fixture(scope="session")
def stock(host_stock_bundle: Bundle) -> Runtime:
    """The unpatched runtime, to compare with."""
    return InPython(host_stock_bundle)
