"""`jetson-face eval groups`: error rates of groups at one threshold, against a plain count."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.core.types import EmbeddingSpace
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.groups import FMRS, measure_groups, read_groups, summary
from jetson_face.evaluation.people import Shot
from tests.evaluation.test_identification_video import leaving, run, videos_folder

DIM = 8


def made(
    seed: int, people: int = 40, alike: float = 3.0
) -> tuple[dict[str, list[Shot]], ExtractedFaces, dict[str, str]]:
    """People with one to three sessions of one or two pictures; some have no face. Those of group
    b lean one way, so that they are mistaken for each other. Every seventh is in no group."""
    rng = np.random.default_rng(seed)
    shots: dict[str, list[Shot]] = {}
    vectors, found, groups = [], [], {}
    for number in range(people):
        who, own = f"p{number:02}", rng.normal(size=DIM)
        if number % 7:
            groups[who] = "ab"[number % 2]
        own[0] += alike * (number % 2)
        for session in range(1 + number % 3):
            for frame in range(1 + number % 2):
                name = f"{who}/video{session}/{frame}.jpg"
                shots.setdefault(who, []).append(Shot(who, f"video{session}", name, Path(name)))
                vectors.append(own + 0.6 * rng.normal(size=DIM))
                found.append(rng.random() > 0.1)
    units = np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    units[~np.array(found)] = np.nan
    count = len(found)
    quality = np.where(found, 1, np.nan).astype(np.float32)
    faces = ExtractedFaces(
        tuple(shot.name for own in shots.values() for shot in own),
        units.astype(np.float32), np.zeros((count, 4), np.float32), quality,
        np.zeros(count, np.bool_), np.ones(count, np.int64),
        EmbeddingSpace("made", "0" * 64, DIM), {},
    )  # fmt: skip
    return shots, faces, groups


def plain_rates(
    shots: dict[str, list[Shot]], faces: ExtractedFaces, who: list[str], threshold: float
) -> tuple[float, float]:
    """FMR and FNMR as RULES says it, one pair after the other."""
    own = {
        name: [(s.session, faces.vectors[faces.row_of[s.name]]) for s in shots[name]
               if faces.found[faces.row_of[s.name]]]
        for name in who
    }  # fmt: skip
    own = {name: rows for name, rows in own.items() if rows}
    two = [
        np.mean([a @ b >= threshold for _, a in own[one] for _, b in own[other]])
        for one, other in combinations(own, 2)
    ]
    missed = []
    for rows in own.values():
        pairs = [a @ b < threshold for (x, a), (y, b) in combinations(rows, 2) if x != y]
        missed += [np.mean(pairs)] if pairs else []
    return float(np.mean(two)), float(np.mean(missed))


@pytest.mark.parametrize("seed", range(3))
def test_rates_are_those_of_a_plain_count(seed: int) -> None:
    shots, faces, who = made(seed)
    rng = np.random.default_rng(1)
    rows = measure_groups(shots, {"kind": who}, faces, rng=rng, resamples=40)
    assert [(row.group, row.fmr_of_all) for row in rows] == [
        (group, fmr) for fmr in FMRS for group in ("everybody", "a", "b")
    ]
    for row in rows:
        members = [name for name in shots if row.of == "all" or who.get(name) == row.group]
        fmr, fnmr = plain_rates(shots, faces, members, row.similarity_min)
        assert row.fmr == pytest.approx(fmr)
        assert row.fnmr == pytest.approx(fnmr)
        assert row.pictures == sum(len(shots[name]) for name in members)
        lost = [s for n in members for s in shots[n] if not faces.found[faces.row_of[s.name]]]
        assert row.undetected == len(lost)
    for everybody in rows[::3]:
        # the threshold is the lowest with no more false matches than that
        assert everybody.fmr is not None
        assert everybody.fmr <= everybody.fmr_of_all
        lower = everybody.similarity_min - 1e-4
        assert plain_rates(shots, faces, list(shots), lower)[0] > everybody.fmr_of_all
    _, a, b, *_ = rows
    assert a.fmr is not None
    assert b.fmr is not None
    assert b.fmr_interval is not None
    assert b.fmr > a.fmr
    assert b.fmr_interval.low <= b.fmr <= b.fmr_interval.high


def test_a_group_of_one_has_no_false_matches_to_count() -> None:
    shots, faces, _ = made(0, people=6)
    rng = np.random.default_rng(1)
    rows = measure_groups(shots, {"kind": {"p05": "alone"}}, faces, rng=rng, resamples=5)
    alone = next(row for row in rows if row.group == "alone")
    assert (alone.fmr, alone.fmr_interval) == (None, None)
    assert "kind: alone" in summary(rows)
    with pytest.raises(InputBrokenError, match="nobody of the pictures is in a group"):
        measure_groups(shots, {"kind": {"nobody": "a"}}, faces, rng=rng)


def test_the_table(tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("person,sex,age\nAda,f,\n\nAlan, m ,40\n", "utf-8-sig")
    assert read_groups(table) == {"sex": {"Ada": "f", "Alan": "m"}, "age": {"Alan": "40"}}
    table.write_text("person\tsex\nAda, Countess\tf\n")
    assert read_groups(table) == {"sex": {"Ada, Countess": "f"}}
    for text, said in (
        ("", ":1: expected a header"),
        ("person\nAda\n", ":1: expected a header"),
        ("who,sex\nAda,f\n", ":1: expected a header"),
        ("person,sex,sex\nAda,f,f\n", ":1: expected a header"),
        ("person,sex\nAda,f\nAlan\n", ":3: expected 2 cells, got 1"),
        ("person,sex\nAda,f\nAda,m\n", ":3: Ada is there twice"),
        ("person,sex\n,f\n", ":2: no person"),
    ):
        table.write_text(text)
        with pytest.raises(InputBrokenError, match=said):
            read_groups(table)
    with pytest.raises(InputMissingError, match="no such file"):
        read_groups(tmp_path / "none.csv")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = videos_folder(tmp_path / "videos")
    names = sorted(path.name for path in images.iterdir())
    listed = tmp_path / "groups.csv"
    listed.write_text("person,half\n" + "".join(f"{n},{i % 2}\n" for i, n in enumerate(names)))
    words = ("groups", "--images", images, "--groups", listed)
    assert run(monkeypatch, *words, *leaving(tmp_path / "out")) == 0
    got = json.loads((tmp_path / "out/r.json").read_text())
    assert got["kind"] == "groups"
    assert [(row["of"], row["group"], row["people"]) for row in got["groups"][:3]] == [
        ("all", "everybody", 8), ("half", "0", 4), ("half", "1", 4),
    ]  # fmt: skip
    assert len(got["groups"][0]["fmr_interval"]) == 2
    page = (tmp_path / "out/r.md").read_text()
    assert page.startswith("# Groups: videos, groups.csv, ")
    assert "| half: 1 | 4 (4) |" in page
