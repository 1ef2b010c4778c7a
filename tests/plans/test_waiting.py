"""From a question that is asked again and again to a Status."""

import threading

import pytest
from ophyd.status import Status

from streamer_plans.devices.waiting import Patience, Progress, WatchedStatus, done, in_thread, settle, watch

PATIENCE_S = 60.0


def test_what_took_no_time_is_done():
    assert done().done
    assert done().success


def test_a_status_is_settled_once():
    status = Status()
    settle(status, ValueError("first"))
    settle(status)
    settle(status, ValueError("second"))
    with pytest.raises(ValueError, match="first"):
        status.wait(PATIENCE_S)


def test_work_on_a_thread_ends_its_status():
    seen = []
    in_thread(lambda: seen.append(threading.current_thread().name)).wait(PATIENCE_S)
    assert seen == ["device work"]


def test_an_error_on_a_thread_fails_its_status():
    def fail():
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        in_thread(fail).wait(PATIENCE_S)


def test_a_check_is_asked_until_it_is_true():
    answers = iter([False, False, True])
    watch(lambda: next(answers), PATIENCE_S, "the thing", period_s=0.001).wait(PATIENCE_S)
    assert next(answers, "used up") == "used up"


def test_a_check_that_stays_false_fails_with_the_sentence():
    with pytest.raises(TimeoutError, match=r"the thing was not done within 0\.05 s"):
        watch(lambda: False, 0.05, "the thing", period_s=0.001).wait(PATIENCE_S)


def test_a_check_that_raises_fails_its_status():
    def broken():
        raise RuntimeError("robot fault")

    with pytest.raises(RuntimeError, match="robot fault"):
        watch(broken, PATIENCE_S, "the thing").wait(PATIENCE_S)


def test_a_status_that_was_settled_elsewhere_is_no_longer_watched():
    asked = threading.Event()
    status = watch(lambda: asked.set() or False, PATIENCE_S, "the thing", period_s=0.001)
    assert asked.wait(PATIENCE_S)
    settle(status)
    status.wait(PATIENCE_S)
    assert status.success


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_numbers_that_change_are_not_lost():
    clock = Clock()
    patience = Patience(5.0, clock=clock)
    for number in range(10):
        clock.now += 4.0
        assert not patience.lost(number, "same")


def test_numbers_that_stand_are_lost_after_the_limit():
    clock = Clock()
    patience = Patience(5.0, clock=clock)
    assert not patience.lost(3)
    clock.now += 5.0
    assert not patience.lost(3)
    clock.now += 0.1
    assert patience.lost(3)
    assert not patience.lost(4), "it goes on"


def test_the_first_number_may_take_longer():
    clock = Clock()
    patience = Patience(5.0, first_s=20.0, clock=clock)
    assert not patience.lost(0)
    clock.now += 24.0
    assert not patience.lost(0)
    clock.now += 2.0
    assert patience.lost(0)


def test_a_status_tells_how_far_it_is_to_those_who_watch():
    told, steps = [], iter([0.0, 25.0, 25.0, 100.0])
    now = 0.0
    status = WatchedStatus("the move", clock=lambda: now)
    status.tell(Progress(0.0, next(steps), 100.0, "deg"))
    status.watch(lambda **words: told.append(words))
    for current in steps:
        now += 1.0
        status.tell(Progress(0.0, current, 100.0, "deg"))
    assert [words["current"] for words in told] == [0.0, 25.0, 100.0], "what has not changed is not told again"
    assert [words["time_remaining"] for words in told] == [None, 3.0, 0.0]
    assert {(words["name"], words["unit"], words["target"]) for words in told} == {("the move", "deg", 100.0)}


def test_a_watcher_that_raises_is_left_out(caplog):
    told = []
    status = WatchedStatus("the move")

    def broken(**_):
        told.append("broken")
        raise RuntimeError("terminal is gone")

    status.watch(broken)
    status.watch(lambda **words: told.append(words["current"]))
    for current in (1.0, 2.0):
        status.tell(Progress(0.0, current, 2.0, "mm"))
    assert told == ["broken", 1.0, 2.0]
    assert "a watcher of the progress" in caplog.text


def test_progress_that_goes_nowhere_is_complete():
    assert Progress(5.0, 5.0, 5.0, "mm").fraction == 1.0
    assert Progress(0.0, -1.0, 10.0, "mm").fraction == 0.0
    assert Progress(10.0, 2.5, 0.0, "mm").fraction == 0.75
