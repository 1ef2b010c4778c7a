"""The daemon's sockets in this process, with a report that the test writes."""

import threading
import time

import zmq

from streamer.frames import NOT_JUDGED, BadInput
from streamer.io.control import Busy, ControlServer
from streamer.io.publish import Publisher

ANYWHERE = "tcp://127.0.0.1:*"


def report_of(scan_id="s1", state="acquiring", verdict=NOT_JUDGED, **more):
    counts = {"received": 0, "duplicate": 0, "late": 0, "corrupt": 0}
    base = {"scan_id": scan_id, "state": state, "written": 0, "frames": counts, "quality": {}, "error": None}
    return {**base, **verdict.to_dict(), **more}


class StandIn:
    """``report`` is what ``status`` and ``verdict`` answer; ``busy`` so many requests to arm are refused first."""

    def __init__(self):
        self._context = zmq.Context()
        self.events = Publisher(self._context, ANYWHERE, 100, "events")
        verbs = {name: getattr(self, f"_{name}") for name in ("ping", "arm", "status", "verdict", "abort")}
        self._control = ControlServer(self._context, ANYWHERE, verbs, time.monotonic)
        self.endpoint = self._control.endpoint
        self.report = None
        self.busy = 0
        self.asked = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._control.run, args=(self._ended.is_set,))
        self._thread.start()

    def tell(self, **changes):
        """Change the report and publish it."""
        self.report = {**self.report, **changes}
        self.events.event("progress", {"scan_id": self.report["scan_id"], "report": self.report})

    def close(self):
        self._ended.set()
        self._thread.join()
        self.events.close()
        self._context.term()

    def _ping(self, args):
        return {"version": "stand-in"}

    def _arm(self, args):
        self.asked.append("arm")
        if self.busy > 0:
            self.busy -= 1
            raise Busy("another scan is running")
        self.report = report_of(args["spec"]["scan_id"], "armed")
        return {"raw_file": "/data/s1.nx"}

    def _status(self, args):
        return {"endpoints": {"events": self.events.endpoint}, "scan": self.report}

    def _verdict(self, args):
        if self.report is None:
            raise BadInput(f"scan {args['scan_id']!r} is not known to this daemon")
        return {key: self.report[key] for key in ("scan_id", "verdict", "reasons", "final", "quality")}

    def _abort(self, args):
        self.asked.append("abort")
        self.tell(state="aborted", error=args["reason"])
        return {}
