"""The page says what the programs found when they were last run."""

from __future__ import annotations

import json

from benchmarks.readers.__main__ import FILES, READERS, table
from tests.paths import ROOT


def test_the_page_has_the_table_of_the_last_run() -> None:
    rows = json.loads((ROOT / "benchmarks/results/readers.json").read_text(encoding="utf-8"))["result"]["rows"]
    page = (ROOT / "docs/files.md").read_text(encoding="utf-8")
    assert "\n".join(table(rows)) in page
    assert [(row["reader"], row["file"]) for row in rows] == [(reader.name, reader.file) for reader in READERS]


def test_a_file_that_does_not_open_says_why() -> None:
    row = {"reader": "punx", "version": "punx 1", "file": FILES[0], "opens": False}
    lines = table([{**row, "problem": "Killed"}])
    assert "| punx | 1 | no |  |  |  |  |  |  |" in lines
    assert lines[-1] == "- raw, punx: Killed"
    assert table([{**row, "wrong": {"errors": 3}}])[-1] == "- raw, punx: {'errors': 3}"
    assert "| tomogram | punx | 1 | no |" in table([{**row, "file": "tomogram", "problem": "Killed"}])
