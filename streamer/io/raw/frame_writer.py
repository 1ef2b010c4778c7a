"""The raw writer's work without its sockets: frames of the ring into one raw file at a time."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamer.flow.ring.ring import Ring
from streamer.frames import BadInput, Frame, ScanSpec
from streamer.io.raw.disk_space import free_bytes
from streamer.io.raw.nxtomo import NO_FRAMES
from streamer.io.raw.pixel_mask import PixelMask

RING_READER = 0
"""The ring's reader that belongs to the raw writer."""

FLUSHES_PER_RING = 8
SEGMENT_BYTES = 2**20  # what a file needs beyond its images


class RawFile(Protocol):
    """What the writer needs of a file; ``NXtomoFile`` is the one there is."""

    @property
    def indices(self) -> NDArray[np.int64]: ...
    def extend(self, frames: Sequence[Frame]) -> None: ...
    def mark(self, mask: PixelMask) -> None: ...
    def flush(self) -> int: ...
    def sync(self) -> None: ...
    def removed(self) -> bool: ...
    def close(
        self,
        status: str,
        expected: int | None = None,
        frames: Mapping[str, ArrayLike] = NO_FRAMES,
        ended: str = "",
        note: str = "",
    ) -> int: ...


class FrameWriter:
    """Raises whatever goes wrong, and must not be used after that: HDF5 may leave wrong frames behind then.

    A frame is given back to the ring one flush after the flush that made it readable: a disk that is full can spoil
    what the last flush wrote, and a successor finds all of that in the ring and writes it again.
    """

    def __init__(
        self,
        ring: Ring,
        create: Callable[[Path, ScanSpec, str], RawFile],
        flush_s: float,
        reserve_bytes: int,
        fsync_s: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._ring, self._create, self._clock = ring, create, clock
        self._flush_s, self._reserve_bytes, self._fsync_s = flush_s, reserve_bytes, fsync_s
        self._reader = ring.reader(RING_READER, lossless=True)
        self._file: RawFile | None = None
        self._path = Path()
        self._spec: ScanSpec | None = None
        self._unflushed_since: float | None = None
        self._synced_s = clock()
        self.next = self.safe = self._reader.position
        """Positions in the ring: of the next frame to write, and below which all frames are readable in the file."""
        self.free_bytes = 0
        """Free space on the disk at the last look."""

    @property
    def scan_open(self) -> bool:
        return self._file is not None

    def open(self, path: Path, spec: ScanSpec, started: str, resume: bool = False) -> None:
        """Make a file; the frames that the ring holds for this reader go into it.

        Raises BadInput when there is a file already, when it cannot be made, or, when the scan is to ``resume``, if
        the disk has no room for some frames.
        """
        if self._spec is not None and self.scan_open:
            raise BadInput(f"raw file {path}: the writer still writes scan {self._spec.scan_id}")
        free = free_bytes(path.parent)
        # More than ``_check_room`` asks for, so that the new file does not end with its first frames.
        needed = self._reserve_bytes * 5 // 8 + SEGMENT_BYTES + 4 * spec.frame_nbytes
        if resume and free < needed:
            raise BadInput(f"raw file {path}: only {free} bytes left on the disk")
        self._file = self._create(path, spec, started)
        self._path, self._spec, self.free_bytes = path, spec, free
        self.next = self.safe = self._reader.position
        self._unflushed_since = None

    def mark(self, mask: PixelMask) -> None:
        """Enter which pixels (rows, columns) of the detector are not to be used into the open file, if there is one."""
        if self._file is not None:
            self._file.mark(mask)
            if self._unflushed_since is None:
                self._unflushed_since = self._clock()

    def take(self, limit: int) -> int:
        """Write up to ``limit`` frames of the ring; gives how many it took."""
        file, spec = self._file, self._spec
        if file is None or spec is None:
            return 0
        taken, together = 0, self._ring.slots // FLUSHES_PER_RING
        while taken < limit:
            frames = self._next(min(limit - taken, max(1, together - (self.next - self.safe))))
            if not frames:
                break
            if ours := [frame for frame in frames if frame.meta.scan_id == spec.scan_id]:
                file.extend(ours)
                if self._unflushed_since is None:
                    self._unflushed_since = self._clock()
            self.next += len(frames)
            taken += len(frames)
            if self.next - self.safe >= together:
                self._flush(file)
        return taken

    def _next(self, most: int) -> list[Frame]:
        """The next frames of the ring, as views of their slots: none of them is given back yet."""
        frames: list[Frame] = []
        ahead = self.next - self._reader.position
        while len(frames) < most and (frame := self._reader.poll(ahead + len(frames))) is not None:
            frames.append(frame)
        return frames

    def flush_if_due(self) -> None:
        """Flush when frames have waited for ``flush_s``."""
        if self._file is not None and self.flush_in() <= 0:
            self._flush(self._file)

    def flush_in(self) -> float:
        """Seconds until the next flush is due; infinite when nothing waits."""
        if self._unflushed_since is None:
            return float("inf")
        return max(0.0, self._unflushed_since + self._flush_s - self._clock())

    def close(
        self,
        status: str,
        expected: int | None = None,
        frames: Mapping[str, ArrayLike] | None = None,
        ended: str = "",
        note: str = "",
    ) -> None:
        """Finish the file and give all frames back. ``frames``: None lists all others of the scan as missing."""
        file, spec = self._file, self._spec
        if file is None or spec is None:
            return
        self._flush(file)
        if frames is None:
            frames = {"missing": np.setdiff1d(np.arange(spec.frames), file.indices)}
        file.close(status, expected, frames, ended, note)
        self._file = None
        self._reader.release_to(self.next)

    def _flush(self, file: RawFile) -> None:
        self._unflushed_since = None
        file.flush()
        if file.removed():
            raise OSError(errno.ENOENT, "the file was removed or renamed")
        if self._fsync_s is not None and self._clock() - self._synced_s >= self._fsync_s:
            file.sync()
            self._synced_s = self._clock()
        self._reader.release_to(self.safe)
        self.safe = self.next
        self._check_room(file)

    def _check_room(self, file: RawFile) -> None:
        """Close the file while HDF5 is still sound: a disk that is really full would leave wrong frames in it."""
        self.free_bytes = free_bytes(self._path.parent)
        # Half of the reserve is for what the estimate before the scan did not count.
        if self.free_bytes < self._reserve_bytes // 2:
            text = f"only {self.free_bytes} bytes left, {self._reserve_bytes} are to stay free"
            file.close("incomplete", note=text)
            raise OSError(errno.ENOSPC, text)
