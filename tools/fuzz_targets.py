"""What tools/fuzz.py throws its inputs at: everything that reads what others wrote."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jetson_face.capture.opening import open_source
from jetson_face.capture.source import EndOfSource, FrameBroken
from jetson_face.config import load_config
from jetson_face.core.types import EmbeddingSpace
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.models.cards import load_card, resolve
from jetson_face.privacy.encryption import AesGcm
from jetson_face.service.http import Page
from jetson_face.service.status_server import StatusServer
from jetson_face.util.images import decode_picture

REPO = Path(__file__).resolve().parent.parent
SPACE = EmbeddingSpace("fuzz", "0" * 64, 8)
CIPHER = AesGcm(bytes(32))
NUMBERS = [
    b"\0",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\0\0\0\1",
    b"\1\0\0\0",
    b"\x80\0\0\0",
    b"\0" * 8,
]
YAML = (
    "|~|[]|{}|- |? |&a |*a|&a [*a]|<<: *a|'|\"|\"\\0\"|\"\\uD800\"|#|---|...|%YAML 9.9|!!int ''|"
    "!!float ''|!!bool x|!!timestamp x|!!binary é|!!set {a}|!!omap [a]|!!python/object:a.b|!x y|"
    "[[[[|{{{{|[1, 2|a: b|0|-1|1e999|.inf|.nan|0x7fffffffffffffff|1:59:59|1_000|2001-01-01|true|"
    "no|null|é|x|../../etc/passwd|/dev/zero|rtsp://a:b@c:99999/d|file:///|[0, 0]|[1, x]|"
    "99999999999999999999|1.5|'1'|embedder|type|path|name|sha256|sources|fp32|package"
).encode().split(b"|")  # fmt: skip
HTTP = [b"\r\n", b"\r\n\r\n", b"GET ", b"POST ", b"HTTP/9.9", b"%", b"%00", b"Host:", b" ", b":",
        b"Content-Length: -1\r\n", b"Content-Length: 99999999999\r\n", b"?a=b", b"//", b"\0",
        b"Transfer-Encoding: chunked\r\n", b"\xff\xfe", b"Origin: http://x\r\n"]  # fmt: skip
MEDIA = [*NUMBERS, b"moov", b"mdat", b"RIFF", b"LIST", b"idx1", b"IDAT", b"IEND", b"Exif\0\0",
         b"\xff\xd8", b"\xff\xd9", b"\xff\xe1", b"\xff\xc0", b"VP8 ", b"GIF89a"]  # fmt: skip
SQLITE = [*NUMBERS, b"CREATE TABLE", b"CREATE VIEW", b"templates", b"WITHOUT ROWID", b"\r", b"\x0a"]


@dataclass(frozen=True, slots=True)
class Target:
    """One reader. attempt: give it an input. reaches: whether that gets to the parser itself."""

    seeds: list[bytes]
    words: list[bytes]
    attempt: Callable[[bytes], None]
    reaches: Callable[[bytes], bool] = lambda data: True


def is_text(data: bytes) -> bool:
    """Whether the reader of YAML sees it: what is not UTF-8 is refused before."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def config_target(folder: Path) -> Target:
    """Configuration files."""
    path = folder / "config.yaml"
    files = sorted(p for p in (REPO / "configs").glob("*.yaml") if not p.name.startswith("tra"))
    seeds = [file.read_bytes() for file in files]

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        load_config(path)

    return Target(seeds, YAML, attempt, is_text)


def card_target(folder: Path) -> Target:
    """Model cards, and the search for the files that they name."""
    path = folder / "card.yaml"
    seeds = [file.read_bytes() for file in sorted((REPO / "engines").glob("*.yaml"))]

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        card = load_card(str(path))
        for part in card.parts:
            resolve(card, part)

    return Target(seeds, YAML, attempt, is_text)


def picture_target(folder: Path) -> Target:
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

    return Target(seeds, MEDIA, attempt)


def video_target(folder: Path) -> Target:
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

    return Target(seeds, MEDIA, attempt)


def gallery_target(folder: Path) -> Target:
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

    magic = made.read_bytes()[:16]
    return Target([made.read_bytes()], SQLITE, attempt, lambda data: data.startswith(magic))


def status_target(folder: Path) -> Target:
    """The status socket: after any bytes it must still answer."""
    server = StatusServer({("GET", "/status"): lambda: Page(200, b"{}")}, unix=folder / "s")
    seeds = [
        b"GET /status HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
        b"POST /reload HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
    ]

    def exchange(*pieces: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(folder / "s"))
            client.setblocking(False)
            try:
                for piece in pieces:
                    if piece:
                        client.send(piece)
                    server.step(0)
                    server.step(0)
                server.step(0)
                return client.recv(100)
            except (BlockingIOError, ConnectionResetError, BrokenPipeError):
                return b""

    def attempt(data: bytes) -> None:
        if exchange(data[: len(data) // 2], data[len(data) // 2 :]).startswith(b"HTTP/1.1 5"):
            raise AssertionError("a request brought the page down")
        if not exchange(seeds[0]).startswith(b"HTTP/1.1 200 OK"):
            raise AssertionError("the status does not answer any more")

    return Target(seeds, HTTP, attempt)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "config": config_target,
    "picture": picture_target,
    "video": video_target,
    "gallery": gallery_target,
    "card": card_target,
    "status": status_target,
}
