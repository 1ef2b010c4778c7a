"""Which frames of a running scan are of use, and what all of them show of beam, detector and angles."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np

from streamer.core.arrays import Array, Image
from streamer.core.quality.angles import AngleWatch
from streamer.core.quality.fields import light_in_darks, unlit_columns
from streamer.core.quality.projection_check import Look, ProjectionCheck, Unusable, is_ceiling
from streamer.frames import FrameMeta, ScanSpec
from streamer.schema import runs

LISTED = 8
"""Runs of frame indices of one cause that are named."""

LIT = 0.02
"""Share of the median flat above which a pixel has beam."""

BRIGHT = 99.0
"""Percentile of the open beam that must not saturate; single hot pixels do."""


class FrameChecks:
    """Looks at every projection of one scan when it comes. Not thread-safe."""

    def __init__(self, spec: ScanSpec, zingers_removed: bool) -> None:
        """``zingers_removed``: they do no harm then, and are not counted."""
        self._removed = zingers_removed
        self._spec = spec
        self.saturation = spec.saturation  # the level at which the detector is full; None: not known
        self._check: ProjectionCheck | None = None
        self._watch = AngleWatch()
        self._set_aside: dict[Unusable, list[int]] = {}
        self._top = -np.inf
        self._at_top = self._spikes = 0.0
        self._looked = 0
        self._noisy = False
        self.dark_light = self.unlit_columns = 0.0
        self._beam_level: float | None = None

    def begin(self, dark: Image | None, flat: Image | None, noise: float, noisy: bool) -> None:
        """Before the first projection: mean dark and flat (rows, columns), and the relative noise of the open beam.

        ``noisy``: the noise was measured, and is that of photons rather than of a computed beam.
        """
        self._noisy = noisy
        spec = self._spec
        self._check = ProjectionCheck(dark, flat, (spec.rows, spec.columns), noise, self.saturation, noisy)
        if flat is not None:
            level = np.zeros_like(flat) if dark is None else dark
            net = np.nan_to_num(flat - level)
            self.dark_light = light_in_darks(level, flat)
            self._beam_level = self._level_of(net, float(np.median(np.nan_to_num(level))))
            known = np.isnan(flat)  # defects that are no fault of the beam
            self.unlit_columns = unlit_columns((net > LIT * float(np.median(net))) | known)

    def _level_of(self, net: Image, dark: float) -> float | None:
        """Open beam ``net`` (rows, columns) above the level ``dark``, as a share of what the detector holds."""
        dtype = np.dtype(self._spec.dtype)
        full = self.saturation or (float(np.iinfo(dtype).max) if dtype.kind == "u" else None)
        return None if full is None or full <= dark else float(np.percentile(net, BRIGHT)) / (full - dark)

    @property
    def begun(self) -> bool:
        return self._check is not None

    def usable(self, metas: Sequence[FrameMeta], raw: Array) -> tuple[Sequence[FrameMeta], Array]:
        """Those of raw projections (n, rows, columns) that are to be folded in; after ``begin``."""
        assert self._check is not None
        use = [self._is_usable(meta, look) for meta, look in zip(metas, self._check.looks(raw), strict=True)]
        return (metas, raw) if all(use) else (list(compress(metas, use)), raw[np.array(use)])

    def _is_usable(self, meta: FrameMeta, look: Look) -> bool:
        assert self._check is not None
        cause = self._check.cause(look)
        if not np.isfinite(meta.angle_deg):
            cause = Unusable.NO_POSITION
        elif cause is None and self._watch.wrong(meta.index, meta.angle_deg):
            cause = Unusable.WRONG_ANGLE
        if cause is not None:
            self._set_aside.setdefault(cause, []).append(meta.index)
            return False
        self._looked += 1
        self._spikes += look.spikes
        if look.top > self._top:
            self._top, self._at_top = look.top, 0.0
        if look.top == self._top:
            self._at_top += look.at_top
        return True

    @property
    def set_aside(self) -> list[int]:
        """Indices of the frames that are of no use, in order."""
        return sorted(index for found in self._set_aside.values() for index in found)

    def by_cause(self) -> dict[str, str]:
        """The frames that are of no use by cause, all of them, as "70-72, 80"."""
        return {cause.value: runs(found) for cause, found in self._set_aside.items()}

    def findings(self) -> dict[str, Any]:
        """What they amount to so far, as entries of a Quality; None before the first projection."""
        looked = self._looked
        cut_off = is_ceiling(self._top, self._noisy, self.saturation)
        return {
            "unusable": {cause.value: runs(found, LISTED) for cause, found in self._set_aside.items()},
            "unusable_counts": {cause.value: len(found) for cause, found in self._set_aside.items()},
            "saturation": self._at_top * cut_off / looked if looked else None,
            "zingers": self._spikes / looked if looked and not self._removed else None,
            "dark_light": self.dark_light,
            "unlit_columns": self.unlit_columns,
            "beam_level": self._beam_level,
        }
