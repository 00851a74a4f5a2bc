"""Addresses of receivers: web addresses, hosts and MQTT topics, checked and made ASCII.

One check for the configuration and for who uses the sinks from Python: what passes here can be
connected to, or at least be tried.
"""

from __future__ import annotations

import ipaddress
import re

from pydantic import HttpUrl, TypeAdapter, ValidationError

_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)
_URL_RULE = "an address is http://HOST/PATH or https://HOST/PATH"
_HOST_RULE = "a host is a name or an IP address"
# Without this check an empty host takes the first word of the path.
_START = re.compile(r"(?ai)https?://[^/\\?#]")
_LABEL = re.compile(r"(?a)(?!-)[\w-]{1,63}(?<!-)")
_HOST_MAX = 253
_TOPIC_BYTES_MAX = 65_535


def web_address(text: str) -> str:
    """The http or https address as ASCII: IDN hosts in punycode, other letters percent-encoded.

    Raises ValueError, which says what is wrong and does not quote the address.
    """
    if not text.isprintable() or " " in text:
        raise ValueError("an address has no blanks, line ends or control characters")
    if not _START.match(text):
        raise ValueError(_URL_RULE)
    url = _parsed(text, _URL_RULE)
    _check_host(url.host or "")
    if url.port == 0:
        raise ValueError("there is no port 0")
    return str(url)


def host_name(text: str) -> str:
    """A host's name, IPv4 or IPv6 address as ASCII. Raises ValueError."""
    if not text or not text.isprintable() or " " in text:
        raise ValueError(f"{_HOST_RULE}, without blanks")
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass  # a name, then
    if set(text) & set("/\\?#@%"):
        raise ValueError(f"{_HOST_RULE}, without scheme, user or path")
    if ":" in text:
        raise ValueError("a host has no port in it: `port` is a key of its own")
    host = _parsed(f"http://{text}/", _HOST_RULE).host or ""
    _check_host(host)
    return host


def topic_name(text: str) -> str:
    """An MQTT topic to publish to. Raises ValueError."""
    if not text:
        raise ValueError("a topic is not empty")
    if set(text) & set("+#"):
        raise ValueError("a topic to publish to has no + and no #: those are for subscribers")
    if not text.isprintable():
        raise ValueError("a topic has no control characters")
    if len(text.encode()) > _TOPIC_BYTES_MAX:
        raise ValueError(f"a topic has at most {_TOPIC_BYTES_MAX} bytes")
    return text


def _parsed(text: str, rule: str) -> HttpUrl:
    try:
        return _URL.validate_python(text)
    except ValidationError as error:
        why = error.errors(include_input=False)[0]["msg"].rpartition(", ")[2]
        raise ValueError(f"{rule}: {why}") from None


def _check_host(host: str) -> None:
    name = host.removesuffix(".")
    good = len(name) <= _HOST_MAX and all(_LABEL.fullmatch(label) for label in name.split("."))
    if not good and not host.startswith("["):
        raise ValueError(
            f"a host's name has 1 to 63 letters, digits and hyphens between its dots, and at most "
            f"{_HOST_MAX} characters in all"
        )
