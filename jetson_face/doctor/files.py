"""The files that a configuration names: its videos and pictures, its network, its gallery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jetson_face.capture.uri import parse_uri
from jetson_face.config import Config, EmbedderConfig
from jetson_face.core.errors import JetsonFaceError, MissingDependencyError
from jetson_face.doctor.probe import Finding
from jetson_face.factory.choice import auto_precision, choose_precision
from jetson_face.models.cards import load_card, resolve

_FILES = ("path", "file", "sequence")


def files(config: Config) -> Iterator[Finding]:
    """Whether they are there. Cameras and packages are for other checks."""
    yield from _sources(config)
    yield from _model(config)
    yield from _gallery(config)


def _sources(config: Config) -> Iterator[Finding]:
    for source in config.sources:
        uri = parse_uri(source.uri)
        if uri.scheme not in _FILES:
            continue
        path = uri.path
        if _is_there(path):
            yield Finding("source", "ok", str(path))
        else:
            fix = "correct sources.uri, or put it there"
            yield Finding("source", "problem", f"{path}: no such file or folder", fix)


def _model(config: Config) -> Iterator[Finding]:
    wanted = config.embedder
    if not isinstance(wanted, EmbedderConfig):
        return
    try:
        card = load_card(wanted.model, config.model_places, kind="embedder")
        chosen = choose_precision(config, card)
        file = resolve(card, chosen.part if chosen.part in card.parts else "fp32")
    except MissingDependencyError:
        return  # software.extras says so
    except JetsonFaceError as error:
        yield Finding("model", "problem", str(error))
    else:
        yield Finding("model", "ok", f"{wanted.model}: {file.name}")
        if auto_precision(config) is not None:
            yield Finding("precision", "ok", f"auto is {chosen.precision}: {chosen.reason}")


def _gallery(config: Config) -> Iterator[Finding]:
    path = config.gallery.path
    if path is None:
        return  # in the state folder, which is made when somebody is enrolled
    if not _is_there(path.parent):
        fix = "correct gallery.path, or make the folder"
        yield Finding("gallery", "problem", f"{path.parent}: no such folder", fix)
    elif not _is_there(path):
        yield Finding("gallery", "info", f"{path}: there is no gallery yet: nobody is enrolled")
    else:
        yield Finding("gallery", "ok", str(path))


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # its folder may not be read, or such a name cannot be
        return False
