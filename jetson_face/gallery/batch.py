"""What becomes of the photos that are enrolled together, and whose they really are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jetson_face.core.types import F32, Person
from jetson_face.gallery.label_check import (
    MislabelledTemplate,
    check_template,
    mislabelled_templates,
)
from jetson_face.gallery.records import NewTemplate, TemplateInfo, photo_name
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.audit import Action


@dataclass(frozen=True, slots=True)
class Refusal:
    """A photo (or folder) that was not enrolled, and why."""

    path: Path
    reason: str


@dataclass(slots=True)
class EnrollmentResult:
    """What became of the photos of one person.

    person: who has them now, None where none was enrolled. added: enrolled. already: were there.
    refused: were not, and why. warnings: enrolled, but look at them. A photo that was handed over
    in memory is called `image N`, by its place from 1.
    """

    name: str
    person: Person | None = None
    added: list[Path] = field(default_factory=list)
    already: list[Path] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class RefusedError(Exception):
    """This photo cannot be enrolled; the text is the reason."""


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A photo that was just enrolled. photo: hex SHA-256. number: in the order of the batch."""

    result: EnrollmentResult
    person: Person
    path: Path
    photo: str
    number: int


class Batch:
    """Photos that are enrolled together.

    Each is compared with the people who were there before, and with its own person, as it comes:
    what lies in a wrong folder of this batch must not keep out those whose it is. At the end all
    are compared with all. similarity_min: cosine at or above which two faces are one person. force:
    refuse nothing.
    """

    def __init__(self, store: GalleryStore, similarity_min: float, *, force: bool) -> None:
        self._store, self._similarity_min, self._force = store, similarity_min, force
        self._before = store.snapshot()
        self._own: dict[str, list[F32]] = {}
        self._fresh: dict[tuple[str, str], _Fresh] = {}

    def check_photo(self, photo: str) -> None:
        """Refuse a photo (hex SHA-256) of somebody who was erased. Raises RefusedError."""
        if not self._force and self._store.was_erased(photo):
            raise RefusedError(
                "it was erased together with a person: where that person agreed to be enrolled "
                "again, use --force"
            )

    def add(self, result: EnrollmentResult, path: Path, new: NewTemplate) -> bool:
        """Enrol one photo; False when it is there already. Raises RefusedError, GalleryError."""
        forced: dict[str, object] = {}
        self._must_be_allowed(result.person, new.vector)
        mislabelled = self._check(result.person, new.vector)
        if mislabelled is not None and mislabelled.similarity >= self._similarity_min:
            if not self._force:
                raise RefusedError(_reason(mislabelled))
            forced["looks_like"] = mislabelled.other.id
        if self._force and self._store.was_erased(new.photo):
            forced["was_erased"] = True
        if forced:
            forced["forced"] = True
        person, added = keep_template(self._store, result.name, new, details=forced)
        result.person = person
        if added:
            self._own.setdefault(person.id, []).append(new.vector)
            self._fresh[person.id, new.photo] = _Fresh(
                result, person, path, new.photo, len(self._fresh)
            )
        return added

    def _must_be_allowed(self, person: Person | None, vector: F32) -> None:
        """Raises RefusedError for a face of the do-not-recognise list, whatever is forced."""
        hidden = self._before.withheld - {person.id if person else ""}
        if not hidden:
            return
        nearest = max(self._nearest(who, vector) for who in hidden)
        own = -1.0 if person is None else self._nearest(person.id, vector)
        if nearest >= max(self._similarity_min, own):
            raise RefusedError("the face is on the do-not-recognise list")

    def _nearest(self, person: str, vector: F32) -> float:
        """Cosine to the nearest template that a person (id) had before the batch."""
        index = self._before.index_of(person)
        return -1.0 if index is None else float((self._before.own(index) @ vector).max())

    def judge(self) -> None:
        """Withdraw photos of this batch that prove to be another's, the clearest case first, and
        warn of those that are merely nearer to another."""
        mislabelled_photos = self._mislabelled_photos({person for person, _ in self._fresh})
        while not self._force:
            wrong = [one for one in mislabelled_photos if one[1].similarity >= self._similarity_min]
            if not wrong:
                break
            self._withdraw(*max(wrong, key=self._how_clear))
            # Whoever looked like the one that went may look like nobody now.
            mislabelled_photos = self._mislabelled_photos(
                {fresh.person.id for fresh, _ in mislabelled_photos}
            )
        for fresh, mislabelled in mislabelled_photos:
            fresh.result.warnings.append(
                f"{fresh.path.name}: {mislabelled}: check whose photo it is"
            )

    def _check(self, person: Person | None, vector: F32) -> MislabelledTemplate | None:
        """Whether a face is nearer to somebody who was there before the batch."""
        index = None if person is None else self._before.index_of(person.id)
        own = [] if person is None else self._own.get(person.id, [])
        return check_template(self._before, vector, index, own, self._similarity_min)

    def _mislabelled_photos(self, people: set[str]) -> list[tuple[_Fresh, MislabelledTemplate]]:
        """The photos of this batch, of these people (ids), that are nearer to somebody else."""
        found = []
        with self._store.transaction():  # what is read is of one moment
            snapshot = self._store.snapshot()
            places = (snapshot.index_of(who) for who in people)
            for index in sorted(place for place in places if place is not None):
                person = snapshot.people[index]
                marked = mislabelled_templates(snapshot, index, self._similarity_min)
                templates = self._matched(person) if marked else ()
                for mislabelled in marked:
                    fresh = self._fresh.get((person.id, templates[mislabelled.row].photo))
                    if fresh is not None:
                        found.append((fresh, mislabelled))
        return found

    def _matched(self, person: Person) -> tuple[TemplateInfo, ...]:
        """A person's templates in the order of the snapshot: those that are not set aside."""
        aside = self._store.aside()
        return tuple(t for t in self._store.show(person.id).templates if t.id not in aside)

    def _how_clear(self, one: tuple[_Fresh, MislabelledTemplate]) -> tuple[float, int]:
        """How much nearer to the other; of two alike the later one."""
        fresh, mislabelled = one
        own = self._similarity_min if mislabelled.own is None else mislabelled.own
        return mislabelled.similarity - own, fresh.number

    def _withdraw(self, fresh: _Fresh, mislabelled: MislabelledTemplate) -> None:
        details = {"photo": photo_name(fresh.path), "looks_like": mislabelled.other.id}
        self._store.remove_photo(fresh.person, fresh.photo, "photo_withdrawn", details)
        del self._fresh[fresh.person.id, fresh.photo]
        fresh.result.added.remove(fresh.path)
        fresh.result.refused.append(Refusal(fresh.path, _reason(mislabelled)))
        if not fresh.result.added and not fresh.result.already:
            fresh.result.person = None


def keep_template(
    store: GalleryStore,
    name: str,
    new: NewTemplate,
    act: Action | None = None,
    details: Mapping[str, object] | None = None,
) -> tuple[Person, bool]:
    """Add a face to the person of that name, who is made where there is none; False when that face
    of that photo is there already.

    act: what the audit log calls it, other than enrolling. details: more for the audit log.
    Raises NameInvalidError, GalleryError.
    """
    with store.transaction():
        known = store.find(name)
        person = known or store.add_person(name)
        added = store.add_template(person, new)
        if added:
            act = act or ("enrolled" if known is None else "photos_added")
            store.act(act, person, {"photos": 1, "photo": new.source, **(details or {})})
        return person, added


def _reason(mislabelled: MislabelledTemplate) -> str:
    return f"{mislabelled}: if it is a photo of this person all the same, use --force"
