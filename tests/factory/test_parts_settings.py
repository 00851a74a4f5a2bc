"""That every setting reaches its part: each part of the recogniser, by what it is made of."""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from jetson_face.capture.source import OpenOptions
from jetson_face.config import Config, load_config
from jetson_face.core.types import EmbeddingSpace, ImageU8
from jetson_face.detection.guarded import GuardedDetector, GuardedRefiner
from jetson_face.detection.mtcnn.onet import OnetRefiner
from jetson_face.embedding.align import Aligner, cut_portraits
from jetson_face.embedding.mirrored import Mirrored
from jetson_face.embedding.recognisable import Recognisability
from jetson_face.factory import parts as subject
from jetson_face.factory.parts import Parts
from jetson_face.gallery.store import GalleryStore
from jetson_face.models.cards import card_dir, embedding_space, load_card
from jetson_face.output.run_report import RunFacts
from jetson_face.recognition.embedding_scheduler import EmbeddingBudget
from jetson_face.recognition.fusion import contradiction_below
from jetson_face.recognition.rate_controller import Bounds, RateGoal
from jetson_face.util import plugins
from tests.config.parts import ADA, Quality, Says, Squares, gallery, unit
from tests.factory.made import Made, put_in
from tests.factory.small_embedder import small_card


def config(*words: str) -> Config:
    return load_config(None, ["backend.type=onnxruntime", *words])


def parts_of(embedder: Any = None) -> Parts:
    squares = Squares()
    says = embedder or Says(similarity_min=0.55)
    return Parts(squares, squares, Aligner("arcface112"), Quality(), says)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's plug-in of every kind is installed; none is loaded."""
    monkeypatch.setattr(
        plugins, "entry_points", lambda *, group: [EntryPoint("somebodys", "nowhere:It", group)]
    )


SETTINGS = (
    "sampling={interval: 7, on_loss: false, small_every: 3, full_search_s: 2.5}",
    "fusion={embed_interval: 9, max_per_frame: 4, strategy: vote}",
    "tracking={scene_cut: 0.37, still_face_s: 1.5, iou_min: 0.27, max_gap_ms: 800, hold_ms: 70}",
    "quality={embed_min: 0.04, recognisable_min: 0.33, enroll_min: 0.21, enroll_min_px: 37}",
    "detector={type: mtcnn, max_faces: 9}",
    "embedder.mirror=true",
)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Made]:
    """By name, everything that a recogniser is made of."""
    names = (
        "FaceFinder DetectionInterval Tracker SceneCuts MovedAreas Fuser TrackDecisions "
        "build_decider EmbeddingScheduler FaceRecognizer StillFaces build_recognisability"
    )
    return put_in(monkeypatch, [f"jetson_face.factory.parts.{name}" for name in names.split()])


def test_a_recogniser_of_a_source_has_all_of_its_settings(made: dict[str, Made]) -> None:
    wanted, parts, people = config(*SETTINGS), parts_of(), Made()
    built: Any = subject.build_recognizer(wanted, parts, people)  # type: ignore[arg-type]
    assert built is made["FaceRecognizer"]
    assert made["DetectionInterval"].once == ((7,), {"on_loss": False})
    assert made["Tracker"].once == ((0.27,), {"max_gap_ns": 800_000_000, "hold_ns": 70_000_000})
    assert made["SceneCuts"].once == ((0.37,), {})
    assert made["MovedAreas"].once == ((2_500_000_000,), {})
    assert made["FaceFinder"].once == (
        (parts.detector, parts.refiner, made["DetectionInterval"], made["Tracker"]),
        {
            "stills": False,
            "cuts": made["SceneCuts"],
            "small_every": 3,
            "moved": made["MovedAreas"],
        },
    )
    assert made["build_recognisability"].once == ((wanted, parts.embedder), {})
    budget = EmbeddingBudget(9, 4, 0.04, mirror=True, recognisable_min=0.33)
    given = (parts.aligner, parts.quality, parts.embedder, budget, made["build_recognisability"])
    assert made["EmbeddingScheduler"].once == (given, {})
    assert made["Fuser"].once == ((parts.embedder.space,), {"strategy": "vote"})
    assert made["build_decider"].once == ((wanted, parts.embedder), {"single": False})
    assert made["TrackDecisions"].once == (
        (made["Fuser"], made["build_decider"], people),
        {"contradiction_below": contradiction_below(0.55), "doubted_below": 0.55},
    )
    assert made["StillFaces"].once == ((1_500_000_000,), {})
    assert made["FaceRecognizer"].once == (
        (made["FaceFinder"], made["EmbeddingScheduler"], made["TrackDecisions"]),
        {"review_quality_min": 0.21, "still": made["StillFaces"]},
    )


def test_pictures_that_stand_alone_are_searched_decided_and_mirrored_each(
    made: dict[str, Made],
) -> None:
    wanted, parts = config(*SETTINGS), parts_of()
    subject.build_recognizer(wanted, parts, Made(), stills=True)  # type: ignore[arg-type]
    assert made["DetectionInterval"].once == ((1,), {"on_loss": False})
    options = made["FaceFinder"].once[1]
    assert (options["stills"], options["cuts"]) == (True, None)
    _, _, mirrored, budget, _ = made["EmbeddingScheduler"].once[0]
    assert isinstance(mirrored, Mirrored)
    assert (budget.per_frame, budget.mirror) == (9, False)
    assert made["build_decider"].once == ((wanted, mirrored), {"single": True})
    assert made["FaceRecognizer"].once[1]["still"] is None


def test_what_is_not_wanted_of_a_source_is_left_out(made: dict[str, Made]) -> None:
    words = ("tracking={scene_cut: null, still_face_s: null}", "sampling.motion=false")
    subject.build_recognizer(config(*words, "embedder.mirror=false"), parts_of(), Made())  # type: ignore[arg-type]
    options = made["FaceFinder"].once[1]
    assert (options["cuts"], options["moved"]) == (None, None)
    assert made["EmbeddingScheduler"].once[0][3].mirror is False
    assert made["FaceRecognizer"].once[1]["still"] is None


@pytest.mark.parametrize(("single", "looks"), [(False, (4, 6)), (True, (1, 1))])
def test_the_decider_has_all_of_its_settings(
    monkeypatch: pytest.MonkeyPatch, *, single: bool, looks: tuple[int, int]
) -> None:
    decider = put_in(monkeypatch, ["jetson_face.factory.parts.Decider"])["Decider"]
    settings = "hysteresis: 0.25, margin_min: 0.02, frames_min: 4, unknown_after: 6"
    wanted = config(f"matching={{{settings}, review_margin: 0.11}}", "privacy.withhold_margin=0.13")
    subject.build_decider(wanted, Says(similarity_min=0.5), single=single)
    assert decider.once == (
        (0.5,),
        {
            "similarity_leave": 0.25,
            "margin_min": 0.02,
            "frames_min": looks[0],
            "unknown_after": looks[1],
            "review_margin": 0.11,
            "withhold_margin": 0.13,
        },
    )


def test_several_looks_decide_unless_one_must(monkeypatch: pytest.MonkeyPatch) -> None:
    decider = put_in(monkeypatch, ["jetson_face.factory.parts.Decider"])["Decider"]
    subject.build_decider(config("matching.frames_min=4"), Says())
    assert decider.once[1]["frames_min"] == 4


@pytest.mark.parametrize(
    ("words", "least"),
    [
        ((), 0.55),
        (("matching.similarity_min=0.4",), 0.4),
        (("matching.method=siamese",), 0.5),
        (("matching={method: siamese, similarity_min: 0}",), 0.0),
    ],
)
def test_the_threshold_is_the_sites_or_the_methods_or_the_networks(
    words: tuple[str, ...], least: float
) -> None:
    assert subject.decision_threshold(config(*words), Says(similarity_min=0.55)) == least


def test_the_enroller_has_all_of_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    where = ("Enroller", "build_recognisability")
    made = put_in(monkeypatch, [f"jetson_face.factory.parts.{name}" for name in where])
    wanted, parts, store = config(*SETTINGS), parts_of(), Made()
    built: Any = subject.build_enroller(wanted, parts, store)  # type: ignore[arg-type]
    assert built is made["Enroller"]
    assert made["build_recognisability"].once == ((wanted, parts.embedder), {})
    assert made["Enroller"].once == (
        (store,),
        {
            "detector": parts.detector,
            "aligner": parts.aligner,
            "embedder": parts.embedder,
            "portraits": cut_portraits,
            "assess": parts.quality.verdict,
            "recognisable": made["build_recognisability"],
            "recognisable_min": 0.33,
            "face_px_min": 37,
            "quality_min": 0.21,
        },
    )


@pytest.mark.parametrize(("given", "own"), [(0.3, 0.3), (0.0, 0.0), (None, 0.61)])
def test_the_usual_matcher_knows_thresholds_negatives_and_the_sites_centre(
    monkeypatch: pytest.MonkeyPatch, given: float | None, own: float
) -> None:
    where = ("Matcher", "thresholds_for", "negatives_of", "centre_of")
    made = put_in(monkeypatch, [f"jetson_face.factory.parts.{name}" for name in where])
    wanted, people = config("matching.top_k=2"), gallery((ADA, [unit(1)]))
    asked: list[Config] = []

    def own_threshold(config: Config) -> float:
        asked.append(config)
        return 0.61

    monkeypatch.setattr(subject, "own_threshold", own_threshold)
    built: Any = subject.build_matcher(wanted, people, given)
    assert built is made["Matcher"]
    assert asked == ([wanted] if given is None else [])
    assert made["thresholds_for"].once == ((wanted, people), {})
    assert made["negatives_of"].once == ((wanted, people.space, own), {})
    assert made["centre_of"].once == ((wanted,), {})
    assert made["Matcher"].once == (
        (people,),
        {
            "top_k": 2,
            "thresholds": made["thresholds_for"],
            "negatives": made["negatives_of"],
            "centre": made["centre_of"],
        },
    )


@pytest.mark.parametrize("method", ["knn", "siamese", "svm", "softmax"])
def test_other_ways_of_matching_have_their_settings(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    kinds = {"knn": "KnnMatcher", "siamese": "PairMatcher"}
    kind = kinds.get(method, "LinearMatcher")
    made = put_in(
        monkeypatch,
        [
            f"jetson_face.gallery.classifiers.{kind}",
            "jetson_face.factory.parts.load_pair_weights",
        ],
    )
    wanted = config(f"matching={{method: {method}, top_k: 2, neighbours: 6}}")
    people = gallery((ADA, [unit(1)]))
    built: Any = subject.build_matcher(wanted, people, 0.3)
    assert built is made[kind]
    assert (
        made[kind].once
        == {
            "KnnMatcher": ((people,), {"neighbours": 6}),
            "PairMatcher": ((people, made["load_pair_weights"]), {"top_k": 2}),
            "LinearMatcher": ((people, method), {"similarity_min": 0.3}),
        }[kind]
    )
    if method == "siamese":
        assert made["load_pair_weights"].once == ((wanted, people.space), {})


def test_a_linear_matcher_without_an_embedder_takes_the_threshold_of_the_card(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    linear = put_in(monkeypatch, ["jetson_face.gallery.classifiers.LinearMatcher"])
    wanted = config("matching.method=svm", f"embedder.model={small_card(tmp_path)}")
    subject.build_matcher(wanted, gallery((ADA, [unit(1)])))
    assert linear["LinearMatcher"].once[1] == {"similarity_min": 0.5}


@pytest.mark.parametrize("given", [True, False])
def test_pair_weights_are_the_configured_ones_or_those_that_ship(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, given: bool
) -> None:
    read = Made()
    monkeypatch.setattr("jetson_face.gallery.classifiers.PairWeights.read", read)
    own = tmp_path / "pairs.json"
    wanted = config(f"matching.pair_weights={own}") if given else config()
    space = EmbeddingSpace("made", "0" * 64, 3)
    subject.load_pair_weights(wanted, space)
    shipped = card_dir() / "siamese_made.json"
    assert read.once == ((own if given else shipped, space), {})


def with_centroid(card: Path, space: EmbeddingSpace) -> None:
    """The card names a centroid of crops that show nobody, which lies beside it."""
    told = {**yaml.safe_load(card.read_text()), "unrecognisable": "nobody.json"}
    card.write_text(yaml.safe_dump(told))
    centroid = np.eye(1, space.dim, dtype=np.float32)
    Recognisability(space, centroid).write(card.parent / "nobody.json")


def test_what_shows_nobody_is_known_of_a_network_that_was_added(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    card = small_card(folder)
    embedder: Any = Says()
    embedder.space = embedding_space(load_card(card))
    wanted = config(f"state_dir={tmp_path}", "embedder.model=small")
    assert subject.build_recognisability(wanted, embedder) is None  # its card does not say
    with_centroid(card, embedder.space)
    found = subject.build_recognisability(wanted, embedder)
    assert found is not None
    assert found.space == embedder.space
    other: Any = Says()  # an embedder of the program's own
    assert subject.build_recognisability(wanted, other) is None


def test_nothing_is_known_of_crops_where_there_is_no_such_card(tmp_path: Path) -> None:
    for model in ("nowhere", str(tmp_path / "nowhere.yaml")):
        assert subject.build_recognisability(config(f"embedder.model={model}"), Says()) is None


def test_a_program_that_runs_on_is_told_that_nobody_is_enrolled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    says: Any = Says()
    path = tmp_path / "gallery.db"
    with GalleryStore.open(path, says.space, create=True) as store:
        with caplog.at_level(logging.WARNING):
            subject.live_people(config(), store, says)
        assert f"gallery_empty gallery={path}" in caplog.text


def test_people_who_come_and_go_are_matched_by_the_embedders_own_threshold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = ("LivePeople", "build_matcher")
    made = put_in(monkeypatch, [f"jetson_face.factory.parts.{name}" for name in where])
    made["LivePeople"].ids = frozenset({"1"})  # type: ignore[attr-defined]
    wanted, store = config(), Made()
    subject.live_people(wanted, store, Says(similarity_min=0.55))  # type: ignore[arg-type]
    (asked, build), _ = made["LivePeople"].once
    people = gallery((ADA, [unit(1)]))
    assert asked is store
    assert build(people) is made["build_matcher"]
    assert made["build_matcher"].once == ((wanted, people, 0.55), {})


def test_a_configured_detector_must_be_as_sure_as_was_measured() -> None:
    assert subject.build_quality(config("detector.type=yunet")).detection_min == 0.74


@pytest.mark.parametrize("must_open", [False, True])
def test_each_source_is_opened_as_it_is_configured(
    monkeypatch: pytest.MonkeyPatch, *, must_open: bool
) -> None:
    opened = put_in(monkeypatch, ["jetson_face.factory.parts.open_source"])["open_source"]
    monkeypatch.setattr(subject, "fill_credentials", lambda uri: f"{uri} with its password")
    wanted = config("sources=[{uri: 'csi://0', name: a, width: 640, height: 480}]")
    sources: Any = subject.open_sources(wanted, **({"must_open": True} if must_open else {}))
    assert sources == [opened]
    ((uri, name), options) = opened.once
    assert (uri, name) == ("csi://0 with its password", "a")
    assert options.keys() == {"options", "must_open"}
    assert options["must_open"] is must_open
    made = options["options"]
    assert isinstance(made, OpenOptions)
    assert (made.width, made.height) == (640, 480)


@pytest.mark.usefixtures("offered")
def test_the_report_names_a_plugin_by_its_own_name() -> None:
    wanted = config("detector={type: plugin, name: somebodys}", "sampling.interval=7")
    assert subject.run_facts(wanted) == RunFacts(7, None, "somebodys+squeezenet_face")


class Follower(Squares):
    """A detector or refiner that notes that it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = 0
        self.close = self._closed

    def _closed(self) -> None:
        self.closed += 1


def test_a_refiner_that_is_the_detector_itself_is_closed_once() -> None:
    one, other = Follower(), Follower()
    for refiner, closed in ((GuardedRefiner(one, "it"), 1), (GuardedRefiner(other, "it"), 2)):
        detector = GuardedDetector(one, "it")
        Parts(detector, refiner, Aligner("arcface112"), Quality(), Says()).close()
        assert one.closed == closed
    assert other.closed == 1


def test_onet_is_closed_with_the_parts() -> None:
    closed = Made()
    onet = OnetRefiner(SimpleNamespace(close=closed), score_min=0.5)
    Parts(Squares(), onet, Aligner("arcface112"), Quality(), Says()).close()
    assert closed.once == ((), {})


@pytest.mark.parametrize(
    ("refine", "given", "kept"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_refiner_of_the_programs_own_follows_unless_nothing_is_followed(
    monkeypatch: pytest.MonkeyPatch, *, refine: bool, given: bool, kept: bool
) -> None:
    built = put_in(monkeypatch, ["jetson_face.factory.parts.build_refiner"])["build_refiner"]
    own, detector, says = Squares(), Squares(), Says()
    wanted = config(f"sampling.refine={str(refine).lower()}")
    parts = subject.build_parts(
        wanted, detector=detector, refiner=own if given else None, embedder=says
    )
    assert parts.refiner is (own if kept else built)
    assert built.given == ([] if kept else [((wanted, detector), {})])
    assert (parts.detector, parts.embedder) == (detector, says)
    assert parts.aligner.crop(np.zeros((99, 99, 3), np.uint8), _points()).shape[1:3] == (112, 112)


def _points() -> Any:
    return Squares().points(np.array([[10, 10, 90, 90]], np.float32))


@pytest.mark.parametrize(
    ("more", "level"),
    [({}, logging.DEBUG), ({"runs_on": False}, logging.DEBUG), ({"runs_on": True}, logging.INFO)],
)
def test_what_was_chosen_is_told_loudly_by_programs_that_run_on(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], level: int
) -> None:
    where = (
        "log_detector", "build_detector", "build_embedder", "build_refiner", "build_quality",
        "log_precision",
    )  # fmt: skip
    made = put_in(monkeypatch, [f"jetson_face.factory.parts.{name}" for name in where])
    made["build_embedder"].alignment = "arcface112"  # type: ignore[attr-defined]
    wanted = config()
    parts: Any = subject.build_parts(wanted, **more)
    assert made["log_detector"].once == made["log_precision"].once == ((wanted, level), {})
    assert made["build_detector"].once == made["build_embedder"].once == ((wanted,), {})
    assert made["build_quality"].once == ((wanted,), {"handed_over": False})
    assert made["build_refiner"].once == ((wanted, made["build_detector"]), {})
    kept = (parts.detector, parts.refiner, parts.quality, parts.embedder)
    assert kept == tuple(made[name] for name in where[1:2] + where[3:5] + where[2:3])


def test_of_parts_that_are_handed_over_nothing_was_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = ("log_detector", "log_precision", "build_quality")
    made = put_in(monkeypatch, [f"jetson_face.factory.parts.{name}" for name in where])
    wanted = config()
    subject.build_parts(wanted, detector=Squares(), refiner=Squares(), embedder=Says())
    assert made["log_detector"].given == made["log_precision"].given == []
    assert made["build_quality"].once == ((wanted,), {"handed_over": True})


def test_the_governor_has_all_of_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    where = ("GovernedRecognizer", "Governor")
    made = put_in(monkeypatch, [f"jetson_face.factory.parts.{name}" for name in where])
    auto = "{decision_fps_min: 11, age_ms_max: 222, cpu_max: 0.3, interval_min: 3, interval_max: 8}"
    wanted = config(f"sampling={{interval: 5, auto: {auto}}}")
    recognizer: Any = SimpleNamespace(finder=SimpleNamespace(interval="its interval"))
    subject.govern(wanted, recognizer, SimpleNamespace(is_live=True))  # type: ignore[arg-type]
    assert made["Governor"].once == ((RateGoal(11, 222, 0.3), Bounds(3, 8), 5), {})
    args, options = made["GovernedRecognizer"].once
    assert args == (recognizer, "its interval", made["Governor"])
    assert options.keys() == {"cpu_share"}


def test_a_canary_is_asked_as_often_as_was_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    made = put_in(monkeypatch, ["jetson_face.factory.parts.Canary"])["Canary"]
    crop: ImageU8 = np.zeros((1, 112, 112, 3), np.uint8)
    aligners: list[Any] = []

    def golden_face(aligner: Aligner) -> ImageU8:
        aligners.append(aligner)
        return crop

    monkeypatch.setattr(subject, "golden_face", golden_face)
    parts = parts_of()
    subject.build_canary(config("engines.canary_every_s=2.5"), parts, drifted=True)
    (embed, face, wanted, every_ns), options = made.once
    assert (embed, aligners) == (parts.embedder.embed, [parts.aligner])
    assert face is crop
    np.testing.assert_array_equal(wanted, unit(1))
    assert (every_ns, options) == (2_500_000_000, {"drifted": True})
