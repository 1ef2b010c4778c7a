"""Planning, fall-back and staging, on imitations of a device that are nastier than one."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from streamer.core.backend.chunks import FallbackCounters, Work, plan_chunks, run_chunked
from streamer.core.backend.engine import DeviceError, DeviceOutOfMemory, Engine
from streamer.core.backend.staging import DeviceRing, lock_pages
from streamer.frames import BadInput


class TestPlan:
    @given(
        total=st.integers(0, 5000),
        item=st.integers(0, 1000),
        fixed=st.integers(0, 10_000),
        memory=st.integers(0, 100_000),
        multiple=st.integers(1, 40),
    )
    def test_covers_everything_once_and_fits(
        self, total: int, item: int, fixed: int, memory: int, multiple: int
    ) -> None:
        try:
            chunks = plan_chunks(total, item, fixed, memory, multiple)
        except BadInput:
            assert fixed + item > memory
            return
        assert [k for first, last in chunks for k in range(first, last)] == list(range(total))
        sizes = [last - first for first, last in chunks]
        assert all(fixed + size * item <= memory for size in sizes)
        rounded = (memory - fixed) // item // multiple * multiple if item else total
        if rounded and len(sizes) > 1 and -(-total // rounded) == len(sizes):
            assert all(size % multiple == 0 for size in sizes[:-1])

    def test_no_more_chunks_than_needed(self) -> None:
        assert plan_chunks(100, 10, 0, 1000) == [(0, 100)]
        assert plan_chunks(100, 10, 0, 999) == [(0, 50), (50, 100)]
        assert plan_chunks(100, 10, 0, 999, 16) == [(0, 64), (64, 100)]

    def test_says_what_is_missing(self) -> None:
        with pytest.raises(BadInput, match=r"3\.0 MiB .* 2\.0 MiB"):
            plan_chunks(5, 2**20, 2**21, 2**21)


class Memory:
    """An engine of which only the memory matters: it says ``free``, but takes chunks of up to ``true`` items."""

    def __init__(self, free: int, true: int) -> None:
        self.free, self.true, self.released = free, true, 0

    def free_bytes(self) -> int:
        return self.free

    def release(self) -> None:
        self.released += 1


class TestFallback:
    def run(
        self, memory: Memory, items: int = 100, multiple: int = 1, error: type[Exception] = DeviceOutOfMemory
    ) -> tuple[list[int], list[int], FallbackCounters]:
        device, host = [0] * items, [0] * items

        def on_device(first: int, last: int) -> None:
            if last - first > memory.true:
                raise error("no room")
            for k in range(first, last):
                device[k] += 1

        def on_host(first: int, last: int) -> None:
            for k in range(first, last):
                host[k] += 1

        counters = FallbackCounters()
        run_chunked(Work("tomogram", items, 10, 0, on_device, on_host, multiple), cast(Engine, memory), counters)
        return device, host, counters

    def test_all_at_once(self, caplog: pytest.LogCaptureFixture) -> None:
        device, host, counters = self.run(Memory(10_000, 1000))
        assert (set(device), sum(host)) == ({1}, 0)
        assert counters == FallbackCounters(chunks_on_device=1)
        assert not caplog.records

    def test_smaller_chunks_when_the_memory_was_overestimated(self, caplog: pytest.LogCaptureFixture) -> None:
        memory = Memory(10_000, 30)
        device, host, counters = self.run(memory)
        assert (set(device), sum(host)) == ({1}, 0)
        assert (counters.events["smaller_chunks"], counters.chunks_on_device, memory.released) == (2, 4, 2)
        assert "now 25" in counters.reason
        assert [record.levelno for record in caplog.records] == [logging.WARNING], "the second is only counted"

    def test_the_host_does_what_the_device_cannot(self, caplog: pytest.LogCaptureFixture) -> None:
        device, host, counters = self.run(Memory(10_000, 0))
        assert (sum(device), set(host), counters.items_on_host) == (0, {1}, 100)
        assert counters.events == {"smaller_chunks": 6, "does_not_fit": 0, "out_of_memory": 1}
        assert "CPU" in caplog.records[-1].message

    def test_not_even_planned(self) -> None:
        device, host, counters = self.run(Memory(9, 1000))
        assert (sum(device), set(host), counters.items_on_host) == (0, {1}, 100)
        assert counters.events == {"smaller_chunks": 0, "does_not_fit": 1, "out_of_memory": 0}
        assert "MiB" in counters.reason

    def test_memory_of_a_failed_attempt_is_free_again(self) -> None:
        """An exception keeps its frames alive, and they the arrays: the next attempt would find the device full."""
        alive: list[weakref.ref[NDArray[Any]]] = []

        class Watching(Memory):
            def release(self) -> None:
                super().release()
                assert all(array() is None for array in alive)

        def on_device(first: int, last: int) -> None:
            big = np.empty(1000)
            alive.append(weakref.ref(big))
            raise DeviceOutOfMemory(f"after {big.size}")

        memory = Watching(10_000, 0)
        work = Work("tomogram", 4, 10, 0, on_device, lambda first, last: None)
        run_chunked(work, cast(Engine, memory), FallbackCounters())
        assert memory.released == len(alive) == 3

    def test_nothing_to_do_needs_no_memory(self) -> None:
        assert self.run(Memory(0, 0), items=0)[2] == FallbackCounters()

    def test_other_errors_are_not_taken_for_a_lack_of_memory(self) -> None:
        with pytest.raises(ZeroDivisionError):
            self.run(Memory(10_000, 0), error=ZeroDivisionError)

    @given(items=st.integers(1, 200), multiple=st.integers(1, 20), true=st.integers(0, 250), free=st.integers(0, 3000))
    def test_every_item_is_done_once(self, items: int, multiple: int, true: int, free: int) -> None:
        device, host, counters = self.run(Memory(free, true), items, multiple)
        assert [d + h for d, h in zip(device, host, strict=True)] == [1] * items
        assert counters.items_on_host == sum(host)


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


class TestDeviceRing:
    @pytest.mark.parametrize("pinned", [False, True])
    @given(seed=st.integers(0, 10**6), slots=st.integers(2, 5))
    def test_every_frame_arrives_whole(self, pinned: bool, seed: int, slots: int) -> None:
        """Whatever the queues do first, each kernel sees its own frame, and none is overwritten while it is read."""
        queues = RandomQueues(seed)
        ring = DeviceRing(queues, slots, (2, 3), np.uint16)
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
        ring = DeviceRing(queues, 2, (4, 3), np.uint16)
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
            with pytest.raises(BadInput, match="the device ring"):
                ring.put(bad)

    def test_copies_run_ahead_of_the_kernels(self) -> None:
        """That is the overlap: with all kernels stuck, every free slot is still filled."""
        queues = RandomQueues(0)
        ring = DeviceRing(queues, 4, (1,), np.uint16)
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
            ring = DeviceRing(queues, 3, (2, 3), np.uint16)
        for k in range(3):
            ring.put(np.full((2, 3), k, np.uint16), pinned)
        while queues.step():
            pass
        assert [int(array[0, 0]) for array in seen] == [7, 7, 7]

    def test_refuses_what_does_not_fit(self) -> None:
        queues = RandomQueues(0)
        with pytest.raises(BadInput):
            DeviceRing(queues, 1, (1,), np.uint16)
        ring = DeviceRing(queues, 2, (2,), np.uint16)
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
