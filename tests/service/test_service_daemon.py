"""The service as a real process: ready, lock, reload, signals, last report; with a small network.

What these need of systemd they play themselves: a datagram socket that takes the notifications.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jetson_face.core.errors import JetsonFaceError
from jetson_face.service.status_server import ask
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)
CONFIG = """
state_dir: {state}
sources: [{{uri: "test://?live=1&frames=1000000&fps={fps}&width=160&height=120", name: door}}]
detector: {{type: mtcnn, min_face_px: 40, max_side_px: 160}}
sampling: {{interval: {every}}}
service: {{stall_s: 20, sinks: [{{type: jsonl}}]}}
{more}
"""


class Service:
    """`jetson-face service run` with a manager's socket that listens."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state"
        self.config = folder / "config.yaml"
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.manager.settimeout(60)
        self.log = folder / "log"
        self.configure()
        self.start()

    def configure(self, *, fps: int = 15, every: int = 5, more: str = "") -> None:
        self.config.write_text(CONFIG.format(state=self.state, fps=fps, every=every, more=more))

    def start(self) -> None:
        environ = {
            **os.environ,
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": "4000000",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jetson_face", "service", "run", "-c", str(self.config)],
                env=environ,
                stderr=log,
            )

    def heard(self, word: str) -> None:
        """Wait until the manager was told so."""
        while not any(line == word for line in self.manager.recv(4096).decode().splitlines()):
            pass

    def forget_what_was_said(self) -> None:
        """Empty the manager's socket, which holds only ten messages."""
        self.manager.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self.manager.recv(4096):
                pass
        self.manager.settimeout(60)

    def status(self) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads(ask(self.state / "status.sock", "/status").body)
        except (JetsonFaceError, ValueError):
            return {}
        return document

    def decided(self) -> int:
        return sum(camera["processed"] for camera in self.status().get("cameras", {}).values())

    def command(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "jetson_face", *words, "-c", str(self.config)],
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.manager.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("service"))
    yield service
    sys.stdout.write(service.log.read_text())
    service.close()


def test_it_tells_the_manager_when_it_is_ready_and_feeds_the_watchdog(service: Service) -> None:
    service.heard("READY=1")
    service.heard("WATCHDOG=1")
    status = service.status()
    assert (status["ready"], status["alive"]) == (True, True)
    assert status["cameras"]["door"]["state"] == "running"
    until(lambda: service.status()["canary"]["state"] == "ok")  # asked after the first frame
    assert service.command("status")[0] == 0


def test_pages_for_machines(service: Service) -> None:
    pages = {p: ask(service.state / "status.sock", p) for p in ("/healthz", "/readyz", "/metrics")}
    assert {page.status for page in pages.values()} == {200}
    values = {
        (sample.name.removeprefix("jetson_face_"), *sample.labels.values()): sample.value
        for family in families(service).values()
        for sample in family.samples
    }
    assert values["frames_processed_total", "door"] > 0
    wanted = {
        ("camera_state", "door", "running"): 1,
        ("camera_state", "door", "away"): 0,
        ("sink_queue", "jsonl"): 0,
        ("outbox_degraded",): 0,
        ("review_waiting",): 0,
        ("review_up",): 1,
        ("review_dropped_total", "given_up"): 0,
        ("ready",): 1,
        ("canary_drifted",): 0,
    }
    assert {key: values[key] for key in wanted} == wanted
    assert values["canary_cosine",] == pytest.approx(1)


def families(service: Service) -> dict[str, Any]:
    """The metrics page as Prometheus' own parser reads it."""
    text = ask(service.state / "status.sock", "/metrics").body.decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def edges(family: Any) -> dict[tuple[tuple[str, str], ...], list[str]]:
    """The bucket edges of each series."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for sample in family.samples:
        if sample.name.endswith("_bucket"):
            labels = {k: v for k, v in sample.labels.items() if k != "le"}
            found.setdefault(tuple(labels.items()), []).append(sample.labels["le"])
    return found


def test_the_metrics_page_is_read_by_prometheus_with_fixed_buckets_in_seconds(
    service: Service,
) -> None:
    before = families(service)
    seen = service.decided()
    until(lambda: service.decided() > seen + 20)
    after = families(service)
    for name, family in after.items():
        assert len(family.documentation.split()) >= 2, f"{name} has no HELP"
        assert family.type in ("counter", "gauge", "histogram"), name
        assert not name.endswith("_ms")
    histograms = {name for name, family in after.items() if family.type == "histogram"}
    assert histograms == {"jetson_face_stage_seconds", "jetson_face_frame_age_seconds"}
    (every,) = {tuple(e) for name in histograms for e in edges(after[name]).values()}
    assert every[-1] == "+Inf"
    for name in histograms:
        for series, found in edges(before[name]).items():
            assert tuple(found) == every == tuple(edges(after[name])[series])
    status = service.status()
    samples = {
        (sample.name, sample.labels.get("stage")): sample.value
        for sample in after["jetson_face_stage_seconds"].samples
        if sample.name.endswith(("_sum", "_count"))
    }
    mean_s = (
        samples["jetson_face_stage_seconds_sum", "process"]
        / samples["jetson_face_stage_seconds_count", "process"]
    )
    assert 0 < mean_s < 10 * status["stages_p95_ms"]["process"] / 1000


def test_a_second_service_on_the_same_state_is_refused(service: Service) -> None:
    code, said = service.command("service", "run")
    assert code == 17
    assert f"(pid {service.process.pid})" in said


def test_a_valid_change_comes_into_force_without_a_gap(service: Service) -> None:
    service.configure(every=2)
    code, said = service.command("reload")
    assert (code, said.strip().splitlines()[-1]) == (0, "reloaded")
    door = service.status()["cameras"]["door"]
    undecided = door["captured"] - door["processed"] - sum(door["dropped"].values())
    assert 0 <= undecided <= 2


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("samplnig: {every: 1}", "samplnig"),
        ("embedder: {model: no_such_model}", "no_such_model"),
        ("gallery: {path: /proc/nowhere/gallery.db}", "/proc/nowhere"),
        ("log_level: LOUD", "log_level"),
    ],
)
def test_a_change_that_is_not_valid_is_refused_and_the_old_goes_on(
    service: Service, more: str, reason: str
) -> None:
    service.configure(more=more)
    code, said = service.command("reload")
    assert code != 0
    assert reason in said
    status = service.status()
    assert reason in status["reload"]["error"]
    assert any("reload_refused" in error["message"] for error in status["last_errors"])
    seen = service.decided()
    until(lambda: service.decided() > seen)
    assert service.process.poll() is None


def test_what_needs_a_restart_says_so(service: Service) -> None:
    service.configure()
    text = service.config.read_text().replace("stall_s: 20", "stall_s: 20, status_port: 0")
    service.config.write_text(text)
    code, said = service.command("reload")
    assert code != 0
    assert "service.status_port cannot change while running" in said


def test_sighup_reloads_and_changed_sources_start_again_in_the_same_process(
    service: Service,
) -> None:
    request = service.status()["reload"]["request"]
    service.configure(fps=8)
    service.process.send_signal(signal.SIGHUP)
    until(lambda: service.status().get("reload", {}).get("request", 0) > request)
    assert service.status()["reload"]["error"] is None
    until(lambda: "loop_restarted" in service.log.read_text())
    until(lambda: service.decided() > 3)
    assert service.process.poll() is None


def test_sigterm_ends_within_2_s_with_the_last_report(service: Service) -> None:
    seen = service.decided()
    service.forget_what_was_said()
    start = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(20) == 0
    took = time.monotonic() - start
    service.heard("STOPPING=1")
    report = json.loads((service.state / "last_report.json").read_text())
    assert report["sources"][0]["processed"] >= seen
    assert not (service.state / "status.sock").exists()
    # Two seconds are for a machine that is not busy; test_boot.py measures by systemd's clock.
    assert took < 5


def test_killed_it_starts_again_on_what_it_left(service: Service) -> None:
    service.start()
    until(lambda: service.decided() > 0)
    service.process.kill()
    service.process.wait()
    service.start()
    until(lambda: service.decided() > 0)
    assert service.status()["outbox"]["error"] is None
