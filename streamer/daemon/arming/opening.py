"""What a scan needs before its first frame: disk, memory, ring and raw file, taken one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streamer.config import NATIVE, Config
from streamer.core.planes.plane import Plane
from streamer.daemon.arming.left_behind import LeftBehind
from streamer.daemon.arming.pipelines import Pipelines
from streamer.daemon.arming.scan_folders import NewFolder, ScanFolders
from streamer.daemon.elsewhere import Elsewhere
from streamer.daemon.receivers import assembly_of
from streamer.daemon.session import Session
from streamer.flow.capture import window_frames
from streamer.flow.ring.ring import Ring
from streamer.flow.wire.control import Busy
from streamer.frames import BadInput, ScanSpec
from streamer.io.nexus import now
from streamer.io.raw.disk_space import check_space
from streamer.io.raw.pixel_mask import PixelMask, joined
from streamer.io.raw.raw_writer import RawWriter
from streamer.io.raw.unfinished import UnfinishedScan
from streamer.io.raw.writer import WriterError, WriterSlow
from streamer.io.scan_folder import remove_empty
from streamer.io.tomogram import VOXEL_BYTES
from streamer.pipeline.layout.choice import max_layout_width
from streamer.pipeline.scan_pipeline import ScanPipeline

OPEN_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class _Place:
    """Where a scan is written: into a file that is there, if it is unfinished, else into one that is to be made."""

    file: Path
    folder: NewFolder | None
    unfinished: UnfinishedScan | None

    @property
    def held(self) -> int | None:
        """Frames that the file holds; None for a new one."""
        return None if self.unfinished is None else len(self.unfinished.kinds)

    @property
    def mask(self) -> PixelMask | None:
        return None if self.unfinished is None else self.unfinished.mask

    def make(self) -> Path:
        """The file, whose folder is there then. Raises BadInput when that cannot be made."""
        return self.file if self.folder is None else self.folder.make() / self.file.name


class Opening:
    """Opens scans. ``left`` are those that an earlier daemon left behind."""

    def __init__(
        self,
        config: Config,
        pipelines: Pipelines,
        ring: Ring,
        writer: RawWriter,
        clock: Callable[[], float],
        elsewhere: Elsewhere | None,
    ) -> None:
        self._config, self._pipelines, self._elsewhere = config, pipelines, elsewhere
        self._ring, self._writer, self._clock = ring, writer, clock
        self._directory = config.writer.directory.resolve()  # the folder alone: a link in it leads to what is not ours
        self._folders = ScanFolders(self._directory, config.writer)
        since = time.time() - config.scan.stall_timeout_s
        self.left = LeftBehind(self._directory, self._folders.depth, config.writer.tomogram, since)
        self.make_room: Callable[[], None] = lambda: None  # called before a scan takes its memory

    def open(self, spec: ScanSpec, planes: tuple[Plane, ...] | None, fixed_center: float | None) -> Session:
        """The session of a scan whose frames may come now. ``planes`` and ``fixed_center`` are what clients have set.

        Raises Busy when the raw writer does not answer, BadInput when the scan cannot be taken; nothing is left behind
        then.
        """
        self._check(spec)
        place = self._place(spec)
        self._check_space(spec, place)
        self.make_room()
        mask, pipeline = self._reconstruction(spec, place, planes, fixed_center)
        self._format_ring(spec)
        file = place.make()
        if self._elsewhere is not None:
            self._elsewhere.begin(spec, pipeline, planes, mask)
        self._open_file(spec, file, place.held)
        rows = self._pipelines.rows_of(spec)
        session = Session(spec, pipeline, file, self._clock, self._config.scan.patience, rows=rows)
        session.plan = session.plan if self._elsewhere is None else self._elsewhere.plan
        session.mask = mask
        if mask is not None:
            self._writer.mark(mask)
        if place.unfinished is not None:
            session.restore(place.unfinished)
        return session

    def _check(self, spec: ScanSpec) -> None:
        """Raises BadInput for a scan that cannot be shared out, or put together of what the detector sends."""
        if self._elsewhere is not None:
            self._elsewhere.check(spec)
        elif self._config.source.dialect != NATIVE:
            assembly_of(self._config)(spec)

    def _place(self, spec: ScanSpec) -> _Place:
        file, unfinished = self.left.raw_file(spec.scan_id), self.left.find(spec.scan_id, spec)
        if unfinished is None and self.left.exists(spec.scan_id):
            raise BadInput(f"{file} exists already; every scan needs its own scan id")
        if unfinished is not None and unfinished.spec != spec:
            raise BadInput(f"{file} holds another scan of this id; every scan needs its own scan id")
        folder = None if unfinished is not None else self._folders.of(spec, time.time())
        return _Place(file, folder, unfinished)

    def _check_space(self, spec: ScanSpec, place: _Place) -> None:
        config = self._config
        width = max_layout_width(spec, config.reconstruction)
        volume = VOXEL_BYTES * spec.rows * width**2 if config.writer.tomogram else 0
        if spec.tomogram_deg is not None:
            volume *= max(1, int(abs(spec.range_deg) / spec.tomogram_deg))
        lacking = spec.frames - (place.held or 0)
        reserve = int(config.writer.reserve_mb * 2**20)
        check_space(self._directory, lacking * spec.frame_nbytes + volume, reserve)

    def _reconstruction(
        self, spec: ScanSpec, place: _Place, planes: tuple[Plane, ...] | None, fixed_center: float | None
    ) -> tuple[PixelMask | None, ScanPipeline]:
        """One that has no frames yet, and the pixels that are not to be used from the first frame on."""
        try:
            mask = joined(self._pipelines.map_of_defects(), place.mask)
            return mask, self._pipelines.new(spec, planes, fixed_center, mask, saturation=None)
        except MemoryError as error:
            way_out = "lower reconstruction.memory_mb, so that larger scans are read again from their raw file"
            raise BadInput(f"scan {spec.scan_id}: {error}; {way_out}") from error

    def _format_ring(self, spec: ScanSpec) -> None:
        rows = self._pipelines.rows_of(spec)
        shape = (spec.rows if rows is None else rows.rows, spec.columns)
        keep_packed = self._config.writer.keep_compressed
        slots = self._ring.format(shape, spec.dtype, self._config.ring.max_slots, keep_packed)
        if spec.before_trigger is not None and window_frames(spec) > slots:
            raise BadInput(
                f"scan {spec.scan_id}: {window_frames(spec)} projections are to be held until the trigger, "
                f"the ring has room for {slots}; enlarge ring.memory_mb and ring.max_slots, or keep fewer turns"
            )

    def _open_file(self, spec: ScanSpec, file: Path, held: int | None) -> None:
        """``held``: how many frames the file holds; None for a new one."""
        try:
            self._writer.open(spec, file, now(), OPEN_TIMEOUT_S, held)
        except WriterSlow as error:
            raise Busy(f"{error}: the machine is busy; try again") from error
        except WriterError as error:
            remove_empty(file.parent, self._directory)
            raise BadInput(str(error)) from error
