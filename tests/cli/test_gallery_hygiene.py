"""`jetson-face gallery hygiene`: what is found, what would change, set aside and taken back; also
where others change the gallery meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jetson_face.cli import hygiene as command
from jetson_face.cli.main import main
from jetson_face.config import Config, load_config
from jetson_face.core.errors import GalleryLockedError
from jetson_face.core.types import F32, Embeddings, EmbeddingSpace
from jetson_face.factory.parts import open_gallery
from jetson_face.gallery.hygiene import (
    FaultyTemplate,
    Matched,
    faulty_templates,
    still_matched,
)
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.gallery.merging import merge
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.item import ReviewItem
from jetson_face.review.queue import ReviewQueue
from jetson_face.util.images import encode_jpeg
from tests.review.review_fakes import SPACE

PICTURE = np.zeros((64, 64, 3), np.uint8)
MARKS = np.zeros((5, 2), np.float32)


def along(*axes: int) -> F32:
    vector = np.zeros(SPACE.dim, np.float32)
    for rank, axis in enumerate(axes):
        vector[axis] = 1.0 if rank == 0 else 0.2
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


ADAS, BOBS = [along(0, 1), along(0, 2), along(9, 8)], [along(5, 6), along(5, 7)]


def template(name: str, number: int, vector: F32) -> NewTemplate:
    return NewTemplate(vector, 0.9, f"{name}{number}", PICTURE, MARKS, f"{name}{number}.jpg")


class Site:
    """A gallery of a few people, and the command."""

    def __init__(self, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
        self.config, self._capsys = config, capsys

    def enrol(self, **people: list[F32]) -> None:
        with open_gallery(self.config, SPACE, create=True) as gallery:
            for name, vectors in people.items():
                person = gallery.add_person(name)
                for number, vector in enumerate(vectors):
                    gallery.add_template(person, template(name, number, vector))

    def hygiene(self, *words: str, code: int = 0) -> str:
        sets = [f"state_dir={self.config.state_dir}", "matching.top_k=1"]
        sets.append("matching.similarity_min=0.5")
        rest = [word for text in sets for word in ("--set", text)]
        assert main(["gallery", "hygiene", *words, *rest]) == code
        told = self._capsys.readouterr()
        return told.err if code else told.out

    def aside(self) -> list[str]:
        """Photos that are set aside."""
        with open_gallery(self.config) as gallery:
            sources = {one.id: one.source for who in gallery.people() for one in who.templates}
            return sorted(sources[key] for key in gallery.aside())


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(load_config(None, [f"state_dir={tmp_path / 'state'}"]), capsys)


def test_a_planted_photo_is_shown_with_what_it_decided_and_set_aside(site: Site) -> None:
    site.enrol(Ada=ADAS, Bob=BOBS)
    state = site.config.state_dir
    face = Embeddings(along(9)[None], SPACE)
    with ReviewQueue.open(state / "review.db", open_cipher(state)) as queue:
        item = ReviewItem("ada", 0.4, 0.3, 1e9, "door", 7, 0.8, face, encode_jpeg(PICTURE), MARKS)
        queue.add(item, same_face_min=0.9)

    assert site.hygiene().splitlines() == [
        "Ada: Ada2.jpg: far from the others (0.00)",
        "  would change: review item 1: Ada, then nobody",
        "1 do harm: --set-aside keeps them out of matching",
    ]
    assert "1 set aside, 1 in all" in site.hygiene("--set-aside")
    told = json.loads(site.hygiene("--json"))
    assert (told["found"], told["would_change"], len(told["set_aside"])) == ([], [], 1)
    assert told["meanwhile"] is None
    assert "1 templates taken back" in site.hygiene("--take-back")
    assert len(json.loads(site.hygiene("--json"))["found"]) == 1


Change = Callable[[GalleryStore], object]
Meanwhile = Callable[[Change], None]


@pytest.fixture
def meanwhile(site: Site, monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Let somebody else change the gallery after it was read and before anything is set aside."""

    def let(change: Change) -> None:
        def judged(snapshot: GallerySnapshot, similarity_min: float) -> list[FaultyTemplate]:
            with open_gallery(site.config) as other:
                change(other)
            return faulty_templates(snapshot, similarity_min)

        monkeypatch.setattr(command, "faulty_templates", judged)

    return let


def remove_photo(name: str, number: int) -> Change:
    def change(gallery: GalleryStore) -> None:
        info = gallery.show(name)
        gallery.remove_photo(info.person, info.templates[number].photo)

    return change


def set_aside(name: str, number: int) -> Change:
    return lambda gallery: gallery.set_aside([gallery.show(name).templates[number].id])


def test_the_template_that_was_found_is_set_aside_though_an_earlier_one_went(
    site: Site, meanwhile: Meanwhile
) -> None:
    site.enrol(Ada=[*ADAS, along(0, 3)], Bob=BOBS)
    meanwhile(remove_photo("Ada", 0))
    assert site.hygiene("--set-aside").splitlines() == [
        "Ada: Ada2.jpg: far from the others (0.00)",
        "the gallery changed meanwhile: 1 templates went (0 of them faulty), 0 came: run it again",
        "1 set aside, 1 in all; back with --take-back",
    ]
    assert site.aside() == ["Ada2.jpg"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (remove_photo("Ada", 2), "1 templates went (1 of them faulty), 0 came"),
        (lambda gallery: gallery.remove("Ada"), "3 templates went (1 of them faulty), 0 came"),
        (
            lambda gallery: merge(gallery, "Ada", "Bob"),
            "3 templates went (1 of them faulty), 3 came",
        ),
    ],
    ids=["removed", "person removed", "merged"],
)
def test_what_was_found_and_is_gone_is_not_set_aside(
    site: Site, meanwhile: Meanwhile, change: Change, told: str
) -> None:
    site.enrol(Ada=ADAS, Bob=BOBS)
    meanwhile(change)
    assert site.hygiene("--set-aside").splitlines() == [
        "no template does harm",
        f"the gallery changed meanwhile: {told}: run it again",
        "0 set aside, 0 in all; back with --take-back",
    ]
    assert site.aside() == []


def test_what_came_meanwhile_is_told_and_left_alone(site: Site, meanwhile: Meanwhile) -> None:
    site.enrol(Ada=ADAS, Bob=BOBS)
    meanwhile(lambda gallery: site.enrol(Aaron=[along(9)]))
    assert "0 templates went (0 of them faulty), 1 came" in site.hygiene("--set-aside")
    assert site.aside() == ["Ada2.jpg"]


def test_what_others_set_aside_meanwhile_stays_so(site: Site, meanwhile: Meanwhile) -> None:
    site.enrol(Ada=ADAS, Bob=BOBS)
    meanwhile(set_aside("Bob", 1))
    told = site.hygiene("--set-aside")
    assert "1 templates went (0 of them faulty), 0 came" in told
    assert "1 set aside, 2 in all" in told
    assert site.aside() == ["Ada2.jpg", "Bob1.jpg"]


def test_nothing_is_set_aside_where_the_gallery_was_embedded_again(
    site: Site, meanwhile: Meanwhile
) -> None:
    site.enrol(Ada=ADAS, Bob=BOBS)
    space = EmbeddingSpace("other", "1" * 64, SPACE.dim)
    every = Embeddings(np.stack([*ADAS, *BOBS]), space)
    meanwhile(lambda gallery: gallery.reembed(space, lambda portraits, marks: every))
    assert "somebody embedded the gallery again: try again" in site.hygiene("--set-aside", code=7)
    assert site.aside() == []


def test_nobody_writes_between_the_last_look_and_what_is_set_aside(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.enrol(Ada=ADAS, Bob=BOBS)
    refused = []

    def looked(gallery: GalleryStore, before: Matched) -> frozenset[str]:
        now = still_matched(gallery, before)
        config = load_config(
            None, [f"state_dir={site.config.state_dir}", "gallery.lock_timeout_s=0.1"]
        )
        with pytest.raises(GalleryLockedError) as error, open_gallery(config) as other:
            set_aside("Bob", 1)(other)
        refused.append(error)
        return now

    monkeypatch.setattr(command, "still_matched", looked)
    assert "1 set aside, 1 in all" in site.hygiene("--set-aside")
    assert len(refused) == 1
    assert site.aside() == ["Ada2.jpg"]
