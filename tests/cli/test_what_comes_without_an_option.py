"""What a command is about may be named without its option: configuration, clip, source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jetson_face.cli import bench, run
from jetson_face.cli.main import build_parser, main


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text("sampling: {interval: 7}\n")
    return path


def test_config_check_and_show_take_a_file(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", str(site)]) == 0
    assert capsys.readouterr().out == (
        f"{site}: valid\nnot checked: whether the files exist (jetson-face doctor -c {site})\n"
    )
    assert main(["config", "show", str(site)]) == 0
    assert "interval: 7" in capsys.readouterr().out
    site.write_text("samplnig: {}\n")
    assert main(["config", "check", str(site)]) == 3
    assert f"{site}:1: samplnig: unknown key" in capsys.readouterr().err


def test_two_different_files_are_refused(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", str(site), "-c", str(site)]) == 0
    assert main(["config", "check", str(site), "-c", "other.yaml"]) == 2
    assert f"-c other.yaml and {site}: give one of them" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["x.mp4"], ["--source", "x.mp4"]])
def test_run_takes_a_source(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Seen(Exception):  # noqa: N818 - ends the command where the run would begin
        pass

    def recognise(config: Any, **more: Any) -> Any:
        raise Seen(config.sources[0].uri)

    monkeypatch.setattr(run, "recognise", recognise)
    with pytest.raises(Seen, match=r"^x\.mp4$"):
        run.run(build_parser("run").parse_args(["run", *words]))


@pytest.mark.parametrize("words", [["x.mp4"], ["--clip", "x.mp4"]])
def test_bench_takes_a_clip(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(bench, "_measure", lambda args: seen.append(args.clip))
    monkeypatch.setattr(bench, "_write", lambda args, result: None)
    assert main(["bench", *words]) == 0
    assert seen == [Path("x.mp4")]
