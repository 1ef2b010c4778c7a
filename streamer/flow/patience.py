"""How long a scan waits for its source. Time is an argument; only time in which a frame could be taken counts."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_STEP_S = 1.0
"""A longer time between two looks at the clock means that this process stood still, not that the source was silent."""


@dataclass(frozen=True)
class PatienceLimits:
    """Seconds of silence after which a scan is closed."""

    armed_s: float  # it is armed and has no frame yet
    stall_s: float  # frames lack, and nobody said that no more will come
    end_s: float  # every frame is here and the end message lacks, or the other way round


class Patience:
    """Counts the silence of a source. Used under the caller's lock."""

    def __init__(self, limits: PatienceLimits, now: float) -> None:
        self.limits = limits
        self.silence_s = 0.0
        self._now = now

    def heard(self) -> None:
        """A sign of life: the silence begins anew."""
        self.silence_s = 0.0

    def wait(self, now: float, held: bool) -> None:
        """Look at the clock. ``held``: since the last look frames could not be taken, whatever the source did."""
        step, self._now = now - self._now, now
        if not held:
            self.silence_s += min(max(step, 0.0), LONGEST_STEP_S)

    def over(self, begun: bool, ending: bool) -> bool:
        """Whether it was silent for too long.

        ``begun``: a frame has come; ``ending``: every frame has come, or the end message.
        """
        limits = self.limits
        return self.silence_s > (limits.end_s if ending else limits.stall_s if begun else limits.armed_s)
