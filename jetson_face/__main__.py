"""The process of the command line: `jetson-face`, or `python -m jetson_face`.

Nothing is imported here that takes time: Ctrl-C is ours from the first milliseconds on.
"""

from __future__ import annotations

import atexit
import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from jetson_face.util.interrupt import CtrlC


def main() -> None:
    """Run the command that the process was started with, and end with its exit code."""
    gc.disable()  # what is imported stays: nothing in it to collect
    ctrl_c = CtrlC()
    # A shell starts what runs in the background with SIGINT ignored, and it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, ctrl_c)
        # Registered first, so called last: the command is done then, and its code stands.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    from jetson_face.cli.main import end, main
    from jetson_face.cli.streams import mend_streams

    mend_streams()
    end(main(within=_loaded(ctrl_c)))


@contextmanager
def _loaded(ctrl_c: CtrlC) -> Iterator[None]:
    """Everything is imported: collections begin, and leave out what there is, now and later."""
    gc.freeze()
    gc.enable()
    with ctrl_c:
        yield


if __name__ == "__main__":
    main()
