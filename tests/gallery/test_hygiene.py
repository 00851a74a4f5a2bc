"""Templates that do harm are found, set aside and taken back; what they decided is shown before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.errors import UsageError
from jetson_face.core.types import F32, Embeddings, EmbeddingSpace, Person
from jetson_face.gallery import hygiene
from jetson_face.gallery.hygiene import (
    FaultyTemplate,
    Matched,
    faulty_templates,
    preview,
    read_matched,
    without_rows,
)
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.gallery.merging import merge
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore

SPACE = EmbeddingSpace("made", "0" * 64, 4)
ADA, BOB = Person("1", "Ada"), Person("2", "Bob")


def unit(*values: float) -> F32:
    vector = np.array([*values, *[0.0] * (4 - len(values))], np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def gallery(ada: Sequence[F32], bob: Sequence[F32]) -> GallerySnapshot:
    index = np.array([0] * len(ada) + [1] * len(bob))
    return GallerySnapshot(SPACE, np.stack([*ada, *bob]), index, (ADA, BOB))


def faults(snapshot: GallerySnapshot) -> list[tuple[int, str, str]]:
    return [(one.row, one.fault, one.other) for one in faulty_templates(snapshot, 0.5)]


ADAS = [unit(1, 0.1), unit(1, -0.2), unit(1, 0, 0.3)]
BOBS = [unit(0, 1, 0.1), unit(0, 1, -0.2)]


def test_a_good_gallery_has_no_fault() -> None:
    assert faults(gallery(ADAS, BOBS)) == []


def test_a_template_near_another_person_is_found() -> None:
    assert faults(gallery([*ADAS, unit(0.1, 1)], BOBS)) == [(3, "near another", "Bob")]


def test_a_template_far_from_the_others_is_found_where_those_agree() -> None:
    odd = unit(0, 0, 0, 1)
    assert faults(gallery([*ADAS, odd], BOBS)) == [(3, "far from the others", "")]
    # of two that do not agree nobody can say which is wrong
    assert faults(gallery([ADAS[0], odd], BOBS)) == []
    assert faults(gallery([ADAS[0], odd, unit(0, 0, 1)], BOBS)) == []


def test_a_duplicate_is_told_of_once_and_does_no_harm() -> None:
    (found,) = faulty_templates(gallery([*ADAS, ADAS[0]], BOBS), 0.5)
    assert (found.row, found.fault, found.harmful) == (3, "duplicate", False)
    assert FaultyTemplate(0, "near another", 0.6, "Bob").harmful


def turned(*degrees: float) -> list[F32]:
    return [unit(np.cos(one), np.sin(one)) for one in np.radians(degrees)]


def test_a_template_is_no_duplicate_of_one_that_was_another_persons() -> None:
    shot = gallery(turned(9, 0, -10), turned(17, 17))
    assert faults(shot) == [(0, "near another", "Bob"), (2, "duplicate", ""), (4, "duplicate", "")]


def test_a_template_has_one_fault() -> None:
    far = faulty_templates(gallery(turned(0, 0.1, 9), BOBS), 0.995)
    assert [(one.row, one.fault) for one in far if one.row == 2] == [(2, "far from the others")]


def test_the_preview_says_whose_names_would_change() -> None:
    before = gallery([*ADAS, unit(0, 0, 0, 1)], BOBS)
    probes = Embeddings(np.stack([unit(1), unit(0, 0, 0.1, 1)]), SPACE)

    def named(matcher: Matcher, faces: Embeddings) -> list[str | None]:
        found = matcher.match(faces)
        return [m.person.name if m.person and m.similarity >= 0.5 else None for m in found]

    after = Matcher(without_rows(before, [3]), top_k=1)
    (changed,) = preview(Matcher(before, top_k=1), after, probes, named)
    assert (changed.probe, changed.before, changed.after) == (1, "Ada", None)


def test_the_preview_numbers_the_faces_of_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hygiene, "_PROBES", 2)
    before, after = Matcher(gallery(ADAS, BOBS)), Matcher(gallery(ADAS, BOBS))
    parts = []

    def named(matcher: Matcher, faces: Embeddings) -> list[str | None]:
        parts.append(len(faces))
        return ["Bob" if matcher is after and one[1] > 0.9 else None for one in faces.vectors]

    probes = Embeddings(np.stack([unit(1), unit(0, 1), unit(1), unit(0, 1), unit(0, 1)]), SPACE)
    assert [one.probe for one in preview(before, after, probes, named)] == [1, 3, 4]
    assert max(parts) == 2


def new(vector: F32, photo: int) -> NewTemplate:
    picture = np.zeros((8, 8, 3), np.uint8)
    return NewTemplate(
        vector, 0.5, f"{photo:064x}", picture, np.zeros((5, 2), np.float32), f"{photo}.jpg"
    )


def test_what_is_set_aside_is_kept_but_not_matched_until_it_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    with GalleryStore.open(path, SPACE, create=True) as store:
        ada = store.add_person("Ada")
        for number, vector in enumerate(ADAS):
            store.add_template(ada, new(vector, number))
        key = store.show("Ada").templates[1].id
        revision = store.revision()
        store.set_aside([key])
        assert store.revision() > revision, "running programs notice"
        assert np.allclose(store.snapshot().vectors, [ADAS[0], ADAS[2]])
        assert len(store.show("Ada").templates) == 3
    with GalleryStore.open(path, SPACE) as store:
        assert store.aside() == {key}
        assert len(store.snapshot().vectors) == 2
        store.set_aside([])
        assert len(store.snapshot().vectors) == 3
        assert not store.aside()
        with pytest.raises(UsageError, match="no template"):
            store.set_aside(["nonsense"])


def test_who_is_erased_leaves_nothing_set_aside(tmp_path: Path) -> None:
    with GalleryStore.open(tmp_path / "gallery.db", SPACE, create=True) as store:
        ada = store.add_person("Ada")
        store.add_template(ada, new(ADAS[0], 0))
        store.set_aside([store.show("Ada").templates[0].id])
        assert not store.snapshot().people
        store.remove("Ada")
        assert not store.aside()


def test_a_photo_that_is_withdrawn_is_not_set_aside_any_more(tmp_path: Path) -> None:
    with GalleryStore.open(tmp_path / "gallery.db", SPACE, create=True) as store:
        ada = store.add_person("Ada")
        for number, vector in enumerate(ADAS):
            store.add_template(ada, new(vector, number))
        first, second, _ = store.show("Ada").templates
        store.set_aside([first.id])
        store.remove_photo(ada, first.photo)
        assert not store.aside()
        store.set_aside(store.aside() | {second.id})
        assert store.aside() == {second.id}


def test_what_is_set_aside_stays_so_when_its_person_is_merged(tmp_path: Path) -> None:
    with GalleryStore.open(tmp_path / "gallery.db", SPACE, create=True) as store:
        ada, bob = store.add_person("Ada"), store.add_person("Bob")
        for number, vector in enumerate(ADAS):
            store.add_template(ada, new(vector, number))
        store.add_template(bob, new(BOBS[0], 9))
        store.set_aside([store.show("Ada").templates[1].id])
        merge(store, "Ada", "Bob")
        sources = {one.id: one.source for one in store.show("Bob").templates}
        assert [sources[key] for key in store.aside()] == ["1.jpg"]
        assert np.allclose(store.snapshot().vectors, [BOBS[0], ADAS[0], ADAS[2]])


def test_an_id_that_an_earlier_version_left_set_aside_does_not_matter(tmp_path: Path) -> None:
    with GalleryStore.open(tmp_path / "gallery.db", SPACE, create=True) as store:
        store.add_template(store.add_person("Ada"), new(ADAS[0], 0))
        store.set_note("set_aside", '["of-a-template-that-is-gone"]')
        key = store.show("Ada").templates[0].id
        store.set_aside(store.aside() | {key})
        assert store.aside() == {key}


def filled(path: Path) -> GalleryStore:
    store = GalleryStore.open(path, SPACE, create=True)
    for name, vectors in {"Ada": ADAS, "Bob": BOBS}.items():
        person = store.add_person(name)
        for number, vector in enumerate(vectors):
            store.add_template(person, new(vector, 10 * len(store.people()) + number))
    return store


def vectors_by_id(matched: Matched) -> dict[str, list[float]]:
    return dict(zip(matched.ids, matched.snapshot.vectors.tolist(), strict=True))


@pytest.mark.parametrize("large", [1, 50_000])
def test_what_is_matched_is_read_with_the_ids_and_held(tmp_path: Path, large: int) -> None:
    path = tmp_path / "gallery.db"
    with filled(path) as store:
        store.set_aside([store.show("Ada").templates[0].id])
        kept = [*store.show("Ada").templates[1:], *store.show("Bob").templates]
    with GalleryStore.open(path, SPACE, large=large) as store:
        matched = read_matched(store)
        with GalleryStore.open(path, SPACE) as other:
            other.remove("Ada")
        found = vectors_by_id(matched)
        for template, vector in zip(kept, [*ADAS[1:], *BOBS], strict=True):
            assert found.pop(template.id) == vector.tolist()
        assert not found


def test_what_is_matched_and_its_ids_are_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gallery.db"
    with filled(path) as store, GalleryStore.open(path, SPACE) as other:
        snapshot = store.snapshot
        looks: list[GallerySnapshot] = []

        def overtaken() -> GallerySnapshot:
            found = snapshot()
            if not looks:
                ada = other.show("Ada")
                other.remove_photo(ada.person, ada.templates[0].photo)
            looks.append(found)
            return found

        monkeypatch.setattr(store, "snapshot", overtaken)
        found = vectors_by_id(read_matched(store))
        assert len(looks) == 2
        assert found[store.show("Ada").templates[0].id] == ADAS[1].tolist()
