"""What other packages bring: found by their entry points, and blamed by name when they fail.

A package offers a detector by the entry point `NAME = module:callable` in the group
`jetson_face.detectors`; refiners, embedders, sources and sinks have a group each. The callable gets
the options that the configuration gives it and returns the object.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeAlias, cast

from jetson_face.core.errors import JetsonFaceError, PluginError, UsageError

log = logging.getLogger(__name__)
Kind: TypeAlias = Literal["detector", "refiner", "embedder", "source", "sink"]


@dataclass(frozen=True, slots=True)
class Plugin:
    """Something that an installed package offers. package: its name and version."""

    kind: Kind
    name: str
    package: str
    entry: EntryPoint

    def __str__(self) -> str:
        return f"{self.kind} plug-in {self.name!r} of the package {self.package}"

    def load(self) -> Callable[..., Any]:
        """Its callable. Raises PluginError where it cannot be loaded or called."""
        with blamed(str(self)):
            build = self.entry.load()
        if not callable(build):
            raise PluginError(f"{self}: {self.entry.value} is not callable")
        return cast("Callable[..., Any]", build)

    def make(self, *args: Any, **options: Any) -> Any:
        """What its callable returns. Raises PluginError where it cannot be loaded, does not take
        the options, or fails; errors of ours that it raises on purpose go through."""
        build = self.load()
        try:
            inspect.signature(build).bind(*args, **options)
        except TypeError as error:
            raise PluginError(f"{self}: options: {error}") from error
        except ValueError:
            pass  # a callable without a signature says for itself what it does not take
        with blamed(str(self)):
            return build(*args, **options)


def installed(kind: Kind) -> Mapping[str, list[Plugin]]:
    """What is installed of a kind, by name; several packages may claim one name."""
    found: dict[str, list[Plugin]] = {}
    for entry in entry_points(group=f"jetson_face.{kind}s"):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "without a name"
        plugin = Plugin(kind, entry.name, package, entry)
        same = found.setdefault(entry.name, [])
        # A package that lies on the path twice is one package.
        if all(other.package != package for other in same):
            same.append(plugin)
    return found


def find(kind: Kind, name: str) -> Plugin:
    """The plug-in of that name. Raises UsageError, which says what is installed."""
    there = installed(kind)
    claims = there.get(name, [])
    if len(claims) == 1:
        return claims[0]
    if claims:
        packages = ", ".join(plugin.package for plugin in claims)
        raise UsageError(f"the {kind} plug-in {name!r} is in {packages}: uninstall all but one")
    known = ", ".join(sorted(there)) or "none"
    raise UsageError(
        f"no {kind} plug-in {name!r} is installed; there are: {known}. Install the package that "
        "brings it into this environment"
    )


@contextmanager
def blamed(who: str, *passes: type[BaseException]) -> Iterator[None]:
    """What the code inside raises becomes a PluginError of one line that names `who`.

    Errors of ours go through, and those in `passes`.
    """
    ours: tuple[type[BaseException], ...] = (JetsonFaceError, *passes)
    try:
        yield
    except ours:
        raise
    except Exception as error:
        log.debug("plugin_failed who=%s", who, exc_info=True)
        lines = str(error).splitlines()
        said = f": {lines[0]}" if lines else ""
        raise PluginError(f"{who}: {type(error).__name__}{said}") from error


def require(thing: object, who: str, *members: str) -> None:
    """Raise PluginError unless the object has all these attributes and methods."""
    missing = [name for name in members if not hasattr(thing, name)]
    if missing:
        raise PluginError(f"{who}: {type(thing).__name__} has no {', '.join(missing)}")
