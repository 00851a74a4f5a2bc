"""The curves of a run: a CSV that survives a kill, and a PNG for people."""

from __future__ import annotations

import csv
from pathlib import Path

NOT_LOSSES = {"step", "epoch", "spent_s", "rate"}


class CurveLog:
    """Rows of named numbers, appended as they come."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, row: dict[str, float]) -> None:
        """Append a row; the first one ever names the columns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not self._path.exists()
        with self._path.open("a", newline="") as file:
            out = csv.DictWriter(file, list(row))
            if fresh:
                out.writeheader()
            out.writerow({k: f"{v:.6g}" for k, v in row.items()})

    def rows(self) -> list[dict[str, float]]:
        """Everything written so far, in order."""
        if not self._path.exists():
            return []
        with self._path.open(newline="") as file:
            return [{k: float(v) for k, v in r.items()} for r in csv.DictReader(file)]

    def cut_after(self, step: int) -> None:
        """Forget rows past ``step``: a resumed run writes them again."""
        kept = [r for r in self.rows() if r["step"] <= step]
        self._path.unlink(missing_ok=True)
        for row in kept:
            self.add(row)

    def draw(self, path: Path) -> bool:
        """Losses and learning rate over steps as a PNG; False where matplotlib is not installed."""
        rows = self.rows()
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return False
        if not rows:
            return False
        figure = Figure(figsize=(8, 5))
        left = figure.add_subplot()
        steps = [r["step"] for r in rows]
        for name in sorted(rows[0].keys() - NOT_LOSSES):
            left.plot(steps, [r[name] for r in rows], label=name)
        left.set_xlabel("step")
        left.set_ylabel("loss (weighted)")
        left.legend(loc="upper right")
        right = left.twinx()
        right.plot(steps, [r["rate"] for r in rows], color="grey", linestyle=":")
        right.set_ylabel("learning rate")
        figure.savefig(path, dpi=100)
        return True
