"""The changer as a device: it believes the robot's report, recovers, and knows when a person must come."""

import logging
from dataclasses import replace

import pytest

from streamer.client import LinkError
from streamer.flow.wire.changer import ChangerState
from streamer.flow.wire.control import Busy
from streamer.sim.hardware.changer import SampleChanger
from streamer_plans.batch import Choice, Policy, Sample, tomo_batch
from streamer_plans.devices.changer import Changer, NeedsPerson, RobotFault
from streamer_plans.tomo import TomoScanError

PATIENCE_S = 60.0


class Robot(Changer):
    """The table of the virtual beamline in memory; every report takes one second of its time."""

    def __init__(self, *faults, **kinds):
        super().__init__(name="changer")
        self.robot, self.now, self.orders, self.busy = SampleChanger(4, 2.0, faults, **kinds), 0.0, [], 0

    def _order(self, name, *values):
        self.orders.append((name, *values))
        if self.busy > 0:
            self.busy -= 1
            raise LinkError("another user's", Busy.code)
        self.robot = getattr(self.robot, name)(*values, self.now)

    def _mount(self, slot):
        self._order("mount", slot)

    def _unmount(self):
        self._order("unmount")

    def _park(self):
        self._order("park")

    def _state(self):
        self.now += 1.0
        self.robot = self.robot.at(self.now)
        return self.robot.status()


def test_a_sample_is_brought_back_before_the_next_one_is_mounted():
    robot = Robot(stage=1)
    robot.mount(3).wait(PATIENCE_S)
    assert robot.orders == [("unmount",), ("mount", 3)]
    robot.unmount().wait(PATIENCE_S)
    assert robot.read()["changer"]["value"] == -1
    assert set(robot.read()) == set(robot.describe())


@pytest.mark.parametrize("slot", [2, None])
def test_nothing_is_ordered_when_the_report_says_that_it_is_done(slot):
    robot = Robot(stage=slot)
    robot.set(slot).wait(PATIENCE_S)
    assert robot.orders == []


def test_a_refusal_that_passes_is_waited_for():
    robot = Robot()
    robot.busy = 2
    robot.mount(1).wait(PATIENCE_S)
    assert robot.orders == [("mount", 1)] * 3


@pytest.mark.parametrize("fault", ["grip_failed", "slot_empty", "wrong_label", "timed_out"])
def test_a_fault_fails_the_mount_and_the_next_one_recovers(fault):
    robot = Robot(fault)
    with pytest.raises(RobotFault, match=r"changer: mounting the sample of slot 1 failed: .*slot 1"):
        robot.mount(1).wait(PATIENCE_S)
    assert robot.read()["changer_state"]["value"] == fault
    robot.mount(2).wait(PATIENCE_S)
    assert robot.orders == [("mount", 1), ("park",), ("mount", 2)]


def test_after_a_collision_a_person_must_come():
    robot = Robot("collision")
    for _ in range(2):
        with pytest.raises(NeedsPerson, match="then confirm what is on the stage"):
            robot.mount(1).wait(PATIENCE_S)
    assert robot.orders == [("mount", 1)]
    robot.robot = robot.robot.hand_over(robot.now).confirm(1, robot.now)
    robot.mount(1).wait(PATIENCE_S)


def test_a_robot_that_parks_without_the_sample_is_not_believed():
    robot = Robot()
    robot._mount = lambda slot: robot.orders.append(("mount", slot))
    with pytest.raises(RobotFault, match="the robot is parked, but the stage has no sample"):
        robot.mount(1).wait(PATIENCE_S)
    assert robot.orders == [("mount", 1)]


def test_a_batch_goes_on_after_faults_and_ends_when_a_person_must_come(
    engine, documents, start_daemon, connect, scan, faults, caplog
):
    caplog.set_level(logging.CRITICAL, "bluesky")
    beamline = connect(start_daemon())
    beamline.changer.unmount().wait(PATIENCE_S)
    samples = [Sample(slot, replace(scan, sample=f"sample-{slot}", projections=12)) for slot in range(4)]
    one_by_one = Policy(overlap=False)
    faults(changer=["slot_empty", "wrong_label"])
    seen = []
    engine(tomo_batch(beamline, samples[:3], one_by_one, on_event=lambda event: seen.append(event.sample)))
    actions = {sample.slot: sample.action for sample in seen}
    assert [actions[slot].choice for slot in range(3)] == [Choice.REJECT, Choice.REJECT, Choice.ACCEPT]
    assert "slot 0 is empty" in actions[0].why
    assert "the label in slot 1" in actions[1].why
    faults(changer=["collision"])
    with pytest.raises(TomoScanError, match="the robot touched something with the sample of slot 2") as caught:
        engine(tomo_batch(beamline, samples[2:], one_by_one))
    assert caught.value.fatal
    assert beamline.changer._state().state is ChangerState.COLLISION
