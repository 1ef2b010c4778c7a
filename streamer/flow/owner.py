"""Whose scan it is: frames and end messages are those of the source that began it; another's are refused."""

from __future__ import annotations

from collections import Counter

MOST_NAMES = 16
OTHERS = "(others)"


class Owner:
    """The source (``src`` of the headers) of one scan, None until one has begun it. Used under the caller's lock."""

    def __init__(self) -> None:
        self.source: str | None = None
        self.foreign: Counter[str] = Counter()  # messages of other sources, by name; names beyond 16 are counted as one

    def begins(self, source: str) -> None:
        """A start message, or the first good frame. The first one to begin a scan keeps it."""
        if self.source is None:
            self.source = source

    def admits(self, source: str) -> bool:
        """Whether a message of this source belongs to the scan. One that does not is counted."""
        if self.source in (None, source):
            return True
        self.foreign[source if source in self.foreign or len(self.foreign) < MOST_NAMES else OTHERS] += 1
        return False
