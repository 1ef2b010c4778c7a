"""What the daemon needs of whoever writes raw files: its own process, or those of the shards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from numpy.typing import ArrayLike

from streamer.frames import ScanSpec
from streamer.io.raw.nxtomo import NO_FRAMES
from streamer.io.raw.pixel_mask import PixelMask
from streamer.io.raw.raw_scan import WriterEvent, WriterResult


class RawWriter(Protocol):
    """See ``writer.WriterProcess``, whose methods say what they do."""

    @property
    def written(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def alive(self) -> bool: ...
    @property
    def restarts(self) -> int: ...
    @property
    def state(self) -> tuple[str, str]: ...
    @property
    def safe_position(self) -> int: ...
    def notify(self) -> None: ...
    def open(
        self, spec: ScanSpec, path: Path, started: str, timeout: float = 30.0, held: int | None = None
    ) -> Path: ...
    def mark(self, mask: PixelMask) -> None: ...
    def end(
        self,
        status: str,
        frames: Mapping[str, ArrayLike] = NO_FRAMES,
        ended: str = "",
        note: str = "",
        expected: int | None = None,
    ) -> None: ...
    def await_written(self) -> bool: ...
    def await_end(self) -> WriterResult: ...
    def poll_events(self, timeout: float = 0.0) -> list[WriterEvent]: ...
    def stop(self, timeout: float = 10.0) -> None: ...
