"""Throws damaged and random inputs at everything that reads what others wrote.

Usage: python tools/fuzz.py [--examples 100000] [--seconds 600] [TARGET ...]
Targets: config picture video gallery card status. Each input must be taken or refused by one of our
own errors, within --slow seconds. Exit code 1 when something else happened; the input is shown.
"""

from __future__ import annotations

import argparse
import io
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from jetson_face.capture.base import EndOfSource, FrameBroken
from jetson_face.capture.opening import open_source
from jetson_face.config import load_config
from jetson_face.errors import JetsonFaceError
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.models import load_card
from jetson_face.pictures import decode_picture
from jetson_face.protect import AesGcm
from jetson_face.types import EmbeddingSpace
from jetson_face.web.http import Page
from jetson_face.web.status import StatusServer

REPO = Path(__file__).resolve().parent.parent
SPACE = EmbeddingSpace("fuzz", "0" * 64, 8)
CIPHER = AesGcm(bytes(32))
Try = Callable[[bytes], None]
_CHUNK = 500


def mutations(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Random bytes, and valid inputs cut, overwritten, and with pieces repeated or left out."""

    def mutate(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
        data = bytearray(seed)
        for place, length, new in edits:
            at = place % (len(data) + 1)
            data[at : at + length] = new
        return bytes(data)

    edit = st.tuples(st.integers(0, 1 << 20), st.integers(0, 64), st.binary(max_size=32))
    edited = st.builds(mutate, st.sampled_from(seeds), st.lists(edit, min_size=1, max_size=6))
    return st.one_of(edited, edited, edited, st.binary(max_size=400))


def config_target(folder: Path) -> tuple[list[bytes], Try]:
    """Configuration files."""
    path = folder / "config.yaml"
    seeds = [file.read_bytes() for file in sorted((REPO / "configs").glob("*.yaml"))]

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        load_config(path)

    return seeds, attempt


def card_target(folder: Path) -> tuple[list[bytes], Try]:
    """Model cards."""
    path = folder / "card.yaml"
    seeds = [file.read_bytes() for file in sorted((REPO / "engines").glob("*.yaml"))]

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        load_card(str(path))

    return seeds, attempt


def picture_target(folder: Path) -> tuple[list[bytes], Try]:
    """Photos."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    seeds = []
    for kind in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        seeds.append(buffer.getvalue())

    def attempt(data: bytes) -> None:
        decode_picture(data, "fuzzed")

    return seeds, attempt


def video_target(folder: Path) -> tuple[list[bytes], Try]:
    """Video files: headers and everything after."""
    import cv2

    seeds = []
    for name, code in (("a.mp4", "mp4v"), ("a.avi", "MJPG")):
        path = folder / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10, (64, 48))
        for index in range(4):
            writer.write(np.full((48, 64, 3), index * 40, np.uint8))
        writer.release()
        seeds.append(path.read_bytes())
    path = folder / "fuzzed.mp4"

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        source = open_source(str(path))
        try:
            for _ in range(6):
                try:
                    source.read(1.0)
                except (FrameBroken, TimeoutError):
                    continue
                except EndOfSource:
                    return
        finally:
            source.close()

    return seeds, attempt


def gallery_target(folder: Path) -> tuple[list[bytes], Try]:
    """Gallery files."""
    made = folder / "made.db"
    vector = np.zeros(8, np.float32)
    vector[0] = 1
    with GalleryStore.open(made, SPACE, create=True, cipher=CIPHER) as gallery:
        person = gallery.add_person("Ada")
        marks = np.zeros((5, 2), np.float32)
        new = NewTemplate(vector, 0.9, "p", np.zeros((16, 16, 3), np.uint8), marks, "x")
        gallery.add_template(person, new)
    path = folder / "fuzzed.db"

    def attempt(data: bytes) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        path.write_bytes(data)
        with GalleryStore.open(path, SPACE, cipher=CIPHER) as gallery:
            gallery.snapshot()
            for info in gallery.people():
                gallery.portraits(info.person.id)

    return [made.read_bytes()], attempt


def status_target(folder: Path) -> tuple[list[bytes], Try]:
    """The status socket: after any bytes it must still answer."""
    server = StatusServer({("GET", "/status"): lambda: Page(200, b"{}")}, unix=folder / "s")
    seeds = [
        b"GET /status HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
        b"POST /reload HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
    ]

    def exchange(data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(folder / "s"))
            client.setblocking(False)
            if data:
                client.send(data)
            for _ in range(4):
                server.step(0)
            try:
                return client.recv(100)
            except (BlockingIOError, ConnectionResetError):
                return b""

    def attempt(data: bytes) -> None:
        exchange(data)
        if not exchange(seeds[0]).startswith(b"HTTP/1.1 200 OK"):
            raise AssertionError("the status does not answer any more")

    return seeds, attempt


TARGETS: dict[str, Callable[[Path], tuple[list[bytes], Try]]] = {
    "config": config_target,
    "picture": picture_target,
    "video": video_target,
    "gallery": gallery_target,
    "card": card_target,
    "status": status_target,
}


def fuzz(name: str, examples: int, limit_s: float, slow_s: float) -> dict[str, float]:
    """Try one target; raises what was not one of our own errors."""
    counts = {"tried": 0.0, "taken": 0.0, "refused": 0.0, "slowest_s": 0.0}
    end = time.monotonic() + limit_s
    with tempfile.TemporaryDirectory() as temporary:
        seeds, attempt = TARGETS[name](Path(temporary))

        def one(data: bytes) -> None:
            start = time.monotonic()
            counts["tried"] += 1
            try:
                attempt(data)
            except JetsonFaceError as error:
                counts["refused"] += 1
                if "\n" in str(error).strip() and name not in ("config", "card"):
                    raise AssertionError(f"not one line: {error}") from error
            else:
                counts["taken"] += 1
            took = time.monotonic() - start
            counts["slowest_s"] = max(counts["slowest_s"], round(took, 3))
            if took > slow_s:
                raise AssertionError(f"took {took:.1f} s")

        quiet = settings(
            max_examples=min(examples, _CHUNK), deadline=None, database=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        for number in range(-(-examples // _CHUNK)):
            if time.monotonic() > end:
                break
            seed(number)(quiet(given(mutations(seeds))(one)))()
    return counts


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", default=list(TARGETS))
    parser.add_argument("--examples", type=int, default=100_000, help="inputs for each target")
    parser.add_argument("--seconds", type=float, default=3600, help="at most, for each target")
    parser.add_argument("--slow", type=float, default=10, help="an input that takes longer fails")
    args = parser.parse_args()
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    failed = False
    for name in args.targets:
        if name not in TARGETS:
            parser.error(f"there is no target {name!r}: {' '.join(TARGETS)}")
        try:
            counts = fuzz(name, args.examples, args.seconds, args.slow)
        except Exception as error:
            failed = True
            print(f"{name}: FAILED: {type(error).__name__}: {error}")
            print("\n".join(getattr(error, "__notes__", [])))
            continue
        print(f"{name}: " + ", ".join(f"{key} {value:g}" for key, value in counts.items()))
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
