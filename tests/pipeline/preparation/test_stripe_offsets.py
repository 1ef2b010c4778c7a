from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from streamer.frames import ScanSpec
from streamer.phantoms import random_body, sinogram
from streamer.pipeline.preparation.preparation import Preparation
from streamer.pipeline.preparation.stripe_offsets import FEWEST_PROJECTIONS, StripeOffsets
from tests.paths import DATA
from tests.pipeline.preparation.scan import (
    OFF,
    only,
    take,
    take_one,
)

WIDE = ScanSpec("wide", "body", 2, 320, 192, flats=1, dtype="<f4")
TURN = np.arange(192) * np.pi / 192


def body(noise: float, stripe: float) -> tuple[np.ndarray, np.ndarray]:
    """Attenuation (projection, 2, 320) of a body with noise, and offsets (2, 320) of a tenth of the columns."""
    rng = np.random.default_rng(3)
    clean = sinogram(random_body(rng, 320), 320, TURN)
    hit = rng.random((2, 320)) < 0.1
    offset = np.where(hit, rng.choice([-stripe, stripe], hit.shape), 0.0)
    return clean[:, None] + rng.normal(0, noise, (192, 2, 320)), offset


def scanned(attenuation: np.ndarray, stripes: str) -> tuple[Preparation, np.ndarray]:
    preparation = Preparation(WIDE, 2, only(stripes=stripes))
    preparation.flat(np.full((2, 320), 5000.0, np.float32))
    raw = (5000 * np.exp(-attenuation)).astype(np.float32)
    return preparation, take(preparation, raw, 0, TURN)


def test_stripes_are_found_while_scanning() -> None:
    clean, offset = body(0.01, 0.04)
    preparation, stored = scanned(clean + offset, "live")
    assert preparation.refresh(final=True)
    fixed = preparation.apply_late(stored.copy(), np.arange(192))
    assert np.std(fixed - clean) < 0.65 * np.std(stored - clean)
    assert 0.8 < preparation.stripe_columns / np.count_nonzero(offset) < 1.1


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_good_detector_is_left_alone(noise: float) -> None:
    """Although the mean of its projections does stand out in columns: edges of the sample near the axis."""
    clean, _ = body(noise, 0.0)
    preparation, stored = scanned(clean, "live")
    preparation.refresh(final=True)
    fixed = preparation.apply_late(stored.copy(), np.arange(192))
    assert np.sqrt(np.mean((fixed - stored) ** 2)) < 1e-3 * clean.max()


def test_refresh_says_when_a_replay_is_worth_it() -> None:
    clean, offset = body(0.01, 0.04)
    raw = (5000 * np.exp(-clean - offset)).astype(np.float32)
    preparation = Preparation(WIDE, 2, only(stripes="live"))
    preparation.flat(np.full((2, 320), 5000.0, np.float32))
    changes = []
    for number, image in enumerate(raw):
        take_one(preparation, image, number, TURN[number])
        if preparation.refresh():
            changes.append(number)
    assert changes
    assert changes[0] >= 31
    assert len(changes) < 6
    assert not preparation.refresh()


def test_full_stripe_removal_of_the_neutron_sinogram() -> None:
    from PIL import Image

    from streamer.core.quality.artefacts import stripe_index

    path = DATA / "neutron_sinogram_360.tif"
    transmitted = np.asarray(Image.open(path)).astype(np.float32)
    angles, columns = transmitted.shape
    spec = ScanSpec("neutrons", "rods", 1, columns, angles, dtype="<f4", range_deg=360.0)
    preparation = Preparation(spec, 2, only(stripes="full"))
    preparation.flat(np.full((1, columns), 46_900.0, np.float32))
    angle_rad = np.linspace(0, 2 * np.pi, angles)
    stored = take(preparation, transmitted[:, None], 0, angle_rad)
    before = stripe_index(stored)
    preparation.refresh(final=True)
    block = preparation.apply_late(stored, np.arange(angles))
    count = preparation.finish_block(block, angle_rad)
    assert before > 0.03
    assert stripe_index(block) < 0.001
    assert count.dead > 0
    untouched = stored.copy()
    assert Preparation(spec, 2, OFF).finish_block(untouched, angle_rad).large == 0
    assert np.array_equal(untouched, stored)


def measured(count: int, stripe: float = 0.1) -> StripeOffsets:
    """Offsets after this many projections of one row, in which one column stands out."""
    offsets = StripeOffsets(structs.replace(WIDE, rows=1), 1)
    extend(offsets, 0, count, stripe)
    return offsets


def extend(offsets: StripeOffsets, first: int, last: int, stripe: float = 0.1) -> None:
    row = np.zeros((1, 320), np.float32)
    row[0, 100] = stripe
    for number in range(first, last):
        offsets.add(row, float(TURN[number]))


def test_stripes_are_measured_when_the_projections_grew_by_a_quarter() -> None:
    offsets = measured(FEWEST_PROJECTIONS - 1)
    assert not offsets.due(True)
    extend(offsets, FEWEST_PROJECTIONS - 1, 100)
    assert offsets.due(False)
    assert offsets.measure(np.zeros((1, 320), np.float32), 0.001)
    extend(offsets, 100, 124)
    assert not offsets.due(False)
    assert offsets.due(True)
    extend(offsets, 124, 125)
    assert offsets.due(False)


def test_an_offset_is_adopted_when_it_changed_by_more_than_its_noise() -> None:
    offsets, zero = measured(192), np.zeros((1, 320), np.float32)
    assert offsets.offset is None
    assert not offsets.measure(zero, 100.0)
    assert offsets.measure(zero, 0.01)
    assert offsets.offset is not None
    assert offsets.offset[0, 100] == pytest.approx(0.1, rel=1e-4)
    assert offsets.columns == np.count_nonzero(offsets.offset) == 1
    assert not offsets.measure(zero, 0.01)
    correction = zero.copy()
    correction[0, 100] = -0.1
    assert offsets.measure(correction, 0.01), "the late flats explain the stripe"
    assert not offsets.offset.any()


def test_a_scan_of_few_projections_is_measured_at_its_end() -> None:
    offsets = StripeOffsets(structs.replace(WIDE, rows=1, projections=9), 1)
    extend(offsets, 0, 8)
    assert not offsets.due(True)
    extend(offsets, 8, 9)
    assert offsets.due(True)
