"""Does a stated FPIR hold, when the curve that sets the threshold is measured on other people?

    python tools/cross_validate_fpir.py --model squeezenet_face --sets FOLDER --cache FOLDER

FOLDER has the unpacked development sets, as for tools/impostor_curve.py. The people are cut in two
halves by draw. The impostor curve comes from one half; galleries are drawn from the other half, and
the rest of that half asks them; then the other way round. Rates are means over all cuts and both
ways, so that the chance in one curve averages out, and what is left of it is in the interval: the
whole way is gone again with a tenth of the people left out, for each tenth (delete-a-group
jackknife; P. Kott, Journal of Official Statistics 17, 2001). "One curve" is the spread of the
rates of single halves: what a site sees that has one curve and no calibration.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tools")]

from impostor_curve import development_faces  # noqa: E402

from jetson_face.calibration.curve_measuring import measure_curve  # noqa: E402
from jetson_face.calibration.fpir import F64, Scores, threshold_for  # noqa: E402
from jetson_face.calibration.impostor_curve import GallerySize, ImpostorCurve  # noqa: E402
from jetson_face.calibration.impostors import Impostors, averaged  # noqa: E402
from jetson_face.calibration.leave_one_out import ask  # noqa: E402
from jetson_face.calibration.site_shift import site_shift  # noqa: E402
from jetson_face.config import Config  # noqa: E402
from jetson_face.core.errors import CalibrationError  # noqa: E402
from jetson_face.core.types import BoolArray, Embeddings, Person  # noqa: E402
from jetson_face.gallery.matcher import GallerySnapshot, Matcher  # noqa: E402

_log = logging.getLogger("cross_validate_fpir")
SIZES = {5: 10, 20: 5, 60: 3, 600: 2}
"""People enrolled, and how many such galleries a half is asked with."""
TEMPLATES = 3
ASKED_MIN = 20
"""People left over, below which a size is left out."""
STUDENT_9 = 2.262
"""97.5 % quantile of Student's t with nine degrees of freedom: ten groups."""
GROUPS = 10


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """gallery: of whom it is drawn. people: enrolled. asked: what impostors show. source: of the
    threshold."""

    gallery: str
    people: int
    asked: str
    source: str


@dataclass(frozen=True, slots=True)
class Row:
    """observed: share of faces named, with its 95 % interval. one_curve: 5th and 95th percentile
    of the rates of single halves."""

    cell: Cell
    stated: float
    observed: float
    low: float
    high: float
    one_curve: tuple[float, float]

    @property
    def holds(self) -> bool:
        """The stated rate lies in the interval."""
        return self.low <= self.stated <= self.high


def kept(faces: Impostors, there: BoolArray) -> Impostors:
    """These faces of them. there: (N,)."""
    return Impostors(
        Embeddings(faces.faces.vectors[there], faces.faces.space),
        faces.person[there],
        faces.series[there],
        tuple(name for name, keep in zip(faces.source, there, strict=True) if keep),
    )


def gallery_of(faces: Impostors, people: Sequence[int]) -> GallerySnapshot:
    """Up to three faces of each, all of the first series that they have."""
    rows, index = [], []
    for number, who in enumerate(people):
        own = np.flatnonzero(faces.person == who)
        session = own[faces.series[own] == faces.series[own[0]]]
        chosen = (session if len(session) > 1 else own)[:TEMPLATES]
        rows += chosen.tolist()
        index += [number] * len(chosen)
    known = tuple(Person(str(who), str(who)) for who in people)
    vectors = faces.faces.vectors[rows]
    return GallerySnapshot(faces.faces.space, vectors, np.array(index, np.int64), known)


Counts = tuple[int, int]


def one_half(
    faces: Impostors,
    curve: ImpostorCurve,
    fpir: float,
    margin: float,
    rng: np.random.Generator,
) -> Iterator[tuple[Cell, Counts]]:
    """Named faces and faces in each cell. faces: people whom the curve does not know."""
    everybody = np.unique(faces.person)
    of_video = np.array([is_video(name) for name in faces.source])
    video = np.unique(faces.person[of_video])
    shown_in = {"photos and videos": faces, "videos": kept(faces, of_video)}
    shown = {"video frames": (of_video, 1), "means of 3 frames": (of_video, 3)}
    galleries = {
        "photos and videos": (everybody, {**shown, "photos": (~of_video, 1)}),
        "videos": (video, shown),
    }
    for gallery, (drawn_from, asked) in galleries.items():
        for people, draws in SIZES.items():
            if people + ASKED_MIN > len(drawn_from):
                continue
            for _ in range(draws):
                enrolled = np.sort(rng.permutation(drawn_from)[:people])
                snapshot = gallery_of(shown_in[gallery], enrolled.tolist())
                matcher, size = Matcher(snapshot), GallerySize.of(snapshot, TEMPLATES)
                thresholds = curve.by_frames(fpir, size)
                for name, (there, frames) in asked.items():
                    rest = kept(faces, np.asarray(there & ~np.isin(faces.person, enrolled)))
                    means, person = averaged(rest, frames)
                    scores = ask(matcher, means, person, margin)
                    at = thresholds[min(frames, len(thresholds)) - 1]
                    yield Cell(gallery, people, name, "curve"), named_of(scores.score, at)
                    half = halved(scores, rng)
                    for counts in at_site(scores, half, fpir):
                        yield Cell(gallery, people, name, "site"), counts
                    raw = ask(matcher, means, person)
                    by = site_shift(of(raw, half), curve, size, frames)
                    moved = named_of(scores.score[~half], at + by)
                    yield Cell(gallery, people, name, "curve moved for the site"), moved


def halved(scores: Scores, rng: np.random.Generator) -> BoolArray:
    """(N,) the faces of half of the people, who set a threshold for the rest."""
    half = rng.permutation(np.unique(scores.person))[::2]
    return np.asarray(np.isin(scores.person, half), np.bool_)


def of(scores: Scores, there: BoolArray) -> Scores:
    """These of them. there: (N,)."""
    return Scores(scores.score[there], scores.right[there], scores.person[there])


def at_site(scores: Scores, half: BoolArray, fpir: float) -> Iterator[Counts]:
    """The threshold from half of the people, asked of the rest; nothing where they are too few."""
    try:
        at = threshold_for(of(scores, half), fpir)
    except CalibrationError:
        return
    yield named_of(scores.score[~half], at)


def named_of(score: F64, threshold: float) -> Counts:
    """Faces at or above the threshold, and all."""
    return int((score >= threshold).sum()), len(score)


def is_video(source: str) -> bool:
    """Whether it is a frame, PERSON/VIDEO/FRAME; photos are PERSON/FILE."""
    return source.count("/") == 2


def rates(
    faces: Impostors, fpir: float, margin: float, cuts: int, seed: int
) -> dict[Cell, list[Counts]]:
    """Counts of each half of each cut."""
    found: dict[Cell, list[Counts]] = defaultdict(list)
    for cut in range(cuts):
        rng = np.random.default_rng((seed, cut))
        order = rng.permutation(np.unique(faces.person))
        one = np.isin(faces.person, order[::2])
        for known, others in ((one, ~one), (~one, one)):
            curve = measure_curve(kept(faces, known), rng=rng)
            half: dict[Cell, Counts] = {}
            for cell, (hits, asked) in one_half(kept(faces, others), curve, fpir, margin, rng):
                before = half.get(cell, (0, 0))
                half[cell] = before[0] + hits, before[1] + asked
            for cell, counts in half.items():
                found[cell].append(counts)
    return found


def pooled(counts: Sequence[Counts]) -> float:
    """Share of all faces of all halves."""
    return sum(hits for hits, _ in counts) / sum(faces for _, faces in counts)


def with_intervals(
    whole: Mapping[Cell, list[Counts]], parts: Sequence[Mapping[Cell, list[Counts]]], fpir: float
) -> list[Row]:
    """parts: the same with a tenth of the people left out."""
    rows = []
    for cell, counts in sorted(whole.items()):
        without = np.array([pooled(part[cell]) for part in parts if part.get(cell)])
        share = pooled(counts)
        spread = (len(without) - 1) / len(without) * ((without - without.mean()) ** 2).sum()
        reach = STUDENT_9 * float(np.sqrt(spread))
        single = [hits / faces for hits, faces in counts]
        low, high = np.percentile(single, (5, 95))
        rows.append(
            Row(
                cell, fpir, share, max(0.0, share - reach), share + reach, (float(low), float(high))
            )
        )
    return rows


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    lines = [
        "| gallery of | enrolled | asked | threshold from | observed FPIR | one curve | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cell, (low, high) = row.cell, row.one_curve
        lines.append(
            f"| {cell.gallery} | {cell.people} | {cell.asked} | {cell.source} "
            f"| {100 * row.observed:.2f} % [{100 * row.low:.2f}, {100 * row.high:.2f}] "
            f"| {100 * low:.2f} to {100 * high:.2f} % "
            f"| {'holds' if row.holds else 'does not hold'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Embed, cut, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a card's name")
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache/evaluation"))
    parser.add_argument("--fpir", type=float, default=0.01)
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    config = Config.model_validate({"embedder": {"model": args.model}})
    faces = development_faces(config, args.sets, args.cache)
    margin = config.matching.margin_min
    group = np.random.default_rng(args.seed).integers(0, GROUPS, int(faces.person.max()) + 1)
    whole = rates(faces, args.fpir, margin, args.cuts, args.seed)
    parts = []
    for number in range(GROUPS):
        left = kept(faces, np.asarray(group[faces.person] != number))
        parts.append(rates(left, args.fpir, margin, args.cuts, args.seed))
        _log.info("%d of %d parts", number + 1, GROUPS)
    rows = with_intervals(whole, parts, args.fpir)
    print(table(rows))
    if args.json:
        told = [{**asdict(row), "holds": row.holds} for row in rows]
        args.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
