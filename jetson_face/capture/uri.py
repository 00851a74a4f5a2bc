"""What a source's URI says, and how it is written where people can read it: without passwords."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes

from jetson_face.core.errors import UsageError
from jetson_face.util.plugins import installed
from jetson_face.util.redact import HIDDEN, redact, redact_address, secrets_in

SCHEMES = ("v4l2", "csi", "rtsp", "rtsps", "http", "https", "file", "sequence", "test", "gst")
SEQUENCE_FPS = 25.0
"""Pictures a second of a folder that is a sequence and does not say its own."""
_REMOTE = frozenset({"rtsp", "rtsps", "http", "https"})
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:\[]*)(?::\d*)?")
"""A host without or with a port."""
_WITH_SLASHES = frozenset(SCHEMES) - {"gst", "sequence"}


@dataclass(frozen=True, slots=True)
class SourceUri:
    """A parsed URI. raw may hold a password and stays out of `repr`; shown is for people.

    scheme: one of SCHEMES, that of a plug-in, or "path". target: what follows the scheme, without
    the query of a test:// or sequence: URI; a number for cameras given by their number.
    """

    scheme: str
    target: str = field(repr=False)
    query: tuple[tuple[str, str], ...] = field(repr=False)
    raw: str = field(repr=False)
    shown: str

    def clean(self, text: str) -> str:
        """`text`, from a library's message, without anything secret of this URI."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return redact(text)

    @property
    def address(self) -> str:
        """raw as libraries take it: what stands for nothing in a user or password is escaped.

        GStreamer's ends at the first @, FFmpeg's at a /, ? or #, and both then ask another host.
        """
        head, _, rest = self.raw.partition("://")
        place = re.split("[/?#]", rest, maxsplit=1)[0]
        if "@" in place:
            userinfo, host = place.rpartition("@")[0], rest[place.rindex("@") + 1 :]
        elif _HOST.fullmatch(place) or "@" not in rest:
            return self.raw
        else:  # what follows the colon is no port: it is a password's beginning
            userinfo, _, host = rest.rpartition("@")
        parts = (quote(unquote_to_bytes(part), safe="") for part in userinfo.split(":", 1))
        return f"{head}://{':'.join(parts)}@{host}"

    @property
    def path(self) -> Path:
        """The file or folder that target is, `~` replaced where there is such a user."""
        return Path(os.path.expanduser(self.target))  # noqa: PTH111 (Path's raises for others)

    @property
    def secrets(self) -> frozenset[str]:
        """What must not be shown, in every spelling."""
        # Shorter than that a word is part of others, and replacing it would garble the message.
        return frozenset(secret for secret in secrets_in(self.raw) if len(secret) >= 3)


def parse_uri(text: str) -> SourceUri:
    """A URI, a path, or a camera's number. Raises UsageError on an unknown scheme, a known one
    without its //, or no text."""
    text = text.strip()
    if not text:
        raise UsageError("a source needs a URI, a path or a camera's number, got nothing")
    if text.isdecimal():
        return SourceUri("v4l2", text, (), text, f"camera {text}")
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme == "gst" and colon:
        return SourceUri("gst", rest.removeprefix("//").strip(), (), text, redact(text))
    if scheme == "sequence" and colon:
        folder, _, tail = rest.removeprefix("//").partition("?")
        query = tuple(parse_qsl(tail, keep_blank_values=True))
        return SourceUri("sequence", folder, query, text, redact(text))
    if not rest.startswith("//"):
        if colon and scheme in _WITH_SLASHES:
            raise UsageError(
                f"source {redact(text)!r}: `{scheme}:` wants two slashes, as in {scheme}://..."
            )
        kind = "v4l2" if _is_device(text) else "path"
        return SourceUri(kind, text, (), text, redact(text))
    if scheme not in SCHEMES and scheme not in (brought := installed("source")):
        known = (*SCHEMES, *sorted(brought))
        if near := difflib.get_close_matches(scheme, known, n=1):
            raise UsageError(
                f"source {redact(text)!r}: unknown scheme {scheme!r}: did you mean {near[0]}?"
            )
        raise UsageError(
            f"source {redact(text)!r}: unknown scheme {scheme!r}: use one of {', '.join(known)}, "
            "a path, or a camera's number"
        )
    target, query = rest[2:], ()
    if scheme == "test":
        target, _, tail = target.partition("?")
        query = tuple(parse_qsl(tail, keep_blank_values=True))
    elif scheme == "file":
        target = unquote(target.removeprefix("localhost"))
        scheme = "v4l2" if _is_device(target) else scheme
    return SourceUri(
        scheme, target, query, text, text if scheme == "test" else redact_address(text)
    )


def check_uri(text: str) -> None:
    """What can be said of a URI without opening it.

    Raises UsageError for what `parse_uri` refuses, for a port that cannot be, and for `***`, which
    stands where a secret was hidden.
    """
    uri = parse_uri(text)
    if HIDDEN in text:
        raise UsageError(
            f"source {uri.shown!r}: {HIDDEN} stands for a secret that was hidden: write the "
            "secret, or {credential:NAME}"
        )
    if uri.scheme in _REMOTE:
        place = uri.target.rpartition("@")[2].partition("/")[0].partition("?")[0]
        host, colon, port = place.rpartition(":")
        if colon and not place.endswith("]") and not (port.isdecimal() and 0 < int(port) < 65536):
            raise UsageError(f"source {uri.shown!r}: a port is a number from 1 to 65535")
        if not (host if colon else place):
            raise UsageError(f"source {uri.shown!r}: there is no host in it")


def is_network(uri: SourceUri) -> bool:
    """The source is reached over a network."""
    return uri.scheme in _REMOTE


def sequence_fps(uri: SourceUri) -> float:
    """Pictures a second of a sequence: URI. Raises UsageError for what it does not take."""
    given = dict(uri.query)
    text = given.pop("fps", str(SEQUENCE_FPS))
    if given:
        raise UsageError(f"{uri.shown}: unknown {min(given)!r}: it takes fps")
    try:
        fps = float(text)
    except ValueError:
        fps = 0.0
    if not 0.01 <= fps <= 1000:
        raise UsageError(f"{uri.shown}: fps goes from 0.01 to 1000, got {text!r}")
    return fps


def _is_device(target: str) -> bool:
    """A camera's device, also while it is away; files and folders may lie below /dev, too."""
    path = Path(target)
    try:
        if path.exists():
            return path.is_char_device()
    except OSError:  # such a name cannot be
        return False
    return target.startswith("/dev/") and not target.startswith("/dev/shm/")
