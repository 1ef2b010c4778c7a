"""Every message of the control, event and preview sockets: there and back, read by others, damaged on the way."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from streamer.flow.scan import ScanState
from streamer.flow.wire import WireError, axes, beamline, changer, control, daemon, decode_as, events, looks, pack
from streamer.flow.wire.control import Pong, Refusal, Reply, Request, pack_request, read_reply, read_request
from streamer.flow.wire.daemon import PreviewHeader, Report, read_preview
from streamer.flow.wire.events import StateEvent, read_event
from streamer.frames import BadInput, FrameKind, Quality, Reason, ReasonCode, ScanSpec
from tests.flow.test_wire import mutated

SPEC = ScanSpec("s-1", "tooth", 16, 32, 90, flats=5, pixel_size_m=1e-6, metadata={"proposal": "2026-1"})
JUDGED: dict[str, Any] = {"verdict": "RETAKE", "reasons": (Reason(ReasonCode.MOTION, "it moved"),), "final": True}
QUALITY = Quality(projections=90, snr=7.5, center_px=15.25)
REPORT = Report(
    scan_id="s-1",
    sample="tooth",
    state=ScanState.COMPLETE,
    frames=daemon.FrameCounts(expected=95, received=95),
    written=95,
    projections=daemon.ProjectionCounts(90, 90),
    coverage=1.0,
    quality=QUALITY,
    center_px=15.25,
    raw_file="/data/s-1.nx",
    artefacts={"noise": 0.1, "cupping": None},
    geometry={"geometry": "plain", "width_px": 32},
    plan={"tomogram": "grows with the scan", "memory_mb": 12.5},
    latency_ms=daemon.Latency(1.5, 3.0, 90),
    **JUDGED,
)
PLANE = daemon.PlaneSpec("row-8", (0.0, 0.0, 8.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (32, 32))
STATUS = beamline.BeamlineStatus(
    beamline.RotationStatus(1.5, 2.0, True),
    beamline.TranslationStatus(0.0, 0.0, False, 6.0, 10.0),
    {"z": axes.AxisStatus(0.5, 1.0, True)},
    "open",
    changer.ChangerStatus(2, None, True, "lost it", changer.ChangerState.GRIP_FAILED, ["magazine", "nowhere"]),
    beamline.DetectorStatus(16, 32, 1e-6, 1000.0, 4095.0, 25.0, True, "s-1", False, 12, None),
    beamline.BeamlineOwner("s-1", "ann", ["bob"]),
    beamline.BeamStatus(0.98, "open"),
    beamline.BeamlineEndpoints("tcp://127.0.0.1:1", "tcp://127.0.0.1:2"),
)
FAULTS = beamline.Faults(drop=frozenset({1, 5}), probability={"late": 0.5}, beam_dump=(3, 4), shutter="lying")
DAEMON_REQUESTS: list[Request[Any]] = [
    control.Ping(),
    daemon.Arm(SPEC),
    daemon.Disarm("s-1"),
    daemon.Abort("s-1", "tea"),
    daemon.Trigger("s-1"),
    daemon.EndScan("s-1", 40, "stopped"),
    daemon.GetStatus("s-1"),
    daemon.GetVerdict("s-1", wait=True, timeout_s=2.5),
    daemon.WatchPlanes([PLANE]),
    daemon.FixCenter(15.5),
    daemon.FixCenter(None),
    daemon.FixCenter(UNSET),
    daemon.SendPositions("s-1", 5, [0.0, -1.5], last=True),
    looks.Look("sinogram", 8),
    looks.GetLatest("xy"),
    looks.GetPast(20),
    looks.GetBrick(((0, 16), (2, 8), (4, 12)), 32),
]
BEAMLINE_REQUESTS: list[Request[Any]] = [
    control.Ping(),
    beamline.GetBeamlineStatus(),
    beamline.Claim("s-1", "ann"),
    beamline.Release("s-1"),
    beamline.MoveRotation(90.0, 10.0),
    beamline.MoveX(-6.0),
    axes.MoveAxis("roll", 0.5, "s-1"),
    beamline.SetShutter(True),
    beamline.SetBeam(0.5, "closed"),
    changer.Mount(None),
    changer.Park(),
    changer.HandOver(),
    changer.Confirm(3),
    beamline.Prepare(SPEC, 100.0),
    beamline.Acquire("s-1", 90, FrameKind.PROJECTION, "position", 0.0, 2.0),
    beamline.StopAcquire("s-1"),
    beamline.Finish("s-1", "stopped"),
    beamline.SetFaults(FAULTS),
    beamline.FindTruth("s-1"),
    beamline.Quit(),
]
PREVIEW = PreviewHeader(
    scan_id="s-1", sample="tooth", plane="xy", angles=45, of=90, shape=(2, 3), lo=-1.0, hi=2.0, unit="1/cm", **JUDGED,
    place=PLANE, volume=(16, 32, 32),
)  # fmt: skip
PAYLOAD = np.array([[0, 1, 2], [3, 4, 65535]], "<u2").tobytes()
LOOKED = looks.Looked(
    scan_id="s-1", sample="tooth", subject="raw", shape=(2, 3), lo=0.0, hi=4000.0, unit="counts", index=7,
    kind=FrameKind.FLAT, angle_deg=1.5, count=8, pixels=PAYLOAD,
)  # fmt: skip
BRICK = looks.Brick(
    scan_id="s-1", angles=45, of=90, whole=(16, 32, 32), box=((0, 16), (0, 32), (0, 32)), step=16, shape=(1, 2, 2),
    lo=-1.0, hi=2.0, unit="1/cm", pixel_size_m=1e-6, voxels=bytes(4),
)  # fmt: skip
REPLIES: list[tuple[Request[Any], Reply]] = [
    (control.Ping(), Pong("1.0")),
    (daemon.Arm(SPEC), daemon.Armed("s-1", "/data/s-1.nx", "<u2", (16, 32), {"memory_mb": 12.5})),
    (
        daemon.GetStatus(),
        daemon.DaemonStatus(
            ScanState.COMPLETE,
            "1.0",
            "numba",
            daemon.Endpoints("tcp://a:1", "tcp://a:2", "tcp://a:3", "tcp://a:4"),
            daemon.RingStatus(64, 1, 12),
            REPORT,
        ),
    ),
    (daemon.GetVerdict("s-1"), daemon.VerdictReply("s-1", *JUDGED.values(), QUALITY)),
    (daemon.WatchPlanes(), daemon.WatchedPlanes([PLANE])),
    (daemon.FixCenter(), daemon.CenterReply(None, 0.0, False)),
    (looks.Look("raw"), LOOKED),
    (looks.GetLatest("xy"), looks.LatestPlane(PREVIEW, PAYLOAD)),
    (looks.GetPast(), looks.PastScans([REPORT], ["xy", "xz"])),
    (looks.GetBrick(), BRICK),
    (beamline.GetBeamlineStatus(), STATUS),
    (beamline.Finish("s-1"), beamline.Finished(95)),
    (beamline.FindTruth("s-1"), beamline.TruthFile("/truth/s-1.json")),
    (beamline.Quit(), control.Done()),
]
EVENTS: list[events.Event] = [
    StateEvent(scan_id="s-1", state=ScanState.COMPLETE, time_ns=5, report=REPORT),
    events.ProgressEvent(report=REPORT, scan_id="s-1"),
    events.VerdictEvent.of(REPORT),
    events.FaultEvent(part="receive", text="OSError: no more files", fatal=True, time_ns=5),
]


KNOWN = daemon.DAEMON_REQUESTS + looks.LOOK_REQUESTS
DAEMON_VERBS = {kind.verb: kind for kind in KNOWN}
BEAMLINE_VERBS = {kind.verb: kind for kind in beamline.BEAMLINE_REQUESTS}


def test_there_is_an_example_of_each_request() -> None:
    assert {type(request) for request in DAEMON_REQUESTS} == set(KNOWN)
    assert {type(request) for request in BEAMLINE_REQUESTS} == set(beamline.BEAMLINE_REQUESTS)


@pytest.mark.parametrize("request_", DAEMON_REQUESTS, ids=repr)
def test_a_request_to_the_daemon_survives_the_wire(request_: Request[Any]) -> None:
    assert read_request(pack_request(request_), DAEMON_VERBS) == request_


@pytest.mark.parametrize("request_", BEAMLINE_REQUESTS, ids=repr)
def test_a_request_to_the_beamline_survives_the_wire(request_: Request[Any]) -> None:
    assert read_request(pack_request(request_), BEAMLINE_VERBS) == request_


@pytest.mark.parametrize(("request_", "reply"), REPLIES, ids=lambda value: type(value).__name__)
def test_a_reply_survives_the_wire(request_: Request[Any], reply: Reply) -> None:
    assert read_reply(pack(reply), request_) == reply
    later = {**msgpack.unpackb(pack(reply)), "new": {"of": "a later version"}}
    assert read_reply(msgpack.packb(later), request_) == reply, "unknown keys are ignored"


def test_a_refusal_survives_the_wire() -> None:
    refused = control.refusal(control.Busy("not\nnow"))
    assert read_reply(pack(refused), control.Ping()) == refused == Refusal(error="not now", code="busy")


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.topic)
def test_an_event_survives_the_wire(event: events.Event) -> None:
    assert read_event([event.topic.encode(), pack(event)]) == event


def test_a_preview_survives_the_wire() -> None:
    preview, payload = read_preview([b"plane", pack(PREVIEW), PAYLOAD])
    assert preview == PREVIEW
    np.testing.assert_allclose(preview.values(payload)[[0, 1], [0, 2]], [-1.0, 2.0])


@pytest.mark.parametrize("changes", [{"shape": [2, 4]}, {"pixels": b""}, {"lo": 5000.0}, {"subject": "weather"}])
def test_a_picture_that_cannot_be_true_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        read_reply(msgpack.packb({**msgpack.unpackb(pack(LOOKED)), **changes}), looks.Look("raw"))


def test_a_picture_on_request_has_its_values() -> None:
    np.testing.assert_allclose(LOOKED.image[[0, 1], [0, 2]], [0.0, 4000.0])


def test_a_report_is_the_same_map_for_another_reader() -> None:
    entries = msgpack.unpackb(pack(REPORT))
    counts = dict.fromkeys(daemon.FrameCounts.__struct_fields__, 0)
    assert entries["frames"] == {**counts, "expected": 95, "received": 95}
    assert (entries["state"], entries["verdict"], entries["final"]) == ("complete", "RETAKE", True)
    assert entries["reasons"] == [{"code": "motion", "text": "it moved"}]
    assert entries["quality"]["snr"] == 7.5


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([b"scan"], "parts"),
        ([b"weather", pack({})], "unknown_kind"),
        ([b"scan", b"\xc1"], "header"),
        ([b"scan", pack({"scan_id": "s", "state": "asleep"})], "header"),
        ([b"progress", pack({"scan_id": "s"})], "header"),
    ],
)
def test_an_event_that_cannot_be_true_is_refused(parts: list[bytes], reason: str) -> None:
    with pytest.raises(WireError) as caught:
        read_event(parts)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("change", "payload", "reason"),
    [
        ({}, PAYLOAD[:-1], "truncated"),
        ({"shape": [2, 4]}, PAYLOAD, "truncated"),
        ({"lo": 3.0}, PAYLOAD, "header"),
        ({"hi": float("inf")}, PAYLOAD, "header"),
        ({"unit": "1/mm"}, PAYLOAD, "header"),
        ({"bin": 0}, PAYLOAD, "header"),
    ],
)
def test_a_preview_that_cannot_be_true_is_refused(change: dict[str, Any], payload: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        read_preview([b"plane", msgpack.packb({**msgpack.unpackb(pack(PREVIEW)), **change}), payload])
    assert caught.value.reason == reason


def test_damaged_messages_are_refused_in_one_line_or_usable() -> None:
    dice = random.Random(2)
    requests = DAEMON_VERBS | BEAMLINE_VERBS
    readers: list[tuple[bytes, Any]] = [
        *((pack_request(request), lambda data: read_request(data, requests)) for request in DAEMON_REQUESTS),
        *((pack_request(request), lambda data: read_request(data, requests)) for request in BEAMLINE_REQUESTS),
        *((pack(reply), lambda data, request=request: read_reply(data, request)) for request, reply in REPLIES),
        *((pack(event), lambda data, event=event: decode_as(data, type(event), "event")) for event in EVENTS),
        (pack(PREVIEW), lambda data: read_preview([b"plane", data, PAYLOAD])),
    ]
    usable = 0
    for number in range(20_000):
        body, read = readers[number % len(readers)]
        refused = None
        try:
            read(mutated(body, dice))
        except BadInput as error:
            refused = str(error)
        usable += refused is None
        assert refused is None or ("\n" not in refused and len(refused) < 2000), refused
    assert usable > 100


@given(st.binary(max_size=100), st.sampled_from([request for request, _ in REPLIES]))
def test_any_bytes_are_no_reply_or_a_reply(data: bytes, request: Request[Any]) -> None:
    try:
        reply = read_reply(data, request)
    except BadInput:
        return
    assert isinstance(reply, (Reply, Refusal))
