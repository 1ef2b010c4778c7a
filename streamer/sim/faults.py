"""Deliberate faults. Each is recorded, so that a report can be compared with the truth.

What can be asked for is in ``docs/protocol.md`` (§2.2, Faults). A frame has at most one transport fault: the first of
them in the order of ``TRANSPORT_FAULTS``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np

from streamer.flow.wire.beamline import Faults, TransportFault

TRANSPORT_FAULTS: tuple[TransportFault, ...] = get_args(TransportFault)


def transport_fault(faults: Faults, index: int) -> TransportFault | None:
    """The transport fault of a frame, or None. The same answer whenever it is asked."""
    for name in TRANSPORT_FAULTS:
        if index in getattr(faults, name):
            return name
    if not faults.probability:
        return None
    dice = np.random.default_rng([faults.seed, index]).random(len(TRANSPORT_FAULTS))
    for name, throw in zip(TRANSPORT_FAULTS, dice, strict=True):
        if throw < faults.probability.get(name, 0.0):
            return name
    return None


def light(faults: Faults, index: int, frames: int) -> float:
    """Factor on the beam in one of ``frames`` announced frames."""
    if faults.beam_dump and faults.beam_dump[0] <= index <= faults.beam_dump[1]:
        return 0.0
    return faults.beam_scale * (1.0 - faults.beam_drift * min(1.0, index / max(1, frames)))


def beam_record(faults: Faults) -> dict[str, Any]:
    """The faults that are not of the transport, for the truth file."""
    names = ("beam_dump", "beam_scale", "beam_drift", "stall", "shutter")
    return {name: getattr(faults, name) for name in names}


Message = list[Any]


class Transport:
    """Decides which messages are sent, and in which order; it holds messages back but sends none.

    ``injected`` lists the faults that happened: kind → frame indices, in order.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: list[Message] = []
        self._late: list[Message] = []
        self.injected: dict[str, list[int]] = {name: [] for name in TRANSPORT_FAULTS}

    def route(self, index: int, make: Callable[[], Message]) -> list[Message]:
        """Messages to send now for the frame ``index``; ``make`` builds one with a new sequence number."""
        message = make()
        fault = transport_fault(self._faults, index)
        if fault is not None:
            self.injected[fault].append(index)
        if fault == "reorder":
            self._held.append(message)
            return []
        held, self._held = self._held, []
        return [*self._now(fault, message, make), *held]

    def _now(self, fault: str | None, message: Message, make: Callable[[], Message]) -> list[Message]:
        if fault == "drop":
            return []
        if fault == "duplicate":
            return [message, make()]
        if fault == "late":
            self._late.append(message)
            return []
        if fault == "corrupt":
            return [[message[0], _flipped(message[1])]]
        if fault == "truncate":
            return [[message[0], bytes(message[1])[: len(message[1]) // 2]]]
        return [message]

    def before_end(self) -> list[Message]:
        """Held frames without a successor, to be sent before the end message."""
        held, self._held = self._held, []
        return held

    def after_end(self) -> list[Message]:
        """Late frames, to be sent after the end message."""
        late, self._late = self._late, []
        return late


def _flipped(payload: bytes | memoryview) -> bytes:
    data = bytearray(payload)
    data[len(data) // 3] ^= 0x55
    return bytes(data)
