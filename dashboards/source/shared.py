"""Queries and colours that several dashboards have."""

from __future__ import annotations

from dashboards.source.panels import of, rate

GREEN, YELLOW, RED = "green", "yellow", "red"
LOSS = ((None, GREEN), (1, RED))
PREVIEW, TOMOGRAM = "streamer_frame_to_preview_seconds", "streamer_last_frame_to_tomogram_seconds"
RING = f"{of('streamer_ring_occupied_frames')} / {of('streamer_ring_capacity_frames')}"
HIGHEST = f"{of('streamer_ring_high_water_frames')} / {of('streamer_ring_capacity_frames')}"
RATES = {
    "received": f"sum({rate('streamer_frames_received_total')})",
    "written": f"sum({rate('streamer_writer_frames_total')})",
}
TO_TOMOGRAM = {
    "mean": f"sum(increase({of(f'{TOMOGRAM}_sum')}[$__range])) / sum(increase({of(f'{TOMOGRAM}_count')}[$__range]))",
    "95 %": f"histogram_quantile(0.95, sum by (le) (increase({of(f'{TOMOGRAM}_bucket')}[$__range])))",
}
