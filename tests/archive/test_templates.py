"""The search by bytes answers what a full comparison does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.archive.store import ArchiveStore
from jetson_face.archive.templates import TemplateIndex
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.core.compact import compact
from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import F32, BoolArray
from tests.archive.made import SPACE, archive, fill, track, vectors


def by_hand(put: list[ArchivedTrack], probe: F32, count: int) -> list[str]:
    """The nearest by comparing with every exact template."""
    cosines = np.array([one.template.astype(np.float64) @ probe.astype(np.float64) for one in put])
    return [put[row].id for row in np.argsort(-cosines, kind="stable")[:count]]


@given(st.integers(0, 1000), st.integers(1, 40), st.sampled_from([1e-3, 0.1, 1.0]))
@settings(max_examples=60, deadline=None)
def test_what_a_byte_leaves_out_is_never_more_than_it_says(
    seed: int, count: int, peak: float
) -> None:
    made = vectors(count, seed)
    made[:, 0] *= peak / max(float(np.abs(made[:, 0]).max()), 1e-9)  # one number far from the rest
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    short = compact(made)
    back = short.codes.astype(np.float64) * short.scale[:, None].astype(np.float64)
    assert (np.linalg.norm(made - back, axis=1) <= short.error).all()
    assert short.error.max() < 0.03


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[ArchiveStore, list[ArchivedTrack]]:
    """5,000 tracks, a few hundred of which are nearly one person's."""
    store = archive(tmp_path_factory.mktemp("filled") / "a")
    made = vectors(5000, 4)
    near = made[0] + 0.002 * vectors(400, 5)  # nearer to each other than a byte can tell
    made[1000:1400] = near / np.linalg.norm(near, axis=1, keepdims=True)
    put = fill(store, made, a_piece=500)
    store.merge(store.partitions())
    return store, put


def test_the_nearest_are_those_of_a_full_comparison_in_their_order(
    filled: tuple[ArchiveStore, list[ArchivedTrack]],
) -> None:
    store, put = filled
    index = TemplateIndex.load(store)
    assert len(index) == len(put)
    probes = [put[0].template, put[1200].template, put[77].template, *vectors(5, 11)]
    for probe in probes:
        for count in (1, 10, 60):
            hits = index.nearest(probe, count)
            assert [hit.id for hit in hits] == by_hand(put, probe, count)
    exact = {one.id: float(one.template.astype(np.float64) @ put[0].template) for one in put}
    assert all(abs(hit.similarity - exact[hit.id]) < 1e-6 for hit in index.nearest(probes[0], 10))


def test_a_byte_alone_would_have_answered_otherwise(
    filled: tuple[ArchiveStore, list[ArchivedTrack]],
) -> None:
    """So that the test above would notice a search without re-ranking."""
    _, put = filled
    short = compact(np.stack([one.template for one in put]))
    probe = put[1200].template
    about = (short.codes.astype(np.float32) @ probe) * short.scale
    order = [put[row].id for row in np.argsort(-about, kind="stable")[:60]]
    assert order != by_hand(put, probe, 60)


def test_time_camera_and_what_does_not_count(
    filled: tuple[ArchiveStore, list[ArchivedTrack]],
) -> None:
    store, put = filled
    yard = TemplateIndex.load(store, camera="yard")
    own = [one for one in put if one.camera == "yard"]
    assert [hit.id for hit in yard.nearest(put[3].template, 5)] == by_hand(own, put[3].template, 5)
    index, probe = TemplateIndex.load(store), put[0].template
    start, end = put[0].start + 100, put[0].start + 86_400 * 1.5
    inside = [one for one in put if one.end >= start and one.start <= end]
    hits = index.nearest(probe, 7, start=start, end=end)
    assert [hit.id for hit in hits] == by_hand(inside, probe, 7)
    assert index.within(start, end) == len(inside)
    without = {put[0].id, put[1001].id}
    rest = [one for one in put if one.id not in without]
    assert [hit.id for hit in index.nearest(probe, 9, without=without)] == by_hand(rest, probe, 9)
    assert index.nearest(probe, 5, start=0, end=1) == []


def test_those_that_are_hidden_make_room_for_the_next(
    filled: tuple[ArchiveStore, list[ArchivedTrack]],
) -> None:
    store, put = filled
    probe = put[0].template

    def near(templates: F32) -> BoolArray:
        return np.asarray(templates @ probe > 0.9)

    rest = [one for one in put if float(one.template @ probe) <= 0.9]
    assert len(put) - len(rest) > 400
    hits = TemplateIndex.load(store).nearest(probe, 5, hides=near)
    assert [hit.id for hit in hits] == by_hand(rest, probe, 5)
    assert TemplateIndex.load(store).nearest(probe, 5, hides=lambda t: t[:, 0] < 2) == []


def test_everything_above_a_threshold_is_found(
    filled: tuple[ArchiveStore, list[ArchivedTrack]],
) -> None:
    store, put = filled
    probes = np.stack([put[0].template, put[20].template])
    exact = np.stack([one.template for one in put]).astype(np.float64) @ probes.T
    for least in (0.3, 0.6, 0.999):
        wanted = {put[row].id for row in np.flatnonzero(exact.max(axis=1) >= least)}
        hits = TemplateIndex.load(store).at_least(probes, least)
        assert {hit.id for hit in hits} == wanted
    assert 400 < len(wanted) < 500


def test_a_file_that_was_moved_to_another_camera_is_refused(tmp_path: Path) -> None:
    """Sealed or not: its tracks would be visits where nobody was."""
    store = archive(tmp_path / "a")
    fill(store, vectors(3), cameras=("door",), days=1)
    ((name,),) = store.partitions().values()
    store.place.write(name.replace("camera=door", "camera=yard"), store.place.read(name))
    index = TemplateIndex.load(store, camera="yard")
    with pytest.raises(InputBrokenError, match="moved from another day or camera"):
        index.nearest(vectors(3)[0], 1)


def test_an_empty_archive_has_no_answer(tmp_path: Path) -> None:
    index = TemplateIndex.load(archive(tmp_path / "a"))
    assert (len(index), index.nearest(vectors(1)[0], 5), index.cameras) == (0, [], [])


def test_what_a_killed_merge_left_is_not_found_twice(tmp_path: Path) -> None:
    store = archive(tmp_path / "a")
    for number in range(3):
        one = track(vectors(3)[number], piece=f"{number}" * 16 + "-000000000")
        store.add(one.piece, [one])
    (part,) = store.partitions()
    old = {name: store.place.read(name) for name in store.partitions()[part]}
    store.merge([part])
    for name, data in old.items():
        store.place.write(name, data)
    index = TemplateIndex.load(store)
    assert len(index) == 3
    assert len(index.nearest(vectors(3)[0], 10)) == 3
    assert index.nbytes == 3 * (SPACE.dim + 4 + 4 + 16 + 4 + 4 + 4)
