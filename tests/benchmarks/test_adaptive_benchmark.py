"""A small fixed part of the benchmark of adaptive scans, and running scans that are spoiled."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from benchmarks.adaptive import Outcome, case, compare, ordered, regretted, run, summary
from benchmarks.verdict.resolution import true_resolution
from benchmarks.verdict.scans import Draft, expose, metas, spec_of
from streamer.core.backend.selection import Backend, select_backend
from streamer.core.quality.verdict import Limits
from streamer.frames import Decision, FrameKind, Quality, ReasonCode, Verdict
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings

SEED = 300


@pytest.fixture(scope="module")
def backend() -> Backend:
    return select_backend("numba", threads=1)[0]


def test_stopping_early_saves_projections_and_is_not_regretted(backend: Backend) -> None:
    rows = compare(SEED, backend, (1.25,))
    for row in rows:
        assert row["verdict"] == row["verdict_full"] == "ENOUGH", row
        assert row["saved"] > 0.2, row
        assert row["true_px"] <= 1.05 * row["wanted_px"], row
        assert not row["regretted"], row
    assert {row["order"] for row in rows} == {"golden", "interlaced"}
    assert summary(rows)["1.25 x, golden"]["samples"] == 1


def test_a_plain_half_turn_is_not_stopped(backend: Backend) -> None:
    fixed = case(SEED)
    assert run(fixed, backend, Limits(max_resolution_px=20.0), adaptive=True).projections == fixed.count


def test_a_regret_is_a_verdict_taken_back_or_a_resolution_that_was_not_there() -> None:
    def outcome(decision: Decision, true_px: float, projections: int = 60) -> Outcome:
        return Outcome(projections, Verdict(decision), Quality(), true_px, 0.1)

    assert not regretted(outcome(Decision.ENOUGH, 4.1), 4.0, 100)
    assert regretted(outcome(Decision.ENOUGH, 4.3), 4.0, 100)
    assert regretted(outcome(Decision.RETAKE, 3.0), 4.0, 100)
    assert not regretted(outcome(Decision.RETAKE, 3.0, 100), 4.0, 100)


def test_the_true_resolution_is_that_of_a_known_cut_off() -> None:
    truth = np.random.default_rng(0).normal(size=(4, 128, 128))
    k = np.fft.fftfreq(128)
    passed = np.hypot(k[:, None], k[None, :]) <= 1 / 5.0
    cut = np.fft.ifft2(np.fft.fft2(truth) * passed).real
    noise = np.fft.ifft2(np.fft.fft2(np.random.default_rng(1).normal(size=truth.shape)) * ~passed).real
    assert true_resolution(cut + noise, truth) == pytest.approx(5.0, rel=0.1)
    assert true_resolution(truth, truth) == 2.0


@cache
def running(order: str, at: float, jump_px: float, light: float) -> tuple[list[Verdict], Verdict]:
    """Verdicts on a scan while it runs, and the final one. From the share ``at`` on, the sample is displaced across the
    axis and the beam has another brightness."""
    draft: Draft = ordered(case(SEED), order)
    later = np.arange(draft.count) >= at * draft.count
    draft = replace(draft, pose=replace(draft.pose, columns=jump_px * later), light=np.where(later, light, 1.0))
    pipeline = ScanPipeline(spec_of(draft), select_backend("numba", threads=1)[0], Settings(), planes=())
    seen = []
    for meta, pixels in metas(draft, expose(draft)):
        pipeline.push(meta, pixels)
        if meta.kind is FrameKind.PROJECTION and pipeline.arrivals.seen % 8 == 0:
            look = pipeline.look(0, 0)()
            pipeline.follow(look)
            seen.append(look.verdict)
    pipeline.refine_center()
    return seen, pipeline.judge(0, 0)[1]


@pytest.mark.parametrize("order", ["golden", "interlaced"])
def test_an_undamaged_scan_is_never_condemned_while_it_runs(order: str) -> None:
    seen, final = running(order, 1.0, 0.0, 1.0)
    assert {verdict.decision for verdict in seen} == {Decision.CONTINUE}
    assert final.decision is Decision.ENOUGH


@pytest.mark.parametrize("order", ["golden", "interlaced"])
def test_a_jump_condemns_a_running_scan_for_good(order: str) -> None:
    seen, final = running(order, 0.4, 5.0, 1.0)
    first = next(k for k, verdict in enumerate(seen) if verdict.decision is not Decision.CONTINUE)
    assert 0.4 * len(seen) <= first < 0.75 * len(seen)
    assert {(v.decision, v.codes[0], v.final) for v in seen[first:]} == {(Decision.RETAKE, ReasonCode.MOTION, False)}
    assert "px remain if the sample moves no more" in seen[first].reasons[0].text
    assert (final.decision, final.codes[0], final.final) == (Decision.RETAKE, ReasonCode.MOTION, True)


@pytest.mark.parametrize("order", ["golden", "interlaced"])
def test_a_beam_that_is_gone_condemns_a_running_scan_once_too_many_are_lost(order: str) -> None:
    seen, final = running(order, 0.4, 0.0, 0.0)
    first = next(k for k, verdict in enumerate(seen) if verdict.decision is not Decision.CONTINUE)
    assert 0.4 * len(seen) <= first < 0.55 * len(seen)
    assert seen[first].codes[0] is final.codes[0] is ReasonCode.UNUSABLE
