"""Results: files, tables, and what counts as a change."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetson_face.benchmark.compare import WATCHED, compare, describe, judge
from jetson_face.benchmark.plots import lines_of, write_plots
from jetson_face.benchmark.result import read_json, stage_table, table, write_csv, write_json
from jetson_face.cli.main import main
from jetson_face.core.errors import InputBrokenError, InputMissingError
from tests.benchmark.benchhelp import point, rates, result


def test_median_and_spread() -> None:
    found = point(rates(10, 30, 11))
    assert found.median("decision_fps") == 11
    assert found.spread("decision_fps") == 20
    assert found.median("named") is None
    assert found.spread("named") == 0


def test_a_name_that_never_came_is_infinite() -> None:
    found = point(rates(1, math.inf, math.inf, name="time_to_name_s"))
    assert found.runs[1]["time_to_name_s"] is None
    assert found.median("time_to_name_s") == math.inf
    assert "never" in table(result(found))


def test_json_goes_there_and_back(tmp_path: Path) -> None:
    old = result(point(rates(10, math.inf)), point(rates(3), size=320, every=1), cores=2)
    write_json(tmp_path / "r.json", old)
    assert read_json(tmp_path / "r.json") == old
    plain = json.loads((tmp_path / "r.json").read_text())
    assert plain["points"][1]["median"] == {"decision_fps": 3}
    assert plain["points"][1]["spread"] == {"decision_fps": 0}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"points": 3}', '{"points": [1]}', '"x"'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(InputBrokenError, match="not a result"):
        read_json(tmp_path / "r.json")


def test_a_missing_result_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="--json"):
        read_json(tmp_path / "r.json")


def test_csv_has_a_line_a_point_and_a_spread_for_every_figure(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "r.csv",
        result(point(rates(10, 14, 12)), point(rates(0.5, name="named"), size=320)),
    )
    with (tmp_path / "r.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["decision_fps"], first["decision_fps_spread"]) == ("12", "4")
    assert (first["size"], first["named"]) == ("", "")
    assert (second["size"], second["named"], second["decision_fps"]) == ("320", "0.5", "")


def test_the_table_shows_what_there_is() -> None:
    text = table(result(point(rates(10, 11, 12)), point(rates(3.04), size=320, every=1)))
    assert text.splitlines()[0].split() == ["method", "clip", "size", "every", "decide", "±%"]
    assert text.splitlines()[1].split() == ["pc", "clip", "own", "5", "11.0", "9"]
    assert text.splitlines()[2].split() == ["pc", "clip", "320", "1", "3.0", "-"]


def test_the_stage_table_has_every_stage() -> None:
    stages = {"detect_ms_p50": 1.0, "detect_ms_p95": 2.0, "detect_ms_p99": 3.0, "frame_ms_p50": 9.0}
    lines = stage_table(result(point([stages]), point(rates(1)))).splitlines()
    assert lines[0].split()[-1] == "detect"
    assert lines[1].split()[-1] == "1.0/2.0/3.0"
    assert lines[2].split()[-1] == "-"


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        pytest.param((100, 101, 102), (80, 81, 82), "worse", id="clearly slower"),
        pytest.param((100, 101, 102), (120, 121, 122), "better", id="clearly faster"),
        pytest.param((90, 100, 110), (85, 92, 95), None, id="ranges overlap"),
        pytest.param((100, 100.1, 100.2), (99, 99.1, 99.2), None, id="below two percent"),
        pytest.param((100,), (93,), None, id="one run: nothing is known of the noise"),
        pytest.param((100,), (85,), "worse", id="one run, large change"),
        pytest.param((100, 101), (85,), "worse", id="one run on one side"),
        pytest.param((100, 100), (100, 100), None, id="the same"),
        pytest.param((0, 0), (5, 5), "better", id="from nothing"),
    ],
)
def test_what_counts_as_a_change(
    old: tuple[float, ...], new: tuple[float, ...], verdict: str | None
) -> None:
    change = judge("decision_fps", point(rates(*old)), point(rates(*new)))
    got = None if change is None else "better" if change.better else "worse"
    assert got == verdict


@pytest.mark.parametrize("figure", WATCHED)
def test_which_way_is_better(figure: str) -> None:
    change = judge(figure, point(rates(1, 1, name=figure)), point(rates(2, 2, name=figure)))
    assert change is not None
    higher = {"decision_fps", "detection_fps", "recognition_fps", "efficiency", "found", "named"}
    assert change.better == (figure in higher)
    assert change.percent == pytest.approx(100)


def test_a_name_that_is_never_given_any_more_is_worse() -> None:
    never = rates(math.inf, math.inf, name="time_to_name_s")
    some = rates(1.0, 1.0, name="time_to_name_s")
    worse, better = (
        judge("time_to_name_s", point(some), point(never)),
        judge("time_to_name_s", point(never), point(some)),
    )
    assert worse is not None
    assert not worse.better
    assert better is not None
    assert better.better
    assert judge("time_to_name_s", point(never), point(never)) is None


def test_accuracy_does_not_depend_on_the_clock_so_one_run_is_enough() -> None:
    change = judge("named", point(rates(0.9, name="named")), point(rates(0.85, name="named")))
    assert change is not None
    assert not change.better


run_values = st.lists(st.floats(1, 1000), min_size=2, max_size=5)


@given(run_values, run_values)
def test_a_change_is_symmetric(a: list[float], b: list[float]) -> None:
    there = judge("decision_fps", point(rates(*a)), point(rates(*b)))
    back = judge("decision_fps", point(rates(*b)), point(rates(*a)))
    if there is not None and back is not None:
        assert there.better != back.better
    if max(a) >= min(b) and max(b) >= min(a):
        assert there is None
        assert back is None


def test_comparison_names_what_is_missing_and_what_else_changed() -> None:
    old = result(point(rates(100, 101)), point(rates(5, 5), every=1), cores=2, load_1min=0.1)
    new = result(point(rates(80, 81)), point(rates(5, 5), every=2), cores=4, load_1min=3.0)
    found = compare(old, new)
    assert [change.figure for change in found.changes] == ["decision_fps"]
    assert found.compared == 1
    assert found.missing == (
        "only in the first: pc clip sampling 1",
        "only in the second: pc clip sampling 2",
    )
    assert found.machine == ("cores: 2 -> 4",)
    assert [change.setting.every for change in found.slower(15)] == [5]
    assert not found.slower(25)
    text = describe(found)
    assert "WORSE" in text
    assert "cores: 2 -> 4" in text
    assert "-19.9 %" in text


def test_nothing_changed_is_said() -> None:
    same = result(point(rates(100, 101)))
    assert describe(compare(same, same)) == "1 settings compared: nothing changed beyond the noise"


@pytest.mark.parametrize(
    ("new", "limit", "code"),
    [((80, 81), "10", 1), ((80, 81), "30", 0), ((80, 81), None, 0), ((120, 121), "10", 0)],
)
def test_the_command_compares_and_can_fail(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    new: tuple[float, ...],
    limit: str | None,
    code: int,
) -> None:
    write_json(tmp_path / "a.json", result(point(rates(100, 101))))
    write_json(tmp_path / "b.json", result(point(rates(*new))))
    words = ["bench", "compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert main([*words, *(["--fail-on-slower", limit] if limit else [])]) == code
    assert "decision_fps" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["compare"], ["compare", "a"], ["list", "a", "b"]])
def test_other_words_are_refused(words: list[str]) -> None:
    assert main(["bench", *words]) == 2


def test_plot_lines_are_one_for_each_other_setting() -> None:
    points = tuple(
        point(rates(fps, fps + 1), size=size, every=every)
        for size, every, fps in ((320, 5, 9), (320, 1, 4), (640, 1, 2), (640, 5, 7), (960, 1, 1))
    )
    by_every = lines_of(points, "every", "decision_fps")
    assert by_every == {
        "pc, clip, size 320": [(1, 4.5, 4, 5), (5, 9.5, 9, 10)],
        "pc, clip, size 640": [(1, 2.5, 2, 3), (5, 7.5, 7, 8)],
    }
    by_size = lines_of(points, "size", "decision_fps")
    assert [x for x, *_ in by_size["pc, clip, sampling 1"]] == [320, 640, 960]


def test_plots_are_written_where_there_is_something_to_show(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    one = result(point([{"decision_fps": 5, "named": 0.9}]))
    assert [path.name for path in write_plots(tmp_path, one)] == ["speed_accuracy.png"]
    two = result(point(rates(5)), point(rates(9), every=9))
    assert [path.name for path in write_plots(tmp_path, two)] == ["fps_by_sampling.png"]
    assert (tmp_path / "fps_by_sampling.png").read_bytes().startswith(b"\x89PNG")
