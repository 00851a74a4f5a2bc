"""A user-supplied Torch 7 file: refused with what to fetch, or with why it cannot be read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from jetson_face.config import load_config
from jetson_face.core.errors import InputMissingError, ModelError
from jetson_face.embedding.opencv import OpenCvNet
from jetson_face.factory.networks import build_embedder
from jetson_face.models.cards import card_dir, load_card


def test_openface_is_fetched_by_the_user() -> None:
    if (card_dir() / "nn4.small2.v1.t7").exists():
        pytest.skip("the file was fetched")
    with pytest.raises(InputMissingError, match=r"fetch https.*nn4\.small2\.v1\.t7"):
        build_embedder(load_config(None, ["embedder.model=openface_t7"]))


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    text = (card_dir() / "openface_t7.yaml").read_text("utf-8")
    digest = load_card("openface_t7").download["fp32"].sha256
    data = b"4\n1\n3\nV 1\n13\nnn.Sequential\n" * 3
    (tmp_path / "nn4.small2.v1.t7").write_bytes(data)
    changed = text.replace(digest, hashlib.sha256(data).hexdigest())
    (tmp_path / "openface_t7.yaml").write_text(changed, "utf-8")
    with pytest.raises(ModelError, match="OpenCV can read"):
        OpenCvNet(load_card(tmp_path / "openface_t7.yaml"))
