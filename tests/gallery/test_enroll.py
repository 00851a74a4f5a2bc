"""Photos become templates one by one; each bad one is refused with its reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.errors import EnrollmentError, InputMissingError, NameInvalidError
from jetson_face.core.types import F32, Detections, Embeddings, EmbeddingSpace, ImageU8
from jetson_face.gallery.enroll import Enroller, EnrollmentResult, photos_by_folder
from jetson_face.gallery.store import GalleryStore
from jetson_face.util.images import write_picture
from tests.gallery.gallery_fakes import LANDMARKS, SPACE, portrait, unit

# A photo's first pixel tells the fakes what is in it: (vector, faces, quality percent).
NO_FACE, ONE_FACE, TWO_FACES, SMALL_BEHIND, TINY, NO_POINTS = range(6)


def photo(
    path: Path, *, who: int = 0, what: int = ONE_FACE, quality: int = 90, mark: int = 0
) -> Path:
    """`who` chooses the vector, `mark` makes another file of the same face."""
    image = np.zeros((200, 200, 3), np.uint8)
    image[0, 0] = (who, what, quality)
    image[1, 1] = mark
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, image)
    return path


def _faces(*sides: float, points: bool = True) -> Detections:
    boxes = np.array([[10, 10, 10 + side, 10 + 1.2 * side] for side in sides], np.float32)
    marks = np.tile(LANDMARKS[None] if points else np.full((1, 5, 2), np.nan), (len(sides), 1, 1))
    return Detections(boxes.reshape(-1, 4), np.ones(len(sides), np.float32), marks.astype("f4"))


class FakeDetector:
    name = "fake"

    def detect(self, image: ImageU8) -> Detections:
        return {
            NO_FACE: Detections.empty(),
            ONE_FACE: _faces(100),
            TWO_FACES: _faces(100, 60),
            SMALL_BEHIND: _faces(30, 100),
            TINY: _faces(20),
            NO_POINTS: _faces(100, points=False),
        }[int(image[0, 0, 1])]

    def close(self) -> None: ...


class FakeAligner:
    def crop(self, image: ImageU8, landmarks: F32) -> ImageU8:
        return image[None, :4, :4]


class FakeEmbedder:
    """The first pixel's blue is the angle, in degrees, in the plane of the first two axes."""

    alignment = "fake"
    similarity_min = 0.9

    @property
    def space(self) -> EmbeddingSpace:
        return SPACE

    def embed(self, crops: ImageU8) -> Embeddings:
        angles = np.radians(crops[:, 0, 0, 0].astype(float))
        return Embeddings(np.array([unit(np.cos(a), np.sin(a)) for a in angles]), SPACE)

    def close(self) -> None: ...


@dataclass(frozen=True)
class FakePortrait:
    image: ImageU8
    landmarks: F32


@dataclass(frozen=True)
class FakeVerdict:
    score: float
    reasons: Sequence[str]


def _assess(crops: ImageU8, faces: Detections) -> FakeVerdict:
    assert len(crops) == len(faces) == 1
    score = crops[0, 0, 0, 2] / 100
    return FakeVerdict(score, ["too_dark", "blurred"] if 0.1 < score < 0.25 else [])


@pytest.fixture
def store(tmp_path: Path) -> GalleryStore:
    return GalleryStore.open(tmp_path / "gallery.db", SPACE, create=True)


@pytest.fixture
def enroller(store: GalleryStore) -> Enroller:
    return Enroller(
        store,
        detector=FakeDetector(),
        aligner=FakeAligner(),
        embedder=FakeEmbedder(),
        portraits=lambda image, marks: [FakePortrait(portrait(), LANDMARKS)] * len(marks),
        assess=_assess,
    )


def test_good_photos_are_enrolled_and_bad_ones_refused_one_by_one(
    tmp_path: Path, enroller: Enroller, store: GalleryStore
) -> None:
    good = photo(tmp_path / "good.png")
    behind = photo(tmp_path / "behind.png", what=SMALL_BEHIND)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    bad = {
        photo(tmp_path / "nobody.png", what=NO_FACE): "no face found",
        photo(tmp_path / "two.png", what=TWO_FACES): "2 faces found",
        photo(tmp_path / "tiny.png", what=TINY): "the face is too small: 20 pixels, needs 48",
        photo(tmp_path / "dark.png", quality=20): "too dark, blurred (quality 0.20, needs 0.25)",
        photo(tmp_path / "poor.png", quality=5): "too blurred, dark or turned (quality 0.05",
        photo(tmp_path / "points.png", what=NO_POINTS): "the face has no landmarks",
        tmp_path / "empty.jpg": "the picture is empty",
        tmp_path / "text.jpg": "not a picture",
        tmp_path / "missing.jpg": "no such file",
        tmp_path: "not a file but a folder",
    }
    seen: list[tuple[int, int, Path]] = []
    every = [*bad, good, behind]
    result = enroller.enroll_photos("Ann", every, progress=lambda *now: seen.append(now))
    assert result.added == [good, behind]
    assert [refusal.path for refusal in result.refused] == list(bad)
    for refusal, reason in zip(result.refused, bad.values(), strict=True):
        assert refusal.reason.startswith(reason)
        assert "\n" not in refusal.reason
    assert seen == [(n + 1, 12, path) for n, path in enumerate(every)]
    assert result.person == store.show("ann").person
    assert [t.source for t in store.show("Ann").templates] == ["good.png", "behind.png"]
    assert len(store.portraits("Ann")) == 2


def test_enrolling_the_same_photos_again_adds_nothing(
    tmp_path: Path, enroller: Enroller, store: GalleryStore
) -> None:
    first = photo(tmp_path / "a.png")
    copy = photo(tmp_path / "copy of a.png")
    other = photo(tmp_path / "b.png", mark=1)
    result = enroller.enroll_photos("Ann", [first, copy, other])
    assert (result.added, result.already) == ([first, other], [copy])
    before = store.revision()
    again = enroller.enroll_photos(" ANN ", [first, copy, other])
    assert (again.added, again.already) == ([], [first, copy, other])
    assert store.revision() == before
    assert len(store.people()) == 1


def test_nobody_is_added_when_no_photo_is_good(
    tmp_path: Path, enroller: Enroller, store: GalleryStore
) -> None:
    result = enroller.enroll_photos("Ann", [photo(tmp_path / "a.png", what=NO_FACE)])
    assert result.person is None
    assert store.people() == ()


def test_a_bad_name_is_refused_before_any_photo_is_read(tmp_path: Path, enroller: Enroller) -> None:
    with pytest.raises(NameInvalidError):
        enroller.enroll_photos("../../x", [tmp_path / "a.png"])


def test_a_folder_a_person_hidden_files_left_out(
    tmp_path: Path, enroller: Enroller, store: GalleryStore
) -> None:
    root = tmp_path / "people"
    photo(root / "Zoë" / "b.png", who=90)
    photo(root / "Zoë" / "a.PNG", who=91)
    photo(root / "Ann" / "1.png")
    photo(root / "Ann" / ".2.png")
    photo(root / ".trash" / "1.png")
    photo(root / "loose.png")
    (root / "Ann" / "notes.txt").write_text("x")
    (root / "Empty").mkdir()
    photo(root / "evil\u202ename" / "1.png")
    seen: list[tuple[int, int]] = []
    results = enroller.enroll_folder(root, progress=lambda done, of, _: seen.append((done, of)))
    by_name = {result.name: result for result in results}
    assert [path.name for path in by_name["Zoë"].added] == ["a.PNG", "b.png"]
    assert [path.name for path in by_name["Ann"].added] == ["1.png"]
    assert by_name["Empty"].refused[0].reason == "no photo in this folder"
    assert "U+202E" in by_name["evil\u202ename"].refused[0].reason
    assert [info.person.name for info in store.people()] == ["Ann", "Zoë"]
    assert seen == [(1, 4), (2, 4), (3, 4)]
    again = enroller.enroll_folder(root)
    assert not [result for result in again if result.added]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda root: None, InputMissingError, "no such folder"),
        (lambda root: root.write_text("x"), EnrollmentError, "not a folder"),
        (lambda root: photo(root / "a.png"), EnrollmentError, "no folders in it"),
    ],
    ids=["missing", "file", "flat"],
)
def test_a_root_without_folders_is_refused(
    tmp_path: Path, make: Callable[[Path], object], error: type[Exception], says: str
) -> None:
    root = tmp_path / "root"
    make(root)
    with pytest.raises(error, match=says):
        photos_by_folder(root)


def _warned(result: EnrollmentResult) -> list[str]:
    return [warning.split(":")[0] for warning in result.warnings]


def test_a_photo_nearer_to_somebody_else_is_enrolled_with_a_warning(
    tmp_path: Path, enroller: Enroller
) -> None:
    anns = [photo(tmp_path / f"ann{n}.png", who=n) for n in range(3)]
    bobs = [photo(tmp_path / f"bob{n}.png", who=80 + n) for n in range(3)]
    assert enroller.enroll_photos("Ann", anns).warnings == []
    assert enroller.enroll_photos("Bob", bobs).warnings == []
    wrong = photo(tmp_path / "wrong.png", who=70)
    result = enroller.enroll_photos("Ann", [wrong, photo(tmp_path / "right.png", who=4)])
    assert len(result.added) == 2
    assert _warned(result) == ["wrong.png"]
    assert "more like Bob (0.98)" in result.warnings[0]


def test_a_first_photo_of_somebody_enrolled_under_another_name_is_warned_of(
    tmp_path: Path, enroller: Enroller
) -> None:
    enroller.enroll_photos("Ann", [photo(tmp_path / "a.png", who=10)])
    twin = enroller.enroll_photos("Annie", [photo(tmp_path / "b.png", who=12)])
    assert twin.warnings == ["b.png: looks like Ann (1.00): check whose photo it is"]
    other = enroller.enroll_photos("Bob", [photo(tmp_path / "c.png", who=80)])
    assert other.warnings == []


def test_many_people_are_warned_of_once_at_the_end(tmp_path: Path, enroller: Enroller) -> None:
    root = tmp_path / "people"
    for n in range(3):
        photo(root / "Ann" / f"{n}.png", who=n)
        photo(root / "Bob" / f"{n}.png", who=80 + n)
    photo(root / "Ann" / "stray.png", who=83)
    results = enroller.enroll_folder(root)
    assert [_warned(result) for result in results] == [["stray.png"], []]
