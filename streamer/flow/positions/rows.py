"""What streams of positions say, in bytes → events: the data port of a PandABox, and the stream of MAX IV's PandABoxes.

No sockets here. Bytes of a peer become events, or a WireError.
Sources: PandABlocks-server, docs/capture.rst; dranspose, data/pcap.py.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal
from xml.etree import ElementTree

import msgspec
import numpy as np
from msgspec import Struct

from streamer.flow.positions.positions import Position, PositionEvent, Positions, RunBegins, RunEnds, number
from streamer.flow.wire import WireError
from streamer.schema import shown

CAPTURE_REQUEST = b"XML FRAMED UNSCALED\n"
"""What a client says first to the data port: the header in XML, then blocks of integers, of averages as well."""

MAX_LINE = 2**20
MAX_BLOCK = 2**26
MAX_FIELDS = 200
MOST_NAMED = 20
MOST_DIGITS = 18
ROWS_AT_ONCE = 100_000

TYPES = {"int32": "<i4", "uint32": "<u4", "int64": "<i8", "double": "<f8"}
SOUND_ENDS = ("Ok", "Disarmed")


class Rows:
    """Rows of named values → positions. Several values of a row are samples of one exposure."""

    def __init__(self, options: Positions, shutter: str | None) -> None:
        """``shutter`` names the value that is 0 while the shutter is closed."""
        self._names, self._trigger, self._shutter = options.values, options.trigger, shutter
        self._first, self._rows_each = options.first, max(1, options.samples)
        self._row = 0
        self._last: int | None = None
        self._sample = 0

    def begin(self, row: int = 0) -> None:
        """A new run. Its first row that comes has this number."""
        self._row, self._last = row, None

    def go_on(self, row: int) -> None:
        """The next row of the run has this number."""
        self._row = row

    def check(self, known: Sequence[str]) -> None:
        """Raises WireError when a value that is needed is not among those that come."""
        wanted = [*self._names, *filter(None, (self._trigger,))]
        for name in wanted:
            if name not in known:
                names = ", ".join(map(shown, known[:MOST_NAMED])) + (", …" if len(known) > MOST_NAMED else "")
                text = f"no {name!r} among the positions; there are {names}"
                raise WireError("header", f"{text}: change positions.value or positions.trigger, or capture it")

    def positions(self, row: Mapping[str, object]) -> Iterator[Position]:
        """The samples of one row; none when its trigger is no number."""
        trigger = self._first + self._row // self._rows_each
        if self._trigger is not None:
            counted = number(row.get(self._trigger))
            if not abs(counted) < 2**53:
                return
            trigger = round(counted)
        self._row += 1
        self._sample = self._sample + len(self._names) if trigger == self._last else 0
        self._last = trigger
        is_open = None
        if self._shutter is not None and self._shutter in row:
            is_open = number(row[self._shutter]) != 0
        for at, name in enumerate(self._names):
            yield Position(trigger, number(row.get(name)), self._sample + at, is_open)


class PandaCapture:
    """The data port of a PandABox: pieces of the stream in, events out. Reads framed and ASCII data, as announced.

    ``remarks`` receives a line for what is wrong with a capture that goes on, or is over.
    """

    def __init__(self, rows: Rows, remark: Callable[[str], None]) -> None:
        self._rows, self._remark = rows, remark
        self._buffer = bytearray()
        self._step: Callable[[], list[PositionEvent] | None] = self._status
        self._header: list[str] = []
        self._names: list[str] = []
        self._dtype = np.dtype([])
        self._part = b""  # of a row whose rest is in the next block

    def feed(self, data: bytes) -> list[PositionEvent]:
        """Raises WireError for what is no such stream; nothing more can be read from it then."""
        self._buffer += data
        events: list[PositionEvent] = []
        while (found := self._step()) is not None:
            events += found
        return events

    def _line(self) -> str | None:
        """The next line, None when it has not come whole."""
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > MAX_LINE:
                raise WireError("header", "a line of the PandABox does not end")
            return None
        line = self._buffer[:end].decode("utf-8", "replace").rstrip("\r")
        del self._buffer[: end + 1]
        return line

    def _status(self) -> list[PositionEvent] | None:
        line = self._line()
        if line is None:
            return None
        if line != "OK":
            raise WireError("header", f"the PandABox refuses to send: {shown(line)}")
        self._step = self._header_line
        return []

    def _header_line(self) -> list[PositionEvent] | None:
        line = self._line()
        if line is None:
            return None
        if line.strip():
            self._header.append(line)
            if sum(map(len, self._header)) > MAX_LINE:
                raise WireError("header", "the header of the PandABox does not end")
            return []
        if not self._header:
            return []
        header, self._header = self._header, []
        return self._begin(*(_xml_header(header) if header[0].startswith("<") else _plain_header(header)))

    def _begin(self, data: Mapping[str, str], fields: Sequence[tuple[str, str]]) -> list[PositionEvent]:
        self._names = [name for name, _type in fields]
        self._rows.check(self._names)
        if len(fields) > MAX_FIELDS or len(set(self._names)) < len(fields):
            raise WireError("header", "the header of the PandABox has too many fields, or two of one name")
        missed = data.get("missed", "0")
        form = data.get("format")
        if form == "Framed":
            self._step = self._block
            self._dtype = _row_type(fields, data.get("sample_bytes"))
        elif form == "ASCII":
            self._step = self._row_line
        else:
            raise WireError("header", f"the PandABox sends {shown(form)}, expected Framed or ASCII")
        self._part = b""
        # Rows that were missed belong to a run that began before: its numbers go on.
        skipped = int(missed) if missed.isdecimal() and len(missed) <= MOST_DIGITS else 0
        self._rows.begin(skipped)
        return [] if skipped else [RunBegins()]

    def _block(self) -> list[PositionEvent] | None:
        if len(self._buffer) < 8:
            if self._buffer.startswith(b"END "):
                return self._end()
            return None
        word, length = struct.unpack_from("<4sI", self._buffer)
        if word == b"END ":
            return self._end()
        if word != b"BIN " or not 8 <= length <= MAX_BLOCK:
            raise WireError("header", f"a block of the PandABox begins with {shown(bytes(word))}")
        if len(self._buffer) < length:
            return None
        data = self._part + bytes(self._buffer[8:length])
        del self._buffer[:length]
        whole = len(data) - len(data) % self._dtype.itemsize
        self._part = data[whole:]
        table = np.frombuffer(data[:whole], self._dtype)
        columns = [table[name].tolist() for name in self._names]
        return [
            position
            for row in zip(*columns, strict=True)
            for position in self._rows.positions(dict(zip(self._names, row, strict=True)))
        ]

    def _row_line(self) -> list[PositionEvent] | None:
        if self._buffer.startswith(b"END"):
            return self._end()
        line = self._line()
        if line is None:
            return None
        values = line.split()
        if len(values) != len(self._names):
            raise WireError("header", f"the PandABox sends {len(values)} values in a row of {len(self._names)}")
        return list(self._rows.positions(dict(zip(self._names, values, strict=True))))

    def _end(self) -> list[PositionEvent] | None:
        line = self._line()
        if line is None:
            return None
        reason = line.partition(" ")[2].partition(" ")[2]
        if reason not in SOUND_ENDS:
            self._remark(f"the PandABox ended its capture: {shown(reason)}")
        self._step = self._header_line
        return [RunEnds()]


def _xml_header(lines: Sequence[str]) -> tuple[Mapping[str, str], list[tuple[str, str]]]:
    text = "\n".join(lines)
    if "<!" in text:  # entities could grow without bounds
        raise WireError("header", "the header of the PandABox is not what it sends")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise WireError("header", f"the header of the PandABox is no XML: {error}") from error
    data = root.find("data")
    fields = [(_name(f.get("name"), f.get("capture")), f.get("type", "")) for f in root.iterfind("fields/field")]
    return {} if data is None else data.attrib, fields


def _plain_header(lines: Sequence[str]) -> tuple[Mapping[str, str], list[tuple[str, str]]]:
    data: dict[str, str] = {}
    fields: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith(" "):
            name, kind, capture, *_ = [*line.split(), "", "", ""]
            fields.append((_name(name, capture), kind))
        else:
            key, _, value = line.partition(":")
            data[key] = value.strip()
    return data, fields


def _name(name: str | None, capture: str | None) -> str:
    return f"{name}.{capture}"


def _row_type(fields: Sequence[tuple[str, str]], sample_bytes: str | None) -> np.dtype[Any]:
    """Layout of a row of blocks. Raises WireError for types that are not known."""
    for name, kind in fields:
        if kind not in TYPES:
            raise WireError("dtype", f"the PandABox sends {name} as {shown(kind)}, known are {', '.join(TYPES)}")
    dtype = np.dtype([(name, TYPES[kind]) for name, kind in fields])
    if sample_bytes != str(dtype.itemsize):
        raise WireError("header", f"rows of the PandABox have {shown(sample_bytes)} bytes, its fields {dtype.itemsize}")
    return dtype


class _Message(Struct, frozen=True):
    message_type: Literal["series-start", "data", "series-end"]
    message_id: int
    frame_number: int = 0


class StreamedCapture:
    """Messages of MAX IV's position streams: JSON with a value, or a list of values, for each name."""

    def __init__(self, rows: Rows, remark: Callable[[str], None]) -> None:
        self._rows, self._remark = rows, remark
        self._next: int | None = None

    def message(self, data: bytes | memoryview) -> list[PositionEvent]:
        """Raises WireError for what is no such message."""
        if len(data) > MAX_BLOCK:
            raise WireError("header", f"positions of {len(data)} bytes")
        try:
            entries = msgspec.json.decode(data)
            message = msgspec.convert(entries, _Message)
        except (ValueError, RecursionError) as error:
            raise WireError("header", f"message of positions: {shown(str(error))}") from error
        if self._next is not None and message.message_id > self._next:
            self._remark(f"{message.message_id - self._next} messages of the stream of positions were lost")
        if self._next is not None and message.message_id < self._next and message.message_type == "data":
            self._remark(f"message {message.message_id} of the stream of positions came twice, and is not used again")
            return []
        self._next = message.message_id + 1
        if message.message_type == "series-start":
            self._rows.begin()
            return [RunBegins()]
        if message.message_type == "series-end":
            return [RunEnds()]
        return self._data(message, entries)

    def _data(self, message: _Message, entries: Mapping[str, Any]) -> list[PositionEvent]:
        self._rows.check([name for name in entries if name not in _Message.__struct_fields__])
        lists = {name: values for name, values in entries.items() if isinstance(values, list)}
        lengths = set(map(len, lists.values())) or {1}
        if len(lengths) != 1 or max(lengths) > ROWS_AT_ONCE:
            raise WireError("header", "lists of positions are too long, or not of one length")
        self._rows.go_on(message.frame_number)
        return [
            position
            for at in range(lengths.pop())
            for position in self._rows.positions({**entries, **{name: values[at] for name, values in lists.items()}})
        ]


class GrowingArrays:
    """Arrays that grow while the scan goes on, one for each name → positions: element i is that of row i.

    An array that has become shorter, or another one from the beginning, is that of a new run.
    """

    def __init__(self, options: Positions, shutter: str | None) -> None:
        self._rows = Rows(options, shutter)
        self.names = list(dict.fromkeys([*options.values, *filter(None, (options.trigger, shutter))]))
        self._arrays: dict[str, list[float | None]] = {}
        self._taken = 0

    def update(self, name: str, values: Sequence[float]) -> list[PositionEvent]:
        """The array of this name is now this one."""
        array = [value if math.isfinite(value) else None for value in values[:ROWS_AT_ONCE]]
        known = self._arrays.get(name, [])
        events: list[PositionEvent] = []
        if array[: len(known)] != known and self._taken:
            self._arrays, self._taken = {}, 0
            self._rows.begin()
            events.append(RunBegins())
        self._arrays[name] = array
        whole = min(len(self._arrays.get(each, ())) for each in self.names)
        for at in range(self._taken, whole):
            events += self._rows.positions({each: self._arrays[each][at] for each in self.names})
        self._taken = max(self._taken, whole)
        return events
