"""The camera of docs/how-to/camera.md: it does what TomoDetector wants of it."""

from __future__ import annotations

import pytest

from examples.camera import SdkCamera
from streamer.client import LinkTimeout
from streamer.frames import FrameKind, ScanSpec
from streamer_plans.devices.cameras.camera import Activity, Geometry
from streamer_plans.devices.requests import Exposures

SPEC = ScanSpec("scan-1", "wood", 8, 16, 10)


class Sdk:
    """The library of a camera that takes frames when the test says so."""

    size = 8, 16

    def __init__(self) -> None:
        self.armed: tuple[int, float, bool] | None = None
        self.done, self.there = 0, True

    def arm(self, frames: int, period_s: float, external: bool) -> None:
        self.armed, self.done = (frames, period_s, external), 0

    def status(self) -> tuple[bool, int]:
        if not self.there:
            raise OSError("no cable")
        return self.armed is not None and self.done < self.armed[0], self.done

    def abort(self) -> None:
        self.armed = None


def test_frames_are_counted_over_the_exposures_of_a_scan() -> None:
    sdk = Sdk()
    camera = SdkCamera(sdk, 6.5e-6, 100.0)
    assert camera.geometry() == Geometry(8, 16, 6.5e-6, 100.0)
    camera.prepare(SPEC, 50.0)
    camera.acquire(Exposures(3, FrameKind.FLAT))
    assert sdk.armed == (3, 0.02, False)
    sdk.done = 3
    assert camera.activity() == Activity(acquiring=False, issued=3, error=None)
    camera.acquire(Exposures(10, FrameKind.PROJECTION, step_deg=0.5))
    assert sdk.armed == (10, 0.02, True)
    sdk.done = 4
    assert camera.activity() == Activity(acquiring=True, issued=7, error=None)
    camera.stop()
    assert camera.activity() == Activity(acquiring=False, issued=7, error=None)
    camera.prepare(SPEC, 50.0)
    assert camera.activity().issued == 0, "the frames of the scan before do not count"


def test_a_camera_that_is_gone_is_named() -> None:
    sdk = Sdk()
    sdk.there = False
    with pytest.raises(LinkTimeout, match="no cable"):
        SdkCamera(sdk, 6.5e-6, 100.0).activity()
