"""`jetson-face train`: the shipped embedding (`train_recipe`), another network on a
small set, a fine-tuned network from a folder of people, or pair verification."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jetson_face.cli import compare, train_recipe, train_style
from jetson_face.cli.common import number, say, show_progress, whole
from jetson_face.cli.results import beside, check_results
from jetson_face.cli.train_export import card_files, check_export
from jetson_face.config import load_config
from jetson_face.core.errors import UsageError
from jetson_face.training.machine import keep_freed_memory, need_torch
from jetson_face.util.documents import load_document, read_text
from jetson_face.util.files import staged, write_file
from jetson_face.util.yamltext import YamlTextError, read_yaml

if TYPE_CHECKING:
    from jetson_face.training.compare import CompareConfig
    from jetson_face.training.small import SmallSet
    from jetson_face.training.transfer_export import TransferOutcome
    from jetson_face.training.transfer_settings import TransferConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A recipe, or a folder, or a list of pairs."""
    parser.add_argument(
        "what", nargs="?", choices=("style",), help="style: render faces in a camera's look"
    )
    train_recipe.add_arguments(parser)
    train_style.add_arguments(parser)
    tune = parser.add_argument_group("fine-tuning a network on people of your own")
    tune.add_argument("--finetune", type=Path, metavar="PEOPLE", help="a folder of photos a person")
    tune.add_argument("--net", metavar="NAME", help="alexnet, vgg16, ...; all: compare them")
    tune.add_argument(
        "--layers",
        default="all",
        metavar="WHICH",
        help="trained: all, block, last, or N from the end",
    )
    tune.add_argument("--loss", choices=("softmax", "triplet"), default="softmax")
    tune.add_argument("--seconds", type=number, default=300, metavar="S", help="training time")
    tune.add_argument(
        "--weights",
        metavar="FILE|CARD|DIR",
        help="to begin with: .npz of an earlier run, .pth as torchvision's, or "
        "squeezenet_imagenet; with --net all the folder of an earlier comparison",
    )
    tune.add_argument(
        "--from-scratch", action="store_true", help="begin with random weights all the same"
    )
    compare.add_arguments(parser)
    pairs = parser.add_argument_group("pair verification (matching.method: siamese)")
    pairs.add_argument("--pairs", type=Path, metavar="FILE", help="list of pairs to fit to")
    pairs.add_argument("--images", type=Path, metavar="DIR", help="their pictures")
    pairs.add_argument("--limit-pairs", type=whole(1), default=3000, metavar="N")


def run(args: argparse.Namespace) -> int:
    """Raises the errors of recipes, pictures and models; see `train_recipe.run`."""
    _check_results(args)
    if args.what == "style":
        return train_style.run(args)
    if args.pairs is not None:
        return _pairs(args)
    if args.finetune is not None:
        return _finetune(args)
    if args.config is None:
        raise UsageError("nothing to train: give -c RECIPE, --finetune PEOPLE or --pairs FILE")
    if _has(args.config, "architecture"):
        return _small(args)
    if _has(args.config, "networks"):
        return _compare(args)
    return train_recipe.run(args)


def _check_results(args: argparse.Namespace) -> None:
    packed = None if args.vectors is None else beside(args.out, ".npy")
    results = {
        "--markdown": args.markdown,
        "--json": args.json,
        "--plots": None if args.plots is None else args.plots / compare.PLOT,
        "--export": None if args.pairs is None else args.export,
        "--out": args.out,
        "the vectors of --out": packed,
        "--sheet": args.sheet,
    }
    given = [args.pairs, args.images, args.finetune, args.notes, args.content, args.vectors]
    weights = None if args.weights is None else Path(args.weights)
    sources = [args.style]
    check_results(results, sources=sources, inputs=[*given, weights], config_files=[args.config])


def _has(path: Path, key: str) -> bool:
    try:
        _, content = read_yaml(read_text(path))
    except YamlTextError:
        return False  # the reader of recipes says what is wrong with it, and where
    return isinstance(content, dict) and key in content


def _small(args: argparse.Namespace) -> int:
    """A recipe with `architecture`, on a zip of aligned crops."""
    need_torch()
    from jetson_face.training.small import from_zip
    from jetson_face.training.transfer_settings import TransferConfig

    config = load_document(args.config, TransferConfig, overrides=args.overrides)
    check_export(args.export, card_files(config), args.config, [args.weights])
    keep_freed_memory()
    return _train(config, from_zip(config), args)


def _compare(args: argparse.Namespace) -> int:
    """A recipe with `networks`, on a zip of aligned crops, or on photos of `--finetune`."""
    need_torch()
    from jetson_face.training.compare import CompareConfig, apart
    from jetson_face.training.small import from_zip

    config = load_document(args.config, CompareConfig, overrides=args.overrides)
    first = config.first(config.networks[0])
    if first is None:
        raise UsageError(f"{args.config}: give `pretrain`, or use --finetune PEOPLE --net all")
    _check_networks(config, args)
    keep_freed_memory()
    general, people = apart(from_zip(first), config.new_people, config.new_photos)
    return compare.run(config, general, people, args)


def _check_networks(config: CompareConfig, args: argparse.Namespace) -> None:
    left = [file for name in config.networks for file in card_files(config.second(name, "all"))]
    check_export(args.export, left, args.config, config.starts.values())


def _finetune(args: argparse.Namespace) -> int:
    """Photos as they are: found, aligned, then trained on."""
    if args.net is None:
        raise UsageError("--finetune needs --net, as in --net resnet10")
    need_torch()
    from jetson_face.training.networks import TRUNKS
    from jetson_face.training.transfer_settings import TransferConfig

    if args.seconds <= 0:
        raise UsageError(f"--seconds must be above 0, got {args.seconds}")
    if args.net != "all" and args.net not in TRUNKS:
        raise UsageError(f"no network {args.net!r}; there are {', '.join(TRUNKS)}")
    if args.weights is None and not args.from_scratch:
        raise UsageError(
            "--finetune from random weights learns next to nothing from a handful of photos: give "
            "--weights FILE, of a network that knows faces (jetson-face train -c "
            "configs/train_networks.yaml --export DIR leaves DIR/transfer_NAME.weights.npz) or as "
            "torchvision saves it; or --from-scratch"
        )
    if args.net == "all":
        from jetson_face.training.compare import NETWORKS, CompareConfig, begun_in

        settings = {"loss": args.loss, "seconds": args.seconds}
        starts = {} if args.weights is None else begun_in(Path(args.weights))
        all_nets = CompareConfig(
            networks=tuple(starts) or NETWORKS,
            starts=starts,
            finetune=settings,
            layers=(args.layers,),
        )
        _check_networks(all_nets, args)
        return compare.run(all_nets, None, _found_faces(args), args)
    config = TransferConfig(
        architecture=args.net, loss=args.loss, layers=args.layers, seconds=args.seconds
    )
    check_export(args.export, card_files(config), args.config, [args.weights])
    return _train(config, _found_faces(args), args)


def _found_faces(args: argparse.Namespace) -> SmallSet:
    from jetson_face.training.own_photos import found_faces

    config = load_config(args.config, args.overrides)
    with show_progress("finding faces") as progress:
        return found_faces(config, args.finetune, progress)


def _train(config: TransferConfig, given: SmallSet, args: argparse.Namespace) -> int:
    from jetson_face.training.starting import read_start
    from jetson_face.training.transfer import train_network
    from jetson_face.training.transfer_export import save

    start = None if args.weights is None else read_start(args.weights)
    if start is not None:
        config = config.model_copy(update={"layout": start.layout})
    net, outcome = train_network(config, given, start, resume=args.resume)
    _print(outcome)
    if args.export is not None:
        with staged(args.export) as folder:
            card = save(net, outcome, config, folder)
        say(f"wrote {args.export / card.name}")
    return 0


def _print(outcome: TransferOutcome) -> None:
    told = outcome.accuracy_softmax
    say(f"{outcome.network}: {outcome.trained_on}")
    say(
        f"  parameters {outcome.parameters} ({outcome.trained_parameters} trained), "
        f"{outcome.steps} steps in {outcome.seconds} s, "
        f"loss {outcome.loss_first} -> {outcome.loss_last}"
    )
    say(
        f"  held-out photos, nearest photo right: {100 * outcome.accuracy_before:.1f} % before, "
        f"{100 * outcome.accuracy_nearest:.1f} % after"
        + ("" if told is None else f"; softmax right: {100 * told:.1f} %")
    )


def _pairs(args: argparse.Namespace) -> int:
    if args.images is None or args.export is None:
        raise UsageError("--pairs needs --images DIR and --export FILE.json")
    from jetson_face.training.pair_fit import fit_to_list

    made, what, right = fit_to_list(
        args.pairs, args.images, args.limit_pairs, args.config, args.overrides
    )
    write_file(args.export, made.as_json() + "\n")
    say(f"fitted to {what}: {100 * right:.1f} % of them right; wrote {args.export}")
    return 0
