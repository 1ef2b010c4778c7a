from __future__ import annotations

from streamer.schema import runs


def test_runs_are_written_short() -> None:
    assert runs([80, 70, 71, 72]) == "70-72, 80"
    assert runs(range(0, 40, 2), 2) == "0, 2, …"
    assert runs([]) == ""
