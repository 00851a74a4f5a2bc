"""How old a live stream's frames are when OpenCV gives them, by the number of decoding threads.

    python tools/bench_stream_delay.py [--threads 1,2,4,8] [--frames 100]

A GStreamer pipeline sends frames that carry their number, 25 a second, as MPEG-4 over TCP on the
loopback address; each is read as `capture.opencv` reads a camera, and its age is the time since it
was drawn. Needs GStreamer with PyGObject and gstreamer1.0-libav.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, FPS = 640, 480, 25
BITS = 10
PORT = 5011
SENDER = (
    f"appsrc name=frames is-live=true format=time do-timestamp=true "
    f"caps=video/x-raw,format=BGR,width={WIDTH},height={HEIGHT},framerate={FPS}/1 ! videoconvert ! "
    "avenc_mpeg4 gop-size=10 bitrate=4000000 ! mpeg4videoparse config-interval=-1 ! mpegtsmux ! "
    f"tcpserversink host=127.0.0.1 port={PORT} sync=false recover-policy=keyframe"
)


def draw(number: int) -> npt.NDArray[np.uint8]:
    """A frame of BITS bars, bright where that bit of its number is set."""
    bits = number >> np.arange(BITS) & 1
    row = np.repeat(np.where(bits, 220, 30).astype(np.uint8), WIDTH // BITS)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (HEIGHT, WIDTH, 3)))


def number_in(picture: npt.NDArray[np.uint8]) -> int:
    """What `draw` drew."""
    middles = np.arange(BITS) * (WIDTH // BITS) + WIDTH // BITS // 2
    bright = picture[HEIGHT // 2, middles, 1] > 120
    return int((bright << np.arange(BITS)).sum())


@contextmanager
def sending() -> Iterator[dict[int, float]]:
    """When each frame was drawn, by its number, while the pipeline plays."""
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import Gst

    Gst.init(None)
    pipeline: Any = Gst.parse_launch(SENDER)
    frames = pipeline.get_by_name("frames")
    drawn: dict[int, float] = {}
    over = threading.Event()

    def send() -> None:
        began, count = time.monotonic(), 0
        while not over.wait(max(0.0, began + count / FPS - time.monotonic())):
            number = count % (1 << BITS)
            picture = draw(number)
            drawn[number] = time.monotonic()
            frames.emit("push-buffer", Gst.Buffer.new_wrapped(picture.tobytes()))
            count += 1

    thread = threading.Thread(target=send)
    pipeline.set_state(Gst.State.PLAYING)
    thread.start()
    try:
        time.sleep(1)
        yield drawn
    finally:
        over.set()
        thread.join()
        pipeline.set_state(Gst.State.NULL)


def delay_ms(threads: int, frames: int, drawn: dict[int, float]) -> float:
    """Median age of frames, after as many that came while FFmpeg looked at the stream."""
    address = f"tcp://127.0.0.1:{PORT}"
    capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    ages: list[float] = []
    for count in range(2 * frames):
        good, picture = capture.read()
        if not good:
            raise SystemExit(f"{address}: the stream ended after {count} frames")
        if count >= frames:
            ages.append(time.monotonic() - drawn[number_in(np.asarray(picture, np.uint8))])
    capture.release()
    return 1000 * median(ages)


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--threads", default="1,2,4,8")
    parser.add_argument("--frames", type=int, default=100)
    args = parser.parse_args()
    with sending() as drawn:
        for threads in (int(word) for word in args.threads.split(",")):
            print(f"{threads} threads: {delay_ms(threads, args.frames, drawn):.0f} ms", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
