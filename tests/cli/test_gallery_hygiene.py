"""`jetson-face gallery hygiene`: what is found, what would change, set aside and taken back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jetson_face.cli.main import main
from jetson_face.config import load_config
from jetson_face.core.types import F32, Embeddings
from jetson_face.factory.parts import open_gallery
from jetson_face.gallery.records import NewTemplate
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


def test_a_planted_photo_is_shown_with_what_it_decided_and_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(None, [f"state_dir={tmp_path / 'state'}"])
    own = {"Ada": [along(0, 1), along(0, 2), along(9, 8)], "Bob": [along(5, 6), along(5, 7)]}
    with open_gallery(config, SPACE, create=True) as gallery:
        for name, vectors in own.items():
            person = gallery.add_person(name)
            for number, vector in enumerate(vectors):
                source = f"{name}{number}.jpg"
                new = NewTemplate(vector, 0.9, f"{name}{number}", PICTURE, MARKS, source)
                gallery.add_template(person, new)
    face = Embeddings(along(9)[None], SPACE)
    with ReviewQueue.open(config.state_dir / "review.db", open_cipher(config.state_dir)) as queue:
        item = ReviewItem("ada", 0.4, 0.3, 1e9, "door", 7, 0.8, face, encode_jpeg(PICTURE), MARKS)
        queue.add(item, same_face_min=0.9)
    sets = [f"state_dir={config.state_dir}", "matching.top_k=1", "matching.similarity_min=0.5"]
    rest = [word for text in sets for word in ("--set", text)]

    def hygiene(*words: str) -> str:
        assert main(["gallery", "hygiene", *words, *rest]) == 0
        return capsys.readouterr().out

    assert hygiene().splitlines() == [
        "Ada: Ada2.jpg: far from the others (0.00)",
        "  would change: review item 1: Ada, then nobody",
        "1 do harm: --set-aside keeps them out of matching",
    ]
    assert "1 set aside, 1 in all" in hygiene("--set-aside")
    told = json.loads(hygiene("--json"))
    assert (told["found"], told["would_change"], len(told["set_aside"])) == ([], [], 1)
    assert "1 templates taken back" in hygiene("--take-back")
    assert len(json.loads(hygiene("--json"))["found"]) == 1
