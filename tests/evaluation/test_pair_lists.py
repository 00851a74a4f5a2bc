"""Lists of pairs: both formats, what is left out, and every way they can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.evaluation.pairs import Pair, find_pictures, person_of, read_pairs

LFW = "2\t2\nA\t1\t4\nB\t1\t2\nA\t1\tB\t2\nC\t3\tD\t1\nE\t1\t2\nE\t1\t3\nE\t1\tF\t1\nG\t2\tH\t10\n"
TABLE = "fold\ta\tb\tsame\n1\tx/1.jpg\tx/2.jpg\t1\n1\tx/1.jpg\ty/1.jpg\t0\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "pairs.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_lfw_pairs_get_their_fold_from_their_place(tmp_path: Path) -> None:
    got = read_pairs(write(tmp_path, LFW))
    assert got.folds_given
    assert got.folds().tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert got.same.tolist() == [True, True, False, False] * 2
    assert got.pairs[0] == Pair(1, "A/A_0001", "A/A_0004", True)
    assert got.pairs[7] == Pair(2, "G/G_0002", "H/H_0010", False)
    assert got.pictures[:3] == ("A/A_0001", "A/A_0004", "B/B_0001")


def test_a_list_without_folds_gets_ten(tmp_path: Path) -> None:
    rows = [f"P{i}\t1\t2" for i in range(10)] + [f"P{i}\t1\tP{i + 1}\t1" for i in range(10)]
    got = read_pairs(write(tmp_path, "10\n" + "\n".join(rows)))
    assert not got.folds_given
    assert got.folds().tolist() == [*range(1, 11), *range(1, 11)]
    with pytest.raises(ValueError, match="11 folds need"):
        got.folds(11)


def test_a_table_with_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes(b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n").encode())
    got = read_pairs(path)
    assert got.pairs == (
        Pair(1, "x/1.jpg", "x/2.jpg", True),
        Pair(1, "x/1.jpg", "y/1.jpg", False),
    )


def test_a_pair_counts_once_whatever_its_order_and_a_picture_not_with_itself(
    tmp_path: Path,
) -> None:
    more = "2\tx/2.jpg\tx/1.jpg\t1\n2\tx/1.jpg\tx/2.jpg\t1\n2\ty/1.jpg\ty/1.jpg\t1\n"
    got = read_pairs(write(tmp_path, TABLE + more))
    assert (len(got.pairs), got.duplicates, got.self_pairs) == (2, 2, 1)


WRONG = {
    "no header": ("A\t1\t2\n", ":1: the first line must be"),
    "empty": ("", ":1: the first line must be"),
    "no pair": ("fold\ta\tb\tsame\n", ":1: the list has no pair"),
    "only a picture with itself": (
        "fold\ta\tb\tsame\n1\tx.jpg\tx.jpg\t1\n",
        ":1: the list has no pair",
    ),
    "too few lines": ("2\t300\nA\t1\t2\n", ":1: 2 folds of 300 equal and 300 different pairs"),
    "a different pair among the equal": (
        "1\t1\nA\t1\tB\t2\nA\t1\tB\t2\n",
        ":2: expected name, i, j",
    ),
    "an equal pair among the different": ("1\t1\nA\t1\t2\nA\t1\t2\n", ":3: expected name, i, name"),
    "a picture that is no number": ("1\t1\nA\tone\t2\nA\t1\tB\t2\n", ":2: expected a name and"),
    "three columns": (TABLE + "1\ta.jpg\tb.jpg\n", ":4: expected fold, a, b, same"),
    "an empty cell": (TABLE + "1\t\tb.jpg\t1\n", ":4: expected fold, a, b, same"),
    "fold 0": (TABLE + "0\ta.jpg\tb.jpg\t1\n", ":4: fold must be a number from 1, got '0'"),
    "same is maybe": (TABLE + "1\ta.jpg\tb.jpg\tmaybe\n", ":4: same must be 1 or 0, got 'maybe'"),
    "equal and different": (
        TABLE + "2\ty/1.jpg\tx/1.jpg\t1\n",
        ":4: y/1.jpg and x/1.jpg are equal here and the other in line 3",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_list_is_refused_by_file_and_line(tmp_path: Path, name: str) -> None:
    text, says = WRONG[name]
    path = write(tmp_path, text)
    with pytest.raises(InputBrokenError) as caught:
        read_pairs(path)
    assert str(caught.value).startswith(f"{path}{says}")
    assert "\n" not in str(caught.value)


def test_a_list_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="no such file"):
        read_pairs(tmp_path / "none.txt")
    (tmp_path / "pairs.bin").write_bytes(b"2\t3\n\xff\xfe\x00")
    with pytest.raises(InputBrokenError, match="not UTF-8"):
        read_pairs(tmp_path / "pairs.bin")


def test_pictures_are_found_with_and_without_a_suffix(tmp_path: Path) -> None:
    for name in ("A/A_0001.jpg", "J.Doe/J.Doe_0001.png", "x/1.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    got = find_pictures(tmp_path, ["A/A_0001", "J.Doe/J.Doe_0001", "x/1.webp"])
    assert [str(path.relative_to(tmp_path)) for path in got.values()] == [
        "A/A_0001.jpg",
        "J.Doe/J.Doe_0001.png",
        "x/1.webp",
    ]


def test_missing_pictures_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputMissingError, match=r"b\.jpg: no such picture \(2 of 3 are missing\)"):
        find_pictures(tmp_path, ["a.jpg", "b.jpg", "c.jpg"])
    with pytest.raises(InputMissingError, match="no such folder"):
        find_pictures(tmp_path / "none", [])


@pytest.mark.parametrize(
    "name", ["../a.jpg", "x/../../a.jpg", "/etc/passwd", "..\\a.jpg", "a\0.jpg"]
)
def test_a_name_may_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputBrokenError, match="lead out"):
        find_pictures(tmp_path, [name])


@pytest.mark.parametrize(
    ("picture", "person"),
    [("001/frontal/01.jpg", "001"), ("A_B/A_B_0001", "A_B"), ("alone.jpg", "alone.jpg")],
)
def test_who_a_picture_shows(picture: str, person: str) -> None:
    assert person_of(picture) == person
