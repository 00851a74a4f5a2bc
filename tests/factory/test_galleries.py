"""The gallery as the configuration names it: who may look, and what says that it was put back."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from jetson_face.config import Config, load_config
from jetson_face.core.errors import GalleryRestoredError, InputMissingError, OutputError
from jetson_face.factory.galleries import open_gallery
from jetson_face.gallery.permission import record_consent
from jetson_face.gallery.person_notes import Consent
from tests.gallery.gallery_fakes import SPACE, template


def config(tmp_path: Path, *words: str) -> Config:
    return load_config(None, [f"state_dir={tmp_path / 'var' / 'state'}", *words])


def ledgers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.ledger"))


def cache() -> Path:
    return Path(os.environ["XDG_CACHE_HOME"]) / "jetson-face"


def test_a_sealed_gallery_has_a_witness_outside_of_its_folder(tmp_path: Path) -> None:
    site = config(tmp_path)
    with open_gallery(site, SPACE, create=True) as gallery:
        gallery.add_person("Ada")
    assert ledgers(site.state_dir) == ["gallery.db.ledger"]
    # The name stays: under another one, the gallery of an older version would have no witness.
    where = hashlib.sha256(bytes(site.gallery_path.resolve())).hexdigest()
    assert ledgers(cache()) == [f"gallery.db-{where[:12]}.ledger"]
    told = [(place / name).read_bytes() for place in (site.state_dir, cache())
            for name in ledgers(place)]  # fmt: skip
    assert not any(b"generation" in one for one in told)
    # A backup of the whole folder, put back.
    shutil.copytree(site.state_dir, tmp_path / "backup")
    with open_gallery(site) as gallery:
        gallery.remove("Ada")
    shutil.rmtree(site.state_dir)
    shutil.copytree(tmp_path / "backup", site.state_dir)
    with pytest.raises(GalleryRestoredError):
        open_gallery(site)
    with open_gallery(site, restored=True) as gallery:
        gallery.accept()
    open_gallery(site).close()


@pytest.mark.parametrize(("wanted", "recognised"), [("show", True), ("withhold", False)])
def test_who_no_longer_consents_is_recognised_only_where_that_is_wanted(
    tmp_path: Path, wanted: str, *, recognised: bool
) -> None:
    site = config(tmp_path, f"privacy.expired_consent={wanted}")
    with open_gallery(site, SPACE, create=True) as gallery:
        gallery.add_template(gallery.add_person("Ada"), template("ada.jpg"))
        record_consent(gallery, "Ada", Consent("Ada", "2020-01-01", "2020-12-31"))
        assert (not gallery.snapshot().withheld) == recognised


def test_a_gallery_in_the_clear_has_none(tmp_path: Path) -> None:
    site = config(tmp_path, "gallery.encrypt=false")
    open_gallery(site, SPACE, create=True).close()
    assert (ledgers(site.state_dir), ledgers(cache())) == (["gallery.db.ledger"], [])
    assert b"generation" in (site.state_dir / "gallery.db.ledger").read_bytes()
    assert not (site.state_dir / "gallery.key").exists()


def test_galleries_of_one_name_in_several_folders_have_ledgers_of_their_own(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        path = tmp_path / folder / "deep" / "people.db"
        open_gallery(config(tmp_path, f"gallery.path={path}"), SPACE, create=True).close()
        assert path.parent.stat().st_mode & 0o777 == 0o700
    names = ledgers(config(tmp_path).state_dir)
    assert len(names) == 2
    assert all(name.startswith("people.db-") for name in names)
    assert ledgers(cache()) == names


def test_what_is_not_there_is_made_only_when_asked(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="enrol somebody first"):
        open_gallery(config(tmp_path), SPACE)
    assert not config(tmp_path).state_dir.exists()


@pytest.mark.parametrize("create", [False, True])
def test_a_link_to_nothing_is_said_and_nothing_is_made(tmp_path: Path, *, create: bool) -> None:
    site = config(tmp_path)
    site.gallery_path.parent.mkdir(parents=True)
    site.gallery_path.symlink_to(tmp_path / "disk" / "gallery.db")
    with pytest.raises(InputMissingError, match=r"a link to .*gallery\.db, which is not there"):
        open_gallery(site, SPACE, create=create)
    assert sorted(path.name for path in site.state_dir.iterdir()) == ["gallery.db"]


def test_a_folder_that_cannot_be_made_is_named_with_the_key(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file")
    with pytest.raises(OutputError, match="var/state: the gallery's folder cannot be made"):
        open_gallery(config(tmp_path), SPACE, create=True)
