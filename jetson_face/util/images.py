"""Pictures from files: whatever a person may hand in, read as 8-bit BGR or refused in one line."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jetson_face.core.errors import InputBrokenError, InputMissingError, OutputError
from jetson_face.core.types import ImageU8
from jetson_face.util.files import write_file

PIXELS_MAX = 64_000_000
"""More is refused before decoding: 64 million pixels are 192 MB of BGR."""
BYTES_MAX = 256 << 20
"""A larger file is refused before reading it."""
_SCANS_MAX, _SEGMENTS_MAX = 500, 5000
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""A JPEG marker, without those that belong to the data of a scan."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"})
"""What a folder is searched for, in lower case."""

# Few decoders: each one more is a parser that a hostile file can reach.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_picture(
    path: Path, *, pixels_max: int = PIXELS_MAX, side_max: int | None = None
) -> ImageU8:
    """The picture in `path` as (H, W, 3) uint8 BGR, upright.

    Grey, palette, 16-bit, CMYK and transparent (over white) pictures are converted, an EXIF
    orientation is applied, of an animation the first frame is taken. With `side_max` a larger
    picture is shrunk until its longer side is that many pixels.

    Raises InputMissingError where there is no file, InputBrokenError for anything that is not a
    picture, is damaged, or has more than `pixels_max` pixels.
    """
    return decode_picture(read_bytes(path), str(path), pixels_max=pixels_max, side_max=side_max)


def decode_picture(
    data: bytes, where: str, *, pixels_max: int = PIXELS_MAX, side_max: int | None = None
) -> ImageU8:
    """As `read_picture`, from bytes; `where` names them in errors."""
    if not data:
        raise InputBrokenError(f"{where}: the picture is empty (0 bytes): replace or remove it")
    with warnings.catch_warnings():
        # Pillow warns of large pictures and odd metadata; what matters we say in our own words.
        warnings.simplefilter("ignore")
        return _decoded(data, where, pixels_max, side_max)


def _decoded(data: bytes, where: str, pixels_max: int, side_max: int | None) -> ImageU8:
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d{7,}", str(error))
        has = f"{int(pixels[0]) / 1e6:.0f} million pixels, " if pixels else ""
        raise InputBrokenError(_too_large(where, has, pixels_max)) from None
    except Exception:  # a decoder fed with hostile bytes raises anything
        raise InputBrokenError(
            f"{where}: not a picture that can be read (JPEG, PNG, WebP, BMP, TIFF, GIF)"
        ) from None
    if image.width * image.height > pixels_max:
        million = f"{image.width * image.height / 1e6:.0f} million pixels, "
        raise InputBrokenError(_too_large(where, million, pixels_max))
    if image.format in ("JPEG", "MPO") and _is_endless(data):
        raise InputBrokenError(
            f"{where}: a JPEG of more than {_SCANS_MAX} scans or {_SEGMENTS_MAX} segments would "
            "take too long: save it anew"
        )
    try:
        turn = _orientation(image)
        if side_max is not None:
            image.draft(None, (side_max, side_max))  # a JPEG is decoded at 1/2, 1/4 or 1/8
        picture = _rgb(image)
        if side_max is not None and max(picture.size) > side_max:
            picture.thumbnail((side_max, side_max), Image.Resampling.BOX)
        picture = picture if turn is None else picture.transpose(turn)
        return np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
    except Exception as error:  # as above
        raise InputBrokenError(
            f"{where}: the picture is damaged or truncated ({_short(error)}): replace or remove it"
        ) from None


def from_pillow(image: Image.Image) -> ImageU8:
    """A Pillow image of any mode as (H, W, 3) uint8 BGR, upright; converted as by `read_picture`.

    Raises InputBrokenError where its pixels cannot be loaded.
    """
    try:
        turn = _orientation(image)
        picture = _rgb(image)
        picture = picture if turn is None else picture.transpose(turn)
        return np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
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


def _orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF is common and says nothing about the pixels
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return _grey(np.asarray(image).astype(np.float64) / 257)
    if image.mode in ("I", "F"):
        return _grey(_stretched(np.nan_to_num(np.asarray(image).astype(np.float64))))
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, over)
    return image.convert("RGB")


def _stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Grey of 32 bits has no agreed white: 1, 255, 65535 or the largest value, what fits first."""
    top = float(values.max(initial=0.0))
    white = next((limit for limit in (1.0, 255.0, 65535.0) if top <= limit), top)
    return values * (255.0 / white)


def _grey(values: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).convert("RGB")


def _pil(image: ImageU8) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))


def _too_large(where: str, has: str, pixels_max: int) -> str:
    return (
        f"{where}: the picture is too large: {has}the limit is {pixels_max / 1e6:.0f} million: "
        "shrink it"
    )


def _short(error: Exception) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:80]
