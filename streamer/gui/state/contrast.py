"""Contrast of the pictures: automatic, or set by hand and kept. No Qt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Levels:
    """The contrast of one picture."""

    low: float
    high: float
    auto: bool = True


class Contrast:
    """The levels of each picture by name. What is set by hand stays for the scans that follow."""

    def __init__(self) -> None:
        self.linked = False
        self._manual: dict[str, tuple[float, float]] = {}
        self._auto: dict[str, tuple[float, float]] = {}

    def measured(self, name: str, low: float, high: float) -> None:
        """What the newest picture asks for."""
        self._auto[name] = (low, high)

    def levels(self, name: str) -> Levels:
        """The contrast of a picture. Linked ones share the range that covers all of them."""
        if name in self._manual:
            return Levels(*self._manual[name], auto=False)
        auto = list(self._auto.values()) if self.linked else [self._auto.get(name, (0.0, 1.0))]
        if not auto:
            return Levels(0.0, 1.0)
        return Levels(min(low for low, _ in auto), max(high for _, high in auto))

    def set_levels(self, name: str, low: float, high: float) -> None:
        """Set the contrast by hand until ``auto_levels``. An empty or infinite range is ignored."""
        if -1e30 < low < high < 1e30:
            for each in self._auto if self.linked and name in self._auto else (name,):
                self._manual[each] = (low, high)

    def auto_levels(self, name: str | None = None) -> None:
        """Return to automatic contrast, of one picture or of all."""
        if name is None:
            self._manual.clear()
        else:
            self._manual.pop(name, None)

    def keep_levels(self) -> None:
        """Hold the contrast that is shown now, for the scans that follow as well."""
        self._manual = {name: (shown.low, shown.high) for name in self._auto for shown in [self.levels(name)]}

    @property
    def manual(self) -> bool:
        return any(name in self._manual for name in self._auto)
