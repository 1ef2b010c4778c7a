"""The daemon's configuration: one frozen value from a TOML file and the environment.

Every key has a default, an unknown key is an error that names its place. ``STREAMER_SECTION__KEY`` in the environment
overrides the file, for example ``STREAMER_METRICS__PORT=9109``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from streamer.frames import BadInput

ENVIRONMENT_PREFIX = "STREAMER_"


def _endpoint(value: str) -> str:
    if not value.startswith(("tcp://", "ipc://")):
        raise ValueError("must start with tcp:// or ipc://")
    return value


Endpoint = Annotated[str, AfterValidator(_endpoint)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(_Section):
    """Where frames come from."""

    endpoint: Endpoint = "tcp://127.0.0.1:5580"
    bind: bool = False  # True when the detector connects to us
    high_water_mark: int = Field(8, ge=1, le=1000)
    max_frame_mb: float = Field(256.0, gt=0)


class Control(_Section):
    """Sockets of the daemon's clients. Port ``*`` takes a free one."""

    endpoint: Endpoint = "tcp://127.0.0.1:5581"
    events: Endpoint = "tcp://127.0.0.1:5582"


class Preview(_Section):
    endpoint: Endpoint = "tcp://127.0.0.1:5583"
    max_rate_hz: float = Field(10.0, gt=0, le=60)
    max_px: int = Field(1024, ge=64, le=8192)


class Metrics(_Section):
    host: str = "127.0.0.1"
    port: int = Field(9108, ge=0, le=65535)  # 0 takes a free one
    enabled: bool = True


class RingMemory(_Section):
    memory_mb: float = Field(512.0, ge=1)
    max_slots: int = Field(512, ge=4, le=65536)


class Writer(_Section):
    """Raw files and tomograms are written below ``directory``."""

    directory: Path = Path("streamer-data")
    flush_s: float = Field(0.2, gt=0, le=60)
    reserve_mb: float = Field(512.0, ge=0)  # free space that a scan must leave
    tomogram: bool = True


class Scan(_Section):
    stall_timeout_s: float = Field(30.0, gt=0)  # no frame for so long: the scan is closed as incomplete
    end_timeout_s: float = Field(2.0, gt=0)  # all frames came, but no end message


class Reconstruction(_Section):
    backend: Literal["auto", "numba", "cupy"] = "auto"
    threads: int | None = Field(None, ge=1, le=1024)
    window: Literal["ramp", "linear", "shepp-logan", "cosine", "hamming", "hann"] = "linear"
    memory_mb: float = Field(4096.0, ge=16)  # projections and Fourier volume; else the raw file is read again
    planes: Literal["fast", "quality"] = "fast"
    sliding_deg: float | None = Field(None, gt=0)  # planes show only the angles travelled last
    geometry: Literal["auto", "plain", "half"] = "auto"
    tilt: Literal["auto", "off"] | float = "auto"  # of the axis on the detector, degrees


class Preparation(_Section):
    """What is done to projections beside dark and flat; see ``flow.preparation.PreparationOptions``."""

    zingers: float = Field(0.0, ge=0)
    defects: bool = True
    flat_drift: Literal["off", "margins", "monitor", "eigen"] = "off"
    stripes: Literal["off", "live", "full"] = "off"
    delta_beta: float | None = Field(None, ge=0)


class Thresholds(_Section):
    """Overrides of the limits behind the verdict; the names and defaults are those of ``core.quality.Limits``."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class Config(_Section):
    source: Source = Source()
    control: Control = Control()
    preview: Preview = Preview()
    metrics: Metrics = Metrics()
    ring: RingMemory = RingMemory()
    writer: Writer = Writer()
    scan: Scan = Scan()
    reconstruction: Reconstruction = Reconstruction()
    preparation: Preparation = Preparation()
    limits: Thresholds = Thresholds()


def load(path: Path | None, environment: Mapping[str, str]) -> Config:
    """Configuration from a TOML file (None: defaults) overridden by the environment.

    Raises BadInput with one line that names the file, the key and the way out.
    """
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: not valid TOML: {error}") from error
    _override(data, environment)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise BadInput(f"{path or 'environment'}: {_first_problem(error)}") from error


def _override(data: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
            data.setdefault(section, {})[key] = value


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        section: Any = Config
        for part in problem["loc"][:-1]:
            section = type(section.model_fields[part].get_default())
        return f"unknown key {place!r}; known here: {', '.join(section.model_fields)}"
    return f"{place}: {problem['msg']} (got {problem['input']!r})"
