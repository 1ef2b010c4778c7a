"""Listen to a daemon: what state the scan is in, how it goes, and what the verdict is.

python examples/listen.py [CONTROL] [SCANS]

CONTROL is the daemon's control socket (default tcp://127.0.0.1:5581). It ends after SCANS scans (default 1). Events may
be lost on the way: use them to be quick, and ask the daemon for what must not be missed.
"""

import os
import sys
from queue import Queue

from streamer.client import Events, Link, reachable
from streamer.flow.wire.daemon import GetStatus
from streamer.flow.wire.events import Event, FaultEvent, ProgressEvent, StateEvent, VerdictEvent
from streamer.keys import client_key


def main(control: str, scans: int) -> None:
    key = client_key(None, os.environ)  # a daemon with keys: STREAMER_KEY names the file
    with Link(control, "the daemon", key=key) as daemon:
        status = daemon.ask(GetStatus())
    print(f"streamer {status.version}, backend {status.backend}: {status.state}", flush=True)
    heard: Queue[Event] = Queue()
    events = Events(reachable(status.endpoints.events, control), heard.put, key)
    while scans:
        match heard.get():
            case StateEvent(scan_id=scan_id, state=state, report=report):
                print(f"{scan_id} is {state}", flush=True)
                if report is not None:  # the scan is over
                    print(f"  {report.frames.received} of {report.frames.expected} frames, {report.judgement}")
                    print(f"  raw file {report.raw_file}, tomogram {report.tomogram_file}", flush=True)
                    scans -= 1
            case VerdictEvent() as event:
                print(f"  {event.judgement}")
            case FaultEvent(part=part, text=text):
                print(f"{part}: {text}", flush=True)
            case ProgressEvent(report=report):
                print(f"  {report.projections.received} of {report.projections.expected} projections", end="\r")
    events.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5581", int(sys.argv[2]) if len(sys.argv) > 2 else 1)
