"""Faults on purpose, each recorded so that a report can be held against the truth.

The map of the control verb ``faults`` (for the next scan; every key is optional, an index is a frame index):

| key | value | what happens |
|---|---|---|
| `drop` | list of indices | the frame is issued but never sent |
| `duplicate` | list | sent twice, with two sequence numbers |
| `reorder` | list | sent after its successor |
| `corrupt` | list | one byte of the payload is flipped after the checksum was taken |
| `truncate` | list | the payload ends early |
| `late` | list | sent after the end message |
| `probability` | map of these six → 0…1 | the same at random, by `seed` |
| `seed` | int | of the probabilities |
| `beam_dump` | [first, last] | no beam in these frames |
| `beam_scale` | number | brightness of the beam; above 1.5 the camera saturates |
| `beam_drift` | number | share of the light lost, linearly, until the last announced frame |
| `stall` | index | the camera stops with an error before this frame |
| `shutter` | "stuck" or "lying" | the shutter ignores commands until `finish`; "lying": its read-back does not |
| `grip_failures` | int | so many of the next mounts fail; takes effect at once, for a robot does not wait for scans |

An index has at most one transport fault: the first of the table's order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamer.frames import MAX_FRAMES, BadInput

TRANSPORT = ("drop", "duplicate", "reorder", "corrupt", "truncate", "late")
_KEYS = (
    *TRANSPORT,
    "probability",
    "seed",
    "beam_dump",
    "beam_scale",
    "beam_drift",
    "stall",
    "shutter",
    "grip_failures",
)


@dataclass(frozen=True)
class Faults:
    """What shall go wrong in one scan."""

    listed: Mapping[str, frozenset[int]] = field(default_factory=dict)
    probability: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    beam_dump: tuple[int, int] | None = None
    beam_scale: float = 1.0
    beam_drift: float = 0.0
    stall: int | None = None
    shutter: str | None = None
    grip_failures: int = 0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Faults:
        """Read the map of the control verb. Raises BadInput that names the key."""
        if unknown := sorted(set(data) - set(_KEYS)):
            raise BadInput(f"faults has the unknown key {unknown[0]!r}; known keys: {', '.join(_KEYS)}")
        shutter = data.get("shutter")
        if shutter not in (None, "stuck", "lying"):
            raise BadInput(f"faults: shutter is {shutter!r}, must be 'stuck' or 'lying'")
        stall = data.get("stall")
        return cls(
            listed={name: frozenset(_indices(name, data.get(name, ()))) for name in TRANSPORT},
            probability=_probabilities(data.get("probability", {})),
            seed=_whole("seed", data.get("seed", 0)),
            beam_dump=_dump(data.get("beam_dump")),
            beam_scale=_real("beam_scale", data.get("beam_scale", 1.0), 0.0, 100.0),
            beam_drift=_real("beam_drift", data.get("beam_drift", 0.0), -1.0, 1.0),
            stall=None if stall is None else _whole("stall", stall),
            shutter=shutter,
            grip_failures=_whole("grip_failures", data.get("grip_failures", 0)),
        )

    def transport(self, index: int) -> str | None:
        """The transport fault of a frame, or None. The same answer whenever it is asked."""
        for name in TRANSPORT:
            if index in self.listed.get(name, ()):
                return name
        if not self.probability:
            return None
        dice = np.random.default_rng([self.seed, index]).random(len(TRANSPORT))
        for name, throw in zip(TRANSPORT, dice, strict=True):
            if throw < self.probability.get(name, 0.0):
                return name
        return None

    def light(self, index: int, frames: int) -> float:
        """Factor on the beam in one of ``frames`` announced frames."""
        if self.beam_dump and self.beam_dump[0] <= index <= self.beam_dump[1]:
            return 0.0
        return self.beam_scale * (1.0 - self.beam_drift * min(1.0, index / max(1, frames)))

    def beam_record(self) -> dict[str, Any]:
        """The faults that are not of the transport, for the truth file."""
        return {
            "beam_dump": self.beam_dump and list(self.beam_dump),
            "beam_scale": self.beam_scale,
            "beam_drift": self.beam_drift,
            "stall": self.stall,
            "shutter": self.shutter,
        }


Message = list[Any]


class Transport:
    """Decides what is really sent, in which order; a holder of messages, not a socket.

    ``injected`` lists what was done: kind → frame indices, in order.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: list[Message] = []
        self._late: list[Message] = []
        self.injected: dict[str, list[int]] = {name: [] for name in TRANSPORT}

    def route(self, index: int, make: Callable[[], Message]) -> list[Message]:
        """Messages to send now for the frame ``index``; ``make`` gives it under a fresh sequence number."""
        message = make()
        fault = self._faults.transport(index)
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
        """Held frames without a successor; they go out before the end message."""
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


def _indices(name: str, value: Any) -> list[int]:
    if not isinstance(value, (list, tuple)):
        raise BadInput(f"faults: {name} is {value!r}, must be a list of frame indices")
    return [_whole(name, index) for index in value]


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_FRAMES:
        raise BadInput(f"faults: {name} has {value!r}, must be a whole number from 0 to {MAX_FRAMES}")
    return value


def _real(name: str, value: Any, low: float, high: float) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise BadInput(f"faults: {name} is {value!r}, must be a number")
    if not low <= value <= high:
        raise BadInput(f"faults: {name} is {value!r}, must be from {low} to {high}")
    return float(value)


def _probabilities(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping) or set(value) - set(TRANSPORT):
        raise BadInput(f"faults: probability is {value!r}, must map {', '.join(TRANSPORT)} to numbers")
    return {name: _real(f"probability of {name}", chance, 0.0, 1.0) for name, chance in value.items()}


def _dump(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    first_last = _indices("beam_dump", value)
    if len(first_last) != 2 or first_last[0] > first_last[1]:
        raise BadInput(f"faults: beam_dump is {value!r}, must be [first, last]")
    return first_last[0], first_last[1]
