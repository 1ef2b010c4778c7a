"""Sheets: each fault is named with its row, its column and the way out, before anything moves."""

import pytest

from streamer.frames import BadInput
from streamer_plans.batch.sheet import SheetErrors, check_station, in_order, read_sheet
from streamer_plans.scan import TomoScan

CSV = """sample,slot,priority,projections,rate_hz,stop_early,energy_kev,plan
Ti 6Al 4V,3,,900,25,,30.5,
kůra,0,2,,,true,,interlaced

"a, b",7,-1,,,false,,golden
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="sheet.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(write, text, name="sheet.csv"):
    with pytest.raises(SheetErrors) as caught:
        read_sheet(write(text, name))
    assert "\n" not in str(caught.value)
    return caught.value.problems


def test_a_sheet_in_csv(write):
    first, second, third = read_sheet(write(CSV))
    assert first.scan == TomoScan("Ti 6Al 4V", 900, rate_hz=25.0, energy_kev=30.5, stop_spoiled=True)
    assert (first.slot, first.priority, first.plan) == (3, 0.0, "fly")
    assert (second.scan.stop_early, second.plan, third.name, third.scan.stop_early) == (
        True,
        "interlaced",
        "a, b",
        False,
    )
    assert [sample.slot for sample in in_order([first, second, third])] == [0, 3, 7]


def test_a_sheet_in_yaml_is_the_same(write):
    yaml = """
defaults: {rate_hz: 25}
samples:
  - {sample: Ti 6Al 4V, slot: 3, projections: 900, energy_kev: 30.5}
  - {sample: kůra, slot: 0, priority: 2, stop_early: true, plan: interlaced, rate_hz: 50}
  - {sample: "a, b", slot: 7, priority: -1, stop_early: false, plan: golden, rate_hz: 50}
"""
    assert read_sheet(write(yaml, "sheet.yaml")) == read_sheet(write(CSV))


def test_excels_mark_and_blanks_do_not_matter(write):
    (sample,) = read_sheet(write("\ufeffsample , slot\n wood , 4 \n,,\n"))
    assert (sample.name, sample.slot) == ("wood", 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sample,slot,rate_hz\nwood,0,fast\n", "row 2 (wood), column rate_hz: is 'fast'; use a number"),
        ("sample,slot,rate_hz\nwood,0,-5\n", "row 2 (wood), column rate_hz: is '-5'; use a number > 0.0"),
        ("sample,slot,rate_hz\nwood,0,nan\n", "row 2 (wood), column rate_hz: is 'nan'"),
        ("sample,slot\nwood,1.5\n", "row 2 (wood), column slot: is '1.5'; use a whole number"),
        ("sample,slot\nwood,-1\n", "row 2 (wood), column slot: is '-1'; use a whole number >= 0"),
        ("sample,slot\nwood,\n", "row 2 (wood), column slot: is empty; every row needs one"),
        ("sample,slot\n,3\n", "row 2, column sample: is empty; every row needs one"),
        ("sample,slot,projection\nwood,0,5\n", "column projection: is not known; did you mean projections?"),
        ("sample,slot,plan\nwood,0,spiral\n", "column plan: is 'spiral'; use fly, interlaced or golden"),
        ("sample,slot,range_deg\nwood,0,0\n", "column range_deg: is 0; use 180, 360 or another range"),
        ("sample,slot,range_deg,plan\nwood,0,90,interlaced\n", "column range_deg: is 90, and such turns"),
        ("sample,slot\nwood,0\nwood,1\n", "row 3 (wood), column sample: 'wood' is in row 2 too; give each sample its"),
        ("sample,slot\nwood,0\nsteel,0\n", "row 3 (steel), column slot: 0 is in row 2 too; give each sample its own"),
        ("sample,slot\nwood,0,9\n", "row 2: has 3 cells, the header 2; quote commas"),
        ("sample,slot,slot\nwood,0,9\n", "column slot: is there twice; remove one"),
        ("sample,slot\n", "has no sample; add a row for each"),
    ],
)
def test_faults_are_named_with_the_way_out(write, text, expected):
    assert any(expected in problem for problem in problems(write, text))


def test_all_faults_are_told_at_once(write):
    found = problems(write, "sample,slot,rate_hz\nwood,0,fast\nsteel,,5\nbone,1,0\n")
    assert [problem.split(" (")[0] for problem in found] == ["row 2", "row 3", "row 4"]


@pytest.mark.parametrize(
    ("text", "name"),
    [("samples: 3\n", "s.yaml"), ("- a\n", "s.yaml"), ("a: [\n", "s.yaml"), ("samples: []\nother: 1\n", "s.yml")],
)
def test_yaml_of_another_shape_is_refused(write, text, name):
    with pytest.raises(BadInput, match=r"s\.ya?ml"):
        read_sheet(write(text, name))


def test_a_sheet_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"none\.csv"):
        read_sheet(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="a sheet is a CSV file in UTF-8, or YAML"):
        read_sheet(tmp_path / "binary.csv")


def test_what_the_beamline_does_not_have_is_refused(write):
    samples = read_sheet(write("sample,slot,rate_hz\nwood,0,50\nsteel,1,2000\nbone,9,50\n"))
    with pytest.raises(SheetErrors) as caught:
        check_station(samples, ["nowhere", "magazine"], 1000.0)
    assert caught.value.problems == (
        "sample 'wood', column slot: slot 0 was found empty; fill it",
        "sample 'steel', column rate_hz: is 2000, use up to 1000",
        "sample 'bone', column slot: slot 9 does not exist; use 0 to 1",
    )
    check_station(samples[:1], ["magazine"], 1000.0)
