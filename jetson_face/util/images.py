"""Pictures from files: whatever a person may hand in, read as 8-bit BGR or refused in one line."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jetson_face.core.errors import InputBrokenError, InputMissingError, OutputError
from jetson_face.core.types import ImageU8
from jetson_face.util.files import write_file
from jetson_face.util.rounding import away

log = logging.getLogger(__name__)

PIXELS_MAX = 64_000_000
"""More is refused before decoding: 64 million pixels are 192 MB of BGR."""
MEMORY_MAX = 384 << 20
"""What reading one picture may take, its file and the picture itself included: a small board has
four gigabytes for everything. A JPEG that needs more is decoded at half its size, which is logged;
other pictures are refused."""
BYTES_MAX = 256 << 20
"""A larger file is refused before reading it."""
_SCANS_MAX, _SEGMENTS_MAX = 500, 5000
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""A JPEG marker, without those that belong to the data of a scan."""
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
"""What a folder is searched for, in lower case."""

# Few decoders: each one more is a parser that a hostile file can reach.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
_ORIENTATION = 0x0112
_STORED: dict[int, Callable[[ImageU8], ImageU8]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}
"""By EXIF orientation: a view of the upright picture in the order in which the file has it."""
_BAND = 1 << 19
"""Pixels that are converted at once: what a conversion takes beside the picture stays small."""


def read_picture(path: Path, *, side_max: int | None = None) -> ImageU8:
    """The picture in `path` as (H, W, 3) uint8 BGR, upright.

    Grey, palette, 16-bit, CMYK and transparent (over white) pictures are converted, an EXIF
    orientation is applied, of an animation the first frame is taken. With `side_max` a larger
    picture is shrunk until its longer side is that many pixels.

    Raises InputMissingError where there is no file, InputBrokenError for anything that is not a
    picture, is damaged, has more than PIXELS_MAX pixels or needs more than MEMORY_MAX.
    """
    return decode_picture(read_bytes(path), str(path), side_max=side_max)


def check_picture(path: Path) -> None:
    """Raise as `read_picture` does, as far as a file's head tells, without decoding it."""
    with _quiet():
        _opened(read_bytes(path), str(path), None)


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height of the upright picture, by the head of the file; None where `read_picture`
    would refuse it for what is there."""
    if not path.is_file():
        return None
    with _quiet():
        try:
            with Image.open(path, formats=_FORMATS) as image:
                width, height = image.size
                turned = _orientation(image) >= 5
        except Exception:  # as below
            return None
    if width * height > PIXELS_MAX:
        return None
    return (height, width) if turned else (width, height)


def decode_picture(data: bytes, where: str, *, side_max: int | None = None) -> ImageU8:
    """As `read_picture`, from bytes; `where` names them in errors."""
    with _quiet():
        image = _opened(data, where, side_max)
        try:
            return _decoded(image, side_max)
        except Exception as error:  # a decoder fed with hostile bytes raises anything
            raise InputBrokenError(
                f"{where}: the picture is damaged or truncated ({_short(error)}): replace or "
                "remove it"
            ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns of large pictures and odd metadata; what matters we say in our own words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _opened(data: bytes, where: str, side_max: int | None) -> Image.Image:
    """The picture before it is decoded, at the scale that fits into memory.

    Raises InputBrokenError.
    """
    if not data:
        raise InputBrokenError(f"{where}: the picture is empty (0 bytes): replace or remove it")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        found = re.search(r"\d{7,}", str(error))
        raise _too_large(where, int(found[0]) if found else None, PIXELS_MAX) from None
    except Exception:  # as above
        raise InputBrokenError(
            f"{where}: not a picture that can be read (JPEG, PNG, WebP, BMP, TIFF, GIF)"
        ) from None
    if image.width * image.height > PIXELS_MAX:
        raise _too_large(where, image.width * image.height, PIXELS_MAX)
    if image.format in ("JPEG", "MPO") and _is_endless(data):
        raise InputBrokenError(
            f"{where}: a JPEG of more than {_SCANS_MAX} scans or {_SEGMENTS_MAX} segments would "
            "take too long: save it again"
        )
    _fit(image, len(data), where, side_max)
    return image


def _fit(image: Image.Image, file_bytes: int, where: str, side_max: int | None) -> None:
    """Choose the scale that a JPEG is decoded at. Raises InputBrokenError for what is too large."""
    pixels, room = image.width * image.height, MEMORY_MAX - file_bytes
    beside, stored = _bytes_a_pixel(image)
    shrink = 1 if side_max is None else _whole_steps(image, side_max)
    draws = image.format in ("JPEG", "MPO")
    for scale in (1, 2) if draws else (1,):
        ours = 3 / max(shrink, scale) ** 2
        if pixels * (beside + stored / scale**2 + ours) <= room:
            break
    else:
        raise _too_large(where, pixels, int(room / (beside + stored / scale**2 + ours)), image)
    if scale > shrink:
        log.warning("picture_halved file=%s size=%s why=memory", where, image.size)
    most = max(scale, shrink)
    if draws and most > 1:
        image.draft(None, (image.width // most, image.height // most))


def _bytes_a_pixel(image: Image.Image) -> tuple[float, float]:
    """What decoding takes for each pixel: beside the picture, and for the picture as Pillow has it.

    Measured with Pillow 13; RGB has four bytes there.
    """
    stored = 1.0 if image.mode in ("1", "L", "P") else 2.0 if "16" in image.mode else 4.0
    if image.format == "WEBP":
        return 12.2, stored  # libwebp's own two canvases, and their copy
    if image.format in ("JPEG", "MPO") and image.info.get("progressive"):
        return 2.0 * len(image.getbands()), stored  # all coefficients at once
    if image.format == "TIFF" and _orientation(image) != 1:
        return stored, stored  # Pillow turns it
    return 0.0, stored


def _whole_steps(image: Image.Image, side_max: int) -> int:
    """By how much the picture can be shrunk without becoming smaller than `side_max`."""
    return max(1, max(image.size) // side_max)


def _decoded(image: Image.Image, side_max: int | None) -> ImageU8:
    """(H, W, 3) BGR, upright, converted and shrunk band by band."""
    image.load()
    # Not before: Pillow turns a TIFF while it loads it, and no other.
    stored_as = _STORED.get(_orientation(image))
    shrink = 1 if side_max is None else _whole_steps(image, side_max)
    height, width = -(-image.height // shrink), -(-image.width // shrink)
    swapped = stored_as is not None and stored_as(np.empty((1, 2, 3), np.uint8)).shape[0] == 2
    upright = np.empty((width, height, 3) if swapped else (height, width, 3), np.uint8)
    target = upright if stored_as is None else stored_as(upright)
    white = _white(image)
    rows = shrink * max(1, _BAND // (image.width * shrink))
    for top in range(0, image.height, rows):
        bottom = min(image.height, top + rows)
        band = _rgb(image.crop((0, top, image.width, bottom)), white)
        if shrink > 1:
            band = band.reduce(shrink)
        at = top // shrink
        target[at : at + band.height] = np.asarray(band)[:, :, ::-1]
    if side_max is not None and max(upright.shape) > side_max:
        small = Image.fromarray(upright)
        small.thumbnail((side_max, side_max), Image.Resampling.BOX)
        return np.array(small)
    return upright


def from_pillow(image: Image.Image) -> ImageU8:
    """A Pillow image of any mode as (H, W, 3) uint8 BGR, upright; converted as by `read_picture`.

    Raises InputBrokenError where it has no pixels, or they cannot be loaded.
    """
    if not (image.width and image.height):
        raise InputBrokenError(f"the picture has no pixels: {image.width} x {image.height}")
    try:
        return _decoded(image, None)
    except Exception as error:  # Pillow decodes only now
        raise InputBrokenError(f"the picture cannot be loaded ({_short(error)})") from None


def shrunk(image: ImageU8, side_max: int) -> ImageU8:
    """`image` (H, W, 3) uint8 BGR with its longer side at most `side_max` pixels."""
    if max(image.shape[:2]) <= side_max:
        return image
    small = _pil(image)
    small.thumbnail((side_max, side_max), Image.Resampling.BOX)
    return np.ascontiguousarray(np.asarray(small)[:, :, ::-1])


def _is_endless(data: bytes) -> bool:
    """Whether a JPEG has so many passes over the whole picture that it takes hours: each costs ten
    bytes of the file. What follows the picture (a video, of some telephones) does not count."""
    scans, at = 0, 2
    for _ in range(_SEGMENTS_MAX):
        marker = _MARKER.search(data, at)
        if marker is None or marker[0] == b"\xff\xd9":
            return False
        at = marker.end()
        scans += marker[0] == b"\xff\xda"
        if scans > _SCANS_MAX:
            return True
        if marker[0] not in (b"\xff\x01", b"\xff\xd8"):
            at += int.from_bytes(data[at : at + 2], "big")
    return True


def encode_jpeg(image: ImageU8, *, quality: int = 95) -> bytes:
    """`image` (H, W, 3) uint8 BGR as JPEG without colour subsampling."""
    out = io.BytesIO()
    _pil(image).save(out, "JPEG", quality=quality, subsampling=0)
    return out.getvalue()


def encode_png(image: ImageU8) -> bytes:
    """`image` (H, W, 3) uint8 BGR as PNG: lossless."""
    out = io.BytesIO()
    _pil(image).save(out, "PNG")
    return out.getvalue()


def write_picture(path: Path, image: ImageU8) -> None:
    """Write `image` (H, W, 3) uint8 BGR as the suffix says (.png, else .jpg), whole or not at all.

    Raises OutputError, also on another suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise OutputError(f"{path}: pictures are written as .png or .jpg: choose one of them")
    data = encode_png(image) if suffix == ".png" else encode_jpeg(image)
    write_file(path, data)


def read_bytes(path: Path) -> bytes:
    """The bytes of a picture's file. Raises InputMissingError, InputBrokenError."""
    try:
        if not path.exists():
            raise InputMissingError(f"{path}: no such file")
        if not path.is_file():
            raise InputBrokenError(f"{path}: not a file but a folder or device: name a picture")
        if path.stat().st_size > BYTES_MAX:
            raise InputBrokenError(
                f"{path}: the file is too large for a picture: more than {BYTES_MAX >> 20} MiB"
            )
        return path.read_bytes()
    except (InputMissingError, InputBrokenError):
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputBrokenError(f"{path}: cannot be read: {reason}") from error


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF is common and says nothing about the pixels
        return 1


def _white(image: Image.Image) -> float | None:
    """The value that is white in a picture of more than 8 bits; None for the others.

    Grey of 32 bits has no agreed one: 1, 255, 65535 or the largest value, what fits first.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return 65535.0
    if image.mode not in ("I", "F"):
        return None
    rows = max(1, _BAND // image.width)
    bands = (image.crop((0, y, image.width, y + rows)) for y in range(0, image.height, rows))
    top = max(float(_values(band).max(initial=0.0)) for band in bands)
    return next((limit for limit in (1.0, 255.0, 65535.0) if top <= limit), top)


def _rgb(image: Image.Image, white: float | None) -> Image.Image:
    """A band as RGB. white: see `_white`."""
    if white is not None:
        grey = np.clip(np.rint(_values(image) * (255.0 / white)), 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        over = image.convert("RGBA")
        paper = Image.new("RGBA", over.size, (255, 255, 255, 255))
        image = Image.alpha_composite(paper, over)
    return image.convert("RGB")


def _values(image: Image.Image) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(image).astype(np.float64))


def _pil(image: ImageU8) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))


def _too_large(
    where: str, pixels: int | None, limit: int, kind: Image.Image | None = None
) -> InputBrokenError:
    """kind: what the limit is of, None where it is that of every picture."""
    has = "" if pixels is None else f"{away(pixels / 1e6, limit / 1e6)} million pixels, "
    of, instead = "", ""
    if kind is not None:
        of = f" for a {'progressive JPEG' if kind.format in ('JPEG', 'MPO') else kind.format}"
        instead = ", or save it as a plain JPEG"
    return InputBrokenError(
        f"{where}: the picture is too large: {has}the limit{of} is {limit // 10**6} million: "
        f"shrink it{instead}"
    )


def _short(error: Exception) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:80]
