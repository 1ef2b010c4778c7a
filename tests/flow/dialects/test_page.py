"""docs/detectors.md against the table of dialects."""

from __future__ import annotations

from streamer.flow.dialects import TRAITS
from streamer.flow.dialects.message import Traits
from tests.paths import ROOT


def row(traits: Traits) -> str:
    def yes(value: bool) -> str:
        return "yes" if value else ""

    cells = (
        f"`{traits.name}`",
        traits.spoken_by,
        ", ".join(f"`{kind}`" for kind in traits.sockets if kind != "pva"),
        "" if traits.port is None else str(traits.port),
        yes(traits.numbers_frames),
        yes(traits.announces),
        yes(traits.ends),
        yes(traits.sends_angles),
        yes(traits.compresses),
    )
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def test_the_table_of_the_page_is_that_of_the_program() -> None:
    page = (ROOT / "docs" / "detectors.md").read_text(encoding="utf-8")
    table = page.partition("|---|---|---|---|---|---|---|---|---|\n")[2].partition("\n\n")[0]
    assert table == "\n".join(map(row, TRAITS.values()))
    assert not any(traits.sends_kinds for traits in TRAITS.values()), "the page says that none does"
