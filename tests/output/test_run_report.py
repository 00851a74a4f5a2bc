"""The frame-rate / sampling-rate report: exact numbers, exact text, JSON that reads back."""

from __future__ import annotations

import json

from jetson_face.core.types import Report, Sighting, Spared
from jetson_face.output.meters import RunMeter, SourceFacts
from jetson_face.output.run_report import RunFacts, RunReport, log_line
from jetson_face.util.metrics import Metrics

MS = 1_000_000
FACE = Sighting(1, (0.0, 0.0, 9.0, 9.0), "unknown", None, None, 1)


def made(*, frames: int = 11, live: bool = True) -> RunReport:
    """Frames every 50 ms, decided 20 ms later, searched every fifth, one face each."""
    meter = RunMeter(Metrics(lambda: 0), started_wall=1_763_000_000.0)
    source = meter.source("door")
    meter.begin(0)
    for n in range(frames):
        at = n * 50 * MS
        source.captured(at)
        searched = n % 5 == 0
        report = Report(
            "door", n, at, 0.0, (640, 480), (FACE,), {}, searched, embedded=2 if searched else 0
        )
        source.decided(report, at + 20 * MS, is_live=live)
        meter.stage("detect", 8.0)
        meter.work("recognise", 10 * MS)
        meter.reach(at + 20 * MS)
    source.captured(frames * 50 * MS)
    source.drop_total("newer", 1)
    meter.sink("events").add(frames)
    facts = SourceFacts(
        "rtsp://***@cam", live, 0, 0, 20.0, "running", {"frozen": 1}, "same picture"
    )
    run_facts = RunFacts(sampling=5, search_max_side=640, method="mtcnn")
    return meter.report(run_facts, {"door": facts}, {"events": 2})


def test_rates_are_kept_apart_and_count_intervals() -> None:
    (door,) = made().sources
    assert door.capture_fps == 20.0
    assert door.decision_fps == 20.0
    assert door.detection_fps == 20.0 * 3 / 11
    assert door.recognition_fps == 20.0 * 6 / 11
    assert (door.captured, door.processed, door.dropped) == (12, 11, {"newer": 1})
    assert door.age_p50_ms == 20.0


def test_efficiency_is_the_busiest_threads_share_of_the_time() -> None:
    report = made(live=False)
    assert report.busiest == "recognise"
    assert report.efficiency == 110 / 520
    assert made(live=True).efficiency is None


def test_text_is_exact() -> None:
    assert made().to_text() == (
        """\
started        2025-11-13T02:13:20+00:00
elapsed        0.52 s
sampling rate  1 frame in 5 is searched, at 640 px
method         mtcnn

source    image  capture/s  detection/s  recognition/s  decision/s       age ms
door    640x480       20.0          5.5           10.9        20.0  20 (p95 20)

source  captured  processed  dropped  searched  faces  embedded  decisions
door          12         11  newer:1         3     11         6          0

stage   runs  mean ms  p50 ms  p95 ms  p99 ms
detect    11     8.00    8.00    8.00    8.00

door: survived frozen:1; last: same picture
events: dropped 2 reports
"""
    )


def test_searches_that_were_left_out_are_counted_and_said() -> None:
    meter = RunMeter(Metrics(lambda: 0), started_wall=0.0)
    source = meter.source("door")
    meter.begin(0)
    kinds: list[Spared] = ["", "part", "part", "all", "all", "all"]
    for n, spared in enumerate(kinds):
        source.captured(n * 50 * MS)
        report = Report("door", n, 0, 0.0, (640, 480), (), {}, not spared, spared=spared)
        source.decided(report, n * 50 * MS, is_live=True)
        meter.reach(n * 50 * MS)
    facts = SourceFacts("x", True, 0, 0, None, "running", {}, None)
    report_of_all = meter.report(RunFacts(), {"door": facts}, {})
    (door,) = report_of_all.sources
    assert (door.searched, door.searched_partly, door.searches_skipped) == (1, 2, 3)
    assert "  1,partly:2,skipped:3  " in report_of_all.to_text()
    assert " partly=8.0/s skipped=12.0/s" in log_line(None, report_of_all)
    assert "skipped" not in log_line(None, made())


def test_json_reads_back_with_a_schema() -> None:
    data = json.loads(json.dumps(made().to_json()))
    assert data["schema"] == "jetson-face/run-report/1"
    assert data["sources"][0]["dropped"] == {"newer": 1}
    assert data["facts"]["sampling"] == 5
    assert data["stages"][0] == {
        "name": "detect", "count": 11, "mean_ms": 8.0, "p50_ms": 8.0, "p95_ms": 8.0, "p99_ms": 8.0,
    }  # fmt: skip


def test_a_log_line_covers_the_time_since_the_last_one() -> None:
    before, now = made(frames=11), made(frames=31)
    line = log_line(before, now)
    assert "sampling=5 source=door state=running size=640x480 capture=20.0/s" in line
    assert "decision=20.0/s frames=31/32 dropped=newer:1" in line
    assert "age_ms=20/20 faults=frozen:1" in line


def test_a_run_of_nothing_is_reported_too() -> None:
    meter = RunMeter(Metrics(lambda: 0), started_wall=0.0)
    facts = SourceFacts("x", True, 0, 0, None, "away", {}, "nobody there")
    report = meter.report(RunFacts(), {"door": facts}, {})
    assert report.captured == report.processed == 0
    assert "nobody there" in report.to_text()
    assert "capture=0.0/s" in log_line(None, report)
