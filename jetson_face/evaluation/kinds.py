"""The evaluations, each from its pictures to what it leaves: a summary, figures, a page, plots."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.config import Config
from jetson_face.core.errors import InputBrokenError, JetsonFaceError
from jetson_face.evaluation import (
    calibration,
    clusters,
    divisions,
    five_people,
    groups,
    identification_report,
    known_again,
    sensitivity,
    site_centre,
    stated_rate,
    tracks_report,
    verification_report,
    video_report,
)
from jetson_face.evaluation.cache import FaceCache
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.groups import read_groups
from jetson_face.evaluation.identification import identify_open_set
from jetson_face.evaluation.method import Method, build_method, log_progress
from jetson_face.evaluation.pairs import PairList, find_pictures, read_pairs
from jetson_face.evaluation.people import Division, Shot, read_people
from jetson_face.evaluation.tracks import run_tracks
from jetson_face.evaluation.verification import verify
from jetson_face.evaluation.video import average_over_frames

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What all evaluations are told. images: one folder a person. relaxed: search again with lower
    thresholds where no face was found. cache: keep found faces there. resamples: for intervals."""

    config: Config
    images: Path
    seed: int = 1
    resamples: int = 500
    relaxed: bool = True
    cache: Path | None = None

    @property
    def rng(self) -> np.random.Generator:
        """A fresh one of the seed."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation leaves. markdown: the page. plots: writes files into a folder. facts: of
    the pictures, where the report says them."""

    summary: str
    result: Mapping[str, Any]
    markdown: Callable[[], str]
    plots: Callable[[Path], list[Path]] = lambda folder: []
    facts: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class _MethodRun:
    """A method at work on an evaluation. facts: for its report."""

    kind: str
    method: Method
    facts: dict[str, object]

    def extract(self, pictures: Mapping[str, Path]) -> ExtractedFaces:
        return self.method.extractor.extract(pictures, log_progress(f"{self.kind}, pictures"))

    def found_of(self, people: Mapping[str, Sequence[Shot]]) -> ExtractedFaces:
        return self.extract({shot.name: shot.path for own in people.values() for shot in own})


def verify_pairs(setting: EvaluationSettings, listed: Path, *, folds: int) -> Evaluation:
    """Are two pictures of one person? listed: the file of pairs. folds: where it gives none."""
    pairs, pictures = _pairs(setting, listed)
    with _measuring(setting, "verification", listed) as run:
        result = verify(
            pairs,
            run.extract(pictures),
            rng=setting.rng,
            method={**run.facts, "pairs_file": listed.name},
            scorer=run.method.pair_scorer,
            resamples=setting.resamples,
            fold_count=folds,
        )
    title = f"Verification: {setting.images.name}, {listed.name}, {run.method.name}"
    return Evaluation(
        verification_report.summary(result),
        result.as_json(),
        lambda: verification_report.markdown(result, title),
        lambda folder: verification_report.plots(result, folder),
        result.faces.facts(),
    )


def identify_people(
    setting: EvaluationSettings,
    division: Division,
    everybody: Mapping[str, Sequence[Shot]],
    count: int,
) -> Evaluation:
    """Who is it, or is it nobody enrolled? With `count`, `everybody` over so many random divisions
    too, where frames are frames: without mirror images."""
    added, open_set = "", dict[str, Any]()
    if count:
        with _measuring(setting, "divisions", setting.images, photos=False) as run:
            added, open_set = _over_divisions(everybody, run.found_of(everybody), count)
    with _measuring(setting, "identification", setting.images) as run:
        faces = run.extract({shot.name: shot.path for shot in division.shots})
        result = identify_open_set(
            division,
            faces,
            run.method.enrol,
            similarity_min=run.method.similarity_min,
            margin_min=run.method.margin_min,
            rng=setting.rng,
            method=run.facts,
            resamples=setting.resamples,
            seed=setting.seed,
        )
    title = f"Open-set identification: {setting.images.name}, {run.method.name}"
    return Evaluation(
        identification_report.summary(result) + added,
        {**result.as_json(), **open_set},
        lambda: identification_report.markdown(result, title),
        lambda folder: identification_report.plots(result, folder),
        faces.facts(),
    )


def _over_divisions(
    everybody: Mapping[str, Sequence[Shot]], faces: ExtractedFaces, count: int
) -> tuple[str, dict[str, Any]]:
    """What the divisions add to a summary, and to a result."""
    figures = divisions.over_divisions(everybody, faces.vectors, faces.row_of, divisions=count)
    return f"\n\n{divisions.summary(figures)}", {"open_set": {"divisions": count, **figures}}


def average_frames(
    setting: EvaluationSettings,
    division: Division,
    everybody: Mapping[str, Sequence[Shot]],
    count: int,
) -> Evaluation:
    """What averaging over frames gains; with `count`, `everybody` over so many divisions too."""
    pictures = {shot.name: shot.path for shot in division.shots}
    with _measuring(setting, "video", setting.images, photos=False) as run:
        faces = run.found_of(everybody) if count else run.extract(pictures)
        rows = average_over_frames(
            division, faces, run.method.enrol, rng=setting.rng, resamples=setting.resamples
        )
        added, open_set = _over_divisions(everybody, faces, count) if count else ("", {})
    title = f"Averaging over frames: {setting.images.name}, {run.method.name}"
    return Evaluation(
        video_report.summary_table(rows) + added,
        {**video_report.as_json(rows, division, faces, run.facts), **open_set},
        lambda: video_report.markdown(rows, division, faces, run.facts, title),
        lambda folder: video_report.plots(rows, folder),
        faces.facts(),
    )


def check_calibration(
    setting: EvaluationSettings, *, strangers: float, each_picture: bool
) -> Evaluation:
    """Does a calibrated threshold hold on strangers it was not set with?"""
    people = read_people(setting.images, each_picture=each_picture)
    seeds = range(setting.seed, setting.seed + calibration.DIVISIONS)
    with _measuring(setting, "calibration", setting.images, photos=False) as run:
        faces = run.found_of(people)
        rows = calibration.keep_promises(
            people, faces, run.method, strangers=strangers, seeds=seeds
        )
        stated = stated_rate.stated_rates(
            people, faces, run.method, fpir=setting.config.matching.fpir, seeds=seeds
        )
    title = f"Calibrated thresholds: {setting.images.name}, {run.method.name}"
    by_size = f"\n\n{stated_rate.table(stated)}" if stated else ""
    told = calibration.as_json(rows, faces, run.facts)
    return Evaluation(
        calibration.summary_table(rows) + by_size,
        {**told, "stated_rate": stated_rate.as_json(stated)},
        lambda: calibration.markdown(rows, faces, run.facts, title) + by_size.lstrip() + "\n",
        lambda folder: calibration.plots(rows, folder),
        faces.facts(),
    )


def cluster_people(setting: EvaluationSettings, *, each_picture: bool) -> Evaluation:
    """Do clusters of unnamed faces hold one person each?"""
    people = read_people(setting.images, each_picture=each_picture)
    with _measuring(setting, "clusters", setting.images, photos=False) as run:
        faces = run.found_of(people)
        rows = clusters.measure_clusters(
            people,
            faces,
            run.method.same_person_min,
            rng=setting.rng,
            resamples=setting.resamples,
        )
        again = known_again.measure_videos(
            people, faces, setting.config, run.method, setting.rng, resamples=setting.resamples
        )
    title = f"Clusters of unnamed faces: {setting.images.name}, {run.method.name}"
    return Evaluation(
        f"{clusters.table(rows)}\n\n{known_again.table(again)}",
        {**clusters.as_json(rows, faces, run.facts), "known_again": asdict(again)},
        lambda: clusters.markdown(rows, run.facts, title) + known_again.markdown(again),
        facts=faces.facts(),
    )


def compare_groups(setting: EvaluationSettings, listed: Path, *, each_picture: bool) -> Evaluation:
    """Is one group of people mistaken for each other more often than another? listed: the table of
    who is in which."""
    people, by_kind = read_people(setting.images, each_picture=each_picture), read_groups(listed)
    with _measuring(setting, "groups", setting.images) as run:
        faces = run.found_of(people)
        rows = groups.measure_groups(
            people, by_kind, faces, rng=setting.rng, resamples=setting.resamples
        )
    title = f"Groups: {setting.images.name}, {listed.name}, {run.method.name}"
    return Evaluation(
        groups.summary(rows),
        groups.as_json(rows, faces, run.facts),
        lambda: groups.markdown(rows, run.facts, title),
        facts=faces.facts(),
    )


def measure_centre(setting: EvaluationSettings, *, count: int) -> Evaluation:
    """What the mean of a site's faces gains on other people. count: of divisions."""
    people = read_people(setting.images)
    with _measuring(setting, "centre", setting.images, photos=False) as run:
        faces = run.found_of(people)
        found = site_centre.gain_of_centre(people, faces, count=count)
    title = f"A site's centre: {setting.images.name}, {run.method.name}"
    return Evaluation(
        site_centre.table(found),
        site_centre.as_json(found, count, run.facts),
        lambda: f"# {title}\n\n{site_centre.table(found)}\n",
        facts=faces.facts(),
    )


def follow_tracks(setting: EvaluationSettings, *, share: float, only: Sequence[str]) -> Evaluation:
    """How well names hold on made video, with several deciders. share: of the full set of clips;
    only: of these kinds."""
    people = read_people(setting.images)
    with _measuring(setting, "tracks", setting.images) as run:
        made, facts = run_tracks(
            setting.config,
            run.method,
            people,
            seed=setting.seed,
            share=share,
            only=only,
            cache=setting.cache,
            progress=log_progress("tracks, clips", 10),
        )
        result = tracks_report.as_json(
            made, {**run.facts, **facts}, setting.resamples, setting.seed
        )
    title = f"Names on video: {setting.images.name}, {run.method.name}"
    return Evaluation(
        tracks_report.summary(result),
        result,
        lambda: tracks_report.markdown(result, title),
    )


def teach_five_people(setting: EvaluationSettings, listed: Path) -> Evaluation:
    """Five people, 20 + 5 pictures each, turned. listed: the file of their names."""
    names = five_people.read_names(listed)
    train, test = five_people.split_lab(setting.images, names, seed=setting.seed)
    with _measuring(setting, "five-people", setting.images) as run:
        result = five_people.run_lab(
            train,
            test,
            run.method,
            rng=setting.rng,
            resamples=setting.resamples,
            progress=log_progress("five-people, angles", 3),
        )
    title = f"Five-person lab: {setting.images.name}, {run.method.name}"
    return Evaluation(
        five_people.summary(result),
        result.as_json(),
        lambda: five_people.markdown(result, title),
        lambda folder: five_people.plots(result, folder),
    )


def change_pictures(setting: EvaluationSettings, listed: Path, *, limit: int) -> Evaluation:
    """Accuracy against face size, blur and so on. listed: the file of pairs; limit: how many."""
    pairs, pictures = _pairs(setting, listed)
    pairs = sensitivity.sample_pairs(pairs, limit, setting.seed)
    with _measuring(setting, "sensitivity", listed) as run:
        threshold, levels = sensitivity.measure_sensitivity(
            pairs,
            {name: pictures[name] for name in pairs.pictures},
            run.method,
            rng=setting.rng,
            resamples=setting.resamples,
            progress=log_progress("sensitivity, levels", 5),
        )
    title = f"Sensitivity: {setting.images.name}, {run.method.name}"
    return Evaluation(
        sensitivity.summary(levels),
        sensitivity.as_json(threshold, levels, run.facts),
        lambda: sensitivity.markdown(threshold, levels, run.facts, title),
        lambda folder: sensitivity.plots(levels, folder, run.method.name),
    )


def _pairs(setting: EvaluationSettings, listed: Path) -> tuple[PairList, dict[str, Path]]:
    """The list and where its pictures are; what is left out of it is said."""
    pairs = read_pairs(listed)
    if pairs.duplicates or pairs.self_pairs:
        _log.warning(
            "%s: %d repeated pairs and %d pairs of a picture with itself are left out",
            listed,
            pairs.duplicates,
            pairs.self_pairs,
        )
    return pairs, find_pictures(setting.images, pairs.pictures)


@contextmanager
def _measuring(
    setting: EvaluationSettings, kind: str, where: Path, *, photos: bool = True
) -> Iterator[_MethodRun]:
    """The configured method at work; what it found is kept at the end.

    photos: pictures stand alone; otherwise they are what a camera sees. Pictures that can give no
    figure are the user's input, not a fault of the program: ValueError becomes InputBrokenError.
    """
    method = build_method(setting.config, relaxed=setting.relaxed, photos=photos)
    cache = None
    if setting.cache is not None:
        settings = setting.config.detector.model_dump(mode="json")
        cache = FaceCache(setting.cache, {**method.facts, "detector_settings": settings})
        searched, embedded = cache.recall(method.extractor)
        _log.info("%s: %d pictures searched, %d embedded before", setting.cache, searched, embedded)
    try:
        yield _MethodRun(
            kind, method, {**method.facts, "images": setting.images.name, "seed": setting.seed}
        )
    except JetsonFaceError:
        raise
    except ValueError as error:
        raise InputBrokenError(f"{where}: {error}") from error
    if cache is not None:
        cache.keep(method.extractor)
