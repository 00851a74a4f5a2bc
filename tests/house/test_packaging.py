"""The wheel holds what a stranger needs, the tests use it, its layers point one way, no circles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import jetson_face
from jetson_face.cli.main import COMMANDS, build_parser

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The wheel that tools/test.sh built."""
    found = sorted((REPO / "build" / "wheel").glob("*.whl"))
    if not found:
        pytest.skip("no wheel in build/wheel: run tools/test.sh")
    return found[-1]


def test_the_installed_wheel_is_what_is_tested() -> None:
    installed = os.environ.get("JETSON_FACE_INSTALLED")
    if installed is None:
        pytest.skip("not started by tools/test.sh")
    assert Path(jetson_face.__file__).is_relative_to(installed)


def test_the_wheel_holds_code_cards_configs_and_units_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    tops = {name.split("/")[0] for name in names}
    assert tops == {"jetson_face"}
    sources = {str(path.relative_to(REPO)) for path in (REPO / "jetson_face").rglob("*.py")}
    assert sources <= names
    for folder, inside, ending in (
        ("engines", "_engines", ".yaml"),
        ("engines", "_engines", ".onnx"),
        ("configs", "_configs", ".yaml"),
        ("systemd", "_systemd", ".service"),
    ):
        there = {path.name for path in (REPO / folder).glob(f"*{ending}")}
        carried = {
            name.rsplit("/", 1)[-1]
            for name in names
            if name.startswith(f"jetson_face/{inside}/") and name.endswith(ending)
        }
        assert there == carried, folder
    extra = {n for n in names if Path(n).suffix in {".db", ".plan", ".pyc", ".jpg", ".mp4"}}
    assert not extra


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build_parser(command).parse_args([command, "--help"])
    assert stop.value.code == 0
    assert command in capsys.readouterr().out


def test_help_imports_no_network_runtime() -> None:
    code = (
        "import sys; from jetson_face.cli.main import build_parser; build_parser(None); "
        "print([m for m in ('cv2', 'onnxruntime', 'dlib', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_without_an_archive_nothing_of_it_is_imported(tmp_path: Path) -> None:
    """Whatever else a box does: the extra need not be installed, and costs nothing where it is."""
    code = (
        "import sys\n"
        "for name in ('pyarrow', 'fsspec', 'ray', 'av'): sys.modules[name] = None\n"
        "from jetson_face.cli.main import COMMANDS, build_parser, main\n"
        "for name in COMMANDS: build_parser(name)\n"
        "import jetson_face.service.daemon, jetson_face.service.erasure, jetson_face.api\n"
        "assert main(['people', 'list', '--set', 'state_dir=nowhere']) == 4\n"
        "assert main(['archive', 'index', 'a.mp4', '--into', 'b']) == 12\n"
        "print([m for m in sys.modules if m.startswith('jetson_face.archive.')])"
    )

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPO)},
            timeout=60,
        )

    done = run(code)
    assert done.returncode == 0, done.stderr
    assert "need fsspec: pip install '.[archive]'" in done.stderr
    assert list(tmp_path.iterdir()) == []
    alone = code.replace("assert main(['archive', 'index', 'a.mp4', '--into', 'b']) == 12\n", "")
    assert run(alone).stdout.strip() == "[]"


def test_without_a_fleet_nothing_of_it_is_imported_and_no_thread_is_made(tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "for name in ('nats', 'nkeys'): sys.modules[name] = None\n"
        "from jetson_face.cli.main import COMMANDS, build_parser, main\n"
        "for name in COMMANDS: build_parser(name)\n"
        "import jetson_face.service, jetson_face.service.erasure, jetson_face.api\n"
        "from jetson_face.service.fleet_process import fleet_process\n"
        "from jetson_face.config import load_config\n"
        "from jetson_face.events.outbox import Outbox\n"
        "from jetson_face.service.plumbing import build_deliverers\n"
        "from pathlib import Path\n"
        "before = threading.active_count()\n"
        "with fleet_process(()):\n"
        "    deliverers = build_deliverers(load_config(None), Outbox(Path('outbox.db')))\n"
        "    assert threading.active_count() == before\n"
        "assert deliverers == []\n"
        "assert main(['people', 'list', '--set', 'state_dir=nowhere']) == 4\n"
        "ours = 'jetson_face.fleet', 'jetson_face.events.nats'\n"
        "print([m for m in sys.modules if m.startswith(ours)])\n"
        "fleet = ['fleet.server=nats://h:1', 'fleet.site=x', 'fleet.key=fleet.key']\n"
        "words = [w for one in fleet for w in ('--set', one)]\n"
        "assert main(['fleet', 'keys', *words]) == 0\n"
        "assert main(['fleet', 'status', *words]) == 12\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPO), "XDG_STATE_HOME": str(tmp_path)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[]"
    assert "needs nats-py and nkeys: pip install '.[fleet]'" in done.stderr


def lint_layers(folder: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("importlinter", reason="import-linter comes with the dev extra")
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_layers_hold() -> None:
    done = lint_layers(REPO)
    assert done.returncode == 0, done.stdout[-3000:]


def test_an_import_against_the_arrows_is_found(tmp_path: Path) -> None:
    shutil.copytree(REPO / "jetson_face", tmp_path / "jetson_face")
    shutil.copy(REPO / ".importlinter", tmp_path / ".importlinter")
    with (tmp_path / "jetson_face" / "core" / "geometry.py").open("a", encoding="utf-8") as file:
        file.write("\nimport jetson_face.config\n")
    done = lint_layers(tmp_path)
    assert done.returncode == 1
    assert "jetson_face.core.geometry -> jetson_face.config" in done.stdout


def test_a_circle_inside_a_folder_is_found(tmp_path: Path) -> None:
    shutil.copytree(REPO / "jetson_face", tmp_path / "jetson_face")
    shutil.copy(REPO / ".importlinter", tmp_path / ".importlinter")
    module = tmp_path / "jetson_face" / "evaluation" / "bakeoff" / "facts.py"
    with module.open("a", encoding="utf-8") as file:  # also where it is a function's import
        file.write("\ndef circle() -> None:\n    import jetson_face.evaluation.bakeoff.report\n")
    done = lint_layers(tmp_path)
    assert done.returncode == 1
    assert "No cycles are allowed in jetson_face.evaluation.bakeoff" in done.stdout
