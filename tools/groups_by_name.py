"""A table of people's sexes for `jetson-face eval groups`, guessed by their given names.

    pip install gender-guesser
    python tools/groups_by_name.py --images lfw/images > groups.csv

For sets whose folders are names of people (LFW) and which say nothing else about them. A guess: a
given name that both have says nothing (left empty), and a few are wrong; names from some parts of
the world are hardly known. The list of names: Jörg Michael, gender.c, 2008.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="with one folder a person")
    args = parser.parse_args()
    try:
        from gender_guesser.detector import Detector
    except ImportError:
        sys.exit("groups_by_name: needs the list of names: pip install gender-guesser")
    if not args.images.is_dir():
        sys.exit(f"groups_by_name: {args.images}: no such folder")
    guess = Detector(case_sensitive=False).get_gender
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("person", "sex"))
    for folder in sorted(path for path in args.images.iterdir() if path.is_dir()):
        told = guess(folder.name.split("_")[0])
        table.writerow((folder.name, told if told in ("female", "male") else ""))


if __name__ == "__main__":
    main()
