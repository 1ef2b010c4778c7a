"""The dashboards are what Grafana's own builders make of the Python beside them, and their panels have room."""

from __future__ import annotations

import importlib
import json
import re
from itertools import combinations
from typing import Any

import pytest

from tests.paths import ROOT

FOLDER = ROOT / "dashboards"
BOARDS = ("overview", "latency", "samples", "quality", "hardware")
GRID_WIDTH = 24
TYPES = {"stat", "gauge", "bargauge", "timeseries", "state-timeline", "heatmap"}


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(params=BOARDS)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


def test_the_files_are_what_the_builders_make() -> None:
    """If not: make dashboards."""
    source = importlib.import_module("dashboards.source")
    assert tuple(source.BOARDS) == BOARDS
    for name, board in source.BOARDS.items():
        assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == source.as_json(board()), name


def test_there_is_a_file_for_each_dashboard_and_no_other() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(BOARDS)
    read_all = [read(name) for name in BOARDS]
    assert len({one["uid"] for one in read_all}) == len({one["title"] for one in read_all}) == len(BOARDS)


def test_panels_have_ids_titles_units_and_room(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] in TYPES
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"].get("unit") or panel["options"]["yAxis"]["unit"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert references, panel["title"]
        assert len(set(references)) == len(references), panel["title"]
        place = panel["gridPos"]
        assert min(place.get("x", 0), place.get("y", 0)) >= 0, panel["title"]
        assert min(place["w"], place["h"]) > 0, panel["title"]
        assert place["x"] + place["w"] <= GRID_WIDTH, panel["title"]
    for one, other in combinations(panels, 2):
        a, b = one["gridPos"], other["gridPos"]
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, f"{one['title']} lies on {other['title']}"


def test_every_variable_is_defined_and_every_query_asks_the_chosen_source(dashboard: dict[str, Any]) -> None:
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"])))
    assert used <= {*variables, "__rate_interval", "__range"}
    assert set(variables) <= used
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    parts = [part for panel in dashboard["panels"] for part in (panel, *panel["targets"])]
    assert all(part["datasource"] == chosen for part in parts)


def test_every_query_is_of_the_chosen_daemons(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expression = re.sub(r"\bby \([^)]*\)", "", target["expr"])
            for name, matcher in re.findall(r"((?:streamer|process)_\w+)(\{[^}]*\})?", expression):
                web = name.startswith("streamer_web_")  # of the page's servers, which are processes of their own
                assert ('job="streamer-web"' if web else 'instance=~"$instance"') in matcher, panel["title"]


def test_a_lost_frame_is_red() -> None:
    (lost,) = (panel for panel in read("overview")["panels"] if panel["title"] == "Lost frames")
    steps = lost["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(step["value"], step["color"]) for step in steps] == [(None, "green"), (1, "red")]
