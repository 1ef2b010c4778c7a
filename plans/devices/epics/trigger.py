"""The rotation's trigger by position: a PandABox's PCOMP, a PSO, or the virtual beamline's."""

from .record import Record


class PositionTrigger:
    """Gives ``frames`` pulses from ``start_deg`` on, one every ``step_deg``, once it is armed.

    Names are those of the records after ``prefix``; ``counts_per_deg`` is for hardware that counts the encoder, and
    ``arm_value`` and ``disarm_value`` are what ``arm`` gets.
    """

    def __init__(
        self,
        prefix: str,
        start: str = "Start",
        step: str = "Step",
        count: str = "Count",
        arm: str = "Arm",
        arm_value: str | int = "Arm",
        disarm_value: str | int = "Disarm",
        counts_per_deg: float = 1.0,
    ) -> None:
        names = {"start": start, "step": step, "count": count, "arm": arm}
        self._records = {what: Record(prefix + name, prefix + name) for what, name in names.items()}
        self._values = {True: arm_value, False: disarm_value}
        self._counts_per_deg = counts_per_deg

    def arm(self, start_deg: float, step_deg: float, frames: int) -> None:
        """Set the pulses, and arm. Raises LinkError or LinkTimeout."""
        self._records["start"].order(start_deg * self._counts_per_deg)
        self._records["step"].order(step_deg * self._counts_per_deg)
        self._records["count"].order(frames)
        self._records["arm"].order(self._values[True])

    def disarm(self) -> None:
        self._records["arm"].write(self._values[False])
