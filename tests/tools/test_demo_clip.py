"""What the demo leaves to go on with."""

from __future__ import annotations

from pathlib import Path

import demo_clip

from jetson_face.util.images import read_picture


def test_the_demo_leaves_photos_in_a_folder_for_each_person(tmp_path: Path) -> None:
    demo_clip.save_people(tmp_path / "people")
    demo_clip.save_people(tmp_path / "people")  # again: the same
    photos = sorted(tmp_path.glob("people/*/*"))
    assert [path.parent.name for path in photos] == ["Eileen Collins", "Grace Hopper"]
    assert all(min(read_picture(path).shape[:2]) >= 500 for path in photos)
