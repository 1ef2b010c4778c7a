"""A scan with an IOC of areaDetector and ADZMQ: ``python -m benchmarks.detectors.area_detector PROGRAM SUPPORT``.

PROGRAM is an IOC with ADSimDetector, ADZMQ and the busy record (``simDetectorSupport.dbd``, ``ADZMQSupport.dbd``,
``busySupport.dbd``); SUPPORT is the folder in which asyn, ADCore and ADSimDetector were built from their sources. The
images are ramps that grow by one from image to image, so that each is known. ``streamer check`` listens first; then a
RunEngine takes a scan with ``AreaDetector`` over Channel Access, whose kinds come from the attribute FrameType.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.record import record
from streamer.cli import main as streamer
from streamer.cli.rig.processes import local_channel_access, start_daemon
from streamer.client import Link, final_report

COLUMNS, ROWS = 256, 128
DARKS, FLATS, PROJECTIONS, RATE_HZ = 10, 20, 720, 200.0
PORT = 19993
ATTRIBUTES = '<Attributes><Attribute name="FrameType" type="PARAM" source="FRAME_TYPE" datatype="INT"/></Attributes>\n'
COMMANDS = """
dbLoadDatabase("{database}")
{name}_registerRecordDeviceDriver(pdbbase)
epicsEnvSet("EPICS_DB_INCLUDE_PATH", "{support}/ADCore/db:{support}/asyn/db")
simDetectorConfig("SIM1", {columns}, {rows}, 3, 0, 0)
dbLoadRecords("{support}/ADSimDetector/db/simDetector.template", "P=13SIM1:,R=cam1:,PORT=SIM1,ADDR=0,TIMEOUT=1")
NDZMQConfigure("ZMQ1", "tcp://127.0.0.1:{port} PUSH BIND", 200, 0, "SIM1", 0, -1, -1)
dbLoadRecords("{support}/ADCore/db/NDPluginBase.template", "P=13SIM1:,R=ZMQ1:,PORT=ZMQ1,ADDR=0,TIMEOUT=1,{fed}")
iocInit()
dbpf("13SIM1:cam1:NDAttributesFile", "{attributes}")
"""


@contextmanager
def ioc(program: Path, support: Path, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    attributes, commands = folder / "attributes.xml", folder / "st.cmd"
    attributes.write_text(ATTRIBUTES, encoding="utf-8")
    database = program.parents[2] / "dbd" / f"{program.name}.dbd"
    facts = {
        "rows": ROWS,
        "columns": COLUMNS,
        "port": PORT,
        "support": support,
        "attributes": attributes,
        "fed": "NDARRAY_PORT=SIM1",
    }
    text = COMMANDS.format(database=database, name=program.name, **facts)
    commands.write_text(text, encoding="utf-8")
    with (folder / "ioc.log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), str(commands)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
        )
        try:
            yield
        finally:
            process.kill()
            process.communicate()


def session(environment: dict[str, str], *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.detectors.area_detector_session", *map(str, words)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **environment}, **pipes)


def looked(environment: dict[str, str]) -> list[str]:
    """What ``streamer check`` says of the camera."""
    told = io.StringIO()
    with session(environment, "live") as process, contextlib.redirect_stdout(told):
        assert process.stdout is not None
        assert process.stdout.readline() == "acquires\n"
        streamer(["check", f"tcp://127.0.0.1:{PORT}", "--seconds", "30"])
        process.communicate("\n")
    return told.getvalue().splitlines()


def scan(environment: dict[str, str], folder: Path) -> dict[str, Any]:
    daemon = start_daemon(
        folder,
        source={
            "dialect": "adzmq",
            "socket": "pull",
            "attach": "always",
            "endpoint": f"tcp://127.0.0.1:{PORT}",
        },
        kinds={"attribute": "FrameType", "projection": "0", "dark": "1", "flat": "2"},
        writer={"directory": folder, "reserve_mb": 0},
    )
    try:
        control = daemon.wait_ready()["control"]
        told, _ = session(environment, "scan", control, DARKS, FLATS, PROJECTIONS, RATE_HZ).communicate()
        with Link(control, "the daemon") as link:
            report = final_report(link, "scan")
    finally:
        daemon.stop()
    with h5py.File(report.raw_file) as raw:
        stored = raw["entry/instrument/detector/data"][()]
        keys = raw["entry/instrument/detector/image_key"][()].tolist()
    ramp = (np.add.outer(np.arange(ROWS), np.arange(COLUMNS)) + int(stored[0, 0, 0])).astype("<u2")
    numbers = np.arange(len(stored), dtype="<u2")[:, None, None]
    return {
        "state": report.state.value,
        "frames": len(stored),
        "missing": report.frames.missing,
        "identical to the ramps": bool(stored.shape[0] > 0 and (stored == ramp + numbers).all()),
        "kinds as taken": keys == [2] * DARKS + [1] * FLATS + [0] * PROJECTIONS,
        **json.loads(told.splitlines()[-1]),
    }


def main(program: Path, support: Path) -> None:
    environment = local_channel_access()
    with tempfile.TemporaryDirectory() as made, ioc(program, support, Path(made), environment):
        result = {"size": [ROWS, COLUMNS], "rate_hz": RATE_HZ, "check": looked(environment)}
        result |= scan(environment, Path(made) / "daemon")
    record("area_detector", result)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute())
