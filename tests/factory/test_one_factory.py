"""`run`, the service, `bench`, `identify`, `eval` and the API build the same objects."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetson_face import Recognizer
from jetson_face.benchmark.subject import open_subject
from jetson_face.calibration.stored import Calibration, write_calibration
from jetson_face.capture.source import SourceInfo
from jetson_face.cli.main import main
from jetson_face.config import Config, load_config
from jetson_face.core.types import EmbeddingSpace
from jetson_face.evaluation.method import build_method
from jetson_face.factory.galleries import open_gallery
from jetson_face.factory.parts import Parts, build_parts
from jetson_face.factory.threshold import engine, scoring
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.recognition.recognizer import FaceRecognizer
from jetson_face.service.swap import HotSwap, build_deck

SITE = """\
state_dir: {state}
sources: {{uri: {clip}, name: film}}
detector: {{type: mtcnn, min_face_px: 31, thresholds: [0.61, 0.71, 0.72], max_faces: 9}}
sampling: {{interval: 3, on_loss: false}}
embedder: {{max_batch: 5}}
backend: {{type: onnxruntime, threads: 1}}
quality: {{enroll_min_px: 37, enroll_min: 0.21, embed_min: 0.04}}
matching: {{margin_min: 0.02, hysteresis: 0.03, frames_min: 3, unknown_after: 6, top_k: 2}}
fusion: {{strategy: score_mean, embed_interval: 7, max_per_frame: 4}}
tracking: {{iou_min: 0.27, max_gap_ms: 800}}
"""
STATE = frozenset(
    {"_session", "_states", "_lock", "_size", "_tracks", "_next", "_timer_ns", "_revision"}
)
"""What changes while they run, and is not how they were built."""
INFO = SourceInfo(name="film", uri="film.mp4", width=160, height=120, fps=10.0, is_live=False)


def described(thing: Any, seen: tuple[int, ...] = ()) -> Any:
    """Types and settings of an object and all that it holds, as plain values."""
    if thing is None or isinstance(thing, str | int | float | bool | bytes | Path):
        return thing
    if isinstance(thing, np.ndarray):
        return ("array", thing.shape, thing.tobytes())
    if id(thing) in seen:
        return "above"
    seen = (*seen, id(thing))
    if isinstance(thing, OnnxBackend):
        return ("network", thing._what.rpartition("/")[2], thing.info)
    if isinstance(thing, GallerySnapshot):
        return ("people", [person.name for person in thing.people], str(thing.space))
    if isinstance(thing, Mapping):
        return {str(key): described(value, seen) for key, value in thing.items()}
    if isinstance(thing, list | tuple | set | frozenset):
        return [described(value, seen) for value in thing]
    if isinstance(thing, functools.partial):
        return ("partial", described(thing.func, seen), described(thing.args, seen))
    if isinstance(thing, types.MethodType):
        return ("method", thing.__func__.__qualname__, described(thing.__self__, seen))
    if isinstance(thing, types.FunctionType | types.BuiltinFunctionType | type):
        return ("function", "people" if "<lambda>" in thing.__qualname__ else thing.__qualname__)
    if dataclasses.is_dataclass(thing):
        names = [field.name for field in dataclasses.fields(thing)]
    else:
        names = [*getattr(thing, "__dict__", {}), *_slots(type(thing))]
    fields = {n: described(getattr(thing, n), seen) for n in names if n not in STATE}
    return (type(thing).__qualname__, fields)


def _slots(kind: type) -> Iterator[str]:
    for above in kind.__mro__:
        given = above.__dict__.get("__slots__", ())
        yield from (given,) if isinstance(given, str) else given


def recognizer_of(made: FaceRecognizer) -> Any:
    """Everything but where the people come from, which each program has a way of its own for."""
    told = described(made)
    told[1]["decisions"][1].pop("people")
    return told


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "film.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (160, 120))
    for value in range(4):
        video.write(np.full((120, 160, 3), 60 + value, np.uint8))
    video.release()
    return path


@pytest.fixture
def site(tmp_path: Path, clip: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(SITE.format(state=tmp_path / "state", clip=clip))
    return path


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> dict[type, list[Any]]:
    """Every recogniser and every set of parts that is made, described as it is made."""
    made: dict[type, list[Any]] = {FaceRecognizer: [], Parts: []}

    def watch(kind: type, how: Callable[[Any], Any]) -> None:
        begin: Callable[..., None] = vars(kind)["__init__"]

        def wrapped(self: Any, *args: Any, **options: Any) -> None:
            begin(self, *args, **options)
            made[kind].append(how(self))

        monkeypatch.setattr(kind, "__init__", wrapped)

    watch(FaceRecognizer, recognizer_of)
    watch(Parts, described)
    return made


def calibration_for(config: Config, space: EmbeddingSpace) -> Calibration:
    """A site's own threshold, 0.437."""
    return Calibration(
        similarity_min=0.437,
        fpir=0.01,
        low=0.0,
        high=0.02,
        faces=500,
        strangers=100,
        method=scoring(config),
        space=space.full_name,
        engine=engine(config),
        people=0,
        templates=0,
        made=0.0,
    )


Programs = Callable[[Path, Config], None]


def by_run(site: Path, config: Config) -> None:
    assert main(["run", "-c", str(site), "--quiet"]) == 0


def by_api(site: Path, config: Config) -> None:
    with Recognizer(site) as recognizer:
        assert sum(1 for _ in recognizer.watch()) == 4


def by_bench(site: Path, config: Config) -> None:
    with open_subject(config, None) as subject:
        subject.recognizer()


def by_service(site: Path, config: Config) -> None:
    with closing(HotSwap(build_deck(config))) as swap:
        swap.recognizer(INFO)


@pytest.mark.parametrize("program", [by_api, by_bench, by_service])
def test_a_recogniser_is_the_same_from_every_program(
    site: Path, caught: dict[type, list[Any]], program: Programs
) -> None:
    config = load_config(site)
    with (
        closing(build_parts(config)) as parts,
        open_gallery(config, parts.embedder.space, create=True) as gallery,
    ):
        write_calibration(gallery, calibration_for(config, parts.embedder.space))
    by_run(site, config)
    program(site, config)
    of_run, other = caught[FaceRecognizer]
    assert '"similarity_min": 0.437' in json.dumps(of_run, default=repr)
    assert json.dumps(other, default=repr, indent=1) == json.dumps(of_run, default=repr, indent=1)


def test_pictures_of_a_folder_are_recognised_alike(
    site: Path, caught: dict[type, list[Any]], tmp_path: Path
) -> None:
    """Each stands alone: in `run`, the API and `bench`."""
    album = tmp_path / "album"
    album.mkdir()
    for name in "abcd":
        cv2.imwrite(str(album / f"{name}.png"), np.full((64, 64, 3), 99, np.uint8))
    text = site.read_text().replace(str(tmp_path / "film.avi"), str(album))
    site.write_text(text)
    config = load_config(site)
    by_run(site, config)
    by_api(site, config)
    with open_subject(config, None, stills=True) as subject:
        subject.recognizer()
    of_run, *others = (json.dumps(made, default=repr) for made in caught[FaceRecognizer])
    assert others == [of_run, of_run]


def test_stills_are_identified_and_measured_with_the_same_parts(
    site: Path, caught: dict[type, list[Any]], tmp_path: Path
) -> None:
    """`identify`, `enroll`, the API's photos and `eval` with photos: all count mirror images."""
    config = load_config(site)
    photo = tmp_path / "grey.png"
    cv2.imwrite(str(photo), np.full((64, 64, 3), 99, np.uint8))
    assert main(["identify", str(photo), "-c", str(site)]) == 0
    main(["enroll", "-c", str(site), "--name", "Nobody", str(photo)])
    with Recognizer(site) as recognizer:
        recognizer.identify(photo)
    build_method(config, relaxed=False, photos=True)
    plain, *rest = (json.dumps(parts, default=repr) for parts in caught[Parts])
    mirrored = [parts for parts in rest if parts != plain]
    assert len(caught[Parts]) == 8
    assert len({*mirrored}) == 1
    assert len(mirrored) == 4


def test_the_description_sees_a_setting_deep_inside(site: Path) -> None:
    """The comparison above can fail: each of these makes another description."""

    def of(*changes: str) -> str:
        parts = build_parts(load_config(site, changes))
        with closing(HotSwap(build_deck(load_config(site, changes)))) as swap:
            built = recognizer_of(swap.recognizer(INFO).inner)
        parts.close()
        return json.dumps(built, default=repr)

    usual = of()
    assert usual == of()
    for change in (
        "detector.thresholds=[0.6, 0.71, 0.72]",
        "sampling.interval=4",
        "sampling.refine=false",
        "embedder.max_batch=6",
        "quality.embed_min=0.05",
        "quality.enroll_min=0.22",
        "matching.hysteresis=0.04",
        "fusion.strategy=vote",
        "fusion.embed_interval=8",
        "tracking.max_gap_ms=900",
    ):
        assert of(change) != usual, change
