"""`jetson-face rtsp`: the annotated cameras of a running service as RTSP streams."""

from __future__ import annotations

import argparse
import ipaddress
import json
import signal
from pathlib import Path
from urllib.parse import quote

from jetson_face.cli.common import add_config_arguments, config_of, say, whole
from jetson_face.core.errors import InputBrokenError, InputMissingError, UsageError
from jetson_face.output.rtsp import AnnotatedServer, RtspPicture
from jetson_face.service.status_server import ask
from jetson_face.util.documents import read_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to serve."""
    parser.add_argument("--address", default="127.0.0.1", metavar="IP", help="0.0.0.0: every one")
    parser.add_argument(
        "--port", type=whole(0, 65535), default=8554, metavar="N", help="default: 8554; 0: any"
    )
    parser.add_argument(
        "--fps", type=whole(1, 30), default=10, metavar="N", help="pictures a second, 1-30"
    )
    parser.add_argument(
        "--width", type=whole(16, 16384), default=1280, metavar="PX", help="at most so wide"
    )
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="of the user `viewer`; needed off-box"
    )
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. Raises UsageError, InputMissingError, and what serving
    raises."""
    config = config_of(args)
    server = AnnotatedServer(
        [source.name for source in config.sources],
        lambda camera, last: newer(config.status_socket, camera, last, args.width),
        address=args.address,
        port=args.port,
        fps=args.fps,
        password=_password(args.address, args.password_file),
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop())
    say(*(f"rtsp://{args.address}:{server.port}/{source.name}" for source in config.sources))
    server.run()
    return 0


def newer(socket: Path, camera: str, last: int, width: int) -> RtspPicture | None:
    """The service's annotated frame of a camera; None while there is none after `last`."""
    page = ask(socket, f"/frames/{quote(camera)}?after={last}&width={width}", timeout_s=1.0)
    if page.status != 200:
        return None
    head, _, jpeg = page.body.partition(b"\n")
    return RtspPicture(int(json.loads(head)["seq"]), jpeg)


def _password(address: str, file: Path | None) -> str | None:
    if file is None:
        try:
            inside = ipaddress.ip_address(address).is_loopback
        except ValueError:
            raise UsageError(f"--address {address}: not an IP address") from None
        if not inside:
            raise UsageError("who may watch? Give --password-file for an address off this box")
        return None
    if not file.exists():
        raise InputMissingError(f"{file}: there is no such file; write a password into it")
    password = read_text(file, error=InputBrokenError).strip()
    if len(password) < 8:
        raise UsageError(f"{file}: a password has 8 characters or more")
    return password
