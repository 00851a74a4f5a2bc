"""The Grafana dashboard shows metrics that a service has, under their names and labels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jetson_face.service import pages
from tests.config.keys import Site
from tests.config.test_keys_service import CAMERA, daemon, doubtful, free_port

__all__ = ["doubtful"]
DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"
_SELECTOR = re.compile(r"(jetson_face_[a-z_]+)(?:\{([^}]*)\})?")


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return found


@pytest.fixture
def metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """What a service on a Jetson shows: the labels of each sample's name."""
    monkeypatch.setattr(pages, "temperatures_c", lambda: {"gpu-thermal": 51.0})
    monkeypatch.setattr(pages, "power_w", lambda: {"VDD_IN": 7.5})
    gone = {
        "service.sinks[webhook].type": "webhook",
        "service.sinks[webhook].url": f"http://127.0.0.1:{free_port()}/",
    }
    found: dict[str, set[str]] = {}
    hurried = {"sources.uri": "test://?live=1&frames=600&fps=600&width=320&height=240"}
    for number, more in enumerate(({}, hurried)):  # the second one drops frames
        site = Site(tmp_path / str(number), None)
        site.folder.mkdir()
        with daemon(site({**CAMERA, **gone, **more})) as made:
            made.run()
            for family in text_string_to_metric_families(made._metrics_text()):
                for sample in family.samples:
                    found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_metric_that_is_shown_exists_with_the_labels_that_are_used(
    metrics: dict[str, set[str]],
) -> None:
    shown: set[str] = set()
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            names = []
            for name, selector in _SELECTOR.findall(target["expr"]):
                assert name in metrics, f"{panel['title']}: there is no {name}"
                names.append(name)
                used |= set(re.findall(r"(\w+)=", selector.replace("=~", "=").replace("!=", "=")))
            assert names, panel["title"]
            # Prometheus adds `instance` and `job` to what it reads.
            known = {"instance", "job"}.union(*(metrics[name] for name in names))
            assert used <= known, f"{panel['title']}: no label {used - known}"
            shown.update(names)
    assert len(shown) > 15


def test_the_dashboard_has_what_grafana_asks_of_one() -> None:
    board = dashboard()
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= board.keys()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {variable["name"] for variable in board["templating"]["list"]}
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for target in panel["targets"]:
            text = target["expr"] + target["datasource"]["uid"]
            assert set(re.findall(r"\$\{?(\w+)", text)) <= variables
