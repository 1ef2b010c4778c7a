"""Rows of several shards in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamer.cluster.tomogram_rows import TomogramRows
from streamer.frames import ScanSpec
from streamer.io.tomogram import TomogramFile, read_tomogram

SHAPE = (48, 20, 20)


def test_shards_write_their_rows_in_any_order(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    volume = TomogramFile.create(tmp_path / "whole.h5", SHAPE, ScanSpec("scan", "sample", 48, 20, 10))
    first, second = (TomogramRows(volume.partial, volume.place, row, SHAPE[1:]) for row in (0, 32))
    second.write_rows(8, voxels[40:])
    first.write_rows(0, voxels[:16])
    second.write_rows(0, voxels[32:40])
    first.write_rows(16, voxels[16:32])
    for part in (first, second):
        part.close()
    volume.close()
    np.testing.assert_array_equal(read_tomogram(tmp_path / "whole.h5").data, voxels)


def test_values_of_another_precision_are_written_as_they_are_kept(tmp_path: Path) -> None:
    volume = TomogramFile.create(tmp_path / "whole.h5", (4, 8, 8), ScanSpec("scan", "sample", 16, 8, 10))
    rows = TomogramRows(volume.partial, volume.place, 1, (8, 8))
    block = np.arange(3 * 64, dtype=np.float64).reshape(3, 8, 8)[:, ::-1]
    rows.write_rows(0, block)  # type: ignore[arg-type]
    rows.close()
    volume.close()
    np.testing.assert_array_equal(read_tomogram(tmp_path / "whole.h5").data[1:], block.astype(np.float32))
