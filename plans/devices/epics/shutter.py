"""A shutter of EPICS: one record that is commanded, or a record for each way, and one that says where it is."""

from ..shutter import Shutter
from .record import Record


class EpicsShutter(Shutter):
    """``command`` gets ``open_value`` and ``close_value``; with ``close_command`` that record gets ``close_value``.

    ``status`` reads ``opened`` when the shutter is open, and ``closed`` when it is closed; anything else is on the way.
    Values are choices of the records, as text, or numbers. The Shutter's ``timeout_s`` may be given as well.
    """

    def __init__(
        self,
        command: str,
        status: str,
        name: str = "shutter",
        close_command: str | None = None,
        open_value: str | int = "Open",
        close_value: str | int = "Close",
        opened: str | int = "Open",
        closed: str | int = "Closed",
        timeout_s: float = 5.0,
    ) -> None:
        super().__init__(name=name)
        self.timeout_s = timeout_s
        self._open = Record(command, command)
        self._close = Record(close_command, close_command) if close_command else self._open
        self._status = Record(status, text=isinstance(opened, str))
        self._orders = {True: open_value, False: close_value}
        self._positions = {opened: "open", closed: "closed"}
        self._source = f"CA:{status}"

    def _command(self, opened: bool) -> None:
        (self._open if opened else self._close).write(self._orders[opened])

    def _readback(self) -> str:
        return self._positions.get(self._status.read(), "moving")

    def describe(self) -> dict[str, dict[str, object]]:
        return {self.name: {"dtype": "string", "shape": [], "source": self._source}}
