"""`jetson-face use-log`: when it was used, with whom enrolled, what matched, who verified it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jetson_face.cli.common import add_config_arguments, config_of, say
from jetson_face.cli.results import check_results
from jetson_face.core.errors import UsageError
from jetson_face.service.use_report import Format, every_record, written
from jetson_face.util.files import write_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which time, and where it goes."""
    parser.add_argument("file", type=Path, help="NAME.csv or NAME.json; - for standard output")
    parser.add_argument("--since", metavar="TIME", help="as in 2026-11-28 or 2026-11-28T09:30:00Z")
    parser.add_argument("--until", metavar="TIME", help="the same")
    parser.add_argument("--format", choices=("csv", "json"), help="default: by the file's name")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Raises UsageError, OutputError and the errors of history and log."""
    suffixes: dict[str, Format] = {".csv": "csv", ".json": "json"}
    format_: Format | None = args.format or suffixes.get(args.file.suffix)
    if format_ is None:
        raise UsageError(f"{args.file.name}: call it *.csv or *.json, or give --format")
    config, file = config_of(args), None if args.file.name == "-" else args.file
    check_results({"FILE": file}, config_files=[args.config], config=config)
    found = written(every_record(config, args.since, args.until), format_)
    if file is None:
        sys.stdout.writelines(found)
    else:
        write_file(file, "".join(found), mode=0o600)
        say(f"{file}: written")
    return 0
