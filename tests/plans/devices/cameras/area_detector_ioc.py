"""An IOC of caproto with the records of ADSimDetector and of a plugin, which sends its frames by ADZMQ or PVAccess.

Says "ready" once it serves. Lines of its input: "pulse N" triggers N images, "NAME VALUE" writes a record.
It ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
import zmq
from caproto import ChannelType
from caproto.asyncio.server import start_server
from caproto.server import PVGroup, get_pv_pair_wrapper, pvproperty
from numpy.typing import NDArray
from p4p.nt import NTNDArray
from p4p.server import Server
from p4p.server.thread import SharedPV

ROWS, COLUMNS = 6, 32
MIN_PERIOD_S = 0.002
STATES = ["Idle", "Acquire", "Readout", "Correct", "Saving", "Aborting", "Error", "Waiting", "Initializing"]
STATES += ["Disconnected", "Aborted"]
TYPES = ["Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float32", "Float64"]
NORMAL, BACKGROUND, FLAT_FIELD = range(3)


def image(number: int, frame_type: int) -> NDArray[np.uint16]:
    """Image ``number`` of the camera: a disc that turns nothing, in Poisson noise of its own."""
    across = np.sqrt(np.clip(100.0 - (np.arange(COLUMNS) - 15.5) ** 2, 0, None))
    light = {BACKGROUND: 0.0 * across, FLAT_FIELD: 1000 + 0.0 * across, NORMAL: 1000 * np.exp(-0.05 * across)}
    counts = np.random.default_rng(number).poisson(np.tile(light[frame_type], (ROWS, 1)))
    return counts.astype("<u2")


pair = get_pv_pair_wrapper(setpoint_suffix="", readback_suffix="_RBV")


def setting(name: str, value: float, **kinds: Any) -> Any:
    """A record whose readback follows it."""
    return pair(name=name, value=value, dtype=type(value), **kinds)


def choice(name: str, *strings: str, **kinds: Any) -> Any:
    """A record with choices, whose readback follows it."""
    return pair(name=name, value=strings[0], dtype=ChannelType.ENUM, enum_strings=strings, **kinds)


async def limit_period(group: Any, _instance: Any, period: float) -> None:
    await group.readback.write(max(period, MIN_PERIOD_S))


async def switch(group: Any, _instance: Any, value: Any) -> None:
    await group.parent.switch(value in (1, "Acquire"))


class Plugin(PVGroup):
    enable = choice("EnableCallbacks", "Disable", "Enable")
    source = pair(name="NDArrayPort", value="nowhere", dtype=ChannelType.STRING)
    shortest = setting("MinCallbackTime", 0.5)
    dropped = pvproperty(name="DroppedArrays_RBV", value=0)
    dropped_output = pvproperty(name="DroppedOutputArrays_RBV", value=0)


class Camera(PVGroup):
    time = setting("AcquireTime", 1.0)
    period = setting("AcquirePeriod", 1.0, put=limit_period)
    mode = choice("ImageMode", "Single", "Multiple", "Continuous")
    images = setting("NumImages", 1)
    trigger = choice("TriggerMode", "Internal", "External")
    frame_type = choice("FrameType", "Normal", "Background", "FlatField")
    callbacks = choice("ArrayCallbacks", "Disable", "Enable")
    counter = setting("ArrayCounter", 12345)
    columns = pvproperty(name="ArraySizeX_RBV", value=COLUMNS)
    rows = pvproperty(name="ArraySizeY_RBV", value=ROWS)
    stored = pvproperty(name="DataType_RBV", value="UInt16", dtype=ChannelType.ENUM, enum_strings=TYPES)
    state = pvproperty(name="DetectorState_RBV", value="Idle", dtype=ChannelType.ENUM, enum_strings=STATES)
    message = pvproperty(name="StatusMessage_RBV", value="", dtype=str, max_length=256)
    port = pvproperty(name="PortName_RBV", value="SIM1", dtype=ChannelType.STRING)
    acquire = choice("Acquire", "Done", "Acquire", put=switch)

    def __init__(self, prefix: str, plugin: Plugin, output: Zmq | Pva) -> None:
        super().__init__(prefix=prefix)
        self._plugin, self._output = plugin, output
        self._run: asyncio.Task[None] | None = None
        self.pulses = asyncio.Semaphore(0)

    async def switch(self, on: bool) -> None:
        if on and self._run is None:
            await self.acquire.readback.write(1)
            await self.state.write("Acquire")
            self._run = asyncio.create_task(self._take())
        elif not on and self._run is not None:
            self._run.cancel()
            await self._rest("Aborted")

    async def _rest(self, state: str) -> None:
        self._run = None
        await self.state.write(state)
        await self.acquire.readback.write(0)

    async def _take(self) -> None:
        single = self.mode.readback.value == "Single"
        for _ in range(1 if single else self.images.readback.value):
            if self.trigger.readback.value == "External":
                await self.pulses.acquire()
            else:
                await asyncio.sleep(self.period.readback.value)
            await self._one()
        await self._rest("Idle")

    async def _one(self) -> None:
        number = int(self.counter.readback.value) + 1
        await self.counter.readback.write(number)
        frame_type = self.frame_type.readback.enum_strings.index(self.frame_type.readback.value)
        plugin = self._plugin
        enabled = "Enable" == self.callbacks.readback.value == plugin.enable.readback.value
        connected = plugin.source.readback.value == self.port.value and plugin.shortest.readback.value == 0
        sends = enabled and connected
        if sends and not self._output.send(number, image(number, frame_type), frame_type):
            await plugin.dropped_output.write(plugin.dropped_output.value + 1)


class Zmq:
    """NDPluginZMQ with "PUSH CONNECT": header and pixels without waiting; what nobody takes is dropped."""

    name = "ZMQ1:"

    def __init__(self, endpoint: str) -> None:
        self._socket = zmq.Context.instance().socket(zmq.PUSH)
        self._socket.connect(endpoint)

    def send(self, number: int, pixels: NDArray[Any], frame_type: int) -> bool:
        header = {
            "htype": "array-1.0",
            "type": pixels.dtype.name,
            "shape": pixels.shape,
            "frame": number,
            "timeStamp": 1.0e9 + number,
            "encoding": "",
            "ndattr": {"FrameType": frame_type},
        }
        try:
            self._socket.send_multipart([json.dumps(header).encode(), pixels.tobytes()], zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True


class Pva:
    """NDPluginPva."""

    name = "Pva1:"

    def __init__(self, record: str) -> None:
        self._record = SharedPV(initial=NTNDArray().wrap(np.zeros((ROWS, COLUMNS), "<u2")))
        self._server = Server(providers=[{record: self._record}])

    def send(self, number: int, pixels: NDArray[Any], frame_type: int) -> bool:
        value = NTNDArray().wrap(pixels, attrib={"FrameType": frame_type})
        value["uniqueId"] = number
        self._record.post(value)
        return True


async def serve(prefix: str, target: str) -> None:
    output = Zmq(target) if target.startswith("tcp:") else Pva(target)
    plugin = Plugin(prefix=prefix + output.name)
    camera = Camera(prefix + "cam1:", plugin, output)

    async def ready(_library: Any) -> None:
        print("ready", flush=True)

    records = {**camera.pvdb, **plugin.pvdb}
    server = asyncio.create_task(start_server(records, interfaces=["127.0.0.1"], startup_hook=ready))
    while line := await asyncio.to_thread(sys.stdin.readline):
        verb, value = line.split(maxsplit=1)
        if verb == "pulse":
            for _ in range(int(value)):
                camera.pulses.release()
        else:
            record = records[prefix + verb]
            await record.write(int(value) if isinstance(record.value, int) else value.rstrip())
    server.cancel()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
