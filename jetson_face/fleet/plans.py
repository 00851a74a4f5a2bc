"""TensorRT plans from one board to equal ones: in parts over the server, signed by who pushes them.

A plan is code: a box takes only those that the operator whom its configuration names has signed,
and then only by `jetson-face engines import` with all its checks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetson_face.config import FleetConfig
from jetson_face.core.errors import FleetError, JetsonFaceError, SecretBrokenError
from jetson_face.events.nats_link import fresh_consumer
from jetson_face.factory.fleet import consumer_of
from jetson_face.fleet.keys import own_pair
from jetson_face.fleet.subjects import PLANS, plans_for, scopes
from jetson_face.util.files import write_file

if TYPE_CHECKING:
    from nats.js import JetStreamContext

_PART_BYTES = 1 << 20
_PARTS_MAX = 4096
_TIMEOUT_S = 10.0
_PUBLIC_BYTES = 35
FILE = "fleet-plans.json"
TakePlans = Callable[[Path, str], Awaitable[str]]
"""Takes a file of plans with its SHA-256 in; what became of it, for people. Raises
FleetError."""


@dataclass(frozen=True, slots=True)
class PlansHead:
    """What is said of a file of plans beside its parts. sha256: hex. signature: hex, of the scope
    and the digest, by the operator's NKey (Ed25519)."""

    sha256: str
    parts: int
    signature: str

    @classmethod
    def read(cls, content: bytes) -> PlansHead:
        """What was published. Raises FleetError where it is something else."""
        try:
            told = json.loads(content)
            head = cls(**told)
            kinds = [type(value) for value in (head.sha256, head.parts, head.signature)]
        except (ValueError, TypeError, RecursionError):
            raise FleetError("the head of the plans cannot be read: they were not taken") from None
        if kinds != [str, int, str]:
            raise FleetError("the head of the plans cannot be read: they were not taken")
        return head

    def check(self, scope: str, signer: str) -> None:
        """Raises FleetError where `signer` (a public NKey) did not sign it for this scope."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            key = Ed25519PublicKey.from_public_bytes(raw_public(signer))
            key.verify(bytes.fromhex(self.signature), _signed(scope, self.sha256))
        except (InvalidSignature, ValueError):
            raise FleetError("plans that fleet.plans_from has not signed were not taken") from None


def raw_public(nkey: str) -> bytes:
    """The 32 bytes of a public NKey. Raises SecretBrokenError."""
    try:
        found = base64.b32decode(nkey)
        if len(found) != _PUBLIC_BYTES:
            raise ValueError
    except (binascii.Error, ValueError):
        raise SecretBrokenError(f"{nkey!r:.70} is no public NKey (U and 55 characters)") from None
    return found[1:33]


async def push_plans(
    stream: JetStreamContext, fleet: FleetConfig, content: bytes, scope: str
) -> PlansHead:
    """Give the bytes of `engines export` to the boxes of a scope; the parts first, so that a head
    is there only with all of them. Raises ConfigError without an NKey to sign with."""
    digest = hashlib.sha256(content).hexdigest()
    signature = own_pair(fleet).sign(_signed(scope, digest)).hex()
    parts = [content[at : at + _PART_BYTES] for at in range(0, len(content), _PART_BYTES)]
    for number, part in enumerate(parts, 1):
        await stream.publish(plans_for(scope, number), part, stream=PLANS)
    head = PlansHead(digest, len(parts), signature)
    await stream.publish(plans_for(scope, 0), json.dumps(asdict(head)).encode(), stream=PLANS)
    return head


@dataclass(frozen=True, slots=True)
class PlansTaker:
    """A box's part. folder: the state folder, where what became of each is remembered. take: see
    `TakePlans`."""

    fleet: FleetConfig
    folder: Path
    take: TakePlans

    async def look(self, stream: JetStreamContext) -> None:
        """Take what is new. Raises what the network raises; what is wrong with plans is
        remembered."""
        for scope in scopes(self.fleet) if self.fleet.plans_from is not None else ():
            await self._look(stream, scope)

    async def _look(self, stream: JetStreamContext, scope: str) -> None:
        found = await self._read(stream, plans_for(scope, 0))
        if not found:
            return
        known = _known(self.folder)
        digest = hashlib.sha256(found[0]).hexdigest()  # of a head that cannot be read
        try:
            head = PlansHead.read(found[0])
            digest = head.sha256
            if known.get(scope, {}).get("sha256") == digest:
                return
            head.check(scope, self.fleet.plans_from or "")
            said = await self._take(stream, scope, head)
        except JetsonFaceError as error:
            said = str(error)
        now = {"sha256": digest, "said": said}
        if known.get(scope) == now:
            return
        known[scope] = now
        write_file(self.folder / FILE, json.dumps(known, indent=2) + "\n", mode=0o600)

    async def _take(self, stream: JetStreamContext, scope: str, head: PlansHead) -> str:
        if not 0 < head.parts <= _PARTS_MAX:
            raise FleetError(f"plans in {head.parts} parts were not taken")
        content = b""
        for number in range(1, head.parts + 1):
            content += b"".join(await self._read(stream, plans_for(scope, number)))
        if hashlib.sha256(content).hexdigest() != head.sha256:
            raise FleetError("the parts of the plans are not those that were signed")
        path = self.folder / "fleet-plans.zip"
        write_file(path, content, mode=0o600)
        try:
            return await self.take(path, head.sha256)
        finally:
            path.unlink(missing_ok=True)

    async def _read(self, stream: JetStreamContext, subject: str) -> list[bytes]:
        name = consumer_of(self.fleet, "plans")
        info, found = await fresh_consumer(stream, PLANS, name, subject)
        try:
            if not info.num_pending:
                return []
            return [one.data for one in await found.fetch(1, timeout=_TIMEOUT_S)]
        finally:
            await found.unsubscribe()


def plans_taken(folder: Path) -> dict[str, str]:
    """By scope, what became of its plans on the box of this state folder, for people."""
    return {scope: one["said"] for scope, one in _known(folder).items()}


def _known(folder: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        known = json.loads((folder / FILE).read_text("utf-8"))
        if isinstance(known, Mapping):
            return dict(known)
    return {}


def _signed(scope: str, sha256: str) -> bytes:
    return f"jetson-face plans {scope} {sha256}".encode()
