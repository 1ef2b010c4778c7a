"""The tomogram grows beside the compute thread: it gives way to frames, and ends when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from streamer.daemon.compute.growth import Growth
from streamer.io.tomogram import read_tomogram
from streamer.pipeline.reconstruction import tomogram_in_progress
from streamer.pipeline.scan_pipeline import ScanPipeline
from tests.daemon.rig import CENTER, AtOnce, Late, Rig, TinyScan


@pytest.fixture(autouse=True)
def cores_to_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tomogram_in_progress, "CORES_TO_SPARE", 1)


def armed(build: Callable[..., Rig], frames: int, late: Late) -> tuple[Rig, ScanPipeline]:
    """A scan about a known axis, of which so many frames have come; growth waits until the test does it."""
    rig = build(threads=lambda name: late if name == "tomogram" else AtOnce(name))
    scan = TinyScan(center_px=CENTER)
    rig.run(scan, range(frames))
    pipeline = rig.session(scan).pipeline
    assert pipeline is not None
    return rig, pipeline


def gridded(pipeline: ScanPipeline) -> int:
    """Projections in the tomogram so far."""
    growing = pipeline.brick(None, 8)
    return 0 if growing is None else growing.count


def test_it_grows_beside_the_compute_thread(build: Callable[..., Rig]) -> None:
    late = Late()
    rig, pipeline = armed(build, 60, late)
    rig.turn_for(0.2)
    assert (gridded(pipeline), len(late.waiting)) == (0, 1), "the compute thread leaves it to the other one"
    late.work()
    assert gridded(pipeline) == 32
    rig.turn_for(0.2)
    assert not late.waiting, "there is no other whole batch yet"


def test_it_gives_way_to_frames_that_wait(build: Callable[..., Rig]) -> None:
    late, waits = Late(), [True]
    _, pipeline = armed(build, 60, late)
    growth = Growth(lambda: waits[0], lambda _name: late)
    late.waiting.clear()
    growth.go_on(pipeline)
    assert growth.idle
    waits[0] = False
    growth.go_on(pipeline)
    waits[0] = True
    late.work()
    assert gridded(pipeline) == 0, "a batch came after it was begun"


def test_whoever_needs_the_tomogram_calls_it_off(build: Callable[..., Rig]) -> None:
    late = Late()
    _, pipeline = armed(build, 60, late)
    growth = Growth(lambda: False, lambda _name: late)
    late.waiting.clear()
    growth.go_on(pipeline)
    assert not growth.idle
    growth.pause()
    assert (growth.idle, gridded(pipeline)) == (True, 0)
    late.waiting.clear()
    growth.go_on(pipeline)
    late.work()
    assert gridded(pipeline) == 32


def test_the_tomogram_is_that_of_a_scan_that_grew_at_its_end(build: Callable[..., Rig]) -> None:
    volumes = []
    for name, threads in (("beside", lambda name: ThreadPoolExecutor(1, name)), ("after", lambda _name: Late())):
        rig = build(threads=lambda name, threads=threads: threads(name) if name == "tomogram" else AtOnce(name))
        scan = TinyScan(name, center_px=CENTER)
        rig.run(scan)
        report = rig.finish(scan)
        volumes.append(read_tomogram(rig.directory / f"{name}.tomogram.h5").data)
        assert report.state == "complete", report
    np.testing.assert_allclose(*volumes, atol=1e-5 * np.abs(volumes[0]).max())
