"""A large gallery answers as a small one does, and changes at the cost of what changes."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.compact import CompactTemplates, compact
from jetson_face.core.errors import GalleryCorruptError, InputMissingError, JetsonFaceError
from jetson_face.core.types import F32, Embeddings, EmbeddingSpace, Match
from jetson_face.gallery import manifest
from jetson_face.gallery.batch import Batch, EnrollmentResult, RefusedError
from jetson_face.gallery.groups import Ids
from jetson_face.gallery.large import LargeGallery
from jetson_face.gallery.live import LivePeople
from jetson_face.gallery.matcher import Matcher
from jetson_face.gallery.merging import merge
from jetson_face.gallery.negatives import Negatives
from jetson_face.gallery.packs import PackRows, number_of
from jetson_face.gallery.permission import withhold
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.gallery.templates import Facts, TemplateRows
from jetson_face.inference.byte_scan import ByteProbes, ByteScan
from jetson_face.privacy.encryption import AesGcm
from tests.gallery.gallery_fakes import LANDMARKS, portrait

DIM = 32
SPACE = EmbeddingSpace("made", "ab" * 32, DIM)
CIPHER = AesGcm(bytes(32))
PEOPLE, EACH = 500, 4


def _unit(vectors: F32) -> F32:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def _looks(people: F32, seed: int) -> F32:
    random = np.random.default_rng(seed)
    return _unit(people + 0.15 * random.standard_normal(people.shape).astype(np.float32))


def _centres(count: int, seed: int, dim: int = DIM) -> F32:
    return _unit(np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32))


def fill(store: GalleryStore, people: F32, each: int) -> None:
    """A gallery without portraits, written at once."""
    with store.transaction():
        rows = TemplateRows(store.book)
        looks = [_looks(people, 10 + number) for number in range(each)]
        for number in range(len(people)):
            person = store.add_person(f"Person {number}")
            for look, own in enumerate(looks[: 1 + number % each]):
                photo = hashlib.sha256(f"{number} {look}".encode()).hexdigest()
                facts = Facts(photo, "made.jpg", 0.7, 0.0)
                row = rows.sealed(str(uuid.uuid4()), person.id, 0, facts, own[number].tobytes())
                store.book.db.execute("INSERT INTO templates VALUES (?, ?, ?, ?, ?, ?)", row)
                store.book.wrote(manifest.of_template(store.book.sealer, *row), person.id)


def large(path: Path) -> GalleryStore:
    return GalleryStore.open(path, SPACE, cipher=CIPHER, large=1)


def small(path: Path) -> GalleryStore:
    return GalleryStore.open(path, SPACE, cipher=CIPHER)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "gallery.db"
    with GalleryStore.open(path, SPACE, create=True, cipher=CIPHER) as store:
        fill(store, _centres(PEOPLE, 1), EACH)
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copy(made, tmp_path / "gallery.db"))


def probes(count: int = 60, seed: int = 3) -> Embeddings:
    """Half of people who are there."""
    there = _looks(_centres(PEOPLE, 1)[: count // 2], seed)
    return Embeddings(np.concatenate([there, _centres(count - count // 2, seed + 1)]), SPACE)


def same(found: list[Match], wanted: list[Match]) -> None:
    """The same people in the same order, with the same similarities but for rounding."""
    for one, other in zip(found, wanted, strict=True):
        assert [c.person for c in one.candidates] == [c.person for c in other.candidates]
        assert one.person == other.person
        assert one.similarity == pytest.approx(other.similarity, abs=2e-6)
        assert one.second == pytest.approx(other.second, abs=2e-6)


def template(photo: str, vector: F32) -> NewTemplate:
    digest = hashlib.sha256(photo.encode()).hexdigest()
    return NewTemplate(vector, 0.7, digest, portrait(), LANDMARKS, photo)


@pytest.mark.parametrize("packed", [False, True], ids=["numpy", "onnxruntime"])
@pytest.mark.parametrize("top_k", [1, 3])
def test_it_answers_as_a_small_one_does(made: Path, top_k: int, packed: bool) -> None:
    with small(made) as one, large(made) as other:
        whole, compacted = one.snapshot(), other.snapshot()
        assert isinstance(compacted, LargeGallery)
        assert not isinstance(whole, LargeGallery)
        if packed:
            compacted.pack()
        wanted = Matcher(whole, top_k=top_k).match(probes())
        same(Matcher(compacted, top_k=top_k).match(probes()), wanted)
        assert sorted(compacted.people, key=lambda p: p.id) == sorted(
            whole.people, key=lambda p: p.id
        )
        assert compacted.template_count == whole.template_count


@pytest.mark.slow
def test_twenty_thousand_templates_answer_as_a_small_gallery_does(tmp_path: Path) -> None:
    path, people = tmp_path / "gallery.db", _centres(8000, 1)
    with GalleryStore.open(path, SPACE, create=True, cipher=CIPHER) as store:
        fill(store, people, EACH)
    asked = Embeddings(np.concatenate([_looks(people[:500], 5), _centres(500, 6)]), SPACE)
    with small(path) as one, large(path) as other:
        whole, compacted = one.snapshot(), other.snapshot()
        assert whole.template_count == 20_000
        assert isinstance(compacted, LargeGallery)
        compacted.pack()
        same(Matcher(compacted).match(asked), Matcher(whole).match(asked))


@given(st.integers(0, 2**31), st.integers(1, 30), st.sampled_from([1e-3, 0.1, 1.0]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_cosine_is_never_more_than_the_scan_says(
    seed: int, count: int, peak: float, packed: bool
) -> None:
    random = np.random.default_rng(seed)
    templates, asked = (random.standard_normal((n, DIM)).astype(np.float32) for n in (count, 3))
    templates[:, 0] *= peak
    templates, asked = _unit(templates), _unit(asked)
    scan, prepared = ByteScan(compact(templates)), ByteProbes.of(asked)
    if packed:
        scan.pack()
    high = np.empty((3, count), np.float32)
    scan.at_most(prepared, high)
    exact = asked.astype(np.float64) @ templates.astype(np.float64).T
    assert (exact <= high).all()
    assert (exact >= high - 2 * scan.off(prepared)).all()
    assert (scan.off(prepared) < 0.03).all()


def test_equal_templates_count_once_as_in_a_small_one(path: Path) -> None:
    twice, far = _centres(1, 50)[0], _centres(1, 51)[0]
    with small(path) as store, store.transaction():
        for name in ("Twin", "Double"):
            person = store.add_person(name)
            for number, vector in enumerate([twice, twice, twice, far]):
                store.add_template(person, template(f"{name}{number}", vector))
    asked = Embeddings(np.stack([twice, far, _unit(twice + far)]), SPACE)
    with small(path) as one, large(path) as other:
        wanted = Matcher(one.snapshot()).match(asked)
        assert {c.person.name for c in wanted[0].candidates} >= {"Twin", "Double"}
        same(Matcher(other.snapshot()).match(asked), wanted)


def test_who_is_not_somebody_is_held_against_them(made: Path) -> None:
    with small(made) as one, large(made) as other:
        asked = probes()
        names = [match.candidates for match in Matcher(one.snapshot()).match(asked)]
        first = tuple(c[0].person.id for c in names)
        negatives = Negatives(asked.vectors, first, 0.9)
        wanted = Matcher(one.snapshot(), negatives=negatives).match(asked)
        assert all(
            m.person is not None and m.person.id != f for m, f in zip(wanted, first, strict=True)
        )
        same(Matcher(other.snapshot(), negatives=negatives).match(asked), wanted)


def test_what_is_set_aside_or_withheld_is_so(path: Path) -> None:
    with large(path) as store:
        person, gone = store.show("Person 3").person, store.show("Person 7").templates
        withhold(store, person.id)
        store.set_aside([one.id for one in gone])
        snapshot = store.snapshot()
        assert snapshot.withheld == {person.id}
        assert snapshot.index_of(store.show("Person 7").person.id) is None
        assert snapshot.template_count == sum(1 + n % EACH for n in range(PEOPLE)) - len(gone)


@pytest.mark.parametrize("cipher", [CIPHER, None], ids=["sealed", "plain"])
def test_changes_by_others_are_seen_and_only_theirs_are_read(
    tmp_path: Path, cipher: AesGcm | None
) -> None:
    path = tmp_path / "gallery.db"
    with GalleryStore.open(path, SPACE, create=True, cipher=cipher) as store:
        fill(store, _centres(60, 1), 2)
    new = _centres(1, 90)[0]
    with (
        GalleryStore.open(path, SPACE, cipher=cipher, large=1) as watching,
        GalleryStore.open(path, SPACE, cipher=cipher, large=1) as writing,
    ):
        people = LivePeople(watching, Matcher, every_ns=0)

        def named() -> list[str]:
            (match,) = people(0).match(Embeddings(new[None], SPACE))
            return [f"{c.person.name} {c.similarity:.2f}" for c in match.candidates]

        read: list[int] = []
        original = PackRows.read

        def counting(rows: PackRows, number: int) -> object:
            read.append(number)
            return original(rows, number)

        assert not named()[0].startswith("New")
        with pytest.MonkeyPatch.context() as patch:
            with writing.transaction():
                writing.add_template(writing.add_person("New"), template("new", new))
            patch.setattr(PackRows, "read", counting)
            assert named()[0] == "New 1.00"
            assert len(read) == 256  # one group of sixteen
        writing.rename("New", "Newer")
        assert named()[0] == "Newer 1.00"
        merge(writing, "Newer", "Person 4")
        assert "Newer" not in str(named())
        writing.remove("Person 4")
        assert not any(one.startswith(("New", "Person 4 ")) for one in named())
        assert watching.snapshot().template_count == writing.snapshot().template_count
        assert len(watching.people()) == 59


def test_enrolling_reads_and_writes_one_pack(path: Path) -> None:
    with large(path) as store:
        store.snapshot()
        with closing(sqlite3.connect(path)) as db:
            before = dict(db.execute("SELECT number, revision FROM packs").fetchall())
        with store.transaction():
            person = store.add_person("New")
            store.add_template(person, template("new", _centres(1, 91)[0]))
        with closing(sqlite3.connect(path)) as db:
            after = dict(db.execute("SELECT number, revision FROM packs").fetchall())
    changed = {number for number in after if after[number] != before.get(number)}
    assert changed == {number_of(person.id)}


def test_enrolling_compares_with_everybody(path: Path) -> None:
    known = _looks(_centres(PEOPLE, 1), 10)[20]
    with large(path) as store:
        batch = Batch(store, 0.6, force=False)
        with pytest.raises(RefusedError, match="looks like Person 20"):
            batch.add(EnrollmentResult("New"), Path("a.jpg"), template("a", known))
        result = EnrollmentResult("Person 20", store.find("Person 20"))
        assert batch.add(result, Path("b.jpg"), template("b", _looks(known[None], 4)[0]))
        batch.judge()
        assert result.refused == []
        withhold(store, store.show("Person 20").person.id)
        with pytest.raises(RefusedError, match="do-not-recognise"):
            Batch(store, 0.6, force=True).add(
                EnrollmentResult("Other"), Path("c.jpg"), template("c", known)
            )


def test_who_is_erased_is_in_no_pack(path: Path) -> None:
    with large(path) as store:
        person = store.show("Person 9").person
        with closing(sqlite3.connect(path)) as db:
            held = "SELECT pack FROM packs WHERE number = ?"
            (before,) = db.execute(held, (number_of(person.id),)).fetchone()
        store.remove(person.id)
        with store._file.reading():
            _, pack = PackRows(store.book).read(number_of(person.id))
    assert person.id not in [one.id for one in pack.people]
    whole = b"".join(one.read_bytes() for one in path.parent.glob("gallery.db*"))
    assert before[40:80] not in whole


TRICKS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "a pack removed": lambda db: db.execute(
        "DELETE FROM packs WHERE number = (SELECT min(number) FROM packs)"
    ),
    "packs exchanged": lambda db: db.execute(
        "UPDATE packs SET pack = (SELECT pack FROM packs WHERE number = "
        "(SELECT max(number) FROM packs)), total = (SELECT total FROM packs WHERE number = "
        "(SELECT max(number) FROM packs)) WHERE number = (SELECT min(number) FROM packs)"
    ),
    "older packs": lambda db: db.execute("INSERT OR REPLACE INTO packs SELECT * FROM before.packs"),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_packs_that_do_not_fit_are_made_again(path: Path, trick: str) -> None:
    """They are made from the rows, which are checked then."""
    shutil.copy(path, path.with_name("before.db"))
    with large(path) as store:
        store.remove("Person 5")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ATTACH ? AS before", (str(path.with_name("before.db")),))
        TRICKS[trick](db)
    with large(path) as store, small(path) as other:
        assert store.snapshot().index_of("") is None
        assert "Person 5" not in [person.name for person in store.snapshot().people]
        same(Matcher(store.snapshot()).match(probes()), Matcher(other.snapshot()).match(probes()))


def test_rows_that_do_not_fit_the_packs_are_refused(path: Path) -> None:
    """The manifest covers the rows: what is read whole is checked whole."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM templates WHERE rowid = 3")
    with large(path) as store, pytest.raises(GalleryCorruptError):
        store.people()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision'")
    with pytest.raises(GalleryCorruptError):
        large(path)


def test_a_vector_that_was_exchanged_does_not_open(path: Path) -> None:
    with large(path) as store:
        snapshot = store.snapshot()
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE templates SET vector = (SELECT vector FROM templates LIMIT 1)")
        with pytest.raises(GalleryCorruptError):
            snapshot.own(3)


@pytest.mark.parametrize("how", ["gone", "closed"])
def test_it_goes_on_without_the_file_or_with_it_closed(path: Path, how: str) -> None:
    """Where the exact vectors cannot be read, the compact ones decide."""
    with large(path) as store:
        snapshot, wanted = store.snapshot(), Matcher(store.snapshot()).match(probes(8))
    fresh = GalleryStore.open(path, SPACE, cipher=CIPHER, large=1)
    snapshot = fresh.snapshot()
    fresh.close()
    if how == "gone":
        path.rename(path.with_name("elsewhere.db"))
    found = Matcher(snapshot).match(probes(8))
    assert [m.person for m in found[:4]] == [m.person for m in wanted[:4]]
    for one, other in zip(found, wanted, strict=True):
        least = 0.03 if how == "gone" else 2e-6
        assert one.similarity == pytest.approx(other.similarity, abs=least)
    if how == "gone":
        with pytest.raises(InputMissingError):
            snapshot.own(0)


def test_another_space_replaces_every_pack(tmp_path: Path) -> None:
    other, path = EmbeddingSpace("another", "cd" * 32, 4), tmp_path / "gallery.db"
    with GalleryStore.open(path, SPACE, create=True, cipher=CIPHER) as store:
        person = store.add_person("Pia")
        store.add_template(person, template("pia", _centres(1, 92)[0]))
    with large(path) as store:
        store.reembed(other, lambda crops, _: Embeddings(np.eye(4, dtype=np.float32)[:1], other))
    with GalleryStore.open(path, other, cipher=CIPHER, large=1) as store:
        assert store.snapshot().own(0).tolist() == [[1, 0, 0, 0]]


def test_whole_vectors_are_there_for_who_asks(made: Path) -> None:
    with small(made) as one, large(made) as other:
        asked = probes(6)
        whole, compacted = one.snapshot(), other.snapshot()
        by_name = {p.name: at for at, p in enumerate(compacted.people)}
        order = [by_name[person.name] for person in whole.people]
        scores = Matcher(compacted).scores(asked)[:, order]
        np.testing.assert_allclose(scores, Matcher(whole).scores(asked), atol=2e-6)
        centre = _centres(1, 4)[0] * np.float32(0.2)
        same(
            Matcher(compacted, centre=centre).match(asked),
            Matcher(whole, centre=centre).match(asked),
        )


def test_nobody_is_nobody(tmp_path: Path) -> None:
    with GalleryStore.open(tmp_path / "g.db", SPACE, create=True, cipher=CIPHER, large=0) as store:
        assert Matcher(store.snapshot()).match(probes(2))[0].person is None
        person = store.add_person("Ann")
        store.add_template(person, template("a", _centres(1, 1)[0]))
        assert isinstance(store.snapshot(), LargeGallery)
        store.remove("Ann")
        assert Matcher(store.snapshot()).match(probes(2))[0].person is None


def test_a_scan_of_nothing_is_empty() -> None:
    none = np.zeros(0, np.float32)
    scan = ByteScan(CompactTemplates(np.zeros((0, 4), np.int8), none, none))
    scan.pack()
    scan.at_most(ByteProbes.of(np.eye(4, dtype=np.float32)), np.zeros((4, 0), np.float32))
    assert len(scan) == 0


def test_a_few_people_with_very_many_templates_each(tmp_path: Path) -> None:
    """All of the nearest templates are of few people: the others are candidates all the same."""
    path, people = tmp_path / "gallery.db", _centres(5, 1)
    with GalleryStore.open(path, SPACE, create=True, cipher=CIPHER) as store:
        fill(store, people, 1)
        with store.transaction():
            for number, who in enumerate(people[:2]):
                person, rows = store.show(f"Person {number}").person, TemplateRows(store.book)
                for look in range(1200):
                    own = _looks(who[None], look)[0]
                    facts = Facts(f"{look:064x}", "made.jpg", 0.7, 0.0)
                    row = rows.sealed(str(uuid.uuid4()), person.id, 0, facts, own.tobytes())
                    insert = "INSERT INTO templates VALUES (?, ?, ?, ?, ?, ?)"
                    store.book.db.execute(insert, row)
                    store.book.wrote(manifest.of_template(store.book.sealer, *row), person.id)
    asked = Embeddings(np.concatenate([people, _centres(3, 9)]), SPACE)
    with small(path) as one, large(path) as other:
        same(Matcher(other.snapshot()).match(asked), Matcher(one.snapshot()).match(asked))


@pytest.mark.parametrize(
    "change", ["photo = 'text'", "vector = 'text'", "face = 'text'", "about = 5", "id = x'00'"]
)
def test_rows_of_another_type_raise_only_our_errors(path: Path, change: str) -> None:
    with large(path) as store:
        person = store.show("Person 7")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(f"UPDATE templates SET {change} WHERE id = ?", (person.templates[0].id,))
    with large(path) as store:
        snapshot = store.snapshot()
        Matcher(snapshot).match(probes(8))
        index = snapshot.index_of(person.person.id)
        assert index is not None
        for read in (lambda: snapshot.own(index), store.people, lambda: store.show("Person 7")):
            with contextlib.suppress(JetsonFaceError):
                read()
        with pytest.raises(JetsonFaceError):
            store.people()


def _at(probe: F32, cosine: float, seed: int) -> F32:
    """A unit vector with this cosine to `probe` (dim,)."""
    other = _centres(1, seed)[0]
    other = _unit(other - (other @ probe) * probe)
    return np.asarray(cosine * probe + np.sqrt(1 - cosine**2) * other, np.float32)


def test_among_many_who_are_nearly_as_near_the_nearest_is_found(tmp_path: Path) -> None:
    """What a byte leaves out is more than what they differ by."""
    path, asked = tmp_path / "gallery.db", _centres(4, 70)
    with GalleryStore.open(path, SPACE, create=True, cipher=CIPHER) as store, store.transaction():
        random = np.random.default_rng(7)
        for number in range(240):
            person = store.add_person(f"Person {number}")
            probe, cosine = asked[number % 4], 0.6 + 0.002 * float(random.random())
            store.add_template(person, template(f"{number}", _at(probe, cosine, 100 + number)))
    with small(path) as one, large(path) as other:
        wanted = Matcher(one.snapshot()).match(Embeddings(asked, SPACE))
        same(Matcher(other.snapshot()).match(Embeddings(asked, SPACE)), wanted)


def test_somebody_whose_equal_templates_count_once_is_not_passed_over(tmp_path: Path) -> None:
    """The mean of 0.9 and 0.1 is more than that of 0.9, 0.1 and 0.1."""
    path, probe = tmp_path / "gallery.db", _centres(1, 70)[0]
    with GalleryStore.open(path, SPACE, create=True, cipher=CIPHER) as store, store.transaction():
        odd, low = store.add_person("Odd"), _at(probe, 0.1, 5)
        for number, vector in enumerate([_at(probe, 0.9, 4), low, low]):
            store.add_template(odd, template(f"odd{number}", vector))
        for number in range(12):
            person = store.add_person(f"Person {number}")
            store.add_template(
                person, template(f"{number}", _at(probe, 0.45 - number / 100, 100 + number))
            )
    with small(path) as one, large(path) as other:
        asked = Embeddings(probe[None], SPACE)
        wanted = Matcher(one.snapshot()).match(asked)
        assert wanted[0].person is not None
        assert wanted[0].person.name == "Odd"
        same(Matcher(other.snapshot()).match(asked), wanted)


def test_a_pack_that_goes_while_it_is_open_is_noticed(path: Path) -> None:
    with large(path) as store:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("DELETE FROM packs WHERE number = (SELECT max(number) FROM packs)")
        with pytest.raises(GalleryCorruptError):
            store.snapshot()


def test_who_may_be_named_is_looked_up(path: Path) -> None:
    with large(path) as store:
        hidden, shown = store.show("Person 1").person, store.show("Person 2").person
        withhold(store, hidden.id)
        people = LivePeople(store, Matcher, every_ns=0)
        assert people.names[shown.id] == "Person 2"
        assert shown.id in people.ids
        assert hidden.id not in people.ids
        assert "nobody" not in people.names
        assert len(people.names) == len(list(people.names)) == PEOPLE - 1


def test_who_comes_and_goes_costs_the_same_in_a_larger_gallery(tmp_path: Path) -> None:
    """By the steps of SQLite's machine, which a look at every row would multiply."""
    steps = []
    for people in (40, 1600):
        path = tmp_path / f"{people}.db"
        with GalleryStore.open(path, SPACE, create=True, cipher=CIPHER) as store:
            fill(store, _centres(people, 1), 1)
        with large(path) as store:
            store.snapshot()
            counted = [0]

            def count(counted: list[int] = counted) -> int:
                counted[0] += 1
                return 0

            store.book.db.set_progress_handler(count, 10)
            with store.transaction():
                store.add_template(store.add_person("New"), template("new", _centres(1, 8)[0]))
            store.rename("New", "Newer")
            store.remove("Newer")
            store.book.db.set_progress_handler(None, 0)
            steps.append(counted[0])
    assert steps[1] < 2 * steps[0], steps


@pytest.mark.parametrize("odd", [[], ["x"], ["F" * 36], [str(uuid.UUID(int=5)).upper()]])
def test_ids_are_what_they_were(odd: list[str]) -> None:
    known = [str(uuid.UUID(int=number**20)) for number in range(40)] + odd
    ids = Ids.of(np.array([one.encode() for one in known], np.bytes_))
    assert [one.decode() for one in ids[:].tolist()] == known
    assert [one.decode() for one in ids[3:5].tolist()] == known[3:5]
    assert Ids.of(np.zeros(0, "S36"))[:].tolist() == []
