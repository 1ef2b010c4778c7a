"""The whole virtual beamline in its own process, over real sockets."""

from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from streamer.flow.wire import End, Start, checksum
from streamer.sim.truth import read_truth, truth_volume


def test_whole_scan_arrives_with_all_kinds(beamline: Any) -> None:
    scan = beamline.scan("whole", projections=30, calibration=5)
    assert isinstance(scan.messages[0], Start)
    assert scan.messages[0].spec.scan_id == "whole"
    end = scan.messages[-1]
    assert isinstance(end, End)
    assert (end.frames, end.status) == (40, "ok")
    assert [h.meta.index for h, _ in scan.frames] == list(range(40))
    assert [int(h.meta.kind) for h, _ in scan.frames] == [2] * 5 + [1] * 5 + [0] * 30
    first = scan.messages[0].seq
    assert [header.meta.seq for header, _ in scan.frames] == list(range(first + 1, first + 41))
    assert end.seq == first + 41
    assert all(checksum(p) == h.checksum and len(p) == h.size for h, p in scan.frames)
    assert all(b > a for (a, b) in zip(scan.angles_deg, scan.angles_deg[1:], strict=False))
    jitter = np.array(scan.angles_deg) - np.arange(30) * 6.0
    assert 0 < np.abs(jitter).max() < 0.01
    assert scan.stack(2).mean() < 60 < 2000 < scan.stack(1).mean()
    assert 0.7 < np.percentile(scan.attenuation(), 99.5) < 1.6


def test_truth_file_tells_what_was_done(beamline: Any) -> None:
    scan = beamline.scan("told", projections=12)
    truth = read_truth(beamline.do("truth", scan_id="told")["path"])
    assert truth["complete"]
    assert (truth["sample"], truth["slot"], truth["status"], truth["issued"]) == ("weevil", 0, "ok", 20)
    assert truth["frames"]["seen"] == "DDDDFFFF" + 12 * "P"
    np.testing.assert_allclose(truth["frames"]["angle_deg"][8:], scan.angles_deg)
    assert truth["geometry"]["center_px"] == pytest.approx(23.5 + 2.3)
    assert not any(truth["faults"][kind] for kind in ("drop", "corrupt", "unsent"))


def test_tomogram_of_the_stream_agrees_with_the_truth(beamline: Any) -> None:
    """Direct filtered backprojection of one row with the true centre: the conventions of the whole chain."""
    scan = beamline.scan("tomogram", projections=120, calibration=12)
    truth = read_truth(beamline.truth_dir / "tomogram.truth.json")
    row, center = 24, truth["geometry"]["center_px"]
    pixel_cm = truth["geometry"]["pixel_size_m"] * 100
    expected = truth_volume(truth, [row])[0]
    errors = [
        rms(backproject(scan.attenuation()[:, row], scan.angles_deg, center + shift) / pixel_cm, expected)
        for shift in (-1.0, 0.0, 1.0)
    ]
    assert errors[1] < 0.75 * min(errors[0], errors[2])
    assert errors[1] < 0.1 * expected.max()


def backproject(sinogram: np.ndarray, angles_deg: list[float], center: float) -> np.ndarray:
    """Ramp-filtered backprojection of (angle, column) to (y, x), in 1/pixel."""
    size = sinogram.shape[1]
    lag = np.minimum(np.arange(4 * size), 4 * size - np.arange(4 * size))
    ramp = np.where(lag % 2 == 1, -1.0 / (np.pi * np.maximum(lag, 1)) ** 2, 0.0)
    ramp[0] = 0.25
    filtered = np.fft.irfft(np.fft.rfft(sinogram, 4 * size) * np.fft.rfft(ramp), 4 * size)[:, :size]
    y, x = np.indices((size, size)) - (size - 1) / 2
    turns = np.deg2rad(angles_deg)
    parts = (
        np.interp(center + x * np.cos(t) + y * np.sin(t), np.arange(size), line)
        for t, line in zip(turns, filtered, strict=True)
    )
    return np.sum(list(parts), axis=0) * np.pi / len(turns)


def rms(image: np.ndarray, truth: np.ndarray) -> float:
    y, x = np.indices(image.shape) - (len(image) - 1) / 2
    inside = x**2 + y**2 < (0.45 * len(image)) ** 2
    return float(np.sqrt(np.mean((image - truth)[inside] ** 2)))


def test_shutter_and_x_decide_what_is_seen_not_the_label(beamline: Any) -> None:
    join = beamline.collect()
    beamline.do("prepare", spec=beamline.spec("labels"), rate_hz=500.0)
    for opened, x_mm in ((False, 0.0), (True, 6.0), (True, -6.0), (True, 0.0)):
        beamline.do("shutter", open=opened)
        beamline.do("x", target_mm=x_mm)
        beamline.settle()
        beamline.take(2, 3)
        beamline.settle()
    beamline.do("finish", status="stopped")
    frames = [np.frombuffer(payload, "<u2").reshape(header.shape) for header, payload in beamline.frames(join())]
    dark, out, other_side, sample = (frames[k].astype(float) for k in (0, 2, 4, 6))
    assert dark.mean() < 60
    assert out.mean() == pytest.approx(other_side.mean(), rel=0.01)
    assert sample[20:28, 20:28].mean() < 0.7 * out[20:28, 20:28].mean()
    truth = read_truth(beamline.truth_dir / "labels.truth.json")
    assert truth["frames"]["seen"] == "DDFFFFPP"
    assert truth["frames"]["kind"] == [3] * 8


def test_without_a_beam_there_is_no_light_and_the_monitor_says_so(beamline: Any) -> None:
    join = beamline.collect()
    beamline.do("prepare", spec=beamline.spec("dump"), rate_hz=500.0)
    beamline.do("shutter", open=True)
    for changes in ({}, {"current": 0.5}, {"front_end": "closed"}, {"current": 1.0, "front_end": "open"}):
        beamline.do("beam", **changes)
        beamline.take(2, 3)
        beamline.settle()
    assert beamline.do("status")["beam"] == {"current": 1.0, "front_end": "open"}
    beamline.do("finish", status="stopped")
    seen = [(header.monitor, np.frombuffer(payload, "<u2").mean()) for header, payload in beamline.frames(join())]
    monitors, light = np.array(seen[::2]).T
    assert monitors == pytest.approx([1.0, 0.5, 0.0, 1.0], abs=0.01)
    assert light[0] == pytest.approx(light[3], rel=0.01)
    assert light[1] == pytest.approx(light[0] / 2, rel=0.1)
    assert light[2] < 60


def test_x_shifts_axis_and_sample_together(beamline: Any) -> None:
    pixel_mm = beamline.do("status")["detector"]["pixel_size_m"] * 1e3
    straight = beamline.scan("straight", 6, 12)
    moved = beamline.scan("moved", 6, 12, x_mm=3 * pixel_mm)
    truth = read_truth(beamline.truth_dir / "moved.truth.json")
    assert truth["geometry"]["center_px"] == pytest.approx(23.5 + 2.3 + 3.0)
    first, second = straight.attenuation(), moved.attenuation()
    assert np.corrcoef(first[:, 5:-5, 5:-8].ravel(), second[:, 5:-5, 8:-5].ravel())[0, 1] > 0.95
    assert np.corrcoef(first[:, 5:-5, 5:-8].ravel(), second[:, 5:-5, 5:-8].ravel())[0, 1] < 0.9


def test_internal_trigger_takes_the_angle_of_the_stage(beamline: Any) -> None:
    join = beamline.collect()
    beamline.do("prepare", spec=beamline.spec("steps"), rate_hz=500.0)
    beamline.do("shutter", open=True)
    for target in (10.0, 55.5):
        beamline.do("rotation", target_deg=target, velocity_deg_s=2000.0)
        beamline.settle()
        beamline.take(2, 0)
        beamline.settle()
    beamline.do("finish", status="ok")
    angles = [header.meta.angle_deg for header, _ in beamline.frames(join())]
    np.testing.assert_allclose(angles, [10.0, 10.0, 55.5, 55.5], atol=0.01)


def test_position_compare_waits_for_the_stage_and_can_be_stopped(beamline: Any) -> None:
    join = beamline.collect()
    beamline.do("rotation", target_deg=90.0, velocity_deg_s=2000.0)
    beamline.settle()
    beamline.do("prepare", spec=beamline.spec("waits"), rate_hz=500.0)
    beamline.take(5, 0, trigger="position", start_deg=10.0, step_deg=10.0)
    beamline.do("rotation", target_deg=0.0, velocity_deg_s=2000.0)
    beamline.wait(lambda: not beamline.do("status")["rotation"]["moving"])
    assert beamline.do("status")["detector"]["issued"] == 0
    beamline.do("rotation", target_deg=32.0, velocity_deg_s=2000.0)
    beamline.wait(lambda: beamline.do("status")["detector"]["issued"] == 3)
    assert beamline.do("status")["detector"]["acquiring"]
    assert beamline.ask("finish", status="ok")["code"] == "busy"
    beamline.do("stop_acquire")
    beamline.settle()
    beamline.do("finish", status="stopped")
    messages = join()
    assert (messages[-1][0].frames, messages[-1][0].status) == (3, "stopped")


def test_angles_run_backwards_with_a_negative_step(beamline: Any) -> None:
    join = beamline.collect()
    beamline.do("rotation", target_deg=181.0, velocity_deg_s=5000.0)
    beamline.do("prepare", spec=beamline.spec("back", 6, start_deg=180.0, range_deg=-180.0), rate_hz=500.0)
    beamline.settle()
    beamline.take(6, 0, trigger="position", start_deg=180.0, step_deg=-30.0)
    beamline.do("rotation", target_deg=0.0, velocity_deg_s=2000.0)
    beamline.settle()
    beamline.do("finish", status="ok")
    angles = [header.meta.angle_deg for header, _ in beamline.frames(join())]
    np.testing.assert_allclose(angles, [180, 150, 120, 90, 60, 30], atol=0.01)


def test_slipping_sample_slips_once_and_then_rests(beamline: Any) -> None:
    beamline.mount(2)
    beamline.settle()
    slipping, resting = beamline.scan("slip", 20, 2), beamline.scan("rest", 20, 2)
    before, after = (read_truth(beamline.truth_dir / f"{name}.truth.json") for name in ("slip", "rest"))
    assert len(before["motion"]["knots"]) == 2
    assert len(after["motion"]["knots"]) == 1
    assert before["motion"]["knots"][-1]["shift_mm"] == after["motion"]["knots"][0]["shift_mm"]
    change = np.abs(slipping.attenuation() - resting.attenuation())[:, 4:-4, 4:-4].mean(axis=(1, 2))
    assert change[:10].min() > 2 * change[13:].max()
    moved = truth_volume(before, [24], progress=1.0)
    np.testing.assert_allclose(moved, truth_volume(after, [24]))
    assert np.abs(moved - truth_volume(before, [24])).max() > 1


def test_misplaced_sample_and_empty_holder(beamline: Any) -> None:
    beamline.mount(1)
    beamline.settle()
    beamline.scan("misplaced", 4)
    center = read_truth(beamline.truth_dir / "misplaced.truth.json")["geometry"]["center_px"]
    assert (center - 23.5) / 48 > 0.11
    beamline.mount(3)
    beamline.settle()
    attenuation = beamline.scan("nothing", 4, 12).attenuation()
    assert abs(np.median(attenuation)) < 0.02
    assert np.percentile(attenuation, 99) < 0.15


def test_status_has_the_keys_of_the_protocol(beamline: Any) -> None:
    status = beamline.do("status")
    assert set(status) >= {"rotation", "x", "shutter", "changer", "detector", "endpoints"}
    assert set(status["rotation"]) == {"position_deg", "target_deg", "moving"}
    assert set(status["x"]) >= {"position_mm", "target_mm", "moving", "out_mm"}
    assert set(status["changer"]) == {"slots", "mounted", "busy", "fault", "state", "inventory"}
    keys = {"rows", "columns", "pixel_size_m", "max_rate_hz", "armed", "acquiring", "issued", "error"}
    assert set(status["detector"]) >= keys
    assert status["endpoints"] == {k: beamline.endpoints[k] for k in ("control", "frames")}
    assert beamline.do("ping")["version"]


@pytest.mark.parametrize(
    ("verb", "args", "code"),
    [
        ("dance", {}, "unknown_verb"),
        ("rotation", {}, "bad_input"),
        ("rotation", {"target_deg": math.nan}, "bad_input"),
        ("rotation", {"target_deg": 10.0, "velocity_deg_s": -1.0}, "bad_input"),
        ("x", {"target_mm": 1e9}, "bad_input"),
        ("x", {"target_mm": "left"}, "bad_input"),
        ("shutter", {"open": 1}, "bad_input"),
        ("mount", {"slot": 77}, "bad_input"),
        ("mount", {"slot": -1}, "bad_input"),
        ("mount", {}, "bad_input"),
        ("acquire", {"frames": 1, "kind": 0}, "bad_input"),
        ("finish", {"status": "ok"}, "bad_input"),
        ("prepare", {}, "bad_input"),
        ("prepare", {"spec": {"scan_id": "../evil"}, "rate_hz": 100.0}, "bad_input"),
        ("faults", {"set": {"explode": [1]}}, "bad_input"),
        ("truth", {"scan_id": "never"}, "bad_input"),
        ("truth", {"scan_id": "../../etc/passwd"}, "bad_input"),
    ],
)
def test_bad_requests_get_one_line_and_the_server_goes_on(
    beamline: Any, verb: str, args: dict[str, Any], code: str
) -> None:
    reply = beamline.ask(verb, **args)
    assert not reply["ok"]
    assert reply["code"] == code
    assert reply["error"]
    assert "\n" not in reply["error"]
    assert beamline.do("ping")["ok"]


@pytest.mark.parametrize("body", [b"", b"\xc1", msgpack.packb([1, 2]), msgpack.packb({"v": 9, "verb": "ping"})])
def test_bytes_that_are_no_request_are_refused(beamline: Any, body: bytes) -> None:
    assert beamline.raw(body)["code"] == "bad_input"


def test_prepare_refuses_what_the_camera_cannot_do(beamline: Any) -> None:
    for wrong in ({"rows": 7}, {"dtype": "<f4"}, {"metadata": {"note": "x" * 5000}}, {"metadata": 3}):
        reply = beamline.ask("prepare", spec=beamline.spec("wrong") | wrong, rate_hz=100.0)
        assert reply["code"] == "bad_input", wrong
    assert beamline.ask("prepare", spec=beamline.spec("fast"), rate_hz=1e9)["code"] == "bad_input"


def test_arming_again_ends_the_scan_before(beamline: Any) -> None:
    join = beamline.collect(ends=2)
    beamline.do("prepare", spec=beamline.spec("first"), rate_hz=500.0)
    beamline.do("prepare", spec=beamline.spec("second"), rate_hz=500.0)
    beamline.take(100_000, 2)
    assert beamline.ask("prepare", spec=beamline.spec("third"), rate_hz=500.0)["code"] == "busy"
    assert beamline.ask("acquire", frames=1, kind=0)["code"] == "busy"
    assert beamline.ask("mount", slot=1)["code"] == "busy"
    beamline.do("finish", status="aborted")
    messages = [m for m, _ in join()]
    assert [m.scan_id for m in messages if isinstance(m, End)] == ["first", "second"]
    assert messages[-1].status == "aborted"


def test_dealer_gets_its_whole_envelope_back(beamline: Any) -> None:
    body = msgpack.packb({"v": 1, "verb": "ping", "args": {}})
    with beamline.context.socket(zmq.DEALER) as dealer:
        dealer.connect(beamline.endpoints["control"])
        for envelope in ([], [b""], [b"one", b"two", b""]):
            dealer.send_multipart([*envelope, body])
            assert dealer.poll(100_000)
            parts = dealer.recv_multipart()
            assert parts[:-1] == envelope
            assert msgpack.unpackb(parts[-1])["ok"]
