"""A real object store on this machine: OpenStack Swift with its S3 interface, on a disk."""

from __future__ import annotations

import getpass
import http.client
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

PYTHON = "/usr/bin/python3"
PARTS = ("account", "container", "object", "proxy")
KEY, SECRET = "test:tester", "testing"
_WHOLE = """
[swift-hash]
swift_hash_path_suffix = made
[storage-policy:0]
name = one
default = yes
"""
_HEAD = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
mount_check = false
user = {user}
swift_dir = {folder}
devices = {folder}/disks
"""
_PART = """
[pipeline:main]
pipeline = {part}-server
[app:{part}-server]
use = egg:swift#{part}
"""
_PROXY = """
[pipeline:main]
pipeline = catch_errors cache s3api tempauth copy slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
"""


def there() -> bool:
    """Whether Debian's python3-swift is installed."""
    done = subprocess.run([PYTHON, "-c", "import swift"], capture_output=True, check=False)
    return done.returncode == 0


class ObjectStore:
    """address: of the S3 interface. It can be killed and started again; what it has stays."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._processes = folder, list[subprocess.Popen[bytes]]()
        self._ports = {part: _free_port() for part in PARTS}
        self.address = f"http://127.0.0.1:{self._ports['proxy']}"
        (folder / "disks" / "disk").mkdir(parents=True)
        (folder / "swift.conf").write_text(_WHOLE)
        for part, port in self._ports.items():
            own = _PROXY if part == "proxy" else _PART.format(part=part)
            head = _HEAD.format(port=port, folder=folder, user=getpass.getuser())
            (folder / f"{part}.conf").write_text(head + own)
        rings = [f"{part}={self._ports[part]}" for part in PARTS if part != "proxy"]
        subprocess.run(self._command("rings", *rings), check=True, timeout=60)

    def start(self) -> None:
        """Until it answers."""
        for part in PARTS:
            log = (self._folder / f"{part}.log").open("ab")
            self._processes.append(subprocess.Popen(self._command(part), stdout=log, stderr=log))
        for part, port in self._ports.items():
            _until_it_answers(part, port)

    def kill(self) -> None:
        """As a power cut does."""
        for process in self._processes:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        self._processes.clear()

    def _command(self, *words: str) -> list[str]:
        program = Path(__file__).with_name("swift_part.py")
        return [PYTHON, str(program), str(self._folder), *words]


def _until_it_answers(part: str, port: int) -> None:
    for _ in range(600):
        try:
            asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            asked.request("GET", "/healthcheck")
            asked.getresponse().read()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"swift's {part} server does not answer")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(store: ObjectStore) -> dict[str, str]:
    """For s3fs."""
    return {
        **os.environ,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": store.address,
    }
