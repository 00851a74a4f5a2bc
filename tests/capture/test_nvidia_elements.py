"""What a Jetson's elements are told, with real GStreamer and elements of other names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jetson_face.capture import gstreamer, nvidia
from jetson_face.capture.gstreamer import GstSource
from jetson_face.capture.source import OpenOptions
from jetson_face.capture.uri import parse_uri

pytestmark = pytest.mark.skipif(
    not gstreamer.has_gstreamer("videotestsrc", "vp8dec", "avdec_vp8", "vp8enc"),
    reason="GStreamer for Python with plugins-good and libav is not installed",
)


@pytest.fixture
def gst() -> Any:
    return gstreamer.load_gst()


def chosen_decoder(gst: Any) -> str:
    """Which of the two VP8 decoders decodebin takes."""
    pipeline = gst.parse_launch("videotestsrc num-buffers=1 ! vp8enc ! decodebin name=d ! fakesink")
    pipeline.set_state(gst.State.PLAYING)
    kinds = gst.MessageType.EOS | gst.MessageType.ERROR
    message = pipeline.get_bus().timed_pop_filtered(10 * gst.SECOND, kinds)
    found = pipeline.get_by_name("d").iterate_recurse()
    names = set()
    while (step := found.next())[0] == gst.IteratorResult.OK:
        names.add(step[1].get_factory().get_name())
    pipeline.set_state(gst.State.NULL)
    assert message.type == gst.MessageType.EOS
    (name,) = names & {"vp8dec", "avdec_vp8"}
    return str(name)


@pytest.mark.parametrize("wanted", ["vp8dec", "avdec_vp8"])
def test_decodebin_takes_the_decoder_that_is_preferred(wanted: str, gst: Any) -> None:
    factory = gst.ElementFactory.find(wanted)
    rank = factory.get_rank()
    try:
        assert nvidia.prefer_decoder(gst, wanted)
        assert chosen_decoder(gst) == wanted
    finally:
        factory.set_rank(rank)


def test_without_the_jetsons_decoder_nothing_is_preferred(gst: Any) -> None:
    if gst.ElementFactory.find(nvidia.DECODER) is not None:
        pytest.skip("this is a Jetson")
    assert not nvidia.prefer_decoder(gst)


def test_a_decoder_that_is_added_is_told_to_be_quick_and_no_other_is(gst: Any) -> None:
    pipeline, inner = gst.Pipeline(), gst.Bin()
    # An element that is here, and a switch that it has, stand for the Jetson's.
    nvidia.quicken_decoders(pipeline, "identity", "dump")
    pipeline.add(inner)
    told, other = (gst.ElementFactory.make(name, None) for name in ("identity", "fakesink"))
    for element in (told, other):
        assert element.get_property("dump") is False
        inner.add(element)  # as decodebin, a bin inside, does
    assert told.get_property("dump") is True
    assert other.get_property("dump") is False


def test_a_release_without_the_switch_is_left_alone(gst: Any) -> None:
    pipeline = gst.Pipeline()
    nvidia.quicken_decoders(pipeline, "identity")
    pipeline.add(gst.ElementFactory.make("identity", None))
    assert (nvidia.DECODER, nvidia.FASTEST) == ("nvv4l2decoder", "enable-max-performance")


@pytest.mark.parametrize("width", [322, 640])
def test_bgrx_frames_stay_so_until_bgr_is_wanted(width: int) -> None:
    text = (
        "videotestsrc pattern=red is-live=true ! "
        f"video/x-raw,format=BGRx,width={width},height=240 ! {gstreamer.SINK}"
    )
    source = GstSource(text, parse_uri("gst:x"), "camera", OpenOptions(open_timeout_s=20))
    frame = source.read(10)
    source.close()
    assert frame.pixels.shape == (240, width, 4)
    assert frame.size == (source.info.width, source.info.height) == (width, 240)
    assert frame.image.shape == (240, width, 3)
    assert frame.image.flags.c_contiguous
    assert (np.abs(frame.image.astype(int) - (0, 0, 255)) < 8).all()
