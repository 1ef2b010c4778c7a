from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from streamer.frames import BadInput
from streamer.io.defect_map import read_defect_map

MASK = np.random.default_rng(1).integers(0, 3, (7, 9)).astype(np.uint8)


def test_maps_of_every_kind_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", MASK.astype("<u4"))
    Image.fromarray(MASK).save(tmp_path / "mask.tif")
    Image.fromarray(MASK).save(tmp_path / "mask.png")
    with h5py.File(tmp_path / "mask.h5", "w") as file:
        file["entry/pixel_mask"] = MASK
    for name in ("mask.npy", "mask.tif", "mask.png", "mask.h5::/entry/pixel_mask"):
        np.testing.assert_array_equal(read_defect_map(str(tmp_path / name)), MASK != 0)


def test_what_is_no_map_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no map")
    (tmp_path / "text.tif").write_text("no map")
    np.save(tmp_path / "stack.npy", np.zeros((2, 3, 4)))
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    with h5py.File(tmp_path / "mask.h5", "w") as file:
        file["text"] = "no map"
    wrong = (
        "none.npy",
        "text.npy",
        "text.tif",
        "stack.npy",
        "objects.npy",
        "mask.h5::/none",
        "mask.h5::/text",
        "none.h5::/x",
    )
    for name in wrong:
        with pytest.raises(BadInput, match="map of defects") as caught:
            read_defect_map(str(tmp_path / name))
        assert "\n" not in str(caught.value)
