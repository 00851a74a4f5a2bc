"""`jetson-face events schema`: what events are."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with events."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("schema", help="print the JSON Schema of an event")


def run(args: argparse.Namespace) -> int:
    """Prints the schema."""
    from jetson_face.events.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0
