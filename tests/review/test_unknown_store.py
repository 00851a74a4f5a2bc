"""People who are not enrolled: what is kept of them, how long, and what is left of it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jetson_face.cli.main import main
from jetson_face.core.errors import GalleryError, UsageError
from jetson_face.core.types import Embeddings, EmbeddingSpace
from jetson_face.privacy.audit import files_that_hold
from jetson_face.privacy.encryption import AesGcm, open_cipher
from jetson_face.review.sealed_file import Limits
from jetson_face.review.unknowns import UNKNOWNS, KeptFace, UnknownStore, UnknownVisit
from tests.review.review_fakes import CIPHER, Age, face, review_item

EVE, MAL = "e" * 16, "a" * 16


def kept(seed: int = 1, quality: float = 0.5, *, face_of: Embeddings | None = None) -> KeptFace:
    item = review_item(seed=seed)
    return KeptFace(face_of or face(seed), quality, item.portrait, item.landmarks, 1e9, "door")


def opened(folder: Path, *, people: int = 500, age: Age | None = None) -> UnknownStore:
    limits = Limits(people, 100.0)
    return UnknownStore.open(folder / "unknown.db", CIPHER, limits=limits, age=age or Age())


def at(begin: float) -> UnknownVisit:
    return UnknownVisit(begin, begin, 1e9 + begin)


def test_somebody_is_read_as_they_were_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert store.see(EVE, at(5), kept(), gap_s=10, new=True)
        assert store.ids() == [EVE]
    with opened(tmp_path) as store:
        (eve,) = store.people()
        assert store.read(EVE).id == eve.id == EVE
    assert eve.visits == (at(5),)
    (one,) = eve.faces
    np.testing.assert_array_equal(one.face.vectors, face(1).vectors)
    np.testing.assert_array_equal(one.landmarks, kept().landmarks)
    assert (one.face.space, one.quality, one.source) == (face(1).space, 0.5, "door")
    assert one.photo == kept().photo


def test_within_the_gap_it_is_one_visit(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for begin in (0, 8, 17, 40):
            store.see(EVE, at(begin), None, gap_s=10, new=True)
        assert store.read(EVE).visits == (UnknownVisit(0, 17, 1e9 + 17), at(40))


def test_the_best_faces_of_the_newest_network_are_kept(tmp_path: Path) -> None:
    space = EmbeddingSpace("older", "1" * 64, 32)
    with opened(tmp_path) as store:
        store.see(EVE, at(0), kept(9, 0.99, face_of=face(9, space)), gap_s=0, new=True)
        for seed, quality in enumerate((0.3, 0.9, 0.1, 0.5), 1):
            store.see(EVE, at(seed), kept(seed, quality), gap_s=0, new=False)
        assert [one.quality for one in store.read(EVE).faces] == [0.9, 0.5, 0.3]


def test_who_was_erased_does_not_come_back_by_being_seen(tmp_path: Path) -> None:
    with opened(tmp_path) as store, opened(tmp_path) as other:
        store.see(EVE, at(0), kept(), gap_s=10, new=True)
        before = store.version()
        assert other.erase([EVE, MAL]) == 1
        assert store.version() != before
        assert not store.see(EVE, at(1), kept(), gap_s=10, new=False)
        assert store.ids() == []
        with pytest.raises(UsageError, match="no unknown person"):
            store.read(EVE)


def test_nothing_is_in_the_clear_and_nothing_is_left(tmp_path: Path) -> None:
    parts = [kept().portrait[:64], kept().face.vectors.tobytes()[:32], b"door"]
    with opened(tmp_path) as store:
        store.see(EVE, at(0), kept(), gap_s=10, new=True)
        files = list(tmp_path.glob("unknown.db*"))
        assert files_that_hold(parts, files) == []
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
        with sqlite3.connect(tmp_path / "unknown.db") as db:
            (body,) = db.execute("SELECT body FROM unknowns").fetchone()
        db.close()
        assert files_that_hold([body[-64:]], files)
        store.erase([EVE])
        assert files_that_hold([body[-64:], EVE.encode()], files) == []


def test_who_was_not_seen_for_long_is_erased(tmp_path: Path) -> None:
    age = Age()
    with opened(tmp_path, age=age) as store:
        store.see(EVE, at(0), kept(), gap_s=10, new=True)
        store.see(MAL, at(60), kept(2), gap_s=10, new=True)
        age.now = 100
        assert store.prune() == 0
        age.now = 101
        assert store.prune() == 1
        assert store.ids() == [MAL]


def test_there_are_no_more_than_the_limit(tmp_path: Path) -> None:
    with opened(tmp_path, people=2) as store:
        for number in (3, 1, 2):
            store.see(f"{number:016d}", at(number), kept(), gap_s=10, new=True)
        assert store.ids() == [f"{3:016d}", f"{2:016d}"]


def test_a_visit_that_was_somebody_elses_is_taken_back(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.see(EVE, at(0), kept(1), gap_s=1, new=True)
        later = replace(kept(2), time=at(50).time)
        store.see(EVE, at(50), later, gap_s=1, new=False)
        store.take_back(EVE, at(50))
        assert store.read(EVE).visits == (at(0),)
        assert [one.photo for one in store.read(EVE).faces] == [kept(1).photo]
        store.take_back(EVE, at(0))
        store.take_back(EVE, at(0))
        assert store.ids() == []


def test_a_damaged_record_is_left_out_and_can_be_erased(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as store:
        for who in (EVE, MAL):
            store.see(who, at(0), kept(), gap_s=10, new=True)
        with sqlite3.connect(tmp_path / "unknown.db") as db:
            db.execute("UPDATE unknowns SET body = zeroblob(99) WHERE id = ?", (EVE,))
        db.close()
        assert [one.id for one in store.people()] == [MAL]
        assert f"jetson-face unknown erase {EVE}" in caplog.text
        assert store.ids() == [MAL, EVE]
        assert store.erase([EVE]) == 1


def test_another_key_is_said(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.see(EVE, at(0), kept(), gap_s=10, new=True)
    other = AesGcm(b"k" * 32)
    with (
        UnknownStore.open(tmp_path / "unknown.db", other) as store,
        pytest.raises(GalleryError, match="another key"),
    ):
        store.people()


def test_a_record_does_not_open_in_anothers_place(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.see(EVE, at(0), kept(), gap_s=10, new=True)
        with sqlite3.connect(tmp_path / "unknown.db") as db:
            db.execute("UPDATE unknowns SET id = ?", (MAL,))
        db.close()
        assert store.people() == []


def test_somebody_whose_faces_all_went_is_listed_and_has_nothing_to_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--set", f"state_dir={tmp_path}"]
    with UnknownStore.open(tmp_path / UNKNOWNS, open_cipher(tmp_path, create=True)) as store:
        store.see(EVE, at(0), replace(kept(), time=at(0).time), gap_s=1, new=True)
        store.see(EVE, at(50), None, gap_s=1, new=False)
        store.take_back(EVE, at(0))
        assert store.read(EVE).faces == ()
    assert main(["unknown", "list", *words]) == 0
    assert capsys.readouterr().out == f"{EVE}: 1 visit, the last 2001-09-09T01:47:30+00:00\n"
    for who, says in ((EVE, "no face"), ("\udcff", "no unknown person")):
        assert main(["unknown", "show", who, "--out", str(tmp_path / "out.png"), *words]) == 2
        assert says in capsys.readouterr().err
