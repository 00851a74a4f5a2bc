"""Two who ask at the same time: the command that waits, and the page that asks again."""

from __future__ import annotations

import asyncio

from jetson_face.fleet import operator
from jetson_face.fleet.operator import ErasureReport, FleetOperator
from tests.fleet.boxes import Box
from tests.fleet.nats_server import NatsServer, nats
from tests.waiting import until


def test_two_reports_of_one_erasure_overwrite_its_events_together(
    one: Box, hub: NatsServer
) -> None:
    who = "8c0649b1-7de2-4f9e-a492-38f005755d80"

    async def told() -> None:
        client = await nats.connect(hub.url)
        for number in range(300):
            await client.publish(f"jf.north.one.events.decided.{who}.none", f"{number}".encode())
        await client.flush()
        await client.close()

    asyncio.run(told())
    until(lambda: len(hub.messages("EVENTS")) == 300)

    async def twice(server: FleetOperator) -> list[ErasureReport]:
        return list(await asyncio.gather(*(server.erasure(who) for _ in range(2))))

    reports = operator.run(one.config, twice)
    assert [report.person for report in reports] == [who, who]
    assert hub.messages("EVENTS") == []
