"""A real RTSP server on loopback, run by the system's Python, which has GStreamer's bindings.

Usage: python3 rtsp_camera.py PORT   (serves rtsp://127.0.0.1:PORT/cam)
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=10/1 "
    "! {encoder} ! rtph264pay name=pay0 pt=96 )"
)
ENCODERS = {
    "x264enc": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10",
    "openh264enc": "openh264enc gop-size=10",
}


def main() -> None:
    """Serve until killed."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory()
    there = next(name for name in ENCODERS if Gst.ElementFactory.find(name))
    factory.set_launch(PIPELINE.format(encoder=ENCODERS[there]))
    factory.set_shared(True)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
