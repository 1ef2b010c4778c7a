"""An IOC of caproto with an array and a single value. Says "ready" once it serves.

Each line of its input is the array from then on, in JSON; it ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys

from caproto.asyncio.server import start_server
from caproto.server import PVGroup, pvproperty


class Theta(PVGroup):
    theta = pvproperty(value=[0.0], dtype=float, max_length=1000, name="theta")
    readback = pvproperty(value=0.0, name="readback")


async def serve() -> None:
    group = Theta(prefix="stage:")
    server = asyncio.create_task(start_server(group.pvdb, interfaces=["127.0.0.1"]))
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        await group.theta.write(json.loads(line))
    server.cancel()


asyncio.run(serve())
