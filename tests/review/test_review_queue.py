"""The review queue: sealed, bounded, each face once, answers that can be taken back."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.errors import (
    GalleryCorruptError,
    GalleryError,
    GalleryLockedError,
    OutputError,
    UsageError,
)
from jetson_face.core.types import EmbeddingSpace
from jetson_face.privacy.audit import files_that_hold
from jetson_face.review.item import ReviewItem
from jetson_face.review.queue import Answer, ReviewQueue
from tests.review.review_fakes import SPACE, Age, open_queue, review_item

DAY = 86400.0
SAME = 0.9


def add(queue: ReviewQueue, candidate: str = "ada", seed: int = 1) -> int | None:
    return queue.add(review_item(candidate, seed), same_face_min=SAME)


def test_an_item_comes_back_whole(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        assert add(queue) == 1
    with open_queue(tmp_path) as queue:
        found, kept = queue.read(1).item, review_item()
    for key in ("candidate", "similarity", "second", "time", "source", "track", "quality"):
        assert getattr(found, key) == getattr(kept, key)
    assert found.portrait == kept.portrait
    assert found.photo == kept.photo
    np.testing.assert_array_equal(found.landmarks, kept.landmarks)
    np.testing.assert_array_equal(found.face.vectors, kept.face.vectors)
    assert found.face.space == SPACE


def test_nothing_of_it_is_readable_on_disk(tmp_path: Path) -> None:
    item = review_item()
    with open_queue(tmp_path) as queue:
        add(queue)
        files = list(tmp_path.iterdir())
        vector = item.face.vectors.tobytes()[:16]
        assert files_that_hold([item.portrait[:24], vector, b"door"], files) == []
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.parametrize("data", [b"", b"{}", b"[]\n", b"{}\nxx", review_item().to_bytes()[:300]])
def test_bytes_that_are_no_item_are_refused(data: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        ReviewItem.from_bytes(data)


def test_the_same_face_is_queued_once_for_each_candidate(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        assert add(queue) == 1
        assert add(queue) is None
        assert add(queue, "bob") == 2
        assert add(queue, seed=2) == 3
        queue.answer(1, "rejected", None)
        assert add(queue) is None  # is not Ada: still known
        queue.answer(2, "accepted", "bob")
        assert add(queue, "bob") == 4  # accepted, and yet between sure and no: worth a look again
        assert queue.repeats == 2


def test_faces_of_another_network_are_not_compared(tmp_path: Path) -> None:
    other = EmbeddingSpace("review", "1" * 64, 32)
    with open_queue(tmp_path) as queue:
        add(queue)
        assert queue.add(review_item(space=other), same_face_min=SAME) == 2


def test_numbers_are_never_given_twice(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        add(queue)
        add(queue, seed=2)
        queue.erase("ada", [])
    with open_queue(tmp_path) as queue:
        assert add(queue) == 3


@pytest.mark.parametrize("number", [0, -1, 2, 2**63, -(2**63) - 1, 10**30])
def test_a_number_that_nothing_has_is_said_however_large(tmp_path: Path, number: int) -> None:
    with open_queue(tmp_path) as queue:
        add(queue)
        with pytest.raises(UsageError, match=f"no review item {number} waits"):
            queue.read(number)


def test_answers_are_taken_back_from_the_last_to_the_first(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        for seed in (1, 2, 3):
            add(queue, seed=seed)
        queue.answer(3, "rejected", None)
        queue.answer(1, "accepted", "ada")
        assert queue.numbers() == [2]
        for number, state in ((1, "accepted"), (3, "rejected")):
            last = queue.last_answer()
            assert last is not None
            assert (last.number, last.state) == (number, state)
            queue.reopen(number)
        assert queue.last_answer() is None
        assert queue.numbers() == [1, 2, 3]


def test_an_item_is_answered_once(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        add(queue)
        queue.answer(1, "rejected", None)
        with pytest.raises(UsageError, match="review item 1"):
            queue.answer(1, "accepted", "ada")
        with pytest.raises(UsageError, match="review item 9"):
            queue.read(9)


@settings(max_examples=15, deadline=None)
@given(
    acts=st.lists(st.tuples(st.integers(0, 30), st.sampled_from([None, "accepted", "rejected"])))
)
def test_it_never_holds_more_than_its_bound(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[int, Answer | None]]
) -> None:
    with open_queue(tmp_path_factory.mktemp("queue"), items=3) as queue:
        for seed, answer in acts:
            number = add(queue, seed=seed)
            if number is not None and answer:
                queue.answer(number, answer, None)
            sizes = [len(queue.numbers(s)) for s in ("open", "accepted", "rejected")]
            assert max(sizes) <= 3
            # The newest stayed.
            assert number is None or answer or queue.numbers()[-1] == number


def test_a_full_queue_gives_up_the_oldest_and_counts_it(tmp_path: Path) -> None:
    with open_queue(tmp_path, items=2) as queue:
        for seed in range(4):
            add(queue, seed=seed)
        assert (queue.numbers(), queue.given_up) == ([3, 4], 2)


def test_old_items_and_answers_go_by_service_time(tmp_path: Path) -> None:
    age = Age()
    with open_queue(tmp_path, age=age) as queue:
        add(queue)
        add(queue, seed=2)
        queue.answer(1, "rejected", None)
        age.now = 20 * DAY
        add(queue, seed=3)
        age.now = 31 * DAY
        assert queue.prune() == 2
        assert (queue.numbers(), queue.last_answer()) == ([3], None)


def test_erasing_a_person_leaves_the_others_and_no_bytes(tmp_path: Path) -> None:
    person = "9d3f6f0e-0000-4000-8000-00000000000a"
    with open_queue(tmp_path) as queue, open_queue(tmp_path) as service:
        add(queue, person)
        add(queue, "bob", 2)
        add(queue, "bob", 3)
        add(queue, "bob", 4)
        queue.answer(2, "accepted", person)
        blobs = sqlite3.connect(tmp_path / "review.db").execute(
            "SELECT body FROM items WHERE number < 4"
        )
        traces = [bytes(body)[100:130] for (body,) in blobs]
        assert queue.about(person, lambda q: q.photo == review_item(seed=3).photo) == [1, 2, 3]
        assert queue.erase(person, [3]) == 3
        assert service.numbers() == [4]
        assert files_that_hold([person.encode(), *traces], list(tmp_path.iterdir())) == []


def test_another_key_is_one_clear_line(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        add(queue)
    with open_queue(tmp_path, key=bytes(31) + b"x") as queue:
        with pytest.raises(GalleryError, match=r"review.db: encrypted with another key") as caught:
            queue.read(1)
        assert not isinstance(caught.value, GalleryCorruptError)
        with pytest.raises(GalleryError, match="another key"):
            add(queue)


def test_a_damaged_item_costs_only_itself(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        add(queue)
        add(queue, seed=2)
        with sqlite3.connect(tmp_path / "review.db") as db:
            db.execute("UPDATE items SET body = substr(body, 1, 400) WHERE number = 1")
        with pytest.raises(GalleryCorruptError, match="review item 1 is damaged"):
            queue.read(1)
        assert queue.read(2).number == 2
        assert add(queue, seed=3) == 3
        queue.throw_away(1)
        assert queue.numbers() == [2, 3]


def test_an_item_moved_to_another_person_does_not_open(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        add(queue)
        with sqlite3.connect(tmp_path / "review.db") as db:
            db.execute("UPDATE items SET candidate = 'bob'")
        with pytest.raises(GalleryCorruptError):
            queue.read(1)


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + bytes(4000)])
def test_a_file_that_is_no_queue_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "review.db").write_bytes(content)
    with pytest.raises(GalleryCorruptError, match="the review queue is damaged"):
        open_queue(tmp_path)


def test_a_queue_that_another_process_holds_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_queue(tmp_path) as queue:
        queue._db.execute("PRAGMA busy_timeout = 10")
        other = sqlite3.connect(tmp_path / "review.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(GalleryLockedError, match="another process"):
            add(queue)
        other.execute("ROLLBACK")
        other.close()
        assert add(queue) == 1


def test_a_full_disk_is_our_own_error_and_passes(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        add(queue)
        (pages,) = queue._db.execute("PRAGMA page_count").fetchone()
        queue._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OutputError, match="review queue cannot be used"):
            add(queue, seed=2)
        assert queue.numbers() == [1]
        queue._db.execute("PRAGMA max_page_count = 100000")
        assert add(queue, seed=2) == 2


def test_a_folder_that_cannot_be_written_is_our_own_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        open_queue(tmp_path / "file")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    open_queue(tmp_path).close()
    with sqlite3.connect(tmp_path / "review.db") as db:
        db.execute("PRAGMA user_version = 9")
    with pytest.raises(GalleryError, match="format 9"):
        open_queue(tmp_path)
