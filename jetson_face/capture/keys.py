"""Which settings each kind of source can honour; one that it cannot is refused, never ignored."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

from jetson_face.capture.uri import SourceUri
from jetson_face.core.errors import UsageError

Flip: TypeAlias = Literal["none", "horizontal", "vertical", "rotate_90", "rotate_180", "rotate_270"]
"""What is done to each frame; rotations are clockwise."""
KEYS = ("width", "height", "fps", "flip", "latency_ms", "sensor_mode")
"""Settings of the camera itself, which another source in its place does not take over."""

_CAMERA = frozenset({"width", "height", "fps", "flip"})
_HONOURS = {
    "csi": _CAMERA | {"sensor_mode"},
    "v4l2": _CAMERA,
    **dict.fromkeys(("rtsp", "rtsps"), frozenset({"flip", "latency_ms"})),
    **dict.fromkeys(
        ("http", "https", "gst", "test", "path", "file", "sequence"), frozenset({"flip"})
    ),
}
_PLUGIN = frozenset({"flip"})
"""Of a source of another package, whose frames can be turned as any."""
_INSTEAD = {
    **dict.fromkeys(("rtsp", "rtsps", "http", "https"), "set it in the camera"),
    "gst": "write it into the pipeline",
    "test": "write it into the URI, as in test://?width=640&height=480&fps=30",
    "sequence": "fps is written into the URI, as in sequence:FOLDER?fps=30",
}
_KINDS = {"path": "a file or folder", "file": "a file or folder"}


def check_keys(uri: SourceUri, given: Collection[str], *, backend: str = "auto") -> None:
    """Raise UsageError for a setting that sources of this kind cannot honour.

    given: the keys that were set, of KEYS. backend: as in OpenOptions.
    """
    kind = _KINDS.get(uri.scheme, f"{uri.scheme}:")
    for key in KEYS:
        if key in given and key not in _HONOURS.get(uri.scheme, _PLUGIN):
            instead = _INSTEAD.get(uri.scheme, "leave it out")
            raise UsageError(f"{uri.shown}: {kind} sources take no {key}: {instead}")
    if ("width" in given) != ("height" in given):
        raise UsageError(f"{uri.shown}: width and height are given together")
    if "latency_ms" in given and backend == "opencv":
        raise UsageError(f"{uri.shown}: latency_ms needs backend gstreamer: OpenCV has no such")
