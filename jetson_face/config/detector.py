"""What finds faces."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from jetson_face.config.plugin import DetectorName, Options
from jetson_face.config.section import Fraction, Section, of_type


class DetectorSettings(Section):
    """What every detector has."""

    min_face_px: int = Field(40, ge=12, le=2000, description="smallest face looked for, pixels")
    max_faces: int = Field(32, ge=1, le=1000)
    max_side_px: int | None = Field(
        None,
        ge=64,
        le=16384,
        description="search on a picture shrunk to this longer side; null: full size",
    )


class AutoDetectorConfig(DetectorSettings):
    """The fastest detector that is installed and finds no fewer faces; the log says which."""

    model_config = ConfigDict(json_schema_extra={"short": "type"})

    type: Literal["auto"] = "auto"


class MtcnnConfig(DetectorSettings):
    """MTCNN: P-, R- and O-Net, five landmarks."""

    model_config = ConfigDict(json_schema_extra={"renamed": {"face_px_min": "drop_below_px"}})

    type: Literal["mtcnn"] = "mtcnn"
    pyramid_factor: float = Field(0.709, gt=0.3, lt=0.95)
    thresholds: tuple[Fraction, Fraction, Fraction] = (0.6, 0.7, 0.7)
    drop_below_px: float = Field(
        0, ge=0, le=4000, description="a found face whose longer side is below is dropped, pixels"
    )


class HaarConfig(DetectorSettings):
    """OpenCV's Haar cascade on the picture turned by steps, results merged."""

    type: Literal["haar"]
    points: Literal["onet", "dlib68", "dlib5", "eyes"] = Field(
        "onet", description="what finds the landmarks: MTCNN's O-Net, dlib, or the eye cascade"
    )
    turn_max_deg: float = Field(60, ge=0, le=180, description="0: upright faces only")
    turn_step_deg: float = Field(20, ge=5, le=90)
    scale_factor: float = Field(1.1, gt=1, le=2)
    min_neighbours: int = Field(4, ge=0, le=50, description="hits that a face needs")


class DlibConfig(DetectorSettings):
    """dlib: HOG (upright faces), or its detection network (slow without CUDA)."""

    type: Literal["dlib"]
    min_face_px: int = Field(80, ge=12, le=2000, description="below 72 the picture is doubled")
    method: Literal["hog", "cnn"] = "hog"
    points: Literal["dlib68", "dlib5"] = "dlib68"
    threshold: float = Field(0.0, ge=-2, le=2, description="below 0 HOG finds more")


class YunetConfig(DetectorSettings):
    """YuNet: one small network, five landmarks; what it costs follows from min_face_px."""

    type: Literal["yunet"]
    model: str = Field("yunet", description="a model card's name, or a path to one")
    score_min: Fraction = 0.7


class PluginDetectorConfig(DetectorSettings):
    """A detector that another package brings; the program keeps to the sizes and counts."""

    type: Literal["plugin"]
    name: DetectorName
    options: Options


def _with_type(value: Any) -> Any:
    """Which detector is meant where none is named: the one whose own settings are there."""
    own = isinstance(value, dict) and value.keys() & _MTCNNS_OWN
    return of_type(value, "mtcnn" if own else "auto")


_MTCNNS_OWN = {*MtcnnConfig.model_fields, "face_px_min"} - DetectorSettings.model_fields.keys()


DetectorConfig = Annotated[
    AutoDetectorConfig | MtcnnConfig | HaarConfig | DlibConfig | YunetConfig | PluginDetectorConfig,
    Field(discriminator="type"),
    BeforeValidator(_with_type),
]
