"""What one measurement from the page is: its commands, and what is read from their results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jetson_face.config import Config
from jetson_face.factory.golden import golden_pictures
from jetson_face.service.control.http import ControlError
from jetson_face.util.images import write_picture

INTERVALS = (1, 2, 3, 5, 8, 12, 20, 30)
_SIDES = (160, 240, 320, 480, 640, 960, 1280, 1920)
_DEFAULT_SIZE = (640, 480)
_KINDS = ("interval", "size", "tune")
PEOPLE = "people"
_VARIANTS = 4
"""Pictures of each golden face: as it is, mirrored, darker, smaller."""


@dataclass(frozen=True, slots=True)
class MeasurementPlan:
    """kind: what is varied, or `tune`. frame_size: of the made clip, (width, height) pixels.
    decision_fps: tune's goal, decided frames a second."""

    kind: str
    frame_size: tuple[int, int]
    frames: int
    decision_fps: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """For the list."""
        return {
            "kind": self.kind,
            "frame_size": list(self.frame_size),
            "decision_fps": self.decision_fps,
        }

    def prepare(self, folder: Path) -> None:
        """Put the faces that ship with the program into `folder`: the clip is made of them, so that
        a box needs no pictures and shows nobody's who is enrolled. Raises EngineError,
        OutputError."""
        for number, picture in enumerate(golden_pictures()):
            person = folder / PEOPLE / f"person {number // _VARIANTS + 1}"
            person.mkdir(parents=True, exist_ok=True)
            write_picture(person / f"{number % _VARIANTS}.png", picture)

    def commands(self, folder: Path, words: Sequence[str]) -> list[list[str]]:
        """Command lines, one after the other. words: the options of the configuration."""
        people = ["--people", str(folder / PEOPLE)]
        size = f"{self.frame_size[0]}x{self.frame_size[1]}"
        if self.kind == "tune":
            clip = str(folder / "clip.avi")
            seconds = str(self.frames / 25)
            make = ["clips", "make", "--out", clip, "--size", size, "--seconds", seconds]
            make += [*people, "--known", "1", "--strangers", "1", "--enrol", "1", "--faces", "1"]
            tune = ["tune", clip, "--fps", str(self.decision_fps), "--frames", str(self.frames)]
            return [[*make, *words], [*tune, "--out", str(folder / "tuned.yaml"), *words]]
        bench = ["bench", "--frame-size", size, "--frames", str(self.frames), "--repeats", "2"]
        bench += [*people, "--json", str(folder / "bench.json")]
        if self.kind == "interval":
            bench += ["--sampling", ",".join(map(str, INTERVALS))]
        else:
            sides = [side for side in _SIDES if side < max(self.frame_size)]
            bench += ["--sizes", ",".join(map(str, [*sides, max(self.frame_size)]))]
        return [[*bench, *words]]


def plan_of(
    wanted: Mapping[str, Any], config: Config, status: Mapping[str, Any]
) -> MeasurementPlan:
    """Raises ControlError. status: of the running service, whose first camera says the size."""
    if unknown := set(wanted) - {"kind", "frames", "decision_fps"}:
        raise ControlError(422, f"nobody knows {min(unknown)[:40]}")
    kind, frames = wanted.get("kind"), wanted.get("frames", 120)
    if kind not in _KINDS:
        raise ControlError(422, f"kind is one of {', '.join(_KINDS)}")
    if type(frames) is not int or not 20 <= frames <= 500:
        raise ControlError(422, "frames is a whole number from 20 to 500")
    fps = wanted.get("decision_fps")
    if kind == "tune":
        if not isinstance(fps, (int, float)) or isinstance(fps, bool) or not 0.1 <= fps <= 1000:
            raise ControlError(422, "decision_fps is a number from 0.1 to 1000")
    elif fps is not None:
        raise ControlError(422, "decision_fps is for `tune`")
    cameras = list(status.get("cameras", {}).values())
    width, height = (cameras[0].get("size") if cameras else None) or _DEFAULT_SIZE
    if not width or not height or min(width, height) < min(_DEFAULT_SIZE):
        width, height = _DEFAULT_SIZE
    return MeasurementPlan(kind, (int(width), int(height)), frames, fps)


def result_of(plan: MeasurementPlan, folder: Path, text: str) -> dict[str, Any]:
    """What the page shows. text: what the commands printed. Raises ValueError, OSError."""
    if plan.kind == "tune":
        tuned = folder / "tuned.yaml"
        found = yaml.safe_load(tuned.read_text("utf-8")) if tuned.exists() else None
        return {"text": text[-6000:], "choice": None if found is None else _choice(found)}
    result = json.loads((folder / "bench.json").read_text("utf-8"))
    return {
        "points": [_point(one) for one in result["points"]],
        "load": result["machine"]["load_1min"],
        "power_mode": result["machine"]["power_mode"],
    }


def _point(point: Mapping[str, Any]) -> dict[str, Any]:
    median, spread = point["median"], point["spread"]
    size = point["setting"]["size"]
    return {
        "detection_interval": point["setting"]["every"],
        "search_max_side_px": size,
        "decision_fps": median["decision_fps"],
        "decision_fps_spread": spread["decision_fps"],
        "age_ms_p95": median.get("frame_ms_p95"),
        "cpu_ms_per_frame": median["cpu_ms_per_frame"],
        "time_to_name_s": median.get("time_to_name_s"),
    }


def _choice(tuned: Mapping[str, Any]) -> dict[str, Any]:
    detector = tuned.get("detector") or {}
    return {
        "detection_interval": (tuned.get("sampling") or {}).get("interval"),
        "search_max_side_px": detector.get("max_side_px"),
        "min_face_px": detector.get("min_face_px"),
    }
