"""Files that appear together, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetson_face.core.errors import OutputError
from jetson_face.util.files import staged, write_file


def test_files_arrive_together_in_the_place_of_those_of_before(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    for text in ("one", "two"):
        with staged(home) as stage:
            write_file(stage / "a.txt", text)
            write_file(stage / "sub" / "deep" / "b.txt", text)
            before = {path.read_text() for path in home.rglob("*.txt") if stage not in path.parents}
            assert before == (set() if text == "one" else {"one"})
        found = {str(p.relative_to(home)): p.read_text() for p in home.rglob("*") if p.is_file()}
        assert found == {"a.txt": text, "sub/deep/b.txt": text}
        assert sorted(path.name for path in home.iterdir()) == ["a.txt", "sub"]


@pytest.mark.parametrize("error", [OutputError("full"), KeyboardInterrupt(), ValueError("bug")])
def test_where_it_fails_all_is_as_before(tmp_path: Path, error: BaseException) -> None:
    def fail(home: Path) -> None:
        with staged(home) as stage:
            write_file(stage / "kept.txt", "new")
            raise error

    (tmp_path / "kept.txt").write_text("old")
    for home in (tmp_path, tmp_path / "new" / "home"):
        with pytest.raises(type(error)):
            fail(home)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    assert (tmp_path / "kept.txt").read_text() == "old"


def test_errors_name_the_file_as_it_would_be_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def fail(home: Path) -> None:
        with staged(home) as stage:
            (stage / "a").touch()
            write_file(stage / "a" / "b.txt", "x")

    for home, said in ((Path("x/y"), "x/y/a/b.txt: "), (Path(), "a/b.txt: "), (tmp_path, None)):
        with pytest.raises(OutputError) as caught:
            fail(home)
        assert str(caught.value).startswith(said or f"{tmp_path}/a/b.txt: cannot be written: ")
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way_is_met_before_anything_moves(tmp_path: Path) -> None:
    def arrive() -> None:
        with staged(tmp_path) as stage:
            for name in ("a.txt", "new/b.txt", "c.txt"):
                write_file(stage / name, "x")

    (tmp_path / "c.txt").mkdir()
    with pytest.raises(OutputError, match=r"^/\S+/c\.txt: cannot be written: Is a directory$"):
        arrive()
    assert [path.name for path in tmp_path.iterdir()] == ["c.txt"]
    (tmp_path / "c.txt").rmdir()
    (tmp_path / "new").touch()
    with pytest.raises(OutputError, match=r"b\.txt: cannot be written: Not a directory$"):
        arrive()
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "sub"):
        with (
            pytest.raises(OutputError, match=f"^{home}: cannot be written: Not a directory$"),
            staged(home),
        ):
            pytest.fail("there is nowhere to write to")
