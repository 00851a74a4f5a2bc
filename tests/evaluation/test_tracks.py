"""`eval tracks`: what is counted, how the other deciders name, and what the clips show."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.benchmark.clips import decoys, scenarios
from jetson_face.benchmark.clips.builtin import builtin_clip
from jetson_face.benchmark.clips.make import ClipPlan
from jetson_face.benchmark.clips.scenarios import CastMember, TrackClip, make_track_clip, planned
from jetson_face.benchmark.ground_truth import TrueFace
from jetson_face.core.types import EmbeddingSpace, Match, Person, Report, Sighting, State
from jetson_face.evaluation import track_deciders as rules
from jetson_face.evaluation.track_tally import figures, tally
from jetson_face.gallery.matcher import Matcher
from tests.config.parts import gallery, unit

ADA, BOB = Person("1", "Ada"), Person("2", "Bob")
LEFT, RIGHT = (10.0, 10.0, 60.0, 60.0), (200.0, 10.0, 250.0, 60.0)
SPACE = EmbeddingSpace("made", "0" * 64, 3)
MATCHER = Matcher(gallery((ADA, [unit(1)]), (BOB, [unit(0, 1)])))


def face(actor: int, name: str | None, box: tuple[float, float, float, float] = LEFT) -> TrueFace:
    return TrueFace(actor=actor, name=name, box=box)


def seen(
    track: int,
    person: Person | None = None,
    box: tuple[float, float, float, float] = LEFT,
    *,
    state: State = "pending",
    changed: bool = False,
) -> Sighting:
    return Sighting(track, box, "known" if person else state, person, None, 1, changed)


def counted(
    faces: list[list[TrueFace]], said: list[list[Sighting]], *, cuts: tuple[int, ...] = ()
) -> dict[str, float | None]:
    clip = TrackClip(
        "cuts", (np.zeros((240, 320, 3), np.uint8),) * len(faces), _tuples(faces), cuts
    )
    reports = [
        Report("test", seq, seq, 0.0, (320, 240), tuple(some), {}, searched=True)
        for seq, some in enumerate(said)
    ]
    return figures([tally(clip, reports)])


def _tuples(faces: list[list[TrueFace]]) -> tuple[tuple[TrueFace, ...], ...]:
    return tuple(tuple(some) for some in faces)


def test_a_name_that_stays_on_a_track_when_its_face_changes_is_wrong_and_carried() -> None:
    found = counted(
        [[face(1, "Ada")]] * 2 + [[face(2, "Bob")]] * 3,
        [[seen(1)], [seen(1, ADA)], [seen(1, ADA)], [seen(1)], [seen(2, BOB)]],
        cuts=(2,),
    )
    assert found["named"] == pytest.approx(2 / 5)
    assert found["wrong_frames"] == found["carried_frames"] == 1
    assert found["wrong_frames_after_cut"] == found["identity_switches"] == found["splits"] == 1
    assert found["right_tracks"] == 1.0
    assert found["false_tracks"] == 0.5
    assert found["time_to_name_s"] == pytest.approx((1 + 2) / 2 / 25)


def test_a_name_on_somebody_who_is_not_enrolled_is_wrong_and_not_carried() -> None:
    found = counted([[face(1, None)]] * 2, [[seen(1, ADA)]] * 2)
    assert (found["wrong_frames"], found["carried_frames"]) == (2, 0)
    assert found["false_s_per_min"] == pytest.approx(60)


def test_an_event_on_no_face_is_counted_once_and_a_pending_one_is_none() -> None:
    there = [[face(1, None)]] * 3
    said = [
        [seen(1), seen(2, box=RIGHT)],
        [seen(1), seen(2, box=RIGHT, state="unknown", changed=True)],
        [seen(1), seen(2, box=RIGHT, state="unknown")],
    ]
    assert counted(there, said)["non_face_events"] == 1


def match(person: Person | None, similarity: float) -> Match:
    return Match(person, similarity, -1.0)


def history(*matches: Match) -> rules.TrackHistory:
    return rules.TrackHistory(list(matches), [unit(1)] * len(matches), [4000.0] * len(matches))


@pytest.mark.parametrize(
    ("matches", "majority", "weighted", "sticky"),
    [
        ([match(ADA, 0.6)], ADA, ADA, ADA),
        ([match(ADA, 0.6), match(BOB, 0.7)], None, None, BOB),
        ([match(ADA, 0.6), match(BOB, 0.1), match(BOB, 0.1)], None, ADA, ADA),
        ([match(ADA, 0.47), match(ADA, 0.47)], None, None, None),
        ([match(BOB, 0.9), match(ADA, 0.51), match(ADA, 0.51)], ADA, BOB, ADA),
    ],
)
def test_the_other_deciders_name_a_track_as_they_say(
    matches: list[Match], majority: Person, weighted: Person, sticky: Person
) -> None:
    seen_so_far = history(*matches)
    assert rules.majority_vote(0.5)(seen_so_far, MATCHER) == majority
    assert rules.weighted_vote(0.5, 0.45)(seen_so_far, MATCHER) == weighted
    assert rules.sticky_match(0.5)(seen_so_far, MATCHER) == sticky


def test_a_plain_average_weighs_all_vectors_alike() -> None:
    both = rules.TrackHistory([match(ADA, 1.0)] * 3, [unit(1), unit(1), unit(0, 1)], [1.0] * 3)
    assert rules.plain_average(SPACE, 0.8)(both, MATCHER) == ADA
    assert rules.plain_average(SPACE, 0.95)(both, MATCHER) is None


@pytest.fixture(scope="module")
def cast() -> tuple[list[CastMember], list[CastMember]]:
    roles = builtin_clip(ClipPlan(at_once=2)).roles
    members = [
        CastMember(role.name, role.cutouts, 0, role.cutouts[0].image, role.cutouts[0].face)
        for role in roles
    ]
    return [m for m in members if m.name], [m for m in members if not m.name]


@pytest.mark.parametrize("kind", scenarios.KINDS)
def test_each_kind_of_clip_shows_what_it_says(
    cast: tuple[list[CastMember], list[CastMember]], kind: str
) -> None:
    clip = make_track_clip(kind, 0, *cast)
    again = make_track_clip(kind, 0, *cast)
    assert all(np.array_equal(a, b) for a, b in zip(clip.images, again.images, strict=True))
    assert not np.array_equal(clip.images[0], make_track_clip(kind, 1, *cast).images[0])
    faces = sum(map(len, clip.faces))
    assert (faces == 0) is (kind in scenarios.NO_FACES)
    assert (len(clip.cuts) > 0) is (kind in ("cuts", "cuts in one room", "non-faces"))
    for cut in clip.cuts if faces else ():
        assert clip.faces[cut][0].actor != clip.faces[cut - 1][0].actor


def test_the_full_set_has_100_cuts_and_more_than_50_clips() -> None:
    kinds = planned()
    assert len(kinds) >= 50
    assert 5 * kinds.count("cuts") == 100
    assert set(planned(0.01)) == set(scenarios.KINDS)


def test_what_is_beside_a_face_has_none_of_it() -> None:
    picture = np.zeros((100, 120, 3), np.uint8)
    picture[20:80, 40:80] = 255
    random = np.random.default_rng(1)
    for _ in range(5):
        assert decoys.beside_face(picture, (40, 20, 80, 80), random).image.max() == 0
