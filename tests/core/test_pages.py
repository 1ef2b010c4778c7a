"""Memory that was found ahead: nothing in it changes, and the first write to it is not the one that waits."""

from __future__ import annotations

import mmap
import resource

import numpy as np

from streamer.core.pages import PIECE_BYTES, Pages


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def test_what_was_found_does_not_have_to_be_looked_for_when_it_is_written() -> None:
    memory = np.frombuffer(mmap.mmap(-1, 16 * PIECE_BYTES), np.uint8)  # malloc may give memory that was used before
    pages, before = Pages(memory), faults()
    pieces = 0
    while pages.find():
        pieces += 1
    found = faults() - before
    assert pieces == 16
    before = faults()
    memory[...] = 1
    assert found >= 16
    assert faults() - before < found / 4


def test_content_stays() -> None:
    memory = np.random.default_rng(0).normal(size=(3, 700, 1001)).astype(np.float32)
    memory[0, 0, :3] = np.nan, -0.0, np.inf
    before = memory.copy()
    pages = Pages(memory)
    while pages.find():
        pass
    np.testing.assert_array_equal(memory.view(np.uint32), before.view(np.uint32))


def test_pieces_of_a_range_and_nothing_twice() -> None:
    pages = Pages(np.zeros(3 * PIECE_BYTES, np.uint8))
    assert pages.find(0, 100)
    assert not pages.find(0, 100)
    assert pages.find(PIECE_BYTES)
    assert pages.find(PIECE_BYTES)
    assert not pages.find(PIECE_BYTES)
    assert not pages.find()


def test_nothing_is_found_in_nothing() -> None:
    assert not Pages(np.empty((4, 0, 8), np.float32)).find()
