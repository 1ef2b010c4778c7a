"""What the scout and its helpers say to each other. They are of one version: the scout starts them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from streamer.core.planes.plane import Plane
from streamer.frames import ScanSpec
from streamer.pipeline.layout.layout import Layout


class Setup(Struct, frozen=True):
    """What a process is to be, the first thing that it hears. ``config`` is the daemon's, as JSON.

    ``host`` is the address to listen on. For the cutter, ``scout`` is the endpoint
    for the scout's frames. ``awaited``: a scan waits for this shard, which loads its kernels when it has taken it up.
    """

    config: str
    host: str
    threads: int = 1
    ring_mb: float = 1.0
    scout: str = ""
    awaited: bool = False


class Ready(Struct, frozen=True):
    """What a process says when it can work: its endpoints for calls and for frames.

    One that only has a job says with it that it is done: ``text`` how it went, and whether it has ``failed``.
    """

    calls: str
    frames: str = ""
    text: str = ""
    failed: bool = False
    pid: int = 0


class Geometry(Struct, frozen=True, tag=True):
    """How projections are laid out, for the whole detector, from now on; versions count up within a scan.

    ``known``: there is reason for the axis, so that a tomogram may grow about it. ``final``: it will not change.
    """

    version: int
    layout: Layout
    known: bool = False
    final: bool = False


class Arm(Struct, frozen=True, tag=True):
    """Hold the rows of a scan that ``spec`` announces, of a detector of ``of_rows``, and write them to ``path``.

    ``resume``: another shard has begun with that, and is gone. ``mask``: its pixels that are not to be used, packed.
    """

    spec: ScanSpec
    of_rows: int
    path: str
    started: str
    geometry: Geometry
    planes: tuple[Plane, ...]
    resume: bool = False
    mask: bytes = b""


class Watch(Struct, frozen=True, tag=True):
    """Show these planes, which are given in the shard's rows."""

    planes: tuple[Plane, ...]


class Gather(Struct, frozen=True, tag=True):
    """Give the pictures of the planes."""


class Finish(Struct, frozen=True, tag=True):
    """No more frames come: close the raw file. ``expected`` frames were issued; ``unusable`` are of no use."""

    status: str
    expected: int
    ended: str
    note: str = ""
    unusable: tuple[int, ...] = ()


class WriteRows(Struct, frozen=True, tag=True):
    """Write the rows of the tomogram, of which the shard's first one is row ``first``, into the file ``path``, whose
    voxels begin at the byte ``place``."""

    path: str
    place: int
    first: int


class Attach(Struct, frozen=True, tag=True):
    """To the cutter: take the frames of a scan, and give each of the shards at ``endpoints`` its rows of them.

    ``rows`` has the first row of each and the one after its last, then those for the scout.
    """

    scan_id: str
    endpoints: tuple[str, ...]
    rows: tuple[tuple[int, int], ...]


class Redirect(Struct, frozen=True, tag=True):
    """To the cutter: another process has the rows of this shard now."""

    shard: int
    endpoint: str


class Detach(Struct, frozen=True, tag=True):
    """To the cutter: take no more frames."""


class Ask(Struct, frozen=True, tag=True):
    """How is it?"""


class Stop(Struct, frozen=True, tag=True):
    """End, and close what is open."""


Request = Geometry | Arm | Watch | Gather | Finish | WriteRows | Attach | Redirect | Detach | Ask | Stop


class Refused(Struct, frozen=True, tag=True):
    """It cannot be done; ``busy``: not now."""

    text: str
    busy: bool = False


class Done(Struct, frozen=True, tag=True):
    """It is done."""


class Armed(Struct, frozen=True, tag=True):
    """The memory is there, the file is open. ``plan`` says how the tomogram will be made."""

    plan: dict[str, Any]


class Pictures(Struct, frozen=True, tag=True):
    """Planes of ``count`` projections, made by the geometry of ``version``; their float32 pixels come with it."""

    version: int
    count: int
    names: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]


class PartStatus(Struct, frozen=True, tag=True):
    """How a shard is: frames that it has received, written and folded in, and the geometry of its planes."""

    scan_id: str
    received: int
    written: int
    folded: int
    version: int


class Finished(Struct, frozen=True, tag=True):
    """How the raw file of a shard ended: frames in it, frames that are lost and why."""

    written: int
    lost: int
    error: str


class CutterStatus(Struct, frozen=True, tag=True):
    """Frames that the cutter took, those of other scans, and messages that each shard has not acknowledged yet."""

    frames: int
    stale: int
    waiting: tuple[int, ...]


Answer = Refused | Done | Armed | Pictures | PartStatus | Finished | CutterStatus
