"""Readers of the ring in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time

from streamer.flow.ring.layout import bytes_needed
from streamer.flow.ring.ring import Ring
from streamer.io.shared import SharedBuffer
from tests.flow.ring.test_ring import commit

CHILD = """
import sys, time
import numpy as np
from streamer.flow.ring.ring import Ring
from streamer.io.shared import SharedBuffer
fd, index, lossless, until = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "lossless", int(sys.argv[4])
reader = Ring(SharedBuffer.open(fd).memory).reader(index, lossless)
seen, torn, wrong, last = 0, 0, 0, -1
while reader.position < until:
    frame = reader.poll()
    if frame is None:
        time.sleep(0.0001)
        continue
    copy, index = frame.pixels.copy(), frame.meta.index
    if reader.torn():
        torn += 1
    else:
        seen += 1
        wrong += bool((copy != index).any()) or index <= last or frame.meta.angle_deg != index / 7
        last = index
    reader.release()
print(seen, torn, wrong, reader.skipped, last)
"""


def test_readers_in_other_processes_see_every_frame_whole() -> None:
    frames, shape = 4000, (64, 64)
    with SharedBuffer.create(bytes_needed(shape, "<u4", 8)) as shared:
        ring = Ring(shared.memory)
        ring.format(shape, "<u4", 8)
        children = []
        for index, mode in ((0, "lossless"), (3, "lossy")):
            ring.reader(index, mode == "lossless")
            command = [sys.executable, "-c", CHILD, str(shared.fd), str(index), mode, str(frames)]
            children.append(subprocess.Popen(command, pass_fds=(shared.fd,), stdout=subprocess.PIPE, text=True))
        deadline = time.monotonic() + 60
        position = 0
        while position < frames and time.monotonic() < deadline:
            if commit(ring, position):
                position += 1
            else:
                time.sleep(0.0001)
        outputs = [[int(word) for word in child.communicate(timeout=60)[0].split()] for child in children]
        assert position == frames
        assert outputs[0] == [frames, 0, 0, 0, frames - 1]
        seen, torn, wrong, skipped, _ = outputs[1]
        assert wrong == 0
        assert seen + torn + skipped == frames
        del ring
