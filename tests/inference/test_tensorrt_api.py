"""The real TensorRT packages: every name that the program uses, and how it is called.

Slow: downloads the bindings of the releases that JetPack 6 and 7 have, 1 MB each, and imports them
over libraries that are empty.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.inference import trt_api
from tests.inference.trt_api import Use, _fits, _split, problems, uses

REPO = Path(__file__).resolve().parents[2]
RELEASES = ("10.3.0", "10.13.3.9", "10.16.1.11")
"""Of JetPack 6.1 to 6.2; of 7.0 and 7.1; next to that of 7.2."""
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")


def look(folder: Path, module: str, **env: str) -> dict[str, Any]:
    """What a process of its own says of a package: only one can be loaded in each."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.inference.trt_api", str(folder), module],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
        cwd=REPO,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-600:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def empty_libraries(bindings: Path, folder: Path) -> None:
    """Libraries whose functions all answer a null pointer, for those that the bindings want."""
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", str(bindings)], capture_output=True, text=True, check=True
    )
    names = [line.split()[-1] for line in listed.stdout.splitlines()]
    ours = [
        n for n in names if n.startswith(("create", "getBuilder", "getPlugin", "getNv", "init"))
    ]
    source = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in ours)
    for index, library in enumerate(LIBRARIES):
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-x", "c", "-", f"-Wl,-soname,lib{library}.so.10",
             "-o", str(folder / f"lib{library}.so.10")],
            input="" if index else source, text=True, check=True,
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("release", RELEASES)
def test_the_tensorrt_of_each_jetpack_has_all_that_is_used(release: str, tmp_path: Path) -> None:
    for program in ("gcc", "nm"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here: apt-get install gcc binutils")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
         "-d", str(tmp_path), f"tensorrt-cu12-bindings=={release}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    wheels = list(tmp_path.glob("*.whl"))
    if done.returncode or not wheels:
        pytest.skip(f"tensorrt-cu12-bindings {release}: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(tmp_path / "site")
    (tmp_path / "lib").mkdir()
    empty_libraries(tmp_path / "site/tensorrt_bindings/tensorrt.so", tmp_path / "lib")
    found = look(tmp_path / "site", "tensorrt_bindings", LD_LIBRARY_PATH=str(tmp_path / "lib"))
    assert found["version"] == release
    assert found["problems"] == []
    assert found["uses"] >= 55


def test_tensorrt_for_rtx_has_all_that_is_used() -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install '.[rtx]'")
    found = look(REPO, "tensorrt_rtx")
    assert found["problems"] == []
    assert found["uses"] >= 55


def test_the_uses_are_those_of_the_source() -> None:
    names = {(use.owner, use.name): use for use in uses()}
    assert names["IExecutionContext", "execute_async_v3"].arguments == 1
    assert names["IBuilderConfig", "set_timing_cache"].keywords == ("ignore_mismatch",)
    assert names["MemoryPoolType", "WORKSPACE"].arguments is None
    assert {owner for owner, _ in names} >= set(trt_api.KINDS.values())


def test_what_is_missing_or_called_otherwise_is_found() -> None:
    class Runtime:
        def deserialize(self) -> None:
            """deserialize(self: trt.Runtime) -> None"""

    class Context:
        def execute_async_v3(self) -> None:
            """execute_async_v3(self: trt.IExecutionContext, handle: int, more: int) -> bool"""

    module = SimpleNamespace(__name__="bindings", Runtime=Runtime, IExecutionContext=Context)
    said = "\n".join(problems(module))
    assert "there is no Runtime.deserialize_cuda_engine" in said
    assert "execute_async_v3 is called with 1 arguments" in said


@pytest.mark.parametrize(
    ("signature", "arguments", "keywords", "fits"),
    [
        ("self: x.C, a: int, b: int = 2", 1, (), True),
        ("self: x.C, a: int, b: int = 2", 2, (), True),
        ("self: x.C, a: int, b: int = 2", 3, (), False),
        ("self: x.C, a: int, b: int = 2", 0, (), False),
        ("self: x.C, a: int, b: int = 2", 1, ("b",), True),
        ("self: x.C, a: int, b: int = 2", 1, ("c",), False),
        ("self: x.C, a: Dict[str, int], b: Tuple[int, int] = (1, 2)", 1, (), True),
        ("self: x.C, flag: x.F = <F.A: 1>, *args", 4, (), True),
    ],
)
def test_a_call_fits_a_signature_or_not(
    signature: str, arguments: int, keywords: tuple[str, ...], fits: bool
) -> None:
    assert _fits(signature, Use("C", "f", arguments, keywords, "")) is fits
    assert _split("a: Dict[str, int], b") == ["a: Dict[str, int]", "b"]
