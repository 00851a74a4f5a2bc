"""Is a model what its card says? Its files' digests, and the answers that were kept of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from jetson_face.config import Config
from jetson_face.core.errors import InputMissingError, MissingDependencyError, ModelError
from jetson_face.factory.files import network_file
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.models.cards import UNSIGNED, ModelCard, resolve
from jetson_face.models.golden import Golden, read_golden

APART = {"fp32": 1e-3, "fp16": 1e-2, "int8": 0.15, UNSIGNED: 0.15}
"""How far an answer may be from the one that was kept, as a share of its largest number."""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelFinding:
    """One check. state: `good`, `missing` or `wrong`. said: what was found, for people."""

    model: str
    what: str
    state: str
    said: str


def check_model(config: Config, card: ModelCard) -> Iterator[ModelFinding]:
    """Every file of a card, then its answers where it has any."""
    there: list[str] = []
    for part in card.parts:
        try:
            path = resolve(card, part)
        except (InputMissingError, MissingDependencyError) as error:
            yield ModelFinding(card.name, part, "missing", str(error))
        except ModelError as error:
            yield ModelFinding(card.name, part, "wrong", str(error))
        else:
            there.append(part)
            yield ModelFinding(card.name, part, "good", f"SHA-256 as the card says: {path}")
    if card.golden is None:
        return
    for part in there:
        try:
            yield _answers(config, card, part, read_golden(card.folder / card.golden))
        except (ModelError, MissingDependencyError) as error:
            yield ModelFinding(card.name, f"{part} answers", "wrong", str(error))


def _answers(config: Config, card: ModelCard, part: str, golden: Golden) -> ModelFinding:
    apart = difference(network_file(config, card, part), golden)
    most = APART.get(part, APART["fp32"])
    state = "good" if apart <= most else "wrong"
    said = f"{apart:.1e} of the largest number away from the answers kept, at most {most:g}"
    return ModelFinding(card.name, f"{part} answers", state, said)


def difference(network: Path, golden: Golden) -> float:
    """How far a network file's answers are from those kept; see `Golden.difference`."""
    with closing(OnnxBackend(network)) as backend:
        (name, spec), *others = backend.inputs.items()
        if others:
            raise ModelError(f"{network}: has several inputs")
        return golden.difference(backend.run({name: golden.input.astype(spec.dtype)}))
