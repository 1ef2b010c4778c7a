"""The end of a scan: close the raw file, read the frames that the compute thread missed, judge, write the tomogram."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.config import Config
from streamer.core.memory import Memory
from streamer.daemon.scans import Scans, now
from streamer.daemon.session import Session
from streamer.flow.latency import LatencyHistogram
from streamer.flow.scan import ScanState
from streamer.flow.wire.events import VerdictEvent
from streamer.frames import Decision, FrameKind, Quality, Reason, ReasonCode, StreamerError, Verdict
from streamer.io.archive import Archive, sections, write_archive
from streamer.io.publish import Publisher
from streamer.io.raw.writer import WriterProcess
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import TomogramFile
from streamer.pipeline.reconstruction.row_blocks import ReadRows
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.store import FRAMES_PER_BATCH

log = logging.getLogger(__name__)


class Finisher:
    """Finishes one scan after the other, on the compute thread. A failure ends the scan, never the daemon."""

    def __init__(
        self, scans: Scans, writer: WriterProcess, events: Publisher, config: Config, clock: Callable[[], float]
    ) -> None:
        self._scans, self._writer, self._events = scans, writer, events
        self._make_tomogram, self._clock = config.writer.tomogram, clock
        self._max_missing_share = config.limits.max_missing_share
        self.latency = LatencyHistogram()  # last frame received → tomogram on disk

    def reconstruct(self, session: Session, pipeline: ScanPipeline, show: Callable[[], None]) -> None:
        """Find the final centre, judge, and write the tomogram; before the end message when every frame has arrived.

        A tomogram made from memory takes seconds and is written first; one made from the raw file takes minutes, and
        plans wait for the verdict.
        """
        session.reconstructed = True
        try:
            pipeline.refine_center()
            session.result.geometry = pipeline.layout.to_dict()
            with ExitStack() as afterwards:
                if pipeline.in_memory:
                    afterwards.callback(self._judge, session, pipeline)
                else:
                    self._judge(session, pipeline)
                if pipeline.count and self._make_tomogram:
                    self._tomogram(session, pipeline)
                    session.result.artefacts = pipeline.artefacts()
            pipeline.view.catch_up()
            show()
        except Exception as problem:
            log.exception("scan %s could not be reconstructed", session.spec.scan_id)
            self._failed(session, f"{type(problem).__name__}: {problem}")

    def finish(self, session: Session, pipeline: ScanPipeline, show: Callable[[], None]) -> None:
        """Close the raw file, reconstruct unless it is done, and enter the final state.

        Where darks or flats were overtaken by projections, the reconstruction is to be made anew: ``begin_anew``.
        """
        self._end_raw(session)
        if not session.reconstructed:
            if not pipeline.in_memory or pipeline.seen < session.ledger.received or pipeline.late_fields:
                self._close_raw(session)  # the reconstruction reads it
            if self._catch_up(session, pipeline):
                session.pipeline, session.anew = None, True
                return
            self.reconstruct(session, pipeline, show)
        # Otherwise the frames of the raw file were read back and checked while the tomogram was made.
        self._close_raw(session)
        self._conclude(session, pipeline)

    def begin_anew(self, session: Session) -> None:
        """Replace the reconstruction, whose memory is free by now, by one that has no frames yet."""
        log.info("scan %s: darks or flats came after projections; all is read again", session.spec.scan_id)
        session.anew = False
        session.pipeline = self._scans.pipeline(session.spec)

    def give_up(self, session: Session, error: str) -> None:
        """Drop the reconstruction of a scan after an error. Its frames still go into the raw file until it ends."""
        session.pipeline = None
        self._failed(session, error)

    def finish_raw(self, session: Session) -> None:
        """Finish a scan whose reconstruction was given up."""
        self._end_raw(session)
        self._close_raw(session)
        self._conclude(session, None)

    @staticmethod
    def _conclude(session: Session, pipeline: ScanPipeline | None) -> None:
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
            "unusable": () if pipeline is None else pipeline.set_aside,
        }
        self._writer.end(status, lists, now(), ending.note, ledger.expected)

    def _close_raw(self, session: Session) -> None:
        """Wait until the raw file is closed and its frames are checked, once; ``raw_error`` is what is wrong."""
        if session.raw_closed:
            return
        session.raw_closed = True
        result = self._writer.await_end()
        session.follow_writer(result.written, self._writer.state)
        self._scans.lost_by_writer += result.lost
        if result.error:
            if result.lost > self._max_missing_share * session.ledger.expected:
                lost = f"{result.lost} of {session.ledger.received} received frames are not in the raw file"
                session.lose_raw_data(lost)
            end = f"{result.lost} are lost" if result.sealed else "more are not known to be"
            session.raw_error = f"raw file: {result.error}; {result.written} frames are in it, {end}"

    def _catch_up(self, session: Session, pipeline: ScanPipeline) -> bool:
        """Fold in the frames that the lossy reader missed; the lossless writer has them in the raw file.

        First those before the first projection: darks and flats are fixed by the projection that is prepared first.
        True when some came too late for that, and the file has all frames, to be read again from the first one.
        """
        whole = session.written == session.ledger.received
        lacking = session.ledger.received - pipeline.seen
        if lacking <= 0 or (whole and pipeline.late_fields):
            return whole and pipeline.late_fields > 0
        log.info("scan %s: %d frames are read from the raw file", session.spec.scan_id, lacking)
        try:
            with ScanFile.open(session.raw_file) as scan:
                first = int(scan.index.min())
                for part in (range(first), range(first, session.spec.frames)):
                    lacks = partial(_lacks, pipeline, part)
                    for metas, pixels in scan.some(lacks, FRAMES_PER_BATCH):
                        pipeline.push_batch(metas, pixels)
                    if whole and pipeline.late_fields:
                        return True
        except (StreamerError, OSError) as problem:
            session.result.error = f"{lacking} frames are not in the tomogram: {problem}"
        return False

    def _judge(self, session: Session, pipeline: ScanPipeline) -> None:
        with session.lock:
            missing, corrupt = session.ledger.lacking(FrameKind.PROJECTION)
        self._judged(session, *pipeline.judge(missing, corrupt, final=True))

    def _tomogram(self, session: Session, pipeline: ScanPipeline) -> None:
        spec = session.spec
        path = session.raw_file.with_name(f"{spec.scan_id}.tomogram.h5")
        with TomogramFile.create(
            path,
            pipeline.shape,
            sample=spec.sample,
            pixel_size_m=spec.pixel_size_m,
            unit=pipeline.unit,
            raw_file=session.raw_file,
            parameters=pipeline.parameters(),
        ) as volume:
            write_blocks(volume, pipeline.tomogram(raw_rows(session.raw_file, self._scans.memory)))
        session.result.tomogram_file = str(path)
        if session.last_frame_s is not None:
            seconds = self._clock() - session.last_frame_s
            session.result.last_frame_to_tomogram_s = seconds
            self.latency.observe(seconds)


def keep_verdict(session: Session, pipeline: ScanPipeline | None) -> None:
    """Write the verdict and what it rests on into the raw file and the tomogram of a scan. A failure is logged."""
    with session.lock:
        spec, frames = session.spec, session.ledger.to_dict()
        archive = Archive(spec.scan_id, spec.sample, session.verdict, session.quality, frames=frames)
    if pipeline is not None:
        archive = replace(archive, unusable=pipeline.unusable, settings=sections(pipeline.settings))
    for path in (session.raw_file, session.result.tomogram_file):
        try:
            if path is not None:
                write_archive(Path(path), archive)
        except (StreamerError, OSError) as problem:
            log.warning("scan %s: the verdict is not in %s: %s", spec.scan_id, path, problem)


def _lacks(pipeline: ScanPipeline, part: range, index: int) -> bool:
    return index in part and not pipeline.has(index)


def write_blocks(volume: TomogramFile, blocks: Iterator[tuple[int, NDArray[np.float32]]]) -> None:
    """Write each block (first row, rows of the volume) while the next one is computed."""
    with ThreadPoolExecutor(1, "tomogram") as pool:
        written = None
        for first, block in blocks:
            if written is not None:
                written.result()
            written = pool.submit(volume.write_rows, first, block)
        if written is not None:
            written.result()


def raw_rows(path: Path, memory: Memory) -> ReadRows:
    """A function that reads detector rows [first, last) of all projections from a raw file."""

    def read(first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[Any]]:
        with ScanFile.open(path) as scan:
            return scan.index, np.deg2rad(scan.angles_deg), scan.rows(first, last, memory)

    return read
