"""`jetson-face config check|show|schema`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jetson_face.cli.common import add_config_arguments, config_of, one_of
from jetson_face.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with the configuration."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="say whether a configuration is valid")
    show = actions.add_parser("show", help="print every key with its value in force, as YAML")
    for sub in (check, show):
        sub.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the same as -c FILE")
        add_config_arguments(sub)
    actions.add_parser("schema", help="print the JSON schema: every key, unit, bound and default")


def run(args: argparse.Namespace) -> int:
    """Raises ConfigError where the configuration is not valid."""
    if args.action == "schema":
        print(json.dumps(Config.model_json_schema(), indent=2))
        return 0
    args.config = one_of(args.config, args.file, "-c")
    config = config_of(args)
    if args.action == "check":
        print(f"{args.config or 'built-in defaults'}: valid")
        return 0
    import yaml

    print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).rstrip())
    return 0
