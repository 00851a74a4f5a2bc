"""The built-in clip: two public-domain portraits that pip packages carry; no detector needed.

Grace Hopper (US Navy; matplotlib's sample data) is to be enrolled, Eileen Collins (NASA;
scikit-image's `astronaut`) is the stranger. There is one photo of each: the one that is enrolled is
also the one that is shown, so that a right name means less here than in a clip made from a folder.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from jetson_face.benchmark.clips.cutout import cut_out
from jetson_face.benchmark.clips.make import Clip, ClipPlan, Role, compose_clip
from jetson_face.core.errors import MissingDependencyError
from jetson_face.core.types import Box
from jetson_face.util.images import read_picture

HOPPER = "Grace Hopper"
_PORTRAITS: dict[str, tuple[str, str, Box]] = {
    "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", (170, 112, 366, 370)),
    "collins": ("skimage", "data/astronaut.png", (181, 67, 265, 176)),
}


def portrait_path(who: str) -> Path:
    """Where a pip package keeps a portrait, found without importing the package.

    Raises MissingDependencyError.
    """
    package, file, _ = _PORTRAITS[who]
    spec = importlib.util.find_spec(package)
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / file
    if path is None or not path.exists():
        raise MissingDependencyError(
            f"the built-in clip needs the portrait in {package}: pip install 'jetson-face[demo]', "
            "or give a clip of your own with --clip"
        )
    return path


def builtin_clip(plan: ClipPlan) -> Clip:
    """Hopper and Collins in turns until every place is taken. Raises MissingDependencyError."""
    roles = []
    for place in range(max(plan.at_once, 2)):
        who = "collins" if place % 2 else "hopper"
        path = portrait_path(who)
        cutout = cut_out(read_picture(path), _PORTRAITS[who][2])
        known = who == "hopper"
        roles.append(Role(HOPPER if known else None, (cutout,), (path,) if known else ()))
    return compose_clip(plan, roles, photos_shared=True)
