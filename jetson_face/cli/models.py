"""`jetson-face models list|fetch|verify|add|remove`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from jetson_face.cli.common import (
    add_config_arguments,
    config_of,
    filled,
    number,
    say,
    say_json,
    say_text,
    show_line,
)
from jetson_face.config import Config
from jetson_face.core.errors import JetsonFaceError, ModelError, UsageError
from jetson_face.models.cards import card_paths, load_card


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with which models."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the models, and whether their files are here")
    fetch = actions.add_parser("fetch", help="fetch the files of models")
    fetch.add_argument("--accept-licence", action="store_true", help="where a licence asks for it")
    fetch.add_argument(
        "--deadline", type=number, default=1800, metavar="S", help="for each file; default 1800"
    )
    fetch.add_argument(
        "--stall", type=number, default=20, metavar="S", help="give up without bytes; default 20"
    )
    verify = actions.add_parser("verify", help="check digests, and answers that are known")
    verify.add_argument("models", nargs="*", metavar="MODEL", help="default: all that are here")
    adding = actions.add_parser("add", help="make a card for an ONNX file, and measure it")
    _add_adding(adding)
    remove = actions.add_parser("remove", help="remove what was fetched or added")
    for sub in (fetch, remove):
        sub.add_argument("models", nargs="+", metavar="MODEL", help="a card's name, or its path")
    for sub in (listing, verify):
        sub.add_argument("--json", action="store_true", help="print JSON")
    add_config_arguments(listing, fetch, verify, adding, remove)


def _add_adding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", type=Path, metavar="FILE", help="an ONNX file that embeds faces")
    parser.add_argument("--name", metavar="NAME", help="default: the file's name")
    parser.add_argument("--colour", choices=("RGB", "BGR"), help="the order that it wants")
    for what in ("mean", "std"):
        parser.add_argument(
            f"--{what}",
            type=number,
            nargs="+",
            metavar="X",
            help="of (pixel - mean) / std, pixels 0 to 255: one number, or one for each channel",
        )
    parser.add_argument("--alignment", metavar="NAME", help="where eyes, nose and mouth lie")
    parser.add_argument("--licence", metavar="TEXT", help="of the weights")
    parser.add_argument("--source", metavar="TEXT", help="where it is from, what it was trained on")
    parser.add_argument("--output", metavar="NAME", help="its output, where it has several")
    parser.add_argument(
        "--similarity-min", type=number, metavar="X", help="cosine of one person; or --pairs"
    )
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="FILE",
        help="measure similarity_min: LFW's pairs.txt, or a table with the header fold, a, b, same",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="the pictures of --pairs")


def run(args: argparse.Namespace) -> int:
    """Raises UsageError, ConfigError, ModelError, FetchError, OutputError and their kin."""
    config = config_of(args)
    actions = {
        "list": _list,
        "fetch": _fetch,
        "verify": _verify,
        "add": _add,
        "remove": _remove,
    }
    return actions[args.action](args, config)


def _list(args: argparse.Namespace, config: Config) -> int:
    rows = [_row(path, config) for _, path in sorted(card_paths(config.model_places).items())]
    if args.json:
        say_json(rows)
        return 0
    for row in rows:
        say("{name:<24} {kind:<9} {state:<12} {licence}".format(**row))
    say(f"fetched files lie in {config.model_places.fetched}")
    return 0


def _row(path: Path, config: Config) -> dict[str, Any]:
    """What `list` says of a card; one that is not valid says so."""
    from jetson_face.models.cards import resolve
    from jetson_face.models.fetched import comes_from

    try:
        card = load_card(path, config.model_places)
    except JetsonFaceError as error:
        return {"name": path.stem, "kind": "?", "state": "damaged", "licence": str(error)}
    state, why = "here", ""
    for part in card.parts:
        try:
            resolve(card, part)
        except FileNotFoundError as error:
            state, why = "not fetched" if card.fetched else "not here", str(error)
        except ImportError as error:
            state, why = "not here", str(error)
        except ModelError as error:
            state, why = "damaged", str(error)
            break
    licence = card.licence + (f"; asks you to agree: {card.agreement}" if card.agreement else "")
    return {
        "name": card.name,
        "kind": card.kind,
        "state": state,
        "why": why,
        "licence": licence,
        "from": comes_from(card),
        "bytes": sum(wanted.size or 0 for wanted in card.fetched.values()) or None,
    }


def _fetch(args: argparse.Namespace, config: Config) -> int:
    from jetson_face.models.fetched import fetch
    from jetson_face.models.fetching import FetchLimits

    if args.deadline <= 0 or args.stall <= 0:
        raise UsageError("--deadline and --stall are seconds, more than 0")
    limits = FetchLimits(deadline_s=args.deadline, stall_s=min(args.stall, args.deadline))
    cards = [load_card(name, config.model_places) for name in args.models]
    for card in cards:
        say(f"{card.name}: {card.licence}")
        with show_line() as tell:
            done = fetch(
                card,
                config.model_places,
                agreed=args.accept_licence,
                limits=limits,
                told=lambda name, have, size: tell(f"{name}: {_amount(have, size)}"),
            )
        for one in done:
            how = {"was there": "was there already", "mirror": "from models.mirror"}
            say(f"{card.name}: {one.path}, {how.get(one.how, 'fetched')}, SHA-256 as its card says")
    return 0


def _amount(have: int, size: int | None) -> str:
    return f"{have / 1e6:.1f} MB" + ("" if size is None else f" of {size / 1e6:.1f}")


def _verify(args: argparse.Namespace, config: Config) -> int:
    from jetson_face.factory.model_check import check_model

    places = config.model_places
    names = args.models or sorted(card_paths(places))
    found = [one for name in names for one in check_model(config, load_card(name, places))]
    # What was not asked for by its name need not be here.
    wrong = [one for one in found if one.state == "wrong" or (one.state != "good" and args.models)]
    if args.json:
        say_json(
            [
                {"model": one.model, "what": one.what, "state": one.state, "said": one.said}
                for one in found
            ]
        )
    else:
        for one in found:
            say(f"{one.model:<24} {one.what:<14} {one.state:<8} {one.said}")
    if wrong:
        first = f"{wrong[0].model} {wrong[0].what}: {wrong[0].said}"
        raise ModelError(f"{len(wrong)} of {len(found)} checks failed: {first}")
    return 0


def _add(args: argparse.Namespace, config: Config) -> int:
    from jetson_face.evaluation.adding import Told, add

    added = add(args.network, filled(Told, args), config)
    say_text(added.report)
    say(f"wrote {added.card}", f"to use it: --set embedder.model={added.name}")
    return 0


def _remove(args: argparse.Namespace, config: Config) -> int:
    from jetson_face.models.fetched import remove

    for name in args.models:
        done = remove(_own_name(name, config), config.model_places)
        for path in done.gone:
            say(f"{name}: removed {path}")
        for path in done.kept:
            say(f"{name}: kept {path}: it was changed since")
    return 0


def _own_name(name: str, config: Config) -> str:
    """A card's name, where its path was given."""
    if Path(name).suffix not in (".yaml", ".yml"):
        return name
    return load_card(name, config.model_places).name
