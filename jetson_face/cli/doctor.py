"""`jetson-face doctor`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from jetson_face.cli.common import add_config_arguments, config_of, say, say_json
from jetson_face.config import AutoDetectorConfig
from jetson_face.doctor.checks import examine, summary
from jetson_face.doctor.files import files
from jetson_face.doctor.needs import needs_of
from jetson_face.doctor.probe import Finding, Probe, jetson_linux
from jetson_face.factory.choice import choose_detector

_MARKS = {"ok": "ok     ", "info": "info   ", "missing": "missing", "problem": "PROBLEM"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A configuration, for what it needs, and the form of the answer."""
    add_config_arguments(parser)
    parser.add_argument("--all", action="store_true", help="also what is fine or not needed")
    parser.add_argument("--json", action="store_true", help="print JSON, all of it")


def run(args: argparse.Namespace) -> int:
    """1 where something that this configuration needs does not work, else 0. Raises ConfigError."""
    probe = Probe()
    config = config_of(args)
    found = examine(probe, needs_of(config, jetson=jetson_linux(probe) is not None))
    found += files(config)
    if isinstance(config.detector, AutoDetectorConfig):
        choice = choose_detector()
        found.append(Finding("detector", "ok", f"auto is {choice.type}: {choice.reason}"))
    shown, more = (found, []) if args.all else summary(found)
    if args.json:
        say_json([asdict(finding) for finding in found])
    else:
        for finding in shown:
            say(*_lines(finding))
        if more:
            say(f"{'; '.join(more)} (--all says all)")
    return 1 if any(finding.state == "problem" for finding in found) else 0


def _lines(finding: Finding) -> list[str]:
    text = f"{_MARKS[finding.state]}  {finding.topic + ':':<13} {finding.text}"
    return [text] if finding.fix is None else [text, f"{'':24}-> {finding.fix}"]
