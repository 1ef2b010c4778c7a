"""What users give a plan: names with blanks, NumPy's numbers, nonsense. Documents are strict JSON."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from streamer.frames import NAME, BadInput
from streamer_plans.devices.daemon import Measured
from streamer_plans.devices.requests import name_of, new_scan_id
from streamer_plans.tomo import TomoScan, tomo_fly, tomo_step


@pytest.mark.parametrize(
    ("sample", "name"),
    [
        ("Ti 6Al 4V", "Ti-6Al-4V"),
        ("kůra", "kura"),
        ("scan#1", "scan-1"),
        ("a/b", "a-b"),
        ("../x", "x"),
        ("-x", "x"),
        ("", "sample"),
        ("木", "sample"),
        ("x" * 600, "x" * 70),
        ("wood", "wood"),
    ],
)
def test_any_name_of_a_sample_gives_a_name_of_the_protocol(sample, name):
    assert name_of(sample) == name
    assert NAME.fullmatch(new_scan_id(name_of(sample)))


def test_numbers_of_numpy_become_plain_ones():
    scan = TomoScan("a", np.int64(60), start_deg=np.float32(0), rate_hz=np.float64(100), metadata={"energy": 25.0})
    for value, kind in ((scan.projections, int), (scan.start_deg, float), (scan.rate_hz, float)):
        assert type(value) is kind
    assert scan.metadata == {"energy": "25.0"}


@pytest.mark.parametrize("wrong", [{"projections": 2.5}, {"rate_hz": "fast"}, {"darks": None}])
def test_what_is_no_number_is_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(BadInput, match=rf"TomoScan: {name} is .*, expected a"):
        TomoScan("a", **wrong)


def test_what_was_not_measured_is_null():
    signal = Measured(name="center_px", value=None)
    assert signal.read()["center_px"]["value"] is None
    assert signal.describe()["center_px"]["dtype"] == "number"


@pytest.mark.parametrize("steps", [True, False])
def test_documents_are_strict_json_whatever_numbers_came_in(engine, documents, start_daemon, connect, scan, steps):
    beamline = connect(start_daemon({"silent": True}))
    scan = replace(
        scan, sample="Ti 6Al 4V", projections=np.int64(8), rate_hz=np.float64(100), verdict_timeout_s=np.float32(0.1)
    )
    plan = tomo_step(beamline, scan, np.linspace(0, 180, 8)) if steps else tomo_fly(beamline, scan)
    outcome = engine(plan).plan_result
    json.dumps(documents.all, allow_nan=False)
    (event,) = documents.events("verdict")
    assert event["data"]["streamer_center_px"] is None
    assert outcome.center_px is None
    assert documents.of("start")[0]["sample_name"] == "Ti 6Al 4V"
    assert outcome.scan_id.startswith("Ti-6Al-4V.")
    with h5py.File(outcome.report.raw_file) as file:
        assert file["/entry/instrument/detector/data"].shape[0] == 15
