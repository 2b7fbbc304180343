"""``deploy``: the door to the command line, which is :mod:`toolchain.cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; whoever presses Ctrl-C before it runs is not shown a traceback.

    Importing takes a moment. What is imported may swallow the exception that Ctrl-C becomes, so
    until it is done Ctrl-C ends the process on the spot: nothing is begun that had to be ended.
    """
    try:
        import os
        import signal

        # Where a shell has started this in the background, SIGINT is ignored, and stays so.
        listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if listens:
            signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
        from toolchain.garbage import collect_seldom
        from toolchain.openmp import wait_briefly

        collect_seldom()
        wait_briefly(os.environ)
        from toolchain.cli import app

        if listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        app.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
