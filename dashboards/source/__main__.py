"""Writes each dashboard beside this folder."""

from pathlib import Path

from dashboards.source import BOARDS, as_json

for name, board in BOARDS.items():
    (Path(__file__).parents[1] / f"{name}.json").write_text(as_json(board()), encoding="utf-8")
