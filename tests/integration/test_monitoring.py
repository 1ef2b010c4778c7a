"""Alerts and dashboard: checked by promtool, and by a Prometheus that scrapes a daemon during a scan."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from station import Station, eventually

from streamer.flow.wire.beamline import Faults
from streamer.metrics import MetricsSnapshot, StreamerCollector
from tests.paths import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "dashboards" / "overview.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS = [(panel, target) for panel in PANELS for target in panel["targets"]]
ALERTS = {
    "StreamerDown",
    "FramesLost",
    "StreamStalled",
    "RingHigh",
    "DiskFillsSoon",
    "WriterErrors",
    "WriterDown",
    "ThreadFails",
    "ScanRefused",
    "RawDataAtRisk",
    "LatencySLO",
    "BadSamplesRun",
    "StrangersAtTheDoor",
}
LOST = re.compile(r"1 frames were lost in the last 5 min on 127\.")
GRID_WIDTH = 24
VALUES = {"instance": ".+", "__rate_interval": "1m", "__range": "1m"}
"""What Grafana would put in for the variables of a query."""


def names_in(expression: str) -> set[str]:
    """The metrics of an expression, without its label matchers."""
    return set(re.findall(r"\bstreamer_\w+", re.sub(r"\{[^}]*\}", "", expression)))


def exported() -> set[str]:
    """Every name that the collector gives, with the disk's."""
    registry = CollectorRegistry()
    registry.register(
        StreamerCollector(
            lambda: MetricsSnapshot(disk_free_bytes=1, threads={"receive": True}, thread_restarts={"receive": 0})
        )
    )
    return {sample.name for family in registry.collect() for sample in family.samples}


@pytest.mark.parametrize(
    "command",
    [("check", "config", "prometheus.yml"), ("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")],
)
def test_promtool_agrees(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *command], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_to_fire_in_the_rule_tests() -> None:
    tested = (PROMETHEUS / "rules_test.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"alertname=\"(\w+)\"", tested)) == ALERTS


def test_panels_have_ids_titles_units_and_room() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["type"] in ("stat", "gauge", "bargauge", "timeseries")
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert references, panel["title"]
        assert len(set(references)) == len(references), panel["title"]
        place = panel["gridPos"]
        assert min(place["x"], place["y"]) >= 0, panel["title"]
        assert min(place["w"], place["h"]) > 0, panel["title"]
        assert place["x"] + place["w"] <= GRID_WIDTH, panel["title"]
    for one, other in combinations(PANELS, 2):
        a, b = one["gridPos"], other["gridPos"]
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, f"{one['title']} lies on {other['title']}"


def test_every_variable_is_defined_and_every_query_asks_the_chosen_source() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS)))
    assert used <= {*variables, "__rate_interval", "__range"}
    assert set(variables) <= used
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert all(part["datasource"] == chosen for pair in TARGETS for part in pair)


def test_a_lost_frame_is_red() -> None:
    (lost,) = (panel for panel in PANELS if panel["title"] == "Lost frames")
    steps = lost["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(step["value"], step["color"]) for step in steps] == [(None, "green"), (1, "red")]


class Prometheus:
    """A server on loopback, on a port of its own choice, with the shipped rules and a quicker pulse."""

    def __init__(self, folder: Path, metrics_url: str) -> None:
        config = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
        config, targets = re.subn(r"127\.0\.0\.1:9108", urllib.parse.urlsplit(metrics_url).netloc, config)
        config, pulses = re.subn(r"_interval: 5s", "_interval: 250ms", config)
        assert (targets, pulses) == (1, 2)
        folder.mkdir()
        (folder / "prometheus.yml").write_text(config, encoding="utf-8")
        shutil.copy(PROMETHEUS / "rules.yml", folder)
        self._log = folder / "log"
        with self._log.open("wb") as sink:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    "--web.listen-address=127.0.0.1:0",
                ],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )
        try:
            self._address = eventually(self._listens, "prometheus listens", 100.0)
            eventually(lambda: self.query('up{job="streamer"} == 1'), "the daemon is scraped", 100.0)
        except BaseException:
            self.close()
            raise

    def _listens(self) -> str | None:
        log = self._log.read_text(encoding="utf-8")
        assert self._process.poll() is None, log
        found = re.search(r'msg="Listening on" address=(127\.0\.0\.1:\d+)', log)
        return found[1] if found and "Server is ready" in log else None

    def get(self, path: str, **arguments: str) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as reply:
                answer = json.load(reply)
        except urllib.error.HTTPError as refusal:
            with refusal:
                pytest.fail(f"{path} {arguments}: {refusal.read().decode()}")
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        series: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return series

    def shows(self, expression: str) -> bool:
        """There is a series, and not all is NaN."""
        return any(series["value"][1] != "NaN" for series in self.query(expression))

    def number(self, expression: str) -> float:
        """The value of the one series; waits for it, because a scrape that came too late leaves a gap."""
        (series,) = eventually(lambda: self.query(expression), f"{expression} has a value")
        return float(series["value"][1])

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(15.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="module")
def prometheus(shared_station: Station, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has seen the daemon before, during and after a scan in which one frame was lost."""
    server = Prometheus(tmp_path_factory.mktemp("monitoring") / "prometheus", shared_station.daemon["metrics"])
    try:
        report = shared_station.scan("watched", faults=Faults(drop=frozenset({50})))
        assert report.frames.missing == 1, report
        eventually(lambda: server.number("sum(streamer_frames_missing_total)") == 1, "the end of the scan is scraped")
        scraped = time.time()
        eventually(lambda: server.number("timestamp(up)") > scraped, "the end of the scan is scraped twice")
        yield server
    finally:
        server.close()


def filled(expression: str) -> str:
    return re.sub(r"\$(\w+)", lambda found: VALUES[found[1]], expression)


@pytest.mark.parametrize(
    ("panel", "target"), [pytest.param(p, t, id=f"{p['title']} {t['refId']}".replace(" ", "-")) for p, t in TARGETS]
)
def test_every_query_of_the_dashboard_shows_something(
    prometheus: Prometheus, panel: dict[str, Any], target: dict[str, Any]
) -> None:
    assert names_in(target["expr"]) <= exported()
    eventually(lambda: prometheus.shows(filled(target["expr"])), panel["title"], 30.0)


def test_the_dashboard_tells_the_truth(prometheus: Prometheus) -> None:
    def panel(title: str) -> list[float]:
        (found,) = (p for p in PANELS if p["title"] == title)
        return [prometheus.number(filled(target["expr"])) for target in found["targets"]]

    assert panel("Lost frames") == [1, 0, 0, 0]
    state = eventually(lambda: prometheus.query("streamer_scan_state == 1"), "the state of the scan")
    assert state[0]["metric"]["streamer_scan_state"] == "incomplete"
    assert 0 < panel("Last frame → tomogram")[0] < 60
    latency = panel("Latency frame → preview")
    assert latency == sorted(latency)
    assert all(0 <= share <= 1 for share in panel("Ring"))


def test_every_rule_evaluates_and_only_the_lost_frame_is_told(prometheus: Prometheus) -> None:
    def evaluated() -> list[dict[str, Any]] | None:
        found = prometheus.rules()
        told = [alert for rule in found if rule["name"] == "FramesLost" for alert in rule["alerts"]]
        known = all(rule["health"] != "unknown" for rule in found)
        return found if known and any(LOST.match(alert["annotations"]["summary"]) for alert in told) else None

    # Prometheus extrapolates an increase to the ends of its window: too much until it has seen some more seconds.
    rules = eventually(evaluated, "every rule was evaluated, and one lost frame is told")
    assert {rule["name"] for rule in rules} == ALERTS
    for rule in rules:
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]
        assert names_in(rule["query"]) <= exported(), rule["name"]
        assert rule["annotations"]["summary"], rule["name"]
        assert len(rule["annotations"]["runbook"]) > 80, rule["name"]
        assert rule["labels"]["severity"] in ("warning", "critical")
    firing = {rule["name"] for rule in rules if any(alert["state"] == "firing" for alert in rule["alerts"])}
    assert firing - {"DiskFillsSoon"} == {"FramesLost"}, "the disk is that of the machine under test"
