"""Compares what two machines saw in one clip: the same events, and similarities that are close.

python tools/compare_runs.py HERE THERE [--within 0.002]

HERE and THERE are folders that each hold `events.jsonl` of `jetson-face run --events`, and
`identify.json` of `jetson-face identify --json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SAME = ("kind", "frame", "track", "state", "name")


def read_events(folder: Path) -> list[dict[str, Any]]:
    """The events, in their order."""
    text = (folder / "events.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def read_faces(folder: Path) -> list[dict[str, Any]]:
    """The faces that `identify` found, picture after picture."""
    pictures = json.loads((folder / "identify.json").read_text("utf-8"))
    return [
        {"kind": Path(picture["image"]).name, **face}
        for picture in pictures
        for face in picture["faces"]
    ]


def differences(
    here: Sequence[dict[str, Any]], there: Sequence[dict[str, Any]], within: float
) -> Iterator[str]:
    """What is not the same, in words."""
    if len(here) != len(there):
        yield f"{len(here)} here, {len(there)} there"
    for index, (one, other) in enumerate(zip(here, there, strict=False)):
        for key in SAME:
            if one.get(key) != other.get(key):
                yield f"number {index}: {key} is {one.get(key)!r} here, {other.get(key)!r} there"
        if (one["similarity"] is None) != (other["similarity"] is None):
            yield f"number {index}: similarity only on one side"
        elif one["similarity"] is not None:
            apart = abs(one["similarity"] - other["similarity"])
            if apart > within:
                yield f"number {index}: similarities are {apart:.4f} apart"


def largest(here: Sequence[dict[str, Any]], there: Sequence[dict[str, Any]]) -> float:
    """The largest difference of similarity."""
    pairs = [(a["similarity"], b["similarity"]) for a, b in zip(here, there, strict=False)]
    return max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=0.0)


def main(argv: Sequence[str] | None = None) -> int:
    """0 where both saw the same, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("here", type=Path)
    parser.add_argument("there", type=Path)
    parser.add_argument("--within", type=float, default=0.002, metavar="COSINE")
    args = parser.parse_args(argv)
    wrong = 0
    for what, read in (("events", read_events), ("faces in pictures", read_faces)):
        here, there = read(args.here), read(args.there)
        found = list(differences(here, there, args.within))
        if not here:
            found.append("there are none to compare")
        for line in found:
            print(f"{what}: {line}")
        if not found:
            most = largest(here, there)
            print(f"{what}: {len(here)}, all the same; similarities at most {most:.4f} apart")
        wrong += len(found)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
