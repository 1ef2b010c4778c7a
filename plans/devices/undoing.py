"""Closing a scan that was given up: in the camera, in the daemon, and the claim on the beamline. It never raises."""

import logging
import time
from collections.abc import Callable

from streamer.client import LinkError, LinkTimeout

from .cameras.camera import CLEANUP_S, DetectorHardware
from .daemon import StreamerDaemon

log = logging.getLogger(__name__)

POLL_S = 0.05


def close_scan(
    hardware: DetectorHardware, daemon: StreamerDaemon, scan_id: str, reason: str, prepared: bool, armed: bool
) -> None:
    """End a scan where it has begun: ``prepared`` in the camera, ``armed`` in the daemon."""
    answers = True
    if prepared:
        attempt(hardware.stop)
        if attempt(lambda: hardware.finish("aborted")) and armed:
            answers = attempt(lambda: _await_end(daemon, scan_id))  # the frames on their way are worth a moment
    if armed and answers and attempt(lambda: daemon.abort(scan_id, reason, CLEANUP_S)):
        attempt(lambda: daemon.poll(scan_id, CLEANUP_S))


def _await_end(daemon: StreamerDaemon, scan_id: str) -> None:
    """Until the daemon has closed the scan, because the hardware told it that it is over; not for long."""
    end = time.monotonic() + CLEANUP_S
    while time.monotonic() < end:
        report = daemon.poll(scan_id, CLEANUP_S)
        if report is None or report.state.final:
            return
        time.sleep(POLL_S)


def attempt(step: Callable[[], object]) -> bool:
    """Whether a step of the cleaning-up went well; why not, is logged."""
    try:
        step()
    except (LinkError, LinkTimeout) as error:
        log.warning("cleaning up: %s", error)
    except Exception:
        log.exception("cleaning up")
    else:
        return True
    return False
