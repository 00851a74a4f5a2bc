"""A picture takes no more memory than a small board has, or is refused before it is decoded."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jetson_face.core.errors import InputBrokenError
from jetson_face.util.images import MEMORY_MAX, check_picture, decode_picture, read_picture
from tests.util.test_images import _bytes

SLACK = 64 << 20
"""What the estimate leaves out: bands under conversion, the decoder's own buffers."""
TURNED = Image.Exif()
TURNED[0x0112] = 6
# Prints how much the process grew while it read a picture, and the picture's shape or the error.
READ = """
import sys
from pathlib import Path
from jetson_face.core.errors import InputBrokenError
from jetson_face.util.images import decode_picture, encode_jpeg, encode_png, read_picture
import numpy as np
def kib(key):
    return int(Path("/proc/self/status").read_text().split(key)[1].split()[0])
for encode in (encode_jpeg, encode_png):
    decode_picture(encode(np.zeros((64, 64, 3), np.uint8)), "loads what it needs")
before = kib("VmRSS:")
try:
    picture = read_picture(Path(sys.argv[1]), side_max=int(sys.argv[2]) or None)
    said = picture.shape
except InputBrokenError as error:
    said = error
print(kib("VmHWM:") - before, said)
"""


def grown(path: Path, side_max: int = 0) -> tuple[int, str]:
    """Bytes that a process needed to read the picture, and what came of it."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(side_max)],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    kib, _, said = done.stdout.strip().partition(" ")
    return int(kib) << 10, said


def plain(mode: str, side: int) -> Image.Image:
    """A large picture that is made and packed quickly."""
    grey = np.zeros((side, side), np.uint8)
    grey[::64] = 200
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 257)
    if mode in ("F", "I"):
        return Image.fromarray(grey.astype(np.float32 if mode == "F" else np.int32))
    if mode == "P":
        return Image.fromarray(grey).convert("RGB").quantize(4)
    return Image.fromarray(grey).convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_png_of_64_megapixels_is_refused_before_it_is_decoded(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    plain(mode, 7999).save(path, compress_level=1)
    took, said = grown(path)
    assert said == (
        f"{path}: the picture is too large: 64 million pixels, the limit for a PNG is 57 million: "
        "shrink it, or save it as a plain JPEG"
    )
    assert took < 32 << 20
    with pytest.raises(InputBrokenError, match="57 million"):
        check_picture(path)


@pytest.mark.parametrize(
    ("mode", "side_max", "shape"),
    [
        ("I;16", 0, "(7999, 7999, 3)"),
        ("RGB", 999, "(999, 999, 3)"),
    ],
)
@pytest.mark.slow
def test_a_large_png_is_converted_in_little_memory(
    mode: str, side_max: int, shape: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    plain(mode, 7999).save(path, compress_level=1)
    took, said = grown(path, side_max)
    assert said == shape
    assert took < MEMORY_MAX + SLACK


def test_a_jpeg_of_64_megapixels_is_decoded_at_half_its_size_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.jpg"
    plain("RGB", 7998).save(path, quality=50)
    took, said = grown(path)
    assert said == "(3999, 3999, 3)"
    assert took < MEMORY_MAX + SLACK
    with caplog.at_level(logging.WARNING):
        read_picture(path, side_max=2000)
        assert caplog.messages == []
        read_picture(path)
    assert caplog.messages == [f"picture_halved file={path} size=(7998, 7998) why=memory"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("rgb.png", "RGB", {}),
        ("rgba.png", "RGBA", {}),
        ("l.png", "L", {}),
        ("p.png", "P", {"transparency": 1}),
        ("i16.png", "I;16", {}),
        ("rgb.tiff", "RGB", {}),
        ("turned.tiff", "RGB", {"compression": "tiff_lzw", "exif": TURNED}),
        ("cmyk.tiff", "CMYK", {}),
        ("f.tiff", "F", {}),
        ("i.tiff", "I", {}),
        ("i16.tiff", "I;16", {}),
        ("a.bmp", "RGB", {}),
        ("a.gif", "P", {}),
        ("a.webp", "RGB", {"method": 0}),
        ("alpha.webp", "RGBA", {"method": 0}),
        ("a.jpg", "RGB", {}),
        ("cmyk.jpg", "CMYK", {}),
        ("progressive.jpg", "RGB", {"progressive": True, "subsampling": 0}),
        ("cmyk_progressive.jpg", "CMYK", {"progressive": True, "subsampling": 0}),
    ],
)  # fmt: skip
def test_the_largest_picture_of_every_kind_keeps_within_the_limit(
    name: str, mode: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """The largest that is taken, found from what a refusal says is the limit."""
    path = tmp_path / name
    side = 7999
    for _ in range(4):
        plain(mode, side).save(path, **options)
        took, said = grown(path)
        if (limit := re.search(r"limit[a-zA-Z ]* is ([0-9]+) million", said)) is None:
            break
        side = int((int(limit[1]) * 1e6) ** 0.5)
    assert said.startswith("("), said
    assert took < MEMORY_MAX + SLACK, f"{side} pixels wide: {took >> 20} MiB"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "F", "P"])
@pytest.mark.parametrize("side_max", [None, 700, 333, 100])
def test_bands_leave_no_seams(
    mode: str, side_max: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp = np.add.outer(np.arange(1000), np.arange(750)) / 1750
    grey = Image.fromarray((ramp * 255).astype(np.uint8))
    picture = (
        Image.fromarray((ramp * 65535).astype(np.uint16))
        if mode == "I;16"
        else (Image.fromarray(ramp.astype(np.float32)) if mode == "F" else grey.convert(mode))
    )
    data = _bytes(picture, "TIFF")
    whole = decode_picture(data, "x", side_max=side_max)
    monkeypatch.setattr("jetson_face.util.images._BAND", 750 * 7)
    banded = decode_picture(data, "x", side_max=side_max)
    np.testing.assert_array_equal(banded, whole)
    height, width = banded.shape[:2]
    assert max(height, width) == (side_max or 1000)
    wanted = np.add.outer(
        (np.arange(height) + 0.5) / height * 1000, (np.arange(width) + 0.5) / width * 750
    )
    assert np.abs(banded[:, :, 0] - wanted / 1750 * 255).max() < 4
