"""A Ray cluster of two nodes with networks of their own against one process, on the same videos:
time, whether the indexes are the same track by track, also when a node dies, and recall.

    python tools/bench_archive_ray.py --frames video_frames_dev.zip --minutes 120 --folder made

Needs root (network namespaces), two cores and the extra `archive`. The recordings are made once in
--folder, in H.264: short clips of people with ground truth and an empty room, one after the other
in another order on each camera.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_archive import make_clips, recall, writer_of

from jetson_face.archive.opening import open_archive
from jetson_face.archive.tracks import ArchivedTrack
from jetson_face.benchmark.clips.scene import background
from jetson_face.benchmark.ground_truth import GroundTruth, read_ground_truth, write_ground_truth
from jetson_face.config import Config, load_config
from jetson_face.core.types import F32
from tests.fleet.networks import Networks

REPO = Path(__file__).resolve().parents[1]
FPS, CLIP_S, EMPTY = 25, 20, 2
"""Each clip of people is followed by so many of the empty room, as long as it."""
RECORDING_S = 600
PORT = 6379
KILL_AT = 0.4


def main() -> None:
    """Make what is not there, index it in each way, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=Path, required=True, help="video_frames_dev.zip")
    parser.add_argument("--folder", type=Path, required=True, help="where recordings are kept")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", default="one_core,both_cores,ray,ray_killed")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--json", type=Path, help="write the figures")
    args = parser.parse_args()
    args.codec, args.seconds = "h264", float(CLIP_S)
    args.folder = args.folder.resolve()
    made = _made(args)
    print(f"{args.minutes} minutes of recordings in {args.folder}", flush=True)
    found = _bench(args, made)
    print(json.dumps(found, indent=1))
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


# Recordings


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """folder: with the recordings. truths: by their paths. enrol, others: templates of people who
    are in them, and of those who are not."""

    folder: Path
    truths: dict[str, GroundTruth]
    enrol: dict[str, F32]
    others: list[F32]


def _made(args: argparse.Namespace) -> Made:
    """Those that are there, or new ones."""
    clips = args.folder / f"clips-{args.clips}-{args.size}-{args.seed}"
    if not (clips / "people.npz").exists():
        _make_clips(args, clips)
    told = np.load(clips / "people.npz")
    enrol = {name[1:]: told[name] for name in told.files if name[0] == "+"}
    others = [told[name] for name in told.files if name[0] == "-"]
    paths = sorted((clips / "rec").rglob("*.mp4"))
    truth_of = {path: read_ground_truth(path.with_suffix(".json")) for path in paths}
    length = min(RECORDING_S, 60 * args.minutes)
    folder = args.folder / f"recordings-{args.minutes}"
    truths = {}
    casts: set[tuple[Path, ...]] = set()
    for number in range(-(-60 * args.minutes // length)):
        order = np.random.default_rng([args.seed, number]).permutation(len(paths))
        plays = length // (CLIP_S * (1 + EMPTY))
        cast = [paths[order[play % len(order)]] for play in range(plays)]
        if tuple(cast) in casts:  # the archive takes a recording once, by its digest
            raise SystemExit(f"{len(paths)} clips give two equal recordings: ask for more --clips")
        casts.add(tuple(cast))
        parts = [part for clip in cast for part in (clip, *[clips / "empty.mp4"] * EMPTY)]
        path = folder / f"camera{number % 3}" / f"2026-03-14T{number:02d}-00-00.mp4"
        if not path.exists():
            _join(parts, path)
        truths[str(path)] = _joined_truth([truth_of.get(part) for part in parts])
    return Made(folder, truths, enrol, others)


def _make_clips(args: argparse.Namespace, clips: Path) -> None:
    with zipfile.ZipFile(args.frames) as packed:
        packed.extractall(clips / "people")
    config = load_config(None, [f"state_dir={clips / 'state'}"])
    enrol, others, truths = make_clips(config, clips, args)
    for path, truth in truths.items():
        write_ground_truth(Path(path).with_suffix(".json"), truth)
    width, _, height = args.size.partition("x")
    noise, room = (np.random.default_rng(args.seed) for _ in range(2))
    still = background((int(width), int(height)), room)
    writer = writer_of(clips / "empty.mp4", (int(width), int(height)), "h264")
    for _ in range(FPS * CLIP_S):
        writer.write(np.clip(still + noise.normal(0, 2, still.shape), 0, 255).astype(np.uint8))
    writer.release()
    rows = {f"+{name}": one for name, one in enrol.items()}
    rows |= {f"-{number}": one for number, one in enumerate(others)}
    np.savez(clips / "people.npz", **rows)  # type: ignore[arg-type]


def _join(parts: Sequence[Path], path: Path) -> None:
    """One video of several that were encoded alike, packet by packet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part_path = path.with_suffix(".part.mp4")
    with av.open(str(part_path), "w") as whole:
        stream: Any = None
        for number, part in enumerate(parts):
            with av.open(str(part)) as file:
                source = file.streams.video[0]
                if stream is None:
                    stream = whole.add_stream_from_template(source)
                shift = round(number * CLIP_S / float(source.time_base or 1))
                for packet in file.demux(source):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = stream
                    whole.mux(packet)
    part_path.replace(path)


def _joined_truth(parts: Sequence[GroundTruth | None]) -> GroundTruth:
    """None: the empty room."""
    frames: list[Any] = []
    for number, part in enumerate(parts):
        if part is None:
            frames += [()] * (FPS * CLIP_S)
            continue
        for faces in part.frames:
            own = [face.model_copy(update={"actor": face.actor + 1000 * number}) for face in faces]
            frames.append(tuple(own))
    first = next(part for part in parts if part is not None)
    return first.model_copy(update={"frames": tuple(frames), "enrol": {}})


# Indexing


def _bench(args: argparse.Namespace, made: Made) -> dict[str, Any]:
    work = args.folder / f"index-{args.minutes}-{os.getpid()}"
    cores = sorted(os.sched_getaffinity(0))[:2]
    found: dict[str, Any] = {"minutes": args.minutes, "load": os.getloadavg()[0]}
    tracks: dict[str, dict[str, ArchivedTrack]] = {}
    for run in args.runs.split(","):
        own = work / run
        threads = 2 if run == "both_cores" else 1
        config = _config(own, [f"backend.threads={threads}", *args.settings])
        if run.startswith("ray"):
            kill_s = KILL_AT * _expected_s(found) if run == "ray_killed" else None
            report = _on_ray(made, own, config, cores, kill_s)
        else:
            pinned = ["taskset", "-c", ",".join(map(str, cores[:threads]))]
            report = _ended(_index(made, own, config, pinned))
        found[run] = _figures(report)
        print(run, json.dumps(found[run]), flush=True)
        store = open_archive(config, str(own / "archive"))
        tracks[run] = {track.id: track for track in store.tracks()}
        first = next(iter(tracks))
        if run != first:
            found[run][f"tracks_unlike_{first}"] = _unlike(tracks[first], tracks[run])
        if run == args.runs.split(",")[-1]:
            found["search"] = recall(config, store, made.enrol, made.others, made.truths)
    if "ray" in found and "one_core" in found:
        ratio = found["one_core"]["wall_s"] / found["ray"]["wall_s"]
        found["speed_up_over_one_core"] = round(ratio, 2)
    if "ray" in found and "both_cores" in found:
        ratio = found["both_cores"]["wall_s"] / found["ray"]["wall_s"]
        found["speed_up_over_one_process_on_both"] = round(ratio, 2)
    return found


def _config(own: Path, settings: Sequence[str]) -> Config:
    return load_config(None, [f"state_dir={own / 'state'}", "archive.piece_s=60", *settings])


def _expected_s(found: dict[str, Any]) -> float:
    """How long the cluster takes without a death."""
    if "ray" in found:
        return float(found["ray"]["wall_s"])
    return float(next(one["wall_s"] for one in found.values() if isinstance(one, dict))) / 2


def _index(
    made: Made, own: Path, config: Config, before: Sequence[str], *more: str
) -> subprocess.Popen[str]:
    own.mkdir(parents=True)
    told = own / "config.yaml"
    told.write_text(config.model_dump_json(exclude_unset=True))
    return subprocess.Popen(
        [
            *(*before, sys.executable, "-m", "jetson_face", "archive", "index", str(made.folder)),
            *("--into", str(own / "archive"), "-c", str(told), "--json", *more),
        ],
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=(own / "log").open("w"),
        text=True,
    )


def _environment() -> dict[str, str]:
    patient = {"RAY_raylet_start_wait_time_s": "300", "RAY_USAGE_STATS_ENABLED": "0"}
    return {**os.environ, **patient, "PYTHONPATH": str(REPO)}


def _ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"archive index ended with {process.returncode}")
    report: dict[str, Any] = json.loads(out)
    return report


def _on_ray(
    made: Made, own: Path, config: Config, cores: Sequence[int], kill_s: float | None
) -> dict[str, Any]:
    """On two nodes with a core each. kill_s: so long after the begin all of the second one dies."""
    with Networks(["one", "two"]) as net, _nodes(net, own, cores) as address:
        process = _index(made, own, config, net.run_in("one"), "--ray", address)
        if kill_s is not None:
            time.sleep(kill_s)
            if process.poll() is not None:
                raise SystemExit("the run ended before a node could be killed: more --minutes")
            _kill_all(net, "two")
        report = _ended(process)
    deaths = (own / "log").read_text().count("worker_died")
    if kill_s is not None and not deaths:
        raise SystemExit("no worker died with its node")
    return report | {"deaths": deaths}


@contextlib.contextmanager
def _nodes(net: Networks, own: Path, cores: Sequence[int]) -> Iterator[str]:
    """The head's address."""
    head = net.addresses["one"]
    common = ["--num-cpus=1", "--num-gpus=0", "--disable-usage-stats", "--block"]
    common += ["--object-store-memory=200000000"]
    roles = {
        "one": ["--head", f"--port={PORT}", "--include-dashboard=false"],
        "two": [f"--address={head}:{PORT}"],
    }
    started = []
    own.parent.mkdir(parents=True, exist_ok=True)
    try:
        for (name, words), core in zip(roles.items(), cores, strict=True):
            log = own.with_name(f"{own.name}-{name}.log").open("w")
            ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *words, *common]
            command = [*net.run_in(name), "taskset", "-c", str(core), *ray]
            command.append(f"--node-ip-address={net.addresses[name]}")
            started.append(subprocess.Popen(command, env=_environment(), stdout=log, stderr=log))
            _until_there(started[-1], own, name)
        yield f"{head}:{PORT}"
    finally:
        for name in roles:
            _kill_all(net, name)
        for process in started:
            process.wait(30)


def _until_there(process: subprocess.Popen[bytes], own: Path, name: str) -> None:
    log = own.with_name(f"{own.name}-{name}.log")
    for _ in range(3000):
        if "Ray runtime started" in log.read_text():
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise SystemExit(f"node {name} did not start: {log}")


def _kill_all(net: Networks, name: str) -> None:
    """Every process in a namespace, which is ours: as when its machine loses its power."""
    space = net.run_in(name)[-1]
    ask = ["ip", "netns", "pids", space]
    # again: one may have started another in the meantime
    while told := subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split():
        for pid in map(int, told):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


# Comparison


def _figures(report: dict[str, Any]) -> dict[str, Any]:
    keys = ("recordings", "pieces", "tracks", "frames", "looked", "refused", "deaths")
    told = {key: report[key] for key in keys if key in report}
    return told | {
        "hours": round(report["video_s"] / 3600, 3),
        "wall_s": round(report["wall_s"], 1),
        "core_hours": round(report["cpu_s"] / 3600, 4),
        "hours_per_core_hour": round(report["hours_per_core_hour"], 2),
    }


def _unlike(one: dict[str, ArchivedTrack], other: dict[str, ArchivedTrack]) -> int:
    """Tracks that only one has, or that differ."""
    both = one.keys() & other.keys()
    return len(one.keys() ^ other.keys()) + sum(not _same(one[key], other[key]) for key in both)


def _same(one: ArchivedTrack, other: ArchivedTrack) -> bool:
    return (
        (one.camera, one.start, one.end, one.frames)
        == (other.camera, other.start, other.end, other.frames)
        and one.crops == other.crops
        and np.array_equal(one.boxes, other.boxes)
        and np.allclose(one.template, other.template, atol=1e-6)
    )


if __name__ == "__main__":
    main()
