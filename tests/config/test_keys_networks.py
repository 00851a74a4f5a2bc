"""What the keys of embedder, back end and engines change in how networks run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from jetson_face.config import Config
from jetson_face.core.errors import EngineError, JetsonFaceError
from jetson_face.core.types import F32, ImageU8
from jetson_face.embedding.mirrored import Mirrored
from jetson_face.factory import gpu as gpus
from jetson_face.factory import parts as compose
from jetson_face.factory import plans
from jetson_face.factory.gpu import Gpu
from jetson_face.factory.networks import build_backend, build_embedder, build_mtcnn
from jetson_face.factory.parts import build_canary, for_photos
from jetson_face.factory.plan_networks import networks_of
from jetson_face.factory.plans import Plans
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.models.cards import card_dir, load_card, resolve
from tests.config.keys import Site, shows
from tests.config.parts import Rig
from tests.inference.fake_gpu import fake_gpu


def network() -> Path:
    return resolve(load_card("squeezenet_face"))


@pytest.fixture(scope="module")
def crops() -> ImageU8:
    return np.random.default_rng(1).integers(0, 256, (5, 112, 112, 3)).astype(np.uint8)


def embedded(config: Config, crops: ImageU8) -> F32:
    embedder = build_embedder(config)
    try:
        return np.array(embedder.embed(crops).vectors)
    finally:
        embedder.close()


@shows("embedder[network].model")
def test_another_network_embeds(site: Site) -> None:
    embedder = build_embedder(site({"embedder[network].model": "sface"}))
    embedder.close()
    assert embedder.space.model == "sface"


@shows("embedder[network].precision")
def test_the_network_runs_in_another_precision(site: Site, crops: ImageU8) -> None:
    whole = embedded(site({"embedder[network].precision": "fp32"}), crops)
    half = embedded(site({"embedder[network].precision": "fp16"}), crops)
    difference = np.abs(whole - half).max()
    assert 0 < difference < 0.01


@shows("embedder[network].max_batch")
def test_no_more_crops_run_together(
    site: Site, crops: ImageU8, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    run = OnnxBackend.run

    def noted(self: OnnxBackend, feeds: Any) -> Any:
        together.append(len(next(iter(feeds.values()))))
        return run(self, feeds)

    monkeypatch.setattr(OnnxBackend, "run", noted)
    embedded(site({"embedder[network].max_batch": 2}), crops)
    assert together == [2, 2, 1]


@shows("embedder[network].mirror")
def test_photos_count_with_their_mirror_images(site: Site) -> None:
    config = site({"embedder[network].mirror": False})
    assert not isinstance(for_photos(config, Rig(config).parts).embedder, Mirrored)
    assert isinstance(for_photos(site(), Rig(site()).parts).embedder, Mirrored)


@shows("backend[onnxruntime].type")
def test_onnx_runtime_runs_the_networks(site: Site) -> None:
    config = site({"backend[onnxruntime].type": "onnxruntime"})
    backend = build_backend(config, "embed", network())
    backend.close()
    assert backend.info.name == "onnxruntime"


@shows("backend[onnxruntime].providers")
def test_a_provider_that_is_not_there_is_an_error(site: Site) -> None:
    config = site({"backend[onnxruntime].providers": ["NoSuchExecutionProvider"]})
    with pytest.raises(JetsonFaceError, match="NoSuchExecutionProvider"):
        build_backend(config, "embed", network())


def threads_now() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@shows("backend[onnxruntime].threads")
def test_a_network_takes_so_many_threads(site: Site) -> None:
    wanted = (os.cpu_count() or 1) + 3
    config = site({"backend[onnxruntime].threads": wanted})
    before = threads_now()
    backend = build_backend(config, "embed", network())
    more = threads_now() - before
    backend.close()
    assert more == wanted - 1  # the caller's is one of them


@shows("backend[tensorrt].type")
def test_tensorrt_runs_the_networks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(plans, "open_network", lambda config, name: asked.append(name))
    build_backend(site({"backend[tensorrt].type": "tensorrt"}), "embed", network())
    assert asked == ["embed"]


@shows("backend[tensorrt].precision")
def test_plans_are_built_in_another_precision(site: Site) -> None:
    spec = networks_of(site({"backend[tensorrt].precision": "int8"}))["embed"].spec
    assert spec.precision == "int8"


@shows("backend[tensorrt].workspace_mib")
def test_a_layer_may_take_so_much_memory(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    trt, cuda, _ = fake_gpu()
    seen: list[int] = []

    def compile_plan(trt: Any, spec: Any, *args: Any, **more: Any) -> Any:
        found = [a for a in (*args, *more.values()) if hasattr(a, "workspace_mib")]
        seen.extend(options.workspace_mib for options in found)
        raise EngineError("far enough")

    monkeypatch.setattr("jetson_face.inference.tensorrt.build.compile_plan", compile_plan)
    made = Plans(site({"backend[tensorrt].workspace_mib": 77}), trt, Gpu(trt, cuda))
    with pytest.raises(EngineError, match="far enough"), made.cache.lock():
        made.build(made.specs(["embed"])[0])
    assert seen == [77]


@shows("engines.cache")
def test_built_networks_are_kept_there(site: Site, tmp_path: Path) -> None:
    build_mtcnn(site({"engines.cache": str(tmp_path / "mine")})).close()
    assert list((tmp_path / "mine").rglob("*.onnx"))


@shows("engines.autobuild")
def test_a_missing_plan_is_built_or_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    trt, cuda, _ = fake_gpu()
    monkeypatch.setattr(gpus, "this_gpu", lambda: Gpu(trt, cuda))
    built: list[str] = []

    def build(self: Plans, spec: Any, **more: Any) -> None:
        built.append(spec.name)

    monkeypatch.setattr(Plans, "build", build)
    folder = str(site.folder / "none")
    for wanted in (True, False):
        keys = {"backend[tensorrt].type": "tensorrt", "engines.cache": folder,
                "engines.autobuild": wanted}  # fmt: skip
        with pytest.raises(EngineError):  # nothing was really built
            build_backend(site(keys), "embed", network())
    assert built == ["embed"]


@shows("engines.frame_size")
def test_frames_of_a_known_size_have_a_plan_of_their_own(site: Site) -> None:
    keys = {"backend[tensorrt].type": "tensorrt", "engines.frame_size": [320, 240]}
    config = site({**keys, "detector[mtcnn].type": "mtcnn"})
    assert "search" in networks_of(config)


@shows("engines.canary_every_s")
def test_the_canary_is_asked_as_often(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        compose, "golden_face", lambda aligner: np.zeros((1, 112, 112, 3), np.uint8)
    )

    def asked(config: Config) -> int:
        canary = build_canary(config, Rig(config).parts)
        for second in range(0, 100, 5):
            canary.poll(second * 1_000_000_000)
        return canary.asked

    assert asked(site({"engines.canary_every_s": 20})) == 5
    assert asked(site({"engines.canary_every_s": 0})) == 0


@shows("models.mirror")
def test_a_network_is_read_from_the_mirror(site: Site, tmp_path: Path, crops: ImageU8) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    (stick / "net.onnx").write_bytes(network().read_bytes())
    document = yaml.safe_load((card_dir() / "squeezenet_face.yaml").read_text("utf-8"))
    digest = document.pop("files")["fp32"]["sha256"]
    document["download"] = {"url": "http://127.0.0.1:9/x", "path": "net.onnx", "sha256": digest}
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(document))
    config = site(
        {"models.mirror": str(stick), "embedder[network].model": str(tmp_path / "net.yaml")}
    )
    whole = site({"embedder[network].precision": "fp32"})
    np.testing.assert_array_equal(embedded(config, crops), embedded(whole, crops))
