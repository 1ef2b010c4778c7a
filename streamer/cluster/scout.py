"""The daemon's side of a cluster: it sees a few rows, decides for all, and has the shards do the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from streamer.cluster.engines.engine import Engine
from streamer.cluster.engines.processes import Processes
from streamer.cluster.engines.ray_places import RayPlaces
from streamer.cluster.messages import Gather, Pictures
from streamer.cluster.raw_parts import Beginning, RawParts
from streamer.cluster.rows import row_blocks, scout_rows
from streamer.cluster.shards import Shards
from streamer.config import NATIVE, Config
from streamer.core.arrays import Image
from streamer.core.planes.plane import Plane, orthogonal_planes
from streamer.flow import wire
from streamer.flow.acknowledged import Taken
from streamer.flow.row_cut import RowCut
from streamer.frames import BadInput, ScanSpec, StreamerError
from streamer.io.raw.pixel_mask import PixelMask
from streamer.io.sources.acknowledged import AcknowledgingReceiver, AcknowledgingSink
from streamer.pipeline.layout.layout import Layout
from streamer.pipeline.scan_pipeline import ScanPipeline

GATHER_S = 2.0
WRITE_S = 3600.0
DRAIN_S = 60.0


def engine_of(config: Config) -> Engine:
    """What the configuration wants processes to be started by. Raises BadInput when it is not there."""
    if config.compute.engine == "ray":
        return RayPlaces(config.compute.address, config.security.insecure)
    return Processes()


def shards_of(config: Config, gpus: int) -> int:
    """How many shards the configuration wants; "auto" is one for each GPU, and none (1) without."""
    wanted = config.compute.shards
    return max(1, gpus) if wanted == "auto" else wanted


def shared_out(config: Config) -> Config:
    """The configuration as scout and shards work by it. Raises BadInput for what needs rows of other shards."""
    preparation, source, reconstruction = config.preparation, config.source, config.reconstruction
    needs_neighbours = {
        "preparation.delta_beta": preparation.delta_beta is not None,
        "preparation.zingers": preparation.zingers > 0,
        "preparation.flat_drift": preparation.flat_drift in ("margins", "eigen"),
        "preparation.stripes": preparation.stripes != "off",
        "reconstruction.tilt": reconstruction.tilt not in ("auto", "off"),
    }
    if found := [name for name, needed in needs_neighbours.items() if needed]:
        raise BadInput(
            f"{', '.join(found)}: needs rows that another shard has; leave it out, or set compute.shards = 1"
        )
    if source.dialect != NATIVE or source.transport != "push" or config.security.frames:
        raise BadInput(
            "compute.shards: frames are cut for source.dialect native, source.transport push and no security.frames; "
            "set these, or compute.shards = 1"
        )
    return config.model_copy(update={"reconstruction": reconstruction.model_copy(update={"tilt": "off"})})


class _Rows:
    """The scout's rows, from the cutter: taken as from a PULL socket, and no message ever waits."""

    def __init__(self, receiver: AcknowledgingReceiver, endpoint: Callable[[], str]) -> None:
        self._receiver, self._endpoint = receiver, endpoint

    @property
    def endpoint(self) -> str:
        return self._endpoint()

    def run(self, sink: AcknowledgingSink, stopped: Callable[[], bool]) -> None:
        self._receiver.run(_Sink(sink), stopped)

    def close(self) -> None:
        self._receiver.close()


class _Sink:
    """Passes on to the daemon's ingest; see ``AcknowledgingSink``."""

    def __init__(self, ingest: AcknowledgingSink) -> None:
        self._ingest = ingest
        self.start, self.slot, self.frame, self.corrupt = ingest.start, ingest.slot, ingest.frame, ingest.corrupt
        self.end, self.alive, self.rejected, self.failed = ingest.end, ingest.alive, ingest.rejected, ingest.failed
        self.position, self.put_off = ingest.position, ingest.put_off

    def admit(self, message: wire.Start | wire.FrameHeader | wire.End) -> str:
        if isinstance(message, wire.Start):
            self._ingest.start(message)
        return ""

    def settled(self, taken: Taken) -> bool:
        return True


class Scout:
    """See ``daemon.elsewhere.Elsewhere``. Starts the shards, and waits for them. Raises BadInput."""

    def __init__(self, config: Config, count: int, clock: Callable[[], float], engine: Engine) -> None:
        """``config`` is that of ``shared_out``. The engine is closed with the scout."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        source = config.source
        frames = AcknowledgingReceiver(
            self._context,
            "tcp://127.0.0.1:*",
            True,
            source.high_water_mark,
            int(source.max_frame_mb * 2**20),
            daemon=1,
            clock=clock,
        )
        self._count = count
        self.shards = Shards(config, count, engine, self._context, frames.endpoint)
        self.receiver = _Rows(frames, lambda: self.shards.source)
        self.writer = RawParts(self.shards)
        self.planes: tuple[Plane, ...] = ()
        self._chosen: tuple[Plane, ...] | None = None  # by a client

    @property
    def plan(self) -> dict[str, Any]:
        return self.writer.plan

    def check(self, spec: ScanSpec) -> None:
        row_blocks(spec.rows, self._count)
        if spec.before_trigger is not None or spec.tomogram_deg is not None:
            what = "before_trigger" if spec.before_trigger is not None else "tomogram_deg"
            raise BadInput(f"scan {spec.scan_id}: {what} is for a daemon without shards; set compute.shards = 1")

    def rows_of(self, spec: ScanSpec) -> RowCut:
        return scout_rows(spec.rows)

    def begin(
        self, spec: ScanSpec, pipeline: ScanPipeline, planes: tuple[Plane, ...] | None, mask: PixelMask | None
    ) -> None:
        self._chosen = planes
        self.planes = planes or orthogonal_planes(spec.rows, pipeline.layout.width)
        self.writer.beginning = Beginning(whole(pipeline.layout, spec), pipeline.tracker.likely, self.planes, mask)

    def follow(self, pipeline: ScanPipeline) -> None:
        scan = self.shards.armed
        if scan is None or scan.spec.scan_id != pipeline.spec.scan_id:
            return
        layout = whole(pipeline.layout, scan.spec)
        self.shards.tell(layout, pipeline.tracker.likely, pipeline.tracker.final)
        if self._chosen is None and layout.width != self.planes[0].shape[1]:  # they grow with the field of view
            self._show(orthogonal_planes(scan.spec.rows, layout.width))

    def watch(self, planes: tuple[Plane, ...] | None) -> None:
        scan, self._chosen = self.shards.armed, planes
        if scan is not None:
            self._show(planes or orthogonal_planes(scan.spec.rows, scan.spec.columns))

    def _show(self, planes: tuple[Plane, ...]) -> None:
        self.planes = planes
        self.shards.watch(planes)

    def gather(self) -> tuple[int, dict[str, Image]]:
        scan = self.shards.armed
        if scan is None:
            return 0, {}
        try:
            parts = self.shards.ask_all(Gather(), Pictures, GATHER_S)
        except StreamerError:  # a shard is being replaced: the pictures stay as they are
            return 0, {}
        if len({pictures.version for pictures, _ in parts}) != 1:
            return 0, {}
        images = [
            {
                name: np.frombuffer(pixels, np.float32).reshape(shape)
                for name, shape, pixels in zip(pictures.names, pictures.shapes, payload, strict=True)
            }
            for pictures, payload in parts
        ]
        return min(pictures.count for pictures, _ in parts), scan.strips.stitched(images)

    def write_tomogram(self, partial: Path, place: int) -> None:
        scan = self.shards.armed
        assert scan is not None
        if not self.shards.drain(DRAIN_S):
            raise BadInput(f"scan {scan.spec.scan_id}: rows wait for a shard that takes none")
        self.shards.write_rows(partial, place, WRITE_S)

    def over(self) -> None:
        self.shards.forget()

    def close(self) -> None:
        self.shards.close()
        self._context.destroy(linger=0)


def whole(layout: Layout, spec: ScanSpec) -> Layout:
    """The scout's layout, for all rows of the detector."""
    return replace(layout, rows=spec.rows)
