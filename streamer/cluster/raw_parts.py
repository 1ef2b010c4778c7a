"""The raw files of the shards as the daemon sees its raw writer: opened, watched, closed and joined together."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from streamer.cluster.master import join_rows
from streamer.cluster.messages import Armed, Finish
from streamer.cluster.shards import Shards
from streamer.core.planes.plane import Plane
from streamer.frames import BadInput, ScanSpec, StreamerError
from streamer.io.raw.nxtomo import NO_FRAMES
from streamer.io.raw.pixel_mask import PixelMask
from streamer.io.raw.raw_scan import WriterEvent, WriterResult
from streamer.io.raw.segments import Account
from streamer.pipeline.layout.layout import Layout

log = logging.getLogger(__name__)

DRAIN_S = 60.0
FINISH_S = 3600.0
LOOK_S = 0.2


@dataclass(frozen=True)
class Beginning:
    """With what a scan is begun: the layout, whether its axis is known, planes in rows of the detector, and which of
    its pixels are not to be used.
    """

    layout: Layout
    known: bool
    planes: tuple[Plane, ...]
    mask: PixelMask | None


class RawParts:
    """See ``io.raw.raw_writer.RawWriter``."""

    restarts = 0

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self.beginning: Beginning | None = None
        """Of the next scan; to be set before it is opened."""
        self._account: Account | None = None
        self._path = Path()
        self._ended = False
        self._result = WriterResult(0)
        self.written = 0
        self._looked_s = 0.0
        self._seen = (0, 0)  # shards that were lost, and that were replaced, when last looked at
        self._armed: tuple[Armed, ...] = ()

    @property
    def pid(self) -> int:
        """Of the first shard; each has a writer of its own."""
        return self._shards.pids[0]

    @property
    def alive(self) -> bool:
        return self._shards.cutter.helper.alive

    @property
    def state(self) -> tuple[str, str]:
        if self._shards.lost > self._shards.replaced:
            return "recovering", "a shard is gone; another process takes its rows"
        return "ok", ""

    @property
    def safe_position(self) -> int:
        """The shards have acknowledged frames themselves: the scout's copies need not wait for anything."""
        return 2**62

    def notify(self) -> None:
        """The scout's frames go into no file."""

    def open(self, spec: ScanSpec, path: Path, started: str, timeout: float = 30.0, held: int | None = None) -> Path:
        if held is not None:
            raise BadInput(f"{path}: a scan that shards have begun is not taken up again; `streamer recover` joins it")
        begin = self.beginning
        assert begin is not None
        self._armed = self._shards.arm(spec, path, started, begin.layout, begin.known, begin.planes, begin.mask)
        self._account, self._path, self.written = Account(spec, spec.frames, "running", started=started), path, 0
        self._ended = False
        return path

    @property
    def plan(self) -> dict[str, str | float]:
        """How the shards will make the tomogram, and the memory that this takes them together."""
        ways = [str(armed.plan["tomogram"]) for armed in self._armed]
        return {"tomogram": ways[0], "memory_mb": sum(float(armed.plan["memory_mb"]) for armed in self._armed),
                "shards": len(ways)}  # fmt: skip

    def mark(self, mask: PixelMask) -> None:
        """The shards know it since they were armed."""

    def end(
        self,
        status: str,
        frames: Mapping[str, ArrayLike] = NO_FRAMES,
        ended: str = "",
        note: str = "",
        expected: int | None = None,
    ) -> None:
        """Remembered for ``await_end``: the shards may still have to write the tomogram from what they hold."""
        account = self._account
        if account is None or self._ended:
            return
        self._ended = True
        lists = {name: np.asarray(indices, np.int64) for name, indices in frames.items()}
        count = account.spec.frames if expected is None else expected
        self._account = Account(account.spec, count, status, lists, account.started, ended, note)

    def await_written(self) -> bool:
        """The scout reads what it missed when the file is closed."""
        return False

    def await_end(self) -> WriterResult:
        account, self._account = self._account, None
        if account is None:
            return self._result
        scan = self._shards.armed
        assert scan is not None
        problems: list[str] = []
        try:
            self._shards.detach()
            if not self._shards.drain(DRAIN_S):
                problems.append(f"rows wait for a shard that takes none for {DRAIN_S:g} s")
            unusable = tuple(int(index) for index in account.listed("unusable"))
            request = Finish(account.status, account.expected, account.ended, account.note, unusable)
            for finished in self._shards.finish(request, FINISH_S):
                problems += [finished.error] if finished.error else []
            joined = join_rows(self._path, account, list(zip(scan.blocks, scan.paths, strict=True)), scan.mask)
        except StreamerError as error:
            self._result = WriterResult(self.written, 0, str(error), len(scan.paths), sealed=False)
            return self._result
        came = np.setdiff1d(np.arange(account.expected), account.listed("missing", "corrupt"))
        lost = int(np.setdiff1d(came, joined.whole).size)
        problems += joined.problems
        if lost and not problems:
            problems.append(f"rows of {lost} frames lack, which /entry/streamer/missing_rows lists")
        self.written = len(joined.whole)
        self._result = WriterResult(self.written, lost, "; ".join(problems) if lost else "", len(scan.paths))
        return self._result

    def poll_events(self, timeout: float = 0.0) -> list[WriterEvent]:
        """What happened to the shards; ``written`` follows them a few times a second."""
        now, seen = time.monotonic(), (self._shards.lost, self._shards.replaced)
        events = []
        if seen[0] > self._seen[0]:
            events.append(WriterEvent("died", self.written, "a shard is gone; another process takes its rows"))
        self._seen = seen
        if self._account is not None and not self._ended and now - self._looked_s >= LOOK_S:
            self._looked_s = now
            self._look()
        return events

    def _look(self) -> None:
        try:
            self.written = min(part.written for part in self._shards.status())
        except StreamerError as error:
            log.debug("%s", error)

    def stop(self, timeout: float = 10.0) -> None:
        """The shards end with the daemon, see ``Shards.close``."""
