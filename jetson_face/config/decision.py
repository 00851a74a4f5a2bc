"""Who is enrolled, and when a face is one of them."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from jetson_face.config.section import SHARE, Cosine, Fraction, HomePath, Section


class GalleryConfig(Section):
    """Enrolled people."""

    model_config = ConfigDict(json_schema_extra={"short": "path"})

    path: HomePath | None = Field(None, description="null: STATE_DIR/gallery.db")
    encrypt: bool = Field(True, description="seal vectors and portraits; key in STATE_DIR")
    lock_timeout_s: float = Field(5, ge=0, le=600)
    refresh_s: float = Field(
        1, ge=0, le=3600, description="how often a running program looks for changes"
    )


class QualityConfig(Section):
    """What a face must have, to be enrolled; and to count at all."""

    model_config = ConfigDict(json_schema_extra={"renamed": {"min_face_px": "enroll_min_px"}})

    enroll_min_px: int = Field(
        48, ge=12, le=2000, description="shorter side of the box, to be enrolled"
    )
    enroll_min: Fraction = Field(0.25, description="least quality of an enrolment photo")
    embed_min: Fraction = Field(0.05, description="least quality of a face worth embedding")
    detection_min: Fraction | None = Field(
        None,
        description="least score of the detector, in the mean of a face's last looks, for a name "
        "or `unknown`; null: 0.74 with YuNet, 0.8 with MTCNN, 0 with others; 0: all count",
    )
    landmarks_min: Fraction = Field(
        0.83,
        description="how well the five landmarks fit a face in any pose, 1: exactly; below it a "
        "detection counts for nothing: no template, name or `unknown`; 0: everything counts",
    )
    recognisable_min: Fraction = Field(
        0.6,
        description="1 minus the cosine to the nearest kind of unrecognisable crops; below it a "
        "crop counts for nothing: no template, name or `unknown`; 0: everything counts",
    )


class MatchingConfig(Section):
    """When two faces are the same person."""

    method: Literal["cosine", "knn", "svm", "softmax", "siamese"] = Field(
        "cosine", description="how a face is compared with the people of the gallery"
    )
    neighbours: int = Field(5, ge=1, le=1000, description="knn: templates that vote")
    pair_weights: HomePath | None = Field(
        None, description="siamese: file of trained weights; null: engines/siamese_MODEL.json"
    )
    fpir: float = Field(
        0.01,
        gt=0,
        le=0.5,
        json_schema_extra={"unit": SHARE},
        description="share of non-enrolled people's faces that may get a name; the cosine follows "
        "from it and the gallery's size",
    )
    similarity_min: Cosine | None = Field(
        None,
        description="higher is more alike; takes precedence over `fpir`; null: what `calibrate "
        "--write` kept with the gallery, else the network's impostor curve, else what model card "
        "or method says",
    )
    negatives: bool = Field(
        True, description="faces that were rejected in review count against who they are not"
    )
    drift_faces: int = Field(
        200,
        ge=0,
        le=100_000,
        description="so many unnamed faces tell whether similarities drift; 0: not watched",
    )
    hysteresis: float = Field(
        0.05,
        ge=0,
        le=1,
        description="a known face keeps its name down to similarity_min minus this",
    )
    margin_min: float = Field(0.03, ge=0, le=2, description="cosine lead over the second person")
    frames_min: int = Field(2, ge=1, le=1000, description="embeddings before a name is given")
    unknown_after: int = Field(5, ge=1, le=1000, description="embeddings before `unknown`")
    top_k: int = Field(3, ge=1, le=100, description="templates of a person that are averaged")
    review_margin: float | None = Field(
        0,
        ge=0,
        le=1,
        description="`review` instead of `unknown` this far below similarity_min; a face between "
        "two people is for review too; null: no review",
    )


class UnknownConfig(Section):
    """People who are not enrolled, known again by their faces."""

    remember: bool = Field(
        False,
        description="keep faces and visits of people who are not enrolled, encrypted, for "
        "`service.retention.unknown_days`: biometric data of people who did not agree to it",
    )
    fpir: float = Field(
        0.01,
        gt=0,
        le=0.5,
        description="share of new people who may be taken for somebody seen before; the cosine "
        "follows from it and from how many are remembered",
    )
    visit_gap_min: float = Field(
        10, ge=0, le=10_080, description="seen again within so many minutes is the same visit"
    )
    people_max: int = Field(
        500, ge=1, le=10_000, description="beyond, who was not seen for longest is forgotten"
    )


class FusionConfig(Section):
    """How the frames of a track are averaged."""

    model_config = ConfigDict(
        json_schema_extra={"renamed": {"embed_known_every": "embed_interval"}}
    )

    strategy: Literal["embedding_mean", "score_mean", "vote"] = "embedding_mean"
    embed_interval: int = Field(
        5,
        ge=1,
        le=1000,
        description="a surely known face is embedded one frame in this many; "
        "where it is not near a threshold, after 8 embeddings in twice, after 16 in three times "
        "as many",
    )
    max_per_frame: int = Field(8, ge=1, le=256, description="faces embedded on one frame")


class TrackingConfig(Section):
    """How boxes become tracks."""

    iou_min: Fraction = 0.3
    max_gap_ms: int = Field(
        1000, ge=0, le=3_600_000, description="a face unseen for longer is a new one"
    )
    hold_ms: int = Field(
        500,
        ge=0,
        le=60_000,
        description="without `sampling.refine`: a name stays on a predicted box for so long after "
        "its face was seen",
    )
    scene_cut: Fraction | None = Field(
        0.4,
        description="share of the picture that must change in colour for a cut, which ends all "
        "tracks; null: cuts are not looked for",
    )
    still_face_s: float | None = Field(
        None,
        ge=0.2,
        le=3600,
        description="a face that did not move at all for so long is a picture: no name, not "
        "`unknown`; null: pictures of people are named as they are",
    )
