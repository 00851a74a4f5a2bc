"""How large a gallery may be: load, memory, query and enrolment by the number of templates.

    python tools/bench_gallery.py --sizes 1000,100000,1000000

Templates are made, clustered like real ones: people lie around centres that some of them share,
and each person's templates around the person. The rows are written without portraits unless
--portrait-bytes says otherwise: no query reads them. Each size is measured in a process of its
own. Times are wall-clock milliseconds, and processor ones where it says cpu; `agreement` compares
the three nearest people with a full comparison in float32.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from jetson_face.core.types import F32, Embeddings, EmbeddingSpace
from jetson_face.gallery import manifest
from jetson_face.gallery.ledger import Ledger
from jetson_face.gallery.live import LivePeople
from jetson_face.gallery.matcher import Matcher
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.scoring import PersonLayout
from jetson_face.gallery.store import GalleryStore
from jetson_face.gallery.templates import Facts, TemplateRows
from jetson_face.privacy.encryption import AesGcm

DIM = 128
SPACE = EmbeddingSpace("made", "0" * 64, DIM)
CIPHER = AesGcm(bytes(range(32)))
TOP_K = 3
_TOGETHER = 32
"""Queries that are compared in full at once."""
_ROUNDING = 1e-6


def main() -> None:
    """Print JSON lines: the figures of each size, then how far they agree with a full search."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sizes", default="1000,100000,1000000", help="templates, comma-separated")
    parser.add_argument("--each", type=int, default=5, help="templates of a person")
    parser.add_argument("--queries", type=int, default=10_000, help="compared with a full search")
    parser.add_argument("--timed", type=int, default=300, help="queries that are timed, one by one")
    parser.add_argument("--portrait-bytes", type=int, default=0, help="of each template's portrait")
    parser.add_argument("--folder", type=Path, help="keep the galleries there, and take them again")
    args = parser.parse_args()
    for size in map(int, args.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="jetson-face-bench-") as name:
            folder = (args.folder or Path(name)) / f"{size}x{args.each}"
            folder.mkdir(parents=True, exist_ok=True)
            for part in (_make, _measure):  # what made it must not count as memory of what reads it
                context = multiprocessing.get_context("spawn")
                process = context.Process(target=part, args=(folder, size, args))
                process.start()
                process.join()
                if process.exitcode:
                    raise SystemExit(process.exitcode)


def made_people(count: int, seed: int = 1) -> F32:
    """(count, DIM) centres of people: a few numbers vary more than the rest, as in embeddings, and
    people of one of 200 kinds are more alike, as relatives are."""
    random = np.random.default_rng(seed)
    spread = (0.3 + np.exp(-np.arange(DIM) / 40)).astype(np.float32)
    kinds = random.standard_normal((200, DIM)).astype(np.float32)
    own = random.standard_normal((count, DIM)).astype(np.float32)
    own += 0.5 * kinds[random.integers(0, len(kinds), count)]
    return _unit(own * spread)


def made_templates(people: F32, seed: int) -> F32:
    """One more look of each person: cosine to another about 0.75."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal(people.shape).astype(np.float32) / np.sqrt(DIM)
    return _unit(people + 0.58 * noise)


def _unit(vectors: F32) -> F32:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _store(folder: Path, *, create: bool = False) -> GalleryStore:
    ledger = Ledger([folder / "gallery.ledger"], CIPHER)
    return GalleryStore.open(
        folder / "gallery.db", SPACE, create=create, cipher=CIPHER, ledger=ledger
    )


def _make(folder: Path, size: int, args: argparse.Namespace) -> None:
    if (folder / "made.json").exists():
        return
    people = made_people(max(1, size // args.each))
    looks = [made_templates(people, 10 + number) for number in range(args.each)]
    began = time.perf_counter()
    random = np.random.default_rng(3)
    with _store(folder, create=True) as store, store.transaction():
        book, rows = store.book, TemplateRows(store.book)
        portraits = book.sealer.bound("")
        for number in range(len(people)):
            person = store.add_person(f"Person {number:07d}")
            for own in looks:
                facts = Facts(random.bytes(32).hex(), f"{number}.jpg", 0.7, 0.0)
                values = rows.sealed(str(uuid.uuid4()), person.id, 0, facts, own[number].tobytes())
                book.db.execute("INSERT INTO templates VALUES (?, ?, ?, ?, ?, ?)", values)
                book.wrote(manifest.of_template(book.sealer, *values), person.id)
                if args.portrait_bytes:
                    data = random.bytes(args.portrait_bytes)
                    image = portraits.seal(data, "portrait", values[0])
                    book.db.execute("INSERT INTO portraits VALUES (?, ?, x'')", (values[0], image))
    told = {"made_s": round(time.perf_counter() - began, 1)}
    (folder / "made.json").write_text(json.dumps(told), "utf-8")


def _measure(folder: Path, size: int, args: argparse.Namespace) -> None:
    probes = _probes(size, args)
    _warm_up()
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak begins here
    before, began, cpu = _rss_mb(), time.perf_counter(), time.process_time()
    with _store(folder) as store:
        people = LivePeople(store, lambda snapshot: Matcher(snapshot, top_k=TOP_K), every_ns=0)
        load_s, load_cpu_s = time.perf_counter() - began, time.process_time() - cpu
        loaded, peak = _rss_mb(), _peak_mb()
        matcher = people(0)
        for probe in probes[:20]:
            matcher.match(Embeddings(probe[None], SPACE))
        told = {
            "templates": matcher.snapshot.template_count,
            "people": len(matcher.snapshot.people),
            "load_s": round(load_s, 2),
            "load_cpu_s": round(load_cpu_s, 2),
            "file_mb": round((folder / "gallery.db").stat().st_size / 1e6),
            "memory_mb": round(loaded - before),
            "memory_peak_mb": round(peak - before),
            "query": _timed(matcher, probes[: args.timed], 1),
            "query_of_7_faces": _timed(matcher, probes[: args.timed], 7),
            "memory_after_queries_mb": round(_rss_mb() - before),
            "enrol": _enrolled(folder, store, people),
        }
        print(json.dumps(told), flush=True)
        agreement = _agreement(people(1), probes, size, args)
    print(json.dumps({"templates": told["templates"], "agreement": agreement}), flush=True)


def _warm_up() -> None:
    """Load what any program of ours has in memory, so that the gallery's own memory is left."""
    import onnx.helper
    import onnxruntime

    onnxruntime.get_available_providers()
    onnx.helper.make_node("Identity", ["a"], ["b"])
    np.dot(np.ones((8, 8), np.float32), np.ones((8, 8), np.float32))


def _probes(size: int, args: argparse.Namespace) -> F32:
    """Half are looks of people who are enrolled, half of people who are not."""
    count, people = args.queries, max(1, size // args.each)
    random = np.random.default_rng(5)
    there = made_people(people)[random.integers(0, people, count - count // 2)]
    others = made_people(count // 2, seed=99)
    probes = made_templates(np.concatenate([there, others]), 77)
    return np.asarray(probes[random.permutation(count)], np.float32)


def _timed(matcher: Matcher, probes: F32, at_once: int) -> dict[str, float]:
    walls, cpus = [], []
    for begin in range(0, len(probes) - at_once + 1, at_once):
        faces = Embeddings(probes[begin : begin + at_once], SPACE)
        began, cpu = time.perf_counter(), time.process_time()
        matcher.match(faces)
        walls.append(1000 * (time.perf_counter() - began))
        cpus.append(1000 * (time.process_time() - cpu))
    return {
        "p50_ms": round(statistics.median(walls), 2),
        "p95_ms": round(float(np.percentile(walls, 95)), 2),
        "cpu_p50_ms": round(statistics.median(cpus), 2),
    }


def _enrolled(folder: Path, store: GalleryStore, people: LivePeople) -> dict[str, float]:
    """Somebody new with one template, put in by this process and by another one, which is erased
    again: the writing, until this program knows the face, and the erasing."""
    found: dict[str, list[float]] = defaultdict(list)
    portrait, marks = np.zeros((112, 112, 3), np.uint8), np.zeros((5, 2), np.float32)
    with _store(folder) as writer:
        for number in range(5):
            vector = made_people(1, seed=1000 + number)[0]
            photo = uuid.uuid4().hex * 2
            new = NewTemplate(vector, 0.7, photo, portrait, marks, "new.jpg")
            steps: tuple[tuple[str, Callable[[], object]], ...] = (
                ("write_ms", partial(_put, writer, f"New {number}", new)),
                ("known_ms", people.look),
                ("erase_ms", partial(writer.remove, f"New {number}")),
                ("gone_ms", people.look),
            )
            for name, step in steps:
                began, cpu = time.perf_counter(), time.process_time()
                step()
                found[name].append(1000 * (time.perf_counter() - began))
                found[f"{name[:-3]}_cpu_ms"].append(1000 * (time.process_time() - cpu))
                if name == "known_ms":
                    (match,) = people(0).match(Embeddings(vector[None], SPACE))
                    assert match.person is not None
                    assert match.person.name == f"New {number}"
    return {name: round(statistics.median(values), 1) for name, values in found.items()}


def _put(store: GalleryStore, name: str, new: NewTemplate) -> None:
    with store.transaction():
        store.add_template(store.add_person(name), new)


def _agreement(
    matcher: Matcher, probes: F32, size: int, args: argparse.Namespace
) -> dict[str, object]:
    """The nearest person and the similarity against a full comparison of every template; a tie is
    another person whom the full comparison finds as near but for float32's rounding."""
    people = made_people(max(1, size // args.each))
    looks = [made_templates(people, 10 + number) for number in range(args.each)]
    vectors = np.stack(looks, axis=1).reshape(-1, DIM)
    same, ties, furthest = 0, 0, 0.0
    for begin in range(0, len(probes), _TOGETHER):
        part = probes[begin : begin + _TOGETHER]
        found = matcher.match(Embeddings(part, SPACE))
        for cosines, match in zip(part @ vectors.T, found, strict=True):
            of_people = cosines.reshape(-1, args.each)
            who, scores = _three_best(of_people)
            assert match.person is not None
            ours = int(match.person.name.split()[1])
            same += ours == who[0]
            near = float(of_people[ours].max()) > float(scores[0]) - _ROUNDING
            ties += ours != who[0] and near
            told = np.array([candidate.similarity for candidate in match.candidates])
            furthest = max(furthest, float(np.abs(scores - told).max()))
    return {
        "queries": len(probes),
        "same_first": same,
        "ties": ties,
        "similarity_off_max": furthest,
    }


def _three_best(cosines: F32) -> tuple[list[int], F32]:
    """The three people with the highest scores, of (P, templates) cosines, and the scores: a
    person's is never more than the highest cosine, which leaves few to be worked out."""
    most = cosines.max(axis=1)
    near = np.argpartition(most, max(0, len(most) - 50))[-50:]
    least = np.sort(_scores(cosines[near]))[-3:][0]
    near = np.flatnonzero(most >= least)
    scores = _scores(cosines[near])
    order = np.argsort(-scores, kind="stable")[:3]
    return near[order].tolist(), scores[order]


def _scores(cosines: F32) -> F32:
    layout = PersonLayout(
        np.arange(len(cosines)) * cosines.shape[1], np.full(len(cosines), cosines.shape[1])
    )
    return np.asarray(layout.top(cosines.reshape(1, -1), TOP_K)[0], np.float32)


def _rss_mb() -> float:
    return _status("VmRSS")


def _peak_mb() -> float:
    return _status("VmHWM")


def _status(key: str) -> float:
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1000
    raise RuntimeError(f"no {key} in /proc/self/status")


if __name__ == "__main__":
    main()
