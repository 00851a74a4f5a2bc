"""Everything this program can tell a user that went wrong, and the exit code of each class, which
is its base's where it names none.

Every message says what is wrong, where, and how to fix it, in one line. Classes also inherit the
builtin that fits, so that `except FileNotFoundError` or `except ValueError` keeps working.
"""

from __future__ import annotations


class JetsonFaceError(Exception):
    """Base of every error this program raises on purpose.

    lines: the message by its lines, where it has several; a line end in a message without them is
    one of a file's name or of another foreign text.
    """

    exit_code = 1
    lines: tuple[str, ...] = ()


class UsageError(JetsonFaceError, ValueError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = 2


class ConfigError(JetsonFaceError, ValueError):
    """A configuration file is not valid: file:line and key are in the message."""

    exit_code = 3


class InputMissingError(JetsonFaceError, FileNotFoundError):
    """A file or folder that was named does not exist."""

    exit_code = 4


class InputBrokenError(JetsonFaceError, ValueError):
    """A picture or video exists but cannot be used: empty, truncated, too large, another format."""

    exit_code = 5


class SourceError(JetsonFaceError, ConnectionError):
    """A camera or stream cannot be opened or stopped answering."""

    exit_code = 6


class GalleryError(JetsonFaceError):
    """The gallery cannot be used."""

    exit_code = 7


class GalleryCorruptError(GalleryError, ValueError):
    """The gallery file is not a gallery, or is damaged."""


class GalleryLockedError(GalleryError, TimeoutError):
    """Another process holds the gallery."""

    exit_code = 8


class EmbeddingSpaceError(GalleryError, ValueError):
    """The gallery was made with another embedding: vectors of two spaces cannot be compared."""

    exit_code = 9


class ModelError(JetsonFaceError, ValueError):
    """A model card, its weights or its graph is missing, damaged or does not fit."""

    exit_code = 10


class FetchError(ModelError, ConnectionError):
    """A model's file could not be fetched, or what came is not the file that its card means."""


class EngineError(ModelError):
    """A TensorRT plan cannot be built, does not match this machine, or failed the parity gate."""

    exit_code = 11


class MissingDependencyError(JetsonFaceError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""

    exit_code = 12


class NameInvalidError(JetsonFaceError, ValueError):
    """A person's name is empty, too long, or holds characters that names do not have."""

    exit_code = 13


class EnrollmentError(JetsonFaceError, ValueError):
    """No photo that was given could be enrolled."""

    exit_code = 14


class OutputError(JetsonFaceError, OSError):
    """A result cannot be written: disk full, read-only, no such folder."""

    exit_code = 15


class SecretMissingError(JetsonFaceError, LookupError):
    """A password or token that the configuration names was not handed over."""

    exit_code = 16


class SecretBrokenError(SecretMissingError, ValueError):
    """A password or token was handed over and cannot be one: several lines, no text, unreadable."""


class StateLockedError(JetsonFaceError, TimeoutError):
    """Another process uses the state folder."""

    exit_code = 17


class CalibrationError(JetsonFaceError, ValueError):
    """There are too few faces, or people, to set a threshold from."""

    exit_code = 18


class PluginError(JetsonFaceError, RuntimeError):
    """A detector, embedder, source or sink from outside cannot be loaded, or broke its contract."""

    exit_code = 19


class GalleryRestoredError(GalleryError):
    """The gallery is an older copy, or another one, than the one that was last used here."""

    exit_code = 20


class FleetError(JetsonFaceError, ConnectionError):
    """The fleet's server cannot be reached or refuses, or what it has cannot be used."""

    exit_code = 21


class FleetRightsError(FleetError):
    """The credentials of this machine may not do that on the fleet's server."""
