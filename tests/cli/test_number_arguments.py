"""Numbers on the command line that cannot be meant are refused before anything is done."""

from __future__ import annotations

import pytest

from jetson_face.cli.main import main

BOUNDS = {
    "web run --port 0": "from 1 to 65535",
    "web run --port 99999": "from 1 to 65535",
    "web run --session-minutes 0": "not above 0",
    "rtsp --port 99999": "from 0 to 65535",
    "rtsp --port -1": "from 0 to 65535",
    "rtsp --fps 0": "from 1 to 30",
    "rtsp --fps 31": "from 1 to 30",
    "rtsp --width 0": "from 16 to 16384",
    "tune clip.mp4 --fps -1": "not above 0",
    "tune clip.mp4 --fps nan": "not a finite number",
    "tune clip.mp4 --cpu 0": "not above 0",
    "tune clip.mp4 --wait -1": "not above 0",
    "tune clip.mp4 --frames 0": "from 1",
    "tune clip.mp4 --min-face 5000": "from 12 to 2000",
    "tune clip.mp4 --min-face 0": "from 12 to 2000",
    "bench --frames 0": "from 1",
    "bench --repeats 0": "from 1",
    "bench --repeats many": "from 1",
    "clips make people --out a.mp4 --faces 0": "from 1",
    "clips make people --out a.mp4 --known -1": "from 0",
    "clips make people --out a.mp4 --seconds 0": "not above 0",
    "reload --timeout -1": "not above 0",
    "fleet set-up --keep-days 0": "not above 0",
    "fleet set-up --max-mib 0": "from 1",
}


@pytest.mark.parametrize("line", BOUNDS)
def test_bounds(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    *_, option, value = line.split()
    try:
        code: object = main(line.split())
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {option}: {value!r} is" in said
    assert said.endswith(BOUNDS[line])
