"""What a scan needs of the shards, before it is armed: memory, rates, and the binning that would fit. No processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamer.cluster.rows import row_blocks
from streamer.core.backend.selection import Backend
from streamer.frames import ScanSpec
from streamer.pipeline.reconstruction.growing_tomogram import GROWS, plan_tomogram

BINNINGS = (1, 2, 4, 8)
SAFE = 0.8
"""Share of a measured rate that is counted on."""


@dataclass(frozen=True)
class Plan:
    """What a scan needs with ``shards``: for the largest of them, bytes of memory and ``way`` its tomogram is made;
    bytes per second out of the cutter, to one shard, and to the disk.
    """

    shards: int
    binning: int
    way: str
    memory_bytes: int
    raw_bytes: int
    rate: float
    rate_of_one: float


def plan(spec: ScanSpec, rate_hz: float, shards: int, memory_bytes: int, threads: int, binning: int = 1) -> Plan:
    """``memory_bytes`` is that of one shard, which reconstruction.memory_mb allows. Raises BadInput for few rows."""
    blocks = row_blocks(spec.rows // binning, shards)
    pixel = np.dtype(spec.dtype).itemsize
    columns = spec.columns // binning
    frame = spec.rows // binning * columns * pixel
    largest = max(blocks, key=lambda block: block.rows)
    part = ScanSpec("plan", "plan", largest.rows, columns, spec.projections, dtype=spec.dtype)
    made = plan_tomogram(part, memory_bytes, Backend("numba", threads), on_device=False)
    rates = rate_hz * frame, rate_hz * largest.rows * columns * pixel
    return Plan(shards, binning, made.way, made.nbytes, frame * spec.frames, *rates)


@dataclass(frozen=True)
class Advice:
    """Whether a scan fits as it is, and in sentences what it takes, or what to do."""

    fits: bool
    said: tuple[str, ...]


def advice(spec: ScanSpec, rate_hz: float, shards: int, memory_bytes: int, threads: int, measured: float) -> Advice:
    """``measured`` is the rate at which rows reach the shards, bytes per second. The rest as for ``plan``."""
    now = plan(spec, rate_hz, shards, memory_bytes, threads)
    said = [
        f"{spec.rows}×{spec.columns} at {rate_hz:g} Hz: {now.rate / 1e9:.2f} GB/s, "
        f"{now.rate_of_one / 1e9:.2f} GB/s to each "
        f"of {shards} shards, {now.raw_bytes / 1e9:.1f} GB of raw data"
    ]
    if too_fast := now.rate > SAFE * measured:
        most = SAFE * measured / (now.rate / rate_hz)
        said.append(
            f"too fast for one cutter: it passes on {measured / 1e9:.2f} GB/s here; "
            f"expose at {most:.3g} Hz or less, bin, or "
            "have several detector servers send their own rows"
        )
    if now.way == GROWS:
        said.append(f"each shard has the memory: {now.memory_bytes / 2**30:.2f} GiB of {memory_bytes / 2**30:.2f}")
        return Advice(not too_fast, tuple(said))
    said.append(f"a shard lacks memory for a tomogram that grows: it is made {now.way}")
    for binning in BINNINGS[1:]:
        if spec.rows // binning < 16 * shards:
            break
        binned = plan(spec, rate_hz, shards, memory_bytes, threads, binning)
        if binned.way == GROWS:
            each = binned.memory_bytes / 2**30
            said.append(f"binned {binning}×{binning} on the detector it grows live: {each:.2f} GiB each")
            break
    for more in (2, 4, 8, 16, 32, 64):
        if spec.rows // (more * shards) < 16:
            break
        if plan(spec, rate_hz, more * shards, memory_bytes, threads).way == GROWS:
            said.append(f"with {more * shards} shards of this memory it grows live at full resolution")
            break
    return Advice(False, tuple(said))
