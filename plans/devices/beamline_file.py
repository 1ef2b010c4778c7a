"""``beamline.toml``: which class stands for which device, and what it is built with.

Each table is one object: ``class`` is its dotted name, ``"@NAME"`` is the object of another table, all other entries
are arguments of the class. Only ``[flat_positions]`` is a table of plain numbers: places beside the beam, in mm. The
file is trusted like a profile: it names classes of any installed package.
"""

import argparse
import importlib
import inspect
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from streamer.client import Link
from streamer.frames import BadInput

from .beamline import Beamline

SHIPPED = Path(__file__).parents[1] / "beamlines"
DAEMON = "streamer.endpoint"
NEEDED = ("rotation", "sample_x", "shutter", "detector", "streamer")
STAGES = ("top_x", "top_y", "sample_z", "axis_tilt", "magnification")
DEVICES = (*NEEDED, "changer", *STAGES, "ring_current", "front_end", "beam_limits")
PLACES = "flat_positions"


def open_beamline(where: str, overrides: Mapping[str, Any] = MappingProxyType({})) -> Beamline:
    """The devices that ``where`` names: a file, the name of a file of ours ("epics"), or a virtual beamline's endpoint.

    ``overrides`` stand in place of what the file says: {"streamer.endpoint": "tcp://…"}. Nothing is connected yet.
    Raises BadInput.
    """
    if "://" in where:
        links = {f"{table}.endpoint": where for table in ("virtual", "camera_link", "renewals", "machine")}
        where, overrides = "sim", {**links, **overrides}
    shipped = SHIPPED / f"{where}.toml"
    return read_beamline(shipped if shipped.is_file() else Path(where), overrides)


def default_beamline(environment: Mapping[str, str], directory: Path = Path()) -> Beamline:
    """The devices of ``STREAMER_BEAMLINE``, else of ``beamline.toml`` in the directory, else of the virtual beamline.

    ``STREAMER_DAEMON`` stands in place of what a file says. Raises BadInput.
    """
    file = directory / "beamline.toml"
    where = environment.get("STREAMER_BEAMLINE") or (str(file) if file.is_file() else "sim")
    daemon = environment.get("STREAMER_DAEMON")
    return open_beamline(where, {DAEMON: daemon} if daemon else {})


def add_options(parse: argparse.ArgumentParser) -> None:
    """The options of a command that needs the devices; for ``chosen_beamline``."""
    parse.add_argument(
        "--beamline",
        default=os.environ.get("STREAMER_BEAMLINE", "beamline.toml"),
        metavar="FILE",
        help="beamline.toml, or the control socket of a virtual beamline",
    )
    parse.add_argument("--daemon", default=os.environ.get("STREAMER_DAEMON"), metavar="ENDPOINT")


def chosen_beamline(args: argparse.Namespace) -> Beamline:
    """The devices that the options of ``add_options`` name. Raises BadInput."""
    return open_beamline(args.beamline, {DAEMON: args.daemon} if args.daemon else {})


def read_beamline(path: Path, overrides: Mapping[str, Any] = MappingProxyType({})) -> Beamline:
    """Build the devices of a file. Raises BadInput, one line that names the file, the table and the entry."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        ours = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise BadInput(f"{path}: {error.strerror}; give a file, or one of {ours}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: {error}") from None
    for entry, value in overrides.items():
        table, _, key = entry.partition(".")
        if not isinstance(tables.get(table), dict):
            raise BadInput(f"{path}: the table [{table}] is missing, {entry} cannot be set")
        tables[table][key] = value
    return _Builder(path, tables).beamline()


class _Builder:
    def __init__(self, path: Path, tables: Mapping[str, Any]) -> None:
        self._path, self._tables = path, tables
        self._built: dict[str, Any] = {}
        self._under_way: list[str] = []

    def beamline(self) -> Beamline:
        for name in NEEDED:
            if name not in self._tables:
                raise BadInput(f"{self._path}: the table [{name}] is missing; a beamline has {', '.join(NEEDED)}")
        for name in self._tables:
            if name != PLACES:
                self._object(name)
        devices = {name: self._built[name] for name in DEVICES if name in self._built}
        others = {name: value for name, value in self._built.items() if name not in DEVICES}
        links = tuple(value for value in others.values() if isinstance(value, Link))
        return Beamline(**devices, flat_positions=self._places(), links=links, others=others)

    def _places(self) -> dict[str, float]:
        places = self._tables.get(PLACES, {})
        if not isinstance(places, dict):
            raise BadInput(f"{self._path}: {PLACES} stands outside of a table; write it as [{PLACES}]")
        for name, place in places.items():
            if isinstance(place, bool) or not isinstance(place, (int, float)):
                raise BadInput(f"{self._path}: [{PLACES}] {name} is {place!r}, expected a number of mm")
        return {name: float(place) for name, place in places.items()}

    def _object(self, name: str) -> Any:
        if name not in self._built:
            if name in self._under_way:
                raise BadInput(f"{self._path}: {' → '.join([*self._under_way, name])} need each other")
            self._under_way.append(name)
            self._built[name] = self._build(name)
            self._under_way.pop()
        return self._built[name]

    def _build(self, name: str) -> Any:
        table = self._tables[name]
        if not isinstance(table, dict):
            raise BadInput(f"{self._path}: {name} stands outside of a table; write it below its [table]")
        kind = self._class(name, table)
        arguments = {key: self._value(name, key, value) for key, value in table.items() if key != "class"}
        parameters = inspect.signature(kind).parameters
        accepted = {key: value for key, value in parameters.items() if key != "self"}  # classes of Concert name it
        if "name" in accepted and "name" not in arguments:
            arguments["name"] = name
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
        for key in arguments:
            if key not in accepted and not takes_all:
                known = ", ".join(accepted)
                raise BadInput(f"{self._path}: [{name}] {key}: {table['class']} has no such argument; it has {known}")
        for key, parameter in accepted.items():
            variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            if parameter.default is parameter.empty and key not in arguments and not variadic:
                raise BadInput(f"{self._path}: [{name}] {key} is missing; {table['class']} needs it")
        try:
            return kind(**arguments)
        except BadInput as error:
            raise BadInput(f"{self._path}: [{name}] {error}") from error
        except (TypeError, ValueError) as error:
            raise BadInput(f"{self._path}: [{name}] {table['class']}: {' '.join(str(error).split())}") from error

    def _class(self, name: str, table: Mapping[str, Any]) -> Any:
        path = table.get("class")
        where = f"{self._path}: [{name}] class"
        if not isinstance(path, str) or "." not in path:
            raise BadInput(f"{where} is {path!r}; give the dotted name of a class, as ophyd.EpicsMotor")
        module, _, attribute = path.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), attribute, None)
        except ImportError as error:
            raise BadInput(f"{where} {path}: {error}") from error
        if not callable(found):
            raise BadInput(f"{where} {path}: {module} has no class {attribute}")
        return found

    def _value(self, name: str, key: str, value: Any) -> Any:
        if not (isinstance(value, str) and value.startswith("@")):
            return value
        if value[1:] not in self._tables:
            raise BadInput(f"{self._path}: [{name}] {key}: there is no table [{value[1:]}]")
        return self._object(value[1:])
