"""Raw frames to prepared attenuation, and corrections of stored attenuation by what becomes known later.

Of one projection, in this order: darks, flats, logarithm and dead pixels (``FlatFieldCorrection``), zingers, drift of
the beam, phase retrieval. Later, when a stored projection is read again: flats that came after the projections,
interpolated with those before, and the offsets of detector columns that the mean of all projections shows. Stripes are
measured before phase retrieval, which smears them, and their offsets pass through its linear part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.arrays import Array, Image, Mask, Values
from streamer.core.backend.on_device import OnDevice, Projections
from streamer.core.preprocessing.eigen_flats import MOST_FLATS
from streamer.core.preprocessing.flat_field import NO_MOMENTS, FlatFieldCorrection, row_moments_of
from streamer.core.preprocessing.nonfinite import fill_nonfinite
from streamer.core.preprocessing.paganin import PhaseSolver
from streamer.core.preprocessing.stripes import StripeCount, remove_stripes
from streamer.core.preprocessing.zingers import beam_noise, remove_zingers
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.preparation.beam_drift import SINGLES_BYTES, BeamDriftCorrection, MeanFrame
from streamer.pipeline.preparation.darks_flats import DarksAndFlats
from streamer.pipeline.preparation.device_corrections import DeviceCorrections
from streamer.pipeline.preparation.late_corrections import DeferredCorrections, only_after, two_sets
from streamer.pipeline.preparation.optics import scan_optics
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.preparation.projection_order import ProjectionOrder
from streamer.pipeline.preparation.raw_projections import RawPlanes, RawProjections
from streamer.pipeline.preparation.row_blocks import RowPreparation
from streamer.pipeline.preparation.stripe_offsets import StripeOffsets

HALO_DECAYS = 12.0
"""Decay lengths of the phase filter by which a block of rows is extended: exp(-12) is the rounding of float32."""


class Preparation:
    """One scan. Not thread-safe.

    Counters: ``nonfinite`` pixels of projections that were no numbers, ``zingers`` pixels replaced, ``spoiled``
    projections with too many to be zingers, ``defects`` pixels filled, ``late_darks`` and ``late_flats`` those that
    were taken before the projections but came too late to be used; ``drift.last`` and ``drift.unknown``.
    ``flats_refused`` says why the flats after the scan were of no use.
    """

    def __init__(self, spec: ScanSpec, threads: int = 1, options: PreparationOptions | None = None) -> None:
        """Raises BadInput when the options need what the scan does not announce."""
        self.spec, self.threads = spec, threads
        self.options = PreparationOptions() if options is None else options
        self.shape = (spec.rows, spec.columns)
        self.optics = scan_optics(spec, self.options.delta_beta)
        if self.options.flat_drift == "eigen" and spec.flats < 3:
            raise BadInput(
                f"scan {spec.scan_id}: flat_drift 'eigen' needs three flats or more, {spec.flats} are announced"
            )
        self.drift = BeamDriftCorrection(self.options.flat_drift, spec.projections, threads)
        self._fields = DarksAndFlats(spec, threads, self.drift, self.options.defects)
        self._after = MeanFrame(threads)
        self._phase = None if self.optics is None else PhaseSolver(*self.shape, self.optics, threads)
        self.noise = 0.0
        self.left_alone = np.zeros(spec.projections, np.bool_)
        self._stripes = None if self.options.stripes == "off" else StripeOffsets(spec, threads)
        self._order = ProjectionOrder(spec.projections, spec.frames)
        self._flats_used = 0
        self._from_flats = self._terms = DeferredCorrections()
        self._there = DeviceCorrections()
        self.flats_refused = ""
        self.nonfinite = self.zingers = self.late_darks = self.late_flats = 0

    def dark(self, pixels: Array) -> None:
        """Take a dark (rows, cols); a late one, after the first projection, is only counted."""
        if self._fields.correction is None:
            self._fields.add_dark(pixels)
        else:
            self.late_darks += 1

    def flat(self, pixels: Array, monitor: float = 1.0, index: int | None = None) -> None:
        """Take a flat (rows, cols); those that come after the first projection are the second set.

        A late flat of the first set is only counted, unless there is no other.
        """
        if self._fields.correction is None:
            self._fields.add_flat(pixels, monitor)
            self.drift.flat(pixels)
        elif index is not None and index < self._order.first and self._fields.flats.count:
            self.late_flats += 1
        else:
            self._after.add(pixels, monitor, self._order.last)

    def prepare_ahead(self) -> bool:
        """Use an idle moment between the flats and the first projection. False when there is nothing to do."""
        return self._fields.ahead()

    def begin(self, first: Array) -> Image:
        """Attenuation of the first projection (rows, cols) by darks and flats, which are fixed from now on."""
        pixels, _ = fill_nonfinite(first)
        attenuation = self._fields.fix().attenuation(pixels)
        self.noise = beam_noise(attenuation) if self.options.zingers or self._stripes is not None else 0.0
        return attenuation

    def mark_defects(self, marked: Mask) -> None:
        """Pixels (rows, cols) that are never used; takes effect before ``begin``. Raises BadInput for another shape."""
        if marked.shape != self.shape:
            raise BadInput(f"the map of defects is {marked.shape}, the images of the scan are {self.shape}")
        known = self._fields.marked
        self._fields.marked = marked if known is None else known | marked

    def fields(self) -> tuple[Image | None, Image | None]:
        """Mean dark and flat (rows, cols) before the projections, fixed by this; None where there are none.

        They are NaN where a defect is known.
        """
        self._fields.fix()
        return self._fields.without_known()

    @property
    def odd_fields(self) -> str:
        """Which darks and flats were left out, in words; empty when none."""
        return self._fields.odd

    @property
    def flat_noise(self) -> float:
        """Relative noise of a pixel of one flat; that of a usual beam where there are not two."""
        return self._fields.flat_noise

    @property
    def flats_have_noise(self) -> bool:
        """Whether two flats or more differ as photons make them: computed ones are alike."""
        return self._fields.flats_have_noise

    def flat_halves(self, top: int, bottom: int) -> Image:
        """What either half of the flats adds to the attenuation of these rows; see DarksAndFlats.flat_halves."""
        return self._fields.flat_halves(top, bottom)

    @property
    def defects(self) -> int:
        return self._fields.defects

    @property
    def correction(self) -> FlatFieldCorrection:
        """Darks and flats before the scan. Raises BadInput before ``begin``."""
        if self._fields.correction is None:
            raise BadInput(f"scan {self.spec.scan_id}: no projection has come yet, so darks and flats may still grow")
        return self._fields.correction

    @property
    def plain(self) -> bool:
        """Whether ``correction`` alone makes the attenuation, so that planes may prepare projections on their way."""
        return not self.options.zingers and self.options.flat_drift == "off" and self._phase is None

    def prepare(
        self, raw: RawProjections, attenuation: Projections, moments: Values, planes: RawPlanes | None = None
    ) -> None:
        """Fill in the attenuation (projections, rows, cols) of raw projections and its moments (projections, rows, 4).

        The moments are those of ``FlatFieldCorrection.prepare``. ``planes`` make both on their way, where ``plain``; so
        does what keeps attenuation on a device, where no option ``needs_host``. Raises BadInput for another shape or
        dtype, and for a number that the scan does not have.
        """
        if not 0 <= raw.number <= self.spec.projections - len(raw):
            last = raw.number + len(raw) - 1
            raise BadInput(f"scan {self.spec.scan_id}: projection {last} of {self.spec.projections}")
        if self._fields.correction is None:
            self.begin(raw.pixels[0])
        pixels, filled = fill_nonfinite(raw.pixels)
        self.nonfinite += filled
        if planes is not None:
            planes.add_raw(pixels, self.correction, raw.angle_rad, attenuation, moments)
        if isinstance(attenuation, OnDevice):
            for k, index in enumerate(raw.index.tolist()):
                self._order.note(raw.number + k, index)
            return
        if planes is None:
            self.correction.prepare(pixels, attenuation, moments if self.plain else NO_MOMENTS)
        for k, image in enumerate(attenuation):
            self._clean(image, raw.number + k, float(raw.monitor[k]))
            self._count(image, raw.number + k, float(raw.angle_rad[k]), int(raw.index[k]))
            if self._phase is not None:
                self._phase.attenuation(image, image)
        if not self.plain:
            moments[...] = row_moments_of(attenuation, self.threads)

    def _clean(self, image: Image, number: int, monitor: float) -> None:
        if self.options.zingers:
            found = remove_zingers(image, self.options.zingers, self.noise, self.threads)
            self.left_alone[number] = found < 0
            self.zingers += max(0, found)
        self.drift.correct(image, number, monitor)

    def _count(self, image: Image, number: int, angle_rad: float, index: int) -> None:
        self._order.note(number, index)
        if self._stripes is not None:
            self._stripes.add(image, angle_rad)

    def numbers(self, index: NDArray[np.int64]) -> NDArray[np.intp]:
        """Numbers of the projections with these frame indices, which differ; -1 for those that did not come."""
        return self._order.numbers(index)

    @property
    def stripe_columns(self) -> int:
        """Pixels of the detector with a clear offset."""
        return 0 if self._stripes is None else self._stripes.columns

    @property
    def spoiled(self) -> int:
        """Projections that were left with their zingers."""
        return int(np.count_nonzero(self.left_alone))

    def refresh(self, final: bool = False) -> bool:
        """Evaluate flats and stripes again, about twice a second; True when ``apply_late`` has changed.

        Then whatever was read through it must be read again. Costs at most a running median of a frame each time that
        the projections grew by a quarter; ``final`` evaluates in any case.
        """
        changed = self._after.count > self._flats_used
        if changed:
            self._flats_used = self._after.count
            try:
                self._from_flats = self._second_set()
                self.flats_refused = ""
            except BadInput as error:
                # A shutter that stayed closed is no reason to lose the scan.
                self._from_flats, self.flats_refused = DeferredCorrections(), str(error)
        changed |= self._measure_stripes(changed or final)
        if changed:
            self._adopt()
        return changed

    def _second_set(self) -> DeferredCorrections:
        fields = self._fields
        after, margins = fields.mean_flat(self._after), self.drift.margins
        if fields.flat is None:
            known = FlatFieldCorrection(fields.dark, after, self.threads)
            terms = only_after(self.correction, known, self.shape, margins)
            return terms.raised(self._monitor_change(self.drift.reference))
        dark = np.float32(0.0) if fields.dark is None else np.nan_to_num(fields.dark)
        scale = np.float32(np.exp(self._monitor_change(fields.flats.monitor)))
        return two_sets(fields.flat - dark, (after - dark) * scale, margins, self.drift.eigen)

    def _monitor_change(self, reference: float) -> float:
        """ln of the factor that brings the late flats to the monitor reading ``reference``."""
        usable = self.options.flat_drift == "monitor" and reference > 0 and self._after.monitor > 0
        return float(np.log(reference / self._after.monitor)) if usable else 0.0

    def _measure_stripes(self, at_once: bool) -> bool:
        if self._stripes is None or not self._stripes.due(at_once):
            return False
        return self._stripes.measure(self._from_flats.mean(self._fraction_at(self._order.last), self.shape), self.noise)

    def _adopt(self) -> None:
        self._terms = self._from_flats
        if self._stripes is not None and self._stripes.offset is not None:
            self._terms = self._terms.without_offset(self._stripes.offset)
        if self._phase is not None:
            self._terms = self._terms.smoothed(self._phase.apply)

    def _fraction(self, number: int) -> float:
        """Place of a projection between the two sets of flats, 0 … 1."""
        return self._fraction_at(self._order.index(number))

    def _fraction_at(self, index: int) -> float:
        first = self._order.first
        end = self._after.number if self._after.count else first + self.spec.projections - 1
        return float(np.clip((index - first) / (end - first), 0.0, 1.0)) if end > first else 0.0

    @property
    def nbytes(self) -> int:
        """Memory at most, about: with flats before and after, and data in all sectors."""
        singles = min(MOST_FLATS, self.spec.flats) * self.spec.frame_nbytes if self.drift.mode == "eigen" else 0
        per_pixel = 3 * 28 + 24 + (32 if self._stripes is not None else 0) + (8 if self._phase is not None else 0)
        return per_pixel * self.shape[0] * self.shape[1] + min(SINGLES_BYTES, singles)

    @property
    def late(self) -> bool:
        """Whether ``apply_late`` does anything."""
        return bool(self._terms)

    def apply_late(
        self,
        attenuation: Image,
        number: int | NDArray[np.intp],
        rows: slice = slice(None),
        out: Image | None = None,
    ) -> Image:
        """Add the deferred corrections to stored attenuation, in place or into ``out``; returns the result.

        ``attenuation`` is (rows, cols) of the projection ``number``, or (projections, rows, cols) of several, and holds
        the detector rows ``rows``.
        """
        out = attenuation if out is None else out
        terms = self._terms
        if not terms:
            if out is not attenuation:
                out[...] = attenuation
            return out
        if attenuation.ndim == 2:
            terms.apply(attenuation, self._fraction(int(number)), rows, out, self.threads)
            return out
        for one, which, to in zip(attenuation, np.asarray(number), out, strict=True):
            terms.apply(one, self._fraction(int(which)), rows, to, self.threads)
        return out

    def apply_late_there(
        self, attenuation: OnDevice, numbers: NDArray[np.intp], rows: slice = slice(None)
    ) -> Projections:
        """``apply_late`` to projections (projections, rows, cols) that were prepared on a device: a new array there, or
        on the host if the device has no memory for it.
        """
        fractions = [self._fraction(number) for number in numbers.tolist()]
        made = self._there.apply(self._terms, attenuation, fractions, rows)
        return self.apply_late(np.asarray(attenuation), numbers, rows) if made is None else made

    def finish_block(self, block: Image, angle_rad: Values) -> StripeCount:
        """With ``stripes`` "full": remove stripes of (angles, rows, cols) float32 in place, after ``apply_late``."""
        if self.options.stripes != "full":
            return StripeCount(0, 0)
        return remove_stripes(block, order=np.argsort(np.mod(angle_rad, 2 * np.pi)), threads=self.threads)

    @property
    def halo_rows(self) -> int:
        """Further rows on either side of a block, if they exist, that ``rows`` needs to make it."""
        halo = 0 if self.optics is None else int(np.ceil(HALO_DECAYS * np.sqrt(self.optics.alpha_px2)))
        return halo + (1 if self.options.zingers else 0)

    def rows(self, first: int, last: int) -> RowPreparation:
        """Prepares raw rows first … last-1 read again, with the decisions made while the frames came."""
        return RowPreparation(self, first, last)

    def describe(self) -> dict[str, Any]:
        """Options and counts that a reader of the tomogram needs."""
        return {
            **self.options.model_dump(),
            "darks": self._fields.darks.count,
            "flats_before": self._fields.flats.count,
            "flats_after": self._after.count,
            "flats_after_refused": self.flats_refused,
            "late_darks": self.late_darks,
            "late_flats": self.late_flats,
            "zingers_removed": self.zingers,
            "projections_left_with_zingers": self.spoiled,
            "defect_pixels": self.defects,
            "drift_last": self.drift.last,
            "drift_unknown": self.drift.unknown,
            "stripe_columns": self.stripe_columns,
            "nonfinite_pixels": self.nonfinite,
            "phase_length_px": None if self.optics is None else float(np.sqrt(self.optics.alpha_px2)),
        }
