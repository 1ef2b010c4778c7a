"""NTNDArrays of a PV over PVAccess. Needs p4p, the extra ``pva``.

p4p, not pvaPy: its licence is BSD, it hands out pixels without a copy, and the thread that receives takes them from the
queue of the subscription itself, so that no thread of a library calls into ours but for a wake-up.
"""

from __future__ import annotations

import threading
from typing import Any

from streamer.flow.dialects.message import Image
from streamer.flow.dialects.ntndarray import NTNDArray, image_of
from streamer.flow.wire import WireError
from streamer.frames import BadInput

SCHEME = "pva://"
MISSING = "needs p4p, which is not installed: pip install 'tomo-streamer[pva]'"


class PvaInbox:
    """A subscription of one PV, which stays while no scan is armed.

    The first update of each connection is refused: it is what the PV held before, an image of another scan. What does
    not fit into the queue is lost, and leaves a gap in the numbers. Raises BadInput without p4p.
    """

    def __init__(self, endpoint: str, queue: int, max_bytes: int) -> None:
        """``endpoint`` is ``pva://NAME``; ``queue`` images wait in the subscription."""
        try:
            from p4p.client.raw import Context
        except ImportError as error:
            raise BadInput(f"source.dialect: pva {MISSING}") from error
        self.endpoint, self._max_bytes = endpoint, max_bytes
        self._arrived, self._more, self._connected = threading.Event(), False, False
        self._context = Context("pva", useenv=True, nt=False)
        request = f"record[queueSize={queue}]field()"
        self._subscription = self._context.monitor(endpoint.removeprefix(SCHEME), self._arrived.set, request)

    def attach(self, wanted: bool) -> None:
        """Nothing to do: a subscription takes no image from anybody else."""

    def receive(self, timeout_ms: int) -> Image | None:
        if not self._more:
            if not self._arrived.wait(timeout_ms / 1000):
                return None
            self._arrived.clear()
        value = self._subscription.pop()
        self._more = value is not None
        if value is None:
            return None
        connected, self._connected = self._connected, not isinstance(value, Exception)
        if not self._connected:  # the context connects again by itself
            return None
        if not connected:
            raise WireError("stale_scan", f"{self.endpoint} is connected; the image that it held before is not taken")
        return image_of(array_of(value, self.endpoint, self._max_bytes))

    def close(self) -> None:
        self._subscription.close()
        self._context.close()


def array_of(value: Any, endpoint: str, max_bytes: int) -> NTNDArray:
    """The fields of a PV's value that count. Raises WireError when it is no NTNDArray, or too large."""
    try:
        pixels = value["value"]
        if pixels is not None and pixels.nbytes > max_bytes:
            text = f"NTNDArray of {pixels.nbytes} bytes, source.max_frame_mb allows {max_bytes}"
            raise WireError("oversize", text)
        return NTNDArray(
            pixels,
            tuple(int(dimension["size"]) for dimension in value["dimension"]),
            int(value["uniqueId"]),
            value["codec.name"],
            value["codec.parameters"],
            int(value["compressedSize"]),
            int(value["dataTimeStamp.secondsPastEpoch"]),
            int(value["dataTimeStamp.nanoseconds"]),
            {attribute["name"]: attribute["value"] for attribute in value["attribute"]},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise WireError("header", f"{endpoint} is no NTNDArray: {type(error).__name__} {error}") from error
