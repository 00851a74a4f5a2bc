"""What the keys of gallery and enrolment change."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from jetson_face.config import Config
from jetson_face.core.errors import GalleryError
from jetson_face.factory.parts import build_enroller, live_people, open_gallery
from jetson_face.gallery.batch import EnrollmentResult
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.util.images import write_picture
from tests.config.keys import Site, shows
from tests.config.parts import SPACE, Rig, Says, unit


def opened(config: Config) -> GalleryStore:
    return open_gallery(config, SPACE, create=True)


def add(store: GalleryStore, name: str) -> None:
    shade, landmarks = np.full((256, 256, 3), 99, np.uint8), np.zeros((5, 2), np.float32)
    template = NewTemplate(unit(1), 0.5, name * 9, shade, landmarks, f"{name}.jpg")
    with store.transaction():
        store.add_template(store.add_person(name), template)


@shows("state_dir")
def test_state_goes_to_its_folder(site: Site, tmp_path: Path) -> None:
    config = site({"state_dir": str(tmp_path / "elsewhere")})
    opened(config).close()
    assert (tmp_path / "elsewhere" / "gallery.db").exists()
    assert config.status_socket.parent == tmp_path / "elsewhere"


@shows("gallery.path")
def test_the_gallery_is_that_file(site: Site, tmp_path: Path) -> None:
    opened(site({"gallery.path": str(tmp_path / "here.db")})).close()
    assert (tmp_path / "here.db").exists()


@shows("gallery.encrypt")
def test_vectors_and_portraits_are_sealed_or_not(site: Site) -> None:
    def holds_the_vector(config: Config) -> bool:
        with closing(opened(config)) as store:
            add(store, "Ada")
        return unit(1).tobytes() in config.gallery_path.read_bytes()

    assert not holds_the_vector(site({"gallery.path": str(site.folder / "sealed.db")}))
    clear = {"gallery.path": str(site.folder / "clear.db"), "gallery.encrypt": False}
    assert holds_the_vector(site(clear))


@contextmanager
def locked_for(path: Path, seconds: float) -> Iterator[None]:
    """Another program writes into the gallery, and is done after so long."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    def let_go() -> None:
        time.sleep(seconds)
        other.execute("COMMIT")

    thread = threading.Thread(target=let_go)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        other.close()


@shows("gallery.lock_timeout_s")
def test_a_gallery_that_another_program_holds_is_waited_for_so_long(site: Site) -> None:
    config = site({"gallery.lock_timeout_s": 0.05})
    with (
        closing(opened(config)) as store,
        locked_for(config.gallery_path, 0.7),
        pytest.raises(GalleryError),
    ):
        add(store, "Ada")


@shows("gallery.refresh_s")
def test_a_running_program_looks_for_changes_as_often(site: Site) -> None:
    config = site({"gallery.refresh_s": 10})
    with closing(opened(config)) as store:
        people = live_people(config, store, Rig(config).parts.embedder)
        people(0)
        add(store, "Ada")
        assert not people(9_000_000_000).snapshot.people
        assert people(10_000_000_000).snapshot.people


def enrolled(config: Config, folder: Path, quality: float = 0.5) -> EnrollmentResult:
    """What becomes of a photo with a face of 80 x 100 pixels."""
    photo = folder / "ada.png"
    write_picture(photo, np.full((240, 320, 3), 80, np.uint8))
    rig = Rig(config, quality=quality)
    with closing(opened(config)) as store:
        return build_enroller(config, rig.parts, store).enroll_photos("Ada", [photo])


@shows("quality.enroll_min_px")
def test_a_smaller_face_is_not_enrolled(site: Site, tmp_path: Path) -> None:
    refused = enrolled(site({"quality.enroll_min_px": 81}), tmp_path).refused
    assert ["too small" in refusal.reason for refusal in refused] == [True]
    assert enrolled(site({"quality.enroll_min_px": 80}), tmp_path).person is not None


@shows("quality.enroll_min")
def test_a_face_of_less_quality_is_not_enrolled(site: Site, tmp_path: Path) -> None:
    assert enrolled(site({"quality.enroll_min": 0.6}), tmp_path).refused
    assert enrolled(site({"quality.enroll_min": 0.4}), tmp_path).person is not None


@shows("quality.enroll_min")
def test_a_face_of_less_quality_is_no_review_candidate(site: Site) -> None:
    def asked(config: Config) -> int:
        rig = Rig(config, says=Says(unit(1, 1)), quality=0.5)
        candidates = 0
        for _ in range(12):
            rig.see()
            candidates += len(rig.report.review_candidates)
        return candidates

    assert asked(site({"quality.enroll_min": 0.6})) == 0
    assert asked(site({"quality.enroll_min": 0.4})) == 1
