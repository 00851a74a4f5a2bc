"""Cameras and streams through GStreamer: CSI cameras, RTSP, V4L2 and pipelines written by users.

PyGObject is imported inside functions: it belongs to the system (python3-gi), not to pip.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache, partial
from typing import Any

import numpy as np

from jetson_face.capture import nvidia
from jetson_face.capture.keys import Flip
from jetson_face.capture.nvmm import NvmmReader
from jetson_face.capture.source import (
    EndOfSource,
    FrameBroken,
    OpenOptions,
    SourceHealth,
    SourceInfo,
)
from jetson_face.capture.uri import SourceUri
from jetson_face.core.errors import EngineError, MissingDependencyError, SourceError, UsageError
from jetson_face.core.types import Frame, Pixels

log = logging.getLogger(__name__)
_LATENCY_MS = 100
_SLICE_S = 0.1
"""How often a wait for a frame looks for errors."""
_HINT = "Check the address, user and password, and that the camera is on"

SINK = "appsink name=jetson_face max-buffers=1 drop=true sync=false"
"""Newest frame only, as soon as it is decoded."""


def load_gst() -> Any:
    """The `Gst` module, initialised. Raises MissingDependencyError naming the packages."""
    _keep_unwinder()
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        from gi.repository import Gst, GstApp  # noqa: F401 - GstApp adds appsink's methods
    except (ImportError, ValueError) as exc:
        raise MissingDependencyError(
            f"GStreamer for Python is not installed ({exc}): apt-get install python3-gi "
            "gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
            "gstreamer1.0-plugins-bad gstreamer1.0-libav, and make the venv with "
            "--system-site-packages"
        ) from exc
    Gst.init(None)
    return Gst


def _keep_unwinder() -> None:
    """Load the compiler's own unwinder before GStreamer brings libunwind.

    libunwind exports the same symbols; a C++ library loaded after it (ONNX Runtime was seen to)
    then aborts the process where it would throw.
    """
    with contextlib.suppress(OSError):
        ctypes.CDLL("libgcc_s.so.1", mode=ctypes.RTLD_GLOBAL)


def has_gstreamer(*elements: str) -> bool:
    """GStreamer can be used from Python and has these elements."""
    try:
        gst = load_gst()
    except MissingDependencyError:
        return False
    return all(gst.ElementFactory.find(name) is not None for name in elements)


def converter(has_nvidia: bool, flip: Flip = "none", *, nvmm: bool = False) -> str:
    """The tail that turns whatever a decoder gives into BGR or BGRx in ordinary memory.

    On a Jetson decoders leave frames in NVMM memory, which only nvvidconv reads. Its BGRx goes out
    as it is: most frames are never wanted in BGR (`Frame.image`). nvmm: in NVMM memory again.
    """
    if has_nvidia:
        return f"{nvidia.convert(flip, nvmm=nvmm)} ! {SINK}"
    turn = "" if flip == "none" else f"videoflip video-direction={_FLIP[flip]} ! "
    return f"videoconvert ! {turn}video/x-raw,format=BGR ! {SINK}"


_FLIP: dict[Flip, str] = {
    "rotate_90": "90r",
    "rotate_180": "180",
    "rotate_270": "90l",
    "horizontal": "horiz",
    "vertical": "vert",
}


def _rate(fps: float) -> str:
    """Frames a second as GStreamer's fraction; cameras of television rates have n/1001."""
    television = round(fps * 1.001) * 1000
    if fps != round(fps) and abs(fps - television / 1001) < 0.005:
        return f"{television}/1001"
    fraction = Fraction(fps).limit_denominator(1000)
    return f"{fraction.numerator}/{fraction.denominator}"


def csi_pipeline(sensor: int, options: OpenOptions, nvmm: bool = False) -> str:
    """A Jetson's CSI camera: frames stay in NVMM memory until nvvidconv."""
    mode = "" if options.sensor_mode is None else f" sensor-mode={options.sensor_mode}"
    width, height = options.width or 1280, options.height or 720
    return (
        f"nvarguscamerasrc sensor-id={sensor}{mode} ! video/x-raw(memory:NVMM),width={width},"
        f"height={height},framerate={_rate(options.fps or 30)},format=NV12 ! "
        f"{converter(True, options.flip, nvmm=nvmm)}"
    )


def rtsp_pipeline(options: OpenOptions, has_nvidia: bool, nvmm: bool = False) -> str:
    """An RTSP stream over TCP; the address is set on the element, where nothing needs quoting."""
    # Without the caps filter decodebin may be linked to the camera's sound.
    return (
        "rtspsrc name=source ! application/x-rtp,media=video ! decodebin ! "
        f"{converter(has_nvidia, options.flip, nvmm=nvmm)}"
    )


def v4l2_pipeline(options: OpenOptions, has_nvidia: bool, nvmm: bool = False) -> str:
    """A USB camera, raw or MJPEG; the device is set on the element."""
    wanted = [f"width={options.width}", f"height={options.height}"] if options.width else []
    wanted += [f"framerate={_rate(options.fps)}"] if options.fps else []
    mode = ",".join(wanted)
    caps = f'capsfilter caps="video/x-raw,{mode};image/jpeg,{mode}" ! ' if wanted else ""
    tail = converter(has_nvidia, options.flip, nvmm=nvmm)
    return f"v4l2src name=source ! {caps}decodebin ! {tail}"


def user_pipeline(text: str, options: OpenOptions) -> str:
    """A user's pipeline, with our sink added where it has none. Raises UsageError when empty."""
    text = text.strip().rstrip("!").strip()
    if not text:
        raise UsageError("gst: needs a pipeline, for example gst:videotestsrc is-live=true")
    if "appsink" in text:
        raise UsageError(
            "gst: leave the appsink out: the pipeline ends where frames come out, and BGR "
            "conversion and sink are added"
        )
    return f"{text} ! {converter(False, options.flip)}"


def open_csi(uri: SourceUri, name: str, options: OpenOptions) -> GstSource:
    """csi://0. Raises SourceError, UsageError, MissingDependencyError."""
    sensor = uri.target or "0"
    if not sensor.isdecimal():
        raise UsageError(f"{uri.shown}: csi:// takes the number of the sensor, as in csi://0")
    hint = f"Check that the camera is plugged in and has a mode of {_asked(options)}"
    text = partial(csi_pipeline, int(sensor), options)
    return _open(text, uri, name, options, hint=hint, has_nvidia=True)


def open_rtsp(uri: SourceUri, name: str, options: OpenOptions) -> GstSource:
    """rtsp:// over TCP. Raises SourceError, MissingDependencyError."""
    settings = {
        "location": uri.address,
        "protocols": "tcp",
        "latency": _LATENCY_MS if options.latency_ms is None else options.latency_ms,
        "tcp-timeout": int(options.open_timeout_s * 1e6),
        "drop-on-latency": True,
    }
    has_nvidia = has_gstreamer("nvvidconv")
    text = partial(rtsp_pipeline, options, has_nvidia)
    return _open(text, uri, name, options, settings, has_nvidia=has_nvidia)


def open_v4l2(uri: SourceUri, name: str, options: OpenOptions) -> GstSource:
    """v4l2:///dev/video0 or a number. Raises SourceError, MissingDependencyError."""
    device = f"/dev/video{uri.target}" if uri.target.isdecimal() else uri.target
    has_nvidia = has_gstreamer("nvvidconv")
    text = partial(v4l2_pipeline, options, has_nvidia)
    hint = (
        f"Check that {device} is there and free, and gives {_asked(options)} "
        f"(`v4l2-ctl -d {device} --list-formats-ext`)"
    )
    return _open(text, uri, name, options, {"device": device}, hint=hint, has_nvidia=has_nvidia)


def _open(
    text: Callable[..., str],
    uri: SourceUri,
    name: str,
    options: OpenOptions,
    settings: Mapping[str, object] | None = None,
    *,
    has_nvidia: bool,
    hint: str = _HINT,
) -> GstSource:
    """A pipeline, `text(nvmm=True)` where the GPU can read it and is to, else `text()`."""
    opened = partial(GstSource, uri=uri, name=name, options=options, settings=settings, hint=hint)
    if options.zero_copy == "off":
        return opened(text())
    try:
        if not has_nvidia:
            raise EngineError("there is no nvvidconv, as on a Jetson")
        return opened(text(nvmm=True), reader=NvmmReader().read)
    except (EngineError, SourceError) as exc:
        source = opened(text())  # where this fails too, it is the camera
        _say_once(f"zero_copy: {name}: frames are copied by the CPU: {exc}")
        return source


@cache
def _say_once(text: str) -> None:
    """In the log; a camera that is lost and found again says the same again."""
    log.warning(text)


def _asked(options: OpenOptions) -> str:
    size = f"{options.width} x {options.height}" if options.width else "any size"
    return f"{size} at {options.fps:g} frames/s" if options.fps else size


def open_pipeline(uri: SourceUri, name: str, options: OpenOptions) -> GstSource:
    """gst:PIPELINE. Raises SourceError, UsageError, MissingDependencyError."""
    return GstSource(user_pipeline(uri.target, options), uri, name, options)


class GstSource:
    """A running pipeline that ends in our appsink.

    settings: properties of the element called `source`. hint: what to look at when it fails.
    reader: takes the picture out of a sample; it is tried on the first one, and raises EngineError.
    Every message of GStreamer's is cleaned of credentials before anybody sees it.
    """

    def __init__(
        self,
        pipeline: str,
        uri: SourceUri,
        name: str,
        options: OpenOptions,
        settings: Mapping[str, object] | None = None,
        *,
        hint: str = _HINT,
        reader: Callable[[Any], Pixels] | None = None,
    ) -> None:
        self._gst = load_gst()
        nvidia.prefer_decoder(self._gst)
        self._uri, self._hint = uri, hint
        self._closed = threading.Event()
        self._read = reader or _pixels
        self._seq = 0
        self._pipeline = self._parse(pipeline, settings or {})
        self._sink = self._pipeline.get_by_name("jetson_face")
        self._bus = self._pipeline.get_bus()
        try:
            self._waiting: Any = self._start(options.open_timeout_s)
            width, height, fps = _describe(self._waiting.get_caps())
            if reader is not None:
                reader(self._waiting)
        except BaseException:
            self.close()
            raise
        self.info = SourceInfo(name, uri.shown, True, width, height, fps)

    @property
    def health(self) -> SourceHealth:
        """See Source."""
        return SourceHealth("ended" if self._closed.is_set() else "running", {})

    def read(self, timeout_s: float) -> Frame:
        """See Source."""
        sample, self._waiting = self._waiting, None
        if sample is None:
            sample = self._pull(timeout_s)
        captured_ns, wall = time.monotonic_ns(), time.time()
        try:
            pixels = self._read(sample)
        except EngineError as exc:
            raise SourceError(f"{self._uri.shown}: {exc}") from exc
        frame = Frame(pixels, self._seq, captured_ns, wall, self.info.name)
        self._seq += 1
        return frame

    def close(self) -> None:
        """See Source."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._pipeline.set_state(self._gst.State.NULL)

    def _parse(self, text: str, settings: Mapping[str, object]) -> Any:
        try:
            pipeline = self._gst.parse_launch(text)
        except Exception as exc:  # GLib.Error, which cannot be imported here
            why = self._uri.clean(str(getattr(exc, "message", exc)))
            raise SourceError(
                f"{self._uri.shown}: GStreamer cannot build this pipeline: {why}; "
                "`gst-inspect-1.0 NAME` says whether an element is installed"
            ) from None
        nvidia.quicken_decoders(pipeline)
        source = pipeline.get_by_name("source")
        for key, value in settings.items():
            if key == "protocols":
                self._gst.util_set_object_arg(source, key, str(value))
            else:
                source.set_property(key, value)
        return pipeline

    def _start(self, timeout_s: float) -> Any:
        self._pipeline.set_state(self._gst.State.PLAYING)
        try:
            return self._pull(timeout_s)
        except TimeoutError:
            raise SourceError(
                f"{self._uri.shown}: no frame within {timeout_s:g} s: check that the camera is on "
                "and reachable"
            ) from None

    def _pull(self, timeout_s: float) -> Any:
        """The next sample; looks at the bus for errors meanwhile."""
        deadline = time.monotonic() + timeout_s
        while not self._closed.is_set():
            left = deadline - time.monotonic()
            wait_ns = int(max(0.0, min(left, _SLICE_S)) * 1e9)
            sample = self._sink.try_pull_sample(wait_ns)
            if sample is not None:
                return sample
            self._check_bus()
            if left <= 0:
                raise TimeoutError(f"{self._uri.shown}: no frame in {timeout_s:g} s")
        raise EndOfSource

    def _check_bus(self) -> None:
        kinds = self._gst.MessageType.ERROR | self._gst.MessageType.EOS
        message = self._bus.pop_filtered(kinds)
        if message is None:
            return
        if message.type == self._gst.MessageType.EOS:
            raise SourceError(f"{self._uri.shown}: the stream ended")
        error, detail = message.parse_error()
        log.debug("gstreamer source=%s detail=%s", self._uri.shown, self._uri.clean(str(detail)))
        raise SourceError(f"{self._uri.shown}: {self._uri.clean(error.message)} {self._hint}")


def _describe(caps: Any) -> tuple[int, int, float | None]:
    """Width, height and frame rate of the caps."""
    structure = caps.get_structure(0)
    good, numerator, denominator = structure.get_fraction("framerate")
    fps = numerator / denominator if good and numerator > 0 and denominator > 0 else None
    return structure.get_value("width"), structure.get_value("height"), fps


def _pixels(sample: Any) -> Pixels:
    """The sample's picture, BGR or BGRx. Raises FrameBroken when the buffer is too short."""
    caps = sample.get_caps()
    width, height, _ = _describe(caps)
    channels = 4 if caps.get_structure(0).get_string("format") == "BGRx" else 3
    buffer = sample.get_buffer()
    # Rows of BGR are padded to four bytes. extract_dup is a copy: the buffer goes back.
    stride = (width * channels + 3) & ~3
    data = buffer.extract_dup(0, stride * height)
    if len(data) < stride * height:
        raise FrameBroken(f"{len(data)} bytes for {width} x {height}")
    rows = np.frombuffer(data, np.uint8).reshape(height, stride)
    return np.ascontiguousarray(rows[:, : width * channels].reshape(height, width, channels))
