"""The readers on the real lists, where they are."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from jetson_face.evaluation.pairs import person_of, read_pairs

LISTS = {
    # name: (archive, member, pairs, repeated pairs that are left out, folds)
    "LFW": ("lfw_dev.zip", "pairs.txt", 3000, 0, 5),
    "CFP frontal-frontal": ("cfp_dev.zip", "pairs_FF.tsv", 3424, 76, 5),
    "CFP frontal-profile": ("cfp_dev.zip", "pairs_FP.tsv", 3500, 0, 5),
}


@pytest.mark.parametrize("name", LISTS)
def test_the_published_lists(name: str, shared_data: Path, tmp_path: Path) -> None:
    archive, member, count, repeated, folds = LISTS[name]
    with zipfile.ZipFile(shared_data / archive) as opened:
        opened.extract(member, tmp_path)
        there = set(opened.namelist())
    got = read_pairs(tmp_path / member)
    assert (len(got.pairs), got.duplicates, got.self_pairs) == (count, repeated, 0)
    assert sorted(set(got.folds())) == list(range(1, folds + 1))
    suffix = ".jpg" if member == "pairs.txt" else ""
    assert all(f"images/{picture}{suffix}" in there for picture in got.pictures)
    for pair in got.pairs:
        assert pair.same == (person_of(pair.a) == person_of(pair.b))
    # nobody is in two folds: the threshold is chosen on other people
    seen: dict[str, set[int]] = {}
    for pair in got.pairs:
        for picture in (pair.a, pair.b):
            seen.setdefault(person_of(picture), set()).add(pair.fold)
    assert all(len(numbers) == 1 for numbers in seen.values())
