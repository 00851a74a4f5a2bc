"""Lists of picture pairs: LFW's pairs.txt, or a table with the header fold, a, b, same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.core.types import I64, BoolArray
from jetson_face.evaluation.metrics import assign_folds
from jetson_face.util.images import SUFFIXES

_HEADER = ("fold", "a", "b", "same")
_YES_NO = {"1": True, "0": False, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures, named relative to the folder of pictures. fold: 0 where the list has none."""

    fold: int
    a: str
    b: str
    same: bool


@dataclass(frozen=True, slots=True)
class PairList:
    """Pairs of which none is counted twice.

    duplicates: rows left out because the same two pictures (in either order) came before.
    self_pairs: rows left out because both pictures are one file.
    """

    pairs: tuple[Pair, ...]
    duplicates: int
    self_pairs: int

    @property
    def same(self) -> BoolArray:
        """(N,) True where both pictures show one person."""
        return np.array([pair.same for pair in self.pairs], np.bool_)

    @property
    def folds_given(self) -> bool:
        """The list itself says which fold a pair is in."""
        return all(pair.fold > 0 for pair in self.pairs)

    def folds(self, count: int = 10) -> I64:
        """(N,) fold numbers from 1: those of the list, or `count` runs in the order given.

        Raises ValueError if the list gives none and has too few pairs for `count`.
        """
        if self.folds_given:
            return np.array([pair.fold for pair in self.pairs], np.int64)
        return assign_folds(self.same, count)

    @property
    def pictures(self) -> tuple[str, ...]:
        """Every picture once, in the order of first use."""
        return tuple(dict.fromkeys(name for pair in self.pairs for name in (pair.a, pair.b)))


def person_of(picture: str) -> str:
    """Who a picture shows, for resampling: its first folder, or the picture itself without one."""
    parts = PurePosixPath(picture).parts
    return parts[0] if len(parts) > 1 else picture


def read_pairs(path: Path) -> PairList:
    """Read a list of pairs; repeated and self-pairs are left out and counted.

    LFW: a line `folds n` (or `n`), then for each fold n lines `name i j` and n lines
    `name i name j`, separated by tabs; a picture is NAME/NAME_0001. Table: tab-separated, first
    line `fold a b same`, same is 1 or 0.

    Raises InputMissingError where there is no file, InputBrokenError (file:line: what is wrong)
    for a line that does not fit, a pair listed as equal and as different, or an empty list.
    """
    lines = _lines(path)
    number, first = next(iter(lines), (1, ""))
    cells = tuple(cell.strip().lower() for cell in first.split("\t"))
    if cells == _HEADER:
        rows = list(_table(path, lines[1:]))
    elif 1 <= len(cells) <= 2 and all(cell.isdecimal() for cell in cells):
        rows = list(_lfw(path, lines[1:], [int(cell) for cell in cells]))
    else:
        raise InputBrokenError(
            f"{path}:{number}: the first line must be LFW's 'folds<TAB>n' or the header "
            f"'fold<TAB>a<TAB>b<TAB>same', got {first[:60]!r}"
        )
    pairs = _each_once(path, rows)
    if not pairs.pairs:
        raise InputBrokenError(f"{path}:1: the list has no pair")
    return pairs


def find_pictures(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Where each picture lies below `folder`; a name without a suffix takes the one that exists.

    Raises InputMissingError naming the first that is missing and how many are, InputBrokenError
    for a name that leads out of the folder.
    """
    if not folder.is_dir():
        raise InputMissingError(f"{folder}: no such folder: name the folder of the pictures")
    found: dict[str, Path] = {}
    missing: list[str] = []
    for name in names:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name:
            raise InputBrokenError(f"{name!r}: a picture's name may not lead out of {folder}")
        place = _existing(folder / relative)
        if place is None:
            missing.append(name)
        else:
            found[name] = place
    if missing:
        raise InputMissingError(
            f"{folder / missing[0]}: no such picture ({len(missing)} of "
            f"{len(missing) + len(found)} are missing): does --images name the right folder?"
        )
    return found


def _existing(path: Path) -> Path | None:
    if path.suffix.lower() in SUFFIXES:
        return path if path.is_file() else None
    # `Name_0001` has no suffix; `J.Doe_0001` only looks as if it had one
    tried = (path.with_name(path.name + suffix) for suffix in (".jpg", *sorted(SUFFIXES)))
    return next((place for place in tried if place.is_file()), None)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputMissingError(f"{path}: no such file: name a list of pairs") from None
    except UnicodeDecodeError as error:
        raise InputBrokenError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise InputBrokenError(f"{path}: cannot be read: {error.strerror}") from error
    return [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]


def _table(path: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[int, Pair]]:
    for number, line in lines:
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 4 or not all(cells):
            raise InputBrokenError(
                f"{path}:{number}: expected fold, a, b, same separated by tabs, got {line[:80]!r}"
            )
        fold, a, b, same = cells
        if not fold.isdecimal() or int(fold) < 1:
            raise InputBrokenError(f"{path}:{number}: fold must be a number from 1, got {fold!r}")
        if same.lower() not in _YES_NO:
            raise InputBrokenError(f"{path}:{number}: same must be 1 or 0, got {same!r}")
        yield number, Pair(int(fold), a, b, _YES_NO[same.lower()])


def _lfw(path: Path, lines: list[tuple[int, str]], header: list[int]) -> Iterator[tuple[int, Pair]]:
    folds, each = (header[0], header[1]) if len(header) == 2 else (1, header[0])
    if folds < 1 or each < 1 or len(lines) != folds * 2 * each:
        raise InputBrokenError(
            f"{path}:1: {folds} folds of {each} equal and {each} different pairs are "
            f"{folds * 2 * each} lines, got {len(lines)}"
        )
    for row, (number, line) in enumerate(lines):
        cells = line.split("\t")
        equal = row % (2 * each) < each
        if len(cells) != (3 if equal else 4):
            wanted = "name, i, j" if equal else "name, i, name, j"
            raise InputBrokenError(f"{path}:{number}: expected {wanted}, got {line[:80]!r}")
        a, i, b, j = (cells[0], cells[1], cells[0], cells[2]) if equal else cells
        fold = row // (2 * each) + 1 if len(header) == 2 else 0
        yield (
            number,
            Pair(fold, _lfw_name(path, number, a, i), _lfw_name(path, number, b, j), equal),
        )


def _lfw_name(path: Path, line: int, name: str, picture: str) -> str:
    name, picture = name.strip(), picture.strip()
    if not name or not picture.isdecimal():
        raise InputBrokenError(f"{path}:{line}: expected a name and a number: {name!r} {picture!r}")
    return f"{name}/{name}_{int(picture):04d}"


def _each_once(path: Path, rows: list[tuple[int, Pair]]) -> PairList:
    seen: dict[tuple[str, str], tuple[int, bool]] = {}
    kept: list[Pair] = []
    duplicates = self_pairs = 0
    for number, pair in rows:
        key = (min(pair.a, pair.b), max(pair.a, pair.b))
        if pair.a == pair.b:
            self_pairs += 1
        elif key not in seen:
            seen[key] = (number, pair.same)
            kept.append(pair)
        elif seen[key][1] != pair.same:
            raise InputBrokenError(
                f"{path}:{number}: {pair.a} and {pair.b} are "
                f"{'equal' if pair.same else 'different'} here and the other in line "
                f"{seen[key][0]}: mend the list"
            )
        else:
            duplicates += 1
    return PairList(tuple(kept), duplicates, self_pairs)
