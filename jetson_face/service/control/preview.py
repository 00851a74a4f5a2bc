"""What answers about doubtful faces would change, before they are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jetson_face.config import Config
from jetson_face.core.errors import GalleryCorruptError, UsageError
from jetson_face.core.types import F32, Embeddings, Person
from jetson_face.factory.parts import build_matcher
from jetson_face.factory.threshold import calibrated
from jetson_face.gallery.label_check import check_template
from jetson_face.gallery.large import LargeGallery
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.gallery.names import name_key
from jetson_face.gallery.store import GalleryStore
from jetson_face.recognition.decision import Decider, undecided
from jetson_face.recognition.withheld import is_withheld, nobody
from jetson_face.review.queue import ReviewQueue
from jetson_face.service.control.desk import same_person_min
from jetson_face.service.review import Review


@dataclass(frozen=True, slots=True)
class ReviewVote:
    """One answer. answer: yes (it is the candidate), no, other (it is `name`, new or not). face:
    given where it is of no item of the queue, but of a remembered person; number is 0 then."""

    number: int
    answer: str
    name: str | None
    face: Embeddings | None = None


def changes(
    config: Config,
    review: Review,
    queue: ReviewQueue,
    store: GalleryStore,
    votes: Sequence[ReviewVote],
) -> dict[str, Any]:
    """The people whom the votes add to, the faces still waiting that would then be decided in
    another way, and what does not look right. Raises the errors of gallery and queue."""
    config = calibrated(config, store)
    same = same_person_min(config)
    before = store.snapshot()
    added, warnings = _added(store, queue, before, votes, same)
    counts = {person.name: len(vectors) for person, vectors in added}
    if isinstance(before, LargeGallery):
        warnings.append({"number": 0, "text": "what would change is not shown: too many people"})
        return {"adds": counts, "changed": [], "warnings": warnings}
    after = _with(before, added)
    decider = _decider(config, same)
    one, other = (build_matcher(config, each, same) for each in (before, after))
    voted = {vote.number for vote in votes}
    changed = []
    for number in queue.numbers():
        if number in voted:
            continue
        try:
            face = queue.read(number).item.face
        except GalleryCorruptError:
            continue
        was, will = _said(one, decider, face), _said(other, decider, face)
        if (was["state"], was["person"]) != (will["state"], will["person"]):
            changed.append({"number": number, "before": was, "after": will})
    return {"adds": counts, "changed": changed, "warnings": warnings}


def _added(
    store: GalleryStore,
    queue: ReviewQueue,
    before: GallerySnapshot,
    votes: Sequence[ReviewVote],
    same: float,
) -> tuple[list[tuple[Person, list[F32]]], list[dict[str, Any]]]:
    found: dict[str, tuple[Person, list[F32]]] = {}
    warnings: list[dict[str, Any]] = []
    for vote in votes:
        if vote.answer == "no":
            continue
        candidate, face = "", vote.face
        if face is None:
            item = queue.read(vote.number).item
            candidate, face = item.candidate, item.face
        person = _whom(store, vote.name or candidate, new=vote.name is not None)
        if person is None or face.space != before.space:
            warnings.append({"number": vote.number, "text": "it cannot be added any more"})
            continue
        vector = face.vectors[0]
        mine = found.setdefault(person.id, (person, []))[1]
        suspect = check_template(before, vector, before.index_of(person.id), mine, same)
        if suspect is not None:
            warnings.append({"number": vote.number, "text": str(suspect)})
        mine.append(vector)
    return list(found.values()), warnings


def _whom(store: GalleryStore, who: str, *, new: bool) -> Person | None:
    try:
        return store.show(who).person
    except UsageError:
        return Person(f"new:{name_key(who)}", who) if new else None


def _with(snapshot: GallerySnapshot, added: Sequence[tuple[Person, list[F32]]]) -> GallerySnapshot:
    """The same with more templates."""
    people = [
        *snapshot.people,
        *(p for p, _ in added if p.id not in {q.id for q in snapshot.people}),
    ]
    place = {person.id: i for i, person in enumerate(people)}
    index = [*snapshot.person_index.tolist()]
    vectors = [snapshot.vectors]
    for person, new in added:
        index += [place[person.id]] * len(new)
        vectors.append(np.stack(new))
    order = np.argsort(np.array(index, np.int64), kind="stable")
    return GallerySnapshot(
        snapshot.space,
        np.concatenate(vectors).astype(np.float32)[order],
        np.array(index, np.int64)[order],
        tuple(people),
        snapshot.revision,
    )


def _decider(config: Config, similarity_min: float) -> Decider:
    """As one picture is decided; the queue keeps one face of each track."""
    wanted = config.matching
    least = similarity_min if wanted.similarity_min is None else wanted.similarity_min
    return Decider(
        least,
        margin_min=wanted.margin_min,
        unknown_after=1,
        review_margin=wanted.review_margin,
        withhold_margin=config.privacy.withhold_margin,
    )


def _said(matcher: Matcher, decider: Decider, face: Embeddings) -> dict[str, Any]:
    if face.space != matcher.space:
        return {"state": "unknown", "person": None, "name": None, "similarity": None}
    match = matcher.match(face)[0]
    decision = decider.decide(undecided(0), match, 1, 0)
    least = decider.withholds_from(1)
    if is_withheld(False, decision, match, matcher.snapshot.withheld, least):
        decision = nobody(decision)
    person = decision.person
    return {
        "state": decision.state,
        "person": None if person is None else person.id,
        "name": None if person is None else person.name,
        "similarity": None if decision.similarity is None else round(decision.similarity, 4),
    }
