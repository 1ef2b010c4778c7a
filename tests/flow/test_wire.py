from __future__ import annotations

import math
import random
from typing import Any

import msgpack
import msgspec
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
    angle_deg=st.floats(-wire.MAX_ANGLE_DEG, wire.MAX_ANGLE_DEG),
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
    assert message.meta == msgspec.structs.replace(meta, checksum=wire.checksum(payload))
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
    message = wire.Start(spec, seq=seq, src=src)
    (header,) = wire.encode(message)
    assert wire.decode(header) == message


@given(names, st.integers(0, MAX_FRAMES), st.sampled_from(["ok", "stopped", "aborted"]), sequence)
def test_end_and_ping_survive_the_wire(scan_id: str, frames: int, status: str, seq: int) -> None:
    end = wire.End(scan_id, frames, status, seq=seq, src="detector")
    assert wire.decode(wire.encode(end)[0]) == end
    ping = wire.KeepAlive(src="detector", seq=seq)
    assert wire.decode(wire.encode(ping)[0]) == ping


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
        return wire.unpack(wire.encode(wire.Start(ScanSpec("s", "x", 2, 2, 3, pixel_size_m=1e-6)))[0])
    if kind == "end":
        return wire.unpack(wire.encode(wire.End("s", 3))[0])
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


def mutated(header: bytes, dice: random.Random) -> bytes:
    """A header after one to three random edits: bytes replaced, inserted, removed, repeated, or the end cut off."""
    data = bytearray(header)
    for _ in range(dice.randint(1, 3)):
        at, more = dice.randrange(len(data) + 1), dice.randint(1, 4)
        edit = dice.randrange(5)
        if edit == 0:
            data[at : at + more] = dice.randbytes(more)
        elif edit == 1:
            data[at:at] = dice.randbytes(more)
        elif edit == 2:
            del data[at : at + more]
        elif edit == 3:
            data[at:at] = data[at : at + 10 * more]
        else:
            del data[max(at, 1) :]
    return bytes(data)


def test_mutated_messages_are_refused_or_say_what_an_independent_reader_finds_in_them() -> None:
    dice = random.Random(1)
    headers = {kind: msgpack.packb(valid_entries(kind)) for kind in ("start", "frame", "end")}
    usable = 0
    for number in range(30_000):
        data = mutated(headers[("start", "frame", "end")[number % 3]], dice)
        message = only_bad_input(data)
        if message is None:
            continue
        usable += 1
        entries = msgpack.unpackb(data, strict_map_key=False, unicode_errors="replace")
        sent = msgspec.to_builtins(message)
        assert {key: entries[key] for key in sent if key in entries and key != "spec"} == {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in sent.items()
            if key in entries and key != "spec"
        }
    assert usable > 100, "only when some edits are harmless does the comparison mean something"


@given(metas, images, short_texts, st.randoms(use_true_random=False))
def test_any_order_of_keys_by_another_encoder_is_the_same_message(
    meta: FrameMeta, pixels: np.ndarray[Any, Any], src: str, dice: random.Random
) -> None:
    header, _ = wire.encode_frame(meta, pixels, src)
    entries = list(msgpack.unpackb(header).items())
    dice.shuffle(entries)
    assert wire.decode(msgpack.packb(dict(entries))) == wire.decode(header)


def test_a_header_has_the_documented_keys_and_no_others() -> None:
    pixels = np.zeros((2, 3), "<u2")
    header, payload = wire.encode_frame(FrameMeta("s", 3, FrameKind.FLAT, 1.5, 7, 8, 0.5, 0.75), pixels, "camera")
    frame = {"magic": "sr", "v": 1, "t": "frame", "src": "camera", "seq": 7, "scan": "s", "i": 3, "key": 1, "ang": 1.5,
             "ts": 8, "exp": 0.5, "mon": 0.75, "shape": [2, 3], "dtype": "<u2", "codec": "none", "size": 12,
             "x3": wire.checksum(payload)}  # fmt: skip
    assert msgpack.unpackb(header) == frame
    end = {"magic": "sr", "v": 1, "t": "end", "src": "", "seq": 0, "scan": "s", "frames": 3, "status": "ok"}
    assert msgpack.unpackb(wire.encode(wire.End("s", 3))[0]) == end
    assert msgpack.unpackb(wire.encode(wire.KeepAlive())[0]) == {
        "magic": "sr",
        "v": 1,
        "t": "ping",
        "src": "",
        "seq": 0,
        "paused": False,
    }


def test_what_a_source_does_not_know_it_may_leave_out_or_give_as_nil() -> None:
    entries = valid_entries("frame")
    for key in ("ang", "exp", "mon", "x3"):
        entries[key] = None
    for key in ("src", "seq", "ts", "codec"):
        del entries[key]
    message = wire.decode(msgpack.packb(entries))
    assert isinstance(message, wire.FrameHeader)
    assert message.meta == FrameMeta("s", 3, FrameKind.FLAT, 0.0)
    assert message.checksum is None


@pytest.mark.parametrize("key", ["magic", "v", "t", "scan", "i", "key", "shape", "dtype", "size"])
def test_what_must_be_there_is_missed(key: str) -> None:
    entries = valid_entries("frame")
    del entries[key]
    with pytest.raises(wire.WireError, match=r"is missing|no magic|version None|kind None"):
        wire.decode(msgpack.packb(entries))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"i": -1}, "frame message: i is -1, expected a whole number from 0 to 9999999"),
        ({"key": 4}, "frame message: key is 4, expected 0 projection or 1 flat or 2 dark or 3 invalid"),
        ({"shape": [2]}, "frame message: shape is [2], expected a list of 2, each a whole number from 1 to 65535"),
        ({"ang": math.nan}, "frame message: ang is nan, expected a number from -1e+06 to 1e+06, or nil"),
        ({"scan": "x" * 200}, f"frame message: scan is '{'x' * 79}…, expected a name: 1 to 100 letters, digits"),
        ({"size": 9}, "frame announces 9 bytes, 2×2 <u2 has 8"),
    ],
)
def test_the_complaint_names_the_key_what_it_held_and_the_rule(change: dict[str, Any], text: str) -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.decode(wire.pack({**valid_entries("frame"), **change}))
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rows": 0}, "start message: spec.rows is 0, expected a whole number from 1 to 65535"),
        ({"colour": 1}, "start message: unknown key 'spec.colour'; known keys: before_trigger, center_px, columns,"),
        ({"metadata": {"a": 1}}, "start message: spec.metadata is {'a': 1}, expected a map of texts to a text"),
        ({"range_deg": 0.0}, "scan s: range_deg is 0.0, expected anything but 0"),
    ],
)
def test_a_wrong_spec_is_named_as_well(change: dict[str, Any], text: str) -> None:
    entries = valid_entries("start")
    entries["spec"] |= change
    with pytest.raises(wire.WireError) as caught:
        wire.decode(wire.pack(entries))
    assert str(caught.value).startswith(text)
    assert caught.value.reason == "spec"


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
        ({"ang": 1e300}, "header"),
        ({"key": 0, "ang": None}, "header"),
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
    many, deep = b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000  # announces 4 billion items; 100 000 levels
    for data in (many, deep):
        with pytest.raises(wire.WireError, match="text keys"):
            wire.unpack(data)
        with pytest.raises(wire.WireError, match="not msgpack"):
            wire.unpack(b"\x81\xa1a" + data)
    for data in (many, deep[:3000]):  # under a key that nobody knows
        with pytest.raises(wire.WireError, match="not msgpack"):
            wire.decode(msgpack.packb({"magic": "sr", "v": 1, "t": "ping", "other": 0})[:-1] + data)
    with pytest.raises(wire.WireError, match="text keys"):
        wire.unpack(msgpack.packb([1, 2]))
    with pytest.raises(wire.WireError, match="not msgpack"):
        wire.unpack(msgpack.packb({"a": 1}) + b"\x00")


def test_a_spec_that_no_peer_could_read_is_not_sent() -> None:
    spec = ScanSpec("s", "x", 2, 2, 3, metadata={"notes": "x" * 5000})
    with pytest.raises(BadInput, match=r"4096.*metadata"):
        wire.encode(wire.Start(spec))


def test_numpy_scalars_are_packed_and_arrays_are_not() -> None:
    assert wire.unpack(wire.pack({"a": np.float32(0.5), "b": np.int64(3)})) == {"a": 0.5, "b": 3}
    with pytest.raises(TypeError, match="ndarray cannot be sent"):
        wire.pack({"a": np.zeros(3)})
