"""Machines on one: network namespaces on a bridge, whose cables can be pulled at the bridge."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest


class Networks:
    """One namespace for each name, at 10.99.0.1, .2 and so on, and a bridge in one of its own."""

    def __init__(self, names: Sequence[str]) -> None:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("network namespaces need root and iproute2")
        self._prefix = f"jf{os.getpid()}"
        self._names = list(names)
        self.addresses = {name: f"10.99.0.{number}" for number, name in enumerate(names, 1)}

    def __enter__(self) -> Networks:
        try:
            self._ip("netns", "add", self._space("sw"))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        try:
            self._connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _connect(self) -> None:
        self._ip("-n", self._space("sw"), "link", "add", "name", "br0", "type", "bridge")
        self._ip("-n", self._space("sw"), "link", "set", "br0", "up")
        for name in self._names:
            space, port = self._space(name), f"p{self.addresses[name].rpartition('.')[2]}"
            self._ip("netns", "add", space)
            peer = ("peer", "name", "eth0", "netns", space)
            self._ip("-n", self._space("sw"), "link", "add", "name", port, "type", "veth", *peer)
            self._ip("-n", self._space("sw"), "link", "set", port, "master", "br0", "up")
            self._ip("-n", space, "addr", "add", f"{self.addresses[name]}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                self._ip("-n", space, "link", "set", device, "up")

    def __exit__(self, *_: object) -> None:
        for name in (*self._names, "sw"):
            subprocess.run(["ip", "netns", "del", self._space(name)], check=False, timeout=20)

    def run_in(self, name: str) -> list[str]:
        """Words before a command that is to run there."""
        return ["ip", "netns", "exec", self._space(name)]

    @property
    def switch(self) -> str:
        """The bridge's namespace; a machine's port there is called after the end of its address."""
        return self._space("sw")

    def _space(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)
