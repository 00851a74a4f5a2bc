"""The gallery file: what is kept, what is found again, what a running program notices."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.errors import (
    EmbeddingSpaceError,
    GalleryError,
    InputMissingError,
    NameInvalidError,
    UsageError,
)
from jetson_face.core.types import F32, Embeddings, ImageU8, Person
from jetson_face.gallery.store import GalleryStore
from tests.gallery.gallery_fakes import LANDMARKS, OTHER, SPACE, filled, portrait, template, unit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "gallery.db"


def test_a_new_gallery_is_empty_private_and_bound_to_its_space(path: Path) -> None:
    with GalleryStore.open(path, SPACE, create=True) as store:
        store.add_person("Ann")
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with GalleryStore.open(path) as store:
        assert store.space == SPACE
        assert len(store.snapshot().vectors) == 0
    assert [file.name for file in path.parent.iterdir()] == ["gallery.db"]


def test_without_create_a_missing_gallery_is_not_made(path: Path) -> None:
    with pytest.raises(InputMissingError, match="enrol somebody first"):
        GalleryStore.open(path, SPACE)
    assert not path.exists()


def test_people_and_templates_come_back_as_they_were_given(path: Path) -> None:
    vectors = {"Bob": [unit(0, 1)], "ann": [unit(1), unit(1, 0.2)]}
    filled(path, **vectors).close()
    with GalleryStore.open(path, SPACE) as store:
        shown = [(info.person.name, [t.source for t in info.templates]) for info in store.people()]
        assert shown == [("ann", ["ann0.jpg", "ann1.jpg"]), ("Bob", ["Bob0.jpg"])]
        snapshot = store.snapshot()
        np.testing.assert_array_equal(snapshot.vectors, [*vectors["ann"], *vectors["Bob"]])
        assert snapshot.person_index.tolist() == [0, 0, 1]
        assert [person.name for person in snapshot.people] == ["ann", "Bob"]
        (image, landmarks), *_ = store.portraits("ANN")
        assert np.abs(image.astype(int) - portrait()).max() <= 1
        np.testing.assert_array_equal(landmarks, LANDMARKS)


def test_the_same_photo_adds_nothing_twice(path: Path) -> None:
    with filled(path, Ann=[unit(1)], Bob=[unit(0, 1)]) as store:
        ann, bob = (store.show(name).person for name in ("Ann", "Bob"))
        before = store.revision()
        assert not store.add_template(ann, template("Ann0.jpg", unit(0, 0, 1)))
        assert store.revision() == before
        assert store.has_photo(ann, template("Ann0.jpg").photo)
        assert not store.has_photo(bob, template("Ann0.jpg").photo)
        assert store.add_template(ann, template("Ann0.jpg", face=1))
        assert store.add_template(bob, template("Ann0.jpg"))
        assert len(store.snapshot().vectors) == 4


def test_names_are_unique_whatever_the_case(path: Path) -> None:
    with filled(path, **{"Zoë": [], "Bob": []}) as store:
        with pytest.raises(NameInvalidError, match="'Zoë' is taken"):
            store.add_person("ZOE\u0308")
        with pytest.raises(NameInvalidError, match="taken"):
            store.rename("Bob", "zoë")
        with pytest.raises(NameInvalidError, match="dot"):
            store.rename("Bob", "../../x")
        before = store.show("Bob").person
        assert store.rename("bob", "BOB") == Person(before.id, "BOB")
        found = store.find("bob")
        assert found is not None
        assert found.name == "BOB"


@pytest.mark.parametrize("who", ["nobody", "", "x" * 10_000, "../../x", "\udcff"])
def test_nobody_of_that_name_is_said_in_one_line(path: Path, who: str) -> None:
    with filled(path, Ann=[unit(1)]) as store:
        for act in (store.show, store.remove, store.portraits):
            with pytest.raises(UsageError) as error:
                act(who)
            assert len(str(error.value)) < 150


def test_remove_erases_everything_and_says_what(path: Path) -> None:
    vector = unit(0.3, -0.7, 0.11, 0.5, 0.9)
    store = filled(path, Ann=[unit(1)], Bob=[vector])
    needle = vector.tobytes()
    store.close()
    assert needle in path.read_bytes()
    with GalleryStore.open(path) as store:
        gone = store.remove("bob")
        assert (gone.person.name, [t.source for t in gone.templates]) == ("Bob", ["Bob0.jpg"])
        for file in path.parent.iterdir():
            assert needle not in file.read_bytes(), file
        assert [info.person.name for info in store.people()] == ["Ann"]
    counts = sqlite3.connect(path).execute(
        "SELECT (SELECT count(*) FROM templates), (SELECT count(*) FROM portraits)"
    )
    assert counts.fetchone() == (1, 1)


def test_a_running_reader_notices_each_change_and_nothing_else(path: Path) -> None:
    writer = filled(path, Ann=[unit(1)])
    with GalleryStore.open(path, SPACE) as reader:
        first = reader.snapshot()
        assert reader.snapshot() is first
        person = writer.add_person("Bob")
        writer.add_template(person, template("b.jpg", unit(0, 1)))
        assert reader.revision() == writer.revision() > first.revision
        assert [p.name for p in reader.snapshot().people] == ["Ann", "Bob"]
        assert [p.name for p in first.people] == ["Ann"]
        assert reader.snapshot() is reader.snapshot()
        writer.remove("Ann")
        assert [p.name for p in reader.snapshot().people] == ["Bob"]
    writer.close()


def test_a_transaction_comes_into_force_whole_or_not_at_all(path: Path) -> None:
    with filled(path, Ann=[unit(1)]) as store:
        before = store.revision()
        with pytest.raises(NameInvalidError):
            _add_two(store, "Bob", "")
        assert [info.person.name for info in store.people()] == ["Ann"]
        assert store.revision() == before
        _add_two(store, "Bob", "Cid")
        assert [info.person.name for info in store.people()] == ["Ann", "Bob", "Cid"]


def _add_two(store: GalleryStore, first: str, second: str) -> None:
    with store.transaction():
        store.add_template(store.add_person(first), template("b.jpg"))
        store.add_person(second)


def test_a_template_of_a_person_who_is_gone_is_refused(path: Path) -> None:
    with filled(path) as store, pytest.raises(GalleryError, match="FOREIGN KEY"):
        store.add_template(Person("no-such-id", "x"), template("x.jpg"))


@pytest.mark.parametrize(
    "vector",
    [np.ones(7, np.float32), np.zeros(8, np.float32), np.full(8, np.nan, np.float32)],
    ids=["dim", "zero", "nan"],
)
def test_a_vector_that_does_not_fit_is_refused(path: Path, vector: F32) -> None:
    with filled(path, Ann=[]) as store:
        person = store.show("Ann").person
        with pytest.raises(ValueError, match="vector"):
            store.add_template(person, template("x.jpg", vector))
        assert store.show("Ann").templates == ()


def test_another_space_is_refused_with_the_command(path: Path) -> None:
    filled(path, Ann=[unit(1)]).close()
    with pytest.raises(EmbeddingSpaceError) as error:
        GalleryStore.open(path, OTHER)
    message = str(error.value)
    assert "fake/abababababab/8" in message
    assert "other/cdcdcdcdcdcd/4" in message
    assert "take another gallery (gallery.path)" in message
    assert message.endswith(": jetson-face gallery reembed")


def _by_shade(images: ImageU8, landmarks: F32) -> Embeddings:
    assert images.shape[1:] == (256, 256, 3)
    assert landmarks.shape == (len(images), 5, 2)
    return Embeddings(np.tile(np.eye(4, dtype=np.float32)[2], (len(images), 1)), OTHER)


def test_reembedding_makes_every_vector_anew_from_its_portrait(path: Path) -> None:
    calls: list[tuple[int, int]] = []
    with filled(path, Ann=[unit(1)] * 70, Bob=[unit(0, 1)]) as store:
        reader = GalleryStore.open(path, SPACE)
        reader.snapshot()
        count = store.reembed(OTHER, _by_shade, progress=lambda *now: calls.append(now))
        assert count == 71
        assert store.space == OTHER
        assert store.snapshot().vectors.shape == (71, 4)
        with pytest.raises(EmbeddingSpaceError, match="reembed"):
            reader.snapshot()
        reader.close()
    assert calls == [(64, 71), (71, 71)]
    with GalleryStore.open(path, OTHER) as store:
        assert (store.snapshot().vectors[:, 2] == 1).all()


def test_reembedding_that_fails_changes_nothing(path: Path) -> None:
    def fail(images: ImageU8, landmarks: F32) -> Embeddings:
        raise RuntimeError("network broke")

    with filled(path, Ann=[unit(1)]) as store:
        with pytest.raises(RuntimeError, match="network broke"):
            store.reembed(OTHER, fail)
        assert store.space == SPACE
        np.testing.assert_array_equal(store.snapshot().vectors, [unit(1)])


def test_reembedding_gives_up_when_somebody_enrolled_meanwhile(path: Path) -> None:
    with filled(path, Ann=[unit(1)]) as store, GalleryStore.open(path) as other:

        def slow(images: ImageU8, landmarks: F32) -> Embeddings:
            other.add_template(other.add_person("Bob"), template("b.jpg", unit(0, 1)))
            return _by_shade(images, landmarks)

        with pytest.raises(GalleryError, match="meanwhile"):
            store.reembed(OTHER, slow)
        assert store.space == SPACE
        assert store.snapshot().vectors.shape == (2, 8)


def test_times_come_from_the_clock_that_was_given(path: Path) -> None:
    with GalleryStore.open(path, SPACE, create=True, clock=lambda: 12.5) as store:
        store.add_template(store.add_person("Ann"), template("a.jpg"))
        info = store.show("Ann")
        assert (info.created, info.templates[0].created) == (12.5, 12.5)
