"""What a source's URI says, and how it is written where people can read it: without passwords."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

from jetson_face.core.errors import UsageError
from jetson_face.util.plugins import installed

SCHEMES = ("v4l2", "csi", "rtsp", "rtsps", "http", "https", "file", "test", "gst")

# Greedy to the last @: a password may hold / and @, and hiding too much is the safe mistake.
_USERINFO = re.compile(r"(?<=://)[^\s\"'<>]*@")
_SECRET_KEYS = re.compile(
    r"(?i)(?<![a-z])(user-id|user-pw|proxy-id|proxy-pw|user(?:name)?|login|pass(?:word|wd|phrase)?"
    r"|pwd|token|secret|api[_-]?key|auth)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s&;!\"']+)"
)


def redact(text: str) -> str:
    """`text` (a URI, a pipeline, a message that quotes one) with every credential as ***."""
    return _SECRET_KEYS.sub(r"\1=***", _USERINFO.sub("***@", text))


@dataclass(frozen=True, slots=True)
class SourceUri:
    """A parsed URI. raw may hold a password and stays out of `repr`; shown is for people.

    scheme: one of SCHEMES, that of a plug-in, or "path". target: what follows the scheme, without
    the query of a test:// URI; a number for cameras given by their number.
    """

    scheme: str
    target: str = field(repr=False)
    query: tuple[tuple[str, str], ...] = field(repr=False)
    raw: str = field(repr=False)
    shown: str

    def clean(self, text: str) -> str:
        """`text`, from a library's message, without anything secret of this URI."""
        for secret in sorted(_secrets(self.raw), key=len, reverse=True):
            text = text.replace(secret, "***")
        return redact(text)


def _secrets(raw: str) -> set[str]:
    """The credentials of a URI, as written, decoded and encoded: libraries quote any of them."""
    found: set[str] = set()
    for match in _USERINFO.finditer(raw):
        user, _, password = match[0].rstrip("@").partition(":")
        found |= {password} if password else {user}
    found |= {match[2].strip("\"'") for match in _SECRET_KEYS.finditer(raw)}
    found |= {unquote(word) for word in found} | {quote(word, safe="") for word in found}
    # Shorter than that a word is part of others, and replacing it would garble the message.
    return {word for word in found if len(word) >= 3}


def parse_uri(text: str) -> SourceUri:
    """A URI, a path, or a camera's number. Raises UsageError on an unknown scheme or no text."""
    text = text.strip()
    if not text:
        raise UsageError("a source needs a URI, a path or a camera's number, got nothing")
    if text.isdecimal():
        return SourceUri("v4l2", text, (), text, f"camera {text}")
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme == "gst" and colon:
        return SourceUri("gst", rest.removeprefix("//").strip(), (), text, redact(text))
    if not rest.startswith("//"):
        return SourceUri("path", text, (), text, redact(text))
    if scheme not in SCHEMES and scheme not in (brought := installed("source")):
        raise UsageError(
            f"source {redact(text)!r}: unknown scheme {scheme!r}: use one of "
            f"{', '.join((*SCHEMES, *sorted(brought)))}, a path, or a camera's number"
        )
    target = rest[2:]
    query: tuple[tuple[str, str], ...] = ()
    if scheme == "test":
        target, _, tail = target.partition("?")
        query = tuple(parse_qsl(tail, keep_blank_values=True))
    elif scheme == "file":
        target = unquote(target.removeprefix("localhost"))
    return SourceUri(scheme, target, query, text, text if scheme == "test" else redact(text))
