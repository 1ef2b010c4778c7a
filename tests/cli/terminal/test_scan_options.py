"""Arguments of ``reconstruct`` about the scan: each one reaches the option of its name."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from streamer.cli.terminal.arguments import Parser
from streamer.cli.terminal.scan_options import add_scan_options, detector_rows, read_settings, spec_with_overrides
from streamer.frames import BadInput, ScanSpec
from streamer.pipeline.settings import Settings

SPEC = ScanSpec("scan", "sample", 10, 20, 30, energy_kev=25.0)


def parsed(*words: str) -> argparse.Namespace:
    parser = Parser()
    add_scan_options(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "section", "changed"),
    [
        (["--geometry", "half"], "reconstruction", {"geometry": "half"}),
        (["--tilt", "-0.25"], "reconstruction", {"tilt": -0.25}),
        (["--tilt", "off"], "reconstruction", {"tilt": "off"}),
        (["--window", "hann"], "reconstruction", {"window": "hann"}),
        (["--zingers", "8"], "preparation", {"zingers": 8.0}),
        (["--no-defects"], "preparation", {"defects": False}),
        (["--flat-drift", "eigen"], "preparation", {"flat_drift": "eigen"}),
        (["--stripes", "full"], "preparation", {"stripes": "full"}),
        (["--delta-beta", "1e3"], "preparation", {"delta_beta": 1000.0}),
    ],
)
def test_an_argument_changes_its_option_only(words: list[str], section: str, changed: dict[str, Any]) -> None:
    settings = read_settings(parsed(*words))
    default = getattr(Settings(), section)
    assert settings == Settings(**{section: {**default.model_dump(), **changed}})
    assert settings != Settings()


def test_without_arguments_the_daemons_defaults_hold() -> None:
    args = parsed()
    assert read_settings(args) == Settings()
    assert (args.center, args.bin, args.rows) == ("auto", 1, (0, None))
    assert spec_with_overrides(args, SPEC) == SPEC


def test_what_is_given_goes_before_what_the_file_says() -> None:
    spec = spec_with_overrides(parsed("--energy-kev", "18", "--pixel-size-m", "1e-6"), SPEC)
    assert (spec.energy_kev, spec.pixel_size_m, spec.distance_m) == (18.0, 1e-6, None)
    assert spec.scan_id == "scan"


def test_phase_retrieval_says_what_the_file_lacks() -> None:
    with pytest.raises(BadInput, match=r"--delta-beta: .*; give --distance-m, --pixel-size-m$"):
        spec_with_overrides(parsed("--delta-beta", "100"), SPEC)
    words = ("--delta-beta", "100", "--distance-m", "0.1", "--pixel-size-m", "1e-6")
    assert spec_with_overrides(parsed(*words), SPEC).distance_m == 0.1


@pytest.mark.parametrize(
    ("text", "chosen"), [("2:5", slice(2, 5)), (":5", slice(0, 5)), ("5:", slice(5, 8)), (":", slice(0, 8))]
)
def test_rows_are_a_range_of_the_detectors(text: str, chosen: slice) -> None:
    assert detector_rows(parsed("--rows", text).rows, 8) == chosen


@pytest.mark.parametrize("text", ["5:5", "6:5", "0:9", "8:"])
def test_rows_that_the_detector_does_not_have(text: str) -> None:
    with pytest.raises(BadInput, match="the scan has rows 0:8"):
        detector_rows(parsed("--rows", text).rows, 8)


@pytest.mark.parametrize("text", ["5", "a:b", "-1:4", "1:2:3", "1.5:3"])
def test_rows_that_are_no_range(text: str) -> None:
    with pytest.raises(BadInput, match="--rows: give A:B with whole numbers"):
        parsed(f"--rows={text}")
