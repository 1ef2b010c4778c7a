"""Work beside the compute thread: one piece at a time, and what became of it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from streamer.daemon.compute.aside import NICE, Aside


def test_work_is_done_on_another_thread_that_lets_the_others_go_first() -> None:
    aside: Aside[tuple[int, int]] = Aside("test")
    aside.begin(lambda: (threading.get_ident(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
    assert not aside.idle
    done = aside.take()
    assert done is not None
    assert done[0] != threading.get_ident()
    assert done[1] == min(19, os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + NICE)
    assert aside.idle
    assert aside.take() is None


def test_its_thread_shows_its_name() -> None:
    aside: Aside[str] = Aside("verdict")
    aside.begin(lambda: Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text(encoding="utf-8").strip())
    assert aside.take() == "verdict"


def test_what_goes_wrong_is_told_to_whoever_takes_it_once() -> None:
    aside: Aside[float] = Aside("test")
    aside.begin(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        aside.take()
    assert aside.idle


def test_dropped_work_is_awaited_and_forgotten() -> None:
    aside: Aside[float] = Aside("test")
    go, done = threading.Event(), threading.Event()
    aside.begin(lambda: (go.wait(10.0) and done.set()) or 1 / 0)
    assert not aside.done
    go.set()
    aside.drop()
    assert done.is_set()
    assert aside.idle
