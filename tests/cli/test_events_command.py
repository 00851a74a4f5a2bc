"""Events of the whole program: the same from `run` and from the service, by the printed schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from jetson_face.cli.main import main
from jetson_face.util.images import read_picture
from tests.events.event_help import kinds, read_events, without_names_of_the_run

Command = Callable[..., Any]


@pytest.fixture
def come_and_go(tmp_path: Path, collins: Path) -> Path:
    """Eileen Collins for a second, nobody for two, and again her: 4 s at 10 frames/s."""
    path = tmp_path / "film.avi"
    face = cv2.resize(read_picture(collins)[0:300, 80:380], (200, 200))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for n in range(40):
        frame = np.full((240, 320, 3), 90, np.uint8)
        if not 10 <= n < 30:
            frame[20:220, 40 + n : 240 + n] = face
        writer.write(frame)
    writer.release()
    return path


def test_the_service_and_run_emit_the_same_events(
    cli: Command, people: Path, come_and_go: Path, tmp_path: Path
) -> None:
    cli("enroll", people)
    every = ("--set", "sampling.interval=2")
    assert cli("run", "--source", come_and_go, "--events", tmp_path / "run.jsonl", *every).code == 0
    config = tmp_path / "service.yaml"
    config.write_text(
        f"sources: [{{uri: {come_and_go}}}]\nservice: {{sinks: [{{type: jsonl}}]}}\n", "utf-8"
    )
    assert cli("service", "run", "-c", config, *every).code == 0
    by_run = read_events(tmp_path / "run.jsonl")
    by_service = read_events(tmp_path / "state" / "jsonl.jsonl")
    assert without_names_of_the_run(by_run) == without_names_of_the_run(by_service)
    assert [kind[1:] for kind in kinds(by_run)] == [
        ("appeared", 1, "pending", None),
        ("decided", 1, "known", "Eileen Collins"),
        ("left", 1, "known", "Eileen Collins"),
        ("appeared", 2, "pending", None),
        ("decided", 2, "known", "Eileen Collins"),
        ("left", 2, "known", "Eileen Collins"),
    ]
    assert [e["reason"] for e in by_run if e["kind"] == "left"] == ["gone", "end"]
    everything = by_run + by_service
    assert len({event["id"] for event in everything}) == len(everything)


def test_the_schema_is_printed_and_takes_what_is_written(
    cli: Command, people: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["events", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    cli("enroll", people)
    cli("run", "--source", clip, "--events", tmp_path / "e.jsonl")
    lines = (tmp_path / "e.jsonl").read_text("utf-8").splitlines()
    assert lines
    for line in lines:
        Draft202012Validator(schema).validate(json.loads(line))
