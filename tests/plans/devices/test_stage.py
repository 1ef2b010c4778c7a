"""Motors and the stubs that move them, with motors that misbehave."""

import logging
import threading

import bluesky.plan_stubs as bps
import pytest
from bluesky.utils import FailedStatus
from ophyd.status import Status

from streamer_plans import stubs
from streamer_plans.devices.stage import Axis, MotionStopped

PATIENCE_S = 60.0


class Motor(Axis):
    """A motor in memory: it is there when ``arrive`` is set, or ``short`` of it so many times."""

    def __init__(self, name="motor", short=0):
        super().__init__(name=name, egu="deg", velocity=1000.0)
        self.at, self.target, self.short = 0.0, 0.0, short
        self.arrive = threading.Event()
        self.arrive.set()
        self.begun = threading.Event()
        self.starts = []

    def _start(self, target, velocity):
        self.starts.append(target)
        self.target = target
        self.begun.set()

    def _where(self):
        if self.arrive.is_set() and self.at != self.target:
            missed = 0.5 if self.short > 0 else 0.0
            self.short -= 1
            self.at = self.target = self.target - missed
        return self.at, self.at != self.target


@pytest.fixture
def motor():
    return Motor()


def test_a_motor_arrives(motor):
    motor.set(12.5).wait(PATIENCE_S)
    assert motor.position == 12.5
    assert motor.locate() == {"setpoint": 12.5, "readback": 12.5}
    assert {key: entry["value"] for key, entry in motor.read().items()} == {"motor": 12.5, "motor_setpoint": 12.5}
    assert set(motor.describe()) == set(motor.read())


def test_a_motor_that_stops_short_fails_its_move():
    motor = Motor(short=1)
    with pytest.raises(MotionStopped, match=r"motor stands at 9\.5, not at 10 deg"):
        motor.set(10.0).wait(PATIENCE_S)


def test_a_motor_that_does_not_come_is_late(motor):
    motor.arrive.clear()
    with pytest.raises(TimeoutError, match=r"motor: the move to 10 deg was not done within 0\.1 s"):
        motor.set(10.0, timeout=0.1).wait(PATIENCE_S)


@pytest.mark.parametrize("success", [True, False])
def test_a_stop_ends_the_move_where_it_is(motor, success):
    motor.arrive.clear()
    move = motor.set(10.0)
    assert motor.begun.wait(PATIENCE_S)
    motor.stop(success=success)
    if success:
        move.wait(PATIENCE_S)
    else:
        with pytest.raises(MotionStopped, match="was stopped on its way to 10"):
            move.wait(PATIENCE_S)
    assert motor.starts[-1] == motor.position == 0.0


def test_a_stop_at_rest_commands_nothing(motor):
    motor.set(3.0).wait(PATIENCE_S)
    motor.stop()
    assert motor.starts == [3.0]


def test_a_second_move_ends_the_first(motor):
    motor.arrive.clear()
    first = motor.set(10.0)
    assert motor.begun.wait(PATIENCE_S)
    second = motor.set(20.0)
    with pytest.raises(MotionStopped, match="was sent to 20 deg during a move"):
        first.wait(PATIENCE_S)
    motor.arrive.set()
    second.wait(PATIENCE_S)
    assert motor.position == 20.0


def test_a_move_is_tried_again_when_the_motor_stands_beside_its_target(engine):
    motor = Motor()
    motor.tolerance = 1.0
    motor.short = 2
    engine(stubs.move_checked(motor, 10.0, tolerance=0.1))
    assert motor.position == 10.0
    assert motor.starts == [10.0] * 3


def test_a_motor_that_never_gets_there_is_named(engine, caplog):
    caplog.set_level(logging.CRITICAL, "bluesky")
    motor = Motor(short=9)
    motor.tolerance = 1.0
    with pytest.raises(MotionStopped, match=r"motor stands at 9\.5 instead of 10"):
        engine(stubs.move_checked(motor, 10.0, tolerance=0.1))
    assert len(motor.starts) == 3


def test_halting_on_purpose_is_no_error(engine, motor):
    motor.arrive.clear()

    def plan():
        yield from bps.abs_set(motor, 50.0, group="turn")
        while not motor.begun.is_set():
            yield from bps.sleep(0.01)
        yield from stubs.halt(motor, "turn")
        return "went on"

    assert engine(plan()).plan_result == "went on"


def test_a_status_that_never_comes_is_given_up(engine, caplog):
    caplog.set_level(logging.CRITICAL, "bluesky")
    never = Status()

    def plan():
        yield from stubs.until_done(never, "never-1234", timeout_s=0.2, period_s=0.05)

    with pytest.raises(TimeoutError, match=r"never: not done within 0\.2 s"):
        engine(plan())
    never.set_finished()


def test_a_failed_move_fails_the_plan(engine, caplog):
    caplog.set_level(logging.CRITICAL, "bluesky")
    with pytest.raises(FailedStatus):
        engine(stubs.move(Motor(short=1), 10.0))


def test_cleaning_up_goes_on_after_a_failure_and_says_what_failed(engine, caplog):
    motor = Motor(short=1)

    def plan():
        yield from stubs.attempt(stubs.move(motor, 10.0), "bringing the motor home")
        yield from stubs.move(motor, 20.0)

    caplog.set_level(logging.CRITICAL, "bluesky")
    caplog.set_level(logging.WARNING, "streamer_plans.stubs")
    engine(plan())
    assert motor.position == 20.0
    (record,) = [record for record in caplog.records if "cleaning up" in record.getMessage()]
    assert "bringing the motor home: motor stands at 9.5, not at 10 deg" in record.getMessage()
