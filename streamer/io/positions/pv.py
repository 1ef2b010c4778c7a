"""Positions in EPICS PVs: arrays that grow with the scan, over Channel Access (pyepics) or PVAccess (p4p).

Single values are not taken: updates that come too fast replace each other, and every angle after that would be another
frame's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from streamer.flow.positions.positions import Positions
from streamer.flow.positions.rows import GrowingArrays
from streamer.frames import BadInput
from streamer.io.positions.reader import Arrivals

PVA, CA = "pva://", "ca://"


class PvPositions(Arrivals):
    """Implements ``PositionSource``. Names begin with ca:// or pva://; without either they are those of ca.

    Raises BadInput for a library that lacks.
    """

    def __init__(self, options: Positions, shutter: str | None) -> None:
        super().__init__()
        self._arrays = GrowingArrays(options, shutter)
        self._lock = threading.Lock()
        self._close: list[Callable[[], Any]] = []
        for name in self._arrays.names:
            (self._monitor_pva if name.startswith(PVA) else self._monitor_ca)(name)

    def close(self) -> None:
        while self._close:
            self._close.pop()()

    def _update(self, name: str, value: object, elements: int) -> None:
        """``elements``: what the PV can hold."""
        if elements < 2:
            self.remark(f"{name} holds a single value: positions.value must name an array that grows with the scan")
            return
        with self._lock:
            self.add(self._arrays.update(name, np.atleast_1d(np.asarray(value, np.float64)).tolist()))

    def _monitor_ca(self, name: str) -> None:
        with suppress(ImportError):  # p4p's libca, where there is one: ophyd takes it, too, and there must not be two
            import epicscorelibs.path.pyepics  # noqa: F401
        try:
            import epics
        except ImportError as error:
            way_out = "pip install 'tomo-streamer[epics]'"
            raise BadInput(f"positions.source: {name} needs pyepics, which is not installed: {way_out}") from error

        def changed(value: Any = None, nelm: int = 1, **_: Any) -> None:
            self._update(name, value, nelm)

        def connected(conn: bool = False, **_: Any) -> None:
            if not conn:
                self.remark(f"{name} is disconnected")

        pv = epics.PV(name.removeprefix(CA), auto_monitor=True, callback=changed, connection_callback=connected)
        self._close.append(pv.disconnect)

    def _monitor_pva(self, name: str) -> None:
        try:
            from p4p.client.thread import Context
        except ImportError as error:
            way_out = "pip install 'tomo-streamer[pva]'"
            raise BadInput(f"positions.source: {name} needs p4p, which is not installed: {way_out}") from error

        def changed(value: Any) -> None:
            if isinstance(value, Exception):
                self.remark(f"{name} is disconnected")
            else:
                self._update(name, value, 2 if isinstance(value, np.ndarray) else 1)

        context = Context("pva")
        self._close += [context.close, context.monitor(name.removeprefix(PVA), changed, notify_disconnect=True).close]
