"""How long the raw writer may be silent until it counts as hanging."""

from __future__ import annotations

START_S = 60.0  # what a process may take to start on a busy machine
LONGEST_HANG_S = 60.0


class WriterPulse:
    """Of one process after the other. ``ready``: the present one has started; ``hangs`` of them hung in a row."""

    def __init__(self, flush_s: float, hang_s: float) -> None:
        """``flush_s`` between signs of life while frames come; ``hang_s`` beyond that is too long, at first."""
        self._flush_s, self._hang_s = flush_s, hang_s
        self.ready = False
        self.hangs = 0
        self._heard_s = 0.0

    def starts(self, now: float) -> None:
        """A new process starts."""
        self.ready, self._heard_s = False, now

    def heard(self, now: float) -> None:
        """It said something, or was given something to do."""
        self._heard_s = now

    def silence_s(self, now: float, busy: bool) -> float:
        """For how long it has said nothing; one that has started and is not ``busy`` need not say anything."""
        if self.ready and not busy:
            self._heard_s = now
        return now - self._heard_s

    def hangs_after(self, silence_s: float) -> bool:
        """Whether it hangs, which is counted. The next ones are given more time: the disk may be slow."""
        patience_s = self._flush_s + min(self._hang_s * 2.0**self.hangs, LONGEST_HANG_S)
        hangs = silence_s > (patience_s if self.ready else START_S)
        self.hangs += hangs
        return hangs
