"""The demo: makes a clip, enrols, recognises, and says who was seen when.

Grace Hopper is enrolled only when the clip is half over: until then she is unknown, from then on
she has her name, in the same run and with nothing retrained.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
from pathlib import Path

import demo_clip

from jetson_face.cli.run import print_summary, recognise
from jetson_face.config import Config, load_config
from jetson_face.core.errors import JetsonFaceError, OutputError
from jetson_face.core.protocols import FrameProcessor
from jetson_face.core.types import Frame, Report
from jetson_face.factory.parts import build_enroller, build_parts, open_gallery
from jetson_face.live import LivePipeline
from jetson_face.util.files import write_file

REPO = Path(__file__).resolve().parents[1]
HOPPER_COMES_AT = demo_clip.FRAMES // 2


def enroll(config: Config, who: str) -> None:
    """Add one of the two to the gallery, from the portrait."""
    parts = build_parts(config)
    try:
        with open_gallery(config, parts.embedder.space, create=True) as gallery:
            enroller = build_enroller(config, parts, gallery)
            result = enroller.enroll_photos(demo_clip.NAMES[who], [demo_clip.portrait_path(who)])
    finally:
        parts.close()
    if result.refused:
        raise OutputError(f"the demo's own photo was refused: {result.refused[0].reason}")


class EnrollsMidway:
    """A recogniser that, before one frame of the clip, has Grace Hopper enrolled."""

    def __init__(self, inner: FrameProcessor, config: Config) -> None:
        self._inner, self._config = inner, config

    def process(self, frame: Frame) -> Report:
        """As the recogniser inside."""
        if frame.seq == HOPPER_COMES_AT:
            enroll(self._config, "hopper")
            print(
                f"  -- frame {frame.seq}: {demo_clip.NAMES['hopper']} is enrolled while it runs --"
            )
        return self._inner.process(frame)


def show_progress(pipeline: LivePipeline) -> None:
    """A line that counts frames, on a terminal."""
    if sys.stderr.isatty():
        done = sum(processed for _, _, processed in pipeline.progress.values())
        print(f"\r  frame {done}/{demo_clip.FRAMES}\033[K\r", end="", file=sys.stderr, flush=True)


def main() -> int:
    """0, or the exit code of what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=REPO / "demo-output", metavar="DIR")
    out: Path = parser.parse_args().output
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    started = time.monotonic()
    overrides = [
        f"state_dir={out / 'state'}",
        f"sources.0.uri={out / 'clip.mp4'}",
        f"report.events={out / 'events.jsonl'}",
        f"report.json_file={out / 'report.json'}",
        f"report.video={out / 'annotated.mp4'}",
        f"report.still={out / 'still.png'}",
    ]
    try:
        config = load_config(REPO / "configs" / "demo.yaml", overrides)
        out.mkdir(parents=True, exist_ok=True)
        if not (out / "clip.mp4").exists():
            print(f"making a clip of {demo_clip.FRAMES} frames from two portraits ...")
            demo_clip.make(out / "clip.mp4")
        demo_clip.save_people(out / "people")
        shutil.rmtree(config.state_dir, ignore_errors=True)
        print(f"enrolling {demo_clip.NAMES['collins']} ...")
        enroll(config, "collins")
        print("recognising ...")
        report, visits = recognise(
            config,
            wrap=lambda recognizer: EnrollsMidway(recognizer, config),
            on_tick=show_progress,
        )
        write_file(out / "report.txt", report.to_text())
    except JetsonFaceError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_code
    print()
    print_summary(report, visits, any_live=False)
    print(f"\nLeft in {out}: annotated.mp4, still.png, events.jsonl, report.txt, report.json,")
    print("and to go on with: people/, clip.mp4")
    print(f"All of it took {time.monotonic() - started:.1f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
