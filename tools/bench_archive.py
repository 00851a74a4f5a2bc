"""What an archive of recordings costs and finds: search in many templates, hours per core-hour, and
recall of people in made recordings.

    python tools/bench_archive.py search --templates 2000000
    python tools/bench_archive.py recordings --frames video_frames_dev.zip
    python tools/bench_archive.py quiet --codec h264 --size 1280x720

--codec h264 (with the extra `archive`): as cameras record, 2 Mbit/s, a key frame in two seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jetson_face.archive import table
from jetson_face.archive.indexer import PieceIndexer
from jetson_face.archive.opening import open_archive
from jetson_face.archive.places import ArchivePlace
from jetson_face.archive.recordings import find_recordings
from jetson_face.archive.run import ArchiveRun, IndexReport
from jetson_face.archive.store import ArchiveStore, day_of, partition
from jetson_face.archive.templates import TemplateIndex
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.archive.visits import stated_fpir
from jetson_face.benchmark.clips.builtin import builtin_clip
from jetson_face.benchmark.clips.cast import Member
from jetson_face.benchmark.clips.make import Clip, ClipPlan, compose_clip, roles_of
from jetson_face.benchmark.clips.people import largest_face
from jetson_face.benchmark.clips.scene import background
from jetson_face.benchmark.ground_truth import VISIBLE_MIN, GroundTruth, match_faces
from jetson_face.calibration.fpir import exact_interval
from jetson_face.config import Config, load_config
from jetson_face.core.compact import compact
from jetson_face.core.types import F32, EmbeddingSpace, Sighting
from jetson_face.factory.networks import build_detector
from jetson_face.factory.parts import build_parts, for_photos
from jetson_face.factory.threshold import curve_of
from jetson_face.privacy.encryption import AesGcm
from jetson_face.util.images import read_picture

DIM = 128
BEGUN = 1_772_323_200.0
"""2026-03-01 00:00 UTC."""
TRACKS_A_PERSON = 10
FPIRS = (0.01, 0.1)


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    search = actions.add_parser("search")
    search.add_argument("--templates", type=int, default=2_000_000)
    search.add_argument("--probes", type=int, default=40)
    search.add_argument("--folder", type=Path, help="keep the made archive here")
    recordings = actions.add_parser("recordings")
    recordings.add_argument("--frames", type=Path, required=True, help="video_frames_dev.zip")
    recordings.add_argument("--clips", type=int, default=12)
    recordings.add_argument("--seconds", type=float, default=20.0)
    recordings.add_argument("--scans", default="all,motion,key_frames")
    recordings.add_argument("--seed", type=int, default=1)
    recordings.add_argument("--set", dest="settings", action="append", default=[])
    quiet = actions.add_parser("quiet")
    quiet.add_argument("--minutes", type=int, default=2)
    quiet.add_argument("--set", dest="settings", action="append", default=[])
    quiet.add_argument("--scans", default="all,motion,key_frames")
    quiet.add_argument("--keep", type=Path, help="leave the recording in this folder")
    for sub in (recordings, quiet):
        sub.add_argument("--size", default="640x480")
        sub.add_argument("--codec", choices=("mpeg4", "h264"), default="mpeg4")
    for sub in (search, recordings, quiet):
        sub.add_argument("--json", type=Path, help="write the figures")
    args = parser.parse_args()
    benches = {"search": bench_search, "recordings": bench_recordings, "quiet": bench_quiet}
    found = benches[args.action](args)
    print(json.dumps(found, indent=1))
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


# Search


def bench_search(args: argparse.Namespace) -> dict[str, Any]:
    """Time, memory and exactness of the nearest 10 of many made templates."""
    with _folder(args.folder) as folder:
        store = _made_archive(folder / str(args.templates), args.templates)
        before = _rss()
        began = time.perf_counter()
        index = TemplateIndex.load(store)
        load_s = time.perf_counter() - began
        loaded = _rss()
        facts = _time_probes(store, index, args.probes)
        size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    return {
        "templates": len(index),
        "files": len(index.files),
        "disk_mb": round(size / 1e6),
        "load_s": round(load_s, 2),
        "index_mb": round(index.nbytes / 1e6),
        "rss_loaded_mb": round(loaded / 1e6),
        "rss_before_mb": round(before / 1e6),
        **facts,
    }


def _time_probes(store: ArchiveStore, index: TemplateIndex, count: int) -> dict[str, Any]:
    """Half of the probes look for somebody who is there, half for nobody."""
    random = np.random.default_rng(2)
    exact = _all_exact(store)
    probes = []
    for number in range(count):
        own = _unit(random.standard_normal(DIM))
        if number % 2:
            own = _unit(
                exact[int(random.integers(len(exact)))] + 0.06 * random.standard_normal(DIM)
            )
        probes.append(np.asarray(own, np.float32))
    index.nearest(probes[0], 10)  # files are opened and pages read for the first time
    walls, cpus, right = [], [], 0
    for probe in probes:
        began, cpu = time.perf_counter(), time.process_time()
        hits = index.nearest(probe, 10)
        walls.append(1000 * (time.perf_counter() - began))
        cpus.append(1000 * (time.process_time() - cpu))
        cosines = exact @ probe.astype(np.float32)
        best = np.sort(cosines)[::-1][:10]
        right += bool(np.allclose([hit.similarity for hit in hits], best, atol=2e-6))
    return {
        "probes": count,
        "p50_ms": round(statistics.median(walls), 1),
        "p95_ms": round(float(np.percentile(walls, 95)), 1),
        "cpu_p50_ms": round(statistics.median(cpus), 1),
        "exact_top_10": f"{right} of {count}",
    }


def _all_exact(store: ArchiveStore) -> F32:
    """Every exact template, in the order of the index: for the comparison only."""
    parts = []
    for names in store.partitions().values():
        parts += [table.fixed(store.read(n, ["exact"])["exact"], "<f4", DIM) for n in names]
    return np.concatenate(parts)


def _made_archive(folder: Path, count: int) -> ArchiveStore:
    """Templates of people with TRACKS_A_PERSON tracks each, 2,000 a day and camera; without crops.
    One that is there is taken."""
    place = ArchivePlace(str(folder))
    space, cipher = EmbeddingSpace("made", "0" * 64, DIM), AesGcm(bytes(range(32)))
    if place.exists("archive.json"):
        return ArchiveStore.open(place, space, cipher)
    store = ArchiveStore.create(place, space, cipher)
    random = np.random.default_rng(1)
    people = random.standard_normal((max(1, count // TRACKS_A_PERSON), DIM)).astype(np.float32)
    people /= np.linalg.norm(people, axis=1, keepdims=True)
    rows, cameras = 2000, 40
    for number, begin in enumerate(range(0, count, rows)):
        here = min(rows, count - begin)
        who = random.integers(0, len(people), here)
        vectors = people[who] + 0.06 * random.standard_normal((here, DIM)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        start = BEGUN + 86_400 * (number // cameras) + np.sort(random.uniform(0, 86_000, here))
        camera, piece = f"camera-{number % cameras:02d}", f"{number:016x}-000000000"
        data = table.to_bytes(_table(vectors, start, camera, piece), store.seal)
        part = partition(day_of(float(start[0])), camera)
        store.place.write(f"{part}/merged-{number:016x}.parquet", data)
    return store


def _table(vectors: F32, start: Any, camera: str, piece: str) -> Any:
    pa = table.arrow()
    count, short = len(vectors), compact(vectors)
    fixed = {
        "codes": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(DIM), count, [None, pa.py_buffer(short.codes.tobytes())]
        ),
        "exact": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(4 * DIM), count, [None, pa.py_buffer(vectors.tobytes())]
        ),
    }
    columns = {
        "id": [f"{piece}-{row:05d}" for row in range(count)],
        "piece": [piece] * count,
        "camera": [camera] * count,
        "start": start,
        "end": start + 5,
        "media_s": start - start[0],
        "frames": np.full(count, 5, np.int32),
        "quality": np.full(count, 0.7, np.float32),
        "scale": short.scale,
        "error": short.error,
        "crops": [[]] * count,
        "boxes": [b""] * count,
        **fixed,
    }
    schema = table.schema(DIM)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


# Recordings


@dataclass(frozen=True, slots=True)
class Shown:
    """An appearance of an enrolled person in a recording. actor: its number there."""

    recording: str
    actor: int
    name: str


def bench_recordings(args: argparse.Namespace) -> dict[str, Any]:
    """Hours per core-hour by scan, and the recall of people at a stated FPIR."""
    with tempfile.TemporaryDirectory(prefix="jetson-face-bench-") as name:
        folder = Path(name)
        with zipfile.ZipFile(args.frames) as packed:
            packed.extractall(folder / "people")
        config = load_config(None, [f"state_dir={folder / 'state'}", *args.settings])
        enrol, others, truths = make_clips(config, folder, args)
        found: dict[str, Any] = {}
        for scan in args.scans.split(","):
            own = _with(config, scan)
            with closing(PieceIndexer(own)) as indexer:
                store = open_archive(own, str(folder / scan), indexer.space, create=True)
                run = ArchiveRun(own, store)
                report = run.run(find_recordings([str(folder / "rec")]), indexer)
            found[scan] = _speed(report) | recall(own, store, enrol, others, truths)
        return {"interval": config.sampling.interval, "size": args.size, **found}


def bench_quiet(args: argparse.Namespace) -> dict[str, Any]:
    """Hours per core-hour of a room in which two people are for six seconds in each minute."""
    with tempfile.TemporaryDirectory(prefix="jetson-face-bench-") as name:
        folder = Path(name)
        config = load_config(None, [f"state_dir={folder / 'state'}", *args.settings])
        rec, size = args.keep or folder / "rec", _size(args)
        path = rec / "door" / "2026-03-14T08-00-00.mp4"
        writer = writer_of(path, size, args.codec)
        noise = np.random.default_rng(1)
        for minute in range(args.minutes):
            plan = ClipPlan(size=size, frames=150, at_once=2, seed=minute)
            for image, _ in builtin_clip(plan).rendered():
                writer.write(image)
            room = background(size, np.random.default_rng(minute))
            for _ in range(1350):
                grain = noise.normal(0, 2, room.shape)
                writer.write(np.clip(room + grain, 0, 255).astype(np.uint8))
        writer.release()
        found: dict[str, Any] = {}
        for scan in args.scans.split(",") if args.scans else ():
            own = _with(config, scan)
            with closing(PieceIndexer(own)) as indexer:
                store = open_archive(own, str(folder / scan), indexer.space, create=True)
                run = ArchiveRun(own, store)
                report = run.run(find_recordings([str(rec)]), indexer)
            found[scan] = _speed(report)
        return {"interval": config.sampling.interval, "size": args.size, **found}


def _size(args: argparse.Namespace) -> tuple[int, int]:
    width, _, height = args.size.partition("x")
    return int(width), int(height)


def writer_of(path: Path, size: tuple[int, int], codec: str) -> Any:
    """Of 25 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if codec == "mpeg4":
        return cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, size)
    from av_writer import AvWriter

    return AvWriter(path)


def _filmed(clip: Clip, path: Path, codec: str) -> GroundTruth:
    """Write a clip; who is where in it."""
    writer, faces = writer_of(path, clip.plan.size, codec), []
    for image, present in clip.rendered():
        writer.write(image)
        faces.append(present)
    writer.release()
    return clip.ground_truth(faces)


def _with(config: Config, scan: str) -> Config:
    archive = config.archive.model_copy(update={"scan": scan})
    return config.model_copy(update={"archive": archive})


def make_clips(
    config: Config, folder: Path, args: argparse.Namespace
) -> tuple[dict[str, F32], list[F32], dict[str, GroundTruth]]:
    """Recordings of people from other videos than those that enrol them; the templates of people
    who are shown and of those who are not; the ground truth of each recording."""
    random = np.random.default_rng(args.seed)
    names = [path for path in sorted((folder / "people").iterdir()) if len(_videos(path)) > 1]
    order = [names[row] for row in random.permutation(len(names))]
    shown, absent = order[: len(order) // 2], order[len(order) // 2 :]
    truths = {}
    detector = build_detector(config, relaxed=True)
    for number in range(args.clips):
        cast = [shown[row] for row in random.permutation(len(shown))[:6]]
        members = [
            Member(path.name, tuple(p for v in _videos(path)[1:] for p in v)) for path in cast
        ]
        plan = ClipPlan(
            size=_size(args),
            frames=round(25 * args.seconds),
            at_once=2,
            seed=args.seed + number,
        )
        clip = compose_clip(plan, roles_of(members, largest_face(detector)))
        path = folder / "rec" / f"camera{number % 3}" / f"2026-03-14T{number:02d}-00-00.mp4"
        truths[str(path)] = _filmed(clip, path, args.codec)
    detector.close()
    with closing(build_parts(config)) as parts:
        still = for_photos(config, parts)
        mine = {path.name: _template(still, _videos(path)[0]) for path in shown}
        rest = [_template(still, _videos(path)[0]) for path in absent]
    return (
        {name: one for name, one in mine.items() if one is not None},
        [one for one in rest if one is not None],
        truths,
    )


def _videos(person: Path) -> list[list[Path]]:
    """The frames of each video."""
    if not person.is_dir():
        return []
    homes = [home for home in sorted(person.iterdir()) if home.is_dir()]
    found = [sorted(p for p in home.iterdir() if p.suffix == ".jpg") for home in homes]
    return [frames for frames in found if frames]


def _template(parts: Any, photos: Sequence[Path]) -> F32 | None:
    """The mean of the photos' vectors, as a person enrolled from them is searched for."""
    vectors = []
    for photo in photos:
        image = read_picture(photo)
        faces = parts.detector.detect(image)
        if not len(faces):
            continue
        sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]).min(axis=1)
        row = int(sides.argmax())
        crops = parts.aligner.crop(image, faces.landmarks[row : row + 1])
        vectors.append(parts.embedder.embed(crops).vectors[0].copy())
    return None if not vectors else np.asarray(_unit(np.sum(vectors, axis=0)), np.float32)


def _speed(report: IndexReport) -> dict[str, Any]:
    return {
        "video_s": round(report.video_s, 1),
        "cpu_s": round(report.cpu_s, 1),
        "hours_per_core_hour": round(report.hours_per_core_hour, 2),
        "looked_share": round(report.looked / report.frames, 3),
        "tracks": report.tracks,
    }


def recall(
    config: Config,
    store: ArchiveStore,
    enrol: dict[str, F32],
    others: Sequence[F32],
    truths: dict[str, GroundTruth],
) -> dict[str, Any]:
    """Of the appearances of people who can be searched for: the share with a track found at a
    stated FPIR; of people who are not there: the share that finds any."""
    tracks = {track.id: track for track in store.tracks()}
    owner = {key: _owner(track, truths) for key, track in tracks.items()}
    appearances = {
        Shown(recording, face.actor, face.name)
        for recording, truth in truths.items()
        for faces in truth.frames
        for face in faces
        if face.name in enrol and face.visible >= VISIBLE_MIN
    }
    index, curve = TemplateIndex.load(store), curve_of(config, store.space)
    people = {shown.name for shown in appearances}
    hit: dict[float, set[Shown]] = {fpir: set() for fpir in FPIRS}
    wrong = dict.fromkeys(FPIRS, 0)
    first = 0
    for name in sorted(people):
        near = index.nearest(enrol[name], len(index))
        best = owner[near[0].id]
        first += best is not None and best.name == name
        for one in near:
            shown, rate = owner[one.id], stated_fpir(one.similarity, one.frames, len(index), curve)
            own = shown is not None and shown.name == name
            for fpir in FPIRS:
                if rate is not None and rate <= fpir:
                    wrong[fpir] += not own
                    if own and shown is not None:
                        hit[fpir].add(shown)
    seen = {one for one in owner.values() if one in appearances}
    found: dict[str, Any] = {
        "appearances": len(appearances),
        "people": len(people),
        "with_a_track": round(len(seen) / len(appearances), 3),
        "best_track_is_theirs": _share(first, len(people), len(people)),
        "absent_people": len(others),
    }
    for fpir in FPIRS:
        # appearances of one person stand together: the interval counts people
        absent = sum(_finds_any(index, probe, curve, fpir) for probe in others)
        found[f"stated_fpir_{fpir:g}"] = {
            "recall": _share(len(hit[fpir]), len(appearances), len(people)),
            "tracks_of_others_shown": wrong[fpir],
            "absent_people_that_find_somebody": _share(absent, len(others), len(others)),
        }
    return found


def _share(part: int, whole: int, independent: int) -> list[float]:
    """A share and its 95 % interval."""
    share = part / whole
    return [round(value, 3) for value in (share, *exact_interval(share, independent))]


def _finds_any(index: TemplateIndex, probe: F32, curve: Any, fpir: float) -> bool:
    (best,) = index.nearest(probe, 1)
    rate = stated_fpir(best.similarity, best.frames, len(index), curve)
    return rate is not None and rate <= fpir


def _owner(track: ArchivedTrack, truths: dict[str, GroundTruth]) -> Shown | None:
    """The appearance that most of a track's boxes lie on."""
    hour = int((track.start - BEGUN) % 86_400 // 3600)
    recording = next(name for name in truths if f"T{hour:02d}-" in name)
    truth = truths[recording]
    votes: dict[Shown, int] = {}
    for at, *box in track.boxes:
        number = min(len(truth.frames) - 1, round((track.media_s + float(at)) * truth.fps))
        sighting = Sighting(1, (box[0], box[1], box[2], box[3]), "unknown", None, None, 1)
        for row in match_faces([sighting], truth.frames[number]):
            face = truth.frames[number][row]
            key = Shown(recording, face.actor, face.name or "")
            votes[key] = votes.get(key, 0) + 1
    return max(votes, key=lambda key: votes[key]) if votes else None


def _unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


def _rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="jetson-face-bench-") as name:
        yield Path(name)


if __name__ == "__main__":
    main()
