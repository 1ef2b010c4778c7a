"""Scans as people had them, damaged: what is of no use is left out and named, and the rest is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import streamer
from streamer.api import Result
from streamer.core.masks import circle_mask
from streamer.frames import Decision, ReasonCode
from streamer.phantoms import exposures, half_turn, image, random_body, sinogram

N, ROWS, COUNT, CENTER = 96, 6, 180, 49.2
ANGLES = half_turn(COUNT)
BODY = random_body(np.random.default_rng(1), N)
LINES = sinogram(BODY, N, ANGLES, CENTER)[:, None].repeat(ROWS, axis=1)
RNG = np.random.default_rng(100)
SCAN = exposures(LINES, 20_000.0, rng=RNG)
FLATS = exposures(np.zeros((10, ROWS, N)), 20_000.0, rng=RNG)
DARKS = RNG.normal(100, 2, (10, ROWS, N)).round().astype("<u2")
TRUTH = image(BODY, N)


def reconstructed(scan: NDArray[Any] = SCAN, angles: Any = ANGLES, **fields: NDArray[Any]) -> Result:
    return streamer.reconstruct(scan, np.rad2deg(angles), **{"flats": FLATS, "darks": DARKS, **fields}, threads=1)


def gain(result: Result) -> float:
    """Of the slices against the truth."""
    inside = circle_mask(N, 0.9)
    found = result.volume.mean(axis=0)
    return float(np.polyfit(TRUTH[inside], found[inside], 1)[0])


def test_frames_without_beam_are_left_out_and_named() -> None:
    dumped = SCAN.copy()
    dumped[70:73] = DARKS[:3]
    result = reconstructed(dumped)
    left = np.r_[0:70, 73:COUNT]
    assert result.verdict.decision is Decision.ENOUGH
    assert result.quality.unusable_counts == {"no light": 3}
    assert any("3 no light" in reason.text for reason in result.verdict.reasons)
    np.testing.assert_allclose(result.volume, reconstructed(SCAN[left], ANGLES[left]).volume, atol=2e-4)


def test_many_frames_without_beam_condemn_a_scan() -> None:
    dumped = SCAN.copy()
    dumped[70:100] = np.rint(RNG.normal(100, 2, (30, ROWS, N)))
    verdict = reconstructed(dumped).verdict
    assert verdict.decision is Decision.RETAKE
    assert ReasonCode.UNUSABLE in verdict.codes
    assert ReasonCode.MOTION not in verdict.codes


@pytest.mark.parametrize("what", ["lit darks", "dark flats", "flats with the sample"])
def test_fields_that_disagree_are_left_out_and_told(what: str) -> None:
    flats, darks = FLATS.copy(), DARKS.copy()
    if what == "lit darks":
        darks[:3] = FLATS[:3]
    elif what == "dark flats":
        flats[:4] = DARKS[:4]
    else:
        flats[:2] = SCAN[:2]
    result = reconstructed(flats=flats, darks=darks)
    assert result.verdict.decision is Decision.ENOUGH
    assert gain(result) == pytest.approx(gain(reconstructed()), abs=0.01)
    assert any("look different from the rest" in reason.text for reason in result.verdict.reasons)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_pixel_that_is_dead_in_projections_only_decides_nothing_for_the_other_rows(value: float) -> None:
    wide = random_body(np.random.default_rng(3), 3 * N)
    lines = sinogram(wide, N, ANGLES, CENTER)[:, None].repeat(ROWS, axis=1)
    scan = exposures(lines, 20_000.0, rng=np.random.default_rng(4)).astype(np.float32)
    dead = scan.copy()
    dead[:, 2, 17] = value
    good, bad = (reconstructed(frames, center=CENTER) for frames in (scan, dead))
    assert good.parameters["extended_edges"]
    assert bad.parameters["extended_edges"]
    np.testing.assert_array_equal(good.volume[4], bad.volume[4])
