"""Pictures for who watches: within their share of the processor, shared, and of the right size."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

from jetson_face.core.types import Frame, Report, Sighting
from jetson_face.core.widths import WIDTHS, width_for
from jetson_face.service.http import Page
from jetson_face.service.watching import BUSY_SHARE, SHARE, Watching
from jetson_face.util.images import decode_picture

PICTURE_S = 0.012


def a_frame(width: int = 480, height: int = 270, channels: int = 3) -> Frame:
    pixels = np.full((height, width, channels), 90, np.uint8)
    pixels[:, :, 0] = 200
    return Frame(pixels, 0, 0, 0.0, "door")


def report(frame: Frame, *sightings: Sighting) -> Report:
    return Report(frame.source, frame.seq, 0, 0.0, frame.size, sightings, {}, True)


class Box:
    """Watched by somebody, with a clock of its own; every picture takes PICTURE_S."""

    def __init__(self, frame: Frame, idle: float = 1.0) -> None:
        self.now = self.used = 0.0
        self.watching = Watching(lambda: None, lambda: self.now, self._spent, lambda: idle)  # type: ignore[arg-type,return-value]
        self.frame = frame
        self.watching.page("door", {})
        self.next()

    def _spent(self) -> float:
        self.used += PICTURE_S / 2  # asked before and after
        return self.used * 2

    def next(self) -> None:
        self.frame = replace(self.frame, seq=self.frame.seq + 1)
        self.watching.offer(self.frame, report(self.frame))

    def ask(self, width: int = 960, after: int = -1) -> Page:
        return self.watching.page("door", {"width": str(width), "after": str(after)})


def seq_of(page: Page) -> int:
    return int(json.loads(page.body.partition(b"\n")[0])["seq"])


@pytest.mark.parametrize(("idle", "share"), [(0.4, SHARE), (0.39, BUSY_SHARE)])
@pytest.mark.parametrize("widths", [(320,), (320, 640), (320, 640, 960, 1280, 1920)])
def test_pictures_take_their_share_and_no_more_however_many_are_watched(
    widths: tuple[int, ...], idle: float, share: float
) -> None:
    box, made = Box(a_frame(64, 36), idle), dict.fromkeys(widths, -1)
    counts = dict.fromkeys(widths, 0)
    for _ in range(2000):  # 20 s
        box.now += 0.01
        box.next()
        for width in widths:
            page = box.ask(width, made[width])
            if page.status == 200:
                made[width], counts[width] = seq_of(page), counts[width] + 1
    can = 20 * share * len(os.sched_getaffinity(0)) / PICTURE_S
    assert 0.8 * can <= sum(counts.values()) <= 1.05 * can + len(widths)
    assert max(counts.values()) <= min(counts.values()) + 1


def test_who_left_leaves_their_share_to_who_stayed() -> None:
    box = Box(a_frame(64, 36))
    box.ask(320)
    box.ask(640)
    box.now += 3  # 320 alone is asked for again
    box.next()
    box.ask(320)
    alone = PICTURE_S / (SHARE * len(os.sched_getaffinity(0)))
    box.now += 1.01 * alone
    box.next()
    assert seq_of(box.ask(320)) == box.frame.seq


def test_a_picture_says_when_there_is_time_for_the_next_one() -> None:
    box = Box(a_frame(64, 36))
    first = box.ask()
    due = json.loads(first.body.partition(b"\n")[0])["next_s"]
    assert due == pytest.approx(PICTURE_S / (SHARE * len(os.sched_getaffinity(0))), abs=0.001)
    box.next()
    box.now += due - 0.002
    assert box.ask() is first
    box.now += 0.003
    assert seq_of(box.ask()) == box.frame.seq


def test_a_picture_is_made_once_for_all_who_ask_for_the_same() -> None:
    box = Box(a_frame())
    first = box.ask()
    box.next()  # too soon for another
    assert box.ask() is first
    assert box.ask(after=seq_of(first)).status == 204
    assert box.ask(after=0) is first


@pytest.mark.parametrize(
    ("size", "asked", "made"),
    [
        ((1920, 1080), 960, (960, 540)),
        ((1920, 1080), 1100, (1280, 720)),
        ((480, 270), 960, (480, 270)),
        ((1080, 1920), 320, (320, 569)),
    ],
)
@pytest.mark.parametrize("channels", [3, 4])
def test_a_picture_is_as_wide_as_it_is_watched(
    size: tuple[int, int], asked: int, made: tuple[int, int], channels: int
) -> None:
    box = Box(a_frame(*size, channels))
    picture = decode_picture(box.ask(asked).body.partition(b"\n")[2], "picture")
    assert (picture.shape[1], picture.shape[0]) == made
    assert np.abs(picture.astype(int) - (200, 90, 90)).max() < 6


def test_boxes_are_where_the_faces_are() -> None:
    frame = a_frame(1920, 1080)
    frame = replace(frame, seq=1)
    watching = Watching(lambda: None)  # type: ignore[arg-type,return-value]
    watching.page("door", {})
    face = Sighting(1, (480.0, 270.0, 960.0, 810.0), "unknown", None, None, 1)
    watching.offer(frame, report(frame, face))
    picture = decode_picture(
        watching.page("door", {"width": "960"}).body.partition(b"\n")[2], "picture"
    )
    red = (picture[:, :, 2].astype(int) - picture[:, :, 0] > 60).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(red[135:])
    assert (x, y + 135) == pytest.approx((240, 135), abs=3)
    assert (width, height) == pytest.approx((240, 270), abs=5)


def test_many_windows_share_few_widths() -> None:
    assert {width_for(wanted) for wanted in range(100, 2001)} == set(WIDTHS)
    assert (width_for(640), width_for(641), width_for(5000)) == (640, 960, 1920)
