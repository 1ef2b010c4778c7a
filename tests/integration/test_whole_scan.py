"""Whole scans over real sockets, with the virtual beamline and the daemon as processes."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from pathlib import Path

import h5py
import numpy as np
import pytest
import zmq
from algotom.rec.reconstruction import fbp_reconstruction
from msgspec import convert
from nxtomo.application.nxtomo import NXtomo
from station import Station, eventually
from tomoscan.esrf.scan.nxtomoscan import NXtomoScan
from tomoscan.validator import is_valid_for_reconstruction

from streamer.cli import main
from streamer.cli.demo.results import rmse_in_circle
from streamer.flow import wire
from streamer.flow.wire.beamline import Faults, Finish
from streamer.flow.wire.daemon import Abort, Arm, FrameCounts, Report
from streamer.frames import FrameKind, FrameMeta
from streamer.io.source_file import ScanFile
from streamer.io.tomogram import read_tomogram
from streamer.sim.truth import truth_volume


@pytest.fixture(scope="module")
def clean(shared_station: Station) -> Report:
    return shared_station.scan("clean", projections=180)


def error_of(station: Station, report: Report) -> float:
    volume = read_tomogram(Path(report.tomogram_file)).data
    return rmse_in_circle(volume, truth_volume(station.truth(report.scan_id)))


def test_clean_scan_is_complete_and_enough(shared_station: Station, clean: Report) -> None:
    assert clean.state == "complete"
    assert clean.verdict == "ENOUGH"
    assert clean.frames == FrameCounts(expected=192, received=192)
    assert clean.written == 192
    truth = shared_station.truth("clean")["geometry"]["center_px"]
    assert abs(clean.center_px - truth) <= 0.25
    assert 0 < clean.first_preview_projections < 0.25 * 180
    assert clean.latency_ms.n == 180


def test_raw_file_is_accepted_by_the_tools_of_the_field(clean: Report) -> None:
    nxtomo = NXtomo().load(clean.raw_file, "entry")
    assert len(nxtomo.instrument.detector.image_key_control) == len(nxtomo.sample.rotation_angle) == 192
    assert is_valid_for_reconstruction(NXtomoScan(clean.raw_file, "entry"), need_phase_retrieval=False)


def test_tomogram_is_not_worse_than_an_independent_reconstruction(shared_station: Station, clean: Report) -> None:
    truth = shared_station.truth("clean")
    with ScanFile.open(Path(clean.raw_file)) as scan:
        dark = np.concatenate(list(scan.darks())).mean(axis=0)
        flat = np.concatenate(list(scan.flats())).mean(axis=0)
        raw = scan.rows(0, 48).astype(np.float64)
        angles = np.deg2rad(scan.angles_deg)
    attenuation = -np.log(np.maximum((raw - dark) / (flat - dark), 1e-6)).astype(np.float32)
    per_cm = 1.0 / (100 * truth["geometry"]["pixel_size_m"])
    theirs = np.stack(
        [
            fbp_reconstruction(
                attenuation[:, row],
                clean.center_px,
                angles=angles,
                filter_name=None,
                ratio=None,
                apply_log=False,
                gpu=False,
            )
            for row in range(48)
        ]
    )
    theirs = theirs[:, ::-1]  # its y axis points up
    rival = rmse_in_circle((theirs * per_cm).astype(np.float32), truth_volume(truth))
    assert error_of(shared_station, clean) <= 1.05 * rival


def test_the_same_numbers_come_from_the_file(clean: Report, tmp_path: Path) -> None:
    out = tmp_path / "again.h5"
    assert main(["reconstruct", clean.raw_file, "-o", str(out)]) == 0
    live = read_tomogram(Path(clean.tomogram_file)).data
    assert np.abs(read_tomogram(out).data - live).max() <= 1e-3 * np.abs(live).max()


def test_less_memory_gives_the_same_numbers(clean: Report, tmp_path: Path) -> None:
    out = tmp_path / "blocks.h5"
    assert main(["reconstruct", clean.raw_file, "-o", str(out), "--memory-mb", "1"]) == 0
    live = read_tomogram(Path(clean.tomogram_file)).data
    assert np.abs(read_tomogram(out).data - live).max() <= 1e-3 * np.abs(live).max()


def test_faults_on_the_wire_are_in_the_ledger_and_hardly_in_the_tomogram(
    shared_station: Station, clean: Report
) -> None:
    faults = convert({"drop": [60], "duplicate": [80, 81], "reorder": [100], "corrupt": [120], "late": [150]}, Faults)
    report = shared_station.scan("faulty", faults=faults, projections=180)
    assert report.frames == FrameCounts(
        expected=192, received=190, missing=1, missing_projections=1, duplicate=2, corrupt=1
    ), "the frame that came after the end message was waited for"
    assert report.state == "incomplete"
    assert error_of(shared_station, report) <= 1.02 * error_of(shared_station, clean)
    with h5py.File(report.raw_file) as file:
        assert file["entry/streamer/missing_frames"][()].tolist() == [60]
        assert file["entry/streamer/corrupt_frames"][()].tolist() == [120]
        assert len(file["entry/instrument/detector/data"]) == 190


def test_an_empty_holder_is_unknown_with_a_reason(shared_station: Station) -> None:
    report = shared_station.scan("empty", slot=3)
    assert report.verdict == "EMPTY"
    assert report.reasons[0].code == "empty"


def test_a_moving_sample_is_to_be_retaken(shared_station: Station) -> None:
    report = shared_station.scan("moving", slot=2)
    assert report.verdict == "RETAKE"
    assert report.reasons[0].code == "motion"


def test_no_flats_is_unknown_with_a_reason(shared_station: Station) -> None:
    report = shared_station.scan("noflats", flats=0)
    assert report.verdict == "UNKNOWN"
    assert report.reasons[0].code == "no_flats"
    assert report.tomogram_file is not None


@pytest.mark.parametrize(("rows", "columns"), [(1, 64), (47, 63)])
def test_odd_sizes(tmp_path: Path, rows: int, columns: int) -> None:
    station = Station(tmp_path, columns, rows)
    try:
        report = station.scan("odd")
        assert report.state == "complete"
        assert read_tomogram(Path(report.tomogram_file)).data.shape == (rows, columns, columns)
    finally:
        station.close()


def test_an_aborted_scan_is_closed_with_its_frames(shared_station: Station) -> None:
    spec = shared_station.spec("aborted")
    shared_station.begin(spec)
    shared_station.ask(Abort("aborted", "the test wants it"))
    report = shared_station.final("aborted")
    shared_station.do(Finish("aborted", "aborted"))
    assert report.state == "aborted"
    assert report.written == report.frames.received == 12
    with h5py.File(report.raw_file) as file:
        assert file["entry/streamer/status"].asstr()[()] == "aborted"
        assert "the test wants it" in file["entry/streamer/note"].asstr()[()]


def test_garbage_on_the_frame_socket_is_counted_and_survived(tmp_path: Path) -> None:
    station = Station(tmp_path, source={"bind": True, "endpoint": "tcp://127.0.0.1:*"})
    try:
        spec = station.spec("s", projections=2, flats=0, darks=0)
        station.ask(Arm(spec))
        with station.context.socket(zmq.PUSH) as push:
            push.connect(station.daemon["source"])
            good = np.full((48, 64), 100, "<u2")
            meta = FrameMeta("s", 0, FrameKind.PROJECTION, 0.0)
            header, payload = wire.encode_frame(meta, good)
            for parts in (
                [b"\xff" * 100],
                [b""],
                [b"x" * 5000, b"y"],
                [header],
                [header, bytes(payload)[:-7]],
                [header, bytes(payload) + b"more"],
                [header, payload, b"third part"],
                [header, bytes(reversed(bytes(payload)))],
                list(wire.encode_frame(meta, good.astype("<f4"))),
                list(wire.encode_frame(meta, good[:-1])),
                list(wire.encode_frame(FrameMeta("other", 0, FrameKind.PROJECTION, 0.0), good)),
                list(wire.encode_frame(FrameMeta("s", 7, FrameKind.PROJECTION, 0.0), good)),
                [header, payload],
            ):
                push.send_multipart(parts)
            eventually(lambda: station.report("s").frames.received == 1, "the good frame is received")
        page = urllib.request.urlopen(station.daemon["metrics"], timeout=100).read().decode()
        rejected = sum(
            float(line.rsplit(" ", 1)[1])
            for line in page.splitlines()
            if line.startswith("streamer_frames_rejected_total")
        )
        assert rejected == 12
        station.ask(Abort("s", "enough"))
        assert station.final("s").written == 1
    finally:
        station.close()


def test_metrics_are_well_formed_and_tell_of_the_scan(shared_station: Station, clean: Report) -> None:
    page = urllib.request.urlopen(shared_station.daemon["metrics"], timeout=100).read()
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    text = page.decode()
    assert 'streamer_frames_received_total{kind="projection"} 0' not in text
    assert 'streamer_scans_total{result="complete"}' in text
    kept = re.search(r"^streamer_recon_memory_kept_bytes (\S+)$", text, re.MULTILINE)
    assert kept is not None
    assert float(kept.group(1)) > 0, "the next scan finds its memory"
