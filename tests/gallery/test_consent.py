"""Consent records and the do-not-recognise list, in the gallery's file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from jetson_face.core.errors import GalleryError, NameInvalidError, UsageError
from jetson_face.gallery.batch import Batch, EnrollmentResult, RefusedError
from jetson_face.gallery.merging import merge
from jetson_face.gallery.permission import (
    consents_of,
    not_recognised,
    record_consent,
    withhold,
)
from jetson_face.gallery.person_notes import Consent
from jetson_face.gallery.store import GalleryStore
from tests.gallery.gallery_fakes import SPACE, filled, template, unit

DAY_S = 86400.0
ADA = Consent("Ada Lovelace", "2026-01-01", "2026-12-31", "notice 3")


def test_a_consent_is_kept_replaced_and_withdrawn(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    with filled(path, Ada=[unit(1)]) as store:
        person = record_consent(store, "Ada", ADA)
        before = store.revision()
        record_consent(store, "Ada", Consent("Ada Lovelace", "2027-01-01"))
        assert store.revision() > before  # running programs notice it
    with GalleryStore.open(path) as store:
        assert consents_of(store) == {person.id: Consent("Ada Lovelace", "2027-01-01")}
        record_consent(store, person.id, None)
        assert consents_of(store) == {}
        with pytest.raises(UsageError):
            record_consent(store, "Bob", ADA)


def test_a_consent_holds_to_the_end_of_its_last_day() -> None:
    last = 1_798_675_200.0  # 2026-12-31T00:00:00Z
    assert ADA.ends == last + DAY_S
    assert not ADA.expired(last + DAY_S - 1)
    assert ADA.expired(last + DAY_S)
    assert not Consent("Ada", "2026-01-01").expired(1e12)


@pytest.mark.parametrize(
    "wrong",
    [
        ("", "2026-01-01", None, ""),
        (" ", "2026-01-01", None, ""),
        ("Ada", "2026-13-01", None, ""),
        ("Ada", "20260101", None, ""),
        ("Ada", "2026-W01-1", None, ""),
        ("Ada", "2026-01-02", "2026-01-01", ""),
        ("Ada", "2026-01-01", "never", ""),
        ("Ada\x1b[2J", "2026-01-01", None, ""),
        ("Ada", "2026-01-01", None, "x" * 2001),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: tuple[str, str, str | None, str]) -> None:
    with pytest.raises(NameInvalidError):
        Consent(*wrong)


def test_who_is_erased_is_in_neither_list(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    with filled(path, Ada=[unit(1)], Bob=[unit(0, 1)]) as store:
        ada = record_consent(store, "Ada", ADA)
        withhold(store, "Ada")
        bob = withhold(store, "Bob")
        store.remove("Ada")
        assert consents_of(store) == {}
        assert not_recognised(store) == {bob.id}
        store.remove_photo(bob, template("Bob0.jpg").photo)
        assert not_recognised(store) == frozenset()
    files = [path, Path(f"{path}-wal")]
    assert not any(ada.id.encode() in one.read_bytes() for one in files if one.exists())


def test_the_snapshot_says_who_is_withheld(tmp_path: Path) -> None:
    with filled(tmp_path / "gallery.db", Ada=[unit(1)], Bob=[unit(0, 1)]) as store:
        assert store.snapshot().withheld == frozenset()
        ada = withhold(store, "Ada")
        assert store.snapshot().withheld == {ada.id}
        assert [person.name for person in store.snapshot().people] == ["Ada", "Bob"]
        withhold(store, "Ada", on=False)
        assert store.snapshot().withheld == frozenset()


def test_whose_consent_ends_is_withheld_from_then_on(tmp_path: Path) -> None:
    now = [0.0]
    path = tmp_path / "gallery.db"
    with filled(path, Ada=[unit(1)]) as store:
        ada = record_consent(store, "Ada", ADA)
    with GalleryStore.open(path, withhold_expired=True, clock=lambda: now[0]) as store:
        now[0] = ADA.ends - 1
        before = store.snapshot()
        assert (before.withheld, store.snapshot()) == (frozenset(), before)
        now[0] = ADA.ends
        assert store.snapshot().withheld == {ada.id}  # nobody changed the gallery
        assert store.snapshot() is store.snapshot()
    with GalleryStore.open(path, clock=lambda: ADA.ends + 1) as store:
        assert store.snapshot().withheld == frozenset()


def test_a_face_of_the_list_is_enrolled_under_no_other_name(tmp_path: Path) -> None:
    with filled(tmp_path / "gallery.db", Ada=[unit(1)], Bob=[unit(0, 1)]) as store:
        withhold(store, "Ada")
        batch = Batch(store, 0.5, force=True)
        with pytest.raises(RefusedError, match="do-not-recognise"):
            batch.add(EnrollmentResult("Eve"), Path("eve.jpg"), template("e", unit(1, 0.2)))
        own = EnrollmentResult("Ada", store.find("Ada"))
        assert batch.add(own, Path("ada.jpg"), template("a", unit(1, 0.1)))
        bob = EnrollmentResult("Bob", store.find("Bob"))
        assert batch.add(bob, Path("bob.jpg"), template("b", unit(0.7, 0.8)))


def test_nobody_is_merged_with_somebody_of_the_list(tmp_path: Path) -> None:
    with filled(tmp_path / "gallery.db", Ada=[unit(1)], Bob=[unit(0, 1)]) as store:
        withhold(store, "Ada")
        with pytest.raises(GalleryError, match="do-not-recognise"):
            merge(store, "Ada", "Bob")
        assert store.find("Ada") is not None
        withhold(store, "Bob")
        merge(store, "Ada", "Bob")
        assert len(not_recognised(store)) == 1


def test_a_list_that_somebody_took_out_of_the_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    with filled(path, Ada=[unit(1)]) as store:
        withhold(store, "Ada")
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM meta WHERE key = 'note_do_not_recognise'")
        db.commit()
    with pytest.raises(GalleryError):
        GalleryStore.open(path, SPACE)
