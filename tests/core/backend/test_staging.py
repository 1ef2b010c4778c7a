"""Staging of frames, on an imitation of a device whose queues do their work as late as they may."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from streamer.core.backend.engine import DeviceError, DeviceOutOfMemory, Engine
from streamer.core.backend.selection import Backend
from streamer.core.backend.staging import UploadQueue, lock_pages, upload_buffer
from streamer.frames import BadInput
from tests.core.shim import LateTransfer, ShimEngine, shim_backend


class Locking:
    """An engine of which only page-locking matters, and what it says if it cannot."""

    def __init__(self, error: Exception | None) -> None:
        self.error, self.locked = error, list[int]()

    def pin(self, array: NDArray[Any]) -> None:
        if self.error is not None:
            raise self.error
        self.locked.append(array.ctypes.data)

    def unpin(self, array: NDArray[Any]) -> None:
        self.locked.remove(array.ctypes.data)


class TestLockPages:
    def test_is_undone(self, caplog: pytest.LogCaptureFixture) -> None:
        engine, array = Locking(None), np.zeros(5)
        unlock = lock_pages(cast(Engine, engine), array, "the ring")
        assert engine.locked == [array.ctypes.data]
        unlock()
        assert not engine.locked
        assert not caplog.records

    @pytest.mark.parametrize("error", [DeviceError("not supported"), DeviceOutOfMemory("out of memory")])
    def test_is_not_needed(self, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
        engine = Locking(error)
        unlock = lock_pages(cast(Engine, engine), np.zeros(5), "the ring")
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert str(error) in caplog.text
        unlock()

    def test_other_errors_are_not_hidden(self) -> None:
        with pytest.raises(ZeroDivisionError):
            lock_pages(cast(Engine, Locking(ZeroDivisionError())), np.zeros(5), "the ring")


class TestUploadBuffer:
    def test_the_cpu_needs_none_of_it(self, numba_backend: Backend) -> None:
        buffer = upload_buffer(numba_backend, (3, 4), np.uint16)
        assert (buffer.shape, buffer.dtype) == ((3, 4), np.uint16)

    def test_a_device_gets_page_locked_memory(self, engine: ShimEngine) -> None:
        buffer = upload_buffer(shim_backend(engine), (3, 4), np.uint16)
        assert (buffer.shape, buffer.dtype) == ((3, 4), np.uint16)
        assert engine.pinned(buffer[1:])

    def test_other_memory_will_do(
        self, engine: ShimEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(self: LateTransfer, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
            raise DeviceError("not supported")

        monkeypatch.setattr(LateTransfer, "pinned", refuse)
        assert upload_buffer(shim_backend(engine), (3, 4), np.uint8).shape == (3, 4)
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "not supported" in caplog.text


class RandomQueues:
    """``Transfer`` whose two queues do their work as late, and as interleaved, as the marks allow: at random."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.queues: dict[str, list[Callable[[], bool]]] = {"copy": [], "compute": []}
        self.copies = 0

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        return np.zeros(shape, dtype)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        return np.zeros(shape, dtype)

    def copy(self, source: NDArray[Any], target: NDArray[Any]) -> dict[str, bool]:
        def work() -> bool:
            target[...] = source
            self.copies += 1
            return True

        self.queues["copy"].append(work)
        return self._mark("copy")

    def compute(self, work: Callable[[], None]) -> None:
        self.queues["compute"].append(lambda: work() is None)

    def computed(self) -> dict[str, bool]:
        return self._mark("compute")

    def copying_waits(self, mark: dict[str, bool]) -> None:
        self.queues["copy"].append(lambda: mark["passed"])

    def computing_waits(self, mark: dict[str, bool]) -> None:
        self.queues["compute"].append(lambda: mark["passed"])

    def wait(self, mark: dict[str, bool]) -> None:
        while not mark["passed"]:
            assert self.step(), "the queues wait for each other"

    def step(self) -> bool:
        """Try the head of a queue, a random one first; False when no queue can move."""
        names = list(self.queues)
        self.rng.shuffle(names)
        for name in names:
            if self.queues[name] and self.queues[name][0]():
                self.queues[name].pop(0)
                return True
        return False

    def _mark(self, queue: str) -> dict[str, bool]:
        mark = {"passed": False}

        def work() -> bool:
            mark["passed"] = True
            return True

        self.queues[queue].append(work)
        return mark


class TestUploadQueue:
    @pytest.mark.parametrize("pinned", [False, True])
    @given(seed=st.integers(0, 10**6), slots=st.integers(2, 5))
    def test_every_frame_arrives_whole(self, pinned: bool, seed: int, slots: int) -> None:
        """Whatever the queues do first, each kernel sees its own frame, and none is overwritten while it is read."""
        queues = RandomQueues(seed)
        ring = UploadQueue(queues, slots, (2, 3), np.uint16)
        seen: list[NDArray[Any]] = []
        camera = np.zeros((2, 3), np.uint16)
        put = done = 0
        while done < 30:
            for _ in range(int(queues.rng.integers(0, 4))):
                queues.step()
            if put < 30 and not ring.full and queues.rng.random() < 0.6:
                if pinned:
                    camera = np.zeros((2, 3), np.uint16)
                camera[...] = put
                ring.put(camera, pinned=pinned)
                put += 1
            elif ring.waiting:
                frame = ring.take()
                for _ in range(2):
                    queues.compute(lambda frame=frame: seen.append(frame.copy()))
                ring.done()
                done += 1
        while queues.step():
            pass
        assert [int(frame.max()) for frame in seen] == [int(frame.min()) for frame in seen]
        assert [int(frame[0, 0]) for frame in seen] == [k // 2 for k in range(60)]

    def test_fewer_rows_than_a_slot_holds(self) -> None:
        queues = RandomQueues(0)
        ring = UploadQueue(queues, 2, (4, 3), np.uint16)
        seen: list[NDArray[Any]] = []
        for rows in (2, 4, 1, 3):
            ring.put(np.full((rows, 3), rows, np.uint16))
            frame = ring.take()
            queues.compute(lambda frame=frame: seen.append(frame.copy()))
            ring.done()
        while queues.step():
            pass
        assert [frame.shape for frame in seen] == [(2, 3), (4, 3), (1, 3), (3, 3)]
        assert all((frame == len(frame)).all() for frame in seen)
        for bad in (np.zeros((5, 3), np.uint16), np.zeros((0, 3), np.uint16), np.zeros((2, 2), np.uint16)):
            with pytest.raises(BadInput, match="the upload queue"):
                ring.put(bad)

    def test_copies_run_ahead_of_the_kernels(self) -> None:
        """That is the overlap: with all kernels stuck, every free slot is still filled."""
        queues = RandomQueues(0)
        ring = UploadQueue(queues, 4, (1,), np.uint16)
        queues.queues["compute"].append(lambda: False)
        for k in range(4):
            ring.put(np.array([k], np.uint16))
        ring.take()
        ring.drain()
        assert queues.copies == 4

    @given(seed=st.integers(0, 10**6), pinned=st.booleans())
    def test_memory_that_is_still_read_is_not_written(self, seed: int, pinned: bool) -> None:
        """What was given back is used again at once, though kernels that read it are only queued."""
        queues, seen = RandomQueues(seed), list[NDArray[Any]]()
        used = [np.full((2, 3), 7, np.uint16) for _ in range(3)]
        for array in used:
            queues.compute(lambda array=array: seen.append(array.copy()))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(queues, "empty", lambda shape, dtype: used.pop())
            ring = UploadQueue(queues, 3, (2, 3), np.uint16)
        for k in range(3):
            ring.put(np.full((2, 3), k, np.uint16), pinned)
        while queues.step():
            pass
        assert [int(array[0, 0]) for array in seen] == [7, 7, 7]

    def test_refuses_what_does_not_fit(self) -> None:
        queues = RandomQueues(0)
        with pytest.raises(BadInput):
            UploadQueue(queues, 1, (1,), np.uint16)
        ring = UploadQueue(queues, 2, (2,), np.uint16)
        for bad in (np.zeros(3, np.uint16), np.zeros(2, np.float32)):
            with pytest.raises(BadInput):
                ring.put(bad)
        for early in (ring.take, ring.done):
            with pytest.raises(BadInput):
                early()
        frame = np.zeros(2, np.uint16)
        ring.put(frame)
        ring.put(frame)
        assert ring.full
        with pytest.raises(BadInput, match="in use"):
            ring.put(frame)
