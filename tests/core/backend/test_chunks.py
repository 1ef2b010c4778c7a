"""Planning and fall-back, on imitations of a device that are nastier than one."""

from __future__ import annotations

import logging
import weakref
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.core.backend.chunks import ChunkedWork, FallbackCounters, plan_chunks, run_chunked
from streamer.core.backend.engine import DeviceOutOfMemory, Engine
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
        run_chunked(ChunkedWork("tomogram", items, 10, 0, on_device, on_host, multiple), cast(Engine, memory), counters)
        return device, host, counters

    def test_all_at_once(self, caplog: pytest.LogCaptureFixture) -> None:
        device, host, counters = self.run(Memory(10_000, 1000))
        assert (set(device), sum(host)) == ({1}, 0)
        assert counters == FallbackCounters()
        assert not caplog.records

    def test_smaller_chunks_when_the_memory_was_overestimated(self, caplog: pytest.LogCaptureFixture) -> None:
        memory = Memory(10_000, 30)
        device, host, counters = self.run(memory)
        assert (set(device), sum(host)) == ({1}, 0)
        assert (counters.events["smaller_chunks"], memory.released) == (2, 2)
        assert "now 25" in counters.reason
        assert [record.levelno for record in caplog.records] == [logging.WARNING], "the second is only counted"

    def test_the_host_does_what_the_device_cannot(self, caplog: pytest.LogCaptureFixture) -> None:
        device, host, counters = self.run(Memory(10_000, 0))
        assert (sum(device), set(host)) == (0, {1})
        assert counters.events == {"smaller_chunks": 6, "does_not_fit": 0, "out_of_memory": 1}
        assert "CPU" in caplog.records[-1].message

    def test_not_even_planned(self) -> None:
        device, host, counters = self.run(Memory(9, 1000))
        assert (sum(device), set(host)) == (0, {1})
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
        work = ChunkedWork("tomogram", 4, 10, 0, on_device, lambda first, last: None)
        run_chunked(work, cast(Engine, memory), FallbackCounters())
        assert memory.released == len(alive) == 3

    def test_nothing_to_do_needs_no_memory(self) -> None:
        assert self.run(Memory(0, 0), items=0)[2] == FallbackCounters()

    def test_other_errors_are_not_taken_for_a_lack_of_memory(self) -> None:
        with pytest.raises(ZeroDivisionError):
            self.run(Memory(10_000, 0), error=ZeroDivisionError)

    @given(items=st.integers(1, 200), multiple=st.integers(1, 20), true=st.integers(0, 250), free=st.integers(0, 3000))
    def test_every_item_is_done_once(self, items: int, multiple: int, true: int, free: int) -> None:
        device, host, _ = self.run(Memory(free, true), items, multiple)
        assert [d + h for d, h in zip(device, host, strict=True)] == [1] * items
