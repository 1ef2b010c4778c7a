"""Why a scan failed, for machines: the code before the colon in the reason of a run's stop document."""

from enum import StrEnum

from streamer.client import LinkError, LinkTimeout
from streamer.flow.wire import WireError
from streamer.frames import BadInput


class FailureCode(StrEnum):
    """A sentence may be reworded, a code is never renamed. ``docs/reasons.md`` shows the table."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> "FailureCode":
        code = str.__new__(cls, value)
        code._value_, code.meaning = value, meaning
        return code

    REFUSED = "refused_arguments", "the scan cannot be taken as it was asked for; another try would fail as well"
    BEAMLINE_TAKEN = "beamline_taken", "the beamline belonged to the scan of somebody else for too long"
    PAUSED = "paused", "the scan was paused while the rotation turned"
    BEAM_LOST = "beam_lost", "the beam was lost, and did not come back in time or was lost too often"
    DAEMON_LOST = "daemon_lost", "the daemon died, hangs, or was restarted"
    DAEMON_GAVE_UP = "daemon_gave_up", "the daemon closed the scan before its end, or could not take it"
    DAEMON_STALLED = "daemon_stalled", "the daemon receives or writes nothing any more"
    CAMERA_FAULT = "camera_fault", "the camera reports a fault"
    CAMERA_STALLED = "camera_stalled", "the camera takes no frames any more"
    MOTION = "motion_failed", "an axis did not arrive where it was sent to"
    SERVER_LOST = "server_lost", "a server does not answer: the beamline's or the daemon's"
    TIMED_OUT = "timed_out", "a device was not done in time"
    OTHER = "failed", "anything else; only the sentence is known"


def failure_of(error: BaseException) -> FailureCode:
    """The code of an error: its own (attribute ``failure``), or that of its kind."""
    own = getattr(error, "failure", None)
    if isinstance(own, FailureCode):
        return own
    if isinstance(error, LinkTimeout):
        return FailureCode.SERVER_LOST
    if isinstance(error, LinkError):
        return FailureCode.REFUSED if error.code == "bad_input" else FailureCode.OTHER
    if isinstance(error, BadInput) and not isinstance(error, WireError):
        return FailureCode.REFUSED
    return FailureCode.TIMED_OUT if isinstance(error, TimeoutError) else FailureCode.OTHER
