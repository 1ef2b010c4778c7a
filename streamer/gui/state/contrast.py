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
    """The levels of each picture by name. What is set by hand stays for the scans that follow.

    Linked are pictures of one unit: counts of a raw frame say nothing of the contrast of a plane.
    """

    def __init__(self) -> None:
        self.linked = False
        self._manual: dict[str, tuple[float, float]] = {}
        self._auto: dict[str, tuple[float, float]] = {}
        self._units: dict[str, str] = {}

    def measured(self, name: str, low: float, high: float, unit: str) -> None:
        """What the newest picture asks for."""
        self._auto[name], self._units[name] = (low, high), unit

    def forget(self, name: str) -> None:
        """There is no such picture any more."""
        self._auto.pop(name, None)
        self._units.pop(name, None)

    def _together(self, name: str) -> list[str]:
        """The pictures that have the contrast of this one."""
        if not self.linked or name not in self._auto:
            return [name]
        return [each for each in self._auto if self._units[each] == self._units[name]]

    def levels(self, name: str) -> Levels:
        """The contrast of a picture. Linked ones share the range that covers all of them."""
        if name in self._manual:
            return Levels(*self._manual[name], auto=False)
        auto = [self._auto.get(each, (0.0, 1.0)) for each in self._together(name)]
        return Levels(min(low for low, _ in auto), max(high for _, high in auto))

    def set_levels(self, name: str, low: float, high: float) -> None:
        """Set the contrast by hand until ``auto_levels``. An empty or infinite range is ignored."""
        if -1e30 < low < high < 1e30:
            self._manual |= dict.fromkeys(self._together(name), (low, high))

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
