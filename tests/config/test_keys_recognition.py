"""What the keys of sampling, tracking, fusion, quality and matching change in what is said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jetson_face.capture.source import SourceInfo
from jetson_face.config import Config
from jetson_face.core.types import Detections, Embeddings, Frame, Person
from jetson_face.embedding.recognisable import Recognisability
from jetson_face.factory.parts import build_matcher, build_parts, decision_threshold, govern
from jetson_face.gallery.classifiers import KnnMatcher, LinearMatcher, PairMatcher, PairWeights
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.models.cards import embedding_space, load_card
from jetson_face.recognition.rate_controller import Governor, RateMeasurement
from jetson_face.recognition.track_state import TrackStates
from tests.config.keys import Site, shows
from tests.config.parts import ADA, BOB, MS, SPACE, Rig, Says, gallery, matched, points, unit

LIVE = SourceInfo("test", "test://", True, 320, 240)


@shows("sampling.interval")
def test_one_frame_in_every_is_searched(site: Site) -> None:
    assert Rig(site({"sampling.interval": 3})).searched(10) == [0, 3, 6, 9]


@shows("sampling.small_every")
def test_one_search_in_so_many_looks_for_small_faces(site: Site) -> None:
    def searches(every: int) -> int:
        rig, seen = Rig(site({"sampling.interval": 1, "sampling.small_every": every})), [0]

        def all_sizes(image: object) -> Detections:
            seen[0] += 1
            return rig.detector.detect(image)  # type: ignore[arg-type]

        finder = rig.recognizer.finder
        large = SimpleNamespace(search_large=rig.detector.detect, saves=lambda size: True)
        finder._large_first, finder.detector = large, SimpleNamespace(detect=all_sizes)  # type: ignore[assignment]
        rig.see(12)
        return seen[0]

    assert [searches(1), searches(2), searches(3)] == [12, 6, 4]


@shows("sampling.on_loss")
def test_a_lost_face_brings_the_next_search_forward_or_not(site: Site) -> None:
    def next_search(config: Config) -> int:
        rig = Rig(config)
        rig.see(2)
        rig.detector.boxes = []
        return rig.searched(20)[0]

    usual = {"sampling.interval": 20}
    assert next_search(site({**usual, "sampling.on_loss": False})) > next_search(site(usual))


@shows("sampling.motion")
def test_where_nothing_moved_no_search_is_made_or_all_are(site: Site) -> None:
    rig = Rig(site({"sampling.interval": 3, "sampling.motion": False}), moves=False)
    assert rig.searched(10) == [0, 3, 6, 9]
    assert Rig(site({"sampling.interval": 3}), moves=False).searched(10) == [0]


@shows("sampling.full_search_s")
def test_a_still_picture_is_searched_after_so_long(site: Site) -> None:
    config = site({"sampling.interval": 5, "sampling.full_search_s": 0.6})
    assert Rig(config, moves=False).searched(36) == [0, 15, 30]


@shows("sampling.refine")
def test_faces_are_followed_between_searches_or_not(site: Site) -> None:
    parts = build_parts(site({"sampling.refine": False}))
    parts.close()
    assert parts.refiner is None


def governed(config: Config, monkeypatch: pytest.MonkeyPatch) -> Governor:
    """The governor that a live source gets."""
    seen: list[Governor] = []

    def keep(inner: object, interval: object, governor: Governor, **more: object) -> object:
        seen.append(governor)
        return inner

    monkeypatch.setattr("jetson_face.factory.parts.GovernedRecognizer", keep)
    govern(config, Rig(config).recognizer, LIVE)
    (governor,) = seen
    return governor


def rate_after(governor: Governor, measured: RateMeasurement, updates: int = 200) -> int:
    """The sampling rate after these figures held for so long."""
    for number in range(updates):
        governor.update(measured, number * 5_000_000_000)
    return governor.every


@shows("sampling.auto.decision_fps_min")
def test_auto_keeps_the_decision_rate(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = RateMeasurement(10, 30, age_ms=150)
    config = site({"sampling.auto.interval_max": 29, "sampling.auto.decision_fps_min": 20})
    assert rate_after(governed(config, monkeypatch), measured) == 29


@shows("sampling.auto.age_ms_max")
def test_auto_keeps_the_frame_age(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = RateMeasurement(30, 30, age_ms=150)
    config = site({"sampling.auto.interval_max": 29, "sampling.auto.age_ms_max": 100})
    assert rate_after(governed(config, monkeypatch), measured) == 29


@shows("sampling.auto.cpu_max")
def test_auto_keeps_the_share_of_the_processor(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = RateMeasurement(30, 30, age_ms=150, cpu=0.6)
    config = site({"sampling.auto.interval_max": 29, "sampling.auto.cpu_max": 0.3})
    assert rate_after(governed(config, monkeypatch), measured) == 29


@shows("sampling.auto.interval_min", "sampling.auto.interval_max")
def test_auto_stays_within_its_bounds(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config = site({"sampling.auto.interval_min": 3, "sampling.auto.interval_max": 9})
    governor = governed(config, monkeypatch)
    assert rate_after(governor, RateMeasurement(30, 30, age_ms=1000)) == 9
    assert rate_after(governor, RateMeasurement(30, 30, age_ms=1)) == 3


@shows("tracking.scene_cut")
def test_a_cut_ends_the_tracks_or_not(site: Site) -> None:
    def tracks(share: float | None) -> list[int]:
        rig = Rig(site({"tracking.scene_cut": share}))
        seen = []
        for scene in (0, 0, 1, 1):
            rig.now_ms += 40
            image = np.full((240, 320, 3), 90, np.uint8)
            image[:, :, scene] = 20
            image[60 * scene : 60 * scene + 120] = 200
            report = rig.recognizer.process(Frame(image, rig.now_ms, rig.now_ms * MS, 0.0, "test"))
            seen.append(report.sightings[0].track)
        return seen

    assert tracks(None) == [1, 1, 1, 1]
    assert tracks(0.4) == [1, 1, 2, 2]


@shows("tracking.hold_ms")
def test_a_predicted_box_is_shown_for_so_long(site: Site) -> None:
    def shown(hold_ms: int) -> int:
        config = site({"sampling.interval": 20, "tracking.hold_ms": hold_ms})
        return sum(said != "" for said in Rig(config, refine=False).see(20))

    assert shown(0) == 1
    assert shown(200) == 6


@shows("quality.embed_min")
def test_a_face_of_less_quality_is_not_embedded(site: Site) -> None:
    rig = Rig(site({"quality.embed_min": 0.6}), quality=0.5)
    assert rig.see(10) == ["pending"] * 10
    assert rig.embedded == 0
    assert Rig(site({"quality.embed_min": 0.4}), quality=0.5).see(10)[-1] == "Ada"


@shows("quality.landmarks_min")
def test_a_detection_whose_landmarks_are_no_faces_counts_for_nothing(site: Site) -> None:
    def said(least: float) -> str:
        rig = Rig(site({"quality.landmarks_min": least}))
        rig.detector.points = lambda boxes: points(boxes)[:, [3, 4, 2, 0, 1]]
        return rig.see(12)[-1]

    assert said(0.5) == "pending"
    assert said(0) == "Ada"


@shows("quality.detection_min")
def test_a_face_that_the_detector_is_unsure_of_is_nobody_until_it_is_sure(site: Site) -> None:
    rig = Rig(site({"quality.detection_min": 0.85}))
    rig.detector.score = 0.8
    assert rig.see(12)[-1] == "pending"
    assert rig.embedded == 0
    rig.detector.score = 0.95
    assert rig.see(12)[-1] == "Ada", "the mean of its looks counts"


@shows("quality.recognisable_min")
def test_a_crop_that_shows_nobody_counts_for_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = Recognisability(SPACE, unit(0.8, 0.6)[None])
    monkeypatch.setattr("jetson_face.factory.parts.build_recognisability", lambda *_: nobody)

    def said(least: float) -> str:
        config = site({"quality.recognisable_min": least, "quality.embed_min": 0})
        return Rig(config, says=Says(unit(0, 0.8, 0.6))).see(12)[-1]

    assert said(0.6) == "pending"
    assert said(0.4) == "Bob"


@shows("embedder[network].mirror")
def test_every_other_look_at_a_track_is_mirrored(site: Site) -> None:
    def looks(config: Config) -> list[bool]:
        rig = Rig(config)
        rig.see(2)
        first, second = rig.embedder.crops
        return [bool(np.array_equal(first, second)), bool(np.array_equal(first, second[:, ::-1]))]

    assert looks(site({"embedder[network].mirror": False})) == [True, False]
    assert looks(site()) == [False, True]


@shows("fusion.embed_interval")
def test_a_known_face_is_embedded_one_frame_in_so_many(site: Site) -> None:
    rig = Rig(site({"fusion.embed_interval": 10}))
    assert rig.see(2) == ["pending", "Ada"]
    rig.see(9)
    assert rig.embedded == 2
    rig.see(1)
    assert rig.embedded == 3


@shows("fusion.max_per_frame")
def test_no_more_faces_are_embedded_on_a_frame(site: Site) -> None:
    rig = Rig(site({"fusion.max_per_frame": 2}))
    rig.detector.boxes = [(20 + 70 * i, 40, 80 + 70 * i, 120) for i in range(4)]
    rig.see()
    assert (len(rig.report.sightings), rig.embedded) == (4, 2)


@shows("fusion.strategy")
def test_the_frames_of_a_track_are_averaged_or_vote(site: Site) -> None:
    def nearest(config: Config) -> str:
        rig = Rig(config, says=Says(similarity_min=0.2))
        track = np.array([1])
        for vector in (unit(1), unit(0.6, 0.8), unit(0.6, 0.8)):
            faces = Embeddings(vector[None], SPACE)
            rig.recognizer.decisions.fuser.add(track, faces, np.ones(1, np.float32))
        known = build_matcher(config, gallery((ADA, [unit(1)]), (BOB, [unit(0, 1)])))
        (match,) = rig.recognizer.decisions.fuser.match(track, known)
        assert match.person is not None
        return match.person.name

    # One look is surely Ada's; two are a little more like Bob.
    assert nearest(site({"fusion.strategy": "vote"})) == "Bob"
    assert nearest(site({"fusion.strategy": "score_mean"})) == "Ada"
    assert nearest(site()) == "Ada"


@shows("tracking.iou_min")
def test_a_box_that_overlaps_less_is_a_new_face(site: Site) -> None:
    def tracks(config: Config) -> int:
        rig = Rig(config, refine=False)
        rig.detector.boxes = [(40, 40, 100, 100)]
        rig.see()
        rig.detector.boxes = [(40, 0, 200, 160)]  # over the whole of it, 7 times as large
        rig.see()
        return rig.report.sightings[0].track

    usual = {"sampling.interval": 1}
    assert tracks(site({**usual, "tracking.iou_min": 0.1})) == 1
    assert tracks(site({**usual, "tracking.iou_min": 0.2})) == 2


@shows("tracking.max_gap_ms")
def test_a_face_unseen_for_longer_is_a_new_one(site: Site) -> None:
    def track_after(config: Config, gap_ms: int) -> int:
        rig = Rig(config, refine=False)
        rig.see()
        boxes, rig.detector.boxes = rig.detector.boxes, []
        rig.see(apart_ms=gap_ms - 40)
        rig.detector.boxes = boxes
        rig.see()
        return rig.report.sightings[0].track

    config = site({"sampling.interval": 1, "tracking.max_gap_ms": 1500})
    assert track_after(config, 1500) == 1
    assert track_after(config, 1580) == 2


@shows("matching.similarity_min")
def test_a_name_needs_the_similarity(site: Site) -> None:
    says = Says(unit(0.7, 0.0, 0.714), similarity_min=0.5)  # 0.7 like Ada
    assert Rig(site({"matching.similarity_min": 0.75}), says=says).see(10)[-1] == "unknown"
    assert Rig(site({"matching.similarity_min": 0.65}), says=says).see(10)[-1] == "Ada"
    assert Rig(site(), says=says).see(10)[-1] == "Ada"  # the network's own 0.5


@shows("tracking.still_face_s")
def test_a_face_that_never_moves_gets_no_name(site: Site) -> None:
    rig = Rig(site({"tracking.still_face_s": 1.0}))
    said = rig.see(10)
    assert said[-1] == "Ada", "nothing is known of it before"
    assert rig.see(40)[-1] == "pending"
    rig.detector.boxes = [(140, 40, 220, 140)]
    assert rig.see(10)[-1] == "Ada", "it moved"


@shows("matching.fpir")
def test_the_cosine_follows_from_the_stated_rate_and_the_gallery(site: Site) -> None:
    def least(config: Config, people: int) -> float:
        space = embedding_space(load_card("squeezenet_face"))
        vectors = np.eye(people, space.dim, dtype=np.float32)
        known = tuple(Person(str(n), str(n)) for n in range(people))
        snapshot = GallerySnapshot(space, vectors, np.arange(people), known)
        thresholds = build_matcher(config, snapshot).thresholds
        assert thresholds is not None
        return thresholds[0]

    strict, lax = site({"matching.fpir": 0.001}), site({"matching.fpir": 0.1})
    assert least(strict, 50) > least(site(), 50) + 0.02
    assert least(lax, 50) < least(site(), 50) - 0.02
    assert least(site(), 100) > least(site(), 20)


@shows("matching.hysteresis")
def test_a_name_is_kept_this_far_below_the_similarity(site: Site) -> None:
    def after_turning(config: Config) -> str:
        rig = Rig(config)
        assert rig.see(3)[-1] == "Ada"
        rig.embedder.vector = unit(0.4, 0.0, 0.9165)  # 0.4 like Ada: the mean comes near it
        return rig.see(400)[-1]

    usual = {"matching.similarity_min": 0.5, "fusion.embed_interval": 1}
    assert after_turning(site({**usual, "matching.hysteresis": 0.2})) == "Ada"
    assert after_turning(site({**usual, "matching.hysteresis": 0.0})) != "Ada"


@shows("matching.margin_min")
def test_a_name_needs_a_lead_over_the_second_person(site: Site) -> None:
    says = Says(unit(0.8, 0.6))  # 0.2 more like Ada than like Bob
    assert Rig(site({"matching.margin_min": 0.25}), says=says).see(10)[-1] == "review"
    assert Rig(site({"matching.margin_min": 0.15}), says=says).see(10)[-1] == "Ada"


@shows("matching.frames_min")
def test_a_name_needs_so_many_looks(site: Site) -> None:
    assert Rig(site({"matching.frames_min": 4})).see(4) == ["pending"] * 3 + ["Ada"]


@shows("matching.unknown_after")
def test_nobody_is_said_after_so_many_looks(site: Site) -> None:
    rig = Rig(site({"matching.unknown_after": 3}), says=Says(unit(0, 0, 1)))
    assert rig.see(3) == ["pending", "pending", "unknown"]


@shows("matching.review_margin")
def test_a_person_is_asked_this_far_below_the_similarity(site: Site) -> None:
    says = Says(unit(0.45, 0.0, 0.893))  # 0.45 like Ada, 0.5 wanted
    usual = {"matching.similarity_min": 0.5}
    assert Rig(site({**usual, "matching.review_margin": 0.1}), says=says).see(10)[-1] == "review"
    assert Rig(site({**usual, "matching.review_margin": 0.04}), says=says).see(10)[-1] == "unknown"
    between = Says(unit(1, 1))
    assert Rig(site({"matching.review_margin": None}), says=between).see(10)[-1] == "pending"


@shows("matching.top_k")
def test_so_many_templates_of_a_person_are_averaged(site: Site) -> None:
    people = gallery((ADA, [unit(1), unit(0, 0, 1)]))
    assert matched(site({"matching.top_k": 1}), people, unit(1))[1] == pytest.approx(1.0)
    assert matched(site({"matching.top_k": 2}), people, unit(1))[1] == pytest.approx(0.5)


@shows("matching.neighbours")
def test_so_many_templates_vote(site: Site) -> None:
    people = gallery((ADA, [unit(1, 0.1)]), (BOB, [unit(1, -0.2), unit(1, -0.21), unit(1, -0.22)]))
    probe = unit(1)
    assert (
        matched(site({"matching.method": "knn", "matching.neighbours": 1}), people, probe)[0]
        == "Ada"
    )
    assert (
        matched(site({"matching.method": "knn", "matching.neighbours": 4}), people, probe)[0]
        == "Bob"
    )


@shows("matching.method")
@pytest.mark.parametrize(
    ("method", "kind", "threshold"),
    [("knn", KnnMatcher, 0.4), ("svm", LinearMatcher, 0.0), ("softmax", LinearMatcher, 0.5)],
)
def test_faces_are_compared_in_another_way(
    site: Site, method: str, kind: type[Matcher], threshold: float
) -> None:
    config = site({"matching.method": method})
    people = gallery((ADA, [unit(1), unit(1, 0, 0.1)]), (BOB, [unit(0, 1), unit(0, 1, 0.1)]))
    assert type(build_matcher(config, people)) is kind
    assert matched(config, people, unit(1, 0, 0.05))[0] == "Ada"
    assert decision_threshold(config, Says(similarity_min=0.4)) == threshold


@shows("matching.pair_weights")
def test_the_pair_weights_are_read_from_the_file(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(PairWeights(SPACE, np.full(3, -9, np.float32), 3.0, "made up").as_json())
    config = site({"matching.method": "siamese", "matching.pair_weights": str(path)})
    people = gallery((ADA, [unit(1)]), (BOB, [unit(0, 1)]))
    assert type(build_matcher(config, people)) is PairMatcher
    name, similarity, _ = matched(config, people, unit(1))
    assert name == "Ada"
    assert similarity == pytest.approx(1 / (1 + np.exp(-3.0)))


def test_whether_two_looks_contradict_is_the_networks_own_affair(site: Site) -> None:
    """However strict a site is with names: it says nothing of two frames of one track."""

    def anew(config: Config, similarity: float) -> bool:
        rig = Rig(config, says=Says(similarity_min=0.55))
        decisions, track = rig.recognizer.decisions, np.array([1])
        decisions.fuser.add(track, Embeddings(unit(1)[None], SPACE), np.ones(1, np.float32))
        states = TrackStates()
        states.begin([1], 0)
        other = Embeddings(unit(similarity, np.sqrt(1 - similarity**2))[None], SPACE)
        return bool(decisions.contradicted(track, other, states)[0])

    # A third of the way from 0.55 to what strangers have: 0.4.
    for config in (site(), site({"matching.similarity_min": 0.9})):
        assert anew(config, 0.39)
        assert not anew(config, 0.41)


@pytest.mark.parametrize(("doubted", "below"), [(False, 0.4), (True, 0.55)])
def test_a_face_that_suddenly_looks_different_must_meet_the_networks_own_threshold(
    site: Site, *, doubted: bool, below: float
) -> None:
    """Any other may be a third of the way from it to what strangers have; neither is the site's."""

    def ends_the_track(config: Config, similarity: float) -> bool:
        decisions = Rig(config, says=Says(similarity_min=0.55)).recognizer.decisions
        track, states = np.array([1]), TrackStates()
        states.begin([1], 0)
        states[1].doubted = doubted
        decisions.fuser.add(track, Embeddings(unit(1)[None], SPACE), np.ones(1, np.float32))
        other = unit(similarity, np.sqrt(1 - similarity**2))
        return bool(decisions.contradicted(track, Embeddings(other[None], SPACE), states)[0])

    for config in (site(), site({"matching.similarity_min": 0.9})):
        assert ends_the_track(config, below - 0.01)
        assert not ends_the_track(config, below + 0.01)
