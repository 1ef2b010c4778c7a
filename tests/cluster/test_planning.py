"""What is said of a scan before it is armed, and what a configuration may not ask of shards."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamer.cli import main
from streamer.cli.cluster.bandwidth import Links, Machine
from streamer.cluster.planning import advice, plan
from streamer.cluster.scout import shards_of, shared_out
from streamer.config import Config
from streamer.frames import BadInput, ScanSpec

GIB = 2**30


def spec(side: int, projections: int) -> ScanSpec:
    return ScanSpec("scan", "sample", side, side, projections)


def test_what_fits_is_said_with_its_numbers() -> None:
    found = advice(spec(1024, 1600), 20, 2, 8 * GIB, 1, measured=2e9)
    assert found.fits
    assert "0.04 GB/s, 0.02 GB/s to each of 2 shards" in found.said[0]
    assert found.said[-1].startswith("each shard has the memory")


def test_what_does_not_fit_comes_with_the_way_out() -> None:
    found = advice(spec(8192, 12868), 100, 4, 128 * GIB, 1, measured=2e9)
    assert not found.fits
    text = "\n".join(found.said)
    assert "13.42 GB/s" in text
    assert "too fast for one cutter: it passes on 2.00 GB/s here; expose at 11.9 Hz or less" in text
    assert "binned 4×4 on the detector it grows live" in text
    assert "with 64 shards of this memory it grows live at full resolution" in text


def test_a_shard_needs_its_share_of_memory() -> None:
    one, four = (plan(spec(1024, 1600), 20, shards, 64 * GIB, 1) for shards in (1, 4))
    assert one.way == four.way == "grows with the scan"
    assert 3.5 < one.memory_bytes / four.memory_bytes < 4.2
    assert one.rate == four.rate == pytest.approx(4 * four.rate_of_one)


@pytest.mark.parametrize(("wanted", "gpus", "count"), [("auto", 0, 1), ("auto", 4, 4), (3, 0, 3), (1, 4, 1)])
def test_auto_is_a_shard_for_each_gpu(wanted: str | int, gpus: int, count: int) -> None:
    assert shards_of(Config(compute={"shards": wanted}), gpus) == count


@pytest.mark.parametrize(
    ("section", "option", "value"),
    [
        ("preparation", "delta_beta", 100.0),
        ("preparation", "zingers", 8.0),
        ("preparation", "flat_drift", "margins"),
        ("preparation", "stripes", "live"),
        ("reconstruction", "tilt", 0.5),
    ],
)
def test_steps_that_need_other_rows_are_refused_by_name(section: str, option: str, value: object) -> None:
    with pytest.raises(BadInput, match=rf"{section}\.{option}: needs rows that another shard has"):
        shared_out(Config(**{section: {option: value}}))


def test_only_frames_that_can_be_cut_are_taken() -> None:
    with pytest.raises(BadInput, match=r"source\.transport push"):
        shared_out(Config(source={"transport": "acknowledged"}))


def test_the_check_measures_and_says_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "beamline.toml"
    config.write_text("[compute]\nshards = 2\n[reconstruction]\nmemory_mb = 256\n")
    numbers = ["--rows", "256", "--columns", "256", "--projections", "200"]
    assert main(["cluster", "check", str(config), *numbers, "--rate", "10"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^shard 0 on \S+: \d+\.\d\d GB/s alone, \d+\.\d GiB free, \d+ cores$", said, re.MULTILINE)
    assert re.search(r"^rows reach 2 processes at [0-9.]*[1-9][0-9.]* GB/s together$", said, re.MULTILINE)
    assert main(["cluster", "check", str(config), "--rows", "4096", "--columns", "4096", "--rate", "10"]) == 1
    assert "a shard lacks memory" in capsys.readouterr().out


def test_nothing_to_share_out_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "beamline.toml"
    config.write_text("")
    assert main(["cluster", "check", str(config)]) == 2
    assert "nothing to share out" in capsys.readouterr().err


@pytest.mark.parametrize("shards", [1, 2, 4, 8])
def test_rates_and_raw_data_are_those_of_the_frames(shards: int) -> None:
    scan = ScanSpec("scan", "sample", 2048, 1024, 1500, flats=20, darks=10)
    found = plan(scan, 50.0, shards, 64 * GIB, 2)
    assert found.rate == 50 * 2048 * 1024 * 2
    assert found.rate_of_one == pytest.approx(found.rate / shards)
    assert found.raw_bytes == 1530 * 2048 * 1024 * 2


@pytest.mark.parametrize("binning", [2, 4, 8])
def test_binned_frames_are_smaller_by_its_square(binning: int) -> None:
    whole, binned = (plan(spec(2048, 1500), 50, 2, 64 * GIB, 1, bins) for bins in (1, binning))
    assert whole.rate / binned.rate == binning**2
    assert whole.raw_bytes / binned.raw_bytes == binning**2
    assert binned.memory_bytes < whole.memory_bytes


def test_too_few_rows_for_the_shards_are_refused() -> None:
    with pytest.raises(BadInput, match=r"set compute\.shards to 4 or less"):
        plan(spec(64, 100), 10, 8, GIB, 1)
    with pytest.raises(BadInput, match=r"too few for 2 shards"):
        plan(spec(64, 100), 10, 2, GIB, 1, binning=4)


def test_no_way_out_is_said_that_needs_more_rows_than_there_are() -> None:
    found = advice(spec(64, 200_000), 10, 2, 2**27, 1, measured=2e9)
    assert not found.fits
    assert not any("with 8 shards" in line or "binned 4×4" in line for line in found.said)


def test_a_rate_that_is_too_high_is_said_even_when_the_memory_is_there() -> None:
    found = advice(spec(512, 800), 4000, 2, 8 * GIB, 1, measured=2e9)
    assert not found.fits
    assert found.said[1] == (
        "too fast for one cutter: it passes on 2.00 GB/s here; expose at 3.05e+03 Hz or less, bin, or "
        "have several detector servers send their own rows"
    )
    assert found.said[-1].startswith("each shard has the memory")


class TestLinks:
    here, there = Machine("here", 8 * GIB, 4), Machine("there", 16 * GIB, 32)

    def test_each_link_is_a_line(self) -> None:
        links = Links((2.5e9, 1.25e9), 3e9, (self.here, self.there))
        assert links.said() == [
            "shard 0 on here: 2.50 GB/s alone, 8.0 GiB free, 4 cores",
            "shard 1 on there: 1.25 GB/s alone, 16.0 GiB free, 32 cores",
            "rows reach 2 processes at 3.00 GB/s together",
        ]

    def test_shards_of_one_machine_share_its_memory(self) -> None:
        less = Machine("here", 7 * GIB, 4)
        links = Links((1.0, 1.0, 1.0), 1.0, (self.here, self.there, less))
        assert links.share() == {"here": (7 * GIB, 2), "there": (16 * GIB, 1)}
