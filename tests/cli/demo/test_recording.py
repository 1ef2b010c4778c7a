"""The recorder of the demo keeps the planes at 10, 25, 50, 75 and 100 % of the first scan."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import zmq

from streamer.cli.demo.recording import Recorder
from streamer.flow.wire.daemon import PreviewHeader
from streamer.io.messaging.publish import PREVIEW_HIGH_WATER_MARK, Publisher

WANTED = 40


def show(publisher: Publisher, scan: str, angles: int, version: int = 0, names: tuple[str, ...] = ("xy", "xz")) -> None:
    """A round of planes as the daemon publishes it; the grey value tells the version, by default the angles."""
    version = version or angles
    for name in names:
        preview = PreviewHeader(
            scan_id=scan, sample="s", plane=name, version=version, angles=angles, of=WANTED,
            shape=(2, 3), lo=0.0, hi=float(version), unit="1/cm",
        )  # fmt: skip
        publisher.plane(preview, np.full((2, 3), 65535, np.uint16))


@contextmanager
def recording() -> Iterator[tuple[Publisher, Recorder]]:
    """A publisher, and a recorder that hears it."""
    with zmq.Context() as context:
        publisher = Publisher(context, "tcp://127.0.0.1:*", 1000 + PREVIEW_HIGH_WATER_MARK, "previews")
        recorder = Recorder(publisher.endpoint)
        try:
            yield publisher, recorder
        finally:
            recorder.stop()
            publisher.close()


def await_stages(
    publisher: Publisher, recorder: Recorder, scan: str, count: int, angles: int, version: int = 0
) -> None:
    """Publish a round until the recorder has that many stages: a subscriber hears nothing before it is connected."""
    deadline = time.monotonic() + 60
    while len(recorder.stages) < count:
        assert time.monotonic() < deadline
        show(publisher, scan, angles, version)
        time.sleep(0.01)


def test_planes_are_kept_at_five_shares_of_the_scan() -> None:
    with recording() as (publisher, recorder):
        await_stages(publisher, recorder, "first", 1, 5)
        for angles in range(6, WANTED + 1):
            show(publisher, "first", angles)
        await_stages(publisher, recorder, "first", 5, WANTED)
        recorder.stop()
        assert [stage.angles for stage in recorder.stages] == [5, 10, 20, 30, 40]
        for stage in recorder.stages:
            assert stage.of == WANTED
            assert set(stage.planes) == {"xy", "xz"}
            np.testing.assert_array_equal(stage.planes["xz"], np.full((2, 3), stage.angles, np.float32))


def test_a_later_round_of_all_angles_replaces_the_last_one() -> None:
    with recording() as (publisher, recorder):
        for count in range(1, 6):
            await_stages(publisher, recorder, "first", count, WANTED, version=count)
        deadline = time.monotonic() + 60
        while len(recorder.stages[-1].planes) < 3:
            assert time.monotonic() < deadline
            show(publisher, "first", WANTED, 9, ("xy", "xz", "yz"))
            time.sleep(0.01)
        assert [stage.planes["xy"].max() for stage in recorder.stages] == [1, 2, 3, 4, 9]


def test_other_scans_are_not_mixed_in() -> None:
    with recording() as (publisher, recorder):
        await_stages(publisher, recorder, "first", 1, 8)
        show(publisher, "second", 39)
        await_stages(publisher, recorder, "first", 2, 11)
        assert [stage.angles for stage in recorder.stages] == [8, 11]
