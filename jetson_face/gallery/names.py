"""Names of people: what is accepted, and when two names are the same."""

from __future__ import annotations

import unicodedata

from jetson_face.core.errors import NameInvalidError

LENGTH_MAX = 100
"""Characters of a name after normalisation."""

_JOINERS = "\u200c\u200d"
"""Invisible, but part of the spelling of Persian, Sinhala and other names."""
_SEPARATORS = "/\\"
_SHOWN = 40


def valid_name(text: str) -> str:
    """The name as it is kept: NFC, trimmed, one space between words, 1 to 100 characters.

    Raises NameInvalidError on an empty or too long name, on control, bidirectional or other
    invisible characters, on path separators and on a leading dot.
    """
    if len(text) > 100 * LENGTH_MAX:
        raise _too_long(text)
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in text.strip())
    name = unicodedata.normalize("NFC", " ".join(word for word in spaced.split(" ") if word))
    if not name.strip(_JOINERS):
        raise NameInvalidError("a name is empty: give 1 to 100 visible characters")
    if len(name) > LENGTH_MAX:
        raise _too_long(name)
    if name.startswith("."):
        raise NameInvalidError(f"name {shown(name)} starts with a dot: leave it out")
    for char in name:
        if char in _SEPARATORS:
            raise NameInvalidError(f"name {shown(name)} holds {char!r}: leave it out")
        if not char.isprintable() and char not in _JOINERS:
            raise NameInvalidError(
                f"name {shown(name)} holds an invisible character (U+{ord(char):04X}): leave it out"
            )
    return name


def name_key(name: str) -> str:
    """What two spellings of one name have in common: letter case and joiners do not count."""
    bare = "".join(char for char in name if char not in _JOINERS)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", bare).casefold())


def is_text(text: str) -> bool:
    """Not so for words of a command line that are bytes of another encoding."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _too_long(name: str) -> NameInvalidError:
    return NameInvalidError(
        f"name {shown(name)} has {len(name)} characters: at most {LENGTH_MAX} are accepted"
    )


def shown(name: str) -> str:
    """For messages: quoted, the beginning of a long one."""
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")
