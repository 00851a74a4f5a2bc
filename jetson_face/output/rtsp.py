"""Annotated pictures out as RTSP, for any recorder: asked for only while somebody watches.

For a process of its own: what it does, and what its clients do, costs the recogniser nothing but
the pictures that are asked for. GStreamer's RTSP server does the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from jetson_face.core.errors import MissingDependencyError, OutputError

logger = logging.getLogger(__name__)
_ENCODERS = {
    # A Jetson's own; those of a PC after it.
    "nvv4l2h264enc": "nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! "
    "nvv4l2h264enc insert-sps-pps=true idrinterval={keys} iframeinterval={keys}",
    "x264enc": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max={keys} threads=1",
    "openh264enc": "openh264enc gop-size={keys} complexity=low",
}
_USER = "viewer"


class RtspPicture(NamedTuple):
    """seq: of the frame, rising. jpeg: the annotated frame."""

    seq: int
    jpeg: bytes


Ask: TypeAlias = Callable[[str, int], RtspPicture | None]
"""(camera, seq of the last picture) to a newer one; None while there is none."""


class AnnotatedServer:
    """Serves `rtsp://ADDRESS:PORT/CAMERA` for each camera; `run` is the process's loop.

    ask: is called only while somebody watches that camera, `fps` times a second at most, once for
    all who watch it. password: of the user `viewer`, None for none.
    Raises MissingDependencyError without GStreamer's RTSP server or an encoder, OutputError where
    it cannot listen.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        ask: Ask,
        *,
        address: str = "127.0.0.1",
        port: int = 8554,
        fps: int = 10,
        password: str | None = None,
    ) -> None:
        self._glib, self._gst, server = _modules()
        self._ask, self._fps = ask, fps
        self._server: Any = server.RTSPServer()
        self._server.set_address(address)
        self._server.set_service(str(port))
        if password is not None:
            self._server.set_auth(_auth(server, password))
        mounts = self._server.get_mount_points()
        for camera in cameras:
            factory = server.RTSPMediaFactory()
            factory.set_launch(_pipeline(self._gst, fps))
            factory.set_shared(True)
            if password is not None:
                permissions = server.RTSPPermissions.new()
                for what in ("access", "construct"):
                    permissions.add_permission_for_role(_USER, f"media.factory.{what}", True)
                factory.set_permissions(permissions)
            factory.connect("media-configure", self._watched, camera)
            mounts.add_factory(f"/{camera}", factory)
        if self._server.attach(None) == 0:
            raise OutputError(
                f"rtsp://{address}:{port}: cannot be served there: choose another --port"
            )
        self.port: int = self._server.get_bound_port()
        self._loop: Any = self._glib.MainLoop()

    def run(self) -> None:
        """Serve until `stop`."""
        self._loop.run()

    def stop(self) -> None:
        """End `run`; from any thread."""
        self._loop.quit()

    def _watched(self, factory: Any, media: Any, camera: str) -> None:
        """The first one who watches has come."""
        source = media.get_element().get_by_name_recurse_up("frames")
        last = -1

        def feed() -> bool:
            nonlocal last
            try:
                picture = self._ask(camera, last)
            except Exception as error:  # the recogniser is away: its pictures come back with it
                logger.debug("rtsp_no_picture camera=%s error=%s", camera, error)
                return True
            if picture is not None:
                last = picture.seq
                source.emit("push-buffer", self._gst.Buffer.new_wrapped(picture.jpeg))
            return True

        timer = self._glib.timeout_add(1000 // self._fps, feed)
        logger.info("rtsp_watched camera=%s", camera)

        def gone(media: Any) -> None:
            self._glib.source_remove(timer)
            logger.info("rtsp_unwatched camera=%s", camera)

        media.connect("unprepared", gone)


def _pipeline(gst: Any, fps: int) -> str:
    for name, launch in _ENCODERS.items():
        if gst.ElementFactory.find(name) is not None:
            encoder = launch.format(keys=2 * fps)
            return (
                "( appsrc name=frames is-live=true format=time do-timestamp=true max-buffers=2 "
                f"leaky-type=downstream caps=image/jpeg,framerate={fps}/1 ! jpegdec ! videoconvert "
                f"! video/x-raw,format=I420 ! {encoder} ! h264parse "
                "! rtph264pay name=pay0 pt=96 config-interval=1 )"
            )
    raise MissingDependencyError(
        f"no H.264 encoder of {', '.join(_ENCODERS)}: apt-get install gstreamer1.0-plugins-ugly"
    )


def _auth(server: Any, password: str) -> Any:
    auth, token = server.RTSPAuth(), server.RTSPToken()
    token.set_string("media.factory.role", _USER)
    auth.add_basic(server.RTSPAuth.make_basic(_USER, password), token)
    return auth


def _modules() -> tuple[Any, Any, Any]:
    """GLib, Gst and GstRtspServer. Raises MissingDependencyError."""
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstRtspServer", "1.0")
        from gi.repository import GLib, Gst, GstRtspServer
    except (ImportError, ValueError) as error:
        raise MissingDependencyError(
            f"GStreamer's RTSP server for Python is not installed ({error}): apt-get install "
            "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good "
            "gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly, and make the venv with "
            "--system-site-packages"
        ) from error
    Gst.init(None)
    return GLib, Gst, GstRtspServer
