"""Motors: the rotation under the sample, and the translation that takes the sample out of the beam."""

import threading
import time
from abc import abstractmethod
from math import remainder
from typing import Any

from ophyd import Component as Cpt
from ophyd import Device, Kind, Signal
from ophyd.status import Status

from streamer.client import Link
from streamer.flow.wire.axes import AxisName, MoveAxis
from streamer.flow.wire.beamline import GetBeamlineStatus, MoveRotation, MoveX
from streamer.frames import StreamerError

from .claim import Claim
from .failures import FailureCode
from .waiting import Progress, settle, watch

MARGIN_S = 5.0


class MotionStopped(StreamerError):
    """A move ended before its target: somebody asked for it, or the motor stands elsewhere."""

    failure = FailureCode.MOTION


class Axis(Device):
    """One motor: ``set(target)`` moves, ``read()`` gives ``<name>`` and ``<name>_setpoint``.

    ``velocity`` (units per second) holds for moves that start after it was set. A subclass says how to command the
    hardware (``_start``, ``_where``); an ``ophyd.EpicsMotor`` can stand in the place of any Axis.
    """

    tolerance = 1e-3
    period: float | None = None
    """Of a stage that reports its position modulo so much, None for others."""
    velocity = Cpt(Signal, value=1.0, kind=Kind.config)

    def __init__(self, name: str, egu: str, velocity: float = 1.0, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.egu = egu
        self.velocity.put(velocity)
        self._setpoint: float | None = None
        self._move: Status | None = None
        self._usual: float | None = None
        self._lock = threading.Lock()

    @abstractmethod
    def _start(self, target: float, velocity: float) -> None:
        """Begin to move; return at once."""

    @abstractmethod
    def _where(self) -> tuple[float, bool]:
        """Position, and whether the motor moves."""

    def stage(self) -> list[object]:
        staged: list[object] = super().stage()
        self._usual = float(self.velocity.get())
        return staged

    def unstage(self) -> list[object]:
        """Give the velocity back that the motor had when it was staged, however the plan ended."""
        usual, self._usual = self._usual, None
        if usual is not None:
            self.velocity.put(usual)
        unstaged: list[object] = super().unstage()
        return unstaged

    @property
    def position(self) -> float:
        return self._where()[0]

    def set(self, value: float, timeout: float | None = None) -> Status:
        """Move to ``value``. The Status fails when the motor is not there in time (default: from way and velocity)."""
        target, velocity = float(value), float(self.velocity.get())
        started = False
        position = initial = self.position

        def arrived() -> bool:
            nonlocal started, position
            if not started:
                started = True
                self._start(target, velocity)
            position, moving = self._where()
            away = position - target
            if not moving and abs(away if self.period is None else remainder(away, self.period)) > self.tolerance:
                raise MotionStopped(f"{self.name} stands at {position:g}, not at {target:g} {self.egu}")
            return not moving

        limit = timeout if timeout is not None else MARGIN_S + 1.5 * abs(target - initial) / velocity
        what = f"{self.name}: the move to {target:g} {self.egu}"
        move = watch(arrived, limit, what, progress=lambda: Progress(initial, position, target, self.egu))
        with self._lock:
            before, self._move, self._setpoint = self._move, move, target
        if before is not None and not before.done:
            settle(before, MotionStopped(f"{self.name} was sent to {target:g} {self.egu} during a move"))
        return move

    def stop(self, *, success: bool = False) -> None:
        """Stand still here. The Status of a move under way ends: well when ``success``, else as failed."""
        with self._lock:
            move, self._move = self._move, None
        if move is None or move.done:
            return
        settle(move, None if success else MotionStopped(f"{self.name} was stopped on its way to {self._setpoint:g}"))
        self._start(self.position, float(self.velocity.get()))

    def locate(self) -> dict[str, float]:
        """Where the motor was sent to, and where it is."""
        position = self.position
        return {"setpoint": position if self._setpoint is None else self._setpoint, "readback": position}

    def read(self) -> dict[str, dict[str, Any]]:
        place, now = self.locate(), time.time()
        return {
            self.name: {"value": place["readback"], "timestamp": now},
            f"{self.name}_setpoint": {"value": place["setpoint"], "timestamp": now},
        }

    def describe(self) -> dict[str, dict[str, Any]]:
        key = {"dtype": "number", "shape": [], "units": self.egu, "source": f"SIM:{self.name}"}
        return {self.name: dict(key), f"{self.name}_setpoint": dict(key)}

    @property
    def hints(self) -> dict[str, list[str]]:
        return {"fields": [self.name]}


class SimRotation(Axis):
    """The rotation of the virtual beamline, in degrees."""

    def __init__(self, link: Link, claim: Claim, name: str = "rotation", velocity: float = 90.0) -> None:
        super().__init__(name=name, egu="deg", velocity=velocity)
        self._link, self._claim = link, claim

    def _start(self, target: float, velocity: float) -> None:
        self._link.ask(MoveRotation(target, velocity, self._claim.scan_id))

    def _where(self) -> tuple[float, bool]:
        state = self._link.ask(GetBeamlineStatus()).rotation
        return state.position_deg, state.moving


class SimTranslation(Axis):
    """The translation x of the virtual beamline, in mm; the rotation rides on it. Its speed cannot be set."""

    def __init__(self, link: Link, claim: Claim, name: str = "sample_x", velocity: float = 1.0) -> None:
        super().__init__(name=name, egu="mm", velocity=velocity)
        self._link, self._claim = link, claim

    def _start(self, target: float, velocity: float) -> None:
        self._link.ask(MoveX(target, self._claim.scan_id))

    def _where(self) -> tuple[float, bool]:
        state = self._link.ask(GetBeamlineStatus()).x
        return state.position_mm, state.moving

    @property
    def out_mm(self) -> float:
        """From this distance on, the sample is beside the beam."""
        return self._link.ask(GetBeamlineStatus()).x.out_mm


class SimAxis(Axis):
    """One of the smaller motors of the virtual beamline. Its speed cannot be set."""

    def __init__(self, link: Link, claim: Claim, name: str, axis: AxisName, egu: str) -> None:
        super().__init__(name=name, egu=egu, velocity=10.0)
        self._link, self._claim, self._axis = link, claim, axis

    def _start(self, target: float, velocity: float) -> None:
        self._link.ask(MoveAxis(self._axis, target, self._claim.scan_id))

    def _where(self) -> tuple[float, bool]:
        state = self._link.ask(GetBeamlineStatus()).axes[self._axis]
        return state.position, state.moving
