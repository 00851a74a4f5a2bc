"""The pages for people, taken apart: fenced blocks with their marks, and command lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
RUN_HERE = (
    "README.md",
    "docs/installer.md",
    "docs/operator.md",
    "docs/engineer.md",
    "docs/archive.md",
)
"""Their bash blocks are run by test_docs.py, in this order of blocks, in one folder a page."""
GENERATED = {"docs/bakeoff.md", "docs/transfer.md"}
"""Written by `eval bakeoff` and `train`, which take hours: their commands are only parsed."""
OWN_TESTS = {f"docs/own_{part}.md" for part in ("detector", "embedder", "sink")}
"""Their blocks are run by tests/api/plugins/test_guides.py."""

_FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. reason: why it is not run, None where it is. line: of its fence, from 1."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def commands(self) -> bool:
        """Whether it is to be typed; a block without a language may be, too."""
        if self.language:
            return self.language == "bash"
        return (
            re.search(r"^(?:sudo )?(?:jetson-face|python3?|bash|pip) ", self.text, re.M) is not None
        )

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """README and docs/, by path from the top."""
    return ["README.md", *sorted(f"docs/{path.name}" for path in REPO.glob("docs/*.md"))]


def read(page: str) -> str:
    """A page's text."""
    return (REPO / page).read_text("utf-8")


def blocks(page: str) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = read(page)
    return [
        Block(
            page,
            text.count("\n", 0, found.start("language")) + 1,
            found["language"],
            found["text"],
            found["reason"],
        )
        for found in _FENCE.finditer(text)
    ]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", read(page))


def inline_code(page: str) -> list[str]:
    """What stands between single backticks."""
    return _INLINE.findall(prose(page))


def command_lines(page: str, program: str) -> Iterator[tuple[str, list[str], bool]]:
    """(the text, the words after `program`, whether it is a line of a block) of every call.

    Shell comments, `sudo`, what comes after && | ; ` and … that stands for more are left out. Of
    `service exec` the command that it runs counts.
    """
    lines = [
        line
        for block in blocks(page)
        if block.language in ("", "bash")
        for line in block.text.replace("\\\n", " ").splitlines()
    ]
    for text, whole in [*((x, True) for x in lines), *((x, False) for x in inline_code(page))]:
        for part in re.split(r"&&|\||;|`", text):
            words = _words(part)
            while words[:1] == ["sudo"]:
                words = words[1:]
            if words[:1] == [program] and len(words) > 1:
                words = words[1:]
                if words[:2] == ["service", "exec"] and len(words) > 2:
                    words = words[2:]
                yield text.strip(), words, whole and "…" not in text


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # prose with an apostrophe, in a block of output
        return []
    # `$turned` and the like stand for options of their own line.
    return [word for word in words if not word.startswith("$") and word != "…"]
