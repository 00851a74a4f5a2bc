"""The fleet that the configuration names: how to reach it, what to sign and to seal with."""

from __future__ import annotations

from jetson_face.config import Config, FleetConfig
from jetson_face.core.errors import ConfigError
from jetson_face.events.nats_link import NatsLink
from jetson_face.privacy.encryption import AesGcm, open_private_cipher, read_private


def fleet_of(config: Config) -> FleetConfig:
    """The section `fleet`. Raises ConfigError where there is none."""
    if config.fleet is None:
        raise ConfigError(
            "this box belongs to no fleet: set `fleet` (server, site, key) in the configuration"
        )
    return config.fleet


def subject_of(fleet: FleetConfig) -> str:
    """What this box publishes is under this subject."""
    return f"jf.{fleet.site}.{fleet.box}"


def consumer_of(fleet: FleetConfig, what: str) -> str:
    """The name of one of this box's consumers."""
    return f"{fleet.site}_{fleet.box}_{what}"


def link_of(fleet: FleetConfig, what: str) -> NatsLink:
    """How to reach the server. what: names the connection. Raises GalleryError for credentials that
    others may read."""
    if fleet.credentials is not None:
        read_private(fleet.credentials)
    return NatsLink(
        fleet.server,
        f"jetson-face {fleet.site}/{fleet.box} {what}",
        f"_INBOX.{fleet.site}.{fleet.box}",
        fleet.credentials,
        fleet.ca,
    )


def fleet_cipher(fleet: FleetConfig) -> AesGcm:
    """What people are sealed with on their way. Raises GalleryError where the key is not there, can
    be read by others, or is none."""
    return open_private_cipher(fleet.key)
