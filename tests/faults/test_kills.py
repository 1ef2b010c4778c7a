"""Short form of ``benchmarks.faults.kills``: real processes, ``kill -9``, every frame compared with what was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.faults import kills
from benchmarks.faults.killing import Beamline, Camera, Trial

pytestmark = pytest.mark.timeout(900)  # the cache of kernels may be empty

CAMERA = Camera(rows=16, columns=64, projections=60)


@pytest.fixture(scope="module")
def beamline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beamline]:
    running = Beamline(tmp_path_factory.mktemp("kills"), "acknowledged", tomogram=True)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def whole(beamline: Beamline) -> np.ndarray[Any, Any]:
    trial, volume = kills.acknowledged_scan(beamline, CAMERA, "whole", None, None)
    assert (trial.state, trial.lost, trial.doubled, trial.wrong) == ("complete", 0, 0, 0)
    assert volume is not None
    return volume


@pytest.mark.parametrize("scan", [kills.acknowledged_scan, kills.producer_scan], ids=["daemon", "producer"])
def test_no_frame_is_lost_when_a_process_of_an_acknowledged_scan_is_killed(
    beamline: Beamline, whole: np.ndarray[Any, Any], scan: Callable[..., tuple[Trial, Any]]
) -> None:
    trial, _ = scan(beamline, CAMERA, scan.__name__.replace("_", "-"), CAMERA.projections // 2, whole)
    assert (trial.state, trial.lost, trial.doubled, trial.wrong) == ("complete", 0, 0, 0)
    assert trial.tomogram_difference is not None
    assert trial.tomogram_difference <= 1e-5


def test_what_push_loses_with_the_daemon_is_listed(tmp_path: Path) -> None:
    beamline = Beamline(tmp_path, "push", tomogram=False)
    try:
        trial, _ = kills.push_scan(beamline, CAMERA, "pushed", CAMERA.projections // 2, None)
    finally:
        beamline.stop()
    assert (trial.doubled, trial.wrong) == (0, 0)
    assert trial.lost == trial.listed
