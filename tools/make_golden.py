"""Answers of networks, as the packages of others have them, for `jetson-face models verify`.

    python tools/make_golden.py [--folder engines]

mobilefacenet's, too, where `jetson-face models fetch mobilefacenet` was run before.

The files run as they are, without our folding: SFace in ONNX Runtime, YuNet in OpenCV's own reader,
since ONNX Runtime refuses its biases. The picture is drawn by a formula, and of each output every
STEP-th number is kept, so the files are small.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx

from jetson_face.config import load_config
from jetson_face.embedding.onnx import preprocess
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.models.cards import fetched_file, load_card, resolve
from jetson_face.models.golden import drawn
from jetson_face.util.files import write_file

F32 = npt.NDArray[np.float32]
SHAPES = {"sface": (2, 3, 112, 112), "yunet": (1, 3, 640, 640)}
STEPS = {"sface": 1, "yunet": 61}


def answers(model: str) -> Mapping[str, F32]:
    """What the package's own file answers to the drawn picture, by output."""
    content = resolve(load_card(model)).read_bytes()
    picture = drawn(SHAPES[model])
    graph = onnx.load_model_from_string(content).graph
    if model == "yunet":
        net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
        net.setInput(picture)
        names = [value.name for value in graph.output]
        return dict(
            zip(names, (np.asarray(v, np.float32) for v in net.forward(names)), strict=True)
        )
    backend = OnnxBackend(_only_data(content))
    rows = [backend.run({"data": picture[i : i + 1]})["fc1"].copy() for i in range(len(picture))]
    backend.close()
    return {"fc1": np.concatenate(rows)}


def _only_data(content: bytes) -> bytes:
    """The file with one change: only `data` is asked for, not its own weights."""
    model = onnx.load_model_from_string(content)
    data = [value for value in model.graph.input if value.name == "data"]
    del model.graph.input[:]
    model.graph.input.extend(data)
    return bytes(model.SerializeToString())


def golden(model: str) -> bytes:
    """The file that a card names under `golden`."""
    kept: dict[str, Any] = {"drawn": np.array(SHAPES[model]), "step": np.array(STEPS[model])}
    for name, value in answers(model).items():
        kept[f"output.{name}"] = value.ravel()[:: STEPS[model]]
    out = io.BytesIO()
    np.savez_compressed(out, **kept)
    return out.getvalue()


def golden_of_one(model: str) -> bytes | None:
    """The same for a card whose file takes one scaled picture; None where it was not fetched."""
    card = load_card(model, load_config(None).model_places)
    if card.input is None or card.output is None or fetched_file(card, "fp32") is None:
        return None
    crop = drawn((1, 3, *card.input.size)).transpose(0, 2, 3, 1).astype(np.uint8)
    given = preprocess(crop, card.input)
    with closing(OnnxBackend(resolve(card))) as backend:
        answer = backend.run({card.input.name: given})[card.output.name]
    out = io.BytesIO()
    np.savez_compressed(out, input=given, output=answer)
    return out.getvalue()


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("engines"), help="default: engines")
    folder = parser.parse_args().folder
    for model in SHAPES:
        write_file(folder / f"{model}.golden.npz", golden(model))
        print(folder / f"{model}.golden.npz")
    if (content := golden_of_one("mobilefacenet")) is not None:
        write_file(folder / "mobilefacenet.golden.npz", content)
        print(folder / "mobilefacenet.golden.npz")


if __name__ == "__main__":
    main()
