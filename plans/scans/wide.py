"""Samples wider than the detector: tiles that are stitched, a full turn about an axis near the edge, a zoom."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bluesky.utils import short_uid

from streamer.frames import BadInput

from ..exposing import fly
from ..scan import ScanOutcome, Station, TomoScan
from ..stubs import Plan
from ..tomo import take_scan, tomo_fly
from .axes import axis_of, moved


@dataclass(frozen=True)
class Tile:
    """One tile of a mosaic: where the sample was, and how its scan went."""

    x_mm: float
    z_mm: float
    scan: ScanOutcome


def tile_places(columns: int, rows: int, step_x_mm: float, step_z_mm: float) -> list[tuple[float, float]]:
    """(x, z) in mm of each tile about the middle; row by row, so that z moves seldom. Raises BadInput."""
    if columns < 1 or rows < 1 or columns * rows < 2:
        raise BadInput(f"tomo_mosaic: {columns} × {rows} tiles; give two or more")
    if (columns > 1 and step_x_mm <= 0) or (rows > 1 and step_z_mm <= 0):
        raise BadInput("tomo_mosaic: give steps above 0 between the tiles, less than the field of view")
    return [
        (step_x_mm * (column - (columns - 1) / 2), step_z_mm * (row - (rows - 1) / 2))
        for row in range(rows)
        for column in range(columns)
    ]


def tomo_mosaic(
    station: Station,
    scan: TomoScan,
    columns: int = 2,
    rows: int = 1,
    step_x_mm: float = 0.0,
    step_z_mm: float = 0.0,
    md: dict[str, Any] | None = None,
) -> Plan:
    """One scan for each tile of a field of ``columns`` × ``rows`` tiles about ``scan.x_in_mm``. Returns Tiles.

    The axis rides on ``sample_x``, so every tile sees another strip of the same projections; ``streamer stitch`` joins
    them. A step is a tile's width less the overlap. The verdict on a tile says little, as the sample is cut off in it.
    Raises BadInput.
    """
    places = tile_places(columns, rows, step_x_mm, step_z_mm)
    stage = axis_of(station, "sample_z", "tomo_mosaic") if rows > 1 else None
    mosaic, tiles = short_uid("mosaic"), list[Tile]()
    for number, (x_mm, z_mm) in enumerate(places):
        told = {**scan.metadata, "mosaic": mosaic, "tile_x_mm": x_mm, "tile_z_mm": z_mm}
        tile = replace(scan, x_in_mm=scan.x_in_mm + x_mm, metadata=told)
        entries = {"mosaic": mosaic, "tile": number, "tiles": len(places), **(md or {})}

        def take(tile: TomoScan = tile, entries: dict[str, Any] = entries) -> Plan:
            return (yield from take_scan(station, tile, "tomo_mosaic", fly, entries))

        outcome = yield from moved([] if stage is None else [(stage, z_mm)], take)
        tiles.append(Tile(x_mm, z_mm, outcome))
    return tiles


def tomo_360_offset(station: Station, scan: TomoScan, offset_mm: float, md: dict[str, Any] | None = None) -> Plan:
    """A full turn with the axis ``offset_mm`` beside the middle of the detector. Returns a ScanOutcome.

    Opposite views see opposite halves of the sample, so that the tomogram is up to twice as wide as the detector. The
    daemon finds the axis and joins the views (half acquisition). ``scan.projections`` are those of the full turn.
    """
    turn = 360.0 if scan.range_deg > 0 else -360.0
    wide = replace(scan, x_in_mm=scan.x_in_mm + offset_mm, range_deg=turn)
    return (yield from take_scan(station, wide, "tomo_360_offset", fly, {"offset_mm": offset_mm, **(md or {})}))


@dataclass(frozen=True)
class ZoomOutcome:
    """The scans of a zoom: of the whole sample, and of the box."""

    overview: ScanOutcome
    box: ScanOutcome


def tomo_zoom(
    station: Station,
    scan: TomoScan,
    box_mm: Sequence[float],
    zoom: float,
    md: dict[str, Any] | None = None,
) -> Plan:
    """An overview, then the box about ``box_mm`` (x, y, z) ``zoom`` times as large. Returns a ZoomOutcome.

    ``box_mm`` counts from the middle of the tomogram of the overview, as its axes do. The stages on top of the
    rotation bring the box onto the axis, and are brought back however the scan ends. What lies around the box is in
    every projection: the daemon carries its edges on, which is good for a look; ``streamer stitch --overview``
    continues them by the overview, for numbers. Both scans have the same angles. Raises BadInput.
    """
    if len(box_mm) != 3:
        raise BadInput(f"tomo_zoom: the box has {len(box_mm)} coordinates; give x, y and z in mm")
    if not zoom > 1:
        raise BadInput(f"tomo_zoom: zoom is {zoom:g}; give more than 1")
    x, y, z = (float(place) for place in box_mm)
    names = ("top_x", "top_y", "sample_z", "magnification")
    axes = [axis_of(station, name, "tomo_zoom") for name in names]
    overview = yield from tomo_fly(station, scan, md)
    told = {**scan.metadata, "box_x_mm": x, "box_y_mm": y, "box_z_mm": z, "overview": overview.scan_id}
    part = replace(scan, metadata=told, stop_early=False, stop_spoiled=False)
    entries = {"overview": overview.scan_id, "box_mm": [x, y, z], "zoom": zoom, **(md or {})}

    def take() -> Plan:
        return (yield from take_scan(station, part, "tomo_zoom", fly, entries))

    box = yield from moved(list(zip(axes, (-x, -y, -z, zoom), strict=True)), take)
    return ZoomOutcome(overview, box)
