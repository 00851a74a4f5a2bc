"""One plug-in of each kind, of an installed package, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jetson_face.util.images import write_picture
from tests.api.plugins.conftest import Run, pip_install

CONFIG = """\
state_dir: state
sources: [{uri: "squares://?frames=20", name: door}]
detector: {type: plugin, name: squares, options: {least: 50}}
refiner: {type: plugin, name: squares}
embedder: {type: plugin, name: colour, mirror: false}
sampling: {interval: 4}
quality: {enroll_min: 0, embed_min: 0}
report: {sinks: [{name: lines, options: {path: lines.txt}}]}
"""


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A configuration that names all five, and a picture of Ada, who is red."""
    image = np.full((240, 320, 3), 90, np.uint8)
    image[40:160, 60:180] = (40, 40, 230)
    write_picture(tmp_path / "ada.png", image)
    (tmp_path / "site.yaml").write_text(CONFIG)
    return tmp_path


def test_run_with_one_of_each(command: Run, configured: Path) -> None:
    enrolled = command("enroll", "-c", "site.yaml", "--name", "Ada", "ada.png")
    assert enrolled.returncode == 0, enrolled.stderr
    ran = command("run", "-c", "site.yaml", "--report", "report.json")
    assert ran.returncode == 0, ran.stderr
    lines = (configured / "lines.txt").read_text().splitlines()
    assert [line.split(" ", 2)[0] for line in lines] == ["door", "door"]
    assert sorted(line.split(" ", 2)[2] for line in lines) == ["known Ada", "unknown"]
    report = ran.stdout
    assert "squares+colour" in report
    assert "refine" in report  # the frames between two searches were followed


def test_the_frames_of_a_plugin_are_turned_and_what_it_cannot_take_is_refused(
    command: Run, configured: Path
) -> None:
    sources = "sources=[{uri: 'squares://?frames=20', name: door, %s}]"
    ran = command(
        "run", "-c", "site.yaml", "--set", sources % "flip: rotate_90", "--report", "r.json"
    )
    assert ran.returncode == 0, ran.stderr
    (told,) = json.loads((configured / "r.json").read_text())["sources"]
    assert (told["width"], told["height"]) == (240, 320)
    ran = command("run", "-c", "site.yaml", "--set", sources % "width: 640, height: 480")
    assert ran.returncode == 3
    (line,) = ran.stderr.strip().splitlines()
    assert "squares: sources take no width: leave it out" in line


def test_the_options_of_a_plugin_are_its_own_to_refuse(command: Run, configured: Path) -> None:
    ran = command("run", "-c", "site.yaml", "--set", "detector.options={colour: red}")
    assert ran.returncode == 19
    (line,) = ran.stderr.strip().splitlines()
    assert "detector plug-in 'squares' of the package coloured-squares 0.1" in line
    assert "'colour'" in line


@pytest.mark.parametrize(
    ("key", "kind", "known"),
    [
        ("detector={type: plugin, name: nosuch}", "detector", "squares"),
        ("refiner={name: nosuch}", "refiner", "squares"),
        ("embedder={type: plugin, name: nosuch}", "embedder", "colour"),
        ("report.sinks=[{name: nosuch}]", "sink", "lines"),
    ],
)
def test_a_name_that_is_not_installed_is_an_error_of_the_configuration(
    command: Run, configured: Path, key: str, kind: str, known: str
) -> None:
    checked = command("config", "check", "-c", "site.yaml", "--set", key)
    assert checked.returncode == 3
    (line,) = checked.stderr.strip().splitlines()
    assert f"no {kind} plug-in 'nosuch' is installed; there are: {known}" in line


def test_the_file_and_line_of_a_wrong_name_are_said(command: Run, configured: Path) -> None:
    path = configured / "wrong.yaml"
    path.write_text(CONFIG.replace("name: colour", "name: color"))
    checked = command("config", "check", "-c", "wrong.yaml")
    assert checked.returncode == 3
    assert "wrong.yaml:5: embedder.name: no embedder plug-in 'color'" in checked.stderr


def test_an_unknown_scheme_names_those_of_plugins_too(command: Run, configured: Path) -> None:
    ran = command("run", "-c", "site.yaml", "--source", "sqares://")
    assert ran.returncode == 2
    assert "unknown scheme 'sqares'" in ran.stderr
    assert "did you mean squares?" in ran.stderr
    far = command("run", "-c", "site.yaml", "--source", "xyzzy://")
    assert "gst, squares" in far.stderr


def test_doctor_lists_what_is_installed(command: Run, configured: Path) -> None:
    found = json.loads(command("doctor", "-c", "site.yaml", "--json").stdout)
    listed = [(each["state"], each["text"]) for each in found if each["topic"] == "plug-ins"]
    kinds = ("detector 'squares'", "refiner 'squares'", "embedder 'colour'", "source 'squares'")
    for kind in (*kinds, "sink 'lines'"):
        text = f"{kind.replace(' ', ' plug-in ')} of the package coloured-squares 0.1"
        assert ("ok", text) in listed


BROKEN = {
    "import": ("import nosuchmodule\n", "detect", "ModuleNotFoundError: No module named"),
    "call": (
        "class Broken:\n    def __init__(self):\n        raise RuntimeError('no key\\nsecond')\n",
        "detect",
        "RuntimeError: no key",
    ),
    "members": ("class Broken:\n    name = 'b'\n", "detect", "Broken has no detect, close"),
    "result": (
        "class Broken:\n    name = 'b'\n    def close(self): pass\n"
        "    def detect(self, image): return [(1, 2, 3, 4)]\n",
        "detect",
        "gave a list, not jetson_face.Detections",
    ),
    "later": (
        "class Broken:\n    name = 'b'\n    def close(self): pass\n"
        "    def detect(self, image): return 1 / 0\n",
        "detect",
        "ZeroDivisionError: division by zero",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plugin_is_one_line_with_its_package(
    command: Run, configured: Path, tmp_path: Path, fault: str
) -> None:
    code, _, said = BROKEN[fault]
    site = tmp_path / "other"
    info = site / "broken_thing-2.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-thing\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text(
        "[jetson_face.detectors]\nbroken = broken_thing:Broken\n"
    )
    (site / "broken_thing.py").write_text(code)
    ran = command(
        "run", "-c", "site.yaml", "--set", "detector={type: plugin, name: broken}", path=site
    )
    assert ran.returncode == 19, ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.startswith("jetson-face: ")]
    assert len(lines) == 1
    assert "Traceback" not in ran.stderr
    assert "detector plug-in 'broken' of the package broken-thing 2.5" in lines[0]
    assert said in lines[0]
    found = json.loads(command("doctor", "-c", "site.yaml", "--json", path=site).stdout)
    (listed,) = [each for each in found if "'broken'" in each["text"]]
    loads = fault != "import"
    assert listed["state"] == ("ok" if loads else "problem")
    assert (said in listed["text"]) is not loads


def test_two_packages_that_claim_one_name(command: Run, configured: Path, tmp_path: Path) -> None:
    package = tmp_path / "twin"
    package.mkdir()
    (package / "twin.py").write_text("")
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "twin"\nversion = "1"\n[tool.setuptools]\npy-modules = ["twin"]\n'
        '[project.entry-points."jetson_face.embedders"]\ncolour = "twin:Twin"\n'
    )
    site = tmp_path / "twinsite"
    pip_install(package, site)
    checked = command("config", "check", "-c", "site.yaml", path=site)
    assert checked.returncode == 3
    assert "twin 1" in checked.stderr
    assert "coloured-squares 0.1: uninstall all but one" in checked.stderr


def test_the_service_runs_with_one_of_each_too(command: Run, configured: Path) -> None:
    assert command("enroll", "-c", "site.yaml", "--name", "Ada", "ada.png").returncode == 0
    served = command("service", "run", "-c", "site.yaml")
    assert served.returncode == 0, served.stderr
    lines = (configured / "lines.txt").read_text().splitlines()
    assert sorted(line.split(" ", 2)[2] for line in lines) == ["known Ada", "unknown"]
