"""The detector's own thread: waits for triggers, takes frames, sends them. The only owner of the outlet."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streamer.flow.wire import End, EndStatus, KeepAlive, Start, encode, encode_frame
from streamer.frames import FrameMeta
from streamer.io.senders.outlet import Outlet
from streamer.sim.faults import Message, light
from streamer.sim.hardware.beamline import Beam
from streamer.sim.hardware.detector import Sensor
from streamer.sim.prerender import SHOTS_AHEAD, Ahead, Renderer, Shot
from streamer.sim.scan import BeamContent, FrameSeries, VirtualScan
from streamer.sim.scene.render import FULL_TRANSMISSION, Scene
from streamer.sim.station import VirtualStation

SOURCE_NAME = "virtual-beamline"
POLL_S = 0.005
OFFER_S = 0.05
LINGER_S = 0.5
GIVE_UP_S = 2.0
"""An aborted scan stops sending after this time when the receiver takes nothing."""

ALIVE_S = 5.0
"""So often a prepared scan that takes no frames tells the receiver that it will go on."""

SCAN_APART_S = 100.0
"""Beam time between two scans."""

EPS_DEG = 1e-7


@dataclass(frozen=True, slots=True)
class Clock:
    """Monotonic seconds for the hardware and the offset to UTC."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def utc_ns(self, moment: float) -> int:
        return time.time_ns() + round((moment - self.now()) * 1e9)


class Acquirer(threading.Thread):
    """Executes start, acquire and end in the order of the requests."""

    def __init__(self, station: VirtualStation, renderer: Renderer, outlet: Outlet, clock: Clock) -> None:
        super().__init__(name="acquisition", daemon=True)
        setup = station.setup
        self._station = station
        self._renderer = renderer
        self._ahead = Ahead(renderer)
        self._outlet = outlet
        self._clock = clock
        self._sensor = Sensor(setup.preset.camera, setup.rows, setup.columns, setup.seed)
        self._beam = Beam(setup.preset.beam, setup.rows, setup.columns, setup.seed)
        self._open = np.full((setup.rows, setup.columns), FULL_TRANSMISSION, np.uint16)
        self._no_light = np.zeros(setup.rows, np.float32)
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._quit = threading.Event()
        self._seq = 0
        self._next_slot = -math.inf

    def start_scan(self, scan: VirtualScan) -> None:
        """Queue the start message."""
        self._jobs.put(lambda: self._start(scan))

    def acquire(self, scan: VirtualScan, series: FrameSeries) -> None:
        """Queue a series of frames. The station's ``acquiring`` is reset after the last one."""
        self._jobs.put(lambda: self._acquire(scan, series))

    def end_scan(self, scan: VirtualScan, status: EndStatus) -> None:
        """Queue the end message; the truth file is completed first."""
        self._jobs.put(lambda: self._end(scan, status))

    def close(self) -> None:
        """Stop at once. Unsent frames are lost."""
        self._quit.set()
        self._jobs.put(None)
        if self.is_alive():
            self.join()

    def run(self) -> None:
        while not self._quit.is_set():
            try:
                job = self._jobs.get(timeout=ALIVE_S)
            except queue.Empty:
                job = self._keep_alive
            if job is not None:
                self._guarded(job)
        self._outlet.close(LINGER_S)

    def warm(self) -> None:
        """Run every compiled kernel of the chain once."""
        self._sensor.expose(self._open, self._beam.fixed, self._beam.rows(0.0), (0, 0))

    def _start(self, scan: VirtualScan) -> None:
        self._send(scan, [*encode(Start(scan.spec, seq=self._take_seq(), src=SOURCE_NAME))])

    def _keep_alive(self) -> None:
        """A scan that pauses is not over; a receiver that is gone is not waited for."""
        with self._station.lock:
            open_scan = self._station.scan is not None
        if open_scan and self._outlet.offer([*encode(KeepAlive(seq=self._seq, src=SOURCE_NAME, paused=True))], 0.0):
            self._seq += 1

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # a fault of one job must not end the thread; `status` shows it
            with self._station.lock:
                self._station.error = f"{type(error).__name__}: {error}"

    def _end(self, scan: VirtualScan, status: EndStatus) -> None:
        # Before the end message, because its receiver may read the truth at once.
        self._guarded(lambda: self._station.save_truth(scan, status))
        for message in scan.transport.before_end():
            self._send(scan, message)
        end = End(scan.spec.scan_id, scan.issued, status, seq=self._take_seq(), src=SOURCE_NAME)
        self._send(scan, [*encode(end)])
        for message in scan.transport.after_end():
            self._send(scan, message)

    def _acquire(self, scan: VirtualScan, series: FrameSeries) -> None:
        try:
            self._take_frames(scan, series)
        finally:
            self._ahead.forget()
            with self._station.lock:
                self._station.acquiring = False

    def _take_frames(self, scan: VirtualScan, series: FrameSeries) -> None:
        before, began, moment = series.before, self._clock.now(), series.asked_s
        for k in range(series.frames):
            if scan.faults.stall == scan.issued:
                with self._station.lock:
                    self._station.error = f"camera stopped before frame {scan.issued}"
                return
            if series.position_triggered:
                position = series.start_deg + k * series.step_deg
                passed = self._wait_position(scan, position, series.step_deg, before)
                before = True
            else:
                passed = self._wait_time(scan, began + k / scan.rate_hz)
                position = math.nan
            if passed is None or not self._wait_slot(scan):
                return
            moment = max(moment, passed)  # a motor at rest passed the position before the request
            self._take_frame(scan, series, position, moment)

    def _wait_position(self, scan: VirtualScan, position: float, step: float, before: bool) -> float | None:
        """When the rotation passed ``position`` in the direction of ``step``; None when the acquisition is stopped."""
        sign = math.copysign(1.0, step)
        while not self._stopped(scan):
            with self._station.lock:
                axis = self._station.rotation
            now = self._clock.now()
            ahead = (position - axis.position(now)) * sign
            before = before or ahead >= -EPS_DEG
            if before and ahead <= EPS_DEG:
                passed = axis.time_at(position)
                return now if passed is None else min(now, passed)
            due = axis.time_at(position) if before else None
            self._clock.sleep(POLL_S if due is None else min(POLL_S, max(1e-4, due - now)))
        return None

    def _wait_time(self, scan: VirtualScan, due: float) -> float | None:
        while not self._stopped(scan):
            left = due - self._clock.now()
            if left <= 0:
                return due
            self._clock.sleep(min(left, POLL_S))
        return None

    def _wait_slot(self, scan: VirtualScan) -> bool:
        """Limit the rate to that of the camera: faster triggers are served late, none is lost."""
        interval = 1.0 / self._station.setup.max_rate_hz
        due = self._next_slot
        now = self._clock.now()
        self._next_slot = (due if now - due < interval else now) + interval
        return self._wait_time(scan, due) is not None

    def _take_frame(self, scan: VirtualScan, series: FrameSeries, position: float, moment: float) -> None:
        station = self._station
        with station.lock:
            look = station.look(moment)
            station.observe(scan, look)
            if math.isnan(position):
                position = station.rotation.position(moment)
            shot = station.shot(position, scan.progress)
            angle = station.header_angle(scan, shot.angle_deg)
            ring = station.ring.light
        if series.position_triggered and look.scene is not None and look.open:
            self._look_ahead(scan, look.scene, position, series)
        pixels, monitor = self._expose(scan, look, shot, ring)
        index = scan.issued
        exposure_s = scan.exposure_s
        timestamp = self._clock.utc_ns(moment)

        def make() -> Message:
            meta = FrameMeta(
                scan.spec.scan_id, index, series.kind, angle, self._take_seq(), timestamp, exposure_s, monitor
            )
            return [*encode_frame(meta, pixels, SOURCE_NAME)]

        messages = scan.transport.route(index, make)
        scan.note(series.kind, look, shot.angle_deg)
        for message in messages:
            if not self._send(scan, message):
                scan.unsent.append(index)

    def _look_ahead(self, scan: VirtualScan, scene: Scene, position: float, series: FrameSeries) -> None:
        """Start to render the next projections that are not cached."""
        for k in range(1, SHOTS_AHEAD + 1):
            progress = (scan.projections + k) / scan.spec.projections
            if not self._ahead.expect(scene, self._station.shot(position + k * series.step_deg, progress)):
                return

    def _expose(
        self, scan: VirtualScan, look: BeamContent, shot: Shot, ring: float
    ) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.uint16]], float]:
        """Pixels of one frame and the reading of the beam monitor (before the shutter)."""
        beam_time = scan.serial * SCAN_APART_S + scan.issued / scan.rate_hz
        intensity = ring * self._beam.current(beam_time) * light(scan.faults, scan.issued, scan.spec.frames)
        collected = intensity * self._station.setup.light(scan.exposure_s)
        rows = self._beam.rows(beam_time) * np.float32(collected) if look.open else self._no_light
        seen = self._open
        if look.open and look.scene is not None:
            seen = self._ahead.take(look.scene, shot)
        return self._sensor.expose(seen, self._beam.fixed, rows, (scan.serial, scan.issued)), intensity

    def _take_seq(self) -> int:
        self._seq += 1
        return self._seq - 1

    def _stopped(self, scan: VirtualScan) -> bool:
        return scan.stop or self._quit.is_set()

    def _send(self, scan: VirtualScan, message: Message) -> bool:
        """Send a message. Waits for the receiver: in an aborted scan for a while, in a quitting process not at all."""
        patience = self._clock.now() + GIVE_UP_S
        while True:
            if self._outlet.offer(message, OFFER_S):
                return True
            if self._quit.is_set() or scan.given_up:
                return False
            if scan.aborted and self._clock.now() > patience:
                scan.given_up = True
                return False
