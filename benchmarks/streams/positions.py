"""A rotation scan whose angles come in a second stream, against the same scan with true angles in its images.

``python -m benchmarks.streams.positions`` writes results/positions.json. A stage turns unevenly. Its encoder counts in
32 bits and overflows in mid scan; a PandABox sends the counts late, in jittered pieces, some twice, and loses 2 %. The
images are streamed in the STINS dialect to a whole daemon. The same images go to a second daemon with the true angles,
and to a third one that assumes even steps, as one has to without an encoder.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zmq
from numpy.typing import NDArray

from benchmarks.record import record
from streamer.cli.rig.processes import ANYWHERE, start_daemon
from streamer.client import Link, final_report
from streamer.flow.dialects import stins
from streamer.flow.dialects.message import Image, SeriesEnd, SeriesStart
from streamer.flow.wire.daemon import Arm, Report
from streamer.frames import ScanSpec
from streamer.phantoms import body_projections, exposures, random_body
from tests.io.positions.panda_server import PandaServer

COUNTS_PER_DEG = 186_413.5
FIELDS = (("COUNTER1.OUT", "int32", "Value"), ("INENC1.VAL", "int32", "Value"))
LOST_SHARE, DOUBLED = 0.02, 3
FLATS, DARKS = 20, 10
SEND_S = 60.0


@dataclass(frozen=True)
class Turn:
    """One rotation: true angles (n,) in degrees, all frames (darks, flats, projections), and what the encoder loses."""

    angles: NDArray[np.float64]
    frames: NDArray[np.uint16]
    lost: frozenset[int]
    doubled: frozenset[int]

    @property
    def spec(self) -> ScanSpec:
        _, rows, columns = self.frames.shape
        return ScanSpec("turn", "body", rows, columns, len(self.angles), FLATS, DARKS)

    @property
    def counts(self) -> NDArray[np.int64]:
        """What the encoder says of each projection: 32 bits, that overflow in the middle of the turn."""
        counted = np.rint((self.angles - 90.0) * COUNTS_PER_DEG).astype(np.int64) + 2**31
        return (counted + 2**31) % 2**32 - 2**31

    @property
    def sent(self) -> NDArray[np.float64]:
        """Trigger, from 1, and counts as the PandABox sends them (rows, 2): none, one or two rows of each trigger."""
        rows = np.column_stack([np.arange(len(self.angles)) + 1, self.counts]).astype(np.float64)
        times = [0 if t in self.lost else 2 if t in self.doubled else 1 for t in range(len(rows))]
        return np.repeat(rows, times, axis=0)

    @property
    def disturbed(self) -> list[int]:
        """Indices of the frames that have no position."""
        return sorted(DARKS + FLATS + trigger for trigger in self.lost)


def turn(rows: int, columns: int, projections: int, seed: int = 4) -> Turn:
    """A body on a stage that turns unevenly: it is up to 4 degrees behind or ahead, and trembles by 0.05."""
    rng = np.random.default_rng(seed)
    even = 180.0 * np.arange(projections) / projections
    angles = even + 4.0 * np.sin(np.deg2rad(2 * even)) + 0.05 * rng.standard_normal(projections)
    body = random_body(rng, columns)
    lines = body_projections(body, rows, columns, np.deg2rad(angles), (columns - 1) / 2 + 1.3)
    fields = [exposures(np.zeros((DARKS, rows, columns)), beam=0.0, rng=rng)]
    fields += [exposures(np.zeros((FLATS, rows, columns)), rng=rng), exposures(lines, rng=rng)]
    drawn = rng.permutation(projections)
    lost = round(LOST_SHARE * projections)
    doubled = frozenset(drawn[lost : lost + DOUBLED].tolist())
    return Turn(angles, np.concatenate(fields), frozenset(drawn[:lost].tolist()), doubled)


def take(folder: Path, scan: Turn, source: str) -> Report:
    """The report of the scan by a daemon of its own whose ``positions.source`` this is."""
    with PandaServer(FIELDS) as panda:
        options: dict[str, dict[str, Any]] = {
            "planned": {},
            "attribute": {"value": "angle"},
            "pandabox": {
                "endpoint": panda.endpoint,
                "value": "INENC1.VAL.Value",
                "trigger": "COUNTER1.OUT.Value",
                "first": 1,
                "counts_per_deg": COUNTS_PER_DEG,
                "offset_deg": 90.0 - 2**31 / COUNTS_PER_DEG,
                "wait_s": 300.0,
            },
        }
        daemon = start_daemon(
            folder,
            source={"endpoint": ANYWHERE, "bind": True, "dialect": "stins"},
            positions={"source": source, **options[source]},
            writer={"directory": folder / "data", "reserve_mb": 0},
            scan={"stall_timeout_s": 300.0},
        )
        try:
            ends = daemon.wait_ready()
            with Link(ends["control"], "the daemon", timeout_s=SEND_S) as link:
                link.ask(Arm(scan.spec))
                if source == "pandabox":
                    assert panda.connected.wait(SEND_S), "the daemon does not connect to the PandABox"
                expose(ends["source"], scan, panda)
                return final_report(link, scan.spec.scan_id)
        finally:
            daemon.stop(timeout_s=100)


def expose(endpoint: str, scan: Turn, panda: PandaServer) -> None:
    """Send all images, and the positions that the PandABox does not lose, behind them or ahead of them."""
    rng = np.random.default_rng(5)
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.setsockopt(zmq.SNDTIMEO, round(1e3 * SEND_S))
        socket.setsockopt(zmq.LINGER, round(1e3 * SEND_S))
        socket.connect(endpoint)
        socket.send_multipart(stins.encode_start(SeriesStart("turn")))
        panda.arm()
        sent = scan.sent
        due = 0
        for index, pixels in enumerate(scan.frames):
            projection = index - DARKS - FLATS
            attributes = {"angle": float(scan.angles[projection])} if projection >= 0 else {}
            image = Image(pixels.shape, "<u2", pixels.data.cast("B"), number=index, attributes=attributes)
            socket.send_multipart(stins.encode_image(image))
            # The encoder is up to 25 triggers late, or 3 ahead, and what it has comes in pieces.
            upto = projection - int(rng.integers(-3, 25))
            panda.send(sent[(due < sent[:, 0]) & (sent[:, 0] <= upto)])
            due = max(due, upto)
            time.sleep(0.002)
        panda.send(sent[sent[:, 0] > due])
        panda.disarm()
        socket.send_multipart(stins.encode_end(SeriesEnd(frames=len(scan.frames))))


def tomogram(report: Report) -> NDArray[np.float32]:
    """The volume (rows, y, x) of a scan."""
    assert report.tomogram_file is not None, report
    with h5py.File(report.tomogram_file) as file:
        volume: NDArray[np.float32] = file["entry/reconstruction/results/data"][()]
    return volume


def difference(volume: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """RMS difference of two volumes, relative to the RMS of the first."""
    return float(np.sqrt(np.mean((other - volume) ** 2) / np.mean(volume**2)))


def measure(rows: int, columns: int, projections: int) -> Iterator[tuple[str, Any]]:
    scan = turn(rows, columns, projections)
    wraps = int(np.count_nonzero(np.abs(np.diff(scan.counts)) > 2**31))
    yield "scan", {"rows": rows, "columns": columns, "projections": projections, "wraps": wraps}
    with tempfile.TemporaryDirectory() as folder:
        reports = {source: take(Path(folder) / source, scan, source) for source in ("attribute", "pandabox", "planned")}
        volumes = {source: tomogram(report) for source, report in reports.items()}
    true = volumes["attribute"]
    yield "relative_rmse", {source: round(difference(true, volumes[source]), 5) for source in ("pandabox", "planned")}
    yield "lost_positions", scan.disturbed
    yield "doubled_positions", sorted(DARKS + FLATS + trigger for trigger in scan.doubled)
    for source, report in reports.items():
        unusable = dict(report.quality.unusable_counts)
        yield source, {"verdict": report.verdict, "unusable": unusable, "note": report.note}


if __name__ == "__main__":
    record("positions", dict(measure(rows=32, columns=256, projections=720)))
