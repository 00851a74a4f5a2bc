"""Whatever a person hands in as a picture is read right or refused in one line."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jetson_face.core.errors import (
    InputBrokenError,
    InputMissingError,
    JetsonFaceError,
    OutputError,
)
from jetson_face.core.types import ImageU8
from jetson_face.util.images import (
    decode_picture,
    encode_jpeg,
    encode_png,
    read_picture,
    write_picture,
)

# Left half red, right half blue, the top row white; in RGB.
RGB = np.zeros((40, 60, 3), np.uint8)
RGB[:, :30] = (200, 30, 20)
RGB[:, 30:] = (10, 40, 220)
RGB[:8] = 255
BGR = RGB[:, :, ::-1]


def _bytes(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _grey16(scale: int) -> bytes:
    values = (np.arange(64, dtype=np.uint16).reshape(8, 8) * scale).astype(np.uint16)
    return _bytes(Image.fromarray(values))


def test_colour_order_is_bgr_and_png_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_bytes(Image.fromarray(RGB)))
    picture = read_picture(path)
    assert picture.flags.c_contiguous
    np.testing.assert_array_equal(picture, BGR)


@pytest.mark.parametrize(
    "make",
    [
        lambda: _bytes(Image.fromarray(RGB), "JPEG", quality=95, subsampling=0),
        lambda: _bytes(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=95, subsampling=0),
        lambda: _bytes(Image.fromarray(RGB).quantize(16)),
        lambda: _bytes(Image.fromarray(RGB), "WEBP", lossless=True),
        lambda: _bytes(Image.fromarray(RGB), "BMP"),
        lambda: _bytes(Image.fromarray(RGB), "TIFF"),
        lambda: _bytes(
            Image.fromarray(RGB).quantize(16),
            "GIF",
            save_all=True,
            append_images=[Image.fromarray(255 - RGB).quantize(16)],
        ),
    ],
    ids=["jpeg", "cmyk", "palette", "webp", "bmp", "tiff", "animated gif"],
)
def test_every_kind_gives_the_same_colours(make: Callable[[], bytes]) -> None:
    picture = decode_picture(make(), "x")
    assert picture.shape == (40, 60, 3)
    inner = np.s_[12:36, 4:26]
    np.testing.assert_allclose(picture[inner].mean(axis=(0, 1)), BGR[20, 5], atol=12)
    inner = np.s_[12:36, 34:56]
    np.testing.assert_allclose(picture[inner].mean(axis=(0, 1)), BGR[20, 50], atol=12)


def test_grey_is_three_equal_channels() -> None:
    picture = decode_picture(_bytes(Image.fromarray(RGB).convert("L")), "x")
    assert picture.shape == (40, 60, 3)
    assert (picture == picture[:, :, :1]).all()


def test_sixteen_bits_keep_the_high_byte() -> None:
    np.testing.assert_array_equal(
        decode_picture(_grey16(257 * 4), "x")[:, :, 0].ravel(), np.arange(64) * 4
    )
    # A dark 16-bit picture stays dark: its values are not taken for 8 bits.
    assert decode_picture(_grey16(4), "x").max() == 1


def test_transparency_is_laid_over_white() -> None:
    rgba = np.dstack([RGB, np.full((40, 60), 255, np.uint8)])
    rgba[:20, :, 3] = 0
    picture = decode_picture(_bytes(Image.fromarray(rgba)), "x")
    assert (picture[:20] == 255).all()
    np.testing.assert_array_equal(picture[20:], BGR[20:])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    undo: dict[int, Callable[[ImageU8], ImageU8]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](RGB)))
    np.testing.assert_array_equal(decode_picture(_bytes(stored, exif=exif.tobytes()), "x"), BGR)


def test_broken_exif_does_not_lose_the_picture() -> None:
    data = _bytes(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert decode_picture(data, "x").shape == (40, 60, 3)


def test_a_large_picture_is_shrunk_before_it_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.tile(RGB, (10, 10, 1)))
    picture = decode_picture(_bytes(image, "JPEG", exif=exif.tobytes()), "x", side_max=150)
    assert picture.shape == (150, 100, 3)
    assert decode_picture(_bytes(image), "x", side_max=9999).shape == (400, 600, 3)


def _png_header_only(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (head, body, b"IEND")
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes"),
        (b"hello, I am a text file\n" * 10, "not a picture"),
        (_bytes(Image.fromarray(RGB), "JPEG")[:-60], "damaged or truncated"),
        (_bytes(Image.fromarray(RGB))[:90], "damaged or truncated"),
        (_png_header_only(20_000, 20_000), "the limit is 64 million"),
        (_png_header_only(10_000, 10_000), "100 million pixels, the limit is 64 million"),
        (_png_header_only(2**31 - 1, 2**31 - 1), "too large"),
        (_png_header_only(100, 100), "damaged or truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    ],
    ids=["empty", "text", "jpeg", "png", "20k", "100MP", "huge", "nodata", "eps"],
)
def test_a_bad_picture_is_refused_in_one_line(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(data)
    with pytest.raises(InputBrokenError) as error:
        read_picture(path)
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_real_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.new("1", (20_000, 20_000)).save(path)
    with pytest.raises(InputBrokenError, match="too large"):
        read_picture(path)


def test_what_is_not_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="no such file"):
        read_picture(tmp_path / "none.jpg")
    with pytest.raises(InputBrokenError, match="folder or device"):
        read_picture(tmp_path)
    with pytest.raises(InputBrokenError, match="folder or device"):
        read_picture(Path("/dev/null"))
    with pytest.raises(JetsonFaceError):
        read_picture(Path("a\0b.jpg"))


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"])
)
@settings(max_examples=300, deadline=None)
def test_noise_raises_only_our_error(noise: bytes, magic: bytes) -> None:
    with pytest.raises(InputBrokenError):
        decode_picture(magic + noise, "x")


@given(st.integers(0, 2000), st.integers(0, 255), st.sampled_from(["PNG", "JPEG", "TIFF", "GIF"]))
@settings(max_examples=200, deadline=None)
def test_a_flipped_byte_gives_a_picture_or_our_error(place: int, value: int, kind: str) -> None:
    data = bytearray(_bytes(Image.fromarray(RGB), kind))
    data[place % len(data)] = value
    try:
        picture = decode_picture(bytes(data), "x")
    except InputBrokenError:
        return
    assert picture.ndim == 3
    assert picture.dtype == np.uint8


def test_written_pictures_are_read_back(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", BGR)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), BGR)
    write_picture(tmp_path / "a.JPG", BGR)
    assert np.abs(read_picture(tmp_path / "a.JPG").astype(int) - BGR)[12:, 4:26].mean() < 4
    np.testing.assert_array_equal(decode_picture(encode_png(BGR), "x"), BGR)
    assert len(encode_jpeg(BGR)) < len(BGR.tobytes())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.JPG", "a.png"]


def test_writing_where_one_cannot_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_picture(tmp_path / "file" / "a.png", BGR)
    with pytest.raises(OutputError, match=r"\.png or \.jpg"):
        write_picture(tmp_path / "a.txt", BGR)
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_picture(tmp_path / "taken.png", BGR)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "taken.png"]


def _scans(count: int, after: bytes = b"") -> bytes:
    """A JPEG with `count` further passes over the whole picture, of ten bytes each."""
    data = _bytes(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    empty = data[start : start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")]
    return data[:-2] + empty * count + b"\xff\xd9" + after


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    with pytest.raises(InputBrokenError, match="more than 500 scans"):
        decode_picture(_scans(600), "x")  # a million on 49 megapixels would take an hour


def test_what_follows_a_jpeg_does_not_count_as_scans() -> None:
    assert decode_picture(_scans(5, after=b"\xff\xda\0\2" * 9000), "x").shape == (64, 64, 3)


def test_a_jpeg_of_endless_segments_is_refused() -> None:
    data = _scans(0)
    with pytest.raises(InputBrokenError, match="5000 segments"):
        decode_picture(data[:2] + b"\xff\xfe\0\2" * 6000 + data[2:], "x")
