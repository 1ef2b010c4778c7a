"""Prometheus metrics: one collector that reads a snapshot of the daemon's counters when it is scraped.

Nothing that is measured knows of this module. Units are in the names, no scan id or sample is ever a label, and every
label value is there from the start, so that ``increase()`` sees the first event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector

from streamer.core.backend.chunks import FALLBACKS
from streamer.core.quality.projection_check import Unusable
from streamer.flow.latency import HistogramSnapshot, LatencyHistogram
from streamer.flow.scan import ScanState
from streamer.frames import Decision, FrameKind

PREFIX = "streamer_"
KINDS = tuple(kind.name.lower() for kind in FrameKind)
ANNOUNCED = tuple(kind for kind in KINDS if kind != "invalid")
RESULTS = tuple(state.value for state in ScanState if state.final)
CAUSES = tuple(cause.value for cause in Unusable)
DECISIONS = tuple(decision.value for decision in Decision)
WRITER_STATES = ("ok", "low_space", "recovering", "failed")
REASONS = (
    "header",
    "version",
    "unknown_kind",
    "parts",
    "oversize",
    "truncated",
    "checksum",
    "codec",
    "positions",
    "dtype",
    "shape",
    "spec",
    "stale_scan",
    "refused",
    "foreign",
    "beyond",
)
"""Why a message was not taken; others appear when they occur."""

PUT_OFF = ("again", "early", "held")
"""Messages of the acknowledged transport that had come before, came out of turn, or must wait at the producer."""

SOCKETS = ("control", "events", "preview", "source")

EMPTY = LatencyHistogram().snapshot()

QUALITY = {
    "coverage_ratio": "Share of the wanted angles that is there",
    "center_px": "Centre of rotation",
    "center_confidence": "Confidence in the centre of rotation, 0 to 1",
    "center_offset_px": "Centre of rotation minus the middle of the detector",
    "motion_px": "Displacement of the sample that nothing explains",
    "misfit_px": "What fits no rigid sample, as a displacement of each projection",
    "resolution_px": "Resolution of the tomogram, by Fourier ring correlation",
    "projection_snr": "Attenuation of the sample over its noise in one projection",
    "voxel_snr": "Attenuation of the sample in a voxel over the noise of a voxel",
    "peak_attenuation": "99.5th percentile of the attenuation along a ray",
    "flat_drift_ratio": "Change of the beam since the flats",
    "saturated_ratio": "Share of the pixels that are saturated",
    "truncated_ratio": "Share of the projections whose sample touches the edge of the detector",
    "zingers_ratio": "Share of the pixels that outshine their neighbours",
    "pattern_attenuation": "Attenuation that single pixels or columns add to all projections",
    "mass_change_ratio": "Change of the sample's mass during the scan",
    "projections_per_column": "Projections in half a turn for each column of the sample's width; 1.57 are complete",
}
"""Gauges of the last finished scan; one that could not be measured is not there."""


@dataclass(frozen=True)
class MetricsSnapshot:
    """Numbers of the daemon at one moment. Totals count from its start, over all scans; None is "not known"."""

    version: str = ""
    backend: str = ""
    scan_state: str = ScanState.IDLE.value
    # The scan in hand, or the last one.
    scan_frames_expected: int = 0
    scan_frames_received: int = 0
    # Frames of all scans.
    frames_received: Mapping[str, int] = field(default_factory=dict)  # by kind in lower case
    frames_rejected: Mapping[str, int] = field(default_factory=dict)  # by reason
    messages_put_off: Mapping[str, int] = field(default_factory=dict)  # by cause
    receive_errors: Mapping[str, int] = field(default_factory=dict)  # by type of error
    frames_missing: Mapping[str, int] = field(default_factory=dict)  # by kind
    frames_duplicate: int = 0
    frames_late: int = 0
    frames_corrupt: int = 0
    frames_reordered: int = 0
    frames_unusable: Mapping[str, int] = field(default_factory=dict)  # by cause
    ingest_bytes: int = 0
    ingest_blocked_s: float = 0.0  # waited for a free slot: back-pressure on the detector
    last_frame_timestamp_s: float = 0.0  # UTC
    # The ring and its readers.
    ring_slots: int = 0
    ring_occupied: int = 0
    ring_high_water: int = 0
    ring_bytes: int = 0
    recon_backlog: int = 0
    recon_memory_kept: int = 0
    recon_skipped: int = 0
    # The raw writer.
    writer_up: bool = False
    writer_written: int = 0
    writer_lost: int = 0
    writer_errors: int = 0
    writer_restarts: int = 0
    writer_state: str = "ok"  # of the raw file of the scan in hand
    disk_free_bytes: int | None = None
    disk_size_bytes: int | None = None
    written_bytes: Mapping[str, int] = field(default_factory=dict)  # by file: raw, tomogram
    # The pipeline, the preview and what came of the scans.
    projections_folded: int = 0
    previews_published: int = 0
    frame_to_preview: HistogramSnapshot = EMPTY
    last_frame_to_tomogram: HistogramSnapshot = EMPTY
    frame_transport: HistogramSnapshot = EMPTY
    frames_ahead_of_clock: int = 0
    stages: Mapping[str, HistogramSnapshot] = field(default_factory=dict)
    phases_s: Mapping[str, float] = field(default_factory=dict)
    # The last finished scan.
    quality: Mapping[str, float] = field(default_factory=dict)  # by the names of QUALITY
    verdict: str = ""  # decision; empty before the first scan
    last_scan_timestamp_s: float = 0.0  # UTC
    scans: Mapping[str, int] = field(default_factory=dict)  # by final state
    verdicts: Mapping[str, int] = field(default_factory=dict)  # by decision
    control_requests: Mapping[tuple[str, str], int] = field(default_factory=dict)  # by verb and result
    gpu_fallbacks: Mapping[str, int] = field(default_factory=dict)  # by reason
    gpu_memory_used_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    # Who is let in.
    insecure: bool = False
    connections_refused: Mapping[str, int] = field(default_factory=dict)  # by socket
    connections_cut: Mapping[str, int] = field(default_factory=dict)  # by socket
    connections_open: Mapping[str, int] = field(default_factory=dict)  # by socket
    threads: Mapping[str, bool] = field(default_factory=dict)  # whether each works
    thread_restarts: Mapping[str, int] = field(default_factory=dict)


# Name without prefix, field of the snapshot, help.
_GAUGES_IF_KNOWN = (
    ("disk_free_bytes", "disk_free_bytes", "Free space where raw files are written"),
    ("disk_size_bytes", "disk_size_bytes", "Size of the disk where raw files are written"),
    ("gpu_memory_used_bytes", "gpu_memory_used_bytes", "Memory of the GPU in use, by this and other processes"),
    ("gpu_memory_bytes", "gpu_memory_bytes", "Memory of the GPU"),
)
_COUNTERS = (
    ("frames_duplicate", "frames_duplicate", "Frames whose index had come before"),
    ("frames_late", "frames_late", "Frames after the end of their scan or beyond its announced number"),
    ("frames_corrupt", "frames_corrupt", "Frames that failed their check"),
    ("frames_reordered", "frames_reordered", "Frames taken after one of a higher index"),
    ("ingest_bytes", "ingest_bytes", "Pixel bytes taken into the ring"),
    ("ingest_blocked_seconds", "ingest_blocked_s", "Time the receive thread waited for a free slot of the ring"),
    ("writer_frames", "writer_written", "Frames flushed to raw files"),
    ("writer_errors", "writer_errors", "Raw files given up because of an error"),
    ("writer_restarts", "writer_restarts", "Raw writer processes started in place of a dead one"),
    ("projections_folded", "projections_folded", "Projections folded into the reconstruction"),
    (
        "frames_ahead_of_clock",
        "frames_ahead_of_clock",
        "Frames stamped later than they were received: the source's clock is fast",
    ),
    ("previews_published", "previews_published", "Plane images published"),
)
_GAUGES = (
    ("scan_frames_expected", "scan_frames_expected", "Frames announced for the scan in hand"),
    ("scan_frames_received", "scan_frames_received", "Frames received of the scan in hand"),
    ("last_frame_timestamp_seconds", "last_frame_timestamp_s", "When the newest frame was received, UTC; 0 for never"),
    ("ring_capacity_frames", "ring_slots", "Slots of the ring in its present format"),
    ("ring_occupied_frames", "ring_occupied", "Slots that the raw writer has not released"),
    ("ring_high_water_frames", "ring_high_water", "Most slots occupied at once since the scan was armed"),
    ("ring_memory_bytes", "ring_bytes", "Shared memory of the ring"),
    ("recon_backlog_frames", "recon_backlog", "Frames in the ring that the reconstruction has not taken"),
    ("recon_memory_kept_bytes", "recon_memory_kept", "Memory of scans that are over, kept for the next one"),
    ("last_scan_timestamp_seconds", "last_scan_timestamp_s", "When the last scan was over, UTC; 0 for never"),
    ("writer_up", "writer_up", "1 while the raw writer process lives"),
    ("insecure", "insecure", "1 when other machines may use a socket without a key"),
)


class StreamerCollector(Collector):
    """Turns the snapshot that ``read`` gives into metrics, at each scrape and only then."""

    def __init__(self, read: Callable[[], MetricsSnapshot]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        now = self._read()
        info = {"version": now.version, "backend": now.backend}
        yield InfoMetricFamily(f"{PREFIX}build", "Version of Streamer and the backend in use", value=info)
        states = {state.value: state.value == now.scan_state for state in ScanState}
        yield StateSetMetricFamily(f"{PREFIX}scan_state", "Where the daemon is in the life of a scan", value=states)
        states = {state: state == now.writer_state for state in WRITER_STATES}
        yield StateSetMetricFamily(f"{PREFIX}writer_state", "State of the raw file of the scan in hand", value=states)
        for name, attribute, text in _COUNTERS:
            yield CounterMetricFamily(PREFIX + name, text, value=float(getattr(now, attribute)))
        for name, attribute, text in _GAUGES:
            yield GaugeMetricFamily(PREFIX + name, text, value=float(getattr(now, attribute)))
        for name, attribute, text in _GAUGES_IF_KNOWN:
            if (value := getattr(now, attribute)) is not None:
                yield GaugeMetricFamily(PREFIX + name, text, value=float(value))
        yield from _labelled(now)
        yield from _last_scan(now)
        text = "From the stamp of the source to the frame's arrival; right as far as the clocks agree"
        yield _histogram("frame_transport_seconds", text, now.frame_transport)
        text = "From the exposure's arrival to the watched planes that contain it"
        yield _histogram("frame_to_preview_seconds", text, now.frame_to_preview)
        text = "From the last frame of a scan to its finished tomogram"
        yield _histogram("last_frame_to_tomogram_seconds", text, now.last_frame_to_tomogram)
        stages = HistogramMetricFamily(f"{PREFIX}stage_seconds", "Work on scans, by stage", labels=["stage"])
        for stage, snapshot in now.stages.items():
            stages.add_metric([stage], _buckets(snapshot), snapshot.sum_s)
        yield stages


def _last_scan(now: MetricsSnapshot) -> Iterator[Metric]:
    states = {decision: decision == now.verdict for decision in DECISIONS}
    yield StateSetMetricFamily(f"{PREFIX}last_verdict", "Verdict on the last finished scan", value=states)
    for name, text in QUALITY.items():
        if name in now.quality:
            yield GaugeMetricFamily(f"{PREFIX}quality_{name}", f"{text}, of the last finished scan", now.quality[name])


def _labelled(now: MetricsSnapshot) -> Iterator[Metric]:
    dropped = {"recon": now.recon_skipped, "writer": now.writer_lost}
    for name, label, values, known, text in (
        ("frames_received", "kind", now.frames_received, KINDS, "Frames taken into the ring"),
        ("frames_missing", "kind", now.frames_missing, ANNOUNCED, "Frames that never came, of finished scans"),
        ("frames_rejected", "reason", now.frames_rejected, REASONS, "Messages that were not taken"),
        ("messages_put_off", "cause", now.messages_put_off, PUT_OFF, "Acknowledged messages that were not taken then"),
        ("receive_errors", "kind", now.receive_errors, (), "Messages whose handling failed, by type of error"),
        ("thread_restarts", "thread", now.thread_restarts, (), "Threads of the daemon that failed and began anew"),
        ("frames_dropped", "stage", dropped, (), "Frames that a reader of the ring did not get"),
        ("frames_unusable", "cause", now.frames_unusable, CAUSES, "Projections that came whole and were set aside"),
        ("written_bytes", "file", now.written_bytes, (), "Pixels written to raw files, voxels to tomograms"),
        ("scan_phase_seconds", "phase", now.phases_s, (), "Time in the phases of finished scans"),
        ("scans", "result", now.scans, RESULTS, "Finished scans"),
        ("verdicts", "decision", now.verdicts, DECISIONS, "Final verdicts"),
        ("gpu_fallbacks", "reason", now.gpu_fallbacks, FALLBACKS, "Work cut smaller, or done by the CPU for the GPU"),
        (
            "connections_refused",
            "socket",
            now.connections_refused,
            SOCKETS,
            "Connections whose key does not allow it",
        ),
        ("connections_cut", "socket", now.connections_cut, SOCKETS, "Connections that held too much, or too many"),
    ):
        yield _counter(name, text, (label,), {(key,): values.get(key, 0) for key in dict.fromkeys((*known, *values))})
    connected = GaugeMetricFamily(f"{PREFIX}connections", "Connections of clients over TCP", labels=["socket"])
    for name, number in now.connections_open.items():
        connected.add_metric([name], number)
    yield connected
    up = GaugeMetricFamily(f"{PREFIX}thread_up", "1 while the thread of the daemon works", labels=["thread"])
    for name, works in now.threads.items():
        up.add_metric([name], float(works))
    yield up
    yield _counter("control_requests", "Requests on the control socket", ("verb", "result"), now.control_requests)


def _counter(name: str, text: str, labels: Iterable[str], values: Mapping[Any, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, text, labels=list(labels))
    for key, value in values.items():
        family.add_metric([str(part) for part in key], value)
    return family


def _histogram(name: str, text: str, snapshot: HistogramSnapshot) -> HistogramMetricFamily:
    return HistogramMetricFamily(PREFIX + name, text, buckets=_buckets(snapshot), sum_value=snapshot.sum_s)


def _buckets(snapshot: HistogramSnapshot) -> list[tuple[str, float]]:
    return [("+Inf" if bound == float("inf") else repr(bound), count) for bound, count in snapshot.buckets]
