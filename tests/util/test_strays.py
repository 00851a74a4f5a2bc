"""Files among pictures that are not read: told apart from those that nobody misses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jetson_face.core.errors import InputBrokenError
from jetson_face.util.strays import is_named_as_picture, passed_over, why_unread

ISO = b"\x00\x00\x00\x18ftyp"


@pytest.mark.parametrize("name", ["a.jpg", "a.JPE", "a.jfif", "a.TIFF", "a.pgm"])
def test_a_picture_by_its_name_is_read_whatever_is_in_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(ISO + b"heic")
    assert is_named_as_picture(tmp_path / name)
    assert why_unread(tmp_path / name) is None


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.HEIC", b"", "HEIC is not read: convert it to JPEG or PNG"),
        ("a.avif", b"x", "AVIF is not read: convert it to JPEG or PNG"),
        ("a", ISO + b"mif1", "HEIC or AVIF by its content, which is not read: convert it"),
        ("a", b"\xff\xd8\xff\xe0", "not by its name: call it a.jpg"),
        ("a.jpg_large", b"\x89PNG\r\n\x1a\n", "not by its name: call it a.png"),
        ("a.bak", b"RIFF\x00\x00\x00\x00WEBP", "not by its name: call it a.webp"),
        ("a.1", b"GIF89a", "not by its name: call it a.gif"),
    ],
)
def test_a_picture_that_is_not_read_is_told_with_the_fix(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert not is_named_as_picture(tmp_path / name)
    assert says in str(why_unread(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"a note"),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        ("clip.mov", ISO + b"qt  "),
        ("sound.wav", b"RIFF\x00\x00\x00\x00WAVE"),
        ("empty", b""),
    ],
)
def test_what_is_no_picture_is_not_missed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert why_unread(tmp_path / name) is None


def test_what_is_passed_over_is_told_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.heic", "a.png", "notes.txt", ".hidden.heic"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("c.jpg", "a", ".thumbnails"):
        (tmp_path / name).mkdir()
    folder = "a folder in a folder of photos is not looked into: move its photos up, right into "
    folder += "that"
    assert passed_over(tmp_path) == [
        (tmp_path / "a", folder),
        (tmp_path / "b.heic", "HEIC is not read: convert it to JPEG or PNG"),
        (tmp_path / "c.jpg", folder),
    ]
    with pytest.raises(InputBrokenError, match=r"a\.png: cannot be read: Not a directory$"):
        passed_over(tmp_path / "a.png")


def test_what_cannot_be_looked_into_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    assert [why_unread(entry) for entry in tmp_path.iterdir()] == [None] * 3
