"""Small pieces that plans are made of. Each waits with a timeout; none blocks the RunEngine.

A pause makes the RunEngine forget what it waits for, and stops motors half-way. So everything here waits for the
Status itself, and looks where a motor stands before it goes on.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Generator
from inspect import iscoroutinefunction
from math import remainder
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.protocols import Movable, Status
from bluesky.utils import Msg, short_uid
from ophyd.device import Staged

from streamer.client import LinkTimeout

from .devices.requests import Closing, Request
from .devices.stage import MotionStopped

log = logging.getLogger(__name__)

Plan = Generator[Msg, Any, Any]

FLUSH_S = 0.25
BACKSTOP_S = 3600.0  # devices have their own, shorter and better worded timeouts


def connect(*devices: Any) -> Plan:
    """Connect the devices of ophyd-async, which do so in the RunEngine's loop; others connect by themselves.

    What is connected stays so. Raises LinkTimeout, one line.
    """
    for device in devices:
        if not iscoroutinefunction(getattr(device, "connect", None)):
            continue
        (task,) = yield from bps.wait_for([device.connect])
        if (error := task.exception()) is not None:
            why = " ".join(str(error).split()) or type(error).__name__
            raise LinkTimeout(f"{device.name} cannot be connected: {why}")


def move(device: Movable[Any], target: float | int | str | None, timeout_s: float = BACKSTOP_S) -> Plan:
    """Set a device and wait until it is there."""
    group = short_uid("move")
    status = yield from bps.abs_set(device, target, group=group)
    yield from until_done(status, group, timeout_s)


def open_shutter(shutter: Movable[Any], timeout_s: float = 15.0) -> Plan:
    yield from move(shutter, "open", timeout_s)


def close_shutter(shutter: Movable[Any], timeout_s: float = 15.0) -> Plan:
    yield from move(shutter, "closed", timeout_s)


def sample_in(sample_x: Movable[Any], x_in_mm: float = 0.0, timeout_s: float = 120.0) -> Plan:
    """Bring the sample into the beam."""
    yield from move_checked(sample_x, x_in_mm, 0.005, timeout_s)


def sample_out(sample_x: Movable[Any], x_out_mm: float, timeout_s: float = 120.0) -> Plan:
    """Move the sample out of the beam, for flats."""
    yield from move_checked(sample_x, x_out_mm, 0.005, timeout_s)


def mount(changer: Movable[Any], slot: int, timeout_s: float = 180.0) -> Plan:
    """Have the robot put the sample of ``slot`` on the stage."""
    yield from move(changer, slot, timeout_s)


def to_exchange(sample_x: Any, changer: Any) -> Plan:
    """Bring the stage to where the robot exchanges samples, unless it is there."""
    yield from connect(sample_x, changer)
    position = yield from bps.rd(sample_x)
    if abs(position - changer.exchange_mm) > 0.005:
        yield from move_checked(sample_x, changer.exchange_mm, 0.005)


def unmount(changer: Movable[Any], timeout_s: float = 180.0) -> Plan:
    yield from move(changer, None, timeout_s)


def move_checked(
    axis: Any, target: float, tolerance: float, timeout_s: float = BACKSTOP_S, period: float | None = None
) -> Plan:
    """Move, read the position, and repeat the move up to twice when it is not the target.

    With a ``period`` any number of these may lie between: many rotations report their angle modulo 360°.
    """
    for _ in range(3):
        yield from move(axis, target, timeout_s)
        position = yield from bps.rd(axis)
        away = position - target
        if abs(away if period is None else remainder(away, period)) <= tolerance:
            return
    raise MotionStopped(f"{axis.name} stands at {position:g} instead of {target:g}")


def unstage_left(*devices: Any) -> Plan:
    """Unstage what is staged still: a failure that came late may have cut the clean-up of the plan before short."""
    for device in devices:
        if getattr(device, "_staged", Staged.no) is not Staged.no:
            log.warning("%s was left staged", device.name)
            yield from bps.unstage(device)


def halt(axis: Any, group: str | None = None) -> Plan:
    """Stop a motor on purpose; the move that fails because of it is no error.

    ``group`` is the group of the move; it is used up.
    """
    try:
        yield from bps.stop(axis)
        if group is not None:
            yield from bps.wait(group, timeout=10.0)
    except Exception as error:
        log.info("%s was halted: %s", axis.name, _cause(error))


def until_done(status: Status, group: str, timeout_s: float, period_s: float = FLUSH_S) -> Plan:
    """Wait for one Status."""
    end = time.monotonic() + timeout_s
    while not status.done:
        waited = yield from bps.wait(group, timeout=period_s, error_on_timeout=False)
        if waited and not status.done:
            yield from bps.sleep(0.02)
        if time.monotonic() > end:
            raise TimeoutError(f"{group.split('-')[0]}: not done within {timeout_s:g} s")
    yield from used_up(group)


def used_up(group: str) -> Plan:
    """Wait for a group whose Statuses are done. A failed one raises here.

    The first wait ends the progress bar that a wait with a time limit has begun; the second one would begin another.
    """
    yield from bps.wait(group, timeout=FLUSH_S, error_on_timeout=False)
    yield from bps.wait(group)


def collect_until_complete(detector: Any, stream: str, deadline_s: float, every: Any = None) -> Plan:
    """Complete a detector and announce its frames meanwhile, at most ``deadline_s`` seconds.

    ``every`` is a plan function that is run after each announcement, for example to look at the verdict so far.
    """
    end = time.monotonic() + deadline_s
    group = short_uid("complete")
    status = yield from bps.complete(detector, group=group, wait=False)
    while True:
        ended = status.done  # read before collecting, so that the last frames are collected
        yield from bps.collect(detector, name=stream)
        if ended:
            yield from used_up(group)
            return
        if every is not None:
            yield from every()
        if time.monotonic() > end:
            raise TimeoutError(f"{detector.name} was not done within {deadline_s:.0f} s")
        waited = yield from bps.wait(group, timeout=FLUSH_S, error_on_timeout=False)
        if waited and not status.done:
            yield from bps.sleep(FLUSH_S)


def prepare_and_kickoff(detector: Any, request: Request, timeout_s: float = 60.0) -> Plan:
    yield from prepare(detector, request, timeout_s)
    group = short_uid("kickoff")
    status = yield from bps.kickoff(detector, group=group)
    yield from until_done(status, group, timeout_s)


def prepare(detector: Any, request: Request, timeout_s: float = 120.0) -> Plan:
    group = short_uid("prepare")
    status = yield from bps.prepare(detector, request, group=group)
    yield from until_done(status, group, timeout_s)


def close_scan(detector: Any, stream: str, closing: Closing, deadline_s: float = 300.0) -> Plan:
    """Close the scan: wait until all frames are on disk, and announce the last ones."""
    yield from prepare_and_kickoff(detector, closing)
    yield from collect_until_complete(detector, stream, deadline_s)


def trigger_and_read(device: Any, stream: str, timeout_s: float = BACKSTOP_S) -> Plan:
    """Trigger one device and record it as one event. Returns its readings."""
    group = short_uid("trigger")
    status = yield from bps.trigger(device, group=group)
    yield from until_done(status, group, timeout_s)
    yield from bps.create(stream)
    readings = yield from bps.read(device)
    yield from bps.save()
    return readings


def record(stream: str, *devices: Any) -> Plan:
    """Read devices as one event."""
    yield from bps.create(stream)
    for device in devices:
        yield from bps.read(device)
    yield from bps.save()


def claim(changer: Any, queue_s: float) -> Plan:
    """Claim the beamline for a batch, until the changer is unstaged. Waits in the queue for at most ``queue_s``."""
    status = changer.reserve(f"batch.{uuid.uuid4().hex[:12]}", queue_s)
    yield from call(lambda: status.wait(queue_s + 60.0))


def call(work: Callable[[], Any]) -> Plan:
    """Run a function that takes time on a thread, without blocking the RunEngine. Returns or raises what it does."""
    results: list[Any] = []

    async def run() -> None:
        try:
            results.append((await asyncio.to_thread(work), None))
        except Exception as error:
            results.append((None, error))

    yield from bps.wait_for([run])
    value, error = results[-1]
    if error is not None:
        raise error
    return value


def attempt(plan: Plan, what: str) -> Plan:
    """Run one step of cleaning up. An error is logged, and the next step follows."""
    try:
        yield from plan
    except Exception as error:
        log.warning("cleaning up, %s: %s", what, _cause(error))


def _cause(error: Exception) -> BaseException:
    return error.__cause__ or error
