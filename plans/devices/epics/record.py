"""One record of EPICS: read and written with a time limit, and an error that names it."""

from typing import Any

import ophyd
from ophyd import EpicsSignal, EpicsSignalRO
from ophyd.utils.errors import ReadOnlyError

from streamer.client import LinkError, LinkTimeout
from streamer.frames import BadInput

ANSWER_S = 5.0  # a record is searched for, or read


class Record:
    """The record ``name``, which is written as ``written`` (None: it is only read). ``text``: read as text, else
    number.

    Raises BadInput without pyepics; ``read``, ``write`` and ``order`` raise LinkTimeout for a record that does not
    answer and LinkError for a value that it does not take.
    """

    def __init__(self, name: str, written: str | None = None, text: bool = False) -> None:
        if ophyd.cl.name == "dummy":
            way_out = "pip install 'tomo-streamer[epics]'"
            raise BadInput(f"{name} needs pyepics, which is not installed: {way_out}")
        times: dict[str, Any] = {"timeout": ANSWER_S, "connection_timeout": ANSWER_S}
        self._signal: Any
        if written is None:
            self._signal = EpicsSignalRO(name, name=name, string=text, **times)
        else:
            self._signal = EpicsSignal(name, written, name=name, string=text, put_complete=True, **times)
        self.name = name if written is None else written

    def read(self) -> Any:
        try:
            return self._signal.get()
        except TimeoutError as error:
            raise self._silent(self._signal.pvname) from error

    def write(self, value: float | str) -> None:
        """Write without waiting for what comes of it."""
        try:
            self._signal.put(self._checked(value), use_complete=False)
        except TimeoutError as error:
            raise self._silent(self._signal.pvname) from error
        except ReadOnlyError as error:
            raise self._read_only() from error

    def order(self, value: float | str, limit_s: float = ANSWER_S) -> None:
        """Write, and wait until the IOC has done what it does with the value."""
        try:
            done = self._signal.set(self._checked(value), timeout=limit_s)
            done.wait(limit_s + ANSWER_S)
        except TimeoutError as error:
            raise LinkTimeout(f"{self.name}: the IOC did not answer within {limit_s:g} s") from error
        except ReadOnlyError as error:
            raise self._read_only() from error

    def _checked(self, value: float | str) -> float | str:
        self._signal.wait_for_connection(timeout=ANSWER_S)
        choices = self._signal.enum_strs
        if not (isinstance(value, str) and choices):
            return value
        if value not in choices:
            raise LinkError(f"{self.name} has no choice {value!r}: it has {', '.join(choices)}")
        return int(choices.index(value))

    def _read_only(self) -> LinkError:
        return LinkError(f"{self.name} must not be written from here: see the IOC's access rules")

    @staticmethod
    def _silent(name: str) -> LinkTimeout:
        way_out = "is the IOC running, and does EPICS_CA_ADDR_LIST name its machine?"
        return LinkTimeout(f"{name} does not answer within {ANSWER_S:g} s: {way_out}")


def check_answer(record: Record) -> None:
    """Raise LinkError when the answer to the last order, as "CODE: why", is not empty."""
    answer = str(record.read())
    if answer:
        code, _, why = answer.partition(": ")
        raise LinkError(why or answer, code)
