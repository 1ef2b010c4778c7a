"""The pages say what is there. ``make docs`` checks the links between them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest

from streamer.cli import VERBS, main
from streamer.config import NATIVE, Config, check_security, check_source

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(*languages: str) -> Iterator[tuple[str, str]]:
    """The code of all pages in these languages, with the name of its page."""
    for page in PAGES:
        for _, language, code in FENCE.findall(page.read_text(encoding="utf-8")):
            if language in languages and "--8<--" not in code:
                yield page.relative_to(ROOT).as_posix(), dedent(code)


def command_lines() -> Iterator[tuple[str, str, list[str]]]:
    """Page, verb and options of each command line of ours."""
    for page, code in blocks("", "sh", "console", "text"):
        for line in code.replace("\\\n", " ").splitlines():
            found = re.match(r"(?:\$ )?(?:\S*/)?streamer (\w+)(.*)", line.strip())
            if found and found[1] in VERBS:
                words = found[2].partition(" #")[0].partition("  ")[0]
                yield page, found[1], re.findall(r"(?<!\S)--[a-z][\w-]*", words)


def rooms(folder: Path) -> set[str]:
    """Packages in a folder, and at the top modules as well."""
    modules = folder.glob("[a-z]*.py") if folder.name == "streamer" else []
    return {path.stem for path in (*modules, *(path.parent for path in folder.glob("*/__init__.py")))}


@pytest.mark.parametrize(("package", "prefix"), [("streamer", "streamer."), ("streamer/core", "core.")])
def test_every_room_is_in_the_table(package: str, prefix: str) -> None:
    table = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(rf"`{re.escape(prefix)}(\w+)`", table))
    assert named == rooms(ROOT / package)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert not [link for link in links if not (ROOT / link).exists()]


def test_configurations_on_the_pages_are_good() -> None:
    tried = set()
    for page, code in blocks("toml"):
        content = tomllib.loads(code)
        if set(content) <= set(Config.model_fields):
            tried.add(page)
            config = Config(**content)
            check_source(config.source)
            check_security(config)
            config.positions.check(native=config.source.dialect == NATIVE)
    assert {"docs/how-to/dectris.md", "docs/how-to/areadetector.md", "docs/how-to/deploy.md"} <= tried


def test_command_lines_on_the_pages_have_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    helps: dict[str, str] = {}
    tried = 0
    for page, verb, options in command_lines():
        if verb not in helps:
            with suppress(SystemExit):
                main([verb, "--help"])
            helps[verb] = capsys.readouterr().out
        for option in options:
            tried += 1
            assert re.search(rf"{option}\b", helps[verb]), f"{page}: streamer {verb} has no {option}"
    assert tried > 20
