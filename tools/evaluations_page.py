"""Put the results of tools/evaluate_all.sh into docs/evaluations.md: python FILE OUT PAGE.

What stands between `<!-- begin NAME -->` and `<!-- end NAME -->` is replaced by OUT/NAME.md without
its title and its method; plots go into a folder beside the page.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

_BLOCK = re.compile(r"(<!-- begin ([\w]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
_END = ("## Method", "## Rules", "## Folds", "| fact | value |")


def shown(text: str) -> str:
    """The report's tables: without title, method and rules; headings two levels lower."""
    lines = []
    for line in text.splitlines()[1:]:
        if line.startswith(_END):
            break
        if line.startswith("- "):
            continue
        lines.append("##" + line if line.startswith("#") else line)
    return "\n".join(lines).strip() + "\n"


def facts(text: str) -> str:
    """What the faces were found and embedded with, on one line."""
    wanted = ("model", "space", "detector", "backend", "machine", "pictures", "undetected")
    found = dict(re.findall(r"^\| (\w+) \| ([^|]*) \|$", text, re.MULTILINE))
    return ", ".join(f"{key} {found[key]}" for key in wanted if key in found)


def main(out: Path, page: Path) -> int:
    """Returns how many blocks of the page have no result."""
    text = page.read_text("utf-8")
    pictures = page.parent / page.stem
    missing = 0

    def block(match: re.Match[str]) -> str:
        nonlocal missing
        name = match[2]
        report = out / f"{name}.md"
        if not report.is_file():
            print(f"{name}: no result in {out}", file=sys.stderr)
            missing += 1
            return match[0]
        told = report.read_text("utf-8")
        parts = [shown(told), f"({facts(told)})\n"]
        for plot in sorted((out / name).glob("*.png")):
            if plot.stem.endswith("_l2"):
                continue  # the same pairs in the same order as by cosine
            pictures.mkdir(exist_ok=True)
            copied = pictures / f"{name}_{plot.name.removeprefix(name + '_')}"
            shutil.copyfile(plot, copied)
            parts.append(f"![{plot.stem}]({pictures.name}/{copied.name})\n")
        return match[1] + "\n" + "\n".join(parts) + "\n" + match[3]

    page.write_text(_BLOCK.sub(block, text), "utf-8")
    return missing


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2])))
