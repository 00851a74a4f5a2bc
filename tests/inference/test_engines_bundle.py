"""Plans that one box builds and an equal one takes: `engines export` and `import`."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jetson_face.cli.main import main
from jetson_face.core.errors import EngineError
from jetson_face.inference.tensorrt.bundle import read_bundle, write_bundle
from tests.inference.fake_gpu import FakeModule, put_in

On = Callable[..., int]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> FakeModule:
    return put_in(monkeypatch)


@pytest.fixture
def on(tmp_path: Path) -> On:
    """A command on the box of that name: each has a cache of its own."""

    def run(box: str, *words: str, min_face_px: int = 80) -> int:
        wanted = (
            f"engines.cache={tmp_path / box}",
            "detector.type=mtcnn",
            f"detector.min_face_px={min_face_px}",
        )
        return main(["engines", *words, *(x for w in wanted for x in ("--set", w))])

    return run


@pytest.fixture
def shipped(
    on: On, module: FakeModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[Path, str]:
    """The file that the first box exported, and the digest that it printed."""
    assert module.builds == 0
    assert on("first", "build", "rnet") == 0
    path = tmp_path / "plans.zip"
    assert on("first", "export", str(path), "rnet") == 0
    said = capsys.readouterr().out
    found = re.search(r"engines import plans\.zip --sha256 ([0-9a-f]{64})", said)
    assert found is not None
    assert hashlib.sha256(path.read_bytes()).hexdigest() == found[1]
    return path, found[1]


def test_the_second_box_builds_nothing_and_judges_for_itself(
    on: On,
    module: FakeModule,
    shipped: tuple[Path, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, digest = shipped
    assert on("second", "import", str(path), "--sha256", digest.upper()) == 0
    said = capsys.readouterr().out
    assert "rnet: taken, parity passed" in said
    assert "boxes, largest shift (px)" in said
    assert on("second", "build", "rnet") == 0
    assert "rnet: was there already, parity passed" in capsys.readouterr().out
    assert module.builds == 1
    assert on("second", "import", str(path), "--sha256", digest) == 0
    assert "rnet: not needed, or here already" in capsys.readouterr().out


def test_the_same_plans_give_the_same_file(
    on: On, shipped: tuple[Path, str], tmp_path: Path
) -> None:
    path, digest = shipped
    again = tmp_path / "again.zip"
    assert write_bundle(again, read_bundle(path, digest)) == digest
    assert again.read_bytes() == path.read_bytes()
    with pytest.raises(EngineError, match="no plan to export"):
        write_bundle(again, [])


@pytest.mark.parametrize("harm", ["other digest", "changed file", "no digest", "no file"])
def test_a_file_that_is_not_what_was_exported_is_refused(
    harm: str,
    on: On,
    shipped: tuple[Path, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, digest = shipped
    if harm == "other digest":
        digest = "0" * 64
    elif harm == "changed file":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif harm == "no digest":
        digest = "abc"
    else:
        path = tmp_path / "none.zip"
    assert on("second", "import", str(path), "--sha256", digest) == 11
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    wanted = {"no digest": "64 digits", "no file": "cannot be read"}
    assert wanted.get(harm, "is not the file that was exported") in said
    assert not (tmp_path / "second").exists()


def repacked(path: Path, change: Callable[[str, bytes], bytes | None]) -> str:
    """The file made again with members changed, as whoever has the digest's author could."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            if (new := change(name, data)) is not None:
                archive.writestr(name, new)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda name, data: data + b"x" if name.endswith(".plan") else data, "is damaged"),
        (lambda name, data: None if name.endswith("t.json") else data, "not made by"),
        (lambda name, data: b"{}" if name == "manifest.json" else data, "another format"),
        (lambda name, data: b"{}" if name[:4] == "rnet" and "json" in name else data, "damaged"),
        (lambda name, data: re.sub(rb'"plan_bytes": \d+', b'"plan_bytes": 1e999', data), "damaged"),
        (lambda name, data: b"[" * 99_999 if name == "manifest.json" else data, "not made by"),
    ],
    ids=["plan", "no manifest", "format", "side-car", "endless", "deep"],
)
def test_what_is_inside_is_checked_too(
    change: Callable[[str, bytes], bytes | None], says: str, shipped: tuple[Path, str]
) -> None:
    path, _ = shipped
    digest = repacked(path, change)
    with pytest.raises(EngineError, match=says):
        read_bundle(path, digest)


def test_a_file_with_a_password_is_named(shipped: tuple[Path, str]) -> None:
    path, _ = shipped
    content = bytearray(path.read_bytes())
    for head, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.rindex(head) + flags] |= 1  # of the last file
        content[content.index(head) + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(EngineError, match="password required"):
        read_bundle(path, hashlib.sha256(content).hexdigest())


def test_no_zip_and_no_export_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(EngineError, match="not made by `jetson-face engines export`"):
        read_bundle(path, hashlib.sha256(b"no zip").hexdigest())


def test_a_plan_for_another_board_is_refused_and_says_why(
    on: On, shipped: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = shipped

    def other(name: str, data: bytes) -> bytes:
        if name == "manifest.json" or name.endswith(".plan"):
            return data
        facts = json.loads(data)
        facts["key"]["compute_capability"] = "11.0"
        return json.dumps(facts).encode()

    digest = repacked(path, other)
    assert on("second", "import", str(path), "--sha256", digest) == 11
    said = capsys.readouterr().err
    assert "built for another box: compute capability: built for 11.0, here 8.7" in said
    assert not list((tmp_path / "second").glob("*.plan"))


def test_a_plan_that_answers_wrong_here_is_not_kept(
    on: On,
    shipped: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, digest = shipped
    monkeypatch.setattr("jetson_face.inference.tensorrt.parity.ParityReport.passed", False)
    monkeypatch.setattr(
        "jetson_face.inference.tensorrt.parity.ParityReport.first_failure", lambda self: "boxes"
    )
    assert on("second", "import", str(path), "--sha256", digest) == 11
    assert "failed the parity gate here and was not taken (boxes)" in capsys.readouterr().err
    assert not list((tmp_path / "second").glob("*.plan"))
