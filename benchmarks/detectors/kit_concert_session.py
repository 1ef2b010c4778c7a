"""A session of KIT's Concert, in an environment of its own: ``python kit_concert_session.py FOLDER PORT COUNT…``.

Its FileCamera sends the images in FOLDER from a PUSH socket, in one call of ``grab_send`` for each COUNT.
"""

from __future__ import annotations

import asyncio
import sys

import zmq
from concert.devices.cameras.dummy import FileCamera
from concert.helpers import CommData
from concert.quantities import q


async def main(folder: str, port: int, counts: list[int]) -> None:
    camera = await FileCamera(folder)
    await camera.set_frame_rate(500 / q.s)
    await camera.register_endpoint(CommData("127.0.0.1", port=port, socket_type=zmq.PUSH))
    print("ready", flush=True)
    sys.stdin.readline()
    await camera.start_recording()
    for count in counts:
        await camera.grab_send(count)
    await camera.stop_recording()
    print("sent", flush=True)
    sys.stdin.readline()  # closing the socket would lose what waits in it


asyncio.run(main(sys.argv[1], int(sys.argv[2]), [int(word) for word in sys.argv[3:]]))
