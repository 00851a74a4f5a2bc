"""`jetson-face status`: how the running service is."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path
from typing import Any

from jetson_face.cli.common import add_config_arguments, config_of, counted, say, say_json
from jetson_face.config import default_state_dir
from jetson_face.core.errors import ConfigError, SourceError
from jetson_face.service.http import Page
from jetson_face.service.status_server import ask
from jetson_face.util.yamltext import read_yaml

INSTALLED = Path("/run/jetson-face/status.sock")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which service, and in which form."""
    parser.add_argument("--json", action="store_true", help="print everything, as JSON")
    parser.add_argument("--socket", type=Path, metavar="PATH", help="of the service to ask")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """0 when the service is ready and alive, 1 when not. Raises InputMissingError, SourceError."""
    page = ask(socket_of(args), "/status")
    document = document_of(page)
    if args.json:
        say_json(document)
    else:
        say(*describe(document))
    return 0 if document.get("ready") and document.get("alive") else 1


def socket_of(args: argparse.Namespace) -> Path:
    """`--socket`, or the configured one, or the installed service's where there is no other."""
    if args.socket is not None:
        return Path(args.socket)
    try:
        configured = config_of(args).status_socket
    except ConfigError:
        # The service runs on with its old configuration; it must be asked all the same.
        configured = _socket_by_hand(args.config)
    return INSTALLED if not _is_there(configured) and _is_there(INSTALLED) else configured


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        # Asking it then says what to do.
        return True


def _socket_by_hand(path: Path | None) -> Path:
    """The socket that a configuration names which is not valid as a whole."""
    found: Any = None
    if path is not None:
        with contextlib.suppress(OSError, ValueError):
            _, found = read_yaml(path.read_text("utf-8"))
    document = found if isinstance(found, dict) else {}
    service = document.get("service")
    given = service.get("status_socket") if isinstance(service, dict) else None
    if isinstance(given, str):
        return Path(given)
    if folder := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(folder.split(":")[0]) / "status.sock"
    state_dir = document.get("state_dir")
    return (Path(state_dir) if isinstance(state_dir, str) else default_state_dir()) / "status.sock"


def document_of(page: Page) -> dict[str, Any]:
    """The page as an object. Raises SourceError when it is none."""
    try:
        document = json.loads(page.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        text = page.body.decode("utf-8", "replace").strip()
        raise SourceError(f"the service answered {page.status}: {text[:200]}")
    return document


def describe(document: dict[str, Any]) -> list[str]:
    """The status in lines, worst first."""
    lines = [
        f"{'ready' if document.get('ready') else 'not ready'}, "
        f"{'alive' if document.get('alive') else 'STUCK'}: {document.get('status', '')}",
        f"up {_duration(document.get('uptime_s', 0))}, version {document.get('version')}, "
        f"pid {document.get('pid')}",
    ]
    reload = document.get("reload", {})
    if reload.get("error"):
        lines.append(f"last reload refused: {reload['error']}")
    for name, camera in document.get("cameras", {}).items():
        faults = ", ".join(f"{k} {v}" for k, v in camera.get("faults", {}).items() if v)
        note = f"; {faults}" if faults else ""
        error = f"; last error: {camera['last_error']}" if camera.get("last_error") else ""
        lines.append(f"camera {name}: {camera.get('state')}{note}{error}")
    lines += _describe_gallery(document.get("gallery", {}))
    rates = document.get("rates", {})
    if rates:
        lines.append("rates /s: " + ", ".join(f"{k} {v:.1f}" for k, v in rates.items()))
    lines += _describe_outbox(document.get("outbox", {}), document.get("sinks", {}))
    lines += _describe_review(document.get("review", {}))
    for decision in document.get("last_decisions", [])[-5:]:
        lines.append(
            f"{decision.get('time')}  {decision.get('source')}: "
            f"{decision.get('name') or decision.get('state')}"
        )
    for error in document.get("last_errors", [])[-5:]:
        lines.append(f"{error.get('time')}  {error.get('level')}: {error.get('message')}")
    return lines


def _describe_gallery(gallery: dict[str, Any]) -> list[str]:
    threshold = gallery.get("threshold")
    if not threshold:
        return []
    rate = threshold["expected_fpir"]
    told = "not known" if rate is None else f"{100 * rate:.2g} %"
    return [
        f"gallery: {gallery.get('people')} people, expected FPIR {told} (similarity "
        f"{threshold['similarity_min']:.3f}, {threshold['source']})"
    ]


def _describe_outbox(outbox: dict[str, Any], sinks: dict[str, Any]) -> list[str]:
    if not outbox:
        return []
    lines = [
        f"outbox: {outbox.get('rows')} events, {outbox.get('used_bytes', 0) / 2**20:.1f} MiB, "
        f"{outbox.get('memory')} in memory"
        + (f", DISK: {outbox['error']}" if outbox.get("error") else "")
    ]
    for name, sink in sinks.items():
        waiting = outbox.get("lag", {}).get(name, 0)
        aside = outbox.get("set_aside", {}).get(name, 0)
        note = f", {aside} refused and set aside: jetson-face events refused" if aside else ""
        if sink.get("error"):
            since = f" since {sink['down_since']}" if sink.get("down_since") else ""
            note += f", down{since}: {sink['error']}"
        lines.append(f"sink {name}: {sink.get('sent')} sent, {waiting} waiting{note}")
    return lines


def _describe_review(review: dict[str, Any]) -> list[str]:
    if review.get("error"):
        return [f"review: doubtful faces are not kept: {review['error']}"]
    if not review.get("waiting"):
        return []
    faces = counted(review["waiting"], "doubtful face waits", "doubtful faces wait")
    return [f"review: {faces}: jetson-face review list"]


def _duration(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    return (f"{days} d " if days else "") + f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
