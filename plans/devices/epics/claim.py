"""The claim on a beamline over EPICS: a few records of the IOC, whose watchdog makes the beamline safe."""

from streamer.client import LinkError
from streamer.flow.wire.beamline import BeamlineOwner

from .record import Record, check_answer

ORDER_S = 10.0


class EpicsClaims:
    """Where a Claim is taken, renewed and given back: records that begin with ``prefix``.

    Take is written with "SCAN_ID USER LEASE_S", Release with "SCAN_ID"; Owner_RBV, User_RBV and Waiting_RBV say who has
    the beamline and who waits.
    """

    def __init__(self, prefix: str) -> None:
        self._take = Record(f"{prefix}Take", f"{prefix}Take", text=True)
        self._release = Record(f"{prefix}Release", f"{prefix}Release", text=True)
        self._texts = {
            word: Record(f"{prefix}{word}_RBV", text=True) for word in ("Owner", "User", "Waiting", "Answer")
        }

    def claim(self, scan_id: str, user: str, lease_s: float) -> BeamlineOwner:
        self._take.order(f"{scan_id} {user} {lease_s:g}", ORDER_S)
        owner, taken_by, waiting = (str(self._texts[word].read()) for word in ("Owner", "User", "Waiting"))
        if owner != scan_id and user not in waiting.split():
            check_answer(self._texts["Answer"])
            raise LinkError(f"the beamline did not take the claim of scan {scan_id}")
        return BeamlineOwner(owner or None, taken_by or None, waiting.split())

    def release(self, scan_id: str) -> None:
        self._release.order(scan_id, ORDER_S)
