"""Scans that end by themselves: virtual beamline, real daemon, real RunEngine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from streamer.cli.rig.processes import start_beamline, start_daemon
from streamer.frames import Decision, ReasonCode
from streamer_plans import stubs
from streamer_plans.devices.beamline import Beamline, sim_beamline
from streamer_plans.tomo import TomoScan, tomo_interlaced

LONG = TomoScan("wood", projections=4000, darks=3, flats=10, rate_hz=100.0, x_out_mm=6.0)
"""It would take 40 seconds, and is enough, or hopeless, after a few: a slow machine only stops it later."""


@pytest.fixture(scope="module")
def beamline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beamline]:
    """The devices of a beamline, and a daemon that wants a coarse resolution, which these scans reach soon."""
    folder = tmp_path_factory.mktemp("adaptive")
    options = ("--size", "64", "--rows", "16", "--samples", "2", "--mount-s", "0.05", "--seed", "3")
    hardware = start_beamline(folder, *options)
    source, writer = {"endpoint": hardware.wait_ready()["frames"]}, {"directory": folder, "reserve_mb": 0}
    limits = {"max_resolution_px": 10.0, "max_center_offset_share": 0.2}
    daemon = start_daemon(folder, source=source, writer=writer, limits=limits)
    daemon.wait_ready()
    devices = sim_beamline(hardware.endpoints["control"], daemon.endpoints["control"], 30.0)
    devices.rotation.velocity.put(2000.0)
    yield devices
    devices.close()
    daemon.stop()
    hardware.stop()


def test_interlaced_turns_stop_when_the_data_are_enough(engine: Any, documents: Any, beamline: Beamline) -> None:
    engine(stubs.mount(beamline.changer, 0))
    outcome = engine(tomo_interlaced(beamline, replace(LONG, stop_early=True))).plan_result
    (stop,) = documents.of("stop")
    assert stop["exit_status"] == "success"
    report = outcome.report
    assert (outcome.verdict.decision, outcome.verdict.final, report.state) == (Decision.ENOUGH, True, "complete")
    assert 4005 // 8 < report.projections.received < 4005
    assert stop["num_events"]["primary"] == report.frames.received == report.frames.expected
    assert report.quality.resolution_px <= 12.0
    assert report.tomogram_file


def test_an_empty_holder_is_not_scanned_to_the_end(engine: Any, documents: Any, beamline: Beamline) -> None:
    engine(stubs.unmount(beamline.changer))
    outcome = engine(tomo_interlaced(beamline, replace(LONG, stop_spoiled=True))).plan_result
    assert documents.of("stop")[0]["exit_status"] == "success"
    assert (outcome.verdict.decision, outcome.verdict.codes[0]) == (Decision.EMPTY, ReasonCode.EMPTY)
    assert outcome.verdict.final
    assert outcome.report.projections.received < 4005
