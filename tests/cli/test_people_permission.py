"""What `people` says of consent and of the do-not-recognise list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jetson_face.cli.main import main
from jetson_face.config import Config
from jetson_face.factory.parts import open_gallery
from jetson_face.gallery.permission import record_consent, withhold
from jetson_face.gallery.person_notes import Consent
from tests.config.test_keys_gallery import add, opened


def test_list_and_show_say_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(state_dir=tmp_path)
    with opened(config) as store:
        for name in ("Ada", "Bob", "Eve"):
            add(store, name)
    with open_gallery(config) as store:
        record_consent(store, "Ada", Consent("Ada", "2020-01-01", "2020-12-31", "v1"))
        withhold(store, "Bob")
    own = ["--set", f"state_dir={tmp_path}"]
    assert main(["people", "list", *own]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "Ada: 1 photo, the consent held until 2020-12-31",
        "Bob: 1 photo, never recognised",
        "Eve: 1 photo",
    ]
    assert main(["people", "show", "Ada", *own]) == 0
    assert "consent given by Ada on 2020-01-01, until 2020-12-31" in capsys.readouterr().out
    assert main(["people", "list", "--json", *own]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert (found["Bob"]["do_not_recognise"], found["Ada"]["consent"]["text"]) == (True, "v1")
