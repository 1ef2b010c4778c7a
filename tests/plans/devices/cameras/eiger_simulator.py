"""The EIGER of tickit-devices, whose streams are bound only.

Its own sockets connect to themselves as well, and lose every second message that way.
"""

import aiozmq
import pydantic.v1.dataclasses
import zmq
from tickit.adapters.io import HttpIo, ZeroMqPushIo
from tickit.core.adapter import AdapterContainer
from tickit.core.components.component import Component, ComponentConfig
from tickit.core.components.device_component import DeviceComponent
from tickit_devices.eiger.eiger import EigerDevice
from tickit_devices.eiger.eiger_adapters import EigerRESTAdapter, EigerZMQAdapter
from tickit_devices.eiger.stream.stream_config import CBOR_STREAM, LEGACY_STREAM

HERE = "127.0.0.1"


async def bound(host: str, port: int) -> aiozmq.ZmqStream:
    return await aiozmq.create_zmq_stream(zmq.PUSH, bind=f"tcp://{host}:{port}")


@pydantic.v1.dataclasses.dataclass
class Eiger(ComponentConfig):
    port: int = 8081
    legacy: int = 9999
    cbor: int = 31001

    def __call__(self) -> Component:
        device = EigerDevice()
        adapters = [AdapterContainer(EigerRESTAdapter(device), HttpIo(HERE, self.port))]
        for name, port in ((LEGACY_STREAM, self.legacy), (CBOR_STREAM, self.cbor)):
            stream = EigerZMQAdapter(device.streams[name])
            adapters.append(AdapterContainer(stream, ZeroMqPushIo(HERE, port, socket_factory=bound)))
        return DeviceComponent(name=self.name, device=device, adapters=adapters)
