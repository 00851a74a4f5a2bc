"""Viewers of the operator's page, for tools/bench_web.py: a process of its own, which only gets
processor time that nobody else wants, because viewers sit at other machines.

    python tools/web_viewers.py PORT COOKIE

Reads one word a line: a number and a kind ask for so many viewers from now on (`50 page`,
`1 stream`, `0 page`); `count` prints, as JSON, how many pictures and bytes each got since the last
one. A viewer of the kind `page` does what the page's Live screen does: asks for one picture after
the other, and for the health every two seconds. One of the kind `stream` reads MJPEG.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys

CAMERA = "/api/v1/cameras/door"
HEALTH_EVERY_S = 2.0
WIDTHS = (960, 700, 1280, 1100, 640)
"""Pixels: windows differ."""
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Viewer:
    """One who watches; pictures and octets: since `count`."""

    def __init__(self, port: int, cookie: str, width: int) -> None:
        self._port, self._cookie, self._width = port, cookie, width
        self.pictures = self.octets = 0

    async def watch(self, kind: str) -> None:
        """Until cancelled; comes again where the page sends it away."""
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    watched = self._page if kind == "page" else self._stream
                    await watched(reader, writer)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.5)

    async def _page(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        after, told = "", -HEALTH_EVERY_S
        clock = asyncio.get_running_loop().time
        while True:
            if clock() - told >= HEALTH_EVERY_S:
                told = clock()
                await self._get(reader, writer, "/api/v1/health")
            path = f"{CAMERA}/frame?width={self._width}{after}"
            head, body = await self._get(reader, writer, path)
            if head.startswith(b"HTTP/1.1 200"):
                seq = re.search(rb'"seq": ?(\d+)', head)
                after = f"&after={seq[1].decode()}" if seq else ""
                self.pictures, self.octets = self.pictures + 1, self.octets + len(body)

    async def _get(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str
    ) -> tuple[bytes, bytes]:
        self._ask(writer, path)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return head, await reader.readexactly(int(length[1]) if length else 0)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ask(writer, f"{CAMERA}/stream.mjpeg?width={self._width}")
        while data := await reader.read(1 << 18):
            self.pictures += data.count(b"\r\nContent-Type: image/jpeg\r\n")
            self.octets += len(data)

    def _ask(self, writer: asyncio.StreamWriter, path: str) -> None:
        lines = f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", f"Cookie: {self._cookie}"
        writer.write("\r\n".join((*lines, "", "")).encode())


async def main(port: int, cookie: str) -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    viewers: dict[Viewer, asyncio.Task[None]] = {}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if line.strip() == "count":
            print(json.dumps([[one.pictures, one.octets] for one in viewers]), flush=True)
            for one in viewers:
                one.pictures = one.octets = 0
            continue
        for task in viewers.values():
            task.cancel()
        await asyncio.gather(*viewers.values(), return_exceptions=True)
        number, kind = line.split()
        made = [Viewer(port, cookie, WIDTHS[i % len(WIDTHS)]) for i in range(int(number))]
        viewers = {one: asyncio.create_task(one.watch(kind)) for one in made}
        print(json.dumps(len(viewers)), flush=True)


if __name__ == "__main__":
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
