from __future__ import annotations

import subprocess
from dataclasses import fields

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streamer.core.backend.chunks import FALLBACKS, FallbackCounters
from streamer.flow.latency import LatencyHistogram
from streamer.metrics import (
    ANNOUNCED,
    CAUSES,
    DECISIONS,
    KINDS,
    REASONS,
    RESULTS,
    SOCKETS,
    MetricsSnapshot,
    StreamerCollector,
)


def busy() -> MetricsSnapshot:
    """A snapshot in which every number is different."""
    latency = LatencyHistogram()
    for step in range(1, 300):
        latency.observe(step / 100)
    numbers = {f.name: 100 + k for k, f in enumerate(fields(MetricsSnapshot)) if f.type in ("int", "float")}
    return MetricsSnapshot(
        **numbers,  # type: ignore[arg-type]
        version="1.2",
        backend="numba",
        scan_state="acquiring",
        writer_state="recovering",
        writer_up=True,
        disk_free_bytes=10**12,
        disk_size_bytes=4 * 10**12,
        gpu_memory_used_bytes=10**9,
        gpu_memory_bytes=8 * 10**10,
        written_bytes={"raw": 11, "tomogram": 12},
        stages={"fold": latency.snapshot(), "judge": LatencyHistogram().snapshot()},
        phases_s={"between": 0.5, "acquiring": 7.5},
        quality={"center_px": 128.25, "motion_px": 0.125},
        verdict="RETAKE",
        connections_open={"control": 2, "events": 0},
        frame_transport=latency.snapshot(),
        frames_received={"projection": 7},
        frames_rejected={"checksum": 2, "strange": 1},
        receive_errors={"OSError": 9},
        threads={"receive": True, "compute": False},
        thread_restarts={"receive": 1, "compute": 6},
        frames_unusable={"no light": 8},
        scans={"complete": 3},
        verdicts={"ENOUGH": 2},
        control_requests={("arm", "ok"): 5},
        gpu_fallbacks={"smaller_chunks": 4},
        connections_refused={"control": 6},
        frame_to_preview=latency.snapshot(),
        last_frame_to_tomogram=latency.snapshot(),
    )


def exposition(snapshot: MetricsSnapshot) -> str:
    registry = CollectorRegistry()
    registry.register(StreamerCollector(lambda: snapshot))
    return generate_latest(registry).decode()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"streamer_{name}", labels)


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(StreamerCollector(busy))
    return registry


@pytest.mark.parametrize("snapshot", [MetricsSnapshot(), busy()], ids=["at the start", "busy"])
def test_promtool_has_nothing_to_say(snapshot: MetricsSnapshot) -> None:
    command = ["promtool", "check", "metrics"]
    check = subprocess.run(command, input=exposition(snapshot), capture_output=True, text=True, check=False)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")


def test_every_number_of_the_snapshot_is_shown() -> None:
    snapshot = busy()
    shown = {line.rsplit(" ", 1)[1] for line in exposition(snapshot).splitlines() if not line.startswith("#")}
    for f in fields(MetricsSnapshot):
        if f.type in ("int", "float"):
            assert str(float(getattr(snapshot, f.name))) in shown, f.name


def test_values_and_labels(registry: CollectorRegistry) -> None:
    assert value(registry, "frames_received_total", kind="projection") == 7
    assert value(registry, "frames_rejected_total", reason="checksum") == 2
    assert value(registry, "frames_rejected_total", reason="strange") == 1
    assert value(registry, "receive_errors_total", kind="OSError") == 9
    assert (value(registry, "thread_up", thread="receive"), value(registry, "thread_up", thread="compute")) == (1, 0)
    assert value(registry, "thread_restarts_total", thread="compute") == 6
    assert value(registry, "frames_unusable_total", cause="no light") == 8
    assert value(registry, "scans_total", result="complete") == 3
    assert value(registry, "verdicts_total", decision="ENOUGH") == 2
    assert value(registry, "gpu_fallbacks_total", reason="smaller_chunks") == 4
    assert value(registry, "control_requests_total", verb="arm", result="ok") == 5
    assert value(registry, "scan_state", streamer_scan_state="acquiring") == 1
    assert value(registry, "scan_state", streamer_scan_state="idle") == 0
    assert value(registry, "writer_state", streamer_writer_state="recovering") == 1
    assert value(registry, "writer_state", streamer_writer_state="ok") == 0
    assert value(registry, "build_info", version="1.2", backend="numba") == 1
    assert value(registry, "writer_up") == 1
    assert value(registry, "insecure") == 0
    assert value(registry, "connections_refused_total", socket="control") == 6
    assert value(registry, "connections_cut_total", socket="events") == 0
    assert value(registry, "disk_free_bytes") == 1e12
    assert value(registry, "disk_size_bytes") == 4e12
    assert (value(registry, "gpu_memory_used_bytes"), value(registry, "gpu_memory_bytes")) == (1e9, 8e10)
    assert value(registry, "written_bytes_total", file="raw") == 11
    assert value(registry, "stage_seconds_count", stage="fold") == 299
    assert value(registry, "stage_seconds_bucket", stage="judge", le="+Inf") == 0
    assert value(registry, "scan_phase_seconds_total", phase="acquiring") == 7.5
    assert value(registry, "connections", socket="control") == 2
    assert value(registry, "frame_transport_seconds_bucket", le="0.5") == 50


def test_quality_is_that_of_the_last_scan_and_what_was_not_measured_is_not_there(registry: CollectorRegistry) -> None:
    assert value(registry, "quality_center_px") == 128.25
    assert value(registry, "quality_motion_px") == 0.125
    assert value(registry, "quality_resolution_px") is None, "not measured is not zero"
    assert value(registry, "last_verdict", streamer_last_verdict="RETAKE") == 1
    assert value(registry, "last_verdict", streamer_last_verdict="ENOUGH") == 0


def test_every_label_value_is_there_before_its_first_event() -> None:
    registry = CollectorRegistry()
    registry.register(StreamerCollector(MetricsSnapshot))
    for name, label, known in (
        ("frames_received_total", "kind", KINDS),
        ("frames_missing_total", "kind", ANNOUNCED),
        ("frames_rejected_total", "reason", REASONS),
        ("frames_unusable_total", "cause", CAUSES),
        ("scans_total", "result", RESULTS),
        ("verdicts_total", "decision", DECISIONS),
        ("frames_dropped_total", "stage", ("recon", "writer")),
        ("gpu_fallbacks_total", "reason", FALLBACKS),
        ("connections_refused_total", "socket", SOCKETS),
    ):
        assert all(value(registry, name, **{label: word}) == 0 for word in known)
    assert value(registry, "disk_free_bytes") is None, "not known is not zero"


def test_what_the_gpu_had_no_memory_for_is_counted_under_known_reasons() -> None:
    counters = FallbackCounters()
    assert tuple(counters.events) == FALLBACKS
    registry = CollectorRegistry()
    registry.register(StreamerCollector(lambda: MetricsSnapshot(gpu_fallbacks=counters.events)))
    counters.fall_back("out_of_memory", "volume", "full")
    assert value(registry, "gpu_fallbacks_total", reason="out_of_memory") == 1
    assert value(registry, "gpu_fallbacks_total", reason="does_not_fit") == 0


def test_histograms_have_the_bounds_of_the_service_level(registry: CollectorRegistry) -> None:
    assert value(registry, "frame_to_preview_seconds_bucket", le="0.5") == 50
    assert value(registry, "frame_to_preview_seconds_bucket", le="1.0") == 100
    assert value(registry, "frame_to_preview_seconds_bucket", le="2.0") == 200
    assert value(registry, "frame_to_preview_seconds_bucket", le="+Inf") == 299
    assert value(registry, "frame_to_preview_seconds_count") == 299
    assert value(registry, "frame_to_preview_seconds_sum") == pytest.approx(448.5)


def test_names_follow_the_rules() -> None:
    text = exposition(busy())
    assert "_created" not in text
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("streamer_")
        assert family.documentation
        assert (family.type == "counter") == any(sample.name.endswith("_total") for sample in family.samples)
        labels = {label for sample in family.samples for label in sample.labels}
        assert not labels & {"scan", "scan_id", "sample", "path", "user"}


def test_counters_are_read_when_scraped_and_only_then() -> None:
    reads: list[int] = []

    def read() -> MetricsSnapshot:
        reads.append(1)
        return MetricsSnapshot(frames_duplicate=len(reads))

    registry = CollectorRegistry()
    registry.register(StreamerCollector(read))
    assert not reads
    for scrape in (1, 2):
        assert f"streamer_frames_duplicate_total {scrape}.0\n" in generate_latest(registry).decode()
