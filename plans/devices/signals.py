"""Signals that have to be asked, in the form of those that tell: for suspenders, and for plans that read them."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ophyd import Signal

from streamer.client import Link, LinkError, LinkTimeout
from streamer.flow.wire.beamline import GetBeamlineStatus

log = logging.getLogger(__name__)


class PolledSignal(Signal):
    """``ask`` gives the value. It is asked when the signal is read, and every ``period_s`` while somebody subscribes.

    ``value`` is what it has before; while the server does not answer, it keeps the one it had.
    """

    def __init__(self, ask: Callable[[], Any], name: str, value: Any, period_s: float = 0.1) -> None:
        super().__init__(name=name, value=value)
        self._ask, self._period_s = ask, period_s
        self._ended: threading.Event | None = None
        self._starting = threading.Lock()

    def get(self, **kwargs: Any) -> Any:
        self._renew(tell=False)  # a listener may read while it is told, and hold its own lock
        return super().get(**kwargs)

    def subscribe(self, callback: Any, event_type: Any = None, run: bool = True) -> int:
        with self._starting:
            silent = self._ended is None
        if silent:
            self._renew(tell=True)
        number: int = super().subscribe(callback, event_type=event_type, run=run)
        with self._starting:
            if self._ended is None:
                self._ended = threading.Event()
                work = threading.Thread(target=self._poll, args=(self._ended,), name=self.name, daemon=True)
                work.start()
        return number

    def clear_sub(self, callback: Any, event_type: Any = None) -> None:
        super().clear_sub(callback, event_type=event_type)
        if not any(self._callbacks.values()):
            self.close()

    def close(self) -> None:
        """Ask no more until somebody subscribes again."""
        with self._starting:
            ended, self._ended = self._ended, None
        if ended is not None:
            ended.set()

    def _poll(self, ended: threading.Event) -> None:
        while not ended.wait(self._period_s):
            self._renew(tell=True)

    def _renew(self, tell: bool) -> None:
        try:
            value = self._ask()
            if tell:  # of an old value as well: whoever listens may have changed its mind
                self.put(value)
            else:
                self._readback = value
        except (LinkError, LinkTimeout) as error:
            log.debug("%s: %s", self.name, error)


class RingCurrent(PolledSignal):
    """The ring current of the virtual beamline, relative to the usual one."""

    def __init__(self, link: Link, name: str = "ring_current") -> None:
        super().__init__(lambda: link.ask(GetBeamlineStatus()).beam.current, name, 1.0)


class FrontEnd(PolledSignal):
    """The shutter of the front end of the virtual beamline: "open" or "closed"."""

    def __init__(self, link: Link, name: str = "front_end") -> None:
        super().__init__(lambda: link.ask(GetBeamlineStatus()).beam.front_end, name, "open")


@dataclass(frozen=True)
class BeamLimits:
    """What counts as a beam. ``least_current`` is in the unit of the signal: relative at the virtual beamline."""

    least_current: float = 0.5
