"""A whole scan whose angles come in a second stream, delayed, in pieces, with gaps, over a wrap of the counter."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from benchmarks.streams.positions import DARKS, FLATS, difference, take, tomogram, turn
from streamer.frames import Decision
from streamer.io.source_file import ScanFile
from streamer.schema import runs


def test_a_tomogram_from_a_pandabox_is_that_of_true_angles_and_every_disturbed_frame_is_named(tmp_path: Path) -> None:
    scan = turn(rows=6, columns=64, projections=160)
    assert np.count_nonzero(np.abs(np.diff(scan.counts)) > 2**31) == 1
    true, joined = take(tmp_path / "true", scan, "attribute"), take(tmp_path / "joined", scan, "pandabox")
    assert true.verdict == joined.verdict == Decision.ENOUGH
    assert difference(tomogram(true), tomogram(joined)) < 0.02

    named = runs(scan.disturbed)
    assert joined.frames.received == joined.frames.expected == len(scan.frames)
    assert joined.quality.unusable == {"no position": named}
    twice = runs(DARKS + FLATS + trigger for trigger in scan.doubled)
    assert joined.note == f"no position is known for frames {named}; positions came twice for frames {twice}"
    with h5py.File(joined.raw_file) as file:
        # Frames are in the order in which their positions came.
        order = np.argsort(file["entry/instrument/detector/sequence_number"][()])
        np.testing.assert_array_equal(file["entry/instrument/detector/data"][()][order], scan.frames)
        stored = file["entry/sample/rotation_angle"][()][order]
        assert np.flatnonzero(np.isnan(stored)).tolist() == scan.disturbed
        known = np.isfinite(stored[DARKS + FLATS :])
        np.testing.assert_allclose(stored[DARKS + FLATS :][known], scan.angles[known], atol=1e-5)
        assert file["entry/streamer/unusable_frames"][()].tolist() == scan.disturbed
    with ScanFile.open(Path(joined.raw_file)) as again:
        assert again.missing == len(scan.disturbed)
