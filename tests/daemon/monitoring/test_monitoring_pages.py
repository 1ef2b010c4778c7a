"""The pages for monitoring, of this very process and of another one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

from streamer.daemon.monitoring.http import MakePage
from streamer.daemon.monitoring.pages import monitoring_pages
from streamer.metrics import MetricsSnapshot

SCRAPER = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
"""What Prometheus sends."""


@pytest.fixture
def writer() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(b"\n")


@pytest.fixture
def pages(writer: subprocess.Popen[bytes]) -> dict[str, MakePage]:
    return monitoring_pages(MetricsSnapshot, lambda: writer.pid, list, lambda: ["the kernels are being loaded"])


def test_metrics_come_in_the_format_that_is_asked_for(pages: dict[str, MakePage]) -> None:
    page, asked = pages["/metrics"](""), pages["/metrics"](SCRAPER)
    assert page.kind.startswith("text/plain; version=0.0.4")
    assert asked.kind.startswith("application/openmetrics-text; version=1.0.0")
    assert asked.body.endswith(b"# EOF\n")
    plain = {sample.name for family in prometheus_text(page.body.decode()) for sample in family.samples}
    names = {sample.name for family in openmetrics(asked.body.decode()) for sample in family.samples}
    assert names == plain
    assert not any(name.endswith("_created") for name in names)


def test_memory_and_processor_of_daemon_and_writer_are_shown(pages: dict[str, MakePage]) -> None:
    found = {family.name: family for family in prometheus_text(pages["/metrics"]("").body.decode())}
    with open("/proc/self/statm", encoding="ascii") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    (sample,) = found["process_resident_memory_bytes"].samples
    assert sample.value == pytest.approx(resident, rel=0.2)
    for prefix in ("process", "streamer_writer_process"):
        for name in ("cpu_seconds", "open_fds", "start_time_seconds", "resident_memory_bytes"):
            assert found[f"{prefix}_{name}"].samples[0].value > 0 or name == "cpu_seconds"


def test_a_writer_that_is_gone_does_not_blind_the_monitoring() -> None:
    nobody = 2**22 + 1  # above what Linux gives to a process
    page = monitoring_pages(MetricsSnapshot, lambda: nobody, list, list)["/metrics"]("")
    assert b"process_cpu_seconds_total" in page.body
    assert b"streamer_writer_process" not in page.body


def test_a_daemon_that_is_not_ready_is_alive(pages: dict[str, MakePage]) -> None:
    assert (pages["/livez"]("").status, pages["/livez"]("").body) == (200, b"alive\n")
    assert (pages["/readyz"]("").status, pages["/readyz"]("").body) == (503, b"the kernels are being loaded\n")


def test_a_thread_that_hangs_is_for_a_restart() -> None:
    pages = monitoring_pages(MetricsSnapshot, os.getpid, lambda: ["the thread compute hangs"], list)
    assert (pages["/livez"]("").status, pages["/livez"]("").body) == (503, b"the thread compute hangs\n")
