"""How the projections of a scan are laid out for the reconstruction: plain, or as parts of a field of view up to twice
as wide (360° with the axis near an edge); straightened, where the axis is tilted; carried on, where the sample is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.alignment.estimate import CenterEstimate
from streamer.core.alignment.half_acquisition import OffsetWeights, OppositeViews
from streamer.core.alignment.tilt import MAX_TILT_RAD, Straighten, Tilt, fit_axis
from streamer.core.alignment.truncation import Edge, measure_edges
from streamer.core.arrays import Image
from streamer.core.fbp.ramp_filter import angular_weights
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.layout.options import LayoutOptions

FULL_TURN_DEG = 350.0
"""Less than this, and what only one of two opposite views can see would lack a wedge."""

SURE = 0.5
"""Confidence from which an axis or a tilt is acted upon."""

MIN_GAIN = 1.05
"""Width of the field of view, over the detector's, from which half acquisition is worth it."""

CUT = 0.05
"""Share of the projections that must reach an edge for the sample to count as wider than the detector there."""

MIN_TILT_RAD = float(np.deg2rad(0.05))
"""A smaller tilt blurs a detector of 1000 rows by less than half a pixel at its ends; turning it costs sharpness."""

MIN_LEAN_PX = 0.1
"""A tilt that moves the axis by less at the uppermost and lowest row is left alone, however large."""


@dataclass(frozen=True)
class Layout:
    """What is done to prepared attenuation (rows, columns) of the detector before it is reconstructed, in this order:
    straightened by ``tilt_rad``, and, where ``half``, faded and laid into rows that are ``width`` wide.

    ``detector_center`` is the axis at the middle row, a detector column. ``extend`` is for the ramp filter: the sample
    is cut off at an edge of the laid-out rows. ``reason`` says in words why it was chosen.
    """

    rows: int
    columns: int
    detector_center: float
    half: bool = False
    extend: bool = False
    tilt_rad: float = 0.0
    reason: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not np.isfinite(self.detector_center):
            raise BadInput(f"the axis is at column {self.detector_center}, which is no number")
        if self.half:
            OffsetWeights(self.columns, self.detector_center)
        if self.tilt_rad:
            self._straighten(1)

    @cached_property
    def _wide(self) -> OffsetWeights | None:
        return OffsetWeights(self.columns, self.detector_center) if self.half else None

    @property
    def width(self) -> int:
        """Columns of laid-out projections, and of slices."""
        return self.columns if self._wide is None else self._wide.width

    @property
    def period(self) -> float:
        """Radian after which a view repeats: π, or 2π where opposite views see different parts."""
        return 2 * np.pi if self.half else np.pi

    @property
    def needs_all_rows(self) -> bool:
        """A row of the result is made from several rows of the detector; ``source_rows`` says from which."""
        return self.tilt_rad != 0.0

    @property
    def changes(self) -> bool:
        """``place`` gives anything else than it is given."""
        return self.half or self.needs_all_rows

    def center(self, detector_column: float | None = None) -> float:
        """Column of laid-out projections where a detector column comes to lie; by default that of the axis.

        An axis that turns out to be a few tenths of a pixel from ``detector_center`` may be given here; for more, lay
        out anew (``at``).
        """
        column = self.detector_center if detector_column is None else detector_column
        return column if self._wide is None else self._wide.first + column

    def at(self, detector_center: float) -> Layout:
        """The same layout for an axis elsewhere. Raises BadInput when half acquisition is impossible there."""
        return replace(self, detector_center=detector_center)

    def weights(self, angle_rad: NDArray[Any]) -> NDArray[np.float64]:
        """Quadrature weights (radian) of projections laid out in this way; see ``filters.angular_weights``."""
        return angular_weights(angle_rad, self.period)

    def source_rows(self, first: int, last: int) -> tuple[int, int]:
        """Detector rows [a, b) that ``place`` must be given so that the rows [first, last) come out right."""
        return self._straighten(1).source_rows(first, last) if self.tilt_rad else (first, last)

    def place(self, attenuation: Image, out: Image | None = None, first_row: int = 0, threads: int = 1) -> Image:
        """Attenuation (rows, columns) or (projections, rows, columns) float32 laid out, ``width`` columns wide.

        The rows are those of the detector from ``first_row`` on. Written to ``out`` when given, which must not be the
        input; otherwise the result is a new array, or the input itself where nothing ``changes``. Raises BadInput when
        the shapes do not fit.
        """
        if attenuation.ndim not in (2, 3) or attenuation.shape[-1] != self.columns:
            raise BadInput(f"projections {attenuation.shape} given to a layout for {self.columns} columns")
        if not 0 <= first_row <= self.rows - attenuation.shape[-2]:
            raise BadInput(f"{attenuation.shape[-2]} rows from row {first_row} of a detector of {self.rows} rows")
        wanted = (*attenuation.shape[:-1], self.width)
        if out is not None and out.shape != wanted:
            raise BadInput(f"projections {attenuation.shape} become {wanted} and do not fit into {out.shape}")
        source = self._straight(attenuation, None if self.half else out, first_row, threads)
        if self._wide is not None:
            return self._wide.place(source, out)
        if out is None or source is out:
            return source
        out[...] = source
        return out

    def to_dict(self) -> dict[str, Any]:
        """What a reader of the tomogram needs to repeat it."""
        return {
            "geometry": "half acquisition" if self.half else "plain",
            "detector_center_px": self.detector_center,
            "center_in_layout_px": self.center(),
            "width_px": self.width,
            "extended_edges": self.extend,
            "axis_tilt_deg": float(np.rad2deg(self.tilt_rad)),
            "reason": self.reason,
        }

    def _straighten(self, threads: int) -> Straighten:
        return Straighten(self.rows, self.columns, Tilt(self.detector_center, self.tilt_rad, 0.0, 1.0), threads)

    def _straight(self, attenuation: Image, out: Image | None, first_row: int, threads: int) -> Image:
        if not self.tilt_rad:
            return attenuation
        straighten = self._straighten(threads)
        if attenuation.ndim == 2:
            return straighten.apply(attenuation, out, first_row)
        result = np.empty(attenuation.shape, np.float32) if out is None else out
        for frame, target in zip(attenuation, result, strict=True):
            straighten.apply(frame, target, first_row)
        return result


def widest(spec: ScanSpec, options: LayoutOptions | None = None, center_px: float | None = None) -> int:
    """The most columns that ``choose_layout`` may come to lay a scan out in: for memory and disk, before it begins."""
    options = LayoutOptions() if options is None else options
    if options.geometry == "plain" or (options.geometry == "auto" and not is_full_turn(spec)):
        return spec.columns
    if center_px is None:
        return 2 * spec.columns
    return max(spec.columns, _wide_columns(spec.columns, center_px))


def tilt_of_views(views: OppositeViews | None, band_rows: Sequence[float], middle_row: float) -> Tilt:
    """Tilt of the axis of a full-turn scan, wherever the axis lies, from the axis in each row of the views.

    ``band_rows`` are the detector rows of the views. Confidence 0 when fewer than three of them tell. Raises BadInput
    when there are not as many.
    """
    if views is not None and len(band_rows) != views.rows:
        raise BadInput(f"{views.rows} sinograms of {len(band_rows)} rows")
    found = [] if views is None else [(row, views.overlap(band).estimate) for band, row in enumerate(band_rows)]
    known = [(row, e.center) for row, e in found if e.center is not None and _sure(e)]
    if len(known) < 3:
        return Tilt(0.0, 0.0, float("inf"), 0.0)
    return fit_axis([row for row, _ in known], [center for _, center in known], middle_row)


@dataclass(frozen=True)
class Evidence:
    """What has come of a scan, as far as it tells the layout. Called for only where it is needed: ``views``, opposite
    views of detector rows, None where there are too few; and ``tilt``, the axis' from whole projections.

    ``angle_rad`` of all projections; ``edges``, left and right, that some of them show; ``estimate`` of the axis by the
    methods that expect it near the middle; ``band_rows`` the detector rows of ``views``, where the tilt of half
    acquisition is to be told from them; ``center_px`` the column of the axis where it was given, not to be looked for.
    """

    angle_rad: NDArray[np.float64]
    edges: tuple[Edge, Edge]
    estimate: CenterEstimate
    views: Callable[[], OppositeViews | None]
    tilt: Callable[[], Tilt | None]
    band_rows: Sequence[float] | None = None
    center_px: float | None = None


def choose_layout(
    spec: ScanSpec,
    angle_rad: NDArray[Any],
    sinograms: Image,
    estimate: CenterEstimate,
    options: LayoutOptions | None = None,
    tilt: Tilt | None = None,
    band_rows: Sequence[float] | None = None,
    center_px: float | None = None,
) -> Layout:
    """``best_layout`` by ``sinograms`` (projections, rows or bands of rows, columns), attenuation at ``angle_rad``; the
    ``tilt`` as ``find_tilt`` gives it from whole projections; ``center_px`` the axis, where it was given. Raises
    BadInput when shapes do not belong together.
    """
    angles = np.asarray(angle_rad, np.float64).ravel()
    if sinograms.ndim != 3 or sinograms.shape[2] != spec.columns or len(sinograms) != angles.size:
        raise BadInput(f"sinograms {sinograms.shape} with {angles.size} angles of a scan of {spec.columns} columns")
    views = cache(lambda: OppositeViews.of(sinograms, angles))
    seen = Evidence(angles, measure_edges(sinograms), estimate, views, lambda: tilt, band_rows, center_px)
    return best_layout(spec, seen, options)


def best_layout(spec: ScanSpec, seen: Evidence, options: LayoutOptions | None = None) -> Layout:
    """The layout for what has come of a scan.

    Half acquisition is taken when a full turn was announced, the sample reaches the edge that is near the axis, the
    axis was found with a confidence of 0.5 from opposite views, and the field of view gains 5 %. The tilt is measured
    in these views then, else in whole projections. It is applied from a confidence of 0.5, 0.05°, three standard errors
    and a tenth of a pixel at the ends of the axis. What is not known stays plain and upright about the estimate, the
    announced axis or the middle of the detector; ``reason`` says so.
    """
    options = LayoutOptions() if options is None else options
    half, center, why = _geometry(spec, seen, options)
    tilt = None
    if options.tilt == "auto":
        in_views = half and seen.band_rows is not None
        tilt = tilt_of_views(seen.views(), seen.band_rows or (), (spec.rows - 1) / 2) if in_views else seen.tilt()
    turn, about = _tilt(spec, options, tilt)
    if turn and tilt is not None and half and seen.center_px is None:
        center = tilt.center
    # In half acquisition the sample is always cut at the edge near the axis, where the other view sees it.
    far = [seen.edges[0 if center > (spec.columns - 1) / 2 else 1]] if half else seen.edges
    plan = Layout(spec.rows, spec.columns, center, half, False, turn, why + about)
    return replace(plan, **_extension(far, plan))


def _extension(edges: Sequence[Edge], plan: Layout) -> dict[str, Any]:
    """Whether the sample's edges are to be carried on, and why: the error of doing so against that of a sudden end."""
    worst = max(edges, key=lambda edge: edge.share * edge.beyond_px)
    if worst.share < CUT:
        return {}
    cut = f"{plan.reason}; sample cut off in {worst.share:.0%} of the projections"
    # What is carried on over half a width, as a cosine, adds up to a quarter of the width.
    if worst.beyond_px < plan.width / 8:
        return {"reason": f"{cut}, but little lies beyond"}
    return {"extend": True, "reason": f"{cut}: edges carried on"}


def _geometry(spec: ScanSpec, seen: Evidence, options: LayoutOptions) -> tuple[bool, float, str]:
    """Half acquisition or not, the axis, and why."""
    edges, estimate = seen.edges, seen.estimate
    middle = (spec.columns - 1) / 2
    known = [c for c in (seen.center_px, estimate.center, spec.center_px) if c is not None]
    plain = known[0] if known else middle
    axis = "" if known else "; axis unknown: middle of the detector"
    asked = options.geometry == "half"
    against = ""
    if options.geometry == "plain":
        against = "asked for"
    elif not asked and not is_full_turn(spec):
        against = f"a scan of {abs(spec.range_deg):g}°"
    elif not asked and max(edge.share for edge in edges) < CUT:
        against = "the sample is within the detector"
    if against:
        return False, plain, f"plain: {against}{axis}"
    center, source = _axis(seen, options)
    if center is None:
        wish = "half acquisition was asked for, but " if asked else ""
        return False, plain, f"plain: {wish}{source}{axis}"
    width = _wide_columns(spec.columns, center)
    if not width:
        return (
            False,
            center,
            f"plain: half acquisition was looked for, but the axis at {center:.1f} is not on the detector",
        )
    if not asked and edges[1 if center > middle else 0].share < CUT:
        against = "the sample is within what all projections see"
    elif not asked and width < MIN_GAIN * spec.columns:
        against = f"axis {abs(center - middle):.1f} px from the middle, hardly a wider view"
    if against:
        return False, center, f"plain: {against}"
    covered = np.rad2deg(angular_weights(seen.angle_rad, 2 * np.pi).sum())
    return True, center, f"half acquisition: {source}, {width} columns, {covered:.0f}° of 360° covered"


def _axis(seen: Evidence, options: LayoutOptions) -> tuple[float | None, str]:
    """The axis of a full turn, anywhere on the detector, and where it is from; or why it is not known."""
    if seen.center_px is not None:
        return seen.center_px, "axis given"
    views, estimate = seen.views(), seen.estimate
    found = None if views is None else views.overlap().estimate
    if found is not None and _sure(found):
        return found.center, f"axis found by opposite views with {found.confidence:.2f}"
    if options.geometry == "half" and _sure(estimate):
        return estimate.center, f"axis found by {estimate.method} with {estimate.confidence:.2f}"
    return None, f"{seen.angle_rad.size} projections do not tell how opposite views overlap"


def _tilt(spec: ScanSpec, options: LayoutOptions, tilt: Tilt | None) -> tuple[float, str]:
    if options.tilt == "off":
        return 0.0, ""
    if not isinstance(options.tilt, str):
        return float(np.deg2rad(options.tilt)), f"; tilt of {options.tilt:g}° given"
    if tilt is None or tilt.confidence < SURE:
        return 0.0, ""
    angle = abs(tilt.tilt_rad)
    if angle < max(MIN_TILT_RAD, 3 * tilt.sigma_rad) or angle * spec.rows / 2 < MIN_LEAN_PX or angle > MAX_TILT_RAD:
        return 0.0, f"; tilt of {np.rad2deg(tilt.tilt_rad):.3f}° left alone"
    return tilt.tilt_rad, f"; tilt of {np.rad2deg(tilt.tilt_rad):.3f}° corrected"


def is_full_turn(spec: ScanSpec) -> bool:
    """Whether the announced angles see every ray from both sides."""
    return abs(spec.range_deg) * (1 + 1 / spec.projections) >= FULL_TURN_DEG


def _wide_columns(columns: int, center: float) -> int:
    """Width of half acquisition about an axis, 0 where it is not on the detector."""
    try:
        return OffsetWeights(columns, center).width
    except BadInput:
        return 0


def _sure(estimate: CenterEstimate) -> bool:
    return estimate.confidence >= SURE
