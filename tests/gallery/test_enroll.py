"""Photos become templates one by one; each bad one is refused with its reason."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.errors import (
    EnrollmentError,
    InputBrokenError,
    InputMissingError,
    NameInvalidError,
)
from jetson_face.core.types import F32, Detections, Embeddings, EmbeddingSpace, ImageU8
from jetson_face.embedding.align import Portrait
from jetson_face.embedding.quality import Verdict
from jetson_face.embedding.recognisable import Recognisability
from jetson_face.gallery.batch import EnrollmentResult
from jetson_face.gallery.enroll import Enroller, photos_by_folder, photos_in, strays_in
from jetson_face.gallery.store import GalleryStore
from jetson_face.util.images import write_picture
from tests.gallery.gallery_fakes import LANDMARKS, SPACE, portrait, unit

# A photo's first pixel tells the fakes what is in it: (vector, faces, quality percent).
NO_FACE, ONE_FACE, TWO_FACES, SMALL_BEHIND, TINY, NO_POINTS, NEARLY = range(7)


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
            NEARLY: _faces(47.6),
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


def _assess(crops: ImageU8, faces: Detections) -> Verdict:
    assert len(crops) == len(faces) == 1
    score = crops[0, 0, 0, 2] / 100
    return Verdict(score, ("too_dark", "blurred") if 0.1 < score < 0.25 else ())


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
        portraits=lambda image, marks: [Portrait(portrait(), LANDMARKS)] * len(marks),
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
        photo(tmp_path / "near.png", what=NEARLY): "the face is too small: 47 pixels, needs 48",
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
    assert seen == [(n + 1, 13, path) for n, path in enumerate(every)]
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


def test_no_photo_of_a_folder_is_passed_over_without_a_word(
    tmp_path: Path, enroller: Enroller
) -> None:
    root = tmp_path / "people"
    photo(root / "Ann" / "1.png")
    photo(root / "Ann" / "2024" / "2.png", mark=1)
    photo(root / "Ann" / ".thumbnails" / "1.png")
    photo(root / "Bob.png", who=90)
    for name in ("Ann/2.HEIC", "Cleo/1.avif", "Eve.heic", "Dora/notes.txt", "notes.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    results = enroller.enroll_folder(root)
    assert [
        (result.name, [(str(one.path.relative_to(root)), one.reason) for one in result.refused])
        for result in results
    ] == [
        (
            "Ann",
            [
                ("Ann/2.HEIC", "HEIC is not read: convert it to JPEG or PNG"),
                (
                    "Ann/2024",
                    "a folder in a folder of photos is not looked into: move its photos up, right "
                    "into that",
                ),
            ],
        ),
        ("Cleo", [("Cleo/1.avif", "AVIF is not read: convert it to JPEG or PNG")]),
        ("Dora", [("Dora", "no photo in this folder")]),
        (
            str(root),
            [
                (name, "it lies beside the folders of the persons: put it into a folder with the "
                 "person's name")
                for name in ("Bob.png", "Eve.heic")
            ],
        ),
    ]  # fmt: skip
    assert [len(result.added) for result in results] == [1, 0, 0, 0]
    assert [one.path.name for one in strays_in(root / "Ann")] == ["2.HEIC", "2024"]
    assert strays_in(root / "Ann" / "2.HEIC") == []


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


def test_a_folder_that_may_not_be_read_keeps_nobody_else_out(
    tmp_path: Path, enroller: Enroller, store: GalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, plainly = tmp_path / "people", Path.iterdir
    photo(root / "Ann" / "1.png")
    photo(root / "Bob" / "1.png", who=90)

    def refused(path: Path) -> Iterator[Path]:
        if path in closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return plainly(path)

    closed = [root / "Ann"]
    monkeypatch.setattr(Path, "iterdir", refused)
    ann, bob = enroller.enroll_folder(root)
    assert [(one.path, one.reason) for one in ann.refused] == [
        (root / "Ann", "cannot be read: Permission denied")
    ]
    assert len(bob.added) == 1
    with pytest.raises(InputBrokenError, match="Ann: cannot be read: Permission denied"):
        photos_by_folder(root)
    closed = [root]
    with pytest.raises(InputBrokenError, match="people: cannot be read: Permission denied"):
        enroller.enroll_folder(root)


@pytest.mark.parametrize("name", ["x" * 300, "ann.png/deeper"])
def test_a_path_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, enroller: Enroller, name: str
) -> None:
    photo(tmp_path / "ann.png")
    (given,) = photos_in(tmp_path / name)
    (refusal,) = enroller.enroll_photos("Ann", [given]).refused
    assert refusal.reason in ("cannot be read: File name too long", "no such file")
    with pytest.raises((InputBrokenError, InputMissingError)) as error:
        enroller.enroll_folder(tmp_path / name)
    assert "\n" not in str(error.value)


def _refused(result: EnrollmentResult) -> list[str]:
    return [refusal.path.name for refusal in result.refused]


def test_a_photo_that_is_somebody_else_is_refused_and_the_others_are_not(
    tmp_path: Path, enroller: Enroller, store: GalleryStore
) -> None:
    anns = [photo(tmp_path / f"ann{n}.png", who=n) for n in range(3)]
    bobs = [photo(tmp_path / f"bob{n}.png", who=80 + n) for n in range(3)]
    assert enroller.enroll_photos("Ann", anns).refused == []
    assert enroller.enroll_photos("Bob", bobs).refused == []
    wrong, right = photo(tmp_path / "wrong.png", who=70), photo(tmp_path / "right.png", who=4)
    result = enroller.enroll_photos("Ann", [wrong, right])
    assert (result.added, _refused(result)) == ([right], ["wrong.png"])
    assert result.refused[0].reason.startswith("looks more like Bob (0.98) than like the other")
    assert "--force" in result.refused[0].reason
    assert [len(info.templates) for info in store.people()] == [4, 3]
    forced = enroller.enroll_photos("Ann", [wrong], force=True)
    assert (forced.added, forced.refused) == ([wrong], [])
    assert forced.warnings[0].startswith("wrong.png: looks more like Bob (0.98)")


def test_a_first_photo_of_somebody_enrolled_under_another_name_is_refused(
    tmp_path: Path, enroller: Enroller, store: GalleryStore
) -> None:
    enroller.enroll_photos("Ann", [photo(tmp_path / "a.png", who=10)])
    twin = enroller.enroll_photos("Annie", [photo(tmp_path / "b.png", who=12)])
    assert (twin.person, _refused(twin)) == (None, ["b.png"])
    assert twin.refused[0].reason.startswith("looks like Ann (1.00): ")
    other = enroller.enroll_photos("Bob", [photo(tmp_path / "c.png", who=80)])
    assert (other.refused, other.warnings) == ([], [])
    assert [info.person.name for info in store.people()] == ["Ann", "Bob"]
    assert enroller.enroll_photos("Annie", [tmp_path / "b.png"], force=True).person is not None


def test_a_photo_that_is_only_nearer_to_somebody_else_is_warned_of(
    tmp_path: Path, enroller: Enroller
) -> None:
    enroller.enroll_photos("Ann", [photo(tmp_path / "a.png", who=0)])
    enroller.enroll_photos("Bob", [photo(tmp_path / "b.png", who=90)])
    result = enroller.enroll_photos("Ann", [photo(tmp_path / "doubtful.png", who=50)])
    # 0.77 to Bob and 0.64 to Ann: neither is the same face by the network's bar, 0.9.
    assert (len(result.added), result.refused) == (1, [])
    assert result.warnings[0].startswith("doubtful.png: looks more like Bob (0.77)")


def test_the_wrong_photo_of_a_batch_is_withdrawn_and_not_those_it_looks_like(
    tmp_path: Path, enroller: Enroller, store: GalleryStore
) -> None:
    root = tmp_path / "people"
    for n in range(3):
        photo(root / "Ann" / f"{n}.png", who=n)
        photo(root / "Bob" / f"{n}.png", who=80 + n)
    photo(root / "Ann" / "stray.png", who=81, mark=1)
    results = enroller.enroll_folder(root)
    assert [_refused(result) for result in results] == [["stray.png"], []]
    assert [len(result.added) for result in results] == [3, 3]
    assert [len(info.templates) for info in store.people()] == [3, 3]


def test_one_face_in_two_folders_stays_in_the_first(tmp_path: Path, enroller: Enroller) -> None:
    root = tmp_path / "people"
    photo(root / "Ann" / "1.png", who=10)
    photo(root / "Annie" / "1.png", who=11)
    photo(root / "Bob" / "1.png", who=90)
    results = enroller.enroll_folder(root)
    assert [_refused(result) for result in results] == [[], ["1.png"], []]
    assert results[1].person is None


def test_a_photo_of_somebody_who_was_erased_comes_back_only_on_purpose(
    tmp_path: Path, enroller: Enroller, store: GalleryStore
) -> None:
    picture = photo(tmp_path / "ann.png")
    enroller.enroll_photos("Ann", [picture])
    store.remove("Ann")
    again = enroller.enroll_photos("Somebody", [picture])
    assert again.refused[0].reason.startswith("it was erased together with a person")
    assert store.people() == ()
    assert enroller.enroll_photos("Ann", [picture], force=True).added == [picture]
    store.rename("Ann", "Ann B")
    assert enroller.enroll_photos("Ann B", [picture]).already == [picture]
    assert not store.was_erased(store.show("Ann B").templates[0].photo)


def test_a_photo_that_the_network_can_make_nothing_of_is_refused(
    tmp_path: Path, store: GalleryStore
) -> None:
    strict = Enroller(
        store,
        detector=FakeDetector(),
        aligner=FakeAligner(),
        embedder=FakeEmbedder(),
        portraits=lambda image, marks: [Portrait(portrait(), LANDMARKS)] * len(marks),
        assess=_assess,
        recognisable=Recognisability(SPACE, unit(0, 1)[None]),
        recognisable_min=0.6,
    )
    clear, blank = photo(tmp_path / "clear.png", who=0), photo(tmp_path / "no.png", who=80)
    result = strict.enroll_photos("Ann", [clear, blank])
    assert result.added == [clear]
    (refusal,) = result.refused
    assert refusal.reason.startswith("the face cannot be recognised (0.01, needs 0.6)")


def test_a_photo_whose_name_is_no_text_is_enrolled_and_withdrawn_like_others(
    tmp_path: Path, enroller: Enroller, store: GalleryStore
) -> None:
    """As names in another encoding are, on a memory stick."""
    root = tmp_path / "people"
    for n in range(2):
        for name, who in (("Ann", n), ("Bob", 80 + n)):
            given = photo(root / name / f"{n}.png", who=who)
            given.rename(given.with_name(f"M\udcfc{n}.png"))
    photo(root / "Ann" / "stray.png", who=81, mark=1).rename(root / "Ann" / "\udcff.png")
    results = enroller.enroll_folder(root)
    assert [_refused(result) for result in results] == [["\udcff.png"], []]
    found = [one.source for info in store.people() for one in info.templates]
    assert found == ["M\\udcfc0.png", "M\\udcfc1.png"] * 2
