"""Which file runs for a precision: what the card has, or FP16 made of its FP32."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jetson_face.config import load_config
from jetson_face.factory import files as subject


@pytest.mark.parametrize(
    ("parts", "suffix", "part", "made"),
    [
        (("fp32",), ".onnx", "fp32", False),
        (("fp32",), ".onnx", "fp16", True),
        (("fp32", "fp16"), ".onnx", "fp16", False),
        (("weights",), ".onnx", "fp16", False),  # nothing to make it of
        (("fp32",), ".dat", "fp16", False),  # no graph: the error says what there is
        (("fp32",), ".onnx", "int8", False),
    ],
)
def test_fp16_is_made_of_fp32_where_the_card_has_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parts: tuple[str, ...],
    suffix: str,
    part: str,
    *,
    made: bool,
) -> None:
    cache = tmp_path / "engines"
    cache.mkdir()
    card: Any = SimpleNamespace(name="net", parts=parts)

    def shipped(of: Any, part: str, where: Path) -> Path:
        assert (of, where) == (card, cache)
        path = where / f"net-{part}{suffix}"
        path.write_bytes(part.encode())
        return path

    def built(path: Path, facts: dict[str, str], build: Any) -> Path:
        assert path == cache / f"net-fp32-fp16-{subject.FP16}.onnx"
        assert facts == {"card": "net", "part": "fp16"}
        path.write_bytes(build())
        return path

    monkeypatch.setattr(subject, "card_file", shipped)
    monkeypatch.setattr(subject, "built_file", built)
    monkeypatch.setattr(
        subject, "to_fp16", lambda data, name: data + b" as fp16 of " + name.encode()
    )
    config = load_config(None, [f"engines.cache={cache}"])
    found = subject.network_file(config, card, part)
    assert found.read_bytes() == (b"fp32 as fp16 of net" if made else part.encode())
    whole = subject.network_file(config, card)
    assert whole == subject.network_file(config, card, "fp32")
