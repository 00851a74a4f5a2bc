"""Damaged inputs out of valid ones: a program of bytes says what is changed, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

STEP = 8
"""Bytes of a program that one edit takes."""
SIZE_MAX = 1 << 16


def steps(seeds: Sequence[bytes], words: Sequence[bytes], program: bytes) -> Iterator[bytes]:
    """The seed that the program's first byte picks, after each of its edits.

    words: what the format gives a meaning to. Text (UTF-8 seeds) is also edited by lines.
    """
    if not program:
        return
    data = seeds[program[0] % len(seeds)]
    other = seeds[program[0] // len(seeds) % len(seeds)]
    for at in range(1, len(program) - STEP + 1, STEP):
        data, view = edited(data, other, words, program[at : at + STEP])
        yield view


def edited(data: bytes, other: bytes, words: Sequence[bytes], edit: bytes) -> tuple[bytes, bytes]:
    """What the next edit starts from, and what is tried now (they differ where it is cut off)."""
    kind, word = edit[0], words[edit[7] % len(words)]
    if kind % 16 == 0:
        return data, data[: place(edit, len(data))]
    if kind % 64 == 1:
        return data, edit[2:] * (1 + kind // 8)
    if b"\n" in data and data.isascii() and kind % 4:
        data = b"\n".join(_lines(data.split(b"\n"), other.split(b"\n"), word, edit))
    else:
        data = _bytes(data, other, word, edit)
    data = data[:SIZE_MAX]
    return data, data


def place(edit: bytes, size: int) -> int:
    """Where in `size` bytes the edit is: from three of its bytes, enough for any file here."""
    return int.from_bytes(edit[1:4], "big") % (size + 1)


def _bytes(data: bytes, other: bytes, word: bytes, edit: bytes) -> bytes:
    at, length, value = place(edit, len(data)), edit[4] % 64, edit[5]
    head, tail = data[:at], data[at:]
    match edit[0] // 4 % 8:
        case 0:
            return head + bytes([value]) + tail[1:]
        case 1:
            return head + bytes([(tail[0] if tail else 0) ^ (1 << value % 8)]) + tail[1:]
        case 2:
            return head + word + tail
        case 3:
            return head + word + tail[len(word) :]
        case 4:
            return head + tail[length + 1 :]
        case 5:
            start = at * len(other) // (len(data) + 1)
            return head + other[start : start + length] + tail[length:]
        case 6:
            return head + tail[:length] * (2 + value % 4) + tail[length:]
        case _:
            return head + tail[: 1 + length % 8] * (1 + value) + tail


def _lines(lines: list[bytes], others: list[bytes], word: bytes, edit: bytes) -> list[bytes]:
    at, another = place(edit, len(lines) - 1), edit[4] % len(lines)
    line = lines[at]
    indent = line[: len(line) - len(line.lstrip())]
    key, colon, _ = line.partition(b":")
    match edit[0] // 4 % 8:
        case 0 | 1:
            lines[at] = key + colon + b" " + word
        case 2:
            del lines[at]
        case 3:
            lines.insert(another, line)
        case 4:
            lines[at], lines[another] = lines[another], line
        case 5:
            lines[at] = b" " * (edit[5] % 9) + line.lstrip()
        case 6:
            lines.insert(at, indent + word + b": " + lines[another].partition(b":")[2])
        case _:
            lines[at:at] = others[edit[5] % len(others) :][: 1 + edit[6] % 6]
    return lines
