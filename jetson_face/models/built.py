"""Networks that are made on this machine from a card's file, and kept in the engine cache."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from jetson_face.core.errors import InputBrokenError, ModelError
from jetson_face.models import batch
from jetson_face.models.card_files import check_sha256
from jetson_face.models.cards import ModelCard, digest_of, resolve
from jetson_face.models.folding import BUILDER, fold
from jetson_face.util.files import write_all

log = logging.getLogger(__name__)


def network_file(card: ModelCard, part: str, cache: Path) -> Path:
    """The file that runs, of one precision or part: the card's own, or what is folded from it.

    Raises as `cards.resolve`; ModelError too where the file cannot be folded, OutputError where the
    cache cannot be written, MissingDependencyError where the onnx package is not there to fold it.
    """
    file = resolve(card, part)
    if card.fold is None:
        return file
    edition, source = card.fold, digest_of(card, part)
    builder = batch.BUILDER if edition == "batch" else BUILDER
    key = hashlib.sha256(f"{source}/{edition}/{builder}".encode()).hexdigest()[:12]

    def build() -> bytes:
        content = file.read_bytes()
        try:
            if edition == "batch":
                return batch.any_batch(content)
            return bytes(fold(content, edition).SerializeToString())
        except InputBrokenError as exc:
            raise ModelError(f"{file}: {exc}") from exc

    return built_file(cache / f"{card.name}-{part}-{key}.onnx", {"card": card.name}, build)


def built_file(path: Path, facts: Mapping[str, str], build: Callable[[], bytes]) -> Path:
    """`path`, built where it is not there or not as the record beside it says. Raises OutputError.

    facts: what the record says besides the SHA-256.
    """
    record = path.with_suffix(".json")
    try:
        check_sha256(path, str(json.loads(record.read_text("utf-8"))["sha256"]))
        return path
    except FileNotFoundError:
        pass
    except (ModelError, ValueError, KeyError, TypeError) as exc:
        log.warning("engine_rebuilt file=%s reason=%s", path, exc)
    data = build()
    made = {"sha256": hashlib.sha256(data).hexdigest(), **facts}
    write_all({path: data, record: json.dumps(made, indent=1)}, _full_cache)
    return path


def _full_cache(exc: OSError) -> str:
    return f"{exc.strerror}; free space or set engines.cache to a folder that can be written"
