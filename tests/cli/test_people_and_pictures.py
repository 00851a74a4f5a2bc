"""Enrol, list, rename, remove, identify: what a person at a terminal does first."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetson_face.config import load_config
from jetson_face.core.types import Embeddings
from jetson_face.factory.parts import open_gallery
from jetson_face.util.images import read_picture

Command = Callable[..., Any]


def test_who_is_enrolled_is_named_in_a_picture(
    cli: Command, people: Path, hopper: Path, tmp_path: Path
) -> None:
    enrolled = cli("enroll", people)
    assert (enrolled.code, enrolled.out) == (0, "Eileen Collins: 1 added\nGrace Hopper: 1 added\n")
    drawn = tmp_path / "drawn.png"
    seen = cli("identify", hopper, "--json", "--draw", drawn)
    (face,) = json.loads(seen.out)[0]["faces"]
    assert (face["state"], face["name"]) == ("known", "Grace Hopper")
    assert face["similarity"] > 0.99
    left, top, right, bottom = face["box"]
    assert 160 < left < 220
    assert 320 < right < 380
    assert top < 200 < bottom
    assert read_picture(drawn).shape == read_picture(hopper).shape


def test_a_stranger_is_unknown_and_an_empty_gallery_knows_nobody(
    cli: Command, collins: Path, hopper: Path, tmp_path: Path
) -> None:
    done = cli("identify", hopper, "--set", f"gallery.path={tmp_path}/typo.db")
    assert (done.code, "unknown" in done.out) == (0, True)
    assert f"gallery {tmp_path}/typo.db: nobody is enrolled" in done.err
    cli("enroll", "--name", "Eileen Collins", collins)
    assert "unknown" in cli("identify", hopper).out


def test_the_same_photo_twice_adds_nothing(cli: Command, people: Path) -> None:
    cli("enroll", people)
    again = cli("enroll", people)
    assert again.code == 0
    assert "Grace Hopper: 0 added, 1 were there already" in again.out
    assert json.loads(cli("people", "list", "--json").out)[1]["photos"][0]["source"]
    assert len(json.loads(cli("people", "show", "Grace Hopper", "--json").out)["photos"]) == 1


def test_rename_and_remove(cli: Command, people: Path) -> None:
    cli("enroll", people)
    assert cli("people", "rename", "Grace Hopper", "Rear Admiral Hopper").code == 0
    assert "Rear Admiral Hopper: 1 photo" in cli("people", "list").out
    assert cli("people", "remove", "rear admiral hopper", "--yes").code == 0
    assert "Hopper" not in cli("people", "list").out
    nobody = cli("people", "remove", "Grace Hopper", "--yes")
    assert nobody.code == 2
    assert "Grace Hopper" in nobody.err


def test_bad_photos_are_refused_one_by_one_and_the_rest_is_enrolled(
    cli: Command, tmp_path: Path, collins: Path, hopper: Path
) -> None:
    folder = tmp_path / "mixed" / "Grace Hopper"
    folder.mkdir(parents=True)
    shutil.copy(hopper, folder / "good.jpg")
    cv2.imwrite(str(folder / "nobody.png"), np.full((300, 300, 3), 128, np.uint8))
    two = np.hstack([read_picture(collins)[:500, :500], read_picture(hopper)[:500, :500]])
    cv2.imwrite(str(folder / "two.png"), two)
    small = cv2.resize(read_picture(hopper), None, fx=0.15, fy=0.15)
    cv2.imwrite(str(folder / "small.png"), small)
    (folder / "empty.jpg").write_bytes(b"")
    done = cli("enroll", folder.parent)
    assert done.code == 0
    assert "Grace Hopper: 1 added" in done.out
    for name, reason in (
        ("nobody.png", "no face"),
        ("two.png", "2 faces"),
        ("small.png", ""),
        ("empty.jpg", "empty"),
    ):
        lines = [line for line in done.err.splitlines() if name in line]
        assert len(lines) == 1, done.err
        assert reason in lines[0]


@pytest.mark.parametrize(
    "name", ["../../x", "", "   ", "x" * 10_000, "a\x00b", "a/b", "\u202eevil"]
)
def test_hostile_names_are_refused(cli: Command, hopper: Path, tmp_path: Path, name: str) -> None:
    done = cli("enroll", "--name", name, hopper)
    assert done.code == 13
    assert len(done.err.strip().splitlines()) == 1
    assert len(done.err) < 400
    assert "nobody is enrolled" in cli("people", "list").out or done.code == 13


@pytest.mark.parametrize("name", ["Zoë Ångström", "李小龙", "محمد", "O'Brien-Smith", "🙂"])
def test_unicode_names_are_fine(cli: Command, hopper: Path, name: str) -> None:
    assert cli("enroll", "--name", name, hopper).code == 0
    assert cli("people", "list").out.startswith(name)
    assert name in cli("identify", hopper).out


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\x00" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("name", "content", "code", "says"),
    [
        ("none.jpg", None, 4, "no such file"),
        ("empty.jpg", b"", 5, "empty"),
        ("text.jpg", b"hello, I am not a picture\n", 5, ""),
        ("huge.png", png_header(20_000, 20_000), 5, "400 million pixels, the limit is 64"),
    ],
)
def test_a_picture_that_cannot_be_used(
    cli: Command, tmp_path: Path, name: str, content: bytes | None, code: int, says: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    done = cli("identify", path)
    assert done.code == code
    assert len(done.err.strip().splitlines()) == 1
    assert name in done.err
    assert says in done.err


@pytest.mark.parametrize("kind", ["grey", "16 bit", "cmyk", "alpha", "palette"])
def test_pictures_of_other_kinds_are_read(
    cli: Command, tmp_path: Path, hopper: Path, kind: str
) -> None:
    from PIL import Image

    picture = Image.open(hopper)
    path = tmp_path / "other.png"
    if kind == "grey":
        picture.convert("L").save(path)
    elif kind == "16 bit":
        cv2.imwrite(str(path), read_picture(hopper).astype(np.uint16) * 257)
    elif kind == "cmyk":
        path = tmp_path / "other.jpg"
        picture.convert("CMYK").save(path, quality=95)
    elif kind == "alpha":
        picture.convert("RGBA").save(path)
    else:
        picture.convert("P").save(path)
    cli("enroll", "--name", "Grace Hopper", hopper)
    assert "Grace Hopper" in cli("identify", path).out


@pytest.mark.parametrize(
    "damage", [b"this is not a database, it is a text that goes on for a while " * 40, b"", None]
)
def test_a_damaged_gallery_is_said_to_be_damaged(
    cli: Command, people: Path, tmp_path: Path, damage: bytes | None
) -> None:
    cli("enroll", people)
    path = tmp_path / "state" / "gallery.db"
    if damage is None:
        data = bytearray(path.read_bytes())
        data[4096:12288] = b"\xa5" * 8192
        damage = bytes(data)
    for extra in path.parent.glob("gallery.db-*"):
        extra.unlink()
    path.write_bytes(damage)
    done = cli("people", "list")
    assert done.code == 7
    assert len(done.err.strip().splitlines()) == 1
    assert "gallery.db" in done.err


def test_a_gallery_held_by_another_process_is_said_to_be_locked(
    cli: Command, people: Path, tmp_path: Path, hopper: Path
) -> None:
    cli("enroll", people)
    path = tmp_path / "state" / "gallery.db"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); "
            "db.execute('PRAGMA locking_mode=EXCLUSIVE'); db.execute('BEGIN EXCLUSIVE'); "
            "print('held', flush=True); sys.stdin.read()",
            str(path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        done = cli("people", "rename", "Grace Hopper", "X", "--set", "gallery.lock_timeout_s=0.2")
        assert done.code == 8
        assert len(done.err.strip().splitlines()) == 1
    finally:
        holder.communicate()
    assert cli("people", "list").code == 0


def test_a_gallery_of_another_embedding_is_refused_with_the_command_that_mends_it(
    cli: Command, people: Path, tmp_path: Path, hopper: Path
) -> None:
    cli("enroll", people)
    with open_gallery(load_config(None, [f"state_dir={tmp_path / 'state'}"])) as gallery:
        older = replace(gallery.space, digest="f" * 64)
        vector = np.eye(1, older.dim, dtype=np.float32)
        gallery.reembed(older, lambda faces, _: Embeddings(vector.repeat(len(faces), 0), older))
    done = cli("identify", hopper)
    assert done.code == 9
    command = f"jetson-face gallery reembed --set state_dir={tmp_path / 'state'}"
    assert f"take another gallery (gallery.path), or embed this one again: {command}\n" in done.err
    assert cli("gallery", "reembed").code == 0
    assert "Grace Hopper" in cli("identify", hopper).out


def test_a_gallery_moves_to_another_machine_with_its_key(
    cli: Command, hopper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("enroll", "--name", "Grace Hopper", hopper)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other-cache"))
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    shutil.copy(tmp_path / "state/gallery.db", other)
    assert "the key is not there" in cli("people", "list", state=other).err
    shutil.copy(tmp_path / "state/gallery.key", other)  # with its mode
    assert cli("people", "list", state=other).code == 20
    assert cli("gallery", "accept-restored", state=other).code == 0
    assert "Grace Hopper" in cli("people", "list", state=other).out


def test_a_name_for_a_folder_without_photos_is_refused_with_the_reason(
    cli: Command, people: Path
) -> None:
    done = cli("enroll", "--name", "Ada", people)
    assert done.code == 14
    assert "people: no photo in it: with --name give photos" in done.err
    assert not done.out


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("UPDATE portraits SET image = substr(image, 2)", "checksum of the portrait"),
        ("UPDATE portraits SET landmarks = x'00'", "checksum of the landmarks"),
        ("DELETE FROM portraits", "keeps no portrait"),
    ],
)
def test_check_finds_a_portrait_that_is_damaged(
    cli: Command, people: Path, tmp_path: Path, harm: str, says: str
) -> None:
    """Nothing else reads them until a network is changed, which needs every one."""
    cli("enroll", people)
    done = cli("gallery", "check")
    assert (done.code, "2 people, 2 photos" in done.out) == (0, True)
    with closing(sqlite3.connect(tmp_path / "state" / "gallery.db")) as db:
        db.execute(harm)
        db.commit()
    done = cli("gallery", "check")
    assert (done.code, done.out) == (7, "")
    assert says in done.err
    assert "restore it from a backup" in done.err


def test_what_is_passed_over_is_told_line_by_line(cli: Command, people: Path, hopper: Path) -> None:
    folder = people / "Grace Hopper"
    (folder / "grace_hopper.jpg").rename(folder / "grace.JPE")
    (folder / "phone.heic").write_bytes(b"x")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    shutil.copy(hopper, people / "Grace.jpg")
    heic = f"{folder}/phone.heic: HEIC is not read: convert it to JPEG or PNG"
    done = cli("enroll", people)
    assert done.out == f"Eileen Collins: 1 added\nGrace Hopper: 1 added\n{people}: 0 added\n"
    assert done.err == (
        f"  refused {folder}/gone.jpg: no such file\n"
        f"  refused {heic}\n"
        f"  refused {people}/Grace.jpg: it lies beside the folders of the persons: put it into a "
        "folder with the person's name\n"
    )
    found = json.loads(cli("enroll", people, "--json").out)
    assert [[Path(one["path"]).name for one in person["refused"]] for person in found] == [
        [],
        ["gone.jpg", "phone.heic"],
        ["Grace.jpg"],
    ]
    (folder / "2024").mkdir()
    older = (
        f"{folder}/2024: a folder in a folder of photos is not looked into: move its photos up, "
        "right into that"
    )
    named = cli("enroll", "--name", "Grace Hopper", folder)
    assert f"  refused {older}\n  refused {heic}\n" in named.err
    seen = cli("identify", folder)
    assert seen.out.startswith(f"{folder}/grace.JPE: 1 face\n  Grace Hopper")
    assert seen.err == (
        f"jetson-face: skipped: {older}\njetson-face: skipped: {heic}\n"
        f"jetson-face: skipped: {folder}/gone.jpg: no such file\n"
    )


def test_a_person_with_photos_of_another_format_only_is_refused_with_the_reason(
    cli: Command, tmp_path: Path
) -> None:
    (tmp_path / "Ann").mkdir()
    (tmp_path / "Ann" / "1.heic").write_bytes(b"x")
    heic = f"{tmp_path}/Ann/1.heic: HEIC is not read: convert it to JPEG or PNG\n"
    done = cli("enroll", "--name", "Ann", tmp_path / "Ann")
    assert (done.code, done.out) == (14, "")
    assert done.err.startswith(f"  refused {heic}jetson-face: {tmp_path}/Ann: no photo in it: ")
    seen = cli("identify", tmp_path / "Ann")
    assert seen.code == 5
    assert seen.err.endswith("; 1.heic: HEIC is not read: convert it to JPEG or PNG\n")
