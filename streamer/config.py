"""The daemon's configuration: one frozen value, read from a TOML file and the environment.

Every option has a default. An unknown option is an error that names its place. ``STREAMER_SECTION__KEY`` in the
environment overrides the file, for example ``STREAMER_METRICS__PORT=9109``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from streamer.flow.dialects import TRAITS, dectris_v2
from streamer.flow.folder_template import RULE, FolderTemplate
from streamer.flow.kinds import Kinds
from streamer.flow.patience import PatienceLimits
from streamer.flow.positions.positions import Positions
from streamer.flow.wire.acknowledged import Transport
from streamer.frames import BadInput
from streamer.options import Options, toml_lines
from streamer.pipeline.settings import Settings

ENVIRONMENT_PREFIX = "STREAMER_"
NATIVE = "native"
PVA = "pva"

HEADER = """\
# Configuration of `streamer run`, as `streamer run --print-config` writes it; options that are commented out are unset.
# `streamer check FILE` says what is wrong with a configuration. STREAMER_SECTION__KEY in the environment overrides an
# option, for example STREAMER_METRICS__PORT=9200.
"""


def _endpoint(value: str) -> str:
    if not _is_endpoint(value):
        raise ValueError("no endpoint")
    return value


def _is_endpoint(value: str) -> bool:
    scheme, _, place = value.partition("://")
    host, _, port = place.rpartition(":")
    number = port == "*" or (port.isdecimal() and int(port) < 2**16)
    return bool(place if scheme == "ipc" else scheme == "tcp" and host and number)


def _source_endpoint(value: str) -> str:
    if not (_is_endpoint(value) or (value.startswith(f"{PVA}://") and len(value) > len(f"{PVA}://"))):
        raise ValueError("no endpoint")
    return value


Endpoint = Annotated[
    str,
    AfterValidator(_endpoint),
    Field(json_schema_extra={"rule": "an endpoint: tcp://HOST:PORT or ipc://PATH"}),
]
"""A ZeroMQ endpoint. Port ``*`` takes a free one."""

SourceEndpoint = Annotated[
    str,
    AfterValidator(_source_endpoint),
    Field(json_schema_extra={"rule": "an endpoint: tcp://HOST:PORT, ipc://PATH or pva://NAME"}),
]
"""A ZeroMQ endpoint, or the name of a PV."""


def _folder(value: str) -> str:
    FolderTemplate(value)
    return value


FolderName = Annotated[str, AfterValidator(_folder), Field(min_length=1, json_schema_extra={"rule": RULE})]
"""Folders one in the other, with placeholders."""

FileMode = Annotated[
    str, Field(pattern="^[0-7]{3}$", json_schema_extra={"rule": "three octal digits: of owner, group and others"})
]
"""Permissions as ``chmod`` takes them."""


def _dialect(value: str) -> str:
    if value not in SOURCE_DIALECTS:
        raise ValueError("no dialect")
    return value


SOURCE_DIALECTS = (NATIVE, *TRAITS)
"""What a detector may speak."""

DialectName = Annotated[
    str, AfterValidator(_dialect), Field(json_schema_extra={"rule": f"one of {', '.join(SOURCE_DIALECTS)}"})
]


class Source(Options):
    """Where frames come from."""

    endpoint: SourceEndpoint = "tcp://127.0.0.1:5580"
    """socket of the frames, which the detector binds; pva://NAME for the PV of the dialect pva"""
    dialect: DialectName = NATIVE
    """what the detector speaks (see docs/detectors.md); all but native need their scans armed by a client, and the
    section kinds"""
    socket: Literal["pull", "sub", "req"] | None = Field(None, examples=["sub"])
    """the daemon's socket for a dialect that allows several: pull, sub or req; unset: the dialect's usual one"""
    transport: Transport = "push"
    """how frames come: push (PUSH to PULL, as many detectors can; what waits in the sockets is lost when the daemon is
    killed) or acknowledged (the producer keeps each frame until it is safe on the disk)"""
    bind: bool = False
    """the daemon binds the socket, and the detector connects to it"""
    channel: str | None = Field(None, examples=["threshold_2"])
    """threshold whose images are taken (dectris-v2); unset: the first one"""
    attach: Literal["armed", "always"] = "armed"
    """when a push socket that connects is attached: armed (from arm to the end of the scan, so that an idle daemon
    takes no frame that is for another one) or always (for a source that announces its scans itself)"""
    high_water_mark: int = Field(8, ge=1, le=1000)
    """frames that may wait in the socket before the detector has to wait"""
    max_frame_mb: float = Field(256.0, gt=0)
    """largest frame that is accepted, in MiB"""
    defects: str | None = Field(None, examples=["detector-mask.npy"])
    """map of pixels that are never used, not 0 in a .npy, .tif or .png file or FILE.h5::/dataset; unset: those that the
    detector names, and those that it always fills with its largest number"""


class Control(Options):
    """Sockets of the daemon's clients; port * takes a free one."""

    endpoint: Endpoint = "tcp://127.0.0.1:5581"
    """socket for requests"""
    events: Endpoint = "tcp://127.0.0.1:5582"
    """socket on which events are published"""


class Preview(Options):
    """Pictures of the planes for viewers."""

    endpoint: Endpoint = "tcp://127.0.0.1:5583"
    """socket on which the planes are published"""
    max_rate_hz: float = Field(10.0, gt=0, le=60)
    """pictures of each plane per second, at most"""
    max_px: int = Field(1024, ge=64, le=8192)
    """rows and columns of a picture, at most; larger planes are binned"""


class Metrics(Options):
    """Prometheus metrics over HTTP."""

    enabled: bool = True
    """serve metrics"""
    host: str = "127.0.0.1"
    """address to listen on"""
    port: int = Field(9108, ge=0, le=65535)
    """port to listen on; 0 takes a free one"""


class RingMemory(Options):
    """The frame buffer in shared memory."""

    memory_mb: float = Field(512.0, ge=1)
    """size in MiB"""
    max_slots: int = Field(512, ge=4, le=65536)
    """frames that it holds, at most"""


class Writer(Options):
    """Raw files and tomograms."""

    directory: Path = Path("streamer-data")
    """folder of the files"""
    folder: FolderName | None = Field(None, examples=["{year}/{proposal}/{sample}"])
    """folder of a scan below directory, made when it is armed: names with {year}, {month}, {day} (local), {sample},
    {scan_id} and {KEY} of the scan's metadata, each a plain name; unset: directory itself"""
    mode: FileMode | None = Field(None, examples=["640"])
    """permissions of new files; unset: those that the umask leaves"""
    group: str | None = Field(None, examples=["beamline"])
    """group of new files, which the folder passes on to them; with placeholders as in folder, one group for each
    proposal, say; unset: that of the daemon or of the folder"""
    flush_s: float = Field(0.2, gt=0, le=60)
    """seconds between flushes of the raw file; what is flushed survives a crash"""
    reserve_mb: float = Field(512.0, ge=0)
    """free space in MiB that a scan must leave on the disk; a scan that would leave less is refused"""
    fsync_s: float | None = Field(None, gt=0, le=3600, examples=[5.0])
    """seconds between forced writes to the disk, which survive a power cut; unset: the operating system decides"""
    hang_s: float = Field(5.0, gt=0, le=600)
    """seconds without progress after which the raw writer is replaced while frames wait"""
    patience_s: float = Field(60.0, gt=0, le=86400)
    """seconds for which the detector is held back while no raw file can be written; frames are lost after that, unless
    the source keeps them (acknowledged transport): it is held back until the scan ends"""
    direct: bool = True
    """write frames of whole pages (4096 bytes) past the page cache where the file system allows it: a fraction of the
    processor's time, and no memory; for a file system on which that is slow, false"""
    verify: bool = True
    """compare every frame in the raw file with its checksum at the end of the scan"""
    keep_compressed: bool = False
    """store frames that a detector sends compressed (bitshuffle + LZ4) as they came; fewer then fit the ring"""
    tomogram: bool = True
    """write the tomogram of each scan"""


class Scan(Options):
    """When a scan is over."""

    armed_timeout_s: float = Field(120.0, gt=0)
    """seconds after which an armed scan is given up of which no frame comes and for which no client asks"""
    stall_timeout_s: float = Field(30.0, gt=0)
    """seconds without a frame after which a scan is closed as incomplete"""
    end_timeout_s: float = Field(2.0, gt=0)
    """seconds to wait for the end message once all frames have come, and for frames that lack when it comes"""

    @property
    def patience(self) -> PatienceLimits:
        return PatienceLimits(self.armed_timeout_s, self.stall_timeout_s, self.end_timeout_s)


class Security(Options):
    """Who may connect. Without keys, everybody who reaches a socket."""

    keys: Path | None = Field(None, examples=["keys"])
    """folder that `streamer keys` made; only its clients may then use control, events and previews, encrypted"""
    frames: bool = False
    """the source of the frames needs a key as well; encryption limits a connection to some 400 MB/s"""
    insecure: bool = False
    """sockets without keys may be reached from other machines"""


class Compute(Options):
    """Processes that share a scan out among them, each with some rows of the detector (see docs/how-to/shards.md)."""

    shards: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = 1
    """processes that hold rows; 1: the daemon holds all; auto: one for each GPU of this machine"""
    engine: Literal["processes", "ray"] = "processes"
    """what starts them: processes of this machine; ray (extra cluster): Ray, on several"""
    address: str = Field("local", min_length=1)
    """of Ray. local: one of the daemon's own; auto or HOST:PORT: one that runs, with RAY_AUTH_MODE=token. Shards are
    on other machines than this one only with security.insecure, as their frames go there without keys"""
    spares: int = Field(1, ge=0, le=64)
    """further processes, ready to take the rows of one that dies"""


class Config(Settings):
    """Options of the daemon: those of the pipeline, and those of its sockets, files and buffers."""

    source: Source = Source()
    kinds: Kinds = Kinds()
    positions: Positions = Positions()
    control: Control = Control()
    preview: Preview = Preview()
    metrics: Metrics = Metrics()
    ring: RingMemory = RingMemory()
    writer: Writer = Writer()
    scan: Scan = Scan()
    security: Security = Security()
    compute: Compute = Compute()


def load(path: Path | None, environment: Mapping[str, str]) -> Config:
    """Read the configuration from a TOML file (None: the defaults); the environment overrides it.

    Raises BadInput with one line that names the file, the option and what may be given.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: not valid TOML: {error}") from error
    for name, value in environment.items():
        section, separator, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if name.startswith(ENVIRONMENT_PREFIX) and separator:
            options = data.setdefault(section, {})
            if isinstance(options, dict):
                options[key] = value
    try:
        return Config(**data)
    except BadInput as error:
        raise BadInput(f"{path or 'environment'}: {error}") from error


def check_source(source: Source) -> None:
    """Raises BadInput when the options of the source contradict each other."""
    is_pv = source.endpoint.startswith(f"{PVA}://")
    if is_pv is not (source.dialect == PVA) or (is_pv and source.bind):
        raise BadInput("source.endpoint: pva://NAME of a PV, not bound, for the dialect pva, and for no other")
    if source.channel is not None and source.dialect != dectris_v2.TRAITS.name:
        raise BadInput(f"source.channel: only {dectris_v2.TRAITS.name} has several; leave it out")
    if source.dialect == NATIVE:
        if source.socket is not None:
            raise BadInput("source.socket: only for another source.dialect than native; leave it out")
        return
    traits = TRAITS[source.dialect]
    if source.socket not in (None, *traits.sockets):
        raise BadInput(
            f"source.socket: the dialect {traits.name} has {' or '.join(traits.sockets)}, not {source.socket}"
        )
    if source.transport != "push":
        raise BadInput(f"source.transport: {source.transport} is for the native dialect; set push")


def unguarded(config: Config) -> dict[str, str]:
    """The addresses without keys that other machines may reach, by option."""
    control, security = config.control, config.security
    bound: dict[str, str] = {}
    if security.keys is None:
        bound |= {
            "control.endpoint": control.endpoint,
            "control.events": control.events,
            "preview.endpoint": config.preview.endpoint,
        }
    if config.source.bind and (security.keys is None or not security.frames):
        bound["source.endpoint"] = config.source.endpoint
    if config.metrics.enabled:
        bound["metrics.host"] = f"tcp://{config.metrics.host}:{config.metrics.port}"
    return {name: endpoint for name, endpoint in bound.items() if not _of_this_machine(endpoint)}


def check_security(config: Config) -> None:
    """Raises BadInput when the configuration opens a socket without keys to other machines, and does not say so."""
    security = config.security
    if security.frames and security.keys is None:
        raise BadInput("security.frames: the source cannot need a key without security.keys")
    if (found := unguarded(config)) and not security.insecure:
        places = ", ".join(f"{name} {endpoint.removeprefix('tcp://')}" for name, endpoint in found.items())
        way_out = "listen on 127.0.0.1, set security.keys (see `streamer keys`)"
        if {"source.endpoint", "metrics.host"} & set(found):
            way_out += " and, for frames, security.frames"
        raise BadInput(f"{places}: open to other machines without keys; {way_out}, or say security.insecure = true")


def _of_this_machine(endpoint: str) -> bool:
    scheme, _, place = endpoint.partition("://")
    host = place.rpartition(":")[0].strip("[]")
    if scheme == "ipc" or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name of a host or an interface, or *
        return False


def render(config: Config) -> str:
    """Write the configuration as TOML that ``load`` reads; every option has its description, rule and default."""
    sockets_first = sorted(Config.model_fields, key=lambda name: name in Settings.model_fields)
    sections = ["\n".join(toml_lines(name, getattr(config, name))) for name in sockets_first]
    return "\n\n".join((HEADER.rstrip(), *sections)) + "\n"
