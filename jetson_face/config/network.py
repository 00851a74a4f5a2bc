"""Which network embeds a face, and what runs it."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field

from jetson_face.config.plugin import EmbedderName, Options
from jetson_face.config.section import HomePath, Section, of_type

Side: TypeAlias = Annotated[int, Field(ge=1, le=16384)]


class EmbedderConfig(Section):
    """The network that turns a face into a vector."""

    model_config = ConfigDict(json_schema_extra={"short": "model"})

    type: Literal["network"] = "network"
    model: str = Field("squeezenet_face", description="a model card's name, or a path to one")
    precision: Literal["auto", "fp32", "fp16", "int8"] = Field(
        "auto",
        description="without TensorRT; auto: int8 where the processor gains by it (VNNI, "
        "AVX2) and the network has it, else fp32",
    )
    max_batch: int = Field(16, ge=1, le=256)
    mirror: bool = Field(
        True,
        description="photos count together with their mirror image, for twice the time; every "
        "other crop of a tracked face is mirrored, for nothing",
    )


class PluginEmbedderConfig(Section):
    """An embedder that another package brings."""

    type: Literal["plugin"]
    name: EmbedderName
    options: Options
    max_batch: int = Field(16, ge=1, le=256)
    mirror: bool = Field(True, description="as for a network")

    @property
    def model(self) -> str:
        """What reports call it."""
        return self.name

    @property
    def precision(self) -> Literal["fp32"]:
        """It computes as it likes: its vectors are what counts."""
        return "fp32"


EmbedderSection = Annotated[
    EmbedderConfig | PluginEmbedderConfig,
    Field(discriminator="type"),
    BeforeValidator(partial(of_type, meant="network")),
]


class OnnxRuntimeConfig(Section):
    """ONNX Runtime."""

    model_config = ConfigDict(json_schema_extra={"short": "type"})

    type: Literal["onnxruntime"] = "onnxruntime"
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    threads: int | None = Field(None, ge=1, le=256, description="per network; null: all cores")


class TensorRTConfig(Section):
    """TensorRT plans, built on this machine from the same ONNX files."""

    type: Literal["tensorrt"] = "tensorrt"
    precision: Literal["fp32", "fp16", "int8"] = "fp16"
    workspace_mib: int = Field(1024, ge=64, le=1 << 20)


class EnginesConfig(Section):
    """Where built networks are kept."""

    cache: HomePath | None = Field(None, description="null: $XDG_CACHE_HOME/jetson-face/engines")
    autobuild: bool = Field(True, description="`run` builds what is missing first")
    frame_size: tuple[Side, Side] | None = Field(
        None,
        description="width, height of the camera's frames: they have a plan of their own (MTCNN's "
        "makes the pyramid on the GPU)",
    )
    canary_every_s: float = Field(600, ge=0, le=604_800, description="0: no canary")


class ModelsConfig(Section):
    """Where the files of networks that a user fetches lie, besides state_dir/models."""

    mirror: HomePath | None = Field(
        None,
        description="a folder with the same files, only read: `models fetch` needs no web",
    )
