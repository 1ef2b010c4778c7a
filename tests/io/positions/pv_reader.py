"""Prints what a source of positions says of a PV, an event in a line, until its input ends.

A process of its own: the library of Channel Access reads its environment once, and other tests have loaded it.
"""

from __future__ import annotations

import sys
import threading

from streamer.flow.positions.positions import Positions
from streamer.io.positions import open_source

source = open_source(Positions(source="pv", value=sys.argv[1]), None)
assert source is not None
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
while not ended.is_set():
    source.wait(0.05)
    for event in source.drain():
        print(event, flush=True)
source.close()
