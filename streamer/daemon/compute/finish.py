"""The end of a scan: close the raw file, read the frames that the compute thread missed, judge, write the tomogram."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.config import Config
from streamer.daemon.compute.aside import Aside, Threads, one_thread
from streamer.daemon.compute.read_back import catch_up, raw_rows
from streamer.daemon.elsewhere import Elsewhere
from streamer.daemon.scans import Scans
from streamer.daemon.session import Session
from streamer.flow.latency import LatencyHistogram, StageTimes
from streamer.flow.scan import ScanState
from streamer.flow.wire.events import VerdictEvent
from streamer.frames import Decision, FrameKind, Quality, Reason, ReasonCode, StreamerError, Verdict
from streamer.io.archive import Archive, sections, write_archive
from streamer.io.messaging.publish import Publisher
from streamer.io.nexus import now
from streamer.io.raw.raw_writer import RawWriter
from streamer.io.tomogram import VOXEL_BYTES, TomogramFile
from streamer.pipeline.scan_pipeline import ScanPipeline

log = logging.getLogger(__name__)

STAGES = ("fold", "judge", "publish", "center", "tomogram", "raw_file")
"""Work on a scan that is timed: of the compute thread, the last one while it waits for the raw writer."""


class Finisher:
    """Finishes one scan after the other, on the compute thread. A failure ends the scan, never the daemon."""

    def __init__(
        self,
        scans: Scans,
        writer: RawWriter,
        events: Publisher,
        config: Config,
        clock: Callable[[], float],
        threads: Threads = one_thread,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """``threads`` do what is done beside the compute thread."""
        self._elsewhere = elsewhere
        self._scans, self._writer, self._events = scans, writer, events
        self._judging: Aside[None] = Aside("judge", threads)
        self.makes_tomogram, self._clock = config.writer.tomogram, clock
        self._max_missing_share = config.limits.max_missing_share
        self.latency = LatencyHistogram()  # last frame received → tomogram on disk
        self.stages = StageTimes(STAGES, clock)
        self.tomogram_bytes = 0  # voxels written, of all scans

    def reconstruct(self, session: Session, pipeline: ScanPipeline, show: Callable[[], None]) -> None:
        """Find the final centre, judge, and write the tomogram; before the end message when every frame has arrived."""
        session.reconstructed = True
        try:
            with self.stages.time("center"):
                pipeline.refine_center()
                self._scans.pipelines.keep_axis(pipeline)
            session.result.geometry = pipeline.layout.to_dict()
            with self._judged_beside(session, pipeline):
                if pipeline.count and self.makes_tomogram:
                    with self.stages.time("tomogram"):
                        if pipeline.series is None:
                            self._tomogram(session, pipeline)
                        while self._moment(session, pipeline):
                            pass
                    if session.result.last_frame_to_tomogram_s is not None:
                        self.latency.observe(session.result.last_frame_to_tomogram_s)
                    session.result.artefacts = pipeline.artefacts()
                if session.ending is not None:
                    self._end_raw(session)  # it is read back while the scan is judged
            pipeline.view.catch_up()
            show()
        except Exception as problem:
            log.exception("scan %s could not be reconstructed", session.spec.scan_id)
            self._failed(session, f"{type(problem).__name__}: {problem}")

    @contextmanager
    def _judged_beside(self, session: Session, pipeline: ScanPipeline) -> Iterator[None]:
        """Have the scan judged beside what is done inside; before it where the tomogram is made from the raw file.

        That takes minutes, and plans wait for the verdict. It rests on the projections alone, and much of it keeps one
        core busy only: the raw file is read back and checked meanwhile.
        """
        if not pipeline.store.whole:
            self._judge(session, pipeline)
            self._close_raw(session)
            yield
            return
        self._judging.begin(partial(self._judge, session, pipeline, beside=self.makes_tomogram))
        try:
            yield
        finally:
            self._judging.take()

    def follow(self, session: Session, pipeline: ScanPipeline) -> bool:
        """Write the next tomogram of a scan that has several, while it runs. False when there is none to write."""
        if session.reconstructed or not (self.makes_tomogram and pipeline.store.whole):
            return False
        with self.stages.time("tomogram"):
            return self._moment(session, pipeline)

    def finish(self, session: Session, pipeline: ScanPipeline, show: Callable[[], None]) -> None:
        """Close the raw file, reconstruct unless it is done, and enter the final state.

        The reconstruction catches up before that, so that the file lists what is found to be of no use only then. Where
        darks or flats were overtaken by projections, the reconstruction is to be made anew: ``begin_anew``.
        """
        behind = not session.reconstructed and (
            pipeline.arrivals.seen < session.ledger.received or pipeline.arrivals.late_fields > 0
        )
        if behind and self._is_readable(session):
            # Of several segments the file is, while it is open, the first alone, which may have no frame: no error yet.
            with suppress(StreamerError, OSError):
                if self._is_made_anew(session, pipeline):
                    return
        self._end_raw(session)
        if not session.reconstructed:
            if pipeline.arrivals.seen < session.ledger.received or pipeline.arrivals.late_fields:
                self._close_raw(session)  # they are read from it
            try:
                if self._is_made_anew(session, pipeline):
                    return
            except (StreamerError, OSError) as problem:
                lacking = session.ledger.received - pipeline.arrivals.seen
                session.result.error = f"{lacking} frames are not in the tomogram: {problem}"
            self.reconstruct(session, pipeline, show)
        # Otherwise the frames of the raw file were read back and checked while the tomogram was made.
        self._close_raw(session)
        self._conclude(session, pipeline)

    @staticmethod
    def _is_made_anew(session: Session, pipeline: ScanPipeline) -> bool:
        """Catch up with the raw file; True when all of it is to be read again, by another pipeline."""
        if catch_up(session, pipeline):
            session.pipeline, session.anew = None, True
        return session.anew

    def begin_anew(self, session: Session) -> None:
        """Replace the reconstruction, whose memory is free by now, by one that has no frames yet."""
        log.info("scan %s: darks or flats came after projections; all is read again", session.spec.scan_id)
        session.anew = False
        session.pipeline = self._scans.pipeline(session.spec, session.mask, session.saturation)

    def give_up(self, session: Session, error: str) -> None:
        """Drop the reconstruction of a scan after an error. Its frames still go into the raw file until it ends."""
        session.pipeline = None
        self._failed(session, error)

    def finish_raw(self, session: Session) -> None:
        """Finish a scan whose reconstruction was given up."""
        self._end_raw(session)
        self._close_raw(session)
        self._conclude(session, None)

    def _conclude(self, session: Session, pipeline: ScanPipeline | None) -> None:
        if self._elsewhere is not None:
            self._elsewhere.over()
        keep_verdict(session, pipeline)
        session.conclude("; ".join(filter(None, (session.result.error, session.raw_error))) or None)

    def _failed(self, session: Session, error: str) -> None:
        """Record the error. A scan without a final verdict is UNKNOWN from now on."""
        session.result.error = error
        if not session.verdict.final:
            reason = Reason(ReasonCode.RECONSTRUCTION_FAILED, f"the reconstruction failed: {error}")
            self._judged(session, None, Verdict(Decision.UNKNOWN, (reason,), final=True))

    def _judged(self, session: Session, quality: Quality | None, verdict: Verdict) -> None:
        session.judge(quality, verdict)
        self._events.event(VerdictEvent.of(session.report()))

    def _end_raw(self, session: Session) -> None:
        """Have the raw file closed, once; ``_close_raw`` waits for it."""
        ledger, ending = session.ledger, session.ending
        assert ending is not None
        if session.state is not ScanState.DRAINING:
            return
        session.drained()
        status = "aborted" if ending.status == "aborted" else "complete"
        if status == "complete" and ledger.received != ledger.expected:
            status = "incomplete"
        pipeline = session.pipeline
        lists = {
            "missing": ledger.missing_indices(),
            "corrupt": ledger.corrupt_indices(),
            "unusable": () if pipeline is None else pipeline.checks.set_aside,
        }
        self._writer.end(status, lists, now(), session.note, ledger.expected)

    def _is_readable(self, session: Session) -> bool:
        """Wait until the raw file, which is still open, holds all frames; False where it will not."""
        if session.state is not ScanState.DRAINING or session.restored or not self._writer.await_written():
            return False
        session.follow_writer(self._writer.written, self._writer.state)
        return session.written == session.ledger.received

    def _close_raw(self, session: Session) -> None:
        """Wait until the raw file is closed and its frames are checked, once; ``raw_error`` is what is wrong."""
        if session.raw_closed:
            return
        session.raw_closed = True
        with self.stages.time("raw_file"):
            result = self._writer.await_end()
        session.follow_writer(result.written, self._writer.state)
        self._scans.lost_by_writer += result.lost
        if result.error:
            if result.lost > self._max_missing_share * session.ledger.expected:
                lost = f"{result.lost} of {session.ledger.received} received frames are not in the raw file"
                session.lose_raw_data(lost)
            end = f"{result.lost} are lost" if result.sealed else "more are not known to be"
            session.raw_error = f"raw file: {result.error}; {result.written} frames are in it, {end}"

    def _judge(self, session: Session, pipeline: ScanPipeline, beside: bool = False) -> None:
        with session.lock:
            missing, corrupt = session.ledger.lacking(FrameKind.PROJECTION)
        with self.stages.time("judge"):
            quality, verdict = pipeline.judge(missing, corrupt, beside)
        self._judged(session, quality, verdict)

    def _tomogram(self, session: Session, pipeline: ScanPipeline) -> None:
        spec = session.spec
        path = session.raw_file.with_name(f"{spec.scan_id}.tomogram.h5")
        blocks = None
        if self._elsewhere is None:
            blocks = pipeline.tomogram(raw_rows(session.raw_file, self._scans.pipelines.memory))
        self._write(session, pipeline, path, blocks, pipeline.parameters())

    def _moment(self, session: Session, pipeline: ScanPipeline) -> bool:
        """Write the next of several tomograms; one that an earlier daemon wrote is left as it is."""
        moment = pipeline.next_moment()
        if moment is None:
            return False
        folder = tomograms_folder(session.raw_file, session.spec.scan_id)
        folder.mkdir(exist_ok=True)
        path = folder / f"{moment.number:05d}.h5"
        if path.exists():
            session.result.tomogram_files.append(str(path))
            return True
        blocks = pipeline.moment(moment, raw_rows(session.raw_file, self._scans.pipelines.memory, moment.index))
        parameters = {**pipeline.parameters(), **moment.to_dict()}
        self._write(session, pipeline, path, blocks, parameters)
        return True

    def _write(
        self,
        session: Session,
        pipeline: ScanPipeline,
        path: Path,
        blocks: Iterator[tuple[int, NDArray[np.float32]]] | None,
        parameters: dict[str, Any],
    ) -> None:
        """``blocks`` None: those who have all rows write them."""
        shape = (session.spec.rows, *pipeline.shape[1:])
        with TomogramFile.create(
            path,
            shape,
            session.spec,
            unit=pipeline.unit,
            raw_file=session.raw_file,
            parameters=parameters,
        ) as volume:
            if blocks is not None:
                write_blocks(volume, blocks)
            elif self._elsewhere is not None:
                self._elsewhere.follow(pipeline)
                self._elsewhere.write_tomogram(volume.partial, volume.place)
        self.tomogram_bytes += math.prod(shape) * VOXEL_BYTES
        session.result.tomogram_files.append(str(path))
        if session.reconstructed and session.last_frame_s is not None:
            session.result.last_frame_to_tomogram_s = self._clock() - session.last_frame_s


def keep_verdict(session: Session, pipeline: ScanPipeline | None) -> None:
    """Write the verdict and what it rests on into the raw file and the tomogram of a scan. A failure is logged."""
    with session.lock:
        spec, frames = session.spec, session.ledger.to_dict()
        archive = Archive(spec.scan_id, spec.sample, session.verdict, session.quality, frames=frames)
    if pipeline is not None:
        archive = replace(archive, unusable=pipeline.checks.by_cause(), settings=sections(pipeline.settings))
    for path in (session.raw_file, *map(Path, session.result.tomogram_files)):
        try:
            write_archive(path, archive)
        except (StreamerError, OSError) as problem:
            log.warning("scan %s: the verdict is not in %s: %s", spec.scan_id, path, problem)


class Volume(Protocol):
    """Takes rows of a tomogram."""

    def write_rows(self, first: int, block: NDArray[np.float32]) -> None: ...


def write_blocks(volume: Volume, blocks: Iterator[tuple[int, NDArray[np.float32]]]) -> None:
    """Write each block (first row, rows of the volume) while the next one is computed."""
    with ThreadPoolExecutor(1, "tomogram") as pool:
        written = None
        for first, block in blocks:
            if written is not None:
                written.result()
            written = pool.submit(volume.write_rows, first, block)
        if written is not None:
            written.result()


def tomograms_folder(raw_file: Path, scan_id: str) -> Path:
    """Where the tomograms of a scan with several of them are, 00000.h5 and so on."""
    return raw_file.with_name(f"{scan_id}.tomograms")
