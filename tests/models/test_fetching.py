"""A file from the web: resumed, checked, whole or not at all, whatever the server does."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import jetson_face
from jetson_face.core.errors import FetchError, OutputError
from jetson_face.models.card_files import DownloadFile
from jetson_face.models.fetching import PART, FetchLimits, download
from tests.events.hostile import make_certificate
from tests.models.web import Request, Web, serving

DATA = np.random.default_rng(7).bytes(200_000)
SHA = hashlib.sha256(DATA).hexdigest()
QUICK = FetchLimits(deadline_s=3, stall_s=0.4, pause_s=0.01)
Bring = Callable[..., Path]


@pytest.fixture
def bring(tmp_path: Path) -> Bring:
    """Fetch from a server into the test's folder; the file's path."""

    def _bring(web: Web, *, size: int | None = len(DATA), limits: FetchLimits = QUICK) -> Path:
        path = tmp_path / "net.onnx"
        wanted = DownloadFile(url=f"{web.url}/net.onnx", path="net.onnx", sha256=SHA, size=size)
        download(wanted, path, limits=limits)
        return path

    return _bring


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("size", [len(DATA), None])
def test_a_file_comes_whole_and_alone(bring: Bring, tmp_path: Path, size: int | None) -> None:
    with serving(lambda request: request.give(DATA)) as web:
        path = bring(web, size=size)
    assert path.read_bytes() == DATA
    assert left(tmp_path) == {"net.onnx"}
    assert path.stat().st_mode & 0o777 == 0o644
    assert web.asked == [("/net.onnx", None)]


def test_a_connection_that_breaks_is_gone_on_with(bring: Bring) -> None:
    def breaks(request: Request) -> None:
        if len(web.asked) > 2:
            request.give(DATA)
            return
        start = request.start
        if start:
            end = len(DATA) - 1
            request.head(
                206,
                Content_Length=len(DATA) - start,
                Content_Range=f"bytes {start}-{end}/{len(DATA)}",
            )
        else:
            request.head(Content_Length=len(DATA))
        request.wfile.write(DATA[start : start + 50_000])

    with serving(breaks) as web:
        path = bring(web)
    assert path.read_bytes() == DATA
    assert [asked for _, asked in web.asked] == [None, "bytes=50000-", "bytes=100000-"]


def test_a_server_that_gives_parts_is_asked_for_all_of_them(bring: Bring) -> None:
    def parts(request: Request) -> None:
        start = request.start
        part = DATA[start : start + 20_000]
        place = f"bytes {start}-{start + len(part) - 1}/{len(DATA)}"
        request.head(206, Content_Length=len(part), Content_Range=place)
        request.wfile.write(part)

    with serving(parts) as web:
        patient = FetchLimits(deadline_s=30, stall_s=0.4, pause_s=0.01)
        assert bring(web, limits=patient).read_bytes() == DATA
    assert [asked for _, asked in web.asked][1:] == [
        f"bytes={start}-" for start in range(20_000, len(DATA), 20_000)
    ]


def test_a_server_that_gives_other_parts_is_given_up(bring: Bring) -> None:
    def wrong(request: Request) -> None:
        request.head(206, Content_Length=1, Content_Range=f"bytes 7-7/{len(DATA)}")
        request.wfile.write(b"x")

    with serving(wrong) as web, pytest.raises(FetchError, match="other parts of the file"):
        bring(web)
    assert len(web.asked) == 3


def test_what_a_try_before_left_is_gone_on_with(bring: Bring, tmp_path: Path) -> None:
    (tmp_path / f"net.onnx{PART}").write_bytes(DATA[:123_456])
    with serving(lambda request: request.give(DATA)) as web:
        assert bring(web).read_bytes() == DATA
    assert web.asked == [("/net.onnx", "bytes=123456-")]


def test_what_is_whole_already_is_not_asked_for(bring: Bring, tmp_path: Path) -> None:
    (tmp_path / f"net.onnx{PART}").write_bytes(DATA)
    with serving(lambda request: request.give(DATA)) as web:
        assert bring(web).read_bytes() == DATA
    assert web.asked == []


@pytest.mark.parametrize("rest", [b"of another file" * 99, DATA + b"too much"])
def test_the_rest_of_another_file_is_thrown_away(bring: Bring, tmp_path: Path, rest: bytes) -> None:
    (tmp_path / f"net.onnx{PART}").write_bytes(rest)
    with serving(lambda request: request.give(DATA)) as web:
        assert bring(web).read_bytes() == DATA
    assert web.asked[-1] == ("/net.onnx", None)


def _ignores(request: Request) -> None:
    request.head(Content_Length=len(DATA))
    request.wfile.write(DATA)


def _other_place(request: Request) -> None:
    if request.start:
        request.head(206, Content_Length=9, Content_Range=f"bytes 5-13/{len(DATA)}")
        request.wfile.write(DATA[5:14])
    else:
        request.give(DATA)


def _not_satisfiable(request: Request) -> None:
    if request.start:
        request.head(416, Content_Length=0)
    else:
        request.give(DATA)


@pytest.mark.parametrize("answer", [_ignores, _other_place, _not_satisfiable])
def test_a_server_that_cannot_go_on_gives_all_of_it_again(
    bring: Bring, tmp_path: Path, answer: Callable[[Request], None]
) -> None:
    (tmp_path / f"net.onnx{PART}").write_bytes(DATA[:50_000])
    with serving(answer) as web:
        assert bring(web).read_bytes() == DATA
    assert web.asked[0] == ("/net.onnx", "bytes=50000-")


def _short(request: Request) -> None:
    request.head(Content_Length=130)
    request.wfile.write(b"v" * 130)


def _endless(request: Request) -> None:
    request.head(Transfer_Encoding="chunked")
    while True:
        request.wfile.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")


def _another(request: Request) -> None:
    request.give(DATA[:-1] + b"!")


def _packed(request: Request) -> None:
    request.head(Content_Length=5, Content_Encoding="gzip")
    request.wfile.write(b"12345")


def _gone(request: Request) -> None:
    request.head(404, Content_Length=0)


def _busy(request: Request) -> None:
    request.head(503, Content_Length=0)


def _closes(request: Request) -> None:
    request.connection.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_short, "has a file of 130 bytes, the card says 200000: another file"),
        (_endless, "more bytes come than the 200000"),
        (_another, "SHA-256 is .*, the card says .*: another file, of which nothing was kept"),
        (_packed, "sends the file packed"),
        (_gone, "answered 404 Not Found: it is not there any more"),
        (_busy, "answered 503 Service Unavailable: try again later"),
        (_closes, "the connection was lost"),
    ],
)
def test_a_server_that_lies_or_refuses_is_named_and_leaves_nothing(
    bring: Bring, tmp_path: Path, answer: Callable[[Request], None], said: str
) -> None:
    with serving(answer) as web, pytest.raises(FetchError, match=said) as caught:
        bring(web)
    assert str(caught.value).startswith("127.0.0.1:")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 10
    assert not any(path.stat().st_size for path in tmp_path.iterdir())


def test_a_file_of_an_unknown_size_is_still_checked(bring: Bring, tmp_path: Path) -> None:
    with serving(_short) as web, pytest.raises(FetchError, match="SHA-256"):
        bring(web, size=None)
    assert left(tmp_path) == set()


def test_a_truncated_file_is_kept_to_go_on_with(bring: Bring, tmp_path: Path) -> None:
    def truncates(request: Request) -> None:
        if request.start:
            request.connection.close()
        else:
            request.head(Content_Length=len(DATA))
            request.wfile.write(DATA[:70_000])

    with serving(truncates) as web, pytest.raises(FetchError, match="70000 bytes came: run it aga"):
        bring(web)
    assert left(tmp_path) == {f"net.onnx{PART}"}
    assert (tmp_path / f"net.onnx{PART}").read_bytes() == DATA[:70_000]


def _stalls(request: Request) -> None:
    request.head(Content_Length=len(DATA))
    request.wfile.write(DATA[:1000])
    request.web.stop.wait(10)


def _says_nothing(request: Request) -> None:
    request.web.stop.wait(10)


def _drips(request: Request) -> None:
    request.head(Content_Length=len(DATA))
    request.web.drip(request, DATA)


def _drips_headers(request: Request) -> None:
    request.web.drip(request, b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 1000)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_stalls, "nothing came for 0.4 s"),
        (_says_nothing, "no answer for 0.4 s|nothing came for 0.4 s"),
        (_drips, r"bytes in 0\.[4-9] s: too slow"),
        (_drips_headers, "no answer for 0.4 s"),
    ],
)
def test_a_server_that_stalls_or_drips_is_given_up(
    bring: Bring, answer: Callable[[Request], None], said: str
) -> None:
    began = time.monotonic()
    limits = FetchLimits(deadline_s=30, stall_s=0.4, pause_s=0.01)
    with serving(answer) as web, pytest.raises(FetchError, match=said):
        bring(web, limits=limits)
    assert time.monotonic() - began < 5


def test_the_deadline_holds_where_bytes_come_fast_enough(bring: Bring, tmp_path: Path) -> None:
    def slow(request: Request) -> None:
        request.head(Content_Length=len(DATA))
        for at in range(0, len(DATA), 1000):
            request.wfile.write(DATA[at : at + 1000])
            if request.web.stop.wait(0.05):
                return

    began = time.monotonic()
    with serving(slow) as web, pytest.raises(FetchError, match=r"not done in 0\.8 s, \d+ bytes"):
        bring(web, limits=FetchLimits(deadline_s=0.8, stall_s=0.4, pause_s=0.01))
    assert 0.7 < time.monotonic() - began < 2
    assert 0 < (tmp_path / f"net.onnx{PART}").stat().st_size < len(DATA)


def test_redirects_are_followed_some_of_them(bring: Bring) -> None:
    def moved(request: Request) -> None:
        step = int(request.path.strip("/").partition(".")[0].replace("net", "0"))
        if step == 5:
            request.give(DATA)
        else:
            request.head(302, Location=f"/{step + 1}.onnx?token=abcdef", Content_Length=0)

    with serving(moved) as web:
        assert bring(web).read_bytes() == DATA
    assert len(web.asked) == 6
    with (
        serving(lambda request: request.head(302, Location="/net.onnx", Content_Length=0)) as web,
        pytest.raises(FetchError, match="more than 5 redirects"),
    ):
        bring(web)
    assert len(web.asked) == 6


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "\t"])
def test_a_redirect_elsewhere_is_not_followed(bring: Bring, where: str) -> None:
    with (
        serving(lambda request: request.head(302, Location=where, Content_Length=0)) as web,
        pytest.raises(FetchError, match=r"no web address|redirects"),
    ):
        bring(web)


def _encrypted(web: Web, certificate: Path) -> None:
    """Have the server speak TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    web.server.socket = context.wrap_socket(web.server.socket, server_side=True)
    web.url = web.url.replace("http:", "https:")


def test_a_certificate_must_be_trusted_and_encryption_kept(
    bring: Bring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: Request) -> None:
        if len(request.web.asked) == 1:
            request.give(DATA)
        else:
            request.head(302, Location=plain.url, Content_Length=0)

    certificate = make_certificate(tmp_path / "certificate.pem")
    with serving(lambda request: request.give(DATA)) as plain, serving(answer) as web:
        _encrypted(web, certificate)
        with pytest.raises(FetchError, match=r"cannot be reached .*CERTIFICATE_VERIFY_FAILED"):
            bring(web)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert bring(web).read_bytes() == DATA
        with pytest.raises(FetchError, match="without encryption: refused"):
            bring(web)
        assert plain.asked == []


def test_a_range_that_is_no_number_is_no_bug(bring: Bring, tmp_path: Path) -> None:
    def answer(request: Request) -> None:
        if request.start:
            request.head(206, Content_Length=1, Content_Range=f"bytes {'9' * 6000}-1/2")
        else:
            request.give(DATA)

    (tmp_path / f"net.onnx{PART}").write_bytes(DATA[:9])
    with serving(answer) as web:
        assert bring(web).read_bytes() == DATA


PROGRAM = """
import sys
from pathlib import Path
from jetson_face.cli.main import main
sys.exit(main(["models", "fetch", "net.yaml", "--set", "state_dir=state"]))
"""


def _process(web: Web, folder: Path, limit: int | None = None) -> subprocess.Popen[str]:
    """`models fetch` as a process. limit: bytes that a file of it may have."""
    card = f"""
name: net
kind: weights
download: {{url: "{web.url}/net.onnx", path: net.onnx, size: {len(DATA)}, sha256: {SHA}}}
licence: MIT
source: here
"""
    (folder / "net.yaml").write_text(card)
    before = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({limit}, {limit}))"
    return subprocess.Popen(
        [sys.executable, "-c", (before if limit else "") + PROGRAM],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(str(jetson_face.__file__)).parents[1])},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_is_interrupted_is_gone_on_with(tmp_path: Path, number: signal.Signals) -> None:
    def answer(request: Request) -> None:
        if request.start:
            request.give(DATA)
        else:
            request.head(Content_Length=len(DATA))
            request.wfile.write(DATA[:60_000])
            request.web.stop.wait(20)

    part = tmp_path / "state" / "models" / "net" / f"net.onnx{PART}"
    with serving(answer) as web:
        process = _process(web, tmp_path)
        until = time.monotonic() + 20
        while not web.asked and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(number)
        _, said = process.communicate(timeout=10)
        assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
        assert said == ("jetson-face: interrupted\n" if number == signal.SIGINT else "")
        assert part.exists()
        process = _process(web, tmp_path)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, "")
    assert part.with_name("net.onnx").read_bytes() == DATA
    assert not part.exists()


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    with serving(lambda request: request.give(DATA)) as web:
        process = _process(web, tmp_path, limit=50_000)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 15
    assert "cannot be written: File too large" in said
    assert said.count("\n") == 1


def test_nobody_there_is_said(bring: Bring) -> None:
    with serving(_gone) as web:
        pass
    with pytest.raises(FetchError, match="cannot be reached"):
        bring(web)


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("HTTP_PROXY", "none://127.0.0.1:1", "Unknown scheme for proxy URL"),
        ("HTTP_PROXY", "http://[::1", "Invalid port"),
        ("ALL_PROXY", "socks5://127.0.0.1:1", "SOCKS"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_said(
    bring: Bring, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, why: str
) -> None:
    if why == "SOCKS" and importlib.util.find_spec("socksio") is not None:
        pytest.skip("socksio is installed, with which such a proxy can be used")
    monkeypatch.setenv(variable, value)
    with serving(lambda request: request.give(DATA)) as web:
        with pytest.raises(FetchError, match="the environment's proxy cannot be used: ") as caught:
            bring(web)
        assert web.asked == []
    assert why in str(caught.value)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with serving(lambda request: request.give(DATA)) as web:
        wanted = DownloadFile(url=f"{web.url}/x", path="x", sha256=SHA)
        with pytest.raises(OutputError):
            download(wanted, tmp_path / "file" / "x", limits=QUICK)
