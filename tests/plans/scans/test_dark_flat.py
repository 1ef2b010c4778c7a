"""Darks and flats where the scan wants them, and angles as stages and users give them."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from streamer.frames import BadInput
from streamer_plans.devices.requests import ScanSetup
from streamer_plans.tomo import TomoScan, tomo_fly, tomo_golden, tomo_step

FIELDS = [2] * 3 + [1] * 4


def image_keys(outcome):
    with h5py.File(outcome.report.raw_file) as file:
        return file["/entry/instrument/detector/image_key"][...].tolist()


def angles_of(outcome):
    with h5py.File(outcome.report.raw_file) as file:
        keys = file["/entry/instrument/detector/image_key"][...]
        return file["/entry/sample/rotation_angle"][...][keys == 0]


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        ({}, [*FIELDS, *[0] * 10]),
        ({"darks": 0, "flats": 0, "darks_after": 2, "flats_after": 3}, [*[0] * 10, 2, 2, 1, 1, 1]),
        ({"darks_after": 1, "flats_after": 2}, [*FIELDS, *[0] * 10, 2, 1, 1]),
        ({"flats_every": 4}, [*FIELDS, *[0] * 4, *[1] * 4, *[0] * 4, *[1] * 4, *[0] * 2]),
        ({"flats_every": 5, "flats_after": 1}, [*FIELDS, *[0] * 5, *[1] * 4, *[0] * 5, 1]),
    ],
    ids=["start", "end", "both", "every 4", "every 5 and end"],
)
@pytest.mark.parametrize("plan", [tomo_fly, tomo_golden])
def test_darks_and_flats_come_where_they_are_wanted(engine, documents, start_daemon, connect, scan, wanted, keys, plan):
    beamline = connect(start_daemon())
    outcome = engine(plan(beamline, replace(scan, projections=10, **wanted))).plan_result
    assert image_keys(outcome) == keys
    assert documents.of("start")[0]["num_points"] == len(keys) == documents.announced("detector")
    assert documents.of("start")[0]["plan_name"] == plan.__name__


def test_flats_in_between_leave_the_angles_of_a_rotation_as_they_are(engine, start_daemon, connect, scan):
    beamline = connect(start_daemon())
    outcome = engine(tomo_fly(beamline, replace(scan, flats_every=7, start_deg=90.0, range_deg=-180.0))).plan_result
    np.testing.assert_allclose(angles_of(outcome), 90 - 4.5 * np.arange(40), atol=0.02)


def test_flats_are_taken_at_a_place_with_a_name(engine, start_daemon, connect, scan):
    beamline = replace(connect(start_daemon()), flat_positions={"left": -7.0, "right": 7.0})
    seen = []
    start = beamline.sample_x._start
    beamline.sample_x._start = lambda target, velocity: (seen.append(target), start(target, velocity))
    engine(tomo_fly(beamline, replace(scan, projections=4, flat_position="left")))
    assert seen == [-7.0, 0.0]
    with pytest.raises(BadInput, match=r"flat_position 'up': the beamline knows no such place; known: left, right"):
        engine(tomo_fly(beamline, replace(scan, flat_position="up")))


@pytest.mark.parametrize("angles", [(350.0, 180.0), (-90.0, 180.0), (10_000.0, -180.0), (720.0, 360.0)])
def test_a_stage_may_report_its_angle_modulo_360(engine, start_daemon, connect, scan, monkeypatch, angles):
    beamline = connect(start_daemon())
    kind = type(beamline.rotation)
    where = kind._where

    def wrapped(axis):
        position, moving = where(axis)
        return position % 360.0, moving

    monkeypatch.setattr(kind, "_where", wrapped)
    monkeypatch.setattr(kind, "period", 360.0)
    start, turn = angles
    outcome = engine(tomo_fly(beamline, replace(scan, start_deg=start, range_deg=turn))).plan_result
    np.testing.assert_allclose(angles_of(outcome), start + turn / 40 * np.arange(40), atol=0.02)
    outcome = engine(tomo_step(beamline, scan, [start, start + turn / 3])).plan_result
    assert np.cos(np.deg2rad(angles_of(outcome) - [start, start + turn / 3])) == pytest.approx(1.0, abs=1e-6)


def test_what_the_devices_know_reaches_the_announcement(engine, start_daemon, connect, scan):
    beamline = connect(start_daemon())
    geometry = beamline.detector.hardware.geometry()
    assert geometry.energy_kev is not None
    assert geometry.saturation is not None
    engine(tomo_fly(beamline, replace(scan, distance_m=0.25)))
    spec = beamline.detector._scan()
    assert (spec.energy_kev, spec.distance_m, spec.saturation) == (20.0, 0.25, geometry.saturation)
    assert (spec.pixel_size_m, spec.dtype) == (geometry.pixel_size_m, geometry.dtype)
    assert geometry.spec(ScanSetup("s", "s", 10, energy_kev=12.5)).energy_kev == 12.5


def test_parts_of_a_scan_are_all_of_its_projections():
    assert TomoScan("a", 10, flats_every=4).parts == [(0, 4), (4, 4), (8, 2)]
    assert TomoScan("a", 10).parts == [(0, 10)]
    assert TomoScan("a", 10, flats=3, flats_every=4, flats_after=1).all_flats == 10
