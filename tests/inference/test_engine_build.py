"""Real builds with TensorRT for RTX, and everything that can go wrong in one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from jetson_face.core.errors import EngineError, OutputError
from jetson_face.inference.tensorrt.bindings import TensorRT
from jetson_face.inference.tensorrt.build import EngineBuilder
from jetson_face.inference.tensorrt.builder import (
    BuildInterruptedError,
    BuildOptions,
    ShapeRange,
    compile_plan,
)
from jetson_face.inference.tensorrt.cache import EngineCache, SideCar
from jetson_face.inference.tensorrt.key import Machine, NetworkSpec, key_of
from jetson_face.inference.tensorrt.parity import ParityReport, ParityRow
from tests.inference.graphs import model, squeezenet, tiny_conv

ANY_SIZE = {"x": ShapeRange((1, 3, 12, 12), (1, 3, 40, 40), (2, 3, 100, 100))}
MakeBuilder = Callable[..., EngineBuilder]
GOOD = ParityReport((ParityRow("tiny", "cosine", 1.0, 0.999, False),))
BAD = ParityReport((ParityRow("tiny", "cosine", 0.4, 0.999, False),))


def tiny(seed: int = 0, precision: str = "fp16") -> NetworkSpec:
    return NetworkSpec("tiny", tiny_conv(seed), precision, ANY_SIZE)


def leftovers(folder: Path) -> list[str]:
    """Everything in the cache but the lock."""
    return sorted(p.name for p in folder.glob("*") if p.name != ".lock")


def test_build_writes_a_plan_and_its_side_car(
    make_builder: MakeBuilder, cache: EngineCache, machine: Machine
) -> None:
    with cache.lock():
        result = make_builder().build(tiny())
    assert result.built
    assert result.path.suffix == ".plan"
    data = json.loads(result.path.with_suffix(".json").read_text("utf-8"))
    assert data["plan_sha256"] == hashlib.sha256(result.path.read_bytes()).hexdigest()
    assert data["parity"] == "unchecked"
    assert data["built_at"] == "2026-01-02T00:00:00+00:00"
    assert data["key"] | {"profiles": 0} == {
        "network": "tiny",
        "precision": "fp16",
        "flavour": "tensorrt_rtx",
        "version": machine.version,
        "compute_capability": "8.6",
        "device": "any",
        "onnx_sha256": hashlib.sha256(tiny_conv()).hexdigest(),
        "jetson_face": data["key"]["jetson_face"],
        "profiles": 0,
    }
    assert data["key"]["profiles"]["x"]["max"] == [2, 3, 100, 100]
    for fact in ("tiny-fp16", f"rtx{machine.version}", "sm86", "any", data["key"]["jetson_face"]):
        assert fact in result.path.name
    assert cache.load(key_of(tiny(), machine), unchecked=True) == result.path.read_bytes()


def test_a_fitting_plan_is_not_built_again_unless_forced(
    make_builder: MakeBuilder, cache: EngineCache
) -> None:
    builder = make_builder()
    with cache.lock():
        first = builder.build(tiny())
        assert not builder.build(tiny()).built
        assert builder.build(tiny(), force=True).built
        assert builder.build(tiny(seed=1)).path != first.path
    assert len(list(cache.folder.glob("*.plan"))) == 2


def test_a_damaged_plan_is_refused_then_rebuilt(
    make_builder: MakeBuilder, cache: EngineCache, machine: Machine
) -> None:
    with cache.lock():
        path = make_builder().build(tiny()).path
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(EngineError, match=r"damaged.*jetson-face engines build"):
            cache.load(key_of(tiny(), machine), unchecked=True)
        assert make_builder().build(tiny()).built


@pytest.mark.parametrize(
    ("onnx", "message"),
    [
        (b"", "tiny: .*(not a valid ONNX|cannot read)"),
        (b"not onnx at all", "tiny: not a valid ONNX file"),
        (tiny_conv()[:200], "tiny: not a valid ONNX file"),
    ],
    ids=["empty", "garbage", "truncated"],
)
def test_broken_onnx(
    onnx: bytes, message: str, make_builder: MakeBuilder, cache: EngineCache
) -> None:
    with cache.lock(), pytest.raises(EngineError, match=message):
        make_builder().build(NetworkSpec("tiny", onnx, "fp16", ANY_SIZE))
    assert leftovers(cache.folder) == []


def test_an_operator_that_tensorrt_lacks_is_named(trt: TensorRT) -> None:
    onnx = tiny_conv().replace(b"Relu", b"Rely")
    with pytest.raises(EngineError, match=r"tiny: TensorRT cannot read this ONNX: .*Plugin"):
        compile_plan(trt, onnx, "tiny", ANY_SIZE, BuildOptions(64, "8.6"))


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ({}, r"input 'x' \(-1, 3, -1, -1\) needs a shape range"),
        ({"y": ANY_SIZE["x"]}, r"a shape range for \['y'\], but the inputs are \['x'\]"),
        ({"x": ShapeRange.fixed((1, 3, 12))}, "does not fit"),
        ({"x": ShapeRange.fixed((1, 4, 12, 12))}, "does not fit"),
        ({"x": ShapeRange((1, 1, 9, 9), (1, 3, 9, 9), (1, 3, 9, 9))}, "does not fit"),
    ],
    ids=["none", "wrong name", "wrong rank", "wrong channels", "varies where fixed"],
)
def test_wrong_shapes(profiles: dict[str, ShapeRange], message: str, trt: TensorRT) -> None:
    with pytest.raises(EngineError, match=message):
        compile_plan(trt, tiny_conv(), "tiny", profiles, BuildOptions(64, "8.6"))


def test_weights_that_do_not_fit_are_told_in_tensorrts_words(trt: TensorRT) -> None:
    onnx = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="times")],
        {"x": ["n", 10]},
        {"y": ["n", 4]},
        {"w": np.zeros((12, 4), np.float32)},
    )
    profiles = {"x": ShapeRange.batch((10,), 2)}
    with pytest.raises(EngineError, match=r"tiny: TensorRT cannot (build|read) .*: .+"):
        compile_plan(trt, onnx, "tiny", profiles, BuildOptions(64, "8.6"))


def test_shape_range_must_be_ordered() -> None:
    with pytest.raises(ValueError, match="min <= opt <= max"):
        ShapeRange((2, 3), (1, 3), (4, 3))
    assert ShapeRange.batch((3, 8, 8), 16) == ShapeRange((1, 3, 8, 8), (8, 3, 8, 8), (16, 3, 8, 8))


def test_too_little_workspace_names_the_setting(trt: TensorRT) -> None:
    huge = {"x": ShapeRange.fixed((16, 3, 1000, 1000))}
    with pytest.raises(EngineError, match=r"workspace.*raise backend\.workspace_mib"):
        compile_plan(trt, tiny_conv(), "tiny", huge, BuildOptions(0, "8.6"))


def test_unknown_compute_capability_lists_the_known(trt: TensorRT) -> None:
    with pytest.raises(EngineError, match=r"cannot build for 3\.5; it can for .*8\.6"):
        compile_plan(trt, tiny_conv(), "tiny", ANY_SIZE, BuildOptions(64, "3.5"))


class Listener:
    """Counts; stops or raises at a step."""

    def __init__(self, stop_at: int | None = None, error: BaseException | None = None) -> None:
        self.phases: list[tuple[str, str | None, int]] = []
        self.steps = 0
        self._stop_at, self._error = stop_at, error

    def phase(self, name: str, parent: str | None, steps: int) -> bool:
        self.phases.append((name, parent, steps))
        return True

    def step(self, name: str, index: int) -> bool:
        self.steps += 1
        if self._stop_at is not None and self.steps >= self._stop_at:
            if self._error is not None:
                raise self._error
            return False
        return True


def test_progress_is_told(make_builder: MakeBuilder, cache: EngineCache) -> None:
    listener = Listener()
    with cache.lock():
        make_builder().build(tiny(), progress=listener)
    assert listener.phases[0][1] is None
    assert listener.phases[0][2] > 0
    assert listener.steps > 10


@pytest.mark.parametrize("stop_at", [1, 5, 20])
def test_an_interrupted_build_leaves_nothing(
    stop_at: int, make_builder: MakeBuilder, cache: EngineCache
) -> None:
    with cache.lock():
        with pytest.raises(BuildInterruptedError, match="interrupted"):
            make_builder().build(tiny(), progress=Listener(stop_at))
        with pytest.raises(KeyboardInterrupt):
            make_builder().build(tiny(), progress=Listener(stop_at, KeyboardInterrupt()))
        assert leftovers(cache.folder) == []
        assert make_builder().build(tiny()).built


def test_the_gate_sees_the_plan_before_it_is_in_place(
    make_builder: MakeBuilder, cache: EngineCache, machine: Machine
) -> None:
    seen: list[tuple[int, list[str]]] = []

    def gate(spec: NetworkSpec, plan: bytes) -> ParityReport:
        seen.append((len(plan), leftovers(cache.folder)))
        return GOOD

    with cache.lock():
        result = make_builder(gate).build(tiny())
    assert seen == [(result.path.stat().st_size, [])]
    assert result.side_car.parity == "passed"
    assert cache.load(key_of(tiny(), machine)) == result.path.read_bytes()


def test_a_plan_that_fails_the_gate_is_refused_and_the_previous_one_kept(
    make_builder: MakeBuilder, cache: EngineCache, machine: Machine
) -> None:
    with cache.lock():
        path = make_builder(lambda spec, plan: GOOD).build(tiny()).path
        before = path.read_bytes(), path.with_suffix(".json").read_bytes()
        with pytest.raises(EngineError, match=r"failed the parity gate .*cosine 0\.4"):
            make_builder(lambda spec, plan: BAD).build(tiny(), force=True)
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == before
    assert len(leftovers(cache.folder)) == 2
    assert cache.load(key_of(tiny(), machine)) == before[0]


def test_a_plan_that_no_gate_saw_does_not_run_until_checked(
    make_builder: MakeBuilder, cache: EngineCache, machine: Machine
) -> None:
    key = key_of(tiny(), machine)
    with cache.lock():
        make_builder().build(tiny())
        with pytest.raises(EngineError, match="parity gate yet: run jetson-face engines check"):
            cache.load(key)
        assert make_builder(lambda spec, plan: GOOD).check(tiny()).passed
        cache.load(key)
        assert not make_builder(lambda spec, plan: BAD).check(tiny()).passed
        with pytest.raises(EngineError, match="failed the parity gate: run jetson-face engines"):
            cache.load(key)
        assert make_builder().build(tiny()).built


def test_a_full_disk_leaves_the_previous_plan(
    make_builder: MakeBuilder, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache.lock():
        path = make_builder().build(tiny()).path
        before = path.read_bytes(), path.with_suffix(".json").read_bytes(), leftovers(cache.folder)

        def full(handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr("jetson_face.util.files.os.fsync", full)
            with pytest.raises(OutputError, match=r"No space left.*engines\.cache"):
                make_builder().build(tiny(), force=True)
    after = path.read_bytes(), path.with_suffix(".json").read_bytes(), leftovers(cache.folder)
    assert after == before


def test_a_file_size_limit_leaves_nothing(trt: TensorRT, tmp_path: Path) -> None:
    """A real failing write, in a process of its own: the limit would break this one too."""
    code = """
import resource, signal, sys
from pathlib import Path
from jetson_face.inference.tensorrt.cache import reason
from jetson_face.util.files import write_all
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
folder = Path(sys.argv[1])
try:
    write_all({folder / "a.plan": b"x" * 100_000, folder / "a.json": b"{}"}, reason)
except OSError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("OutputError")
    assert "a.plan: cannot be written: File too large: free some space" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be made"), EngineCache(blocked / "x").lock():
        pass

    def read_only(*args: Any, **kwargs: Any) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    # The tests may run as root, whom file modes do not stop.
    monkeypatch.setattr("jetson_face.util.locks.os.open", read_only)
    with (
        pytest.raises(OutputError, match=r"Read-only file system: set engines\.cache"),
        EngineCache(tmp_path / "ro").lock(),
    ):
        pass


def test_two_builders_are_locked_out_and_the_first_is_named(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    code = """
import sys
from pathlib import Path
from jetson_face.inference.tensorrt.cache import EngineCache
with EngineCache(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with (
            pytest.raises(EngineError, match=rf"already under way.*process {other.pid}\)"),
            cache.lock(),
        ):
            pass
        other.kill()  # the kernel frees the lock of a process that died
    with cache.lock():
        pass


def test_what_a_killed_build_left_is_swept_away(cache: EngineCache) -> None:
    cache.folder.mkdir()
    (cache.folder / ".tmp-abc").write_bytes(b"half")
    with cache.lock():
        assert leftovers(cache.folder) == []


def test_find_says_how_the_nearest_plan_differs(
    make_builder: MakeBuilder, cache: EngineCache, machine: Machine, trt: TensorRT
) -> None:
    with cache.lock():
        make_builder().build(tiny())
    here = Machine("tensorrt", "10.3.0", "8.7", "Orin")
    with pytest.raises(EngineError) as caught:
        cache.load(key_of(tiny(seed=9), here))
    message = str(caught.value)
    for part in (
        "TensorRT flavour: built for tensorrt_rtx, here tensorrt",
        f"TensorRT version: built for {trt.version}, here 10.3.0",
        "compute capability: built for 8.6, here 8.7",
        "the ONNX file changed",
        "jetson-face engines build",
    ):
        assert part in message
    with pytest.raises(EngineError, match=r"no plan for other \(fp32\).*engines build"):
        cache.load(key_of(NetworkSpec("other", b"", "fp32", {}), here))


def test_a_plan_for_any_device_serves_a_named_one(
    make_builder: MakeBuilder, cache: EngineCache, machine: Machine
) -> None:
    with cache.lock():
        make_builder(lambda spec, plan: GOOD).build(tiny())
    named = Machine(machine.flavour, machine.version, "8.6", "NVIDIA RTX A2000")
    assert cache.load(key_of(tiny(), named))
    other = Machine(machine.flavour, machine.version, "8.9", "NVIDIA L4")
    with pytest.raises(EngineError, match=r"built for 8\.6, here 8\.9"):
        cache.load(key_of(tiny(), other))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 99}', '{"format": 1, "parity": "passed"}']
)
def test_a_damaged_side_car_is_refused_listed_and_rebuilt(
    text: str, make_builder: MakeBuilder, cache: EngineCache, machine: Machine
) -> None:
    with cache.lock():
        path = make_builder().build(tiny()).path
        path.with_suffix(".json").write_text(text)
        with pytest.raises(EngineError, match=r"side-car is damaged.*engines build"):
            cache.load(key_of(tiny(), machine))
        assert cache.entries()[0].problem is not None
        assert make_builder().build(tiny()).built
    assert cache.entries()[0].problem is None


def test_clean_keeps_what_is_named_and_what_is_not_ours(
    make_builder: MakeBuilder, cache: EngineCache
) -> None:
    with cache.lock():
        kept = make_builder().build(tiny()).path
        make_builder().build(tiny(seed=1))
        (cache.folder / "mtcnn-pnet.onnx").write_bytes(b"")
        (cache.folder / "mtcnn-pnet.json").write_text("{}")
        assert len(cache.clean(keep=[kept])) == 2
        assert leftovers(cache.folder) == sorted(
            [kept.name, kept.with_suffix(".json").name, "mtcnn-pnet.json", "mtcnn-pnet.onnx"]
        )
        assert len(cache.clean()) == 2


def test_int8_needs_a_calibrated_graph(make_builder: MakeBuilder, cache: EngineCache) -> None:
    with cache.lock(), pytest.raises(EngineError, match="jetson-face engines calibrate"):
        make_builder().build(tiny(precision="int8"))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_embedding_network_builds(
    precision: str, make_builder: MakeBuilder, cache: EngineCache
) -> None:
    spec = NetworkSpec(
        "embed", squeezenet(), precision, {"input": ShapeRange.batch((3, 112, 112), 16)}
    )
    with cache.lock():
        result = make_builder().build(spec)
    weights = 2 if precision == "fp16" else 4
    assert result.side_car.plan_bytes > weights * 500_000
    assert SideCar.read(result.path.with_suffix(".json")) == result.side_car
