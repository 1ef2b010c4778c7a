"""Tomograms of past scans, by scan id, for pages that look into them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.frames import NAME, BadInput
from streamer.web.geometry import Volume, planes_at
from streamer.web.messages import Cut, jpeg, with_picture
from streamer.web.query import read_box, read_most
from streamer.web.tomogram import Brick, Picture, Tomogram

OPEN_AT_MOST = 4
GREY = (0.5, 99.7)


class Archive:
    """``file_of`` gives the tomogram of a scan that is known. One piece of work at a time, on any thread."""

    def __init__(self, file_of: Callable[[str], Path | None]) -> None:
        self._file_of = file_of
        self._open: OrderedDict[str, Tomogram] = OrderedDict()
        self._whole: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def brick(self, scan_id: str, query: Mapping[str, str]) -> bytes:
        """A box of a tomogram as a message: its header, then its voxels (z, y, x) as bytes.

        ``query`` has ``z``, ``y`` and ``x`` as FIRST:END, each the whole side where it lacks, and ``most``, the voxels
        that a side of the answer may have. Raises BadInput.
        """
        with self._lock:
            tomogram = self._tomogram(scan_id)
            box = read_box(query, tomogram.data.shape) or tomogram.whole
            most = read_most(query)
            whole = (scan_id, most) if tomogram.within(box) == tomogram.whole else None
            if whole is not None and whole in self._whole:
                return self._whole[whole]
            brick = tomogram.brick(box, most)
            message = with_picture(_header(scan_id, tomogram, brick), brick.voxels.tobytes())
            if whole is not None:
                self._whole[whole] = message
                while len(self._whole) > OPEN_AT_MOST:
                    self._whole.popitem(last=False)
            return message

    def cut(self, wish: Cut) -> dict[str, bytes]:
        """Planes through the tomogram of a past scan, as messages by plane. Raises BadInput."""
        with self._lock:
            tomogram = self._tomogram(wish.scan_id)
            volume = Volume(tomogram.data.shape[0], tomogram.data.shape[2])
            place = volume.within(wish.place)
            return {
                plane.name: _picture(wish.scan_id, tomogram, plane.name, tomogram.cut(plane))
                for plane in planes_at(volume, place)
            }

    def _tomogram(self, scan_id: str) -> Tomogram:
        path = self._file_of(scan_id) if NAME.fullmatch(scan_id) else None
        if path is None:
            raise BadInput(f"there is no tomogram of scan {scan_id[:100]!r}")
        if scan_id not in self._open:
            self._open[scan_id] = Tomogram.open(path)
            while len(self._open) > OPEN_AT_MOST:
                self._open.popitem(last=False)
        self._open.move_to_end(scan_id)
        return self._open[scan_id]


def _header(scan_id: str, tomogram: Tomogram, brick: Brick) -> dict[str, object]:
    return {
        "scan_id": scan_id,
        "shape": brick.voxels.shape,
        "whole": tomogram.data.shape,
        "box": brick.box,
        "step": brick.step,
        "lo": brick.lo,
        "hi": brick.hi,
        "unit": tomogram.unit,
        "pixel_size_m": tomogram.pixel_size_m,
    }


def _picture(scan_id: str, tomogram: Tomogram, plane: str, values: Picture) -> bytes:
    lo, hi = (float(level) for level in np.percentile(values[::2, ::2], GREY))
    hi = hi if hi > lo else lo + 1.0
    grey: NDArray[np.uint8] = np.clip((values - lo) * (255 / (hi - lo)), 0, 255).astype(np.uint8)
    header = {
        "plane": plane, "scan_id": scan_id, "sample": "", "shape": values.shape, "lo": lo, "hi": hi, "past": True,
        "unit": tomogram.unit, "bin": 1, "pixel_size_m": tomogram.pixel_size_m,
    }  # fmt: skip
    return with_picture(header, jpeg(grey))
