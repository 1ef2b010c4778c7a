"""What is said of a scan before it is armed, and what a configuration may not ask of shards."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamer.cli import main
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
