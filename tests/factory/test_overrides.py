"""What a Python program says becomes a configuration, and objects take the place of parts."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from jetson_face.config import AutoDetectorConfig, Config, load_config
from jetson_face.core.errors import ConfigError, PluginError, UsageError
from jetson_face.factory import overrides
from jetson_face.factory.overrides import configure, named, parts_with
from tests.recognition.test_recognizer import ColourDetector, ColourEmbedder

BASE = [
    "sampling.on_loss=false",
    "detector.type=mtcnn",
    "detector.min_face_px=31",
    "detector.max_faces=9",
    "backend.type=onnxruntime",
]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"sampling.interval": 7}, {"sampling.interval": 7, "sampling.on_loss": False}),
        ({"sampling": {"interval": 7}}, {"sampling.interval": 7, "sampling.on_loss": False}),
        (
            {"detector": {"max_faces": 3}},
            {"detector.type": "mtcnn", "detector.min_face_px": 31, "detector.max_faces": 3},
        ),
        (
            {"detector": {"type": "mtcnn", "max_faces": 3}},
            {"detector.min_face_px": 31, "detector.max_faces": 3},
        ),
        # another kind has other keys: nothing of the old one stays
        (
            {"detector": {"type": "haar"}},
            {"detector.type": "haar", "detector.min_face_px": 40, "detector.max_faces": 32},
        ),
        (
            {"sampling": {"auto": {"age_ms_max": 50}}, "matching.top_k": 2},
            {"sampling.auto.age_ms_max": 50.0, "sampling.on_loss": False, "matching.top_k": 2},
        ),
        (
            {"quality": MappingProxyType({"embed_min": 0.1}), "sampling": MappingProxyType({})},
            {"quality.embed_min": 0.1, "sampling.on_loss": False},
        ),
        ({}, {"detector.max_faces": 9}),
    ],
)
def test_what_a_section_does_not_name_stays(
    changes: dict[str, object], found: dict[str, object]
) -> None:
    made: Any = configure(load_config(None, BASE), changes)
    for key, value in found.items():
        node = made
        for name in key.split("."):
            node = getattr(node, name)
        assert (key, node) == (key, value)


def test_what_a_section_within_a_section_does_not_name_stays_too() -> None:
    base = load_config(None, ["sampling.auto={age_ms_max: 70, cpu_max: 0.5}"])
    made = configure(base, {"sampling": {"auto": {"age_ms_max": 50}}}).sampling.auto
    assert made is not None
    assert (made.age_ms_max, made.cpu_max) == (50, 0.5)


def test_a_file_may_be_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("sampling: {interval: 9}\n")
    assert configure(path, {"sampling.on_loss": False}).sampling.interval == 9
    assert configure(str(path), {}).sampling.interval == 9
    assert configure(None, {}) == load_config(None)


def test_what_was_left_to_the_defaults_still_is() -> None:
    """A default of a later version, or of another machine, then holds for it."""
    made = configure(load_config(None), {"sampling.interval": 3})
    assert made.model_fields_set == {"sampling"}
    assert made.sampling.model_fields_set == {"interval"}


def test_a_section_of_the_kind_that_is_meant_by_default_is_kept() -> None:
    base = Config(detector=AutoDetectorConfig(min_face_px=31))
    made = configure(base, {"detector": {"type": "auto", "max_faces": 3}})
    assert made.detector == AutoDetectorConfig(min_face_px=31, max_faces=3)


def test_a_name_is_what_is_built_in_then_a_plug_in_then_a_card(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offers = {"detector": ["squares", "circles"], "embedder": ["colour"]}
    monkeypatch.setattr(overrides, "installed", lambda kind: dict.fromkeys(offers.get(kind, [])))
    assert named("detector", "mtcnn") == {"type": "mtcnn"}
    assert named("detector", "squares") == {"type": "plugin", "name": "squares"}
    assert named("embedder", "colour") == {"type": "plugin", "name": "colour"}
    assert named("embedder", "squares") == {"type": "network", "model": "squares"}
    assert named("embedder", "mtcnn") == {"type": "network", "model": "mtcnn"}
    assert named("refiner", "mtcnn") == {"type": "plugin", "name": "mtcnn"}
    section = {"type": "haar"}
    assert named("detector", section) is section
    with pytest.raises(UsageError, match=r"no detector 'yunnet': .* installed: circles, squares$"):
        named("detector", "yunnet")
    offers.clear()
    with pytest.raises(UsageError, match=r"installed: none$"):
        named("detector", "squares")


def test_a_mistake_is_named_with_its_key() -> None:
    with pytest.raises(ConfigError, match=r"Recognizer.*sampling\.intervall"):
        configure(None, {"sampling.intervall": 3})


def test_objects_take_the_place_of_parts_and_the_configuration_says_so() -> None:
    base = load_config(None, ["quality.embed_min=0", "embedder.mirror=false"])
    detector, embedder = ColourDetector(), ColourEmbedder()
    config, parts = parts_with(base, detector=detector, refiner=detector, embedder=embedder)
    described: Any = config
    for part in (described.detector, described.embedder):
        assert (part.type, part.name, part.options) == ("plugin", "colour", {})
    assert parts.embedder.space == embedder.space
    assert parts.refiner is not None
    assert base.detector != config.detector


@pytest.mark.parametrize("part", ["detector", "refiner", "embedder"])
def test_an_object_that_is_none_of_these_is_named_by_its_class(part: str) -> None:
    class Nothing:
        pass

    given: dict[str, Any] = {"detector": ColourDetector(), "embedder": ColourEmbedder()}
    with pytest.raises(PluginError, match=f"{part} Nothing"):
        parts_with(load_config(None), **(given | {part: Nothing()}))
