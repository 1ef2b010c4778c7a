"""The pages say what is there. ``make docs`` checks the links between them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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
