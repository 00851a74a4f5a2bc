"""`jetson-face doctor`."""

from __future__ import annotations

import argparse
import json

from jetson_face.cli.common import add_config_arguments, config_of
from jetson_face.doctor.checks import examine
from jetson_face.doctor.probe import Finding, Probe

_MARKS = {"ok": "ok     ", "info": "info   ", "missing": "missing", "problem": "PROBLEM"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A configuration, for its folders, and the form of the answer."""
    add_config_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """1 where something that is needed does not work, else 0. Raises ConfigError."""
    config = config_of(args)
    found = examine(Probe(), [config.state_dir, config.engine_cache])
    if args.json:
        print(json.dumps([finding.to_json() for finding in found], indent=2, ensure_ascii=False))
    else:
        for finding in found:
            print(_line(finding))
    return 1 if any(finding.state == "problem" for finding in found) else 0


def _line(finding: Finding) -> str:
    text = f"{_MARKS[finding.state]}  {finding.topic + ':':<13} {finding.text}"
    return text if finding.fix is None else f"{text}\n{'':24}-> {finding.fix}"
