"""What the keys of plug-ins change: parts that another package brings."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.core.errors import PluginError
from jetson_face.core.types import Detections, ImageU8, Report
from jetson_face.detection.mtcnn.detector import Mtcnn
from jetson_face.embedding.guarded import GuardedEmbedder
from jetson_face.embedding.mirrored import Mirrored
from jetson_face.factory.networks import build_detector, build_embedder
from jetson_face.factory.parts import build_parts, for_photos
from jetson_face.factory.plugins import build_sinks
from jetson_face.util import plugins
from tests.config.keys import Site, shows

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "plugin"
OFFERS = {
    "detector": {"squares": "SquareDetector", "none": "Blind"},
    "refiner": {"squares": "SquareRefiner", "none": "Blind"},
    "embedder": {"colour": "ColourEmbedder"},
    "sink": {"lines": "LineSink"},
}
for offered in OFFERS.values():
    offered["mute"] = "Mute"


class Mute:
    """Offers nothing."""


class Blind:
    """Sees nothing, as a detector and as a refiner."""

    name = "blind"

    def detect(self, image: ImageU8) -> Detections:
        return Detections.empty()

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's parts are there as if its package were installed."""
    monkeypatch.syspath_prepend(str(EXAMPLE))

    def entry_points(*, group: str) -> list[EntryPoint]:
        kind = group.removeprefix("jetson_face.").removesuffix("s")
        module = {"Blind": __name__, "Mute": __name__}
        return [
            EntryPoint(name, f"{module.get(what, 'coloured_squares')}:{what}", group)
            for name, what in OFFERS.get(kind, {}).items()
        ]

    monkeypatch.setattr(plugins, "entry_points", entry_points)


def squares(*sides: int) -> ImageU8:
    """A red and a blue square of these sides, pixels."""
    image = np.full((240, 320, 3), 90, np.uint8)
    for side, left, colour in zip(sides, (20, 180), ((40, 40, 230), (230, 40, 40)), strict=False):
        image[20 : 20 + side, left : left + side] = colour
    return image


SQUARES = {"detector[plugin].type": "plugin", "detector[plugin].name": "squares"}


def found(site: Site, keys: dict[str, Any], image: ImageU8) -> Detections:
    return build_detector(site({**SQUARES, **keys})).detect(image)


@shows("detector[plugin].type", "detector[plugin].name")
def test_the_named_detector_is_used(site: Site) -> None:
    named = site({**SQUARES, "detector[plugin].name": "none"})
    assert len(build_detector(named).detect(squares(80, 80))) == 0
    assert len(found(site, {}, squares(80, 80))) == 2


@shows("detector[plugin].options")
def test_the_detector_gets_its_options(site: Site) -> None:
    assert len(found(site, {"detector[plugin].options": {"least": 5000}}, squares(80, 60))) == 1


@shows("detector[plugin].min_face_px")
def test_small_faces_of_a_plugin_are_dropped(site: Site) -> None:
    assert len(found(site, {"detector[plugin].min_face_px": 70}, squares(80, 60))) == 1


@shows("detector[plugin].max_faces")
def test_only_so_many_faces_of_a_plugin_count(site: Site) -> None:
    assert len(found(site, {"detector[plugin].max_faces": 1}, squares(80, 80))) == 1


@shows("detector[plugin].max_side_px")
def test_a_plugin_searches_a_shrunk_picture(site: Site) -> None:
    whole = {"detector[plugin].options": {"least": 1000}, "detector[plugin].min_face_px": 12}
    assert len(found(site, whole, squares(80))) == 1
    assert len(found(site, {**whole, "detector[plugin].max_side_px": 64}, squares(80))) == 0


COLOUR = {"embedder[plugin].type": "plugin", "embedder[plugin].name": "colour"}


@shows("embedder[network].type")
def test_a_network_may_say_what_it_is(site: Site) -> None:
    assert not isinstance(
        build_embedder(site({"embedder[network].type": "network"})), GuardedEmbedder
    )


@shows("embedder[plugin].type", "embedder[plugin].name")
def test_the_named_embedder_is_used(site: Site) -> None:
    assert build_embedder(site(COLOUR)).space.model == "colour"


@shows("embedder[plugin].options")
def test_the_embedder_gets_its_options(site: Site) -> None:
    with pytest.raises(PluginError, match="unexpected keyword argument 'tint'"):
        build_embedder(site({**COLOUR, "embedder[plugin].options": {"tint": 1}}))


@shows("embedder[plugin].max_batch")
def test_many_crops_reach_a_plugin_in_parts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import coloured_squares  # type: ignore[import-not-found]

    sizes: list[int] = []
    embed = coloured_squares.ColourEmbedder.embed

    def noted(self: Any, crops: ImageU8) -> Any:
        sizes.append(len(crops))
        return embed(self, crops)

    monkeypatch.setattr(coloured_squares.ColourEmbedder, "embed", noted)
    build_embedder(site({**COLOUR, "embedder[plugin].max_batch": 2})).embed(
        np.full((5, 112, 112, 3), 200, np.uint8)
    )
    assert max(sizes) == 2


@shows("embedder[plugin].mirror")
def test_photos_are_not_mirrored_for_a_plugin(site: Site) -> None:
    config = site({**COLOUR, **SQUARES, "embedder[plugin].mirror": False})
    assert not isinstance(for_photos(config, build_parts(config)).embedder, Mirrored)


REFINER = {"refiner[plugin].type": "plugin", "refiner[plugin].name": "squares"}


@shows("refiner[plugin].type", "refiner[plugin].name")
def test_the_named_refiner_follows(site: Site) -> None:
    refiner = build_parts(site({**REFINER, **COLOUR})).refiner
    assert refiner is not None
    assert not isinstance(refiner, Mtcnn)
    assert refiner.refine(squares(80), np.array([[22, 22, 102, 102]], np.float32)).scores[0] > 0


@shows("refiner[plugin].options")
def test_the_refiner_gets_its_options(site: Site) -> None:
    far = np.array([[80, 80, 160, 160]], np.float32)
    refiner = build_parts(
        site({**REFINER, **COLOUR, "refiner[plugin].options": {"reach": 90}})
    ).refiner
    assert refiner is not None
    assert refiner.refine(squares(80), far).scores[0] > 0


@shows("report.sinks[plugin].type", "report.sinks[plugin].name", "report.sinks[plugin].options")
def test_the_named_sink_writes_where_it_is_told(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    config = site(
        {
            "report.sinks[plugin].type": "plugin",
            "report.sinks[plugin].name": "lines",
            "report.sinks[plugin].options": {"path": str(path)},
        }
    )
    (sink,) = build_sinks(config)
    sink.open()
    sink.write(Report("c", 0, 0, 0.0, (1, 1), (), {}, searched=True), None)
    sink.close()
    assert path.exists()


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        ("detector", lambda site: build_detector(site({"detector[plugin].name": "mute"}))),
        ("embedder", lambda site: build_embedder(site({"embedder[plugin].name": "mute"}))),
        ("refiner", lambda site: build_parts(site({**COLOUR, "refiner[plugin].name": "mute"}))),
        ("sink", lambda site: build_sinks(site({"report.sinks[plugin].name": "mute"}))),
    ],
)
def test_what_offers_nothing_is_named_with_its_package(
    site: Site, kind: str, build: Callable[[Site], object]
) -> None:
    with pytest.raises(PluginError, match=f"^{kind} plug-in 'mute' of the package without a name:"):
        build(site)
