"""The simulation of a pool, and the page that quotes it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.facility import NEEDS, detector, simulate, tables
from benchmarks.record import RESULTS
from tests.paths import ROOT

DAYS_S = 3 * 86400.0


def test_with_all_gpus_nobody_waits_and_the_duty_is_that_of_the_beamlines() -> None:
    run = simulate(NEEDS, sum(NEEDS), DAYS_S, 0.35, np.random.default_rng(1))
    assert run.waited == 0.0
    assert run.busy == pytest.approx(0.35, abs=0.02)


def test_one_gpu_for_two_beamlines_is_the_queue_that_is_known() -> None:
    """Two that scan half of their time meet often. Work that is never lost: busy is what scans take together."""
    run = simulate((1, 1), 1, 30 * 86400.0, 0.5, np.random.default_rng(2))
    alone = simulate((1,), 1, 30 * 86400.0, 0.5, np.random.default_rng(2))
    assert alone.waited == 0.0
    assert alone.busy == pytest.approx(0.5, abs=0.02)
    scans_s = 100.0 * len(run.waits_s)
    assert run.busy == pytest.approx(scans_s / (30 * 86400.0), rel=0.02)
    # A machine that two repair: both rest, or one scans with or without the other behind it.
    assert 0.7 < run.busy < 0.85
    assert run.waits_s.max() < 180.0 + 1e-6  # at most one is ahead


def test_fewer_gpus_mean_more_and_longer_waits() -> None:
    runs = [simulate(NEEDS, gpus, DAYS_S, 0.35, np.random.default_rng(3)) for gpus in (28, 36, 44)]
    assert runs[0].waited > runs[1].waited > runs[2].waited
    assert runs[0].p99_s > runs[1].p99_s > runs[2].p99_s


def test_a_pool_that_never_has_enough_is_refused() -> None:
    with pytest.raises(ValueError, match="a pool of 12 never has the 16 GPUs"):
        simulate(NEEDS, 12, DAYS_S, 0.35, np.random.default_rng(0))


def test_the_detector_is_what_the_daemon_plans() -> None:
    live = {(shards, binning): detector(shards, binning)["way"] for shards, binning in ((64, 1), (16, 1), (16, 2))}
    assert live[64, 1] == live[16, 2] == "grows with the scan"
    assert live[16, 1] != live[64, 1]
    assert detector(64, 1)["rate_gb_s"] == pytest.approx(8192**2 * 2 * 100 / 1e9, abs=0.01)


def test_the_page_has_the_figures_of_the_record() -> None:
    result = json.loads((RESULTS / "facility.json").read_text(encoding="utf-8"))["result"]
    page = (ROOT / "docs/how-to/facility.md").read_text(encoding="utf-8").splitlines()
    assert [row for row in tables(result) if row not in page] == []
    assert result["detector"] == [detector(one["shards"], one["binning"]) for one in result["detector"]]
