"""Doubtful faces: listed in groups that look alike, decided one or many at once, and taken back."""

from __future__ import annotations

from typing import Any

from jetson_face.core.errors import GalleryCorruptError, UsageError
from jetson_face.gallery.names import valid_name
from jetson_face.review.clusters import review_clusters
from jetson_face.review.queue import ReviewQueue
from jetson_face.service.control.desk import Desk, same_person_min
from jetson_face.service.control.http import ControlError, ControlRequest, Reply, Route
from jetson_face.service.control.preview import ReviewVote, changes
from jetson_face.service.control.values import page
from jetson_face.service.review import Review

_AT_ONCE = 200
_ANSWERS = frozenset({"yes", "no", "other"})


class Reviewing:
    """The routes under `/review`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.routes: tuple[Route, ...] = (
            ("GET", "/review", self.list),
            ("GET", "/review/([0-9]{1,9})/face", self.face),
            ("POST", "/review/preview", self.preview),
            ("POST", "/review/decide", self.decide),
            ("POST", "/review/undo", self.undo),
        )

    def list(self, request: ControlRequest) -> Reply:
        """What waits, oldest first; `group` is the same for faces that look alike."""
        limit, after = request.number("limit", 100, 500), request.query.get("cursor", "0")
        if not after.isdecimal() or len(after) > 9:
            raise ControlError(400, "cursor is what `next` of the page before said")
        if not self._desk.config.gallery_path.exists():
            return page([], None)
        with self._desk.review() as (config, review, queue, _):
            rows, _ = review.waiting()
            groups = _groups(queue, same_person_min(config))
            rows = [row | _beside(queue, groups, row) for row in rows if row["number"] > int(after)]
        part = rows[:limit]
        return page(part, str(part[-1]["number"]) if len(rows) > limit else None)

    def face(self, request: ControlRequest, number: str) -> Reply:
        """The face that waits."""
        with self._desk.review() as (_, _, queue, _):
            return Reply(200, queue.read(int(number)).item.portrait, "image/jpeg")

    def preview(self, request: ControlRequest) -> Reply:
        """What the answers would change about the faces that go on waiting; nothing is kept."""
        votes = _votes(request)
        with self._desk.review() as (config, review, queue, store):
            found = changes(config, review, queue, store, votes)
        return Reply.of(found)

    def decide(self, request: ControlRequest) -> Reply:
        """Answer, in the order given; what cannot be answered says why and stops nothing."""
        votes = _votes(request)
        with self._desk.review() as (_, review, _, _):
            done = [{"number": vote.number, **_answer(review, vote)} for vote in votes]
        self._desk.told()
        return Reply.of({"results": done})

    def undo(self, request: ControlRequest) -> Reply:
        """Take answers back, the last one first; only those that nobody answered after."""
        numbers = _numbers(request.document())
        back: list[int] = []
        with self._desk.review() as (_, review, queue, _):
            while len(back) < len(numbers):
                last = queue.last_answer()
                if last is None or last.number not in numbers:
                    break
                back.append(review.undo().number)
        self._desk.told()
        left = sorted(numbers - set(back))
        if left and not back:
            raise ControlError(
                409, "none of these is the last answer: somebody answered since", left=left
            )
        return Reply.of({"undone": back, "left": left})


def _beside(queue: ReviewQueue, groups: dict[int, int], row: dict[str, Any]) -> dict[str, Any]:
    """The group, and the candidate's id where that one is still enrolled."""
    who = queue.read(row["number"]).item.candidate if row.get("candidate") else None
    return {"group": groups.get(row["number"]), "candidate_id": who}


def _answer(review: Review, vote: ReviewVote) -> dict[str, Any]:
    try:
        if vote.answer == "no":
            return {"done": True, "name": review.reject(vote.number)}
        person = review.accept(vote.number, vote.name)
        return {"done": True, "person": person.id, "name": person.name}
    except (UsageError, GalleryCorruptError) as error:
        return {"done": False, "reason": str(error)}


def _votes(request: ControlRequest) -> list[ReviewVote]:
    given = request.document().get("answers")
    if not isinstance(given, list) or not 1 <= len(given) <= _AT_ONCE:
        raise ControlError(422, f"answers is a list of 1 to {_AT_ONCE}")
    votes = []
    for one in given:
        if not isinstance(one, dict) or one.get("answer") not in _ANSWERS:
            raise ControlError(422, "an answer is {number, answer: yes|no|other, name}")
        number, name = one.get("number"), one.get("name")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 1 << 53:
            raise ControlError(422, "number is that of a face in the list")
        if one["answer"] == "other":
            if not isinstance(name, str):
                raise ControlError(422, "`other` needs the name of somebody, new or not")
            votes.append(ReviewVote(number, "other", valid_name(name)))
        else:
            votes.append(ReviewVote(number, one["answer"], None))
    if len({vote.number for vote in votes}) != len(votes):
        raise ControlError(422, "a face has two answers")
    return votes


def _numbers(document: dict[str, Any]) -> set[int]:
    given = document.get("numbers")
    whole = isinstance(given, list) and all(type(n) is int and 0 < n < 1 << 53 for n in given)
    if not isinstance(given, list) or not whole or not 1 <= len(given) <= _AT_ONCE:
        raise ControlError(422, f"numbers is a list of 1 to {_AT_ONCE} whole numbers")
    return set(given)


def _groups(queue: ReviewQueue, same_face_min: float) -> dict[int, int]:
    """By number, the smallest number of its cluster."""
    clusters = review_clusters(queue, same_face_min)
    return {number: cluster.numbers[0] for cluster in clusters for number in cluster.numbers}
