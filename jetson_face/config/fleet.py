"""Many boxes: where they meet, and which of them this one is."""

from __future__ import annotations

import re
import socket
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from jetson_face.config.section import HomePath, Section

FLEET = "fleet"
"""The sink that `fleet` makes."""
_WORD = r"^[A-Za-z0-9_-]{1,40}$"
Word = Annotated[str, Field(pattern=_WORD)]


def _server(text: str) -> str:
    for part in text.split(","):
        found = urlsplit(part.strip())
        if found.scheme not in ("nats", "tls") or not found.hostname:
            raise ValueError("a server is nats://HOST:PORT or tls://HOST:PORT; several with commas")
        if found.username is not None:
            raise ValueError("a server has no user in it: who this box is says `credentials`")
    return text


def _own_name() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().split(".")[0])[:40] or "box"


class FleetConfig(Section):
    """A NATS server with JetStream, over which boxes share people, erasures and events."""

    server: Annotated[str, AfterValidator(_server)] = Field(
        description="nats://HOST:PORT, or tls://HOST:PORT; several with commas between"
    )
    site: Word = Field(description="where this box is: people may be sent to one site only")
    box: Word = Field(default_factory=_own_name, description="this box; default: its host name")
    groups: tuple[Word, ...] = Field(
        (), max_length=20, description="groups whose people this box has, beside all and its site"
    )
    credentials: HomePath | None = Field(
        None, description="an NKey's seed, or a .creds file, mode 0600; null: the server asks none"
    )
    ca: HomePath | None = Field(
        None, description="certificates to trust with tls://; null: those of the system"
    )
    key: HomePath = Field(
        description="32 bytes, mode 0600, the same on every box: what people are sealed with"
    )
    plans_from: str | None = Field(
        None,
        pattern=r"^U[A-Z2-7]{55}$",
        description="public NKey of the operator whose TensorRT plans this box takes; null: none",
    )
    status_s: float = Field(30, ge=1, le=3600, description="how often this box says how it is")

    @model_validator(mode="after")
    def _ca_needs_tls(self) -> FleetConfig:
        if self.ca is not None and not self.server.startswith("tls://"):
            raise ValueError("`ca` needs a server with tls://")
        return self
