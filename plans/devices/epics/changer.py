"""A sample changer of EPICS, with the records of the virtual beamline's IOC. Another robot is a class like this one."""

import msgspec

from streamer.flow.wire.changer import ChangerState, ChangerStatus, SamplePlace

from ..changer import Changer
from ..claim import Claim
from .record import Record, check_answer

ORDER_S = 20.0
TEXTS = ("State", "Fault", "Inventory", "Answer")


class EpicsChanger(Changer):
    """The robot whose records begin with ``prefix``: Slot, Mount, Unmount, Park, and what it reports."""

    def __init__(
        self, prefix: str, claim: Claim | None = None, name: str = "changer", exchange_mm: float = 0.0
    ) -> None:
        super().__init__(claim, name=name)
        self.exchange_mm = exchange_mm
        self._orders = {word: Record(prefix + word, prefix + word) for word in ("Slot", "Mount", "Unmount", "Park")}
        self._numbers = {word: Record(f"{prefix}{word}_RBV") for word in ("Mounted", "Slots")}
        self._texts = {word: Record(f"{prefix}{word}_RBV", text=True) for word in TEXTS}

    def _mount(self, slot: int) -> None:
        self._orders["Slot"].order(slot)
        self._order("Mount")

    def _unmount(self) -> None:
        self._order("Unmount")

    def _park(self) -> None:
        self._order("Park")

    def _order(self, word: str) -> None:
        self._orders[word].order(1, ORDER_S)
        check_answer(self._texts["Answer"])

    def _state(self) -> ChangerStatus:
        state = ChangerState(self._texts["State"].read())
        mounted, slots = int(self._numbers["Mounted"].read()), int(self._numbers["Slots"].read())
        fault = str(self._texts["Fault"].read()) or None
        inventory = msgspec.convert(str(self._texts["Inventory"].read()).split(), list[SamplePlace])
        return ChangerStatus(slots, None if mounted < 0 else mounted, state.moving, fault, state, inventory)
