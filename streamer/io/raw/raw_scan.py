"""One scan as the raw writer's parent sees it: how far it is written, and what stands in the way. No processes here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from streamer.frames import ScanSpec


@dataclass(frozen=True, slots=True)
class WriterEvent:
    """``kind``: "written" (more frames are safe), "error" (a file was given up), "died" or "hung" (the process is
    replaced), "failed" (the ring is not held back any more, frames are being lost).
    """

    kind: str
    written: int
    text: str = ""
    errno: int | None = None


@dataclass(frozen=True, slots=True)
class WriterResult:
    """How a raw file ended: frames that are in it, and frames that came through the ring and are not; ``error`` says
    why. ``segments`` is the number of files. ``sealed``: the numbers were read from the files.
    """

    written: int
    lost: int = 0
    error: str = ""
    segments: int = 1
    sealed: bool = True


class RawScan:
    """Positions are those of the ring."""

    def __init__(self, spec: ScanSpec, path: Path, started: str, position: int, held: int | None) -> None:
        """``held``: frames in files of an earlier daemon; None for a new scan."""
        self.spec, self.path, self.started = spec, path, started
        self.resume, self._left = held is not None, spec.frames - (held or 0)
        self.mask = b""  # packed; see ``pixel_mask``
        self.segments = 0  # opened by processes of this daemon
        self.opened = self.opening = self.finishing = False  # of the present process
        self.failed = False  # frames are being lost
        self.refusal = ""  # why not even the first file could be made
        self.error = ""  # the newest trouble
        self.trouble_s: float | None = None  # since when nothing can be written
        self.end: dict[str, Any] | None = None  # the arguments of ``finish``
        self.upto = 0
        self.result: WriterResult | None = None
        self._low = ""
        self._safe = self._first_gap = position  # the first gap: where frames were lost for the first time
        self._opened_at, self._lost = position, 0
        self._vain = 0  # attempts to finish the files

    def command(self) -> dict[str, Any]:
        return {"spec": self.spec.to_dict(), "path": str(self.path), "started": self.started}

    @property
    def state(self) -> tuple[str, str]:
        if self.failed:
            return "failed", self.error
        if self.trouble_s is not None:
            return "recovering", self.error
        return ("low_space", self._low) if self._low else ("ok", "")

    @property
    def busy(self) -> bool:
        """Whether the process has a file open, or a command to work on."""
        return self.opened or self.opening or self.finishing

    @property
    def written(self) -> int:
        return self._safe - self._opened_at - self._lost

    @property
    def safe_position(self) -> int:
        return min(self._safe, self._first_gap) if self._lost else self._safe

    def expects_progress(self, committed: int) -> bool:
        return self.opening or self.finishing or (self.opened and committed > self._safe)

    def has_opened(self, position: int) -> None:
        """The process has a new file, and writes the frames from ``position`` on."""
        if self.failed and position > self._safe:
            if not self._lost:
                self._first_gap = self._safe
            self._lost += position - self._safe
        # Without a failure, frames below it were safe before the last process could say so.
        self._safe = max(self._safe, position)
        self.opened, self.opening, self.failed = True, False, False
        self.segments += 1

    def has_written(self, safe: int, free_bytes: int, reserve_bytes: int) -> bool:
        """All frames below ``safe`` are readable. Gives whether that is news."""
        if not self.opened or safe < self._safe:
            return False  # a successor writes the newest frames again
        self.trouble_s = None
        news, self._safe = safe > self._safe, safe
        needed = (self._left - safe + self._opened_at) * self.spec.frame_nbytes + reserve_bytes // 2
        self._low = ""
        if free_bytes < needed:
            self._low = f"{free_bytes / 1e9:.2f} GB free, the rest of the scan needs {needed / 1e9:.2f} GB"
        return news

    def has_trouble(self, why: str, now: float) -> None:
        """Nothing can be written for now."""
        self.error = why
        if self.trouble_s is None:
            self.trouble_s = now

    def lets_frames_go(self, position: int) -> None:
        """The ring is not held back any more; the frames from ``position`` on may be lost."""
        self.failed, self._safe = True, max(self._safe, position)

    def ends(
        self,
        upto: int,
        status: str,
        frames: Mapping[str, ArrayLike],
        ended: str,
        note: str,
        expected: int | None,
    ) -> None:
        """No frames come from the position ``upto`` on; for the rest see ``WriterProcess.end``."""
        lists = {name: np.asarray(indices, np.int64).tobytes() for name, indices in frames.items()}
        self.end = {"status": status, "frames": lists, "ended": ended, "note": note}
        self.end["expected"] = self.spec.frames if expected is None else expected
        self.upto = upto

    def lost_its_process(self) -> None:
        self._vain += self.finishing and not self.opened
        self.opened = self.opening = self.finishing = False

    def was_refused(self, text: str) -> None:
        """The process could not do what it was asked to."""
        self._vain += self.finishing
        self.opening = self.finishing = False
        if self.segments:
            self.error = self.error or text
        else:
            self.refusal = text

    @property
    def in_vain(self) -> bool:
        """The files could not be finished so often that it is no use to try again."""
        return self._vain > 3

    def has_sealed(self, message: dict[str, Any]) -> None:
        lost, problems = message["lost"], message["problems"]
        error = "; ".join(dict.fromkeys(filter(None, (self.error, *problems)))) if lost else ""
        if lost and not error:
            error = "frames are not in the file"
        self.result = WriterResult(message["written"], lost, error, message["segments"])

    def give_up(self, committed: int, why: str) -> None:
        """Nobody can say what the files hold."""
        error = f"{why}; `streamer recover` says later what the file holds"
        lost = committed - self._opened_at - self.written
        self.result = WriterResult(self.written, lost, error, self.segments, sealed=False)
