"""What a reload takes, and what of a running service it makes anew."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from jetson_face.config import Config, load_config
from jetson_face.core.errors import ConfigError
from jetson_face.service.reload import check_reloadable, needs_new_loop
from jetson_face.service.swap import build_deck


def config(*keys: str) -> Config:
    return load_config(None, ["sources=[{uri: 'test://'}]", "detector={type: haar}", *keys])


@pytest.mark.parametrize(
    "change",
    [
        "report.history_days=0",
        "report.history_mib=7",
        "gallery.encrypt=false",
        "privacy.use_days=7",
        "unknown.people_max=7",
        "service.retention.events_days=7",
    ],
)
def test_what_is_only_read_at_the_start_is_refused(change: str) -> None:
    key = change.partition("=")[0]
    named = "service.retention" if key.startswith("service.") else key
    with pytest.raises(ConfigError, match=f"{named} cannot change while running"):
        check_reloadable(config(), config(change))
    check_reloadable(config(change), config(change))


def test_cameras_searched_together_need_other_networks_and_a_new_loop(tmp_path: Path) -> None:
    place = f"state_dir={tmp_path}"
    old, new = config(place), config(place, "sampling.together=2")
    assert needs_new_loop(old, new)
    assert not needs_new_loop(old, config(place, "sampling.interval=2"))
    with closing(build_deck(old)) as deck:
        with closing(build_deck(new, deck)) as other:
            assert other.parts is not deck.parts
        with closing(build_deck(config(place, "sampling.interval=2"), deck)) as same:
            assert same.parts is deck.parts
