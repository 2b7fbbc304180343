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

        def leave(*_: object) -> None:
            try:
                os.write(2, b"interrupted\n")
            finally:
                os._exit(130)

        # Where a shell has started this in the background, SIGINT is ignored, and stays so.
        if waits := signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, leave)
        from toolchain.cli import app

        if waits:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        app.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
