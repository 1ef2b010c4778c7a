"""The sample changer: its table, what it refuses, and that no order loses or doubles a sample."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamer.flow.wire.beamline import ChangerFault
from streamer.flow.wire.changer import ChangerState
from streamer.flow.wire.control import Busy
from streamer.frames import BadInput
from streamer.sim.hardware.changer import FAULT_TEXTS, TRANSITIONS, ChangerEvent, SampleChanger, diagram
from tests.paths import ROOT

FAULTS: tuple[ChangerFault, ...] = get_args(ChangerFault)
SLOTS = 3


def test_the_documented_diagram_is_the_table() -> None:
    text = (ROOT / "docs" / "sample-changer.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{diagram()}\n```\n" in text


def test_every_state_is_reached_and_every_fault_has_a_way_out() -> None:
    assert {after for row in TRANSITIONS.values() for after in row.values()} == set(ChangerState) == set(TRANSITIONS)
    assert {event for row in TRANSITIONS.values() for event in row} == set(ChangerEvent)
    for name in FAULTS:
        state = ChangerState(name)
        assert ChangerEvent.HAND_OVER in TRANSITIONS[state]
        assert (ChangerEvent.PARK in TRANSITIONS[state]) is not state.needs_person
    assert {state for state in ChangerState if not state.moving} - {ChangerState.PARKED} == set(FAULT_TEXTS)


def test_it_needs_its_time() -> None:
    changer = SampleChanger(4, mount_s=2.0).mount(1, now=0.0)
    assert changer.at(1.9).status().busy
    assert changer.at(1.9).stage is None
    assert (changer.at(2.0).status().busy, changer.at(2.0).stage) == (False, 1)
    back = changer.unmount(now=10.0)
    assert (back.at(11.0).stage, back.at(11.0).gripper) == (None, 1)
    assert back.at(12.0) == SampleChanger(4, 2.0, slot=1, done_at=12.0)


def test_unsafe_orders_are_refused() -> None:
    mounted = SampleChanger(SLOTS, 1.0).mount(1, 0.0)
    for moving in (lambda: mounted.mount(2, 0.5), lambda: mounted.unmount(0.5), lambda: mounted.hand_over(0.5)):
        with pytest.raises(Busy, match="the sample changer is mounting"):
            moving()
    for slot in (1, 2):
        with pytest.raises(BadInput, match="the sample of slot 1 is on the stage; unmount it first"):
            mounted.mount(slot, 2.0)
    with pytest.raises(BadInput, match="no sample is on the stage"):
        SampleChanger(SLOTS).unmount(0.0)
    with pytest.raises(BadInput, match="slot 3 does not exist, the magazine has slots 0 to 2"):
        SampleChanger(SLOTS).mount(3, 0.0)
    with pytest.raises(BadInput, match="park: not possible while the sample changer is parked; possible now: mount"):
        SampleChanger(SLOTS).park(0.0)
    with pytest.raises(Busy, match="rotation: the sample changer is not parked, it is mounting"):
        mounted.check_parked("rotation", 0.5)
    mounted.check_parked("rotation", 1.0)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_state_until_it_is_dealt_with(fault: ChangerFault) -> None:
    failed = SampleChanger(SLOTS, 1.0, faults=(fault,)).mount(2, 0.0).at(1.0)
    status = failed.status()
    assert (status.state, status.mounted, status.busy) == (ChangerState(fault), None, False)
    assert "slot 2" in str(status.fault)
    with pytest.raises(BadInput, match="mount: not possible while"):
        failed.mount(1, 2.0)
    with pytest.raises(Busy):
        failed.check_parked("x", 2.0)
    person = failed.hand_over(2.0)
    assert person.confirm(2, 3.0).status().mounted == 2
    if failed.state.needs_person:
        with pytest.raises(BadInput, match="park: not possible while the sample changer is collision"):
            failed.park(2.0)
        return
    parked = failed.park(2.0).at(3.0)
    assert parked.state is ChangerState.PARKED
    again = parked.mount(0 if fault == "slot_empty" else 2, 4.0).at(5.0)
    assert again.status().fault is None
    if fault == "slot_empty":
        assert parked.status().inventory == ["magazine", "magazine", "nowhere"]
        with pytest.raises(BadInput, match="slot 2 was found empty"):
            parked.mount(2, 4.0)


class AnyOrders(RuleBasedStateMachine):
    """Any orders at any time: a sample is never lost, doubled, or put onto another one."""

    def __init__(self) -> None:
        super().__init__()
        self.changer, self.now = SampleChanger(SLOTS, 1.0), 0.0

    def order(self, name: str, *values: Any) -> None:
        before = self.changer.at(self.now)
        try:
            self.changer = getattr(self.changer, name)(*values, self.now)
        except BadInput:
            assert self.changer.at(self.now) == before
            return
        assert not before.state.moving
        assert ChangerEvent(name) in TRANSITIONS[before.state]
        if name == "mount":
            assert before.stage is None
            assert before.place(values[0]) == "magazine"

    @rule(slot=st.integers(-1, SLOTS))
    def mount(self, slot: int) -> None:
        self.order("mount", slot)

    @rule(name=st.sampled_from(["unmount", "park", "hand_over"]))
    def other_order(self, name: str) -> None:
        self.order(name)

    @rule(mounted=st.none() | st.integers(0, SLOTS - 1))
    def confirm(self, mounted: int | None) -> None:
        self.order("confirm", mounted)

    @rule(seconds=st.sampled_from([0.3, 1.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(fault=st.sampled_from(FAULTS))
    def set_fault(self, fault: ChangerFault) -> None:
        self.changer = SampleChanger(
            SLOTS, 1.0, (fault,), *(getattr(self.changer, name) for name in SampleChanger.__slots__[3:])
        )

    @invariant()
    def every_sample_is_in_one_place(self) -> None:
        status = self.changer.at(self.now).status()
        assert status.inventory.count("stage") == (status.mounted is not None)
        assert status.inventory.count("gripper") <= 1
        assert status.mounted is None or status.inventory[status.mounted] == "stage"

    @invariant()
    def there_is_always_a_way_on(self) -> None:
        """After the way, and with a person at worst, the robot is parked again."""
        changer = self.changer.at(self.now + 1.0)
        if changer.state is not ChangerState.PARKED:
            changer = changer if changer.state is ChangerState.WITH_PERSON else changer.hand_over(self.now + 1.0)
            changer = changer.confirm(None, self.now + 1.0)
        changer.check_parked("rotation", self.now + 1.0)


TestAnyOrders = AnyOrders.TestCase


def test_the_beamline_refuses_an_exchange_elsewhere_and_motions_during_one(beamline: Any) -> None:
    beamline.do("x", target_mm=1.0)
    beamline.settle()
    reply = beamline.ask("mount", slot=None)
    assert reply["error"] == "mount: the stage is at x = 1 mm, samples are exchanged at 0 mm"
    beamline.do("x", target_mm=0.0)
    beamline.settle()
    beamline.do("rotation", target_deg=1e5, velocity_deg_s=1.0)
    assert beamline.ask("mount", slot=None)["error"] == "mount: the stage moves"
    beamline.do("rotation", target_deg=0.0, velocity_deg_s=5000.0)
    beamline.settle()
    beamline.do("faults", set={"changer": ["collision"]})
    beamline.do("mount", slot=None)
    beamline.settle()
    beamline.do("mount", slot=1)
    assert beamline.settle()["changer"]["state"] == "collision"
    for verb, args in (("rotation", {"target_deg": 1.0}), ("x", {"target_mm": 1.0})):
        assert beamline.ask(verb, **args)["code"] == "busy"
    assert beamline.ask("park")["code"] == "bad_input"
    beamline.do("hand_over")
    beamline.do("confirm", mounted=1)
    status = beamline.settle()["changer"]
    assert (status["mounted"], status["fault"], status["inventory"][1]) == (1, None, "stage")
