"""Programs that the page starts stand behind the recogniser, for the processor and for memory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def stand_behind(pid: int, nice: int) -> None:
    """Let a process that just began, and what it begins, give way to others, and be the first to go
    where memory runs out; a sandbox may forbid either."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", "ascii")
