"""Where the program starts and ends: ``flash4gen`` and ``python -m flash4gen``.

Takes the command line, ends the process with its exit code. What can go wrong before and after a
command runs (Ctrl-C while modules load, a reader that closes the pipe) ends quietly here.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

INTERRUPTED = 130
PIPE_CLOSED = 141
"""What shells report of a program that SIGINT, SIGPIPE ended."""


def main() -> NoReturn:
    """Run the command line of this process and end it."""
    try:
        from flash4gen.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:
        code = PIPE_CLOSED
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process, and say no more.

    Triton's bindings print a list of objects that are still alive when the interpreter is taken
    down. Users take it for an error; so with Triton loaded, the interpreter is not taken down.
    """
    code = code if _flushed() else PIPE_CLOSED
    if "triton" not in sys.modules:
        sys.exit(code)
    import atexit

    atexit._run_exitfuncs()  # removes temporary folders, ends worker processes
    _flushed()
    os._exit(code)


def _flushed() -> bool:
    """Write what is buffered; False if nobody reads it any more."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end; let that succeed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


if __name__ == "__main__":
    main()
