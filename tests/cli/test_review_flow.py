"""From a doubtful face on a camera to a name, and back to nothing: the commands and the service."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jetson_face.privacy.audit import files_that_hold
from jetson_face.util.images import read_picture

Command = Callable[..., Any]
HOPPER, COLLINS = "Grace Hopper", "Eileen Collins"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def service(tmp_path: Path, clip: Path, cli: Command) -> Callable[[], None]:
    """Run the service over the clip to its end; faces of enrolment quality that are like nobody
    are asked about, and crops are kept."""
    config = tmp_path / "config.yaml"
    config.write_text(
        f"sources: [{{uri: {clip}, name: door}}]\n"
        "sampling: {interval: 1}\n"
        "matching: {review_margin: 1}\n"
        "service: {crops: true, sinks: [{type: jsonl}]}\n"
    )

    def run() -> None:
        done = cli("service", "run", "-c", config)
        assert done.code == 0, done.err

    return run


def events_in(state: Path) -> list[dict[str, Any]]:
    """What the service wrote."""
    return [json.loads(line) for line in (state / "jsonl.jsonl").read_text().splitlines()]


def test_a_doubtful_face_gets_a_name_and_is_erased_again(
    cli: Command, service: Callable[[], None], hopper: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    assert cli("review", "list").out == "no face waits for review\n"
    assert cli("enroll", "--name", HOPPER, hopper).code == 0
    service()
    (row,) = json.loads(cli("review", "list", "--json").out)
    assert (row["number"], row["source"], row["candidate"]) == (1, "door", HOPPER)
    decided = [e for e in events_in(state) if e["kind"] == "decided"]
    assert [(e["state"], e["name"]) for e in decided] == [("review", None)]

    # Nothing of it can be read by others, and nothing in the clear by anybody.
    for path in (state / "review.db", *(state / "crops").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    jpegs = [p for p in state.rglob("*") if p.is_file() and b"JFIF" in p.read_bytes()]
    assert jpegs == []

    # The same face is not asked about twice.
    service()
    assert len(json.loads(cli("review", "list", "--json").out)) == 1

    picture = tmp_path / "face.png"
    assert cli("review", "show", 1, "--out", picture).code == 0
    assert read_picture(picture).shape == (256, 512, 3)
    assert stat.S_IMODE(picture.stat().st_mode) == 0o600

    assert cli("review", "accept", 1, "--as", COLLINS).code == 0
    service()
    last = [e for e in events_in(state) if e["kind"] == "decided"][-1]
    assert (last["state"], last["name"]) == ("known", COLLINS)
    person = last["person"]
    assert person in last["crop"]

    named = [e for e in events_in(state) if person in json.dumps(e)]
    said = cli("people", "remove", COLLINS, "--yes")
    assert said.code == 0, said.err
    (receipt,) = [
        json.loads(path.read_text()) for path in (state / "receipts").glob("removed-*.json")
    ]
    assert receipt["complete"]
    counts = {key: receipt[key] for key in ("templates", "review_items", "queued_events")}
    assert counts == {"templates": 1, "review_items": 1, "queued_events": len(named)}
    assert (receipt["event_lines"], len(receipt["crops"])) == (len(named), 1)
    kept = [p for p in state.rglob("*") if p.is_file() and "receipts" not in p.parts]
    kept.remove(state / "audit.jsonl")
    assert files_that_hold([person.encode(), COLLINS.encode()], kept) == []
    last = [e for e in events_in(state) if e["kind"] == "decided"][-1]
    assert (last["state"], set(last["name"])) == ("known", {"*"})
