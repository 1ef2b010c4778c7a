"""Numbers of each finished scan over the night."""

from __future__ import annotations

from typing import Any

from dashboards.source.panels import board, lines, of


def quality() -> Any:
    def trend(title: str, text: str, unit: str, zero: bool = True, **names: str) -> tuple[int, int, Any]:
        queries = {label.replace("_", " "): of(f"streamer_quality_{name}") for label, name in names.items()}
        return (12, 8, lines(title, text, unit, queries, points=True, zero=zero))

    rows = [
        [
            trend(
                "Axis",
                "Centre of rotation. A jump is a stage that was moved, a slope one that creeps.",
                "suffix:px",
                zero=False,
                centre="center_px",
            ),
            trend(
                "Axis off the middle",
                "Centre of rotation minus the middle of the detector.",
                "suffix:px",
                offset="center_offset_px",
            ),
        ],
        [
            trend(
                "Motion",
                "Displacement that nothing explains, and what fits no rigid sample.",
                "suffix:px",
                motion="motion_px",
                misfit="misfit_px",
            ),
            trend(
                "Resolution", "Of the tomogram, by Fourier ring correlation.", "suffix:px", resolution="resolution_px"
            ),
        ],
        [
            trend(
                "Signal to noise",
                "In one projection, and in a voxel of the tomogram.",
                "short",
                projection="projection_snr",
                voxel="voxel_snr",
            ),
            trend("Beam", "Change of the beam since the flats.", "percentunit", drift="flat_drift_ratio"),
        ],
        [
            trend(
                "Detector",
                "Shares of pixels that are saturated, or outshine their neighbours.",
                "percentunit",
                saturated="saturated_ratio",
                zingers="zingers_ratio",
            ),
            trend(
                "Coverage and confidence",
                "Share of the wanted angles; confidence in the axis; share of projections "
                "whose sample touches the edge.",
                "percentunit",
                coverage="coverage_ratio",
                confidence="center_confidence",
                truncated="truncated_ratio",
            ),
        ],
        [
            trend(
                "Sampling",
                "Projections in half a turn for each column of the sample; 1.57 are complete.",
                "short",
                projections_per_column="projections_per_column",
            ),
            trend(
                "Attenuation",
                "99.5th percentile along a ray, and what pixels add to all projections.",
                "short",
                peak="peak_attenuation",
                pattern="pattern_attenuation",
            ),
        ],
    ]
    text = "Numbers of each finished scan over the night. What could not be measured leaves a gap."
    return board("streamer-quality", "Streamer: quality", text, rows, "12h")
