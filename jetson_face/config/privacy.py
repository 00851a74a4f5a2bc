"""What is kept from whom, and how long what was done is remembered."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jetson_face.config.section import Section


class PrivacyConfig(Section):
    """Consent, the do-not-recognise list, the log of use."""

    expired_consent: Literal["show", "withhold"] = Field(
        "show",
        description="somebody whose consent is over: only said, or no longer recognised, as if on "
        "the do-not-recognise list",
    )
    withhold_margin: float = Field(
        0.1,
        ge=0,
        le=1,
        description="a face this far (cosine) below the threshold still counts as one of the "
        "do-not-recognise list, and is not kept",
    )
    use_days: float = Field(
        400, ge=1, le=3650, description="how long the log of use is kept: days of service"
    )
