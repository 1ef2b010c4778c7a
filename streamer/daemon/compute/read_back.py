"""What is read again from the raw file of a scan: frames that the compute thread missed, and rows of projections."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.core.memory import Memory
from streamer.daemon.session import Session
from streamer.io.source_file import ScanFile
from streamer.pipeline.reconstruction.row_blocks import ReadRows
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.store import FRAMES_PER_BATCH

log = logging.getLogger(__name__)


def catch_up(session: Session, pipeline: ScanPipeline) -> bool:
    """Fold in the frames that the lossy reader missed; the lossless writer has them in the raw file.

    First those before the first projection: darks and flats are fixed by the projection that is prepared first.
    True when some came too late for that, and the file has all frames, to be read again from the first one. Raises
    StreamerError or OSError when the file cannot be read; what was read until then is folded in.
    """
    whole, rows = session.written == session.ledger.received, session.rows
    lacking = session.ledger.received - pipeline.arrivals.seen
    if lacking <= 0 or (whole and pipeline.arrivals.late_fields):
        return whole and pipeline.arrivals.late_fields > 0
    log.info("scan %s: %d frames are read from the raw file", session.spec.scan_id, lacking)
    with ScanFile.open(session.raw_file) as scan:
        first = int(scan.index.min())
        for part in (range(first), range(first, session.spec.frames)):
            lacks = partial(_lacks, pipeline, part)
            for metas, pixels in scan.some(lacks, FRAMES_PER_BATCH):
                seen = pixels if rows is None else pixels[:, rows.first : rows.end]
                pipeline.push_batch(metas, np.ascontiguousarray(seen), shown=False)
            if whole and pipeline.arrivals.late_fields:
                return True
    return False


def _lacks(pipeline: ScanPipeline, part: range, index: int) -> bool:
    return index in part and not pipeline.arrivals.has(index)


def raw_rows(path: Path, memory: Memory, index: NDArray[np.int64] | None = None) -> ReadRows:
    """A function that reads detector rows [first, last) of projections from a raw file: of all, or of those frames."""

    def read(first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[Any]]:
        with ScanFile.open(path) as scan:
            places = np.arange(len(scan.index)) if index is None else np.flatnonzero(np.isin(scan.index, index))
            rows = scan.rows(first, last, memory, places)
            return scan.index[places], np.deg2rad(scan.angles_deg[places]), rows

    return read
