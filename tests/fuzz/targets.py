"""Every decoder of what comes from a network or from a file that others may write, as a function of any bytes.

A target returns whether the bytes were taken. It raises only when a decoder did what none may: another error than
BadInput, or a complaint that is not one short line. ``fuzz_one`` is the entry for a fuzzer that feeds bytes (libFuzzer,
atheris): its first byte chooses the target.
"""

from __future__ import annotations

from collections.abc import Callable

from streamer.daemon.monitoring.http import Page, PageServer
from streamer.flow import wire
from streamer.flow.codecs import decompress_into
from streamer.flow.dialects import DIALECTS
from streamer.flow.dialects.message import Codec
from streamer.flow.positions.positions import Positions
from streamer.flow.positions.rows import PandaCapture, Rows, StreamedCapture
from streamer.flow.row_cut import RowCut
from streamer.flow.wire.acknowledged import decode_credit, decode_hello, decode_number
from streamer.flow.wire.beamline import BEAMLINE_REQUESTS
from streamer.flow.wire.control import Request, read_reply, read_request
from streamer.flow.wire.daemon import DAEMON_REQUESTS, Abort, GetStatus, GetVerdict, WatchPlanes, read_preview
from streamer.flow.wire.events import read_event
from streamer.flow.wire.looks import LOOK_REQUESTS, GetBrick, GetLatest, GetPast, Look
from streamer.frames import BadInput

LONGEST_COMPLAINT = 2000

CODECS: tuple[Codec, ...] = ("none", "lz4", "bslz4", "lz4-h5", "bslz4-h5")
PIXELS_BYTES, GUARD = 768, 64
POSITIONS = Positions(source="pandabox", endpoint="panda:8889")

DAEMON = {kind.verb: kind for kind in DAEMON_REQUESTS + LOOK_REQUESTS}
BEAMLINE = {kind.verb: kind for kind in BEAMLINE_REQUESTS}
ASKED: tuple[Request[object], ...] = (GetStatus(), GetVerdict("scan-1"), WatchPlanes(), Abort("scan-1"),
    Look("raw"), GetLatest("xy"), GetPast(), GetBrick())  # fmt: skip


def _taken(work: Callable[[], object]) -> bool:
    try:
        work()
    except BadInput as error:
        text = str(error)
        if "\n" in text or not text or len(text) > LONGEST_COMPLAINT:
            raise AssertionError(f"a complaint of {len(text)} characters: {text[:200]!r}") from error
        return False
    return True


def parts_of(data: bytes) -> list[bytes]:
    """The parts of a message: each is preceded by its length in two bytes; the last one is the rest."""
    parts = []
    while len(data) > 2:
        size = int.from_bytes(data[:2], "little")
        parts.append(data[2 : 2 + size])
        data = data[2 + size :]
    return parts


def joined(parts: list[bytes]) -> bytes:
    """The inverse of ``parts_of``."""
    return b"".join(len(part).to_bytes(2, "little") + part for part in parts)


def frames(data: bytes) -> bool:
    return _taken(lambda: wire.decode(data))


def requests(data: bytes) -> bool:
    return _taken(lambda: read_request(data, DAEMON))


def beamline(data: bytes) -> bool:
    return _taken(lambda: read_request(data, BEAMLINE))


def replies(data: bytes) -> bool:
    outcomes = [_taken(lambda asked=asked: read_reply(data, asked)) for asked in ASKED]
    return any(outcomes)


def events(data: bytes) -> bool:
    return _taken(lambda: read_event(parts_of(data)))


def previews(data: bytes) -> bool:
    def show() -> None:
        header, payload = read_preview(parts_of(data))
        header.values(payload)

    return _taken(show)


def producers(data: bytes) -> bool:
    decode_number(data)
    return _taken(lambda: decode_hello(data))


def credits(data: bytes) -> bool:
    return _taken(lambda: decode_credit(data))


def dialects(data: bytes) -> bool:
    """The same parts as a message of each foreign detector."""
    parts = [memoryview(part) for part in parts_of(data)]
    outcomes = [_taken(lambda dialect=dialect: dialect.decode(parts)) for dialect in DIALECTS.values()]
    return any(outcomes)


def cuts(data: bytes) -> bool:
    """A native message of which a tee cuts rows out; ZeroMQ has none without parts."""
    return _taken(lambda: RowCut(1, 3).of([memoryview(part) for part in parts_of(data) or [b""]]))


def packed(data: bytes) -> bool:
    """Compressed pixels, into memory with a guard on both sides; the first byte says how, and the size of a pixel."""
    way, room = data[0] if data else 0, bytearray(b"\xa5" * (PIXELS_BYTES + 2 * GUARD))
    out = memoryview(room)[GUARD : GUARD + PIXELS_BYTES]
    codec, itemsize = CODECS[way % len(CODECS)], 1 << way // len(CODECS) % 3
    taken = _taken(lambda: decompress_into(codec, memoryview(data)[1:], out, itemsize))
    assert room.startswith(b"\xa5" * GUARD)
    assert room.endswith(b"\xa5" * GUARD)
    return taken


def captures(data: bytes) -> bool:
    """What the data port of a PandABox sends, in two pieces."""
    reader = PandaCapture(Rows(POSITIONS, "BITS0"), lambda text: None)
    half = len(data) // 2
    return _taken(lambda: [reader.feed(piece) for piece in (data[:half], data[half:])])


def positions(data: bytes) -> bool:
    """Messages of a stream of positions."""
    reader = StreamedCapture(Rows(POSITIONS, None), lambda text: None)
    return _taken(lambda: [reader.message(part) for part in parts_of(data)])


def http(data: bytes) -> bool:
    """The request of a client of the metrics."""
    page = PageServer.page({"/metrics": lambda _accept: Page(b"up 1\n")}, data)
    assert page.status in (200, 400, 404, 405)
    return page.status == 200


TARGETS: dict[str, Callable[[bytes], bool]] = {
    target.__name__: target
    for target in (
        frames,
        requests,
        beamline,
        replies,
        events,
        previews,
        producers,
        credits,
        dialects,
        cuts,
        packed,
        captures,
        positions,
        http,
    )
}


def fuzz_one(data: bytes) -> None:
    """Feed one input; its first byte chooses the target."""
    if data:
        list(TARGETS.values())[data[0] % len(TARGETS)](data[1:])
