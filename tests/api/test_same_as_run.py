"""The API and `jetson-face run` decide alike: one configuration, same parts, same events."""

from __future__ import annotations

import json
from pathlib import Path

from jetson_face import Recognizer, load_config
from jetson_face.cli.main import main
from jetson_face.factory.parts import build_parts


def test_watch_says_what_run_writes(tmp_path: Path, collins: Path, clip: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(f"state_dir: {tmp_path / 'state'}\nsources: {{uri: {clip}, name: film}}\n")
    with Recognizer(path) as recognizer:
        assert recognizer.enroll("Eileen Collins", collins).added == [collins]
        said = [
            (frame.seq, face.track, face.state, face.name, [round(edge, 1) for edge in face.box])
            for frame, faces in recognizer.watch()
            for face in faces
            if face.changed
        ]
    events = tmp_path / "events.jsonl"
    assert main(["run", "-c", str(path), "--events", str(events), "--quiet"]) == 0
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    decided = [e for e in lines if e["kind"] in ("decided", "changed", "retracted")]
    wrote = [(e["frame"], e["track"], e["state"], e["name"], e["box"]) for e in decided]
    assert said == wrote
    assert any(name == "Eileen Collins" for _, _, _, name, _ in said)


def test_the_parts_are_those_of_the_factory(tmp_path: Path) -> None:
    config = load_config(None, [f"state_dir={tmp_path}", "sampling.interval=3"])
    mine = build_parts(config)
    with Recognizer(config) as recognizer:
        theirs = recognizer._parts
        assert recognizer.config == config
        for part in ("detector", "refiner", "aligner", "quality", "embedder"):
            assert type(getattr(mine, part)) is type(getattr(theirs, part)), part
        assert mine.embedder.space == theirs.embedder.space
    mine.close()
