"""Scans that go well."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from bluesky.protocols import Collectable, Flyable, Preparable, Stageable, Triggerable, WritesStreamAssets

from streamer.frames import BadInput, Decision, Reason, ReasonCode
from streamer_plans.orders import golden_angles
from streamer_plans.tomo import tomo_fly, tomo_interlaced, tomo_step

FRAMES = 47


def test_a_fly_scan_is_one_run_with_all_frames_and_a_verdict(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon())
    outcome = engine(tomo_fly(beamline, scan)).plan_result
    assert [name for name, _ in documents.all].count("start") == 1
    (start,), (stop,) = documents.of("start"), documents.of("stop")
    assert (start["plan_name"], start["sample_name"], start["num_points"]) == ("tomo_fly", "wood", FRAMES)
    assert start["tomo_scan_id"] == outcome.scan_id
    assert (stop["exit_status"], stop["reason"]) == ("success", "nothing_wrong: fine")
    assert (stop["num_events"]["primary"], stop["num_events"]["verdict"]) == (FRAMES, 1)
    for key in ("detector", "detector_image_key", "detector_rotation_angle"):
        assert documents.announced(key) == FRAMES
    assert outcome.run_uid == start["uid"]
    assert outcome.verdict.decision is Decision.ENOUGH
    assert outcome.verdict.reasons == (Reason(ReasonCode.NOTHING_WRONG, "fine"),)
    assert outcome.verdict.final
    (event,) = documents.events("verdict")
    told = {key: event["data"][f"streamer_{key}"] for key in ("decision", "reason_codes", "reason_texts", "final")}
    assert told == {"decision": "ENOUGH", "reason_codes": ["nothing_wrong"], "reason_texts": ["fine"], "final": 1}


def test_the_documents_lead_to_the_frames(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon())
    engine(tomo_fly(beamline, scan))
    descriptor = next(d for d in documents.of("descriptor") if d["name"] == "primary")
    resources = {resource["data_key"]: resource for resource in documents.of("stream_resource")}
    image = descriptor["data_keys"]["detector"]
    assert (image["shape"], image["dtype_numpy"], image["external"]) == ([8, 32], "<u2", "STREAM:")
    assert resources["detector"]["parameters"]["join_method"] == "stack"
    path = resources["detector"]["uri"].removeprefix("file://localhost")
    with h5py.File(path) as file:
        assert file[resources["detector"]["parameters"]["dataset"]].shape == (FRAMES, 8, 32)
        keys = file[resources["detector_image_key"]["parameters"]["dataset"]][()]
        angles = file[resources["detector_rotation_angle"]["parameters"]["dataset"]][()]
    np.testing.assert_array_equal(keys, [2] * 3 + [1] * 4 + [0] * 40)
    np.testing.assert_allclose(angles[7:], np.arange(40) * 4.5, atol=0.02)
    assert descriptor["configuration"]["detector"]["data"]["detector_rate_hz"] == 100.0


def test_everything_is_safe_afterwards(engine, start_daemon, connect, scan):
    beamline = connect(start_daemon())
    engine(tomo_fly(beamline, scan))
    assert beamline.shutter.read()["shutter"]["value"] == "closed"
    assert beamline.rotation.velocity.get() == 2000.0
    assert not beamline.detector.hardware.activity().acquiring


def test_flats_may_come_after_too_and_the_rotation_may_turn_back(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon())
    engine(tomo_fly(beamline, replace(scan, flats_after=2, start_deg=180.0, range_deg=-180.0)))
    assert documents.of("stop")[0]["num_events"]["primary"] == FRAMES + 2


def test_a_step_scan_takes_the_angles_in_the_order_given(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon())
    angles = golden_angles(8)
    outcome = engine(tomo_step(beamline, scan, angles)).plan_result
    with h5py.File(outcome.report.raw_file) as file:
        np.testing.assert_allclose(file["/entry/sample/rotation_angle"][7:], angles, atol=0.02)
    assert documents.of("stop")[0]["num_events"]["primary"] == 15
    assert documents.announced("detector") == 15


def test_an_early_stop_is_a_success(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon({"live_after": 20, "live": "nothing_wrong"}))
    engine(tomo_fly(beamline, replace(scan, projections=3000, stop_early=True)))
    (stop,) = documents.of("stop")
    assert stop["exit_status"] == "success"
    assert 27 <= stop["num_events"]["primary"] < 2500


@pytest.mark.parametrize("code", ["motion", "empty", "axis_off", "no_light"])
def test_a_spoiled_scan_is_not_taken_to_its_end(engine, documents, start_daemon, connect, scan, code):
    beamline = connect(start_daemon({"live_after": 20, "live": code, "verdict": "RETAKE"}))
    outcome = engine(tomo_fly(beamline, replace(scan, projections=3000, stop_spoiled=True))).plan_result
    (stop,) = documents.of("stop")
    assert stop["exit_status"] == "success"
    assert 27 <= stop["num_events"]["primary"] < 2500
    assert documents.announced("detector") == stop["num_events"]["primary"]
    assert outcome.verdict.decision is Decision.RETAKE
    assert beamline.shutter.read()["shutter"]["value"] == "closed"


@pytest.mark.parametrize(
    ("live", "options"),
    [("motion", {"stop_early": True}), ("nothing_wrong", {"stop_spoiled": True}), ("other", {"stop_spoiled": True})],
)
def test_a_scan_goes_on_where_the_plan_does_not_ask(engine, documents, start_daemon, connect, scan, live, options):
    beamline = connect(start_daemon({"live_after": 2, "live": live}))
    engine(tomo_fly(beamline, replace(scan, projections=100, **options)))
    assert documents.of("stop")[0]["num_events"]["primary"] == 107


def test_golden_steps_end_when_the_data_are_enough(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon({"live_after": 12, "live": "nothing_wrong"}))
    angles = golden_angles(200)
    outcome = engine(tomo_step(beamline, replace(scan, stop_early=True), angles)).plan_result
    taken = documents.of("stop")[0]["num_events"]["primary"] - 7
    assert 12 <= taken < 190
    with h5py.File(outcome.report.raw_file) as file:
        np.testing.assert_allclose(file["/entry/sample/rotation_angle"][7:], angles[:taken], atol=0.02)


def test_interlaced_turns_are_one_rotation_at_a_constant_step(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon())
    outcome = engine(tomo_interlaced(beamline, scan, turns=5)).plan_result
    (start,) = documents.of("start")
    assert start["plan_name"] == "tomo_interlaced"
    assert (start["geometry"]["projections"], start["geometry"]["range_deg"]) == (43, 900.0)
    with h5py.File(outcome.report.raw_file) as file:
        angles = file["/entry/sample/rotation_angle"][7:]
    np.testing.assert_allclose(angles, np.arange(43) * 900 / 43, atol=0.02)
    assert documents.announced("detector") == 50


def test_interlaced_turns_end_when_the_data_are_enough(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon({"live_after": 20, "live": "nothing_wrong"}))
    engine(tomo_interlaced(beamline, replace(scan, projections=3000, stop_early=True)))
    (stop,) = documents.of("stop")
    assert stop["exit_status"] == "success"
    assert 27 <= stop["num_events"]["primary"] < 2500


def test_turns_that_do_not_interlace_are_refused(engine, start_daemon, connect, scan):
    beamline = connect(start_daemon())
    with pytest.raises(BadInput, match="turns of 200° do not interlace; use 180 or 360"):
        engine(tomo_interlaced(beamline, replace(scan, range_deg=200.0)))


def test_without_a_verdict_it_is_unknown(engine, documents, start_daemon, connect, scan):
    beamline = connect(start_daemon({"silent": True}))
    outcome = engine(tomo_fly(beamline, replace(scan, verdict_timeout_s=1.0))).plan_result
    assert outcome.verdict.decision is Decision.UNKNOWN
    assert outcome.verdict.codes == (ReasonCode.NO_VERDICT,)
    assert documents.of("stop")[0]["exit_status"] == "success"


def test_lost_frames_do_not_hold_up_a_scan(engine, documents, start_daemon, connect, scan, faults):
    beamline = connect(start_daemon())
    faults(drop=[1, 20, 46])
    engine(tomo_fly(beamline, scan))
    (stop,) = documents.of("stop")
    assert stop["exit_status"] == "success"
    assert stop["num_events"]["primary"] == FRAMES - 3


@pytest.mark.parametrize("protocol", [Stageable, Preparable, Flyable, Collectable, WritesStreamAssets, Triggerable])
def test_the_detector_satisfies_the_protocols(protocol, start_daemon, connect):
    assert isinstance(connect(start_daemon()).detector, protocol)
