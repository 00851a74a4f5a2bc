"""What other packages bring: which plug-ins are found, and which of them load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from jetson_face.core.errors import PluginError
from jetson_face.doctor.needs import Needs
from jetson_face.doctor.probe import Finding, Probe
from jetson_face.util.plugins import Kind, installed


def plugins(probe: Probe, needs: Needs) -> Iterator[Finding]:
    """Each plug-in that is installed; its module is imported, nothing of it is called."""
    for kind in get_args(Kind):
        for name, claims in sorted(installed(kind).items()):
            if len(claims) > 1:
                packages = ", ".join(plugin.package for plugin in claims)
                text = f"the {kind} plug-in {name!r} is in {packages}"
                yield Finding("plug-ins", "problem", text, "uninstall all but one of them")
                continue
            try:
                claims[0].load()
            except PluginError as error:
                fix = "install another version of the package, or uninstall it"
                yield Finding("plug-ins", "problem", str(error), fix)
            else:
                yield Finding("plug-ins", "ok", str(claims[0]))
