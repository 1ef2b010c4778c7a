"""Pictures of planes on their way out: in order, and of the planes that are shown."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import zmq

from streamer.core.arrays import Image
from streamer.core.planes.plane import Plane
from streamer.daemon.compute.pictures import Pictures
from streamer.flow.wire.daemon import PreviewHeader
from streamer.io.messaging.publish import EVENT_HIGH_WATER_MARK, Publisher
from tests.daemon.rig import AtOnce, Late, Listener

PLANE = Plane("xz", (0.0, 3.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (8, 12))


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def publisher(context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Publisher]:
    made = Publisher(context, "inproc://pictures", EVENT_HIGH_WATER_MARK, "previews")
    yield made
    made.close()


def header(version: int) -> partial[PreviewHeader]:
    return partial(PreviewHeader, scan_id="s1", sample="foam", version=version, angles=9, of=90, unit="1/pixel")


def image(rows: int, columns: int) -> dict[str, Image]:
    return {"xz": np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)}


def test_no_picture_follows_a_newer_one(context: zmq.Context[zmq.Socket[bytes]], publisher: Publisher) -> None:
    """One that takes long is overtaken by the coarse picture of the next place, and then not sent."""
    late = Late()
    pictures = Pictures(publisher, 512, lambda _name: late)
    listener = Listener(context, publisher)
    pictures.send(header(1), lambda: image(8, 12), [PLANE])
    pictures.send(header(2), lambda: image(4, 6), [PLANE], factor=2, at_once=True)
    late.work()
    assert not pictures.busy
    (sent,) = (entries for topic, entries in listener.heard() if topic == "plane")
    assert (sent["version"], sent["shape"], sent["bin"], sent["place"]["shape"]) == (2, [4, 6], 2, [8, 12])
    assert pictures.latest["xz"].header.version == 2
    pictures.send(header(3), lambda: image(8, 12), [PLANE])
    late.work()
    assert pictures.latest["xz"].header.shape == (8, 12)
    listener.close()


def test_a_coarse_picture_of_a_large_plane_is_made_smaller_all_the_same(publisher: Publisher) -> None:
    pictures = Pictures(publisher, 4, AtOnce)
    pictures.send(header(1), lambda: image(8, 12), factor=2, at_once=True)
    assert (pictures.latest["xz"].header.shape, pictures.latest["xz"].header.bin) == ((3, 4), 6)


def test_planes_that_are_not_shown_any_more_are_not_sent(publisher: Publisher) -> None:
    late = Late()
    pictures = Pictures(publisher, 512, lambda _name: late)
    pictures.send(header(1), lambda: image(8, 12), [PLANE])
    pictures.keep({"xy"})
    late.work()
    assert pictures.latest == {}
    pictures.keep({"xy", "xz"})
    pictures.send(header(2), lambda: image(8, 12), [PLANE])
    late.work()
    assert list(pictures.latest) == ["xz"]
    pictures.keep({"xy"})
    assert pictures.latest == {}
