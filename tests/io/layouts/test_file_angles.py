from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.core.quality.angles import missing_before
from streamer.frames import BadInput
from streamer.io.source_file import ScanFile
from tests.io.layouts.files import ANGLES, dxchange, nxtomo


def theta(path: Path, values: Any, unit: Any = None) -> Path:
    dxchange(path, theta=values)
    if unit is not None:
        with h5py.File(path, "r+") as file:
            file["exchange/theta"].attrs["units"] = unit
    return path


@pytest.mark.parametrize("unit", ["deg", "degrees", "°", b"Degree", np.array(["degree"], "S")])
def test_degrees_need_no_note(tmp_path: Path, unit: Any) -> None:
    with ScanFile.open(theta(tmp_path / "a.h5", ANGLES, unit)) as scan:
        np.testing.assert_allclose(scan.angles_deg, ANGLES)
        assert scan.info.notes == ()


@pytest.mark.parametrize(("unit", "scale"), [("rad", 1.0), ("mrad", 1e3), (None, 1.0)])
def test_radians(tmp_path: Path, unit: str | None, scale: float) -> None:
    with ScanFile.open(theta(tmp_path / "a.h5", np.deg2rad(ANGLES) * scale, unit)) as scan:
        np.testing.assert_allclose(scan.angles_deg, ANGLES)
        assert scan.spec().range_deg == pytest.approx(180)
        taken = ("/exchange/theta has no unit and spans 2.98: taken for radians",)
        assert scan.info.notes == (taken if unit is None else ())


def test_degrees_without_a_unit_are_noted(tmp_path: Path) -> None:
    with ScanFile.open(theta(tmp_path / "a.h5", ANGLES)) as scan:
        assert scan.info.notes == ("/exchange/theta has no unit: degrees assumed",)


def test_a_unit_that_is_probably_wrong_is_noted(tmp_path: Path) -> None:
    with ScanFile.open(theta(tmp_path / "a.h5", np.deg2rad(ANGLES), "deg")) as scan:
        (note,) = scan.info.notes
        assert note.startswith("/exchange/theta spans only 2.98 deg: if these are radians")


def test_a_unit_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"a.h5: /exchange/theta has the unit 'counts', which is not known; choose"):
        ScanFile.open(theta(tmp_path / "a.h5", ANGLES, "counts"))


@pytest.mark.parametrize("value", [0.0, 12.5])
def test_angles_that_are_all_the_same_are_not_known(tmp_path: Path, value: float) -> None:
    with pytest.raises(BadInput, match=f"all 20 angles are {value:g}°, so they are not known"):
        ScanFile.open(theta(tmp_path / "a.h5", np.full(20, value)))


@pytest.mark.parametrize("shape", [(20, 1), (1, 20)])
def test_angles_may_lie_in_a_column(tmp_path: Path, shape: tuple[int, int]) -> None:
    with ScanFile.open(theta(tmp_path / "a.h5", ANGLES.reshape(shape), "deg")) as scan:
        np.testing.assert_array_equal(scan.angles_deg, ANGLES)
    path = nxtomo(tmp_path / "b.nx")
    with h5py.File(path, "r+") as file:
        del file["entry/sample/rotation_angle"]
        file["entry/sample/rotation_angle"] = np.r_[np.zeros(5), ANGLES][:, None]
    with ScanFile.open(path) as scan:
        np.testing.assert_array_equal(scan.angles_deg, ANGLES)


def test_a_table_is_no_line_of_angles(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"/exchange/theta has shape \(10, 2\); one angle for each frame"):
        ScanFile.open(theta(tmp_path / "a.h5", ANGLES.reshape(10, 2)))


@pytest.mark.parametrize(
    ("values", "note", "missing"),
    [
        (np.r_[ANGLES, 180.0, 189.0], "the last were not taken", 2),  # aborted
        (np.r_[ANGLES, 180.0], "the last were not taken", 1),
        (np.r_[np.zeros(5), ANGLES], "the first 5 are those of other frames", 0),
        (np.r_[ANGLES, np.full(5, 90.0)], "the last 5 are those of other frames", 0),
    ],
)
def test_more_angles_than_projections(tmp_path: Path, values: Any, note: str, missing: int) -> None:
    with ScanFile.open(theta(tmp_path / "a.h5", values, "deg")) as scan:
        np.testing.assert_array_equal(scan.angles_deg, ANGLES)
        assert scan.info.notes == (f"/exchange/theta has {len(values)} angles for 20 projections: {note}",)
        assert (scan.missing, scan.spec().projections) == (missing, 20 + missing)
        assert scan.spec().range_deg == pytest.approx(9.0 * (20 + missing))
        assert len(list(scan.usable())) == 25


@pytest.mark.parametrize(("first", "last", "noted"), [(5, 25, False), (0, 28, True)])
def test_angles_of_the_projections_alone_and_of_a_longer_plan(
    tmp_path: Path, first: int, last: int, noted: bool
) -> None:
    path = nxtomo(tmp_path / "a.nx")
    with h5py.File(path, "r+") as file:
        del file["entry/sample/rotation_angle"]
        file["entry/sample/rotation_angle"] = np.r_[np.zeros(5), ANGLES, 180.0, 189.0, 198.0][first:last]
        file["entry/sample/rotation_angle"].attrs["units"] = "deg"
    with ScanFile.open(path) as scan:
        np.testing.assert_array_equal(scan.angles_deg, ANGLES)
        assert any("the last 3 are not used" in note for note in scan.info.notes) == noted


def test_fewer_angles_than_projections_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="19 angles in /exchange/theta for 20 projections"):
        ScanFile.open(theta(tmp_path / "a.h5", ANGLES[1:], "deg"))


@given(
    st.sets(st.integers(1, 98), max_size=20),
    st.sampled_from([0.25, -1.8, 3.6, 111.246]),
    st.floats(-400, 400),
    st.integers(0, 2**32 - 1),
)
def test_projections_that_lack_are_counted(gone: set[int], step: float, start: float, seed: int) -> None:
    jitter = np.random.default_rng(seed).uniform(-0.05, 0.05, 100) * abs(step)
    kept = np.array([k for k in range(100) if k not in gone])
    if abs(step) > 90:  # two lacking steps of more than half a turn are no longer told apart
        kept = np.arange(100)
    found = missing_before((start + step * np.arange(100) + jitter)[kept])
    np.testing.assert_array_equal(found, np.diff(kept, prepend=-1) - 1)


@pytest.mark.parametrize(
    "angles",
    [
        np.random.default_rng(1).uniform(0, 180, 200),
        np.r_[np.arange(50) * 3.6, 1.8 + np.arange(50) * 3.6],  # interlaced
        np.r_[np.arange(40.0), 95.0, np.arange(41.0, 90.0)],  # one wrong angle
        np.sort(np.mod(np.arange(100) * 180 / 1.618, 180)),
        np.zeros(30),
        np.array([0.0, 1.0, 5.0]),
        np.r_[np.arange(30.0), np.arange(30.0)],
    ],
)
def test_where_no_step_is_usual_nothing_lacks(angles: Any) -> None:
    assert not missing_before(angles).any()


GOLDEN = np.mod(30.0 + 180.0 * np.arange(120) * (5**0.5 - 1) / 2, 180.0)


@pytest.mark.parametrize("kept", [np.r_[0:120], np.r_[0:40, 54:120], np.r_[0:50, 92:120], np.r_[0:9, 10:60, 63:120]])
def test_golden_angles_that_lack_are_counted(kept: Any) -> None:
    np.testing.assert_array_equal(missing_before(GOLDEN[kept]), np.diff(kept, prepend=-1) - 1)
    assert not missing_before(np.r_[GOLDEN[:40], 77.7, GOLDEN[41:]]).any()


def test_a_scan_says_what_lacks(tmp_path: Path) -> None:
    kept = np.r_[0:7, 9:20]
    path = dxchange(tmp_path / "a.h5", data=np.ones((18, 2, 3)), data_white=None, data_dark=None, theta=ANGLES[kept])
    with ScanFile.open(path) as scan:
        assert (scan.info.projections, scan.missing) == (18, 2)
        assert (scan.spec().projections, scan.spec().range_deg) == (20, pytest.approx(180))
        np.testing.assert_array_equal([frame.meta.index for frame in scan.usable()], kept)
        np.testing.assert_array_equal(scan.usable_index, kept)
