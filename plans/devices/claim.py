"""The claim of this session on the beamline: it waits in the queue, is renewed on a thread, and is given back.

The watchdog is beside the hardware. When this process dies, the claim is not renewed any more, and the beamline is made
safe without us.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

from streamer.client import Link, LinkClosed, LinkError, LinkTimeout
from streamer.flow.wire.beamline import BeamlineOwner, Release
from streamer.flow.wire.beamline import Claim as ClaimBeamline
from streamer.frames import NAME, StreamerError

from .failures import FailureCode

log = logging.getLogger(__name__)

ASK_S = 0.2
RENEWALS = 5  # in the time after which a claim that is not renewed ends


class BeamlineTaken(StreamerError):
    """The beamline belongs to the scan of somebody else, for longer than we wanted to wait."""

    failure = FailureCode.BEAMLINE_TAKEN


class GivenUp(StreamerError):
    """The plan does not want the scan any more."""


class Claims(Protocol):
    """Where claims are kept: beside the hardware. Both raise LinkError or LinkTimeout."""

    def claim(self, scan_id: str, user: str, lease_s: float) -> BeamlineOwner:
        """Claim the beamline, or renew the claim; whose it is now."""

    def release(self, scan_id: str) -> None: ...


class SimClaims:
    """The claims on the virtual beamline."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def claim(self, scan_id: str, user: str, lease_s: float) -> BeamlineOwner:
        return self._link.ask(ClaimBeamline(scan_id, user, lease_s)).ownership

    def release(self, scan_id: str) -> None:
        self._link.ask(Release(scan_id))


class Claim:
    """``scan_id`` is the scan, or the batch, for which the beamline is ours, None when it is not. Requests name it as
    their owner.

    ``user`` is shown to those who wait. A claim that is not renewed for ``lease_s`` seconds ends.
    """

    def __init__(self, claims: Claims, user: str | None = None, lease_s: float = 5.0) -> None:
        self._claims, self._lease_s = claims, lease_s
        self._user = user or _user()
        self._renewals: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self.scan_id: str | None = None

    def take(self, scan_id: str, patience_s: float, given_up: Callable[[], bool]) -> None:
        """Wait in the queue until the beamline is ours. It stays ours when it is so for a longer claim, of a batch.

        Raises BeamlineTaken after ``patience_s`` seconds, and GivenUp when ``given_up()``.
        """
        if self.scan_id is not None:
            return
        end, shown = time.monotonic() + patience_s, ""
        try:
            while True:
                owner = self._claims.claim(scan_id, self._user, self._lease_s)
                if owner.scan_id == scan_id:
                    break
                news = (
                    f"the beamline belongs to scan {owner.scan_id} of {owner.user}; waiting: {', '.join(owner.waiting)}"
                )
                if given_up():
                    raise GivenUp(f"scan {scan_id} was given up while it waited: {news}")
                if time.monotonic() > end:
                    raise BeamlineTaken(f"no beam within {patience_s:g} s: {news}")
                if news != shown:
                    log.info("%s", news)
                shown = news
                time.sleep(ASK_S)
        except BaseException:
            self._send_release(scan_id)
            raise
        self.scan_id = scan_id
        ended = self._renewals[scan_id] = threading.Event()
        threading.Thread(target=self._renew, args=(scan_id, ended), name="claim", daemon=True).start()

    def give_back(self, scan_id: str) -> None:
        """End the claim of a scan, if there is one: what is left open is made safe there. Never raises."""
        ended = self._renewals.pop(scan_id, None)
        if ended is not None:
            if self.scan_id == scan_id:
                self.scan_id = None
            with self._lock:  # no renewal may follow the release
                ended.set()
                self._send_release(scan_id)

    def _renew(self, scan_id: str, ended: threading.Event) -> None:
        while not ended.wait(self._lease_s / RENEWALS):
            try:
                with self._lock:
                    if not ended.is_set():
                        self._claims.claim(scan_id, self._user, self._lease_s)
            except LinkClosed:
                return
            except (LinkError, LinkTimeout) as error:
                log.warning("the claim of scan %s was not renewed: %s", scan_id, error)

    def _send_release(self, scan_id: str) -> None:
        try:
            self._claims.release(scan_id)
        except (LinkError, LinkTimeout) as error:
            log.warning("the claim of scan %s ends by itself: %s", scan_id, error)


def _user() -> str:
    """The user of this process, as a name of the protocol."""
    user = os.environ.get("USER", "")
    return user if NAME.fullmatch(user) else f"uid-{os.getuid()}"
