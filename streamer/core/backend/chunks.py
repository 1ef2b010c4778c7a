"""Work on a device in chunks that fit its memory, and on the CPU where not even the smallest fits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from streamer.core.backend.engine import DeviceOutOfMemory, Engine
from streamer.frames import BadInput

Chunk = tuple[int, int]

USABLE_SHARE = 0.9
"""Share of the free memory that is planned with; the rest is for work areas of the Fourier transform."""

FALLBACKS = ("smaller_chunks", "does_not_fit", "out_of_memory")
"""How work leaves the way it was meant to go: memory ran out, and it was cut smaller; the device has not the memory for
it, and the CPU does it; memory ran out although it seemed to suffice, and the CPU does the rest."""

log = logging.getLogger(__name__)


def plan_chunks(total: int, item_bytes: int, fixed_bytes: int, memory_bytes: int, multiple: int = 1) -> list[Chunk]:
    """Ranges [first, last) over ``total`` items, in order and as even as can be, that each fit into the memory.

    A chunk of n items needs fixed_bytes + n · item_bytes. Where it costs no more chunks, all but the last have a
    length that ``multiple`` divides. Raises BadInput when not even one item fits; the message says what is missing.
    """
    if total <= 0:
        return []
    fit = total if item_bytes <= 0 else (memory_bytes - fixed_bytes) // item_bytes
    if fit < 1 or fixed_bytes > memory_bytes:
        need, given = (fixed_bytes + item_bytes) / 2**20, memory_bytes / 2**20
        raise BadInput(f"one item needs {need:.1f} MiB on the device, {given:.1f} MiB are free")
    size = -(-total // -(-total // fit))
    rounded = -(-size // multiple) * multiple
    size = rounded if rounded <= fit else max(fit // multiple * multiple, min(size, fit))
    return [(first, min(first + size, total)) for first in range(0, total, size)]


@dataclass
class FallbackCounters:
    """What became of the work that was meant for the device; read by a metric, never reset.

    ``events`` counts by ``FALLBACKS``; ``reason`` is the last one in words.
    """

    events: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FALLBACKS, 0))
    reason: str = ""
    _told: set[tuple[str, str]] = field(default_factory=set, repr=False, compare=False)

    def fall_back(self, event: str, work: str, text: str) -> None:
        """Count one of ``FALLBACKS`` and keep ``text``, which says what becomes of the ``work``.

        Only the first one for this ``work`` is a warning in the log: a scan repeats it thousands of times.
        """
        self.events[event] += 1
        self.reason = f"{work}: {text}"
        log.log(logging.DEBUG if (event, work) in self._told else logging.WARNING, self.reason)
        self._told.add((event, work))


@dataclass(frozen=True)
class ChunkedWork:
    """Items that a device or a host can do, each range on its own. A range done twice has the same result."""

    name: str
    items: int
    item_bytes: int
    fixed_bytes: int
    on_device: Callable[[int, int], None]
    on_host: Callable[[int, int], None]
    multiple: int = 1


def run_chunked(work: ChunkedWork, engine: Engine, counters: FallbackCounters) -> None:
    """Do the work on the device in chunks that fit; out of memory → halves → host. Each step down is counted.

    Other errors of ``on_device`` pass through: wrong arithmetic must not look like a lack of memory.
    """
    try:
        memory = int(USABLE_SHARE * engine.free_bytes())
        chunks = plan_chunks(work.items, work.item_bytes, work.fixed_bytes, memory, work.multiple)
    except BadInput as error:
        _to_host(work, 0, "does_not_fit", str(error), counters)
        return
    while chunks:
        first, last = chunks[0]
        full = out_of_memory(work.on_device, first, last)
        if full is not None:
            engine.release()
            smaller = _halves(chunks, work.multiple)
            if smaller is None:
                _to_host(work, first, "out_of_memory", f"not even {last - first} fit ({full})", counters)
                return
            text = f"chunks of {last - first} do not fit, now {smaller[0][1] - first} ({full})"
            counters.fall_back("smaller_chunks", work.name, text)
            chunks = smaller
            continue
        chunks = chunks[1:]


def out_of_memory(work: Callable[..., None], *arguments: Any) -> str | None:
    """Do the work; what the device said if its memory did not suffice, else None.

    An error in hand keeps alive, by its traceback, what was allocated before it: only after this has returned can the
    memory be used again.
    """
    try:
        work(*arguments)
    except DeviceOutOfMemory as error:
        return str(error)
    return None


def _halves(chunks: list[Chunk], multiple: int) -> list[Chunk] | None:
    """The rest of the work in chunks of half the size; None when they are down to ``multiple`` or to one item."""
    (first, end), last = chunks[0], chunks[-1][1]
    size = (end - first) // 2
    if size >= multiple:
        size = size // multiple * multiple
    if size < 1:
        return None
    return [(start, min(start + size, last)) for start in range(first, last, size)]


def _to_host(work: ChunkedWork, first: int, event: str, why: str, counters: FallbackCounters) -> None:
    text = f"items {first} to {work.items} on the CPU: {why}"
    counters.fall_back(event, work.name, text)
    if first < work.items:
        work.on_host(first, work.items)
