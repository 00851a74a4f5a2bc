"""One part of OpenStack Swift, run by the system's Python, which Debian's python3-swift belongs to.

Usage: swift_part.py FOLDER rings|proxy|account|container|object
"""

# mypy: ignore-errors
from __future__ import annotations

import sys
from pathlib import Path

from swift.common import utils

folder, part = Path(sys.argv[1]), sys.argv[2]
utils.SWIFT_CONF_FILE = str(folder / "swift.conf")

if part == "rings":
    from swift.common.ring import RingBuilder

    for name, port in (word.split("=") for word in sys.argv[3:]):
        builder = RingBuilder(1, 1, 0)
        builder.add_dev(
            {"id": 0, "region": 1, "zone": 1, "weight": 1.0, "ip": "127.0.0.1", "device": "disk"}
            | {"port": int(port)}
        )
        builder.rebalance()
        builder.get_ring().save(str(folder / f"{name}.ring.gz"))
else:
    from swift.common.http_protocol import SwiftHttpProtocol
    from swift.common.wsgi import run_wsgi

    whole = SwiftHttpProtocol.parse_request

    def parse_request(self: SwiftHttpProtocol) -> bool:
        """Answers to HEAD as to HTTP/1.0: eventlet 0.33 ends those of 1.1 with a chunk, which HTTP
        does not allow and aiohttp does not forgive."""
        good = whole(self)
        if good and self.command == "HEAD":
            self.request_version = "HTTP/1.0"
        return good

    SwiftHttpProtocol.parse_request = parse_request
    sys.exit(run_wsgi(str(folder / f"{part}.conf"), f"{part}-server"))
