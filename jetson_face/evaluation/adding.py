"""A card for a network that somebody brings: asked of its file, of the person, and measured."""

from __future__ import annotations

import hashlib
import io
import logging
import platform
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from jetson_face.calibration.curve_measuring import LEAST_PEOPLE, measure_curve
from jetson_face.calibration.impostor_curve import read_curve
from jetson_face.calibration.impostors import SourceFace, impostors_of
from jetson_face.config import Config, EmbedderConfig
from jetson_face.core.errors import InputBrokenError, InputMissingError, ModelError, UsageError
from jetson_face.core.types import I64, Embeddings, ImageU8
from jetson_face.embedding.align import TEMPLATES
from jetson_face.embedding.onnx import OnnxEmbedder, preprocess
from jetson_face.evaluation.asked import NetworkFacts, ask
from jetson_face.evaluation.false_match_curve import FMR, false_match_curve, people_of, threshold_at
from jetson_face.evaluation.method import build_method, log_progress
from jetson_face.evaluation.pairs import find_pictures, read_pairs
from jetson_face.evaluation.verification import cosine_scores
from jetson_face.factory.files import network_file
from jetson_face.factory.networks import build_embedder
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.models.card_files import BYTES_MAX, Places, is_file
from jetson_face.models.cards import FalseMatchCurve, ModelCard, card_paths, load_card
from jetson_face.models.fetched import RECORD, locked, record
from jetson_face.models.golden import drawn
from jetson_face.util.files import TEMPORARY, write_all

_log = logging.getLogger(__name__)
_NAME = re.compile(r"\w[\w.-]*")
_TOGETHER = 8
_ROUNDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a person says of a network; None: not said. pairs: a list of pairs; images: the folder
    of its pictures. The rest is as in a card."""

    name: str | None = None
    colour: Literal["RGB", "BGR"] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    alignment: str | None = None
    licence: str | None = None
    source: str | None = None
    output: str | None = None
    similarity_min: float | None = None
    pairs: Path | None = None
    images: Path | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """A network that has a card now. report: lines for people."""

    name: str
    card: Path
    report: str


@dataclass(frozen=True, slots=True)
class _Measured:
    similarity_min: float
    said: str
    false_match: FalseMatchCurve | None = None
    impostors: bytes | None = None


def add(network: Path, told: Told, config: Config) -> Added:
    """Make a card for an ONNX file that embeds faces, and keep both with the fetched models.

    Raises UsageError, which names everything that is not told, at once; InputMissingError,
    InputBrokenError, ModelError, CalibrationError for the network, the pictures and what they show;
    OutputError, StateLockedError.
    """
    content = _read(network)
    asked = ask(content, str(network), told.output)
    name = told.name or re.sub(r"[^\w.-]", "_", network.stem).lstrip(".-")
    _check(network, told, asked, name, config.model_places)
    places = config.model_places
    with locked(places), tempfile.TemporaryDirectory(dir=places.fetched, prefix=TEMPORARY) as made:
        write_all(_files(Path(made), name, _facts(told, asked, name), content, {}))
        draft = EmbedderConfig(model=str(Path(made, f"{name}.yaml")))
        trial = config.model_copy(update={"embedder": draft})
        with closing(_embedder(trial)) as embedder:
            crops = _crops(asked.size)
            _check_batch(network, embedder, crops)
            speed = _speed(embedder, crops)
            golden = _golden(embedder, trial, crops, asked)
        measured = _measure(trial, told, Path(made))
        facts = _facts(told, asked, name, measured, speed)
        data = {f"{name}.golden.npz": golden}
        if measured.impostors is not None:
            data[f"{name}.impostors.json"] = measured.impostors
        write_all(_files(places.home(name), name, facts, content, data))
    lines = [f"{name}: {asked}", speed, measured.said]
    return Added(name, places.home(name) / f"{name}.yaml", "\n".join(lines))


def _read(network: Path) -> bytes:
    if not is_file(network):
        raise InputMissingError(f"{network}: no such file: name an ONNX file")
    if network.stat().st_size > BYTES_MAX:
        raise ModelError(f"{network}: {network.stat().st_size} bytes: no network is so large here")
    return network.read_bytes()


def _check(network: Path, told: Told, asked: NetworkFacts, name: str, places: Places) -> None:
    """Everything that is lacking or does not fit, in one error."""
    fitting = [one.name for one in TEMPLATES.values() if one.size == asked.size]
    if not fitting:
        sizes = ", ".join(f"{one.name} {one.size}" for one in TEMPLATES.values())
        raise ModelError(f"{network}: no alignment has {asked.size} pixels; there are: {sizes}")
    needed = (
        ("--colour", told.colour, "RGB or BGR"),
        ("--mean", told.mean, "X, often 127.5"),
        ("--std", told.std, "X, often 127.5 or 128"),
        ("--alignment", told.alignment, " or ".join(fitting)),
        ("--licence", told.licence, "TEXT"),
        ("--source", told.source, "TEXT"),
    )
    faults = [f"{option} {hint}" for option, value, hint in needed if value is None or value == ""]
    if told.similarity_min is None and (told.pairs is None or told.images is None):
        faults.append("--similarity-min X, or --pairs FILE with --images DIR to measure it")
    faults += _misfits(told, name, fitting, places)
    if faults:
        raise UsageError(f"{network} {asked}; it needs also: {'; '.join(faults)}")


def _misfits(told: Told, name: str, fitting: list[str], places: Places) -> list[str]:
    faults = []
    if told.alignment is not None and told.alignment not in fitting:
        faults.append(f"another --alignment than {told.alignment}: {' or '.join(fitting)}")
    for option, values in (("--mean", told.mean), ("--std", told.std)):
        if values is not None and len(values) not in (1, 3):
            faults.append(f"{option} with one number or three")
    if told.std is not None and not all(value > 0 for value in told.std):
        faults.append("--std above 0")
    if told.similarity_min is not None and not -1 <= told.similarity_min <= 1:
        faults.append("--similarity-min from -1 to 1")
    if not _NAME.fullmatch(name):
        faults.append("--name of letters, digits, _ . -")
    elif name in card_paths(places) or places.home(name).exists():
        faults.append(f"another --name: there is a model {name} (models remove takes away yours)")
    return faults


def _facts(
    told: Told,
    asked: NetworkFacts,
    name: str,
    measured: _Measured | None = None,
    speed: str = "",
) -> dict[str, Any]:
    """The card without its files. Without `measured` it is the draft that is measured."""
    if told.colour is None or told.mean is None or told.std is None:
        raise UsageError(f"{name}: colour, mean and std are needed")  # `_check` said so before
    specs = asked.specs(told.colour, told.mean, told.std)
    facts: dict[str, Any] = {"name": name, "kind": "embedder"}
    if asked.one_at_a_time:
        facts["fold"] = "batch"
    facts |= {"licence": told.licence, "source": told.source}
    facts |= {key: spec.model_dump(mode="json") for key, spec in specs.items()}
    facts["alignment"] = told.alignment
    facts["similarity_min"] = 0.0 if measured is None else round(measured.similarity_min, 4)
    if measured is not None:
        if measured.false_match is not None:
            facts["false_match"] = measured.false_match.model_dump(mode="json")
        if measured.impostors is not None:
            facts["impostors"] = f"{name}.impostors.json"
        facts |= {"golden": f"{name}.golden.npz", "notes": f"{speed}. {measured.said}"}
    return facts


def _files(
    home: Path, name: str, facts: dict[str, Any], content: bytes, more: Mapping[str, bytes]
) -> dict[Path, bytes | str]:
    """What lies in a model's folder: network, `more`, card, and the record of them."""
    network = {"path": f"{name}.onnx", "sha256": hashlib.sha256(content).hexdigest()}
    document = {**facts, "files": {"fp32": network}}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    card = ModelCard.model_validate(document)
    data: dict[str, bytes] = {
        f"{name}.onnx": content,
        **more,
        f"{name}.yaml": text.encode(),
    }
    digests = {path: hashlib.sha256(one).hexdigest() for path, one in data.items()}
    return {
        **{home / path: one for path, one in data.items()},
        home / RECORD: record(card, digests, False),
    }


def _embedder(config: Config) -> OnnxEmbedder:
    embedder = build_embedder(config)
    assert isinstance(embedder, OnnxEmbedder)  # its file is .onnx
    return embedder


def _crops(size: int) -> ImageU8:
    """(8, size, size, 3): drawn, from dark to bright."""
    light = np.linspace(0.2, 1, _TOGETHER)[:, None, None, None]
    drawing = drawn((_TOGETHER, 3, size, size)) * light
    return np.ascontiguousarray(drawing.transpose(0, 2, 3, 1), np.uint8)


def _check_batch(network: Path, embedder: OnnxEmbedder, crops: ImageU8) -> None:
    """Faces together must give what each gives alone."""
    together = np.array(embedder.embed(crops).vectors)
    alone = np.concatenate([embedder.embed(crop[None]).vectors.copy() for crop in crops])
    worst = float(np.einsum("nd,nd->n", together, alone).min())
    if worst < 0.999:
        raise ModelError(
            f"{network}: {_TOGETHER} faces together give other vectors than each alone (cosine "
            f"{worst:.3f}): export it with a free batch"
        )


def _speed(embedder: OnnxEmbedder, crops: ImageU8) -> str:
    alone = _median_ms(lambda: embedder.embed(crops[:1]))
    together = _median_ms(lambda: embedder.embed(crops)) / len(crops)
    return (
        f"{alone:.1f} ms for a face alone, {together:.1f} ms each for {len(crops)} together "
        f"({platform.machine()})"
    )


def _median_ms(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return float(np.median(spent)) * 1e3


def _golden(embedder: OnnxEmbedder, config: Config, crops: ImageU8, asked: NetworkFacts) -> bytes:
    """The answer to a drawn picture, for `models verify` on another day or machine."""
    card = load_card(config.embedder.model, config.model_places)
    assert card.input is not None
    given = preprocess(crops[:1], card.input)
    with closing(OnnxBackend(network_file(config, card))) as backend:
        feed = given.astype(backend.inputs[asked.input].dtype)
        answer = backend.run({asked.input: feed})[asked.output]
    out = io.BytesIO()
    np.savez_compressed(out, input=given, output=answer.astype(np.float32))
    return out.getvalue()


def _measure(config: Config, told: Told, folder: Path) -> _Measured:
    """The threshold: as told, or where one in a thousand pairs of strangers reach it."""
    if told.pairs is None or told.images is None:
        assert told.similarity_min is not None
        return _Measured(told.similarity_min, "similarity_min was given, not measured")
    pairs = read_pairs(told.pairs)
    method = build_method(config)
    faces = method.extractor.extract(
        find_pictures(told.images, pairs.pictures), log_progress("pictures")
    )
    there = [name for name, found in zip(faces.names, faces.found, strict=True) if found]
    vectors, person = faces.vectors[faces.rows(there)], people_of(pairs, there)
    curve = false_match_curve(vectors, person)
    least = threshold_at(curve) if told.similarity_min is None else told.similarity_min
    equal = [pair for pair in pairs.pairs if pair.same]
    scores = cosine_scores(
        faces.vectors[faces.rows([pair.a for pair in equal])],
        faces.vectors[faces.rows([pair.b for pair in equal])],
    )
    given = "" if told.similarity_min is None else f" (given; {threshold_at(curve):g} was measured)"
    accepted = (
        f"{np.mean(scores >= least):.2%} of {len(equal)} pairs of one person reach it"
        if equal
        else "no pair of one person is listed"
    )
    points = ", ".join(f"{share:.2g}: {at:g}" for at, share in curve.curve)
    said = (
        f"similarity_min {least:g}{given}: at a false match rate of {FMR:.1%} over {curve.pairs} "
        f"pairs of {curve.people} different people; {accepted}; "
        f"{len(faces) - len(there)} of {len(faces)} pictures show no face; detector "
        f"{config.detector.type}; share of different people who reach a cosine: {points}"
    )
    impostors = impostor_file(Embeddings(vectors, faces.space), person, there, folder)
    return _Measured(least, said, curve, impostors)


def impostor_file(
    faces: Embeddings, person: I64, names: Sequence[str], folder: Path
) -> bytes | None:
    """The curve from which thresholds for a false positive rate come; None where there are too few
    people to draw one. person: (N,) whose the faces are; names: their pictures; folder: to write
    in. Raises OutputError."""
    if len(np.unique(person)) < LEAST_PEOPLE:
        return None
    sources = [SourceFace(f"{who:06}", name, name) for who, name in zip(person, names, strict=True)]
    note = "by jetson-face models add: single pictures, without their mirror images"
    path = folder / "impostors.json"
    measure_curve(impostors_of(sources, faces), note=note).save(path)
    try:
        read_curve(path, faces.space)
    except InputBrokenError as error:
        _log.warning("no impostor curve is kept: %s", error)
        return None
    return path.read_bytes()
