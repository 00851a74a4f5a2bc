"""The gate lets rounding pass and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from jetson_face.core.errors import EngineError
from jetson_face.core.types import F32, Detections, ImageU8
from jetson_face.inference.backend import Array, BackendInfo, TensorSpec
from jetson_face.inference.tensorrt.parity import (
    ParityReport,
    ParityRow,
    detection_parity,
    embedding_parity,
    tensor_parity,
)

IMAGE: ImageU8 = np.zeros((100, 100, 3), np.uint8)


def faces(*centres: float, points: float = 0.0, order: int = 1) -> Detections:
    """Faces of 20 pixels around (c, c); order -1 turns them round."""
    centres = centres[::order]
    boxes = np.array([[c - 10, c - 10, c + 10, c + 10] for c in centres], np.float32)
    marks = np.array([np.full((5, 2), c + points) for c in centres], np.float32)
    n = len(centres)
    return Detections(boxes.reshape(n, 4), np.full(n, 0.9, np.float32), marks.reshape(n, 5, 2))


@pytest.mark.parametrize(
    ("got", "failing"),
    [
        (faces(20, 60), set()),
        (faces(20.9, 60), set()),
        (faces(20, 60, order=-1), set()),
        (faces(21.1, 60), {"boxes", "landmarks"}),
        (faces(20, 60, points=1.2), {"landmarks"}),
        (faces(20), {"faces", "boxes", "landmarks"}),
        (faces(20, 60, 90), {"faces"}),
        (faces(20, 20.5), {"boxes", "landmarks"}),
        (faces(), {"faces"}),
    ],
    ids=["same", "shifted 0.9", "order", "shifted", "points", "lost", "extra", "twice", "none"],
)
def test_detections(got: Detections, failing: set[str]) -> None:
    report = detection_parity(lambda _: faces(20, 60), lambda _: got, [IMAGE])
    assert {row.check.split(",")[0].split()[0] for row in report.rows if not row.passed} == failing
    assert report.passed == (not failing)


def test_landmarks_that_are_missing_fail() -> None:
    marks = np.full((1, 5, 2), np.nan, np.float32)
    lost = Detections(faces(20).boxes, faces(20).scores, marks)
    assert not detection_parity(lambda _: faces(20), lambda _: lost, [IMAGE]).passed


def test_pictures_without_a_face_prove_nothing() -> None:
    with pytest.raises(EngineError, match="no face"):
        detection_parity(lambda _: faces(), lambda _: faces(), [IMAGE])


def unit(vectors: Any) -> F32:
    vectors = np.asarray(vectors, np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


BASE = unit(np.random.default_rng(3).normal(0, 1, (8, 128)))
CROPS: ImageU8 = np.zeros((8, 4, 4, 3), np.uint8)


def judge(got: F32, similarity_min: float = 0.3, precision: str = "fp16") -> set[str]:
    report = embedding_parity(
        lambda _: BASE, lambda _: got, CROPS, similarity_min=similarity_min, precision=precision
    )
    return {row.check.split()[0].rstrip(",") for row in report.rows if not row.passed}


def test_embeddings_that_are_rounded_pass() -> None:
    assert judge(BASE) == set()
    assert judge(unit(BASE.astype(np.float16))) == set()


def test_a_flipped_decision_fails_however_close() -> None:
    moved = unit(BASE + 1e-4 * np.roll(BASE, 1, axis=0))
    before, after = float(BASE[2] @ BASE[3]), float(moved[2] @ moved[3])
    assert 0 < abs(after - before) < 1e-3
    assert judge(moved, (before + after) / 2) == {"decisions"}


def test_one_wrong_vector_fails_everything() -> None:
    wrong = BASE.copy()
    wrong[3] = BASE[5]
    assert judge(wrong) == {"vectors", "decisions", "rankings"}


def test_not_a_number_fails() -> None:
    wrong = BASE.copy()
    wrong[0, 0] = np.nan
    assert "vectors" in judge(wrong)


def test_a_negated_network_fails_although_similarities_agree() -> None:
    assert judge(-BASE) == {"vectors"}


def test_too_few_faces_are_refused() -> None:
    with pytest.raises(EngineError, match="need 3"):
        embedding_parity(
            lambda _: BASE[:2], lambda _: BASE[:2], CROPS, similarity_min=0, precision="fp16"
        )


class Fixed:
    """A back end that answers one array."""

    inputs: Mapping[str, TensorSpec] = {}
    outputs: Mapping[str, TensorSpec] = {}
    info = BackendInfo("fixed", "0", "none", "fp32")

    def __init__(self, **outputs: Any) -> None:
        self._outputs = {k: np.asarray(v, np.float32) for k, v in outputs.items()}

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._outputs

    def close(self) -> None:
        pass


def test_raw_outputs() -> None:
    same = tensor_parity("n", "fp16", Fixed(y=[1, 2, 3]), Fixed(y=[1, 2, 3.01]), [{}])
    assert same.passed
    assert same.rows[0].measured < 1
    assert not tensor_parity("n", "fp32", Fixed(y=[1, 2, 3]), Fixed(y=[1, 2, 3.3]), [{}]).passed
    assert not tensor_parity("n", "fp16", Fixed(y=[1, 2]), Fixed(y=[0, 0]), [{}]).passed
    assert not tensor_parity("n", "fp16", Fixed(y=[1, 2]), Fixed(y=[np.inf, 0]), [{}]).passed
    assert tensor_parity("n", "fp16", Fixed(y=[0, 0]), Fixed(y=[0, 0]), [{}]).passed
    with pytest.raises(EngineError, match="outputs are"):
        tensor_parity("n", "fp16", Fixed(y=[1, 2]), Fixed(y=[1, 2, 3]), [{}])


def test_a_report_of_nothing_does_not_pass() -> None:
    assert not ParityReport(()).passed
    assert ParityReport(()).first_failure() == "nothing was compared"


def test_the_table_names_the_failure() -> None:
    good = ParityRow("pnet", "boxes, largest shift (px)", 0.25, 1, True)
    bad = ParityRow("embed", "vectors, least cosine", 0.9, 0.999, False)
    report = ParityReport((good,)) + ParityReport((bad,))
    lines = report.table().splitlines()
    assert lines[1].split()[-1] == "ok"
    assert lines[2].split()[-3:] == [">=", "0.999", "FAILED"]
    assert report.first_failure() == "vectors, least cosine 0.9, wanted >= 0.999"
    assert report.to_json()[1]["passed"] is False
