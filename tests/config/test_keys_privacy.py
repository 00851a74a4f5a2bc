"""What the keys of privacy change."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import numpy as np

from jetson_face.factory.parts import open_gallery
from jetson_face.gallery.permission import record_consent
from jetson_face.gallery.person_notes import Consent
from jetson_face.gallery.records import NewTemplate
from jetson_face.privacy.use_log import UseLog, read_periods
from tests.config.keys import Site, shows
from tests.config.parts import ADA, BOB, SPACE, Rig, Says, gallery, unit


@shows("privacy.expired_consent")
def test_whose_consent_is_over_is_withheld_or_only_shown(site: Site) -> None:
    def withheld(config: object) -> int:
        with closing(open_gallery(config, SPACE, create=True)) as store:  # type: ignore[arg-type]
            shade, points = np.full((256, 256, 3), 99, np.uint8), np.zeros((5, 2), np.float32)
            if store.find("Ada") is None:
                store.add_template(
                    store.add_person("Ada"), NewTemplate(unit(1), 0.5, "a", shade, points, "a.jpg")
                )
            record_consent(store, "Ada", Consent("Ada", "2020-01-01", "2020-12-31"))
            return len(store.snapshot().withheld)

    assert withheld(site({"privacy.expired_consent": "withhold"})) == 1
    assert withheld(site({})) == 0


@shows("privacy.withhold_margin")
def test_a_face_this_far_below_the_threshold_counts_as_withheld(site: Site) -> None:
    people = replace(gallery((ADA, [unit(1)]), (BOB, [unit(0, 1)])), withheld=frozenset({ADA.id}))

    def withheld(margin: float) -> bool:
        keys = {"privacy.withhold_margin": margin, "matching.similarity_min": 0.8}
        rig = Rig(site(keys), says=Says(unit(0.6, 0, 0.8)), people=people)
        rig.see(8)
        return rig.report.sightings[0].withheld

    assert withheld(0.25)
    assert not withheld(0.0)


@shows("privacy.use_days")
def test_the_log_of_use_is_kept_so_long(site: Site) -> None:
    config = site({"privacy.use_days": 30})
    for day in (0, 100):
        log = UseLog(config.state_dir, config.privacy.use_days, lambda day=day: day * 86400.0)  # type: ignore[misc]
        log.begin({})
        log.end()
    assert len(read_periods(config.state_dir, running=False)) == 1
