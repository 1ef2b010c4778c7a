"""Alerts and dashboard: checked by promtool, and by a Prometheus that scrapes a daemon during a scan."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector
from scraping import PROMETHEUS, Prometheus
from station import Station, eventually

from streamer.daemon.monitoring.http import PageServer, exposition
from streamer.daemon.monitoring.pages import PROCESS_OF_WRITER
from streamer.flow.wire.beamline import Faults
from streamer.metrics import EMPTY, QUALITY, MetricsSnapshot, StreamerCollector
from streamer.web.hub import Hub
from streamer.web.metrics import WebCollector
from tests.paths import ROOT
from tests.web.served import ServedPage

BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "dashboards").glob("*.json"))
}
QUERIES = [
    pytest.param(panel["title"], target["expr"], id=f"{name}-{panel['title']}-{target['refId']}".replace(" ", "-"))
    for name, dashboard in BOARDS.items()
    for panel in dashboard["panels"]
    for target in panel["targets"]
]
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
    "FramesRejected",
    "GpuFallback",
    "ClocksDiffer",
    "DaemonRestarts",
}
LOST = re.compile(r"1 frames were lost in the last 5 min on 127\.")
INTERVALS = {"__rate_interval": "1m", "__range": "1m"}
"""What Grafana would put in for the other variables of a query."""


def names_in(expression: str) -> set[str]:
    """The metrics of an expression, without its label matchers."""
    return set(re.findall(r"\bstreamer_\w+", re.sub(r"\{[^}]*\}", "", expression)))


def exported() -> set[str]:
    """Every name that the collectors give, with the disk's."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    ProcessCollector(PROCESS_OF_WRITER, registry=registry)
    registry.register(WebCollector(Hub(), lambda: True))
    registry.register(
        StreamerCollector(
            lambda: MetricsSnapshot(
                disk_free_bytes=1,
                disk_size_bytes=1,
                gpu_memory_used_bytes=0,
                gpu_memory_bytes=1,
                threads={"receive": True},
                thread_restarts={"receive": 0},
                control_requests={("arm", "ok"): 0},
                connections_open={"control": 0},
                written_bytes={"raw": 0},
                phases_s={"between": 0.0},
                stages={"fold": EMPTY},
                quality=dict.fromkeys(QUALITY, 0.0),
            )
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


def test_every_alert_has_a_page_that_says_what_to_do() -> None:
    """Meaning, what to look at, and what to do; the alert names the place."""
    page = (ROOT / "docs" / "how-to" / "alerts.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(sections) == ALERTS
    for name, text in sections.items():
        assert re.findall(r"^\*\*(\w+)\*\*", text, re.MULTILINE) == ["Means", "Look", "Do"], name
    named = re.findall(r"runbook_url: (\S+)", (PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(f"docs/how-to/alerts.md#{name.lower()}" for name in ALERTS)


def instance(station: Station) -> str:
    """What Prometheus calls the daemon."""
    return urllib.parse.urlsplit(station.daemon["metrics"]).netloc


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A beamline whose daemon has lost no frame yet."""
    station = Station(tmp_path_factory.mktemp("station"))
    yield station
    station.close()


@pytest.fixture(scope="module")
def with_a_gpu() -> Iterator[str]:
    """The metrics page of a daemon that has a GPU, which this machine may lack; the numbers are made up."""
    numbers = MetricsSnapshot(writer_up=True, ring_slots=1, gpu_memory_used_bytes=2**30, gpu_memory_bytes=2**34)
    registry = CollectorRegistry()
    registry.register(StreamerCollector(lambda: numbers))
    server = PageServer({"/metrics": exposition(registry)}, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.port}"
    server.close()


@pytest.fixture(scope="module")
def page(station: Station) -> Iterator[ServedPage]:
    """The web page of the daemon."""
    with ServedPage(station.daemon["control"], "--metrics", "0") as served:
        yield served


@pytest.fixture(scope="module")
def prometheus(
    station: Station, with_a_gpu: str, page: ServedPage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """It has seen the daemon before, during and after a scan in which one frame was lost."""
    folder = tmp_path_factory.mktemp("monitoring") / "prometheus"
    web = urllib.parse.urlsplit(page.metrics).netloc
    server = Prometheus(folder, instance(station), with_a_gpu, web=web)
    try:
        report = station.scan("watched", faults=Faults(drop=frozenset({50})))
        assert report.frames.missing == 1, report
        eventually(lambda: server.number("sum(streamer_frames_missing_total)") == 1, "the end of the scan is scraped")
        scraped = time.time()
        eventually(lambda: server.number("min(timestamp(up))") > scraped, "the end of the scan is scraped twice")
        yield server
    finally:
        server.close()


def filled(expression: str, daemon: str) -> str:
    return re.sub(r"\$(\w+)", lambda found: {**INTERVALS, "instance": daemon}[found[1]], expression)


@pytest.mark.parametrize(("title", "expression"), QUERIES)
def test_every_query_of_every_panel_shows_something(
    prometheus: Prometheus, station: Station, with_a_gpu: str, title: str, expression: str
) -> None:
    """A wrong name fails twice: it is not exported, and shows nothing."""
    assert names_in(expression) <= exported()
    daemon = with_a_gpu if "gpu_memory" in expression else instance(station)
    eventually(lambda: prometheus.shows(filled(expression, daemon)), title, 60.0)


def test_a_wrong_name_would_be_found(prometheus: Prometheus) -> None:
    wrong = "sum(streamer_frames_recieved_total)"
    assert not names_in(wrong) <= exported()
    assert not prometheus.shows(wrong)


def test_the_dashboard_tells_the_truth(prometheus: Prometheus, station: Station) -> None:
    def panel(title: str) -> list[float]:
        (found,) = (p for p in BOARDS["overview"]["panels"] if p["title"] == title)
        return [prometheus.number(filled(target["expr"], instance(station))) for target in found["targets"]]

    assert panel("Lost frames") == [1, 0, 0, 0]
    here = f'instance="{instance(station)}"'
    state = eventually(lambda: prometheus.query(f"streamer_scan_state{{{here}}} == 1"), "the state of the scan")
    assert state[0]["metric"]["streamer_scan_state"] == "incomplete"
    assert 0 < panel("Last frame → tomogram")[0] < 60
    latency = panel("Latency frame → preview")
    assert latency == sorted(latency)
    assert all(0 <= share <= 1 for share in panel("Ring"))
    report = station.final("watched")
    assert prometheus.number(f"streamer_quality_center_px{{{here}}}") == report.center_px


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
