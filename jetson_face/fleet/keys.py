"""Who may do what on the server: a box's keys, and its rights as nats-server's configuration."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from jetson_face.config import FleetConfig
from jetson_face.core.errors import ConfigError
from jetson_face.events.nats_link import DOMAIN
from jetson_face.factory.fleet import consumer_of, subject_of
from jetson_face.fleet.subjects import EVENTS, PEOPLE, PLANS, people_of, scopes
from jetson_face.privacy.encryption import create_key, read_private
from jetson_face.util.files import write_file
from jetson_face.util.optional import needs, pip_install

_APIS = ("$JS.API", f"$JS.{DOMAIN}.API")
"""A hub asks for rights by the first of these names, a leaf by the second."""


def make_keys(fleet: FleetConfig) -> list[Path]:
    """Write the keys that are named and not there, mode 0600: the fleet's, and the seed of this
    box's NKey; which were written. Raises GalleryError,
    OutputError where they cannot be written."""
    made = []
    if not fleet.key.exists():
        create_key(fleet.key)
        made.append(fleet.key)
    if fleet.credentials is not None and not fleet.credentials.exists():
        keys = _nkeys()
        seed = keys.encode_seed(os.urandom(32), keys.PREFIX_BYTE_USER)
        write_file(fleet.credentials, bytes(seed), mode=0o600)
        made.append(fleet.credentials)
    return made


def public_key(fleet: FleetConfig) -> str:
    """What the server knows this box by. Raises ConfigError where it has no NKey, GalleryError for
    one that others may read."""
    return bytes(own_pair(fleet).public_key).decode("ascii")


def own_pair(fleet: FleetConfig) -> Any:
    """The key pair of this box's NKey, which signs; errors as with `public_key`."""
    if fleet.credentials is None:
        raise ConfigError("this box has no NKey: set fleet.credentials to a file")
    keys = _nkeys()
    try:
        return keys.from_seed(read_private(fleet.credentials).strip())
    except keys.NkeysError as error:
        raise ConfigError(f"{fleet.credentials}: not the seed of an NKey: {error}") from None


def box_user(fleet: FleetConfig) -> str:
    """This box as a user for nats-server's `authorization { users: [ … ] }`: it publishes under its
    own subject, and reads the people of all, its site and its groups."""
    publish, subscribe = box_rights(fleet)
    lines = [f"{{ nkey: {public_key(fleet)}, permissions: {{"]
    for name, subjects in (("publish", publish), ("subscribe", subscribe)):
        quoted = ", ".join(f'"{subject}"' for subject in subjects)
        lines.append(f"    {name}: {{ allow: [{quoted}] }}")
    return "\n".join([*lines, "} }"])


def box_rights(fleet: FleetConfig) -> tuple[list[str], list[str]]:
    """What a box may publish and subscribe to."""
    own = subject_of(fleet)
    publish = [f"{own}.>"]
    asked = [(EVENTS, consumer_of(fleet, "events"), f"{own}.events.>")]
    asked += [(PEOPLE, consumer_of(fleet, scope), people_of(scope)) for scope in scopes(fleet)]
    if fleet.plans_from is not None:
        plans = consumer_of(fleet, "plans")
        asked += [(PLANS, plans, f"jf-plans.{scope}.*") for scope in scopes(fleet)]
    for stream, consumer, subject in asked:
        for api in _APIS:
            publish += [
                f"{api}.CONSUMER.CREATE.{stream}.{consumer}.{subject}",
                f"{api}.CONSUMER.DELETE.{stream}.{consumer}",
                f"{api}.CONSUMER.INFO.{stream}.{consumer}",
                f"{api}.CONSUMER.MSG.NEXT.{stream}.{consumer}",
            ]
    return publish, [f"_INBOX.{fleet.site}.{fleet.box}.>"]


def _nkeys() -> ModuleType:
    with needs(f"a fleet needs nats-py and nkeys: {pip_install('fleet')}"):
        import nkeys
    found: ModuleType = nkeys
    return found
