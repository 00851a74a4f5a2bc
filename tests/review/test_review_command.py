"""`jetson-face review`: what a person is told, and what becomes of the gallery."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jetson_face.cli.main import main
from jetson_face.config import Config, load_config
from jetson_face.core.types import Embeddings, EmbeddingSpace, Person
from jetson_face.factory.parts import live_people, open_gallery
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.queue import ReviewQueue
from jetson_face.service.erasure import audit_log
from jetson_face.util.images import decode_picture, read_picture
from tests.review.review_fakes import SPACE, face, review_item

Review = Callable[..., int]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(None, [f"state_dir={tmp_path / 'state'}"])


@pytest.fixture
def review(config: Config) -> Review:
    def _review(*words: object) -> int:
        return main(["review", *map(str, words), "--set", f"state_dir={config.state_dir}"])

    return _review


@pytest.fixture
def ada(config: Config) -> Person:
    with open_gallery(config, SPACE, create=True) as gallery:
        return enrol(gallery, "Ada", 90)


def enrol(gallery: GalleryStore, name: str, seed: int) -> Person:
    person, item = gallery.add_person(name), review_item(seed=seed)
    portrait = decode_picture(item.portrait, "")
    gallery.add_template(
        person,
        NewTemplate(item.face.vectors[0], 0.9, name, portrait, item.landmarks, "photo.jpg"),
    )
    return person


def ask(config: Config, *candidates: str, space: EmbeddingSpace = SPACE) -> None:
    path = config.state_dir / "review.db"
    with ReviewQueue.open(path, open_cipher(config.state_dir)) as queue:
        for seed, candidate in enumerate(candidates, 1):
            queue.add(review_item(candidate, seed, space=space), same_face_min=0.9)


def photos(config: Config) -> dict[str, int]:
    with open_gallery(config) as gallery:
        return {info.person.name: len(info.templates) for info in gallery.people()}


def acts(config: Config) -> list[tuple[str, str, object]]:
    return [(e.action, e.name, e.details.get("question")) for e in audit_log(config).read()]


def test_nothing_waits(review: Review, capsys: pytest.CaptureFixture[str]) -> None:
    assert review("list") == 0
    assert review("list", "--json") == 0
    assert capsys.readouterr().out == "no face waits for review\n[]\n"
    assert review("undo") == 2
    assert review("accept", 1) == 2


def test_the_list_says_what_waits(
    review: Review, config: Config, ada: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(config, ada.id, "gone")
    assert review("list") == 0
    assert capsys.readouterr().out.splitlines() == [
        "1: 2001-09-09T01:46:40+00:00 door track 7: Ada? (0.40, the next 0.30, quality 0.80)",
        "2: 2001-09-09T01:46:40+00:00 door track 7: a person who was removed? (0.40, the next "
        "0.30, quality 0.80)",
    ]
    assert review("list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0] == {
        "number": 1,
        "time": "2001-09-09T01:46:40+00:00",
        "source": "door",
        "track": 7,
        "candidate": "Ada",
        "similarity": 0.4,
        "second": 0.3,
        "quality": 0.8,
    }


def test_a_picture_shows_the_face_beside_the_person_for_its_owner_only(
    review: Review, config: Config, ada: Person, tmp_path: Path
) -> None:
    ask(config, ada.id, "gone")
    out = tmp_path / "face.png"
    assert review("show", 1, "--out", out) == 0
    assert read_picture(out).shape == (256, 512, 3)
    assert out.stat().st_mode & 0o777 == 0o600
    assert review("show", 2, "--out", out) == 0
    assert read_picture(out).shape == (256, 256, 3)
    assert review("show", 1, "--out", tmp_path / "state" / "review.db" / "x.png") == 15
    assert acts(config)[0] == ("exported", "Ada", 1)


def test_an_accepted_face_is_enrolled_and_can_be_taken_back(
    review: Review, config: Config, ada: Person
) -> None:
    ask(config, ada.id)
    with open_gallery(config) as running:
        before = running.snapshot()
        assert review("accept", 1) == 0
        assert running.snapshot().revision > before.revision  # so a running program notices
        assert len(running.snapshot().vectors) == 2
    assert photos(config) == {"Ada": 2}
    assert review("accept", 1) == 2
    assert review("undo") == 0
    assert photos(config) == {"Ada": 1}
    assert review("reject", 1) == 0
    assert review("undo") == 0
    assert review("undo") == 2
    assert [action for action, *_ in acts(config)] == [
        "confirmed", "undone", "rejected", "undone",
    ]  # fmt: skip


def test_a_face_may_be_somebody_else_also_somebody_new(
    review: Review, config: Config, ada: Person
) -> None:
    ask(config, ada.id, ada.id)
    assert review("accept", 1, "--as", "Zoë") == 0
    assert review("accept", 2, "--as", "zoë") == 0
    assert photos(config) == {"Ada": 1, "Zoë": 2}
    assert review("undo") == 0
    assert photos(config) == {"Ada": 1, "Zoë": 1}
    assert review("undo") == 0
    assert photos(config) == {"Ada": 1}
    assert acts(config)[-1] == ("undone", "Zoë", 1)


def test_an_answer_that_was_cut_short_is_given_again(
    review: Review, config: Config, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(config, ada.id)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ReviewQueue, "answer", killed)
        assert review("accept", 1) == 130
    assert photos(config) == {"Ada": 2}
    assert review("accept", 1) == 0
    assert photos(config) == {"Ada": 2}
    with monkeypatch.context() as patch:
        patch.setattr(ReviewQueue, "reopen", killed)
        assert review("undo") == 130
    assert review("undo") == 0
    assert photos(config) == {"Ada": 1}


def test_a_removed_candidate_needs_a_name(
    review: Review, config: Config, ada: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(config, "gone")
    assert review("accept", 1) == 2
    assert "name one with --as NAME, or reject it" in capsys.readouterr().err
    assert review("reject", 1) == 0


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_bad_name_is_refused(
    review: Review, config: Config, ada: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(config, ada.id)
    assert review("accept", 1, "--as", "a/b") == 13
    assert "holds '/'" in one_line(capsys)
    assert photos(config) == {"Ada": 1}


def test_a_face_of_another_network_is_refused(
    review: Review, config: Config, ada: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(config, ada.id, space=EmbeddingSpace("other", "1" * 64, 32))
    assert review("accept", 1) == 9
    assert "review item 1 was made with other/" in one_line(capsys)


def test_another_key_is_one_line(
    review: Review, config: Config, ada: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(config, ada.id)
    (config.state_dir / "gallery.key").write_bytes(b"k" * 32)
    assert review("list") == 7
    assert "encrypted with another key" in one_line(capsys)


def test_a_damaged_item_is_named_and_can_be_thrown_away(
    review: Review, config: Config, ada: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(config, ada.id, ada.id)
    with sqlite3.connect(config.state_dir / "review.db") as db:
        db.execute("UPDATE items SET body = zeroblob(1000) WHERE number = 1")
    assert review("list") == 7
    first, second = capsys.readouterr().out.splitlines()
    assert "review item 1 is damaged: `jetson-face review reject 1` throws it away" in first
    assert second.startswith("2: ")
    assert review("accept", 1) == 7
    assert review("reject", 1) == 0
    assert review("list") == 0


def test_a_damaged_queue_is_one_line(
    review: Review, config: Config, ada: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    (config.state_dir / "review.db").write_bytes(b"no database " * 100)
    assert review("list") == 7
    assert "the review queue is damaged" in one_line(capsys)


def test_what_rejecting_would_change_is_said_before_and_running_programs_notice_after(
    config: Config, review: Review, ada: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    vector = face(90).vectors[0] + face(3).vectors[0]
    mixed = Embeddings((vector / np.linalg.norm(vector))[None], SPACE)
    path = config.state_dir / "review.db"
    with ReviewQueue.open(path, open_cipher(config.state_dir)) as queue:
        queue.add(replace(review_item(ada.id), face=mixed), same_face_min=0.9)
    assert review("reject", 1, "--preview") == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 of 1 faces of the review queue would be named otherwise",
        "  review item 1: Ada, then nobody",
    ]
    with open_gallery(config, SPACE) as gallery:
        before = gallery.revision()
        people = live_people(config, gallery, SimpleNamespace(similarity_min=0.42))
        assert people(0).match(mixed)[0].similarity > 0.5
        assert review("reject", 1) == 0
        assert gallery.revision() > before
        assert people(10**12).match(mixed)[0].similarity == -1
        assert review("undo") == 0
        assert people(10**13).match(mixed)[0].similarity > 0.5
    assert review("reject", 7, "--preview") == 2
