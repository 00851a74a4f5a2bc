"""One file from a web address: resumed where it stopped, checked, and there whole or not at all.

What the other side does costs at most the deadline: names, connections, redirects, headers and the
body all count. A line that brings next to nothing is given up sooner.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import ssl
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from jetson_face.core.errors import FetchError, OutputError
from jetson_face.core.version import __version__
from jetson_face.events.reason import why
from jetson_face.models.card_files import BYTES_MAX, DownloadFile
from jetson_face.util.addresses import web_address
from jetson_face.util.files import file_sha256, sync_folder
from jetson_face.util.redact import clean

if TYPE_CHECKING:
    import httpx

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each address, tokens and all
Progress = Callable[[int, int | None], None]
"""Told the bytes that there are and, where it is known, how many there will be."""
PART = ".part"
_log = logging.getLogger(__name__)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_MAX = 5
_TRIES = 50
_AGAIN_MAX = 2
_RANGE = re.compile(r"(?a)bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)")
_HINTS = {
    401: "it wants a password: fetch it by hand",
    403: "it may not be fetched: fetch it by hand",
    404: "it is not there any more: fetch it elsewhere, or take a mirror",
    410: "it is not there any more: fetch it elsewhere, or take a mirror",
}


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """deadline_s: for all of a file. stall_s: without an answer, or with fewer than `bytes_s`
    bytes a second, for that long. pause_s: before a connection that was lost is made again."""

    deadline_s: float = 1800.0
    stall_s: float = 20.0
    bytes_s: float = 1024.0
    pause_s: float = 1.0


class _LostError(Exception):
    """The connection ended before the file did."""


class _AgainError(Exception):
    """What is there already is of no use to this server: from the beginning."""


def download(
    wanted: DownloadFile,
    path: Path,
    *,
    limits: FetchLimits,
    progress: Progress = lambda have, size: None,
) -> None:
    """Bring the file to `path`. What a try before left beside it is gone on with.

    Raises FetchError: no connection, a refusal, a stall, the deadline, or another file than the one
    that is wanted, of which nothing is kept; OutputError where it cannot be written.
    """
    part = path.with_name(path.name + PART)
    host = urlsplit(wanted.url).netloc.rpartition("@")[2]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fetch = _Fetch(wanted, part, limits, progress)
        _run(_within(fetch, limits.deadline_s))
        part.chmod(0o644)
        part.replace(path)
        sync_folder(path.parent)
    except FetchError as error:
        raise FetchError(f"{host}: {clean(str(error))}") from error
    except OSError as error:
        raise OutputError(f"{part}: cannot be written: {error.strerror or error}") from error


async def _within(fetch: _Fetch, seconds: float) -> None:
    try:
        await asyncio.wait_for(fetch.all(), seconds)
    except asyncio.TimeoutError:
        raise FetchError(
            f"not done in {seconds:g} s, {fetch.have} bytes came: run it again to go on"
        ) from None


def _run(what: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run`, but it does not wait for a name that is still looked up."""
    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(what)
        try:
            loop.run_until_complete(task)
        except BaseException:
            task.cancel()
            with suppress(BaseException):
                loop.run_until_complete(task)
            raise
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class _Fetch:
    """A file on its way. have: bytes that are there."""

    def __init__(
        self, wanted: DownloadFile, part: Path, limits: FetchLimits, progress: Progress
    ) -> None:
        self._wanted, self._part = wanted, part
        self._limits, self._progress = limits, progress
        self.have = self._there()

    def _there(self) -> int:
        """Bytes of a try before; more than there can be are of another file."""
        size = self._part.stat().st_size if self._part.exists() else 0
        if size > (self._wanted.size or BYTES_MAX):
            self._part.unlink()
            return 0
        return size

    async def all(self) -> None:
        """The file, whole and right, beside its place."""
        digest, wanted = "", self._wanted.sha256
        for _ in range(2 if self.have else 1):  # what was there may have been of another file
            await self._whole()
            digest = file_sha256(self._part)
            if digest == wanted:
                return
            self._part.unlink()
            self.have = 0
        raise FetchError(
            f"the file's SHA-256 is {digest[:16]}…, the card says {wanted[:16]}…: another file, of "
            "which nothing was kept; fetch it elsewhere, or take a mirror"
        )

    async def _whole(self) -> None:
        """Try until all bytes are there. A try that brought none is the last."""
        again = 0
        for left in reversed(range(_TRIES)):
            before = self.have
            try:
                if self.have != self._wanted.size:
                    await self._try()
                return
            except _AgainError:
                again += 1
                if again > _AGAIN_MAX:
                    break
                self.have = 0
            except _LostError as error:
                if not left or self.have <= before:
                    more = f", {self.have} bytes came: run it again to go on" * (self.have > 0)
                    raise FetchError(f"{error}{more}") from None
                _log.info("fetch_resumes at=%d reason=%s", self.have, error)
                await asyncio.sleep(self._limits.pause_s)
        raise FetchError("gives other parts of the file than it is asked for")

    async def _try(self) -> None:
        import httpx

        headers = {"Accept-Encoding": "identity", "User-Agent": f"jetson-face/{__version__}"}
        if self.have:
            headers["Range"] = f"bytes={self.have}-"
        timeout = httpx.Timeout(self._limits.stall_s)
        # The machine's own certificates, which a site may have added its own to.
        secure = ssl.create_default_context()
        try:
            made = httpx.AsyncClient(verify=secure, timeout=timeout)
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            # Nothing but the environment has a say here.
            raise FetchError(f"the environment's proxy cannot be used: {why(error)}") from error
        async with made as client:
            try:
                answer = await self._answer(client, headers)
                try:
                    await self._body(answer)
                finally:
                    await answer.aclose()
            except httpx.TimeoutException:
                raise _LostError(f"nothing came for {self._limits.stall_s:g} s") from None
            except httpx.ConnectError as error:
                raise _LostError(f"cannot be reached ({why(error)})") from None
            except (httpx.TransportError, httpx.InvalidURL) as error:
                raise _LostError(f"the connection was lost ({why(error)})") from None

    async def _answer(self, client: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
        """The first answer that is no redirect."""
        url = self._wanted.url
        for _ in range(_REDIRECTS_MAX + 1):
            request = client.build_request("GET", url, headers=headers)
            try:
                answer = await asyncio.wait_for(
                    client.send(request, stream=True), self._limits.stall_s
                )
            except asyncio.TimeoutError:
                raise _LostError(f"no answer for {self._limits.stall_s:g} s") from None
            if answer.status_code not in _REDIRECTS:
                return answer
            where = answer.headers.get("location", "")
            await answer.aclose()
            url = _next(url, where)
        raise FetchError(f"more than {_REDIRECTS_MAX} redirects")

    async def _body(self, answer: httpx.Response) -> None:
        """Add what comes to what is there."""
        total = self._total(answer)
        most = min(total or BYTES_MAX, BYTES_MAX)
        with self._part.open("ab" if answer.status_code == 206 and self.have else "wb") as file:
            self.have = file.tell()
            since, before = time.monotonic(), self.have
            async for chunk in answer.aiter_raw():
                self.have += len(chunk)
                if self.have > most:
                    file.truncate(0)
                    raise FetchError(f"more bytes come than the {most} there can be")
                file.write(chunk)
                self._progress(self.have, total)
                now = time.monotonic()
                if now - since >= self._limits.stall_s:
                    if self.have - before < self._limits.bytes_s * (now - since):
                        raise _LostError(
                            f"{self.have - before} bytes in {now - since:.1f} s: too slow"
                        )
                    since, before = now, self.have
            file.flush()
            os.fsync(file.fileno())
        if total is not None and self.have < total:
            raise _LostError(f"it ended at {self.have} of {total} bytes")

    def _total(self, answer: httpx.Response) -> int | None:
        """How many bytes the file has. Raises FetchError, _AgainError for an answer of no use."""
        status, wanted = answer.status_code, self._wanted.size
        if status == 416 and self.have:
            raise _AgainError
        if status not in (200, 206):
            hint = _HINTS.get(status, "try again later, or take a mirror")
            raise FetchError(f"answered {status} {answer.reason_phrase}: {hint}")
        packed = answer.headers.get("content-encoding", "identity")
        if packed != "identity":
            raise FetchError(f"sends the file packed ({packed}), which was not asked for")
        length = answer.headers.get("content-length", "")
        total = int(length) if length.isdecimal() else None
        if status == 206:
            told = _RANGE.fullmatch(answer.headers.get("content-range", ""))
            if told is None or int(told[1]) != self.have:
                raise _AgainError
            total = int(told[2]) if told[2] != "*" else None
        if wanted is not None and total not in (None, wanted):
            if self.have and status == 206:
                raise _AgainError
            raise FetchError(
                f"has a file of {total} bytes, the card says {wanted}: another file; fetch it "
                "elsewhere, or take a mirror"
            )
        return wanted or total


def _next(url: str, where: str) -> str:
    """Where a redirect leads. Raises FetchError for a place that is not gone to."""
    try:
        there = web_address(urljoin(url, where))
    except ValueError:
        raise FetchError("redirects to what is no web address") from None
    if url.startswith("https:") and not there.startswith("https:"):
        raise FetchError(f"redirects to {urlsplit(there).netloc} without encryption: refused")
    return there
