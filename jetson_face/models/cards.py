"""Model cards: what a network is, where its file comes from, and what its input means.

A card is a YAML file of the engines folder. It holds all that a number depends on: the file and its
SHA-256, the licence, input size, colour order, mean and deviation, the alignment template. Nothing
is guessed from a file name.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import json
import shlex
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, model_validator

from jetson_face.core.errors import InputMissingError, MissingDependencyError, ModelError
from jetson_face.core.types import EmbeddingSpace
from jetson_face.models.card_files import (
    DownloadFile,
    ModelFile,
    NpmFile,
    PackageFile,
    Part,
    Places,
    check_sha256,
    is_file,
)
from jetson_face.models.folding import Edition
from jetson_face.util.documents import load_document
from jetson_face.util.optional import pip_install

Precision = Literal["fp32", "fp16", "int8"]
UNSIGNED = "u8s8"
"""The part that is INT8 as processors compute it: `inference.int8_unsigned`."""
Kind = Literal["embedder", "detector", "weights"]
_Deviation = Annotated[float, Field(gt=0)]
_PACKAGE = Path(__file__).resolve().parents[1]


class InputSpec(Part):
    """What the network takes: (x - mean) / std per channel, in the order of `colour`."""

    name: str = "input"
    size: tuple[int, int] = Field(description="height, width; pixels")
    colour: Literal["RGB", "BGR"]
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    mean: tuple[float, float, float]
    std: tuple[_Deviation, _Deviation, _Deviation]


class OutputSpec(Part):
    """What the network gives: vectors of `dim` numbers."""

    name: str = "embedding"
    dim: int = Field(ge=2)


class FalseMatchCurve(Part):
    """How often two different people reach a similarity, measured: (similarity, share) with rising
    similarity. pairs: of pictures of different people. people: whose pictures they were."""

    pairs: int = Field(ge=1)
    people: int = Field(ge=2)
    curve: tuple[tuple[float, float], ...] = Field(min_length=1)


class ModelCard(Part):
    """One network, or one set of files that work together.

    files: by precision (an embedder) or by part (`pnet`, `rnet`, `onet`). kind: `weights` are what
    training begins with. similarity_min: cosine at or above which two single faces are the same
    person. golden: a file of answers that `models verify` compares with.
    """

    name: str = Field(pattern=r"^\w[\w.-]*$")
    kind: Kind
    files: dict[str, ModelFile] = Field(default_factory=dict)
    package: dict[str, PackageFile] = Field(default_factory=dict)
    download: dict[str, DownloadFile] = Field(default_factory=dict)
    npm: dict[str, NpmFile] = Field(default_factory=dict)
    extra: str | None = Field(None, description="pip extra that brings `package`")
    fold: Edition | Literal["batch"] | None = Field(
        None,
        description="how the file becomes a plain FP32 network: `models.folding`; batch: one that "
        "takes one picture takes any number of them: `models.batch`",
    )
    licence: str
    agreement: str | None = Field(
        None, description="what a user agrees to by fetching the files; null: the licence is free"
    )
    source: str
    input: InputSpec | None = None
    output: OutputSpec | None = None
    alignment: str | None = None
    similarity_min: float | None = Field(None, ge=-1, le=1)
    false_match: FalseMatchCurve | None = None
    golden: str | None = None
    impostors: str | None = Field(None, description="file of the impostor curve, beside the card")
    unrecognisable: str | None = Field(
        None, description="file of the centroids of its unrecognisable crops, beside the card"
    )
    notes: str = ""
    _folder: Path = PrivateAttr(default=Path())
    _places: Places | None = PrivateAttr(default=None)
    _called: str = PrivateAttr(default="")

    @model_validator(mode="before")
    @classmethod
    def _one_package_file_is_fp32(cls, value: object) -> object:
        if isinstance(value, dict):
            for key in ("package", "download", "npm"):
                one = value.get(key)
                if isinstance(one, dict) and isinstance(one.get("sha256"), str):
                    value = {**value, key: {"fp32": one}}
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> ModelCard:
        if not self.parts:
            raise ValueError("needs `files`, `package`, `download` or `npm`: where the weights are")
        if self.kind == "embedder":
            wanted = ("input", "output", "alignment", "similarity_min")
            missing = [key for key in wanted if getattr(self, key) is None]
            if missing:
                raise ValueError(f"an embedder's card also needs {', '.join(missing)}")
        return self

    @property
    def folder(self) -> Path:
        """Where the card was read from; its files' paths start here."""
        return self._folder

    @property
    def parts(self) -> tuple[str, ...]:
        """Keys that `resolve` takes: precisions, or the names of the networks."""
        return tuple(dict.fromkeys([*self.files, *self.package, *self.fetched]))

    @property
    def fetched(self) -> Mapping[str, DownloadFile | NpmFile]:
        """The files that a user fetches, by part."""
        return {**self.download, **self.npm}

    @property
    def called(self) -> str:
        """What commands call it: its name, or the path of its card."""
        return self._called or self.name


def card_dir() -> Path:
    """The folder with the cards: inside an installed package, else beside it in a source tree.

    Raises ModelError where there is neither.
    """
    if not (found := _shipped("engines")):
        raise ModelError(
            f"no engines folder in {_PACKAGE} nor beside it: the installation is incomplete, "
            "install jetson-face again"
        )
    return found[0]


def _shipped(name: str) -> list[Path]:
    """The folders of that name that are there: inside an installed package, beside its source."""
    return [one for one in (_PACKAGE / f"_{name}", _PACKAGE.parent / name) if one.is_dir()]


def load_card(
    name: str | Path, places: Places | None = None, *, kind: Kind | None = None
) -> ModelCard:
    """The card of that name in `card_dir()` or among those that `models add` made, or at that path
    when it ends in .yaml.

    places: where fetched files are looked for; None: beside the card only. kind: what the network
    must be; None: anything.
    Raises ModelError on a card that is not valid or of another kind, and where there is none of
    that name, listing those there are; InputMissingError on a path that does not exist.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        known = card_paths(places)
        if str(name) not in known:
            raise ModelError(_no_card(str(name), known, kind))
        path = known[str(name)]
    card = _read_card(path, _stamp(path)).model_copy()
    if kind is not None and card.kind != kind:
        raise ModelError(f"model {card.name!r} is of kind {card.kind}; kind {kind} is wanted here")
    card._folder, card._places, card._called = path.resolve().parent, places, str(name)
    return card


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=32)
def _read_card(path: Path, stamp: tuple[int, int, int] | None) -> ModelCard:
    """One card is asked for by detector, embedder, threshold and canary: read once."""
    return load_document(path, ModelCard, error=ModelError)


def _no_card(name: str, known: Mapping[str, Path], kind: Kind | None) -> str:
    """What to do where no card has this name. known: those that are there."""
    if (training := _training(name)) is not None:
        return (
            f"model {name!r} has no weights here: none are shipped. Train them: {training} "
            f"--export FOLDER, then set embedder.model to FOLDER/{name}.yaml"
        )
    if name.lower().endswith(".onnx"):
        stem = Path(name).stem
        if stem in known:
            return f"{name} is a file; the name of its card is {stem}"
        add = shlex.join(["jetson-face", "models", "add", name])
        return f"{name} is a network without a card: {add} makes one"
    names = sorted(known)
    if kind is not None:
        names = [one for one in names if _kind_of(known[one]) == kind]
    if near := difflib.get_close_matches(name, names, n=2):
        return f"no model card {name!r}; did you mean {' or '.join(near)}?"
    return f"no model card {name!r}; there are: {', '.join(names) or 'none'}"


def _kind_of(path: Path) -> str | None:
    """Of a card; None where it is not valid."""
    try:
        return load_document(path, ModelCard, error=ModelError).kind
    except (ModelError, InputMissingError):
        return None


def card_paths(places: Places | None = None) -> dict[str, Path]:
    """The cards that have a name: those that ship before those of the user's own."""
    own = {} if places is None else {p.stem: p for p in places.fetched.glob("*/*.yaml")}
    own = {name: path for name, path in own.items() if path.parent.name == name}
    return {**own, **{path.stem: path for path in card_dir().glob("*.yaml")}}


def _training(name: str) -> str | None:
    """The command that trains a network which is not shipped; None for any other name."""
    if name.startswith("transfer_"):
        network = name.removeprefix("transfer_")
        return f"jetson-face train --finetune PEOPLE --net {network} --weights FILE"
    for folder in _shipped("configs"):
        if (folder / f"train_{name}.yaml").is_file():
            return f"jetson-face train -c {folder / f'train_{name}.yaml'}"
    return None


def resolve(card: ModelCard, part: str = "fp32") -> Path:
    """The file of one precision or part, found and checked by SHA-256.

    Raises ModelError where the card has no such part or the file is not the one the card means;
    InputMissingError where a file is missing; MissingDependencyError where a package is.
    """
    wanted = digest_of(card, part)
    if part in card.files:
        path = card.folder / card.files[part].path
        if not is_file(path):
            raise InputMissingError(
                f"{path}: file of model {card.name!r} is missing; restore it, or reinstall "
                "jetson-face"
            )
    elif part in card.package:
        path = _package_path(card, card.package[part])
    elif (found := fetched_file(card, part)) is not None:
        path = found
    else:
        raise InputMissingError(_how_to_fetch(card, part))
    check_sha256(path, wanted)
    return path


def fetched_file(card: ModelCard, part: str) -> Path | None:
    """Where a file that a user fetches lies; None where it was not fetched. Not checked."""
    wanted, places = card.fetched[part], card._places
    tried = [card.folder / wanted.path]
    tried += [] if places is None else places.candidates(card.name, wanted.path)
    return next((path for path in tried if is_file(path)), None)


def _how_to_fetch(card: ModelCard, part: str) -> str:
    wanted, places = card.fetched[part], card._places
    home = card.folder if places is None else places.home(card.name)
    mirror = None if places is None else places.mirror
    also = "" if mirror is None else f", also in models.mirror ({mirror})"
    return (
        f"{home / wanted.path}: file of model {card.name!r} is missing{also}; run: jetson-face "
        f"models fetch {shlex.quote(card.called)}, or {wanted.by_hand} and put it there"
    )


def embedding_space(card: ModelCard, part: str = "fp32") -> EmbeddingSpace:
    """Where this network's vectors live.

    The digest covers the FP32 file and the preprocessing, whatever precision runs: a conversion to
    FP16, INT8 or a TensorRT plan is accepted only after the parity gate (same decisions, same
    ranking as FP32), so its vectors are comparable, and changing the accelerator must not
    invalidate a gallery. The file's digest is the card's, which `resolve` enforces. `part` only
    matters for a card without FP32. Raises ModelError where the card is no embedder.
    """
    if card.output is None or card.input is None:
        raise ModelError(f"model {card.name!r} is a {card.kind}: it has no embedding space")
    meaning = {
        "file": digest_of(card, "fp32" if "fp32" in card.parts else part),
        "size": list(card.input.size),
        "colour": card.input.colour,
        "mean": list(card.input.mean),
        "std": list(card.input.std),
        "alignment": card.alignment,
        "output": card.output.name,
    }
    canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return EmbeddingSpace(card.name, digest, card.output.dim)


def digest_of(card: ModelCard, part: str) -> str:
    """The SHA-256 (hex) that a part's file must have. Raises ModelError where there is none."""
    entry = card.files.get(part) or card.package.get(part) or card.fetched.get(part)
    if entry is None:
        raise ModelError(f"model {card.name!r} has no {part!r}; it has {', '.join(card.parts)}")
    return entry.sha256


def _package_path(card: ModelCard, wanted: PackageFile) -> Path:
    """The data file, found by the wheel's own list of files: the package is never imported."""
    fix = pip_install(card.extra) if card.extra else f"pip install {wanted.distribution}"
    try:
        distribution = importlib.metadata.distribution(wanted.distribution)
    except (importlib.metadata.PackageNotFoundError, ValueError):  # the second for no name
        raise MissingDependencyError(
            f"model {card.name!r} takes its weights from the package {wanted.distribution}, which "
            f"is not installed: {fix}"
        ) from None
    path = Path(str(distribution.locate_file(wanted.file)))
    if not is_file(path):
        raise ModelError(
            f"{wanted.distribution} {distribution.version} has no {wanted.file}: another version "
            f"is needed: {fix}"
        )
    return path
