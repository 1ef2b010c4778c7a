"""A plan does not notice that the daemon shares its scans out: virtual beamline, real shards, real RunEngine."""

import h5py
import numpy as np

from streamer.cli.rig.processes import start_beamline, start_daemon
from streamer.io.tomogram import read_tomogram
from streamer_plans.devices.beamline_file import open_beamline
from streamer_plans.tomo import TomoScan, tomo_fly

SIDE, PROJECTIONS, FLATS, DARKS = 64, 100, 8, 4


def test_a_fly_scan_over_shards_is_one_run_with_all_frames_and_a_verdict(engine, documents, tmp_path):
    options = ("--size", str(SIDE), "--rows", str(SIDE), "--samples", "1", "--mount-s", "0", "--seed", "3")
    station = start_beamline(tmp_path / "beamline", *options)
    daemon = beamline = None
    try:
        daemon = start_daemon(
            tmp_path / "daemon",
            source={"endpoint": station.wait_ready()["frames"]},
            writer={"directory": tmp_path / "data", "reserve_mb": 0},
            ring={"memory_mb": 64},
            compute={"shards": 2, "spares": 0},
        )
        beamline = open_beamline(
            station.endpoints["control"],
            {"streamer.endpoint": daemon.wait_ready()["control"], "detector.stall_s": 60.0},
        )
        scan = TomoScan("wood", projections=PROJECTIONS, flats=FLATS, darks=DARKS, rate_hz=100.0, x_out_mm=6.0)
        outcome = engine(tomo_fly(beamline, scan)).plan_result
    finally:
        if beamline is not None:
            beamline.close()
        if daemon is not None:
            daemon.stop(timeout_s=60.0)
        station.stop()
    frames = PROJECTIONS + FLATS + DARKS
    (stop,) = documents.of("stop")
    assert stop["exit_status"] == "success"
    assert outcome.verdict.final
    assert documents.announced("detector") == frames
    resources = {resource["data_key"]: resource for resource in documents.of("stream_resource")}
    path = resources["detector"]["uri"].removeprefix("file://localhost")
    with h5py.File(path) as file:
        images = file[resources["detector"]["parameters"]["dataset"]]
        assert images.shape == (frames, SIDE, SIDE)
        assert images.is_virtual
        assert images[-1].min() > 0
    (tomogram,) = (tmp_path / "data").rglob("*.tomogram.h5")
    volume = read_tomogram(tomogram)
    assert volume.status == "complete"
    assert volume.data.shape == (SIDE, SIDE, SIDE)
    assert all(np.ptp(row) > 0 for row in volume.data)
