"""The control socket's answers about doubtful faces: lists, groups, previews, bulk, undo."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.config import Config, load_config
from jetson_face.core.types import Embeddings, Person
from jetson_face.factory.parts import open_gallery
from jetson_face.gallery.records import NewTemplate
from jetson_face.privacy.audit import acting_as
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.queue import ReviewQueue
from jetson_face.service.control.http import ControlRequest, answer
from jetson_face.service.control.process import ControlAnswers
from jetson_face.service.erasure import audit_log
from jetson_face.service.page_settings import PageSettings
from jetson_face.util.images import decode_picture
from tests.review.review_fakes import SPACE, face, review_item

Asks = Callable[..., tuple[int, Any]]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(None, [f"state_dir={tmp_path / 'state'}", "matching.similarity_min=0.6"])


@pytest.fixture
def asks(config: Config) -> Asks:
    def load(changes: Sequence[str]) -> Config:
        return config

    every = ControlAnswers(PageSettings(load)).routes

    def _asks(method: str, path: str, body: object = None, **query: str) -> tuple[int, Any]:
        reply = answer(every, ControlRequest(method, path, query, json.dumps(body or {}).encode()))
        is_json = "json" in reply.content_type
        return reply.status, json.loads(reply.body) if is_json else reply.body

    return _asks


@pytest.fixture
def people(config: Config) -> dict[str, Person]:
    found = {}
    with open_gallery(config, SPACE, create=True) as gallery:
        for name, seed in (("Ada", 90), ("Bob", 91)):
            person, asked = gallery.add_person(name), review_item(seed=seed)
            portrait = decode_picture(asked.portrait, "")
            gallery.add_template(
                person, NewTemplate(face(seed).vectors[0], 0.9, name, portrait, asked.landmarks, "")
            )
            found[name] = person
    return found


def mix(one: int, other: int, share: float) -> Embeddings:
    """A unit vector between those of two seeds."""
    vector = share * face(one).vectors + (1 - share) * face(other).vectors
    return Embeddings(np.asarray(vector / np.linalg.norm(vector), np.float32), SPACE)


def wait_for_review(config: Config, candidate: str, *faces: Embeddings) -> None:
    from dataclasses import replace

    path = config.state_dir / "review.db"
    with ReviewQueue.open(path, open_cipher(config.state_dir)) as queue:
        for seed, one in enumerate(faces, 1):
            queue.add(replace(review_item(candidate, seed), face=one), same_face_min=2.0)


def test_faces_that_look_alike_are_a_group(
    config: Config, asks: Asks, people: dict[str, Person]
) -> None:
    wait_for_review(config, people["Ada"].id, face(1), face(2), mix(1, 3, 0.8))
    status, found = asks("GET", "/review")
    assert status == 200
    assert [(one["number"], one["group"]) for one in found["items"]] == [(1, 1), (2, 2), (3, 1)]
    assert found["items"][0]["candidate"] == "Ada"
    status, picture = asks("GET", "/review/1/face")
    assert (status, picture[:3]) == (200, b"\xff\xd8\xff")
    _, first = asks("GET", "/review", limit="2")
    _, second = asks("GET", "/review", limit="2", cursor=first["next"])
    assert [one["number"] for one in second["items"]] == [3]
    assert second["next"] is None


def test_the_preview_says_whom_an_answer_would_name_and_keeps_nothing(
    config: Config, asks: Asks, people: dict[str, Person]
) -> None:
    near = mix(5, 6, 0.75)
    wait_for_review(config, people["Ada"].id, face(5), near, face(91))
    votes = {"answers": [{"number": 1, "answer": "other", "name": "Cy"}]}
    _, found = asks("POST", "/review/preview", votes)
    assert found["adds"] == {"Cy": 1}
    (change,) = found["changed"]
    assert (change["number"], change["before"]["state"]) == (2, "unknown")
    assert (change["after"]["state"], change["after"]["name"]) == ("known", "Cy")
    assert found["warnings"] == []
    wrong = {"answers": [{"number": 3, "answer": "yes"}]}
    _, found = asks("POST", "/review/preview", wrong)
    assert "Bob" in found["warnings"][0]["text"]
    assert len(asks("GET", "/review")[1]["items"]) == 3
    assert asks("GET", "/people")[1]["items"][0]["template_count"] == 1


def test_many_answers_at_once_and_all_of_them_taken_back(
    config: Config, asks: Asks, people: dict[str, Person]
) -> None:
    wait_for_review(config, people["Ada"].id, face(1), face(2), face(3), face(4))
    votes = [
        {"number": 1, "answer": "yes"},
        {"number": 2, "answer": "no"},
        {"number": 3, "answer": "other", "name": "Bob"},
        {"number": 9, "answer": "yes"},
    ]
    with acting_as("web:ada"):
        status, found = asks("POST", "/review/decide", {"answers": votes})
    assert status == 200
    assert [one["done"] for one in found["results"]] == [True, True, True, False]
    assert [one["number"] for one in asks("GET", "/review")[1]["items"]] == [4]
    counts = {p["name"]: p["template_count"] for p in asks("GET", "/people")[1]["items"]}
    assert counts == {"Ada": 2, "Bob": 2}
    entries = audit_log(config).read()
    assert [(e.action, e.actor.split("@")[0]) for e in entries] == [
        ("confirmed", "web:ada"), ("rejected", "web:ada"), ("confirmed", "web:ada"),
    ]  # fmt: skip
    status, found = asks("POST", "/review/undo", {"numbers": [1, 2, 3]})
    assert (status, found) == (200, {"undone": [3, 2, 1], "left": []})
    assert [one["number"] for one in asks("GET", "/review")[1]["items"]] == [1, 2, 3, 4]
    counts = {p["name"]: p["template_count"] for p in asks("GET", "/people")[1]["items"]}
    assert counts == {"Ada": 1, "Bob": 1}


def test_an_answer_that_others_followed_is_not_taken_back(
    config: Config, asks: Asks, people: dict[str, Person]
) -> None:
    wait_for_review(config, people["Ada"].id, face(1), face(2))
    for number in (1, 2):
        asks("POST", "/review/decide", {"answers": [{"number": number, "answer": "no"}]})
    assert asks("POST", "/review/undo", {"numbers": [1]})[0] == 409


@pytest.mark.parametrize(
    "answers",
    [
        [],
        "all",
        [{"number": 1, "answer": "maybe"}],
        [{"number": True, "answer": "yes"}],
        [{"number": 1, "answer": "other"}],
        [{"number": 1, "answer": "other", "name": "a\nb"}],
        [{"number": 1, "answer": "no"}, {"number": 1, "answer": "yes"}],
    ],
)
def test_answers_that_make_no_sense(asks: Asks, people: dict[str, Person], answers: object) -> None:
    assert asks("POST", "/review/decide", {"answers": answers})[0] == 422


def test_what_thresholds_mean_by_the_enrolled_faces(
    config: Config, asks: Asks, people: dict[str, Person]
) -> None:
    with open_gallery(config, SPACE) as gallery:
        for name, seed in (("Ada", 90), ("Bob", 91)):
            again, asked = mix(seed, seed + 100, 0.6), review_item(seed=seed)
            portrait = decode_picture(asked.portrait, "")
            gallery.add_template(
                people[name],
                NewTemplate(again.vectors[0], 0.9, f"{name}2", portrait, asked.landmarks, ""),
            )
    status, found = asks("GET", "/tuning/thresholds")
    assert (status, found["strangers"], found["known"]) == (200, 4, 4)
    shares = [point["fpir"]["share"] for point in found["points"]]
    right = [point["correctly_identified"]["share"] for point in found["points"]]
    assert shares == sorted(shares, reverse=True)
    assert (right[0], right[-1]) == (1.0, 0.0)
    assert shares[-1] == 0.0
    low = found["points"][-1]["fpir"]
    assert 0 < low["high"] <= 1
