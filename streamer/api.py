"""Streamer from Python: the daemon's pipeline on arrays or on a recorded scan. ``import streamer`` offers all of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import structs
from numpy.typing import ArrayLike

from streamer.core.arrays import Array, Image, Values
from streamer.core.backend.selection import BackendError, select_backend
from streamer.core.quality.verdict import Limits
from streamer.frames import BadInput, Frame, Quality, ScanSpec, Verdict
from streamer.io.archive import Archive, sections, write_archive
from streamer.io.layouts.layout import ReadOptions
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import TomogramFile
from streamer.options import Options
from streamer.pipeline.offline.array_scan import ArrayScan
from streamer.pipeline.offline.binned_scan import RecordedScan
from streamer.pipeline.offline.reconstruction import OfflineReconstruction
from streamer.pipeline.offline.tv_tomogram import TvOptions
from streamer.pipeline.preparation.options import PreparationOptions
from streamer.pipeline.settings import ReconstructionOptions, Settings

__all__ = ["Result", "Scan", "open", "reconstruct"]

Center = float | Literal["auto"]
Method = Literal["fbp", "tv"]

SECTIONS: dict[str, type[Options]] = {
    "reconstruction": ReconstructionOptions,
    "preparation": PreparationOptions,
    "limits": Limits,
}


@dataclass(frozen=True, eq=False)
class Result:
    """A reconstructed scan.

    ``volume`` (row, y, x) float32 is in ``unit``: "1/cm" when the pixel size is known, else "1/pixel". ``center`` is
    the detector column of the rotation axis. ``quality`` holds what was measured, ``verdict`` the decision and its
    reasons, ``spec`` the scan that was reconstructed. ``parameters`` say how the volume was made, and count what was
    mended: ``nonfinite_pixels`` of the projections, ``defect_pixels`` of the detector, and others. ``archive`` is what
    ``save`` writes of the verdict.
    """

    volume: Image = field(repr=False)
    unit: str
    center: float
    quality: Quality
    verdict: Verdict
    parameters: dict[str, Any] = field(repr=False)
    spec: ScanSpec = field(repr=False)
    archive: Archive = field(repr=False)

    def save(self, path: str | Path) -> None:
        """Write the volume as NXtomoproc (HDF5), as ``streamer reconstruct`` does. Raises BadInput when it exists."""
        spec, shape = self.spec, self.volume.shape
        with TomogramFile.create(
            Path(path),
            (shape[0], shape[1], shape[2]),
            spec,
            unit=self.unit,
            parameters=self.parameters,
        ) as file:
            file.write_rows(0, self.volume)
        write_archive(Path(path), self.archive)


def reconstruct(
    projections: ArrayLike,
    angles_deg: ArrayLike,
    *,
    flats: ArrayLike | None = None,
    darks: ArrayLike | None = None,
    center: Center = "auto",
    pixel_size_m: float | None = None,
    energy_kev: float | None = None,
    distance_m: float | None = None,
    bin: Literal[1, 2, 4, 8] = 1,
    method: Method = "fbp",
    **options: Any,
) -> Result:
    """Reconstruct arrays, with the same steps and numbers as the daemon.

    ``projections`` are raw frames (n, rows, columns), or (n, columns) of one detector row, of any integer or real type;
    ``angles_deg`` (n,) are their angles, in any order. ``flats`` and ``darks`` are one frame or several; without flats
    the brightest part of the first projection is taken for the beam. Pixels that are not numbers are mended.

    ``center`` is the detector column of the rotation axis, by default found. ``bin`` × ``bin`` pixels are replaced by
    their mean; columns and lengths stay in pixels of the detector, 1/pixel is then per larger pixel. ``method`` "tv" is
    least squares with total variation, for few projections, and slow. ``options`` are those of the sections
    ``reconstruction``, ``preparation`` and ``limits`` of the daemon's configuration, for example ``stripes="full"``,
    ``zingers=8``, ``threads=4``; with ``method="tv"`` also ``iterations`` and ``strength``.

    The first call on a machine compiles the kernels, which takes a minute or two. Raises BadInput, one line that names
    the argument, for what cannot be used.
    """
    scan = ArrayScan(
        projections, angles_deg, flats, darks, pixel_size_m=pixel_size_m, energy_kev=energy_kev, distance_m=distance_m
    )
    rows = slice(0, scan.spec.rows)
    return _reconstruct(scan, scan.spec, scan.frames(), rows, center, bin, method, options)


def open(
    path: str | Path,
    *,
    entry: str | None = None,
    flats: str | Path | None = None,
    darks: str | Path | None = None,
    corrected: bool = False,
    angle_unit: Literal["deg", "mrad", "rad"] | None = None,
) -> Scan:
    """Open a recorded scan: NXtomo, DXchange, or a NeXus file like Diamond's. Nothing but the angles is read yet.

    ``entry`` chooses one of several scans in the file. ``flats`` and ``darks`` are other HDF5 files, or "FILE:DATASET".
    ``corrected``: the frames are transmissions already. ``angle_unit`` replaces that of the file.

    Raises BadInput, one line, when the file is not a scan.
    """
    fields = {name: str(given) for name, given in (("flats", flats), ("darks", darks)) if given is not None}
    options = ReadOptions(entry=entry, corrected=corrected, angle_unit=angle_unit, **fields)
    return Scan(ScanFile.open(Path(path), options))


class Scan:
    """A recorded scan, as ``open`` returns it; a context manager that closes the file."""

    def __init__(self, file: ScanFile) -> None:
        """Use ``open``."""
        self._file = file
        self.path: Path = file.path
        self.spec: ScanSpec = file.spec()
        """What the file says about the scan: sample, counts, pixel size, energy; None means that it does not say."""
        self.angles_deg: Values = file.angles_deg
        """Of the projections (n,), in the order of the file."""
        self.notes: tuple[str, ...] = file.info.notes
        """What was odd about the file, a line each."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(projections, rows, columns) of what the file holds; ``spec`` counts projections that lack as well."""
        return len(self.angles_deg), self.spec.rows, self.spec.columns

    def frames(self) -> Iterator[Frame]:
        """All usable frames with their kind and angle; they are read block by block. Darks come first, and flats where
        the file has them after the projections; the index has a gap for each projection that lacks.
        """
        return self._file.usable()

    def rows(self, first: int, last: int) -> Array:
        """Raw detector rows [first, last) of all projections: (projections, last - first, columns)."""
        return self._file.rows(first, last)

    def reconstruct(
        self,
        *,
        rows: slice | None = None,
        center: Center = "auto",
        pixel_size_m: float | None = None,
        energy_kev: float | None = None,
        distance_m: float | None = None,
        bin: Literal[1, 2, 4, 8] = 1,
        method: Method = "fbp",
        **options: Any,
    ) -> Result:
        """Reconstruct the scan, or only the detector ``rows``; the same numbers as ``streamer reconstruct``.

        Lengths and energy that are given replace those of the file. The other arguments, and the errors, are those of
        ``streamer.reconstruct``. The volume is made in memory: for a larger one use the command line.
        """
        given = {"pixel_size_m": pixel_size_m, "energy_kev": energy_kev, "distance_m": distance_m}
        spec = structs.replace(self.spec, **{name: value for name, value in given.items() if value is not None})
        chosen = slice(*(rows or slice(None)).indices(spec.rows))
        if chosen.step != 1 or chosen.stop <= chosen.start:
            raise BadInput(f"rows {rows}: the scan has rows 0 to {spec.rows}; give a range of them, with step 1")
        frames = self._file.usable(chosen)
        return _reconstruct(self._file, spec, frames, chosen, center, bin, method, options, self.notes)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _reconstruct(
    scan: RecordedScan,
    spec: ScanSpec,
    frames: Iterable[Frame],
    rows: slice,
    center: Center,
    bin_: int,
    method: Method,
    options: dict[str, Any],
    notes: Sequence[str] = (),
) -> Result:
    settings, tv = _settings(options, method)
    try:
        backend, _ = select_backend(settings.reconstruction.backend, settings.reconstruction.threads)
    except BackendError as error:
        raise BadInput(str(error)) from error
    if bin_ not in (1, 2, 4, 8):
        raise BadInput(f"bin: give 1, 2, 4 or 8, not {bin_!r}")
    offline = OfflineReconstruction(scan, spec, backend, settings, rows=rows, bin_=bin_, center=_column(center), tv=tv)
    for _ in offline.read(frames):
        pass
    quality, verdict = offline.judge()
    volume = np.empty(offline.pipeline.shape, np.float32)
    for first, block in offline.blocks():
        volume[first : first + len(block)] = block
    parameters = offline.parameters()
    archive = Archive(
        spec.scan_id,
        spec.sample,
        verdict,
        quality,
        unusable=offline.pipeline.checks.by_cause(),
        settings=sections(settings),
        notes=notes,
    )
    unit, center_px = offline.pipeline.unit, parameters["center_px"]
    return Result(volume, unit, center_px, quality, verdict, parameters, offline.spec, archive)


def _settings(options: dict[str, Any], method: Method) -> tuple[Settings, TvOptions | None]:
    """Options by the section that has them. Raises BadInput."""
    if method not in ("fbp", "tv"):
        raise BadInput(f"method: give fbp or tv, not {method!r}")
    kinds: dict[str, type[Options]] = {**SECTIONS, "tv": TvOptions} if method == "tv" else SECTIONS
    chosen: dict[str, dict[str, Any]] = {section: {} for section in kinds}
    for name, value in options.items():
        section = next((section for section, kind in kinds.items() if name in kind.model_fields), None)
        if section is None:
            known = ", ".join(name for kind in kinds.values() for name in kind.model_fields)
            raise BadInput(f"{name}: no such option; known here: {known}")
        chosen[section][name] = value
    tv = TvOptions(**chosen.pop("tv")) if method == "tv" else None
    return Settings(**chosen), tv


def _column(center: Center) -> float | None:
    if isinstance(center, str) and center == "auto":
        return None
    try:
        column = float(center)
    except (TypeError, ValueError):
        column = math.nan
    if isinstance(center, bool) or not math.isfinite(column):
        raise BadInput(f"center: give auto or a detector column, not {center!r}")
    return column
