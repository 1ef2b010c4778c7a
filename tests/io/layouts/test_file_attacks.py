"""Files with odd members: they are read, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamer.frames import BadInput
from streamer.io.layouts.hdf5 import lost_frames
from streamer.io.layouts.layout import ReadOptions
from streamer.io.source_file import ScanFile
from tests.io.layouts.files import dxchange, nxtomo

MEMBERS = {
    "nxtomo": (
        "entry",
        "entry/definition",
        "entry/data",
        "entry/sample",
        "entry/sample/name",
        "entry/sample/rotation_angle",
        "entry/sample/x_translation",
        "entry/instrument",
        "entry/instrument/beam/incident_energy",
        "entry/instrument/detector",
        "entry/instrument/detector/count_time",
        "entry/instrument/detector/data",
        "entry/instrument/detector/image_key",
        "entry/instrument/detector/image_key_control",
        "entry/instrument/detector/x_pixel_size",
        "entry/control/data",
        "entry/streamer/spec",
        "entry/streamer/status",
    ),
    "dxchange": (
        "exchange",
        "exchange/data",
        "exchange/data_white",
        "exchange/data_dark",
        "exchange/theta",
        "measurement/instrument/detector/pixel_size_x",
        "measurement/sample/name",
    ),
}
VALUES: dict[str, Any] = {
    "empty": h5py.Empty("f8"),
    "empty text": h5py.Empty("S1"),
    "number": 3,
    "nan": np.nan,
    "text": "theta",
    "texts": np.array([b"a", b"b"]),
    "bool": True,
    "complex": np.ones(25, "c8"),
    "compound": np.zeros(25, [("a", "f8"), ("b", "i4")]),
    "none": np.zeros(0),
    "no frames": np.zeros((0, 3, 4), "u2"),
    "no rows": np.zeros((25, 0, 4), "u2"),
    "line": np.arange(25.0),
    "short line": np.arange(4.0),
    "nan line": np.full(25, np.nan),
    "inf line": np.full(25, np.inf),
    "same": np.full(25, 7.0),
    "huge": np.full(25, 2**63, "u8"),
    "negative": np.full(25, -5, "i8"),
    "column": np.arange(25.0)[:, None],
    "image": np.ones((3, 4), "f4"),
    "images": np.ones((25, 3, 4), "f8"),
    "wide images": np.ones((25, 3, 9), "i2"),
    "four axes": np.ones((5, 5, 3, 4), "u2"),
    "group": None,
    "dangling": h5py.SoftLink("/nowhere"),
    "gone": h5py.ExternalLink("gone.h5", "/x"),
    "loop": h5py.SoftLink("/"),
}
ATTRIBUTES: dict[str, Any] = {
    "empty": h5py.Empty("S1"),
    "number": 7,
    "array": np.arange(3),
    "word": "rad",
    "bytes": b"\xff\xfe",
    "texts": np.array(["deg", "rad"], dtype=object),
}


def changed(path: Path, kind: str, changes: list[tuple[str, str]], attributes: list[tuple[str, str, str]]) -> Path:
    path.unlink(missing_ok=True)
    (nxtomo if kind == "nxtomo" else dxchange)(path)
    with h5py.File(path, "r+") as file:
        for name, value in changes:
            place, _, last = name.rpartition("/")
            try:
                parent = file.require_group(place) if place else file
            except (KeyError, TypeError, ValueError):  # an earlier change is in the way
                continue
            if parent.get(last, getlink=True) is not None:
                del parent[last]
            if VALUES[value] is None:
                parent.create_group(last)
            else:
                parent[last] = VALUES[value]
        for name, attribute, value in attributes:
            holder = file.get(name) if name else file
            if holder is not None:
                holder.attrs[attribute] = ATTRIBUTES[value]
    return path


@pytest.mark.parametrize("kind", ["nxtomo", "dxchange"])
def test_any_single_odd_member(tmp_path: Path, kind: str) -> None:
    for name in MEMBERS[kind]:
        for value in VALUES:
            read_or_refused(changed(tmp_path / "a.h5", kind, [(name, value)], []), f"{name} is {value}")


@st.composite
def odd(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]], list[tuple[str, str, str]]]:
    kind = draw(st.sampled_from(sorted(MEMBERS)))
    members = st.sampled_from(MEMBERS[kind])
    changes = draw(st.lists(st.tuples(members, st.sampled_from(sorted(VALUES))), max_size=4))
    names = st.sampled_from(["units", "default", "signal", "axes", "NX_class"])
    places = st.one_of(st.just(""), members)
    attributes = draw(st.lists(st.tuples(places, names, st.sampled_from(sorted(ATTRIBUTES))), max_size=3))
    return kind, changes, attributes


@given(odd(), st.booleans())
def test_any_odd_members(
    tmp_path_factory: pytest.TempPathFactory,
    file: tuple[str, list[tuple[str, str]], list[tuple[str, str, str]]],
    corrected: bool,
) -> None:
    path = changed(tmp_path_factory.getbasetemp() / "odd.h5", *file)
    read_or_refused(path, str(file), corrected)


def read_or_refused(path: Path, what: str, corrected: bool = False) -> None:
    refusal = ""
    try:
        with ScanFile.open(path, ReadOptions(corrected=corrected)) as scan:
            frames = list(scan.usable())
            spec = scan.spec()
    except BadInput as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal, what
        return
    index = [frame.meta.index for frame in frames]
    assert len(set(index)) == len(index), what
    assert max(index) < spec.frames, what
    assert len(frames) == scan.info.projections + scan.info.flats + scan.info.darks, what
    assert spec.projections == scan.info.projections + scan.missing or spec.projections >= scan.info.projections, what


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(1, 4), st.integers(1, 3), st.integers(0, 4)), max_size=4),
    st.booleans(),
)
@example([(0, 4, 1, 0), (4, 4, 2, 3)], True)
def test_hdf5_itself_agrees_which_frames_it_makes_up(
    tmp_path_factory: pytest.TempPathFactory, mappings: list[tuple[int, int, int, int]], nested: bool
) -> None:
    """Sources hold ones; a mapping (first, count, stride, length) finds that many frames in its source, or no file.

    What lies beyond the end of a source HDF5 cannot read, or gives zeros for.
    """
    folder = tmp_path_factory.mktemp("virtual", numbered=True)
    layout = h5py.VirtualLayout((24, 2, 2), "u1")
    taken = np.zeros(24, bool)
    for number, (first, frames, stride, length) in enumerate(mappings):
        chosen = slice(first, first + frames * stride, stride)
        if taken[chosen].any():
            continue
        taken[chosen] = True
        layout[chosen] = h5py.VirtualSource(f"s{number}.h5", "d", (frames, 2, 2))
        if length:
            with h5py.File(folder / f"s{number}.h5", "w") as file:
                file["d"] = np.ones((min(length, frames), 2, 2), "u1")
    with h5py.File(folder / "v.h5", "w") as file:
        file.create_virtual_dataset("d", layout)
    path, where = folder / "v.h5", slice(None)
    if nested:
        where, path = slice(3, 20), folder / "outer.h5"
        outer = h5py.VirtualLayout((17, 2, 2), "u1")
        outer[:] = h5py.VirtualSource("v.h5", "d", (24, 2, 2))[where]
        with h5py.File(path, "w") as file:
            file.create_virtual_dataset("d", outer)
    with h5py.File(path) as file:
        readable = [is_there(file["d"], frame) for frame in range(len(file["d"]))]
        np.testing.assert_array_equal(~lost_frames(file["d"])[0], readable)


def is_there(dataset: h5py.Dataset, frame: int) -> bool:
    try:
        return bool(dataset[frame].all())
    except OSError:
        return False
