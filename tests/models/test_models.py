"""Model cards: reading, finding files, checking digests, embedding spaces."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from jetson_face.core.errors import InputMissingError, MissingDependencyError, ModelError
from jetson_face.models import card_files
from jetson_face.models.cards import card_dir, embedding_space, load_card, resolve

DATA = b"weights"
DIGEST = hashlib.sha256(DATA).hexdigest()
CARD = f"""
name: tiny
kind: embedder
files:
  fp32: {{path: tiny.onnx, sha256: {DIGEST}}}
  fp16: {{path: tiny16.onnx, sha256: {"a" * 64}}}
licence: MIT
source: here
input: {{size: [112, 112], colour: RGB, mean: [127.5, 127.5, 127.5], std: [128, 128, 128]}}
output: {{dim: 128}}
alignment: arcface112
similarity_min: 0.4
"""
Write = Callable[[str, str], Path]


@pytest.mark.parametrize("path", sorted(card_dir().glob("*.yaml")), ids=lambda p: p.stem)
def test_every_card_of_the_project_is_valid(path: Path) -> None:
    card = load_card(path)
    assert card.name == path.stem
    assert card.licence
    assert card.source


def test_a_file_is_found_beside_the_card_and_checked(write: Write, tmp_path: Path) -> None:
    card = load_card(write("tiny.yaml", CARD))
    (tmp_path / "tiny.onnx").write_bytes(DATA)
    assert resolve(card) == tmp_path / "tiny.onnx"
    (tmp_path / "tiny.onnx").write_bytes(DATA + b"!")
    with pytest.raises(ModelError, match="SHA-256"):
        resolve(card)


def test_a_file_that_cannot_be_read_is_named(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(card_files, "file_sha256", refused)
    card = load_card(write("tiny.yaml", CARD))
    (tmp_path / "tiny.onnx").write_bytes(DATA)
    with pytest.raises(ModelError, match=r"tiny\.onnx: cannot be read: Permission denied"):
        resolve(card)


def test_missing_file_and_part_are_named(write: Write) -> None:
    card = load_card(write("tiny.yaml", CARD))
    with pytest.raises(InputMissingError, match=r"tiny\.onnx"):
        resolve(card)
    with pytest.raises(ModelError, match="it has fp32, fp16"):
        resolve(card, "int8")


def test_the_space_is_one_for_all_precisions_and_changes_with_meaning(write: Write) -> None:
    space = embedding_space(load_card(write("tiny.yaml", CARD)))
    assert embedding_space(load_card(write("tiny.yaml", CARD)), "fp16") == space
    assert (space.model, space.dim) == ("tiny", 128)
    for before, after in [
        ("RGB", "BGR"),
        ("127.5, 127.5, 127.5", "127.5, 127.5, 127"),
        (DIGEST, "b" * 64),
        ("arcface112", "dlib150"),
    ]:
        other = embedding_space(load_card(write("other.yaml", CARD.replace(before, after))))
        assert other != space
    same = CARD.replace("licence: MIT", "licence: BSD").replace("0.4", "0.5")
    assert embedding_space(load_card(write("other.yaml", same))) == space


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("colour: RGB", "color: RGB", "input.color: unknown key; did you mean colour"),
        (DIGEST, "abc", "files.fp32.sha256"),
        ("[128, 128, 128]", "[128, 0, 128]", "input.std.1: must be more than 0, got 0"),
        ("path: tiny.onnx", "path: ../tiny.onnx", "inside the card's folder"),
        ("alignment: arcface112", "", "also needs alignment"),
        ("kind: embedder", "kind: oracle", "kind"),
    ],
)
def test_a_bad_card_says_where(write: Write, before: str, after: str, said: str) -> None:
    path = write("tiny.yaml", CARD.replace(before, after))
    with pytest.raises(ModelError, match=r"tiny\.yaml:\d+: ") as caught:
        load_card(path)
    assert said in str(caught.value)


def test_a_package_that_is_not_installed_names_the_extra(write: Write) -> None:
    text = CARD.split("files:", maxsplit=1)[0] + (
        f"package: {{distribution: no-such-thing, file: a/b, sha256: {DIGEST}}}\nextra: pc\n"
        "licence: MIT" + CARD.split("licence: MIT")[1]
    )
    with pytest.raises(MissingDependencyError, match=r"\.\[pc\]"):
        resolve(load_card(write("tiny.yaml", text)))


def test_an_unknown_name_lists_the_cards() -> None:
    with pytest.raises(ModelError, match="mtcnn"):
        load_card("no_such_card")


def test_a_detector_has_no_space() -> None:
    with pytest.raises(ModelError, match="detector"):
        embedding_space(load_card("mtcnn"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mynet.onnx", "mynet.onnx is a network without a card: jetson-face models add mynet.onnx"),
        ("sface.onnx", "sface.onnx is a file; the name of its card is sface"),
        ("squeeznet_face", "did you mean squeezenet_face?"),
        ("xyzzy", "no model card 'xyzzy'; there are: dlib_resnet, mobilefacenet,"),
        ("yunet", "model 'yunet' is of kind detector; kind embedder is wanted here"),
    ],
)
def test_a_name_that_is_no_embedders_is_told_what_to_do(name: str, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_card(name, kind="embedder")
    assert says in str(caught.value)
    assert "mtcnn" not in str(caught.value)
