"""A recorded scan as messages: in which order, and at which moments."""

from __future__ import annotations

import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from streamer.cli.detector.messages import Pace, foreign_messages, with_order
from streamer.flow.dialects import DIALECTS
from streamer.flow.dialects.message import Image
from streamer.flow.kinds import ORDER_KEY, Order
from streamer.frames import FrameKind, FrameMeta
from streamer.io.source_file import ScanFile

D, F, P = FrameKind.DARK, FrameKind.FLAT, FrameKind.PROJECTION


def written(path: Path, kinds: list[FrameKind]) -> Path:
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        entry["definition"] = "NXtomo"
        entry["instrument/detector/data"] = np.arange(len(kinds) * 8, dtype="<u2").reshape(-1, 2, 4)
        entry["instrument/detector/image_key"] = np.array(kinds)
        entry["sample/rotation_angle"] = np.cumsum([kind is P for kind in kinds]) * 10.0
        entry["sample/rotation_angle"].attrs["units"] = "degree"
    return path


@pytest.mark.parametrize(
    ("kinds", "order"),
    [
        ([D, F, F, P, P, P], "darks flats projections"),
        ([F, P, P, P, D, D], "darks flats projections"),
        ([F, P, P, F, P, F], "flats:1 projections:2 flats:1 projections:1 flats:1"),
    ],
)
def test_the_order_of_the_kinds_is_announced(tmp_path: Path, kinds: list[FrameKind], order: str) -> None:
    with ScanFile.open(written(tmp_path / "scan.nx", kinds)) as scan:
        spec = with_order(scan.spec("s"), scan)
        sent = [parts for _frame, parts in foreign_messages(DIALECTS["array-1.0"], scan, spec)]
    assert spec.metadata[ORDER_KEY] == order
    announced = Order.of(spec, "darks flats projections")
    for index, parts in enumerate(sent):
        image = DIALECTS["array-1.0"].decode([memoryview(part) for part in parts])
        assert isinstance(image, Image)
        assert (image.number, image.attributes["image_key"]) == (index, announced.kind(index))


def test_frames_wait_for_their_moment_and_no_longer() -> None:
    metas = [FrameMeta("s", index, P, 0.0, timestamp_ns=10**18 + index * 50_000_000) for index in range(3)]
    for rate, as_recorded in ((20.0, False), (None, True)):
        began = time.monotonic()
        pace = Pace(rate, as_recorded)
        for meta in metas:
            pace.wait(meta)
        assert time.monotonic() - began >= 0.1
