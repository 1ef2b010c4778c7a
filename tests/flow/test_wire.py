from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.flow import wire
from streamer.frames import DTYPES, MAX_FRAMES, BadInput, FrameKind, FrameMeta, ScanSpec

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)
reals = st.floats(allow_nan=False, allow_infinity=False)
sequence = st.integers(0, 2**63 - 1)
short_texts = st.text(max_size=40)

metas = st.builds(
    FrameMeta,
    scan_id=names,
    index=st.integers(0, MAX_FRAMES - 1),
    kind=st.sampled_from(FrameKind),
    angle_deg=reals,
    seq=sequence,
    timestamp_ns=sequence,
    exposure_s=reals,
    monitor=reals,
)
specs = st.builds(
    ScanSpec,
    scan_id=names,
    sample=names,
    rows=st.integers(1, 65535),
    columns=st.integers(2, 65535),
    projections=st.integers(1, 10_000),
    flats=st.integers(0, 100),
    darks=st.integers(0, 100),
    dtype=st.sampled_from(DTYPES),
    start_deg=reals,
    range_deg=reals.filter(bool),
    exposure_s=st.floats(0, 1e6),
    pixel_size_m=st.none() | st.floats(1e-9, 1.0),
    energy_kev=st.none() | st.floats(0.1, 500.0),
    distance_m=st.none() | st.floats(1e-3, 100.0),
    center_px=st.none() | reals,
    saturation=st.none() | st.floats(1.0, 1e9),
    metadata=st.dictionaries(short_texts, short_texts, max_size=5),
)
images = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from(DTYPES)).map(
    lambda shape: np.arange(shape[0] * shape[1]).reshape(shape[:2]).astype(shape[2])
)


@given(metas, images, short_texts)
def test_a_frame_survives_the_wire(meta: FrameMeta, pixels: np.ndarray[Any, Any], src: str) -> None:
    header, payload = wire.encode_frame(meta, pixels, src)
    message = wire.decode(header)
    assert isinstance(message, wire.FrameHeader)
    assert message.meta == meta
    assert (message.shape, message.dtype, message.src) == (pixels.shape, pixels.dtype.str, src)
    assert message.size == len(payload) == pixels.nbytes
    assert message.checksum == wire.checksum(payload)
    assert bytes(payload) == pixels.tobytes()


def test_the_payload_is_not_copied_when_it_is_contiguous() -> None:
    pixels = np.zeros((3, 4), "<u2")
    _, payload = wire.encode_frame(FrameMeta("s", 0, FrameKind.DARK, 0.0), pixels)
    pixels[0, 0] = 7
    assert payload[0] == 7
    _, turned = wire.encode_frame(FrameMeta("s", 0, FrameKind.DARK, 0.0), pixels.T)
    assert bytes(turned) == pixels.T.tobytes()


@given(specs, sequence, short_texts)
def test_start_survives_the_wire(spec: ScanSpec, seq: int, src: str) -> None:
    message = wire.Start(spec, seq, src)
    (header,) = wire.encode_start(message)
    assert wire.decode(header) == message


@given(names, st.integers(0, MAX_FRAMES), st.sampled_from(["ok", "stopped", "aborted"]), sequence)
def test_end_and_ping_survive_the_wire(scan_id: str, frames: int, status: str, seq: int) -> None:
    end = wire.End(scan_id, frames, status, seq, "detector")
    assert wire.decode(wire.encode_end(end)[0]) == end
    ping = wire.Ping("detector", seq)
    assert wire.decode(wire.encode_ping(ping)[0]) == ping


def test_unknown_keys_are_ignored() -> None:
    header, _ = wire.encode_frame(FrameMeta("s", 3, FrameKind.FLAT, 1.5), np.zeros((2, 2), "<u2"))
    entries = {**wire.unpack(header), "colour": "blue", "nested": {"a": [1, 2]}}
    assert wire.decode(wire.pack(entries)) == wire.decode(header)


# What a peer may put where we expect something else.
junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(max_size=300),
        st.binary(max_size=20),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def valid_entries(kind: str) -> dict[str, Any]:
    if kind == "start":
        return wire.unpack(wire.encode_start(wire.Start(ScanSpec("s", "x", 2, 2, 3, pixel_size_m=1e-6)))[0])
    if kind == "end":
        return wire.unpack(wire.encode_end(wire.End("s", 3))[0])
    return wire.unpack(wire.encode_frame(FrameMeta("s", 3, FrameKind.FLAT, 1.5), np.zeros((2, 2), "<u2"))[0])


def only_bad_input(header: bytes) -> wire.Message | None:
    """Decode; anything but one line of complaint, or a message that is usable to the last field, is a fault."""
    try:
        message = wire.decode(header)
    except wire.WireError as refusal:
        complaint = str(refusal)
    else:
        complaint = ""
    assert "\n" not in complaint
    if complaint:
        return None
    if isinstance(message, wire.Start):
        ScanSpec.from_dict(wire.unpack(wire.pack(message.spec.to_dict())))
    if isinstance(message, wire.FrameHeader):
        assert message.size == message.shape[0] * message.shape[1] * np.dtype(message.dtype).itemsize
        assert all(math.isfinite(x) for x in (message.meta.angle_deg, message.meta.exposure_s, message.meta.monitor))
    return message


@settings(max_examples=500)
@given(st.sampled_from(["start", "frame", "end"]), st.data())
def test_a_message_with_one_wrong_entry_is_refused_or_usable(kind: str, data: st.DataObject) -> None:
    entries = valid_entries(kind)
    place = entries["spec"] if kind == "start" and data.draw(st.booleans()) else entries
    key = data.draw(st.sampled_from([*place, "metadata", "other"]))
    place[key] = data.draw(junk)
    only_bad_input(msgpack.packb(entries))


@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from(["magic", "v", "t", "scan", "seq", "src", "i", "shape", "spec"]), junk))
def test_any_map_is_refused_or_usable(entries: dict[str, Any]) -> None:
    only_bad_input(msgpack.packb({"magic": "sr", "v": 1, **entries}))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_usable(data: bytes) -> None:
    only_bad_input(data)


@settings(max_examples=300)
@given(st.sampled_from(["start", "frame", "end"]), st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_damaged_bytes_are_refused_or_usable(kind: str, at: int, patch: bytes) -> None:
    header = bytearray(wire.pack(valid_entries(kind)))
    at %= len(header)
    header[at : at + len(patch)] = patch
    only_bad_input(bytes(header))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"magic": "xx"}, "header"),
        ({"v": 2}, "version"),
        ({"v": True}, "version"),
        ({"t": "picture"}, "unknown_kind"),
        ({"dtype": "<f8"}, "dtype"),
        ({"dtype": "O"}, "dtype"),
        ({"dtype": ["<u2"]}, "dtype"),
        ({"shape": [2]}, "shape"),
        ({"shape": [0, 4]}, "shape"),
        ({"shape": [True, 4]}, "shape"),
        ({"shape": [2, 2**40]}, "shape"),
        ({"size": 9}, "truncated"),
        ({"codec": "lz4"}, "header"),
        ({"scan": "../etc/passwd"}, "header"),
        ({"scan": "a\n"}, "header"),
        ({"i": -1}, "header"),
        ({"i": 1.5}, "header"),
        ({"i": MAX_FRAMES}, "header"),
        ({"key": 4}, "header"),
        ({"ang": math.nan}, "header"),
        ({"ang": "12"}, "header"),
        ({"seq": -1}, "header"),
        ({"src": "x" * 201}, "header"),
        ({"x3": "abc"}, "header"),
        ({"x3": -1}, "header"),
        ({"x3": 1.0}, "header"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.decode(wire.pack({**valid_entries("frame"), **change}))
    assert caught.value.reason == reason


def test_headers_are_bounded() -> None:
    with pytest.raises(wire.WireError, match="the limit is 4096"):
        wire.decode(bytes(5000))
    with pytest.raises(wire.WireError, match="not msgpack"):
        wire.unpack(b"\xdd\xff\xff\xff\xff")  # announces 4 billion items
    with pytest.raises(wire.WireError, match="not msgpack"):
        wire.unpack(b"\x91" * 100_000)  # 100 000 levels deep
    with pytest.raises(wire.WireError, match="text keys"):
        wire.unpack(msgpack.packb([1, 2]))
    with pytest.raises(wire.WireError, match="not msgpack"):
        wire.unpack(msgpack.packb({"a": 1}) + b"\x00")


def test_a_spec_that_no_peer_could_read_is_not_sent() -> None:
    spec = ScanSpec("s", "x", 2, 2, 3, metadata={"notes": "x" * 5000})
    with pytest.raises(BadInput, match=r"4096.*metadata"):
        wire.encode_start(wire.Start(spec))


def test_numpy_scalars_are_packed_and_arrays_are_not() -> None:
    assert wire.unpack(wire.pack({"a": np.float32(0.5), "b": np.int64(3)})) == {"a": 0.5, "b": 3}
    with pytest.raises(TypeError, match="ndarray cannot be sent"):
        wire.pack({"a": np.zeros(3)})
