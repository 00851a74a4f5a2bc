"""The hot swap and frames of several cameras that are in work at the same time."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import numpy as np

from jetson_face.capture.source import SourceInfo
from jetson_face.config import load_config
from jetson_face.core.types import Frame
from jetson_face.recognition.steps import decide_together
from jetson_face.service.swap import HotSwap, build_deck
from tests.waiting import until

SITE = ["detector={type: haar}", "backend.threads=1"]


def test_a_swap_waits_for_all_frames_in_work(tmp_path: Path) -> None:
    config = load_config(None, [*SITE, f"state_dir={tmp_path}"])
    with closing(HotSwap(build_deck(config))) as swap:
        slots = [
            swap.recognizer(SourceInfo(name, "test://", False, 64, 48)) for name in ("door", "hall")
        ]
        old, image = swap.deck, np.zeros((48, 64, 3), np.uint8)
        steps = [slot.steps(Frame(image, 0, 0, 0.0, slot.info.name)) for slot in slots]
        for each in steps:
            next(each)  # both want a search
        swapper = threading.Thread(target=swap.put, args=(build_deck(config, old),))
        swapper.start()
        steps[0].close()
        swapper.join(0.3)
        assert swapper.is_alive(), "the other frame is still in work"
        assert swap.deck is old
        steps[1].close()
        until(lambda: not swapper.is_alive())
        assert swap.deck is not old
        begun = [slot.steps(Frame(image, 1, 40, 0.0, slot.info.name)) for slot in slots]
        assert len(list(decide_together(begun, lambda: 0))) == 2
