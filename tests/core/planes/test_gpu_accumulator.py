"""Live planes on a device, on the host shim: the suite, what crosses the bus, and what happens without memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamer.core.backend.selection import Backend
from streamer.core.backend.staging import upload_buffer
from streamer.core.fbp.kernels import EDGE_PX
from streamer.core.fourier.recent_projections import RecentProjections
from streamer.core.planes import gpu_launches as launches
from streamer.core.planes.live_planes import FRAMES_PER_FOLD, LivePlanes
from streamer.core.planes.plane import orthogonal_planes
from streamer.core.preprocessing.flat_field import FlatFieldCorrection
from streamer.phantoms import half_turn
from tests.core.plane_suite import PlaneSuite, all_kinds, blobs, inside, projections, raw_frames
from tests.core.shim import LateTransfer, ShimArray, ShimEngine, shim_backend

ROWS, N, COUNT = 9, 33, 21


@pytest.fixture
def backend(engine: ShimEngine) -> Backend:
    return shim_backend(engine)


class TestShim(PlaneSuite):
    pass


class Scan:
    """Raw frames of a smooth sample, and what live planes make of them."""

    def __init__(self, dtype: str = "<u2") -> None:
        bright = {"|u1": 200, "<u2": 50_000, "<u4": 3_000_000_000, "<f4": 50_000}[dtype]
        self.angles = 0.2 + 0.21 * np.arange(COUNT)
        attenuation = 0.2 * projections(blobs(N, ROWS), ROWS, N, self.angles, 15.3)
        self.raw = (bright * np.exp(-attenuation)).astype(dtype)
        self.flat = np.full((ROWS, N), float(bright))
        self.flat[2, 4:7] = 0.0
        self.attenuation = np.empty(self.raw.shape, np.float32)
        self.moments = np.empty((COUNT, ROWS, 4))

    def fold(self, backend: Backend, size: int = 5, **options: Any) -> LivePlanes:
        live = LivePlanes(backend, all_kinds(ROWS, N), ROWS, N, 15.3, **options)
        correction = FlatFieldCorrection(None, self.flat)
        self.attenuation.fill(np.nan)
        self.moments.fill(np.nan)
        for first in range(0, COUNT, size):
            some = slice(first, first + size)
            live.add_raw(self.raw[some], correction, self.angles[some], self.attenuation[some], self.moments[some])
        return live


def same(mine: dict[str, np.ndarray], other: dict[str, np.ndarray], share: float = 0.0) -> None:
    assert mine.keys() == other.keys()
    for name, picture in mine.items():
        np.testing.assert_allclose(picture, other[name], rtol=0, atol=share * np.abs(picture).max(), err_msg=name)


def test_pieces_and_the_order_of_threads_do_not_change_a_bit(backend: Backend, engine: ShimEngine) -> None:
    scan = Scan()
    images = scan.fold(backend, COUNT).images()
    for size, backwards in ((1, False), (3, True), (FRAMES_PER_FOLD, True)):
        engine.backwards = backwards
        same(images, scan.fold(backend, size).images())
    assert {"fold_lines", "fold_tails", "pick_rows", "filter_rows", "fold_level"} <= engine.launched.keys()


def test_counts_cross_the_bus_as_they_are(
    backend: Backend, engine: ShimEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 bits per pixel, and besides next to nothing; nothing comes back before an image is asked for."""
    sent, beside, back = [], [0], [0]

    class Watched(LateTransfer):
        def copy(self, source: np.ndarray, target: ShimArray) -> int:
            sent.append((source.dtype, source.nbytes))
            return super().copy(source, target)

    def upload(array: np.ndarray) -> ShimArray:
        beside[0] += array.nbytes
        return ShimEngine.upload(engine, array)

    def download(array: ShimArray, out: np.ndarray) -> None:
        back[0] += out.nbytes
        ShimEngine.download(engine, array, out)

    monkeypatch.setattr(engine, "transfer", lambda: Watched(engine))
    live = LivePlanes(backend, orthogonal_planes(40, 60), 40, 60, 29.5)
    raw, correction = raw_frames(np.random.default_rng(0), 16, 40, 60, "<u2"), FlatFieldCorrection(None, None)
    live.add_raw(raw[:8], correction, half_turn(16)[:8])
    monkeypatch.setattr(engine, "upload", upload)
    monkeypatch.setattr(engine, "download", download)
    live.add_raw(raw[8:], correction, half_turn(16)[8:])
    assert sent == [(np.uint16, raw[:8].nbytes)] * 2
    assert beside[0] < 0.03 * raw[8:].nbytes
    assert back[0] == 0
    pixels, lines = 60 * 60, 2 * 40 * (live._geometry.samples + live._geometry.bins)
    live.images()
    assert back[0] == 4 * (pixels + lines)


def test_planes_that_do_not_fit_are_made_by_the_cpu(
    backend: Backend, numba_backend: Backend, engine: ShimEngine
) -> None:
    scan = Scan()
    engine.claims = 80_000
    live = scan.fold(backend)
    assert backend.fallbacks.events == {"smaller_chunks": 0, "does_not_fit": 1, "out_of_memory": 0}
    assert backend.fallbacks.reason == "planes: on the CPU: 0.1 MiB are needed, 0.1 MiB are free"
    assert not engine.launched
    assert engine.used == 0
    same(live.images(), scan.fold(numba_backend).images())


@pytest.mark.parametrize("window", [None, 1.5])
def test_memory_that_runs_out_loses_no_frame(
    backend: Backend, numba_backend: Backend, engine: ShimEngine, window: float | None
) -> None:
    """Whichever allocation fails: the CPU goes on with the sums, and every frame is in them once."""
    scan = Scan()

    def work(chosen: Backend) -> dict[str, np.ndarray]:
        live = scan.fold(chosen, window_rad=window)
        assert live.count == (COUNT if window is None else 9)
        return live.images()

    expected = work(numba_backend)
    attenuation, moments = scan.attenuation.copy(), scan.moments.copy()
    allocations = engine.allocations
    planes = {plane.name: plane for plane in all_kinds(ROWS, N)}
    work(backend)
    total = engine.allocations - allocations
    assert total > 30
    assert backend.fallbacks.events["out_of_memory"] == 0
    steps = 0
    for failing in range(1, total + 1):
        engine.fails_from = engine.allocations + failing
        engine.fails_until = engine.fails_from + 1
        images = work(backend)
        events = backend.fallbacks.events
        steps += 1
        assert events["out_of_memory"] + events["does_not_fit"] == steps, failing
        for name, picture in images.items():
            # The CPU takes rows at the nearest of eight shifts, and cuts them off there.
            share, mask = (0.02, inside(planes[name], ROWS, N)) if planes[name].horizontal else (5e-5, ...)
            error = np.abs(picture - expected[name])[mask].max()
            assert error < share * np.abs(expected[name]).max(), (failing, name)
        np.testing.assert_allclose(scan.attenuation, attenuation, atol=3e-6)
        np.testing.assert_allclose(scan.moments, moments, rtol=1e-4, atol=1e-3)
    assert backend.fallbacks.events["out_of_memory"] > steps // 2


@pytest.mark.parametrize("fill", [True, False])
def test_page_locked_frames_are_not_staged_and_may_change_afterwards(
    backend: Backend, engine: ShimEngine, monkeypatch: pytest.MonkeyPatch, fill: bool
) -> None:
    """The daemon copies the next frames over them at once: the host has waited for the copies by then."""
    scan, sources, waited = Scan(), [], [0]

    class Watched(LateTransfer):
        def copy(self, source: np.ndarray, target: ShimArray) -> int:
            sources.append(source.ctypes.data)
            return super().copy(source, target)

        def computing_waits(self, mark: int) -> None:
            LateTransfer.wait(self, mark)

        def wait(self, mark: int) -> None:
            waited.append(mark)
            super().wait(mark)

    monkeypatch.setattr(engine, "transfer", lambda: Watched(engine))
    room = upload_buffer(backend, (FRAMES_PER_FOLD, ROWS, N), np.uint16)
    assert engine.pinned(room)
    correction = FlatFieldCorrection(None, scan.flat)
    live, plain = (LivePlanes(backend, all_kinds(ROWS, N), ROWS, N, 15.3) for _ in range(2))
    for first in range(0, COUNT, FRAMES_PER_FOLD):
        some = slice(first, min(first + FRAMES_PER_FOLD, COUNT))
        count = some.stop - first
        room[:count] = scan.raw[some]
        filled = (scan.attenuation[some], scan.moments[some]) if fill else ()
        live.add_raw(room[:count], correction, scan.angles[some], *filled)
        assert max(waited) == len(sources)
        room.fill(0)
    assert set(sources) == {room.ctypes.data}
    plain.add_raw(scan.raw, correction, scan.angles)
    same(live.images(), plain.images())


@pytest.mark.parametrize("slots", [14, 5])
def test_attenuation_stays_on_the_device_for_others(backend: Backend, engine: ShimEngine, slots: int) -> None:
    """In calls of 10, cut into 8 and 2. Where the store has not even room for 8, frames are only folded in."""
    scan, store = Scan(), RecentProjections(engine.empty((slots, ROWS, N), np.float32))
    live = LivePlanes(backend, all_kinds(ROWS, N), ROWS, N, 15.3, recent=store)
    correction = FlatFieldCorrection(None, scan.flat)
    reference = np.stack([correction.attenuation(frame) for frame in scan.raw])
    for first in (0, 10):
        some = slice(first, first + 10)
        live.add_raw(scan.raw[some], correction, scan.angles[some])
        live.add(np.zeros((1, ROWS, N), np.float32), 0.0)  # not a new projection
        kept, here = np.zeros((10, ROWS, N), np.float32), store.get(first, first + 10)
        assert (here is not None) == (slots == 14)
        if here is None:
            store.arrived(first + 10)
            continue
        engine.download(here, kept)
        np.testing.assert_allclose(kept, reference[some], atol=3e-6)
    assert store.next == 20
    plain = LivePlanes(backend, all_kinds(ROWS, N), ROWS, N, 15.3)
    for first in (0, 10):
        plain.add_raw(scan.raw[first : first + 10], correction, scan.angles[first : first + 10])
        plain.add(np.zeros((1, ROWS, N), np.float32), 0.0)
    same(live.images(), plain.images())


@pytest.mark.parametrize("dtype", ["|u1", ">u2", "<u4", ">f4"])
def test_other_counts_in_other_orders(backend: Backend, numba_backend: Backend, dtype: str) -> None:
    """Big-endian bytes and frames that are not contiguous; batches that grow."""
    scan = Scan("<" + dtype[1:] if dtype != "|u1" else dtype)
    made = []
    for chosen in (backend, numba_backend):
        live = LivePlanes(chosen, all_kinds(ROWS, N)[1:3], ROWS, N, 15.3)
        correction = FlatFieldCorrection(None, scan.flat)
        wide = np.zeros((COUNT, ROWS, 2 * N), dtype)
        wide[..., ::2] = scan.raw
        for first, last in ((0, 1), (1, 6), (6, 8), (8, COUNT)):
            live.add_raw(wide[first:last, :, ::2], correction, scan.angles[first:last])
        made.append(live.images())
    same(*made, share=5e-5)


@pytest.mark.parametrize("columns", [1, 2, 7])
def test_rays_past_the_outer_pixels(engine: ShimEngine, columns: int) -> None:
    """Less than EDGE beyond them they see these pixels, farther out nothing."""
    row = np.random.default_rng(1).uniform(1, 2, columns).astype(np.float32)
    filtered = engine.upload(np.pad(row, 2, "edge")[None, None])
    for beyond, seen in ((0.5 * EDGE_PX, 3.0), (1.5 * EDGE_PX, 0.0)):
        first, last = -beyond, columns - 1 + beyond
        geometry = engine.upload(np.array([[[first, last - first, 0.0, 3.0]]]))
        level, out = engine.zeros((1, 2), np.float32), np.empty((1, 2), np.float32)
        launches.fold_level(engine, filtered, geometry, level)
        engine.download(level, out)
        np.testing.assert_allclose(out[0], seen * row[[0, -1]], rtol=1e-6)


def test_launches_have_a_limit(engine: ShimEngine) -> None:
    """What a block has shared memory for; LivePlanes gives no more at once."""
    assert launches.MAX_FRAMES == FRAMES_PER_FOLD
    count = FRAMES_PER_FOLD + 1
    image, table = engine.zeros((count, 2, 4), np.float32), engine.zeros((1, count, 4), np.float64)
    lines = launches.Lines(*(engine.zeros((1,), dtype) for dtype in (np.int32, np.int32, np.float64, np.float64)))
    plane = engine.zeros((1, 4), np.float32)
    with pytest.raises(ValueError, match="9 frames"):
        launches.fold_lines(engine, image, plane, table, lines, plane, plane)
    rows = engine.zeros((1, count, 8), np.float32)
    with pytest.raises(ValueError, match="9 frames"):
        launches.fold_level(engine, rows, table, engine.zeros((4, 4), np.float32))
