"""The trace plugin's parts that need no QEMU, as a library that tests call."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from support.slow_memory import COUNTS, Geometry
from toolchain.build.compiler import require
from toolchain.resources import runtime_patch_dir
from toolchain.timing.qemu_plugin import FLAGS

_PLAY = Path(__file__).parent.parent / "native/qemu_plugin/play.c"
_SOURCES = (
    "aarch64_code.c", "branch_predictor.c", "caches.c", "machine_code.c", "x86_64_code.c",
)  # fmt: skip
_NUMBERS = 18  # of a geometry
_YIELDS = 1 << 8

Accesses = Sequence[tuple[int, bool]]
"""Lines, and whether they are stored to."""


class Player:
    """Caches, branch predictor and decoder."""

    def __init__(self, folder: Path) -> None:
        require({"gcc": "gcc"})
        sources = runtime_patch_dir() / "qemu_plugin"
        made = folder / "play.so"
        command = [
            "gcc", *(flag for flag in FLAGS if flag != "-fvisibility=hidden"), f"-I{sources}",
            str(_PLAY), *(str(sources / name) for name in _SOURCES), "-o", str(made),
        ]  # fmt: skip
        subprocess.run(command, check=True)
        pointer, size, whole = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32
        self._library = library = ctypes.CDLL(str(made))
        library.NewPlayer.restype = pointer
        library.FreePlayer.argtypes = [pointer]
        library.Play.argtypes = [pointer, whole, pointer, pointer, size]
        library.Told.argtypes = [pointer, whole, pointer]
        library.Mispredicted.argtypes = [pointer, pointer, size, size]
        library.MispredictedTargets.argtypes = [pointer, size, size]
        library.MispredictedReturns.argtypes = [size]
        for name in ("Mispredicted", "MispredictedTargets", "MispredictedReturns"):
            getattr(library, name).restype = size
        library.Frame.argtypes = [ctypes.c_uint64, whole]
        library.Frame.restype = ctypes.c_uint64
        library.Kind.argtypes = [ctypes.c_char_p, ctypes.c_char_p, size]
        library.Kind.restype = whole

    def plays(self, geometry: Geometry) -> bool:
        """Whether a geometry is taken."""
        player = self._library.NewPlayer((ctypes.c_uint32 * _NUMBERS)(*geometry.numbers()))
        if player:
            self._library.FreePlayer(player)
        return bool(player)

    def counts(
        self, geometry: Geometry, turns: Sequence[tuple[int, Accesses]]
    ) -> list[dict[str, int]]:
        """What each of two cores counts; a turn is one core's accesses."""
        player = self._library.NewPlayer((ctypes.c_uint32 * _NUMBERS)(*geometry.numbers()))
        assert player, "the geometry is refused"
        for core, accesses in turns:
            lines = np.array([line for line, _ in accesses], np.uint64)
            stores = np.array([store for _, store in accesses], np.uint8)
            self._library.Play(player, core, lines.ctypes.data, stores.ctypes.data, len(accesses))
        found = []
        for core in range(2):
            counts = np.zeros(len(COUNTS), np.uint64)
            self._library.Told(player, core, counts.ctypes.data)
            found.append(dict(zip(COUNTS, counts.tolist(), strict=True)))
        self._library.FreePlayer(player)
        return found

    def mispredicted(self, outcomes: Sequence[tuple[int, bool]], uncounted: int) -> int:
        """Of branches, each an address and whether it is taken; the first ones do not count."""
        addresses = np.array([address for address, _ in outcomes], np.uint64)
        taken = np.array([taken for _, taken in outcomes], np.uint8)
        found: int = self._library.Mispredicted(
            addresses.ctypes.data, taken.ctypes.data, len(outcomes), uncounted
        )
        return found

    def mispredicted_targets(self, targets: Sequence[int], uncounted: int) -> int:
        """Of one indirect branch."""
        array = np.array(targets, np.uint64)
        found: int = self._library.MispredictedTargets(array.ctypes.data, len(targets), uncounted)
        return found

    def mispredicted_returns(self, depth: int) -> int:
        """Of calls inside each other."""
        found: int = self._library.MispredictedReturns(depth)
        return found

    def frame(self, page: int, page_bits: int) -> int:
        """Where a page lies."""
        found: int = self._library.Frame(page, page_bits)
        return found

    def kind(self, code: int) -> int:
        """Of an instruction: bit 0 loads, bit 1 stores, the others say how a block ends with it."""
        return self.kind_of("aarch64", code.to_bytes(4, "little")) & ~_YIELDS

    def kind_of(self, machine: str, code: bytes) -> int:
        """The same for any machine; :data:`_YIELDS` where it tells that a thread waits."""
        found: int = self._library.Kind(machine.encode(), code, len(code))
        return found
