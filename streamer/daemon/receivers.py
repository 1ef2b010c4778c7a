"""The receive thread's socket, as the configuration wants it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from streamer.config import NATIVE, PVA, Config
from streamer.flow.assembly import Assembly
from streamer.flow.dialects import DIALECTS, dectris_v2
from streamer.frames import ScanSpec
from streamer.io.foreign.pva import PvaInbox
from streamer.io.messaging.sockets import Context, Guard
from streamer.io.positions import PositionSource
from streamer.io.sources.acknowledged import AcknowledgingReceiver
from streamer.io.sources.dialect import DialectReceiver, Inbox, ZmqInbox
from streamer.io.sources.push import FrameReceiver

Receiver = FrameReceiver | AcknowledgingReceiver | DialectReceiver


def assembly_of(config: Config) -> Callable[[ScanSpec], Assembly]:
    """What makes frames of a foreign detector's images, for one scan. Raises BadInput for a scan that it cannot."""
    return partial(Assembly, source=config.source.dialect, kinds=config.kinds, positions=config.positions)


def new_receiver(
    config: Config,
    context: Context,
    guard: Guard,
    awaiting: Callable[[], ScanSpec | None],
    positions: PositionSource | None,
    clock: Callable[[], float],
) -> Receiver:
    """``awaiting`` gives the scan that waits for frames. Raises BadInput for an endpoint that cannot be used."""
    source = config.source
    max_bytes = int(source.max_frame_mb * 2**20)
    common = (context, source.endpoint, source.bind, source.high_water_mark, max_bytes)
    always = source.attach == "always"
    if source.dialect != NATIVE:
        inbox: Inbox
        if source.dialect == PVA:
            inbox = PvaInbox(source.endpoint, source.high_water_mark, max_bytes)
        else:
            dialect = DIALECTS[source.dialect]
            kind = source.socket or dialect.TRAITS.sockets[0]
            decode = dialect.decode if source.channel is None else partial(dectris_v2.decode, channel=source.channel)
            inbox = ZmqInbox(*common, decode, kind, clock, guard, always)
        return DialectReceiver(inbox, source.dialect, awaiting, assembly_of(config), clock, positions)
    if source.transport == "push":
        return FrameReceiver(*common, guard=guard, wanted=None if always else lambda: awaiting() is not None)
    return AcknowledgingReceiver(*common, daemon=time.time_ns(), clock=clock, guard=guard)
