"""What scout and processes say to each other comes through as it was."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import numpy as np
import pytest

from streamer.cluster.child import as_json
from streamer.cluster.messages import (
    Answer,
    Arm,
    Armed,
    Ask,
    Attach,
    CutterStatus,
    Detach,
    Done,
    Finish,
    Finished,
    Gather,
    Geometry,
    PartStatus,
    Pictures,
    Ready,
    Redirect,
    Refused,
    Request,
    Setup,
    Stop,
    Watch,
    WriteRows,
)
from streamer.config import Config
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.layout.layout import Layout

SPEC = ScanSpec("scan", "sample", 32, 64, 90, flats=3, darks=2, pixel_size_m=1e-6, metadata={"rows": "0:32 of 64"})
GEOMETRY = Geometry(3, Layout(64, 64, 31 + 1 / 3, half=False, extend=True, reason="cut off at the left"), known=True)
OBLIQUE = Plane("oblique", (0.1, 0.2, 0.3), (0.6, 0.0, 0.8), (0.0, 1.0, 0.0), (40, 50))

REQUESTS: tuple[Any, ...] = (
    GEOMETRY,
    Geometry(1, Layout(64, 64, 60.0, half=True), final=True),
    Arm(SPEC, 64, "/data/rows-00000-00032.nx", "2026-01-01T00:00:00Z", GEOMETRY, (OBLIQUE,), True, b"\0\x80"),
    Watch(orthogonal_planes(32, 64)),
    Gather(),
    Finish("complete", 95, "2026-01-01T00:01:00Z", "ended early", (3, 4)),
    WriteRows("/data/scan.tomogram.partial.h5", 4096, 32),
    Attach("scan", ("tcp://127.0.0.1:1", "tcp://10.0.0.2:2"), ((0, 32), (32, 64), (16, 48))),
    Redirect(1, "tcp://127.0.0.1:3"),
    Detach(),
    Ask(),
    Stop(),
)
ANSWERS: tuple[Any, ...] = (
    Refused("a shard has no memory for 4096 rows", busy=True),
    Done(),
    Armed({"tomogram": "grows with the scan", "memory_mb": 12.5}),
    Pictures(3, 90, ("xy", "xz"), ((64, 64), (32, 64))),
    PartStatus("scan", 95, 90, 94, 3),
    Finished(95, 0, ""),
    CutterStatus(95, 2, (0, 3)),
)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: type(one).__name__)
def test_a_request_comes_through(request_: Any) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(request_), type=Request) == request_


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda one: type(one).__name__)
def test_an_answer_comes_through(answer: Any) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=Answer) == answer


def test_every_kind_is_among_them() -> None:
    assert {type(one) for one in REQUESTS} == set(get_args(Request))
    assert {type(one) for one in ANSWERS} == set(get_args(Answer))


def test_the_axis_is_the_same_to_the_last_bit() -> None:
    """Parts of one picture are of one geometry: a rounded axis would be another one."""
    sent = [Geometry(1, Layout(64, 64, float(axis))) for axis in np.random.default_rng(0).uniform(0, 64, 200)]
    for geometry in sent:
        came = msgspec.msgpack.decode(msgspec.msgpack.encode(geometry), type=Geometry)
        assert came.layout.detector_center == geometry.layout.detector_center


@pytest.mark.parametrize("said", [b"\x81\xa4type\xa6Unsaid", b"", b"\xc1", msgspec.msgpack.encode(["Stop"])])
def test_what_is_none_is_refused(said: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.msgpack.decode(said, type=Request)


def test_a_layout_that_makes_no_sense_does_not_arrive() -> None:
    said = msgspec.msgpack.decode(msgspec.msgpack.encode(GEOMETRY))
    said["layout"]["detector_center"] = float("nan")
    with pytest.raises(BadInput, match="no number"):
        msgspec.msgpack.decode(msgspec.msgpack.encode(said), type=Request)


def test_a_process_works_by_the_configuration_of_the_scout() -> None:
    config = Config(
        reconstruction={"threads": 3, "memory_mb": 100.0}, compute={"shards": 4, "engine": "ray"}, ring={"memory_mb": 7}
    )
    setup = Setup(as_json(config), "127.0.0.1", 3, 7 / 4, "tcp://127.0.0.1:9", awaited=True)
    came = msgspec.json.decode(msgspec.json.encode(setup), type=Setup)
    assert came == setup
    assert Config.model_validate_json(came.config) == config
    assert b"\n" not in msgspec.json.encode(setup)  # it is a line


def test_readiness_is_a_line() -> None:
    ready = Ready("tcp://127.0.0.1:1", "tcp://127.0.0.1:2", "two\nlines", failed=True, pid=7)
    line = msgspec.json.encode(ready)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Ready) == ready
