"""The process of the command line: `jetson-face`, or `python -m jetson_face`.

Nothing is imported here that takes time: Ctrl-C is ours from the first milliseconds on.
"""

from __future__ import annotations

import atexit
import signal

from jetson_face.util.interrupt import CtrlC


def main() -> None:
    """Run the command that the process was started with, and end with its exit code."""
    ctrl_c = CtrlC()
    # A shell starts what runs in the background with SIGINT ignored, and it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, ctrl_c)
        # Registered first, so called last: the command is done then, and its code stands.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    from jetson_face.cli.main import end, main

    end(main(within=ctrl_c))


if __name__ == "__main__":
    main()
