"""Options of the layout: the geometry of the scan."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from streamer.options import Options

MAX_TILT_DEG = 5.0


class LayoutOptions(Options):
    """The geometry of a scan, found in its projections or given."""

    geometry: Literal["auto", "plain", "half"] = "auto"
    """half: a full turn about an axis near an edge of the detector, with slices up to twice as wide; auto: half where
    the sample demands it"""
    tilt: Literal["auto", "off"] | Annotated[float, Field(ge=-MAX_TILT_DEG, le=MAX_TILT_DEG)] = "auto"
    """tilt of the rotation axis in the plane of the detector, in degrees; positive where its column grows from row to
    row; auto: measured"""
