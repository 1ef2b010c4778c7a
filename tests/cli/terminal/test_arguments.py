"""Arguments: generated from options, checked while they are parsed, explained by ``--help``."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from streamer import __version__
from streamer.cli import VERBS, main
from streamer.cli.terminal.arguments import Parser, add_options, add_verb, checked, read_options
from streamer.frames import BadInput
from streamer.options import Options


class Colours(Options):
    """Options to test with."""

    mode: Literal["auto", "off"] | Annotated[float, Field(ge=0, le=1)] = "auto"
    """what is done, 50 % of
    the time"""
    width_px: int = Field(3, ge=1)
    """width of a line"""
    bright: bool = True
    """bright colours"""
    name: str | None = None
    """a name; unset: none"""


@pytest.fixture
def parser() -> Parser:
    parser = Parser(prog="paint")
    add_options(parser, Colours)
    return parser


def of_verb(verb: str) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """A parser that knows one verb, and the parser of that verb."""
    whole = Parser(prog="streamer")
    verbs = whole.add_subparsers(dest="verb")
    import_module(f"streamer.cli.{verb}").add_parser(verbs)
    return whole, verbs.choices[verb]


def test_options_are_read_with_their_types_and_defaults(parser: Parser) -> None:
    assert read_options(parser.parse_args([]), Colours) == Colours()
    words = ["--mode", "0.5", "--width-px", "7", "--no-bright", "--name", "7"]
    assert read_options(parser.parse_args(words), Colours) == Colours(mode=0.5, width_px=7, bright=False, name="7")
    assert read_options(parser.parse_args(["--mode", "off"]), Colours).mode == "off"


def test_only_the_options_that_are_named_become_arguments() -> None:
    parser = Parser()
    add_options(parser, Colours, ("width_px",))
    args = parser.parse_args(["--width-px", "2"])
    assert vars(args) == {"width_px": 2}
    assert read_options(args, Colours) == Colours(width_px=2)


def test_help_comes_from_the_options(parser: Parser) -> None:
    text = " ".join(parser.format_help().split())
    assert "--mode auto|off|N what is done, 50 % of the time (default auto)" in text
    assert "--width-px PX width of a line (default 3)" in text
    assert "--bright, --no-bright bright colours" in text
    assert text.endswith("--name TEXT a name; unset: none")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mode", "on"], "--mode: give auto, off or a number from 0 to 1, not 'on'"),
        (["--mode", "nan"], "--mode: give auto, off or a number from 0 to 1, not 'nan'"),
        (["--width-px", "1.5"], "--width-px: give a whole number, 1 or more, not '1.5'"),
        (["--width-px", "-3"], "--width-px: give a whole number, 1 or more, not '-3'"),
        (["--width-px"], "--width-px: expected one argument"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_what_cannot_be_parsed_is_one_line(parser: Parser, words: list[str], said: str) -> None:
    with pytest.raises(BadInput) as error:
        parser.parse_args(words)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "3", 3),
        (float, "3", 3.0),
        (Literal["auto"] | float, "auto", "auto"),
        (Literal["auto"] | float, "-1", -1.0),
    ],
)
def test_texts_become_values(kind: Any, text: str, value: Any) -> None:
    found = checked(kind)(text)
    assert found == value
    assert type(found) is type(value)


def test_an_example_stands_beside_what_it_does() -> None:
    verbs = Parser(prog="streamer").add_subparsers()
    parser = add_verb(verbs, "paint", "Paint it.\n\nTwice.", {"paint": "black", "paint --twice": "blacker"}, "more")
    assert parser.description == "Paint it.\n\nTwice."
    assert parser.epilog.splitlines() == [
        "examples:",
        "  streamer paint           black",
        "  streamer paint --twice   blacker",
        "",
        "more",
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_a_verb_can_be_typed_as_they_are(verb: str) -> None:
    whole, parser = of_verb(verb)
    examples = re.findall(r"^  streamer (.+?)(?:   .*)?$", parser.epilog or "", re.MULTILINE)
    assert len(examples) >= 2
    for example in examples:
        command, _, _redirected = example.partition(" > ")
        assert whole.parse_args(shlex.split(command)).verb == verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_argument_is_explained_and_the_help_fits_the_page(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    _, parser = of_verb(verb)
    assert all(action.help for action in parser._actions)
    assert max(map(len, parser.format_help().splitlines())) <= 120


def test_help_lists_all_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(re.search(rf"^ +{verb}\b", text, re.MULTILINE) for verb in VERBS)
    assert "exit codes: 0 done; 1 failed; 2 bad input" in text


def test_linear_algebra_has_no_threads_but_those_that_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for before, after in (("", "1"), ("3", "3")):
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", before)
        if not before:
            monkeypatch.delenv("OPENBLAS_NUM_THREADS")
        with pytest.raises(SystemExit):
            main(["--version"])
        assert os.environ["OPENBLAS_NUM_THREADS"] == after


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"streamer {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "--tiemout"], "streamer status: unrecognized arguments: --tiemout\n"),
        (["reconstruct", "scan.nx"], "streamer reconstruct: -o: say which file the tomogram is to be\n"),
    ],
)
def test_a_command_that_is_not_complete_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == said


def test_an_unknown_verb_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recon"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "streamer: there is no verb 'recon'; did you mean recover?"
    assert main(["xyzzy"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(verb in line for verb in VERBS)


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = [sys.executable, "-m", "streamer", "run", "--print-config"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.wait(100) == 1
        assert process.stderr.read() == b""
