"""A person who is removed is gone: from the tables, from the bytes of the files, from the crops."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from jetson_face.cli.main import main
from jetson_face.config import Config, load_config
from jetson_face.core.errors import UsageError
from jetson_face.core.types import EmbeddingSpace, Person
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.factory.parts import open_gallery
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.gallery.traces import traces_of
from jetson_face.privacy.audit import files_that_hold
from jetson_face.privacy.encryption import open_cipher
from jetson_face.service.erasure import audit_log, erase

SPACE = EmbeddingSpace("erasure", "0" * 64, 64)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(None, [f"state_dir={tmp_path}", "gallery.lock_timeout_s=0.2"])


def enrol(gallery: GalleryStore, name: str, photos: int = 3) -> Person:
    draw = np.random.default_rng(len(name))
    person = gallery.add_person(name)
    for index in range(photos):
        vector = draw.normal(size=SPACE.dim).astype(np.float32)
        vector /= np.linalg.norm(vector)
        portrait = draw.integers(0, 255, (96, 96, 3), np.uint8)
        marks = draw.uniform(0, 96, (5, 2)).astype(np.float32)
        gallery.add_template(
            person, NewTemplate(vector, 0.9, f"{name}{index}", portrait, marks, "photo.jpg")
        )
    return person


def test_nothing_of_a_removed_person_is_left_on_the_disk(config: Config, tmp_path: Path) -> None:
    with open_gallery(config, SPACE, create=True) as gallery:
        ada, bob = enrol(gallery, "Ada"), enrol(gallery, "Bob")
        traces, others = (traces_of(gallery.path, who.id) for who in (ada, bob))
        files = list(tmp_path.glob("gallery.db*"))
        assert len(traces) == 1 + 3 * 3 * 3 + 2 * 3 + 4
        # The traces are real: before, every one of them is there.
        held = b"".join(path.read_bytes() for path in files)
        assert all(trace in held for trace in traces)
        crops = SnapshotStore(tmp_path / "crops", open_cipher(tmp_path), age=lambda: 0.0)
        crops.add(b"a face", ada.id)
        crops.add(b"a face", bob.id)
        receipt, path = erase(config, gallery, "ada")
        # While the gallery is still open, as in a running service.
        assert files_that_hold(traces, list(tmp_path.rglob("gallery.db*"))) == []
        left = b"".join(path.read_bytes() for path in tmp_path.glob("gallery.db*"))
        assert all(trace in left for trace in others)
        assert [info.person for info in gallery.people()] == [bob]
    assert [snapshot.owner for snapshot in crops.stored()] == [bob.id]
    document = json.loads(path.read_text())
    assert (document["name"], document["templates"], len(document["crops"])) == ("Ada", 3, 1)
    assert document["complete"]
    assert receipt.verified[0] == "gallery.db"
    assert [(e.action, e.name) for e in audit_log(config).read()] == [
        ("removed", "Ada"),
        ("erased", "Ada"),
    ]


def test_with_another_reader_of_the_gallery_it_is_gone_all_the_same(config: Config) -> None:
    with open_gallery(config, SPACE, create=True) as gallery:
        enrol(gallery, "Ada")
        with open_gallery(config, SPACE) as service:
            service.snapshot()
            receipt, _ = erase(config, gallery, "Ada")
            assert receipt.complete
            assert service.snapshot().people == ()


def test_a_reader_in_the_middle_of_its_work_makes_the_receipt_say_so(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetson_face.service.erasure._TRIES", 1)
    with open_gallery(config, SPACE, create=True) as gallery:
        enrol(gallery, "Ada")
        reader = sqlite3.connect(gallery.path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM templates").fetchone()
        receipt, _ = erase(config, gallery, "Ada")
        reader.close()
    assert not receipt.complete
    assert receipt.failed


def test_a_picture_that_cannot_be_erased_makes_the_receipt_say_so(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".crop":
            raise PermissionError(1, "not yours")
        unlink(self, missing_ok=missing_ok)

    with open_gallery(config, SPACE, create=True) as gallery:
        ada = enrol(gallery, "Ada")
        crops = SnapshotStore(tmp_path / "crops", open_cipher(tmp_path), age=lambda: 0.0)
        crops.add(b"a face", ada.id)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", refuse)
            receipt, _ = erase(config, gallery, "Ada")
        assert (receipt.complete, receipt.failed, receipt.crops) == (False, ("crops",), ())
        again, _ = erase(config, gallery, "Ada")
        assert (again.complete, len(again.crops)) == (True, 1)
    assert crops.stored() == []


def test_nobody_of_that_name_leaves_no_receipt(config: Config, tmp_path: Path) -> None:
    with open_gallery(config, SPACE, create=True) as gallery, pytest.raises(UsageError):
        erase(config, gallery, "nobody")
    assert not (tmp_path / "receipts").exists()


def test_the_command_erases_and_names_the_receipt(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_gallery(config, SPACE, create=True) as gallery:
        enrol(gallery, "Ada", photos=1)
    set_state = ["--set", f"state_dir={tmp_path}"]
    assert main(["people", "rename", "Ada", "Ada L", *set_state]) == 0
    assert main(["people", "remove", "Ada L", "--yes", *set_state]) == 0
    said = capsys.readouterr().out
    assert "Ada L is erased, with 1 photo; receipt: " in said
    renamed, removed, erased = audit_log(config).read()
    assert [entry.action for entry in (renamed, removed, erased)] == [
        "renamed",
        "removed",
        "erased",
    ]
    assert (renamed.name, renamed.details) == ("Ada L", {"before": "Ada"})
    assert (removed.details, erased.details["complete"]) == ({"templates": 1}, True)
