from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import warnings

import pytest

from support.patience import PATIENCE
from toolchain.agreement.silence import quiet

_NOISE = """
import ctypes, logging, os, sys, warnings
from toolchain.agreement.silence import quiet

libc = ctypes.CDLL(None)
with quiet() as log:
    print("python's standard output")
    os.write(1, b"standard output\\n")
    os.write(2, b"standard error\\n")
    libc.puts(b"from C")
    libc.fflush(None)
    logging.getLogger("noisy").error("an error in the log")
    warnings.warn("a warning")
    sys.stderr.write("a progress bar\\n")
    assert "from C" in log.tail(), log.tail()
    assert "python's standard output" in log.tail()
print("afterwards")
sys.stderr.write("and here\\n")
os.write(1, b"both\\n")
"""


def test_only_pythons_standard_error_gets_through() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NOISE], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert sorted(done.stdout.split()) == ["afterwards", "both"]
    assert done.stderr == "a progress bar\nand here\n"


def test_everything_is_as_before_when_the_work_fails() -> None:
    filters = list(warnings.filters)
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    stderr, stdout = sys.stderr, sys.stdout
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    assert (sys.stderr, sys.stdout) == (stderr, stdout)
    assert logging.root.manager.disable == logging.NOTSET
    assert list(warnings.filters) == filters
    assert len(os.listdir("/proc/self/fd")) == files  # noqa: PTH208


def test_quiet_inside_quiet_is_quiet() -> None:
    with quiet() as outer, quiet() as inner:
        os.write(1, b"once\n")
        assert inner.tail() == "once"
    assert outer is not inner


def test_the_log_keeps_its_last_lines() -> None:
    with quiet() as log:
        os.write(2, b"".join(b"line %d\n" % n for n in range(100)))
        assert log.tail(2) == "line 98\nline 99"


def test_one_thread_is_quiet_at_a_time() -> None:
    """They share the descriptors: else one would put back what another has redirected."""
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with quiet():
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.05)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    stdout = sys.stdout
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert most == 1
    assert sys.stdout is stdout
    with quiet(), quiet():
        pass
