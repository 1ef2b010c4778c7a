"""``streamer check ENDPOINT``: listens to a detector and says what it speaks, and which configuration it needs."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

import numpy as np

from streamer.config import PVA
from streamer.flow.codecs import decompress_into
from streamer.flow.dialects import TRAITS
from streamer.flow.dialects.message import Image, SeriesEnd, SeriesStart, SocketKind, Traits
from streamer.flow.dialects.recognise import NATIVE, Recognised, recognise
from streamer.flow.wire import WireError
from streamer.frames import StreamerError
from streamer.io.foreign.probe import MOST_BYTES, MOST_MESSAGES, PEERS, POLL_MS, Heard, Probe
from streamer.io.foreign.pva import SCHEME, PvaInbox
from streamer.io.messaging import sockets
from streamer.schema import shown

ANGLE_NAME = re.compile(r"angle|omega|theta|rot", re.IGNORECASE)
KIND_NAME = re.compile(r"image_?key|frame_?type|savedest", re.IGNORECASE)
LONGEST_NAME = 64  # of an attribute, to be shown as it is


class SilentError(StreamerError):
    """Nobody is there, or nothing that can be read was sent."""


def look(args: argparse.Namespace) -> int:
    """Print what comes from ``args.config``, an endpoint. Raises SilentError."""
    if args.config.startswith(SCHEME):
        found, heard = _subscribe(args.config, args.seconds)
        print("\n".join(report(found, heard, args.config, False)))
        return 0
    kind: SocketKind | None = (args.socket or "pull") if args.bind else None
    with sockets.until_done() as context:
        probe = Probe(context, args.config, kind)
        heard = probe.listen(args.seconds, time.monotonic)
    if heard.kind is None:
        way_out = "is it on, and does it connect here?" if args.bind else "is it on, and does it bind there?"
        raise SilentError(f"{args.config}: no detector within {args.seconds:g} s; {way_out} (--bind is for the others)")
    print(f"{args.config}: a {PEERS[heard.kind]} socket")
    if not heard.messages:
        raise SilentError(f"{args.config}: it sent nothing within {args.seconds:g} s; start an acquisition meanwhile")
    if heard.kind == "pull":
        print(f"{len(heard.messages)} messages were taken, and are lost to whoever else listens")
    found = recognise(heard.messages)
    for line in report(found, heard, args.config, args.bind):
        print(line)
    return 0 if found.dialect is not None else 1


def _subscribe(endpoint: str, seconds: float) -> tuple[Recognised, Heard]:
    """Images of a PV, at most 50."""
    inbox, heard, refused = PvaInbox(endpoint, MOST_MESSAGES, MOST_BYTES), Heard("pva"), Counter[str]()
    images: list[Image] = []
    began, connected = time.monotonic(), False
    try:
        while time.monotonic() - began < seconds and len(images) < MOST_MESSAGES:
            try:
                image = inbox.receive(POLL_MS)
            except WireError as error:
                connected = True
                if error.reason != "stale_scan":  # the image that it held before is nobody's fault
                    refused[str(error)] += 1
                continue
            if image is not None:
                images.append(image)
                heard.times_s.append(time.monotonic())
    finally:
        inbox.close()
    if not connected:
        raise SilentError(f"{endpoint}: no such PV within {seconds:g} s; EPICS_PVA_ADDR_LIST says where to look")
    return Recognised(PVA, images, dict(enumerate(refused.elements()))), heard


def report(found: Recognised, heard: Heard, endpoint: str, bind: bool) -> Iterator[str]:
    """What was found, in lines."""
    if found.dialect is None:
        yield "no dialect of Streamer fits the messages:"
        yield from (f"  {name}: {complaint}" for name, complaint in found.refused.items())
        return
    if found.dialect == NATIVE:
        yield f"dialect native; {_rate(heard.times_s)}"
        yield from _refused(found)
        yield from _configuration(endpoint, bind, NATIVE, None, [])
        return
    traits = TRAITS[found.dialect]
    images = [message for message in found.messages if isinstance(message, Image)]
    times = [
        time_s for time_s, message in zip(heard.times_s, found.messages, strict=True) if isinstance(message, Image)
    ]
    yield f"dialect {traits.name}, as {traits.spoken_by} speak it; {_rate(times)}"
    shapes = Counter((image.shape, image.dtype, image.codec) for image in images)
    for (shape, dtype, codec), count in shapes.items():
        yield f"{count} images of {shape[0]} rows × {shape[1]} columns, {dtype}, compression {codec}"
    yield from _refused(found)
    for complaint, count in Counter(filter(None, map(_unpacked, images))).items():
        yield f"{count} images would be corrupt: {complaint}"
    starts = sum(isinstance(message, SeriesStart) for message in found.messages)
    ends = sum(isinstance(message, SeriesEnd) for message in found.messages)
    yield f"{starts} series began and {ends} ended meanwhile"
    names = sorted({name for image in images for name in image.attributes})
    yield f"attributes of the images: {', '.join(map(_safe, names)) or 'none'}"
    yield from missing(traits, images, names)
    yield from _configuration(endpoint, bind, traits.name, heard.kind, names)


def _refused(found: Recognised) -> Iterator[str]:
    for complaint, count in Counter(found.refused.values()).items():
        yield f"{count} messages would be refused: {complaint}"


def _unpacked(image: Image) -> str:
    """What is wrong with the compressed pixels of an image; "" when nothing is, or they are too many to be tried."""
    if image.codec == "none" or image.nbytes > MOST_BYTES:
        return ""
    pixels = np.empty(image.nbytes, np.uint8)
    try:
        decompress_into(image.codec, image.data, pixels.data, np.dtype(image.dtype).itemsize)
    except WireError as error:
        return str(error)
    return ""


def _safe(name: str) -> str:
    """A name that a peer sent: on one line, and without what a terminal would obey."""
    return name if name.isprintable() and len(name) <= LONGEST_NAME else shown(name)


def missing(traits: Traits, images: Sequence[Image], names: Sequence[str]) -> Iterator[str]:
    """What a scan of this detector lacks, and where it can come from."""
    if not traits.numbers_frames:
        yield "missing: frame numbers. A lost frame is not noticed, and all after it are at the angles before theirs"
    else:
        yield from _numbering(images)
    if not traits.sends_angles and not any(map(ANGLE_NAME.search, names)):
        yield "missing: angles. They are start + i × step as announced, or come from the section [positions]"
    if not traits.sends_kinds and not any(map(KIND_NAME.search, names)):
        yield "missing: darks, flats, projections. The order in [kinds] tells them apart, or the shutter"
    if not traits.announces:
        yield "missing: a message before the first image. A frame that is lost there is not noticed"
    if not traits.ends:
        yield "missing: an end. A scan is over when its last frame came, or after scan.stall_timeout_s"


def _numbering(images: Sequence[Image]) -> Iterator[str]:
    """What is wrong with the numbers of images, which begin anew with each series."""
    by_series: dict[tuple[str | None, str], list[int]] = {}
    for image in images:
        if image.number is not None:
            by_series.setdefault((image.series, image.channel), []).append(image.number)
    steps = [after - before for numbers in by_series.values() for before, after in pairwise(numbers)]
    if gaps := sum(step > 1 for step in steps):
        yield f"the frame numbers do not follow each other in {gaps} places: frames are lost, or only some are shown"
    if back := sum(step < 1 for step in steps):
        yield f"the frame numbers go back or repeat in {back} places: a new start without a message, or two detectors"
    series = [image.series for image in images]
    if sum(before != after for before, after in pairwise(series)) > max(0, len(set(series)) - 1):
        yield f"images of {len(set(series))} series come in turns: two detectors send at once, which makes no scan"


def _rate(times_s: Sequence[float]) -> str:
    steps = [after - before for before, after in pairwise(times_s)]
    if not steps:
        return f"{len(times_s)} images"
    return f"{len(times_s)} images, {1 / max(median(steps), 1e-6):.4g} per second"


def _configuration(
    endpoint: str, bind: bool, name: str, kind: SocketKind | None, names: Sequence[str]
) -> Iterator[str]:
    yield "configuration:"
    yield "  [source]"
    yield f"  endpoint = {_quoted(endpoint)}"
    if bind:
        yield "  bind = true"
    yield f'  dialect = "{name}"'
    if kind is not None and kind != TRAITS[name].sockets[0]:
        yield f'  socket = "{kind}"'
    for pattern, section, key in ((KIND_NAME, "kinds", "attribute"), (ANGLE_NAME, "positions", "value")):
        attribute = next(filter(pattern.search, filter(str.isprintable, names)), None)
        if attribute is not None:
            yield f"  [{section}]"
            if section == "positions":
                yield '  source = "attribute"'
            yield f"  {key} = {_quoted(attribute)}"


def _quoted(text: str) -> str:
    """A printable text in TOML."""
    return json.dumps(text, ensure_ascii=False)
