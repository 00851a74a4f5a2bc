"""Model cards: what a network is, where its file comes from, and what its input means.

A card is a YAML file of the engines folder. It holds all that a number depends on: the file and its
SHA-256, the licence, input size, colour order, mean and deviation, the alignment template. Nothing
is guessed from a file name.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from jetson_face.core.errors import InputMissingError, MissingDependencyError, ModelError
from jetson_face.core.types import EmbeddingSpace
from jetson_face.models.folding import Edition
from jetson_face.util.documents import load_document
from jetson_face.util.optional import pip_install

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_CHUNK = 1 << 20


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelFile(_Part):
    """A file beside the card: `path` is relative to the card's folder."""

    path: str
    sha256: Digest

    @model_validator(mode="after")
    def _stays_inside(self) -> ModelFile:
        path = Path(self.path)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError("must be a path inside the card's folder")
        return self


class PackageFile(_Part):
    """A data file of an installed pip package. file: its path as the wheel lists it."""

    distribution: str
    file: str
    sha256: Digest


class DownloadFile(_Part):
    """A file that the user fetches from `url` and puts at `path` in the card's folder."""

    url: str
    path: str
    sha256: Digest


class InputSpec(_Part):
    """What the network takes: (x - mean) / std per channel, in the order of `colour`."""

    name: str = "input"
    size: tuple[int, int] = Field(description="height, width; pixels")
    colour: Literal["RGB", "BGR"]
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class OutputSpec(_Part):
    """What the network gives: vectors of `dim` numbers."""

    name: str = "embedding"
    dim: int = Field(ge=2)


class ModelCard(_Part):
    """One network, or one set of files that work together.

    files: by precision (an embedder) or by part (`pnet`, `rnet`, `onet`). kind: `weights` are what
    training begins with. similarity_min: cosine at or above which two single faces are the same
    person.
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    kind: Literal["embedder", "detector", "weights"]
    files: dict[str, ModelFile] = Field(default_factory=dict)
    package: dict[str, PackageFile] = Field(default_factory=dict)
    download: dict[str, DownloadFile] = Field(default_factory=dict)
    extra: str | None = Field(None, description="pip extra that brings `package`")
    fold: Edition | None = Field(
        None, description="how the file becomes a plain FP32 network: `models.folding`"
    )
    licence: str
    source: str
    input: InputSpec | None = None
    output: OutputSpec | None = None
    alignment: str | None = None
    similarity_min: float | None = Field(None, ge=-1, le=1)
    golden: str | None = None
    unrecognisable: str | None = Field(
        None, description="file of the centroid of its unrecognisable crops, beside the card"
    )
    notes: str = ""
    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="before")
    @classmethod
    def _one_package_file_is_fp32(cls, value: object) -> object:
        if isinstance(value, dict):
            for key in ("package", "download"):
                one = value.get(key)
                if isinstance(one, dict) and isinstance(one.get("sha256"), str):
                    value = {**value, key: {"fp32": one}}
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> ModelCard:
        if not (self.files or self.package or self.download):
            raise ValueError("needs `files`, `package` or `download`: where the weights are")
        if self.kind == "embedder":
            wanted = {
                "input": self.input,
                "output": self.output,
                "alignment": self.alignment,
                "similarity_min": self.similarity_min,
            }
            missing = [key for key, value in wanted.items() if value is None]
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
        return tuple(dict.fromkeys([*self.files, *self.package, *self.download]))


def card_dir() -> Path:
    """The folder with the cards: inside an installed package, else beside it in a source tree.

    Raises ModelError where there is neither.
    """
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "_engines", here.parent / "engines"):
        if folder.is_dir():
            return folder
    raise ModelError(
        f"no engines folder in {here} nor beside it: the installation is incomplete, "
        "install jetson-face again"
    )


def load_card(name: str | Path) -> ModelCard:
    """The card of that name in `card_dir()`, or at that path when it ends in .yaml.

    Raises ModelError on a card that is not valid, and where there is none of that name, listing
    those there are; InputMissingError on a path that does not exist.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = card_dir() / f"{name}.yaml"
        if not path.is_file() and (training := _training(str(name))) is not None:
            raise ModelError(
                f"model {str(name)!r} has no weights here: none are shipped. Train them: "
                f"{training} --export FOLDER, then set embedder.model to FOLDER/{name}.yaml"
            )
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in card_dir().glob("*.yaml"))) or "none"
            raise ModelError(f"no model card {str(name)!r}; there are: {known}")
    card = load_document(path, ModelCard, error=ModelError)
    card._folder = path.resolve().parent
    return card


def _training(name: str) -> str | None:
    """The command that trains a network which is not shipped; None for any other name."""
    if name.startswith("transfer_"):
        return f"jetson-face train --finetune PEOPLE --net {name.removeprefix('transfer_')}"
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "_configs", here.parent / "configs"):
        if (folder / f"train_{name}.yaml").is_file():
            return f"jetson-face train -c {folder / f'train_{name}.yaml'}"
    return None


def resolve(card: ModelCard, part: str = "fp32") -> Path:
    """The file of one precision or part, found and checked by SHA-256.

    Raises ModelError where the card has no such part or the file is not the one the card means;
    InputMissingError where a file is missing; MissingDependencyError where a package is.
    """
    if part in card.files:
        path = card.folder / card.files[part].path
        _require(path, card, "restore it, or reinstall jetson-face")
        check_sha256(path, card.files[part].sha256)
        return path
    if part in card.package:
        path = _package_path(card, card.package[part])
        check_sha256(path, card.package[part].sha256)
        return path
    if part in card.download:
        wanted = card.download[part]
        path = card.folder / wanted.path
        _require(path, card, f"fetch {wanted.url} and put it there")
        check_sha256(path, wanted.sha256)
        return path
    raise ModelError(f"model {card.name!r} has no {part!r}; it has {', '.join(card.parts)}")


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
        "file": _digest(card, "fp32" if "fp32" in card.parts else part),
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


def check_sha256(path: Path, wanted: str) -> None:
    """Raise ModelError unless the file's SHA-256 is `wanted` (hex)."""
    stat = path.stat()
    have = _file_sha256(path, stat.st_size, stat.st_mtime_ns)
    if have != wanted:
        raise ModelError(
            f"{path}: SHA-256 is {have[:16]}…, expected {wanted[:16]}…: another version or a "
            "damaged file; install or fetch it again"
        )


@lru_cache(maxsize=64)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _digest(card: ModelCard, part: str) -> str:
    for table in (card.files, card.package, card.download):
        entry = table.get(part)
        if entry is not None:
            return entry.sha256
    raise ModelError(f"model {card.name!r} has no {part!r}; it has {', '.join(card.parts)}")


def _require(path: Path, card: ModelCard, fix: str) -> None:
    if not _is_file(path):
        raise InputMissingError(f"{path}: file of model {card.name!r} is missing; {fix}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


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
    if not _is_file(path):
        raise ModelError(
            f"{wanted.distribution} {distribution.version} has no {wanted.file}: another version "
            f"is needed: {fix}"
        )
    return path
