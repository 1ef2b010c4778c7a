"""The look at a running scan reads little of it, and says what the look at the whole scan will say."""

from __future__ import annotations

import time

import numpy as np
import pytest

from streamer.core.alignment.estimate import CenterEstimate
from streamer.frames import ScanSpec
from streamer.phantoms import body_projections, random_body
from streamer.pipeline.layout.choice import choose_layout
from streamer.pipeline.layout.evidence import measure_evidence
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.store import AttenuationStore

ROWS, COLUMNS = 24, 160
BODY = random_body(np.random.default_rng(6), 300)
"""About 170 columns across."""
SMALL = random_body(np.random.default_rng(6), 200)
PLAIN = CenterEstimate(81.0, 0.9, 0.1, "pairs", tilt_rad=0.0)


def stored(frames: np.ndarray, angles: np.ndarray, range_deg: float) -> tuple[ScanSpec, AttenuationStore]:
    spec = ScanSpec("s", "s", *frames.shape[1:], len(frames), range_deg=range_deg)
    store = AttenuationStore(*frames.shape[1:], len(frames), 2**30)
    for angle, frame in zip(angles, frames, strict=True):
        store.next()[0] = frame
        store.add(np.array([angle]))
    return spec, store


def part(spec: ScanSpec, store: AttenuationStore, share: float) -> AttenuationStore:
    """The store as it was when only a share of the projections had come."""
    count = round(share * store.count)
    return stored(store.all[:count], store.angles_rad[:count], spec.range_deg)[1]


def leaning(frames: np.ndarray, degrees: float) -> np.ndarray:
    """Every row moved by what the axis leans there."""
    column = np.arange(frames.shape[2], dtype=float)
    drift = np.tan(np.deg2rad(degrees)) * (np.arange(frames.shape[1]) - (frames.shape[1] - 1) / 2)
    moved = [[np.interp(column - by, column, line) for by, line in zip(drift, frame, strict=True)] for frame in frames]
    return np.array(moved, np.float32)


@pytest.mark.parametrize(
    ("name", "body", "center", "range_deg", "estimate", "half", "extend"),
    [
        ("axis on the right", BODY, 118.3, 360.0, CenterEstimate.unknown("none"), True, False),
        ("axis on the left", BODY, 38.6, 360.0, CenterEstimate.unknown("none"), True, False),
        ("the axis leans", BODY, 118.3, 360.0, CenterEstimate.unknown("none"), True, False),
        ("more than a turn", BODY, 118.3, 400.0, CenterEstimate.unknown("none"), True, False),
        ("a turn, sample within", SMALL, 81.0, 360.0, PLAIN, False, False),
        ("more than half a turn", SMALL, 81.0, 198.0, PLAIN, False, False),
        ("more than a turn, sample within", SMALL, 81.0, 400.0, PLAIN, False, False),
        ("half a turn", SMALL, 81.0, 180.0, PLAIN, False, False),
        ("half a turn, cut off", random_body(np.random.default_rng(6), 480), 81.0, 180.0, PLAIN, False, True),
    ],
)
def test_what_is_seen_live_is_what_is_seen_in_the_end(
    name: str, body: list, center: float, range_deg: float, estimate: CenterEstimate, half: bool, extend: bool
) -> None:
    angles = np.deg2rad(np.arange(0, range_deg, 1.0))
    frames = body_projections(body, ROWS, COLUMNS, angles, center)
    if "leans" in name:
        frames = leaning(frames, 0.6)
    frames += np.random.default_rng(7).normal(0, 0.02, frames.shape).astype(np.float32)
    spec, store = stored(frames, angles, range_deg)
    final = choose_layout(spec, measure_evidence(spec, store, estimate, final=True))
    assert (final.half, final.extend) == (half, extend), final.reason
    assert final.detector_center == pytest.approx(center, abs=0.1)
    assert np.rad2deg(final.tilt_rad) == pytest.approx(0.6 if "leans" in name else 0.0, abs=0.06)
    for share in (0.75, 0.9, 1.0):
        live = choose_layout(spec, measure_evidence(spec, part(spec, store, share), estimate, final=False))
        assert (live.half, live.extend, live.width) == (final.half, final.extend, final.width), (share, live.reason)
        assert live.detector_center == pytest.approx(final.detector_center, abs=0.1)
        assert live.tilt_rad == pytest.approx(final.tilt_rad, abs=np.deg2rad(0.1))
    covered = round(np.rad2deg(Layout(ROWS, COLUMNS, center, half=True).weights(angles).sum()))
    assert not half or f"{covered}° of 360°" in live.reason


def test_a_live_look_does_not_grow_with_the_scan() -> None:
    """No frame is to wait for it: of many projections it reads a few."""
    angles = np.arange(720) * 2 * np.pi / 720
    frames = np.tile(body_projections(BODY, 8, COLUMNS, angles, 118.3), (1, 2, 1))
    spec, store = stored(frames, angles, 360.0)
    taken: dict[bool, float] = {}
    for final in (True, False):
        runs = []
        for _ in range(5):
            begin = time.process_time()
            choose_layout(spec, measure_evidence(spec, store, CenterEstimate.unknown("none"), final))
            runs.append(time.process_time() - begin)
        taken[final] = min(runs)
    assert taken[False] < 0.4 * taken[True]
