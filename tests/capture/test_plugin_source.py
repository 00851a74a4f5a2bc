"""Sources of other packages, by the scheme of their URI."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jetson_face.capture.opening import open_source
from jetson_face.capture.source import EndOfSource, Source
from jetson_face.capture.uri import parse_uri
from jetson_face.core.errors import PluginError, SourceError, UsageError
from jetson_face.core.types import Frame

CODE = """
import numpy as np
from jetson_face import EndOfSource, Frame, SourceError, SourceHealth, SourceInfo

opened = []

class Camera:
    def __init__(self, uri, name):
        opened.append(uri)
        if "away" in uri and len(opened) < 3:
            raise SourceError("nobody answers")
        self.info = SourceInfo(name, uri, "live" in uri or "away" in uri, 64, 48)
        self.health = SourceHealth("running", {})
        self._left, self._wrong, self._rows = 2, "wrong" in uri, 0 if "flat" in uri else 48
    def read(self, timeout_s):
        if not self._left:
            raise (SourceError if self.info.is_live else EndOfSource)("gone")
        self._left -= 1
        image = np.full((self._rows, 64, 3), len(opened) * 10 + self._left, np.uint8)
        return Frame(image, 1 - self._left, 0, 0.0, "other" if self._wrong else self.info.name)
    def close(self):
        pass
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    info = tmp_path / "odd_camera-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-camera\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[jetson_face.sources]\nodd = odd_camera:Camera\n")
    (tmp_path / "odd_camera.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("odd_camera", None)


def frames(source: Source, count: int) -> list[Frame]:
    found: list[Frame] = []
    while len(found) < count:
        found.append(source.read(2))
    return found


def test_a_file_of_a_plugin_is_opened_once_and_ends() -> None:
    source = open_source("odd://film", "door")
    assert not source.info.is_live
    assert [int(frame.image.max()) for frame in frames(source, 2)] == [11, 10]
    with pytest.raises(EndOfSource):
        source.read(1)
    assert sys.modules["odd_camera"].opened == ["odd://film"]


def test_a_camera_of_a_plugin_is_reconnected_and_numbered_on() -> None:
    source = open_source("odd://live", "door")
    assert source.info.is_live
    found = frames(source, 4)
    source.close()
    assert {frame.source for frame in found} == {"door"}
    assert len({frame.seq for frame in found}) == 4
    assert np.unique([frame.image.max() // 10 for frame in found]).tolist() == [1, 2]


def test_a_camera_that_is_away_is_waited_for_or_an_error() -> None:
    with pytest.raises(SourceError, match="nobody answers"):
        open_source("odd://away", "door")
    source = open_source("odd://away", "door", must_open=False)
    assert source.read(5).source == "door"
    source.close()


def test_a_frame_of_another_source_is_refused() -> None:
    with pytest.raises(PluginError, match=r"odd-camera 1: a frame says source 'other'"):
        open_source("odd://wrong", "door").read(1)


def test_a_frame_without_a_row_is_refused() -> None:
    source = open_source("odd://flat", "front")
    with pytest.raises(PluginError, match=r"odd.*a row and a column at least, got \(0, 64, 3\)"):
        source.read(2)


def test_credentials_are_hidden_and_other_schemes_refused() -> None:
    assert parse_uri("odd://me:s3cret@cam/1").shown == "odd://***@cam/1"
    with pytest.raises(UsageError, match=r"unknown scheme 'even'.*gst, odd, a path"):
        parse_uri("even://cam")
