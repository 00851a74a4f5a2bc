"""What a Jetson's GStreamer elements are told: which decoder to take, and how fast to be.

`gst` is GStreamer's module, as `capture.gstreamer.load_gst` gives it.
"""

from __future__ import annotations

from typing import Any

from jetson_face.capture.keys import Flip

DECODER = "nvv4l2decoder"
"""Decodes H.264 and H.265 on a Jetson's own circuit, into NVMM memory."""
FASTEST = "enable-max-performance"
_FLIP: dict[Flip, int] = {
    "none": 0,
    "rotate_270": 1,
    "rotate_180": 2,
    "rotate_90": 3,
    "horizontal": 4,
    "vertical": 6,
}


def convert(flip: Flip, *, nvmm: bool = False) -> str:
    """From NVMM memory to BGRx in ordinary memory, or in NVMM memory again, turned for nothing on
    the way; nvvidconv has no BGR."""
    method = f" flip-method={_FLIP[flip]}" if flip != "none" else ""
    memory = "(memory:NVMM)" if nvmm else ""
    return f"nvvidconv{method} ! video/x-raw{memory},format=BGRx"


def prefer_decoder(gst: Any, name: str = DECODER) -> bool:
    """Let decodebin take the Jetson's decoder before any on the CPU; False where there is none.

    Decoders in software have the same or a higher rank on some releases: a stream is then decoded
    on the CPU, and nobody is told.
    """
    factory = gst.ElementFactory.find(name)
    if factory is None:
        return False
    factory.set_rank(gst.Rank.PRIMARY + 128)
    return True


def quicken_decoders(pipeline: Any, name: str = DECODER, switch: str = FASTEST) -> None:
    """Tell each decoder, as decodebin adds it, to keep its clocks up: left alone, some releases
    decode a stream slower than its camera sends it. switch: a property of it, set to true."""

    def added(_pipeline: Any, _bin: Any, element: Any) -> None:
        factory = element.get_factory()
        if (
            factory is not None
            and factory.get_name() == name
            and element.find_property(switch) is not None
        ):
            element.set_property(switch, True)

    pipeline.connect("deep-element-added", added)
