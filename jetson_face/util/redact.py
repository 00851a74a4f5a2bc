"""Texts that people may read: without passwords, and without what would steer a terminal.

Log lines, errors, the status page and reports pass here on their way out. Hiding too much is the
safe mistake. Hidden are the ways in which cameras, storage services and webhooks put secrets into
addresses, and the secrets that this process was handed (`remember`), wherever they turn up.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, unquote

HIDDEN = "***"
PLACE = re.compile(r"\{credential:([\w.-]{1,40})\}")
"""What stands for a systemd credential in a configuration; it is no secret itself."""

# Keys of a query that say what a camera is to send; the values of all others are hidden.
_HARMLESS = re.compile(
    r"(?ai)audio(codec)?|bitrate|cam(era(num)?)?|ch|channels?|chn|clock|cmd|codec|compression|count"
    r"|date|duration|enablesrtp|(end|start)time|fps|frames|height|id|jpeg(cam|size)|live|media|mode"
    r"|m?submenu|number|port|profile|proto|q|quality|rate|res|resolution|rotation|size|snapshot"
    r"|stream(id|type)?|strm|subtype|time(out)?|track|transport(mode)?|type|unicast|vcodec"
    r"|video(codec(type)?)?|width"
)
_HARMLESS_VALUE = re.compile(r"[\w.:*-]{0,20}")
# What a user is called is hidden, too, but it is nothing to look for in other texts: "admin".
_NAMES = re.compile(r"(?ai)(?:^|[_.-])(?:account|login(?:use)?|u|user(?:[_-]?(?:id|name))?|usr)$")
# After one of these a segment of a path is a password: /live/admin/PASSWORD/0, /with/key/KEY.
_BEFORE_SECRET = re.compile(
    r"(?ai)admin(istrator)?|auth|guest|key|operator|pass(word)?|pwd|root|secret|service|supervisor"
    r"|token|ubnt|user|viewer"
)
_HOOK = re.compile(r"(?ai)(?:web)?hooks?(?:-test)?")
_FILE = re.compile(r"(?ai)[\w-]+\.(?:264|amp|asf|f?cgi|h26[45]|jpe?g|m3u8|mjpe?g|mp4|sdp|ts)")
_RANDOM = re.compile(
    r"(?ai)(?=[a-z]*[0-9][a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{16,}"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*$")
_WHOLE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# A key whose value is a secret, anywhere in a text: user-pw=..., X-Amz-Signature=..., 'psw': '...'.
_KEY = (
    r"(?:[a-z0-9]{1,40}[_.-]){0,4}(?:"
    r"[a-z]{0,20}pass(?:w(?:or)?d|wd|phrase|code|wort)?|[a-z]{0,20}pwd|[a-z]{0,20}psw[da-z]{0,3}"
    r"|(?:user|proxy|auth)[_-]?pw|pw|login(?:pas|use)?|user(?:[_-]?(?:id|name))?|usr|account"
    r"|proxy[_-]?id|[a-z]{0,20}(?:token|secret|signature|credential)[a-z]{0,20}|sig|hmac|jwt|apikey"
    r"|auth(?!or)[a-z]{0,20}|(?:api|auth|access|private|stream|account|signing)[_-]?key(?:[_-]?id)?"
    r"|awsaccesskeyid|session(?:[_-]?id)?|_?sid"
    r")(?:[_-](?:key|id|hash|token|signature)){0,2}"
)
_PAIR = re.compile(
    rf"(?ai)(?<![a-z0-9])(?P<key>{_KEY})(?P<equals>\s*=\s*|%3d)"
    r"(?P<value>\"[^\"]{0,200}\"|'[^']{0,200}'|[^\s&]+)"
)
_QUOTED_PAIR = re.compile(
    rf"(?ai)(?P<key>['\"]{_KEY}['\"])(?P<equals>\s*:\s*)(?P<value>'[^']{{0,500}}'|\"[^\"]{{0,500}}\")"
)
_HEADER = re.compile(
    r"(?ai)(?P<key>\bbearer|\bauthorization\W{1,12}(?:basic|digest))(?P<equals>\s+)(?P<value>\S+)"
)
_INNER = re.compile(r"(?ai)(?:pass[a-z]*|pwd|psw)=([^_&\s]+)")
_OPEN_PLACE = re.compile(r"\{credential:[\w.-]{1,40}$")
# What a unit says of a credential, `LoadCredential=NAME:PATH`: where it lies, and not what it is.
# Only with the path that our own advice names, which has nothing but the name in it.
_HANDED_OVER = re.compile(r"(?P<name>[\w.-]{1,40}):/etc/jetson-face/(?P=name)")
# A host without or with a port, a path, and a query: no user with a password before an @.
_IN_QUERY = re.compile(r"(?a)[^:?]*(?::\d+/[^?]*)?\?[^=]*=")
_OPENING, _CLOSING = "'\"([{<", "'\")]}>,.;:"
_CLOSED_PLACE = re.compile(rf"{PLACE.pattern}[{re.escape(_CLOSING)}]*")
_JOINERS = "\u200c\u200d"
"""Invisible, but part of the spelling of Persian, Sinhala and other names."""


def redact(text: str) -> str:
    """`text` (a message, a pipeline, a line that quotes an address) with every secret as ***."""
    return KNOWN.hide(_Hider().text(text))


def redact_address(text: str) -> str:
    """`redact` for a text that is one address, spaces and all."""
    return KNOWN.hide(_Hider().address(text))


def secrets_in(address: str) -> frozenset[str]:
    """The secrets of an address, as written, decoded and encoded: libraries quote any of them."""
    hider = _Hider()
    hider.address(address)
    found = hider.found | {inner for word in hider.found for inner in _INNER.findall(word)}
    return frozenset(spelling for word in found for spelling in _spellings(word))


def visible(text: str) -> str:
    """`text` on one line of a terminal or a log: control characters, line ends, what changes the
    direction of writing and broken characters as Python escapes."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def clean(text: str, most: int = 10_000) -> str:
    """`text` as one line for people: without secrets, visible, at most so many characters."""
    line = visible(redact(text))
    return line if len(line) <= most else line[: most - 1] + "…"


def redact_values(value: Any, how: Callable[[str], str] = redact) -> Any:
    """Plain data (dictionaries, lists, texts, numbers) with each text as `how` shows it."""
    if isinstance(value, str):
        return how(value)
    if isinstance(value, dict):
        return {key: redact_values(inner, how) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(inner, how) for inner in value]
    return value


class Known:
    """Secrets by their values, for texts that no pattern fits: a library's message, a traceback."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secrets: Iterable[str]) -> None:
        """Hide these from now on. Shorter than eight characters they are hidden as whole words
        only, shorter than four not at all: they are parts of other words."""
        with self._lock:
            spelt = {s for secret in secrets for s in _spellings(secret) if len(s) >= 4}
            if spelt <= self._secrets:
                return
            self._secrets |= spelt
            longest_first = sorted(self._secrets, key=len, reverse=True)
            self._pattern = re.compile(
                "|".join(
                    re.escape(s) if len(s) >= 8 else rf"(?<!\w){re.escape(s)}(?!\w)"
                    for s in longest_first
                )
            )

    def hide(self, text: str) -> str:
        """`text` with them as ***."""
        pattern = self._pattern
        return text if pattern is None else pattern.sub(HIDDEN, text)


KNOWN = Known()
"""Those of this process."""


def remember(*secrets: str) -> None:
    """Hide these values in every text from now on, whatever stands around them."""
    KNOWN.add(secrets)


def _spellings(secret: str) -> set[str]:
    """A secret as written, decoded, encoded, and as `repr` shows it."""
    plain = unquote(secret)
    return {secret, plain, quote(plain, safe=""), quote(plain), repr(plain)[1:-1]} - {""}


class _Hider:
    """Hides, and remembers in `found` what was a secret among it."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def text(self, text: str) -> str:
        """A text of words, of which some may be addresses."""
        return self._pairs(re.sub(r"(?a)\S+", lambda match: self._word(match[0]), text))

    def address(self, text: str) -> str:
        """A text that is an address as a whole."""
        if _WHOLE.match(text) and _is_remote(text):
            return self._pairs(self._in_scheme(text))
        return self.text(text)

    def _word(self, word: str) -> str:
        if _is_remote(word):
            bare = word.rstrip(_CLOSING)
            if _OPEN_PLACE.search(bare) and word[len(bare) :].startswith("}"):
                bare += "}"
            return self._in_scheme(bare) + word[len(bare) :]
        if "@" in word:
            return self._bare_userinfo(word)
        return word

    def _in_scheme(self, word: str) -> str:
        """`prefix scheme://userinfo@host/path?query#rest`, the prefix as it is."""
        head, _, rest = word.partition("://")
        userinfo, at, rest = rest.rpartition("@")
        if at:
            # Greedy to the last @: a password may hold / and @.
            value = _IN_QUERY.match(userinfo) is not None
            userinfo = self._userinfo(userinfo)
            if value:  # or the @ is one of a query's value, and what follows is more of it
                return f"{head}://{userinfo}@{self._hide(re.split('[&;#]', rest)[0])}"
        rest, sharp, fragment = rest.partition("#")
        rest, mark, query = rest.partition("?")
        host, *segments = rest.split("/")
        path = "".join(f"/{segment}" for segment in self._path(segments))
        place = f"{userinfo}{at}{self._host(host)}{path}"
        return f"{head}://{place}{mark}{self._query(query)}{sharp}{fragment}"

    def _host(self, host: str) -> str:
        """A port that is no number is the beginning of a password with a blank in it."""
        name, colon, port = host.partition(":")
        wrong = colon and not host.startswith("[") and not port.isdecimal() and port
        return f"{name}:{self._hide(port)}" if wrong else host

    def _userinfo(self, userinfo: str) -> str:
        user, colon, password = userinfo.partition(":")
        shown = self._hide(password if colon else user)
        return HIDDEN if shown == HIDDEN else f"{HIDDEN}:{shown}"

    def _hide(self, secret: str, *, name: bool = False) -> str:
        """name: it is not shown either, but it is no secret."""
        if _CLOSED_PLACE.fullmatch(secret):
            return secret
        if not name and secret != HIDDEN:
            self.found.add(secret)
        return HIDDEN

    def _path(self, segments: list[str]) -> list[str]:
        shown: list[str] = []
        hooked = False
        for before, segment in zip(["", *segments], segments, strict=False):
            name, colon, password = segment.partition(":")
            after = _BEFORE_SECRET.fullmatch(before) and not _FILE.fullmatch(segment)
            if not segment or segment == HIDDEN or PLACE.fullmatch(segment):
                shown.append(segment)
            elif name and colon and password:
                shown.append(self._hide(password))
            elif hooked or after or _RANDOM.fullmatch(segment):
                shown.append(self._hide(segment))
            else:
                shown.append(segment)
            hooked = hooked or _HOOK.fullmatch(segment) is not None
        return shown

    def _query(self, query: str) -> str:
        return "".join(self._item(item) for item in re.split(r"([&;])", query))

    def _item(self, item: str) -> str:
        key, equals, value = item.partition("=")
        if not equals:
            plain = item in ("", "&", ";") or _HARMLESS.fullmatch(item) or item.isdecimal()
            return item if plain and len(item) < 16 else self._hide(item)
        harmless = _HARMLESS.fullmatch(key) and _HARMLESS_VALUE.fullmatch(value)
        if not value or (harmless and not _RANDOM.fullmatch(value)):
            return item
        return f"{key}={self._hide(value, name=_NAMES.search(key) is not None)}"

    def _bare_userinfo(self, word: str) -> str:
        """An address whose // was forgotten, or its scheme: rtsp:me:pw@cam, 'me:pw@cam'."""
        head, _, host = word.rpartition("@")
        if ":" not in head or head.endswith(HIDDEN) or not host[:1].strip(_CLOSING):
            return word
        start = max(head.find(mark, 0, head.find(":")) for mark in (*_OPENING, "=")) + 1
        scheme, colon, rest = head[start:].partition(":")
        if ":" in rest or rest.startswith("/"):
            shown = self._userinfo(rest.lstrip("/"))
            return f"{head[:start]}{scheme}{colon}{shown}@{host}"
        return f"{head[:start]}{self._userinfo(head[start:])}@{host}"

    def _pairs(self, text: str) -> str:
        for pattern in (_PAIR, _QUOTED_PAIR, _HEADER):
            text = pattern.sub(self._pair, text)
        return text

    def _pair(self, match: re.Match[str]) -> str:
        if match["key"] == "LoadCredential" and _HANDED_OVER.fullmatch(
            match["value"].rstrip(_CLOSING + "`")
        ):
            return match[0]
        name = _NAMES.search(match["key"].strip("\"'")) is not None
        shown = self._hide(match["value"].strip("\"'"), name=name)
        return f"{match['key']}{match['equals']}{shown}"


def _is_remote(word: str) -> bool:
    """Whether an address in `word` goes over a network: a file's may have any word in its path."""
    head, colon, _ = word.partition("://")
    scheme = _SCHEME.search(head)
    return bool(colon) and (scheme is None or scheme[0].lower() not in ("file", "test"))
