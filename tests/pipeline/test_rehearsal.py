"""A rehearsed process has nothing left to compile or to import for a scan of the usual kind."""

from __future__ import annotations

import subprocess
import sys

import pytest

AFTER = """
import sys
import numpy as np
from streamer.core.backend.selection import select_backend
from streamer.core.fourier import kernels as gridding
from streamer.core.planes import hilbert, kernels as planes, shear
from streamer.frames import FrameKind, FrameMeta, ScanSpec
from streamer.pipeline.rehearsal import rehearse
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings

backend = select_backend("numba", 1)[0]
rehearse(backend)
kernels = (planes.fold_frames, hilbert.transform_lines, shear.fold_rows, gridding.add_projections)
compiled, modules = [len(kernel.signatures) for kernel in kernels], set(sys.modules)
assert all(compiled), "the rehearsal goes through every step"
spec = ScanSpec("scan", "sample", 20, 40, 30, flats=1, darks=1)
pipeline = ScanPipeline(spec, backend, Settings())
for index in range(32):
    kind = (FrameKind.DARK, FrameKind.FLAT)[index] if index < 2 else FrameKind.PROJECTION
    level = {FrameKind.DARK: 10, FrameKind.FLAT: 3000}.get(kind, 1500)
    pixels = np.full((20, 40), level, "<u2")
    pixels.flags.writeable = False
    pipeline.push(FrameMeta("scan", index, kind, 6.0 * max(0, index - 2)), pixels)
    pipeline.work()
pipeline.planes.images()
pipeline.refine_center()
pipeline.judge(0, 0)
for _ in pipeline.tomogram(lambda first, last: (np.empty(0, np.int64), np.empty(0), np.empty(0))):
    pass
assert [len(kernel.signatures) for kernel in kernels] == compiled
print(sorted(set(sys.modules) - modules))
"""


AFTER_THAT_OF_A_PART = """
import sys
import numpy as np
from streamer.core.backend.selection import select_backend
from streamer.core.fourier import kernels as gridding
from streamer.core.planes import hilbert, kernels as planes, shear
from streamer.frames import DTYPES, FrameKind, FrameMeta, ScanSpec
from streamer.pipeline.rehearsal import rehearse_part
from streamer.pipeline.scan_pipeline import ScanPipeline
from streamer.pipeline.settings import Settings

backend = select_backend("numba", 1)[0]
rehearse_part(backend)
kernels = (planes.fold_frames, hilbert.transform_lines, shear.fold_rows, gridding.add_projections)
compiled, modules = [len(kernel.signatures) for kernel in kernels], set(sys.modules)
assert all(compiled), "the rehearsal goes through every step"
for dtype in DTYPES:
    spec = ScanSpec("scan", "sample", 20, 40, 30, flats=1, darks=1, dtype=dtype)
    pipeline = ScanPipeline(spec, backend, Settings(), part_of=60)
    for index in range(32):
        kind = (FrameKind.DARK, FrameKind.FLAT)[index] if index < 2 else FrameKind.PROJECTION
        level = {FrameKind.DARK: 10, FrameKind.FLAT: 200}.get(kind, 150)
        pixels = np.full((20, 40), level, dtype)
        pixels.flags.writeable = False
        pipeline.push(FrameMeta("scan", index, kind, 6.0 * max(0, index - 2)), pixels)
        pipeline.work()
        pipeline.use(pipeline.layout.at(20.0 + 0.01 * index), likely=index > 9, final=False)
    pipeline.planes.images()
    pipeline.use(pipeline.layout.at(19.0), likely=True, final=True)
    for _ in pipeline.tomogram(lambda first, last: (np.empty(0, np.int64), np.empty(0), np.empty(0))):
        pass
assert [len(kernel.signatures) for kernel in kernels] == compiled
print(sorted(set(sys.modules) - modules))
"""


@pytest.mark.timeout(600)  # the cache of kernels may be empty
@pytest.mark.parametrize("program", [AFTER, AFTER_THAT_OF_A_PART], ids=["all", "a part"])
def test_a_rehearsed_process_is_ready(program: str) -> None:
    """In a process of its own: here, other tests have used everything."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
