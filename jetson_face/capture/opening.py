"""`open_source`: from a URI to a running source, by a table on the scheme."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from jetson_face.capture import gstreamer
from jetson_face.capture.folder import PictureFolder
from jetson_face.capture.guarded import opener as plugin_opener
from jetson_face.capture.keys import check_keys
from jetson_face.capture.reconnect import ReconnectingSource, ReconnectPolicy
from jetson_face.capture.source import OpenOptions, Source, SourceInfo
from jetson_face.capture.uri import SourceUri, parse_uri, sequence_fps
from jetson_face.core.errors import (
    InputBrokenError,
    InputMissingError,
    MissingDependencyError,
    SourceError,
    UsageError,
)
from jetson_face.util.images import SUFFIXES
from jetson_face.util.optional import pip_install
from jetson_face.util.redact import remember

log = logging.getLogger(__name__)
Opener: TypeAlias = Callable[[SourceUri, str, OpenOptions], Source]
_ENDING = ("path", "file", "sequence")
"""What ends by itself and waits for its reader: a video file or a folder."""


def open_source(
    text: str,
    name: str = "camera",
    *,
    options: OpenOptions | None = None,
    policy: ReconnectPolicy | None = None,
    must_open: bool = True,
) -> Source:
    """The source that a URI, a path or a camera's number names; live ones reconnect by themselves.

    must_open False: a camera that is not there now is waited for, instead of an error.
    Raises UsageError for a URI that means nothing and for options that its kind of source cannot
    honour, InputMissingError, InputBrokenError for files,
    SourceError for cameras, MissingDependencyError.
    """
    uri = parse_uri(text)
    remember(*uri.secrets)
    options = options or OpenOptions()
    check_keys(uri, options.given, backend=options.backend)
    live = True
    if uri.scheme == "test":
        opener, live = _synthetic(uri)
    elif uri.scheme not in _OPENERS:
        opener, live = _plugin(uri, name)
    else:
        opener = _OPENERS[uri.scheme]
        live = uri.scheme not in _ENDING
    if not live:
        return opener(uri, name, options)
    source = ReconnectingSource(
        lambda: opener(uri, name, options),
        SourceInfo(name, uri.shown, True, 0, 0, options.fps),
        policy=policy or _policy(options),
    )
    if must_open:
        source.connect()
    return source


def _turning(opener: Opener) -> Opener:
    """For sources that have no better way to turn their frames than afterwards."""

    def turned(uri: SourceUri, name: str, options: OpenOptions) -> Source:
        source = opener(uri, name, options)
        if options.flip == "none":
            return source
        from jetson_face.capture.flip import Flipped

        return Flipped(source, options.flip)

    return turned


def _policy(options: OpenOptions) -> ReconnectPolicy:
    # The library's own time-out comes first: it knows better why.
    return ReconnectPolicy(
        most_s=options.reconnect_max_s,
        stall_s=options.read_timeout_s,
        open_s=options.open_timeout_s + 2.0,
    )


def _open_path(uri: SourceUri, name: str, options: OpenOptions) -> Source:
    path = uri.path
    if options.backend == "gstreamer":
        raise UsageError(f"{path}: files are read with OpenCV: set backend to auto or opencv")
    if not path.exists():
        raise InputMissingError(f"{path}: no such file or folder")
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return PictureFolder(path, name)
    if not path.is_file():
        raise InputBrokenError(f"{path}: neither a file nor a folder")
    _need_opencv()
    from jetson_face.capture.opencv import VideoFile

    return VideoFile(path, name)


def _open_sequence(uri: SourceUri, name: str, options: OpenOptions) -> Source:
    return PictureFolder(uri.path, name, sequence_fps=sequence_fps(uri))


def _v4l2(uri: SourceUri, name: str, options: OpenOptions) -> Source:
    if options.backend == "gstreamer":
        return gstreamer.open_v4l2(uri, name, options)
    _need_opencv()
    from jetson_face.capture.opencv import open_v4l2

    return _turning(open_v4l2)(uri, name, options)


def _network(uri: SourceUri, name: str, options: OpenOptions) -> Source:
    if uri.scheme in ("http", "https"):
        if options.backend == "gstreamer":
            raise UsageError(
                f"{uri.shown}: {uri.scheme} streams are read with OpenCV: set backend to auto or "
                "opencv"
            )
    elif (
        options.backend == "gstreamer"
        or options.latency_ms is not None  # OpenCV has no such: the error says what is missing
        or (options.backend == "auto" and gstreamer.has_gstreamer("rtspsrc"))
    ):
        return gstreamer.open_rtsp(uri, name, options)
    _need_opencv()
    from jetson_face.capture.opencv import open_network

    return _turning(open_network)(uri, name, options)


def _synthetic(uri: SourceUri) -> tuple[Opener, bool]:
    """The opener of a camera that outlives its connections, and whether it is live."""
    _need_opencv()
    from jetson_face.capture.synthetic import SyntheticCamera, load_faces, parse_script

    script = parse_script(uri)
    camera = SyntheticCamera(script, scene=load_faces(script.faces))

    def open_camera(uri: SourceUri, name: str, options: OpenOptions) -> Source:
        return camera.open(name, uri.shown)

    return _turning(open_camera), script.live


def _plugin(uri: SourceUri, name: str) -> tuple[Opener, bool]:
    """The opener of another package's source, and whether it is live: only it knows. It is opened
    for that, and the first call gets it; one that cannot be reached now is a camera."""
    open_again = plugin_opener(uri, name)
    opened: list[Source] = []
    live = True
    try:
        opened.append(open_again())
        live = opened[0].info.is_live
    except SourceError:
        log.debug("plugin_source_away uri=%s", uri.shown, exc_info=True)

    def open_plugin(uri: SourceUri, name: str, options: OpenOptions) -> Source:
        return opened.pop() if opened else open_again()

    return _turning(open_plugin), live


def _need_opencv() -> None:
    try:
        import cv2  # noqa: F401
    except ImportError as exc:
        raise MissingDependencyError(
            f"OpenCV cannot be used ({exc}): {pip_install('pc')} on a PC; on a Jetson "
            "bash tools/install_jetson.sh, since JetPack's own cv2 does not go with numpy 2"
        ) from exc


_OPENERS: dict[str, Opener] = {
    "path": _turning(_open_path),
    "file": _turning(_open_path),
    "sequence": _turning(_open_sequence),
    "v4l2": _v4l2,
    "rtsp": _network,
    "rtsps": _network,
    "http": _network,
    "https": _network,
    "csi": gstreamer.open_csi,
    "gst": gstreamer.open_pipeline,
}
