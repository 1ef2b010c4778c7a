"""What became of a tee's messages, for people and for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from streamer.daemon.monitoring.http import PageServer, exposition
from streamer.io.senders.tee import Tee
from streamer.io.senders.tee_acknowledged import AcknowledgedTee

AnyTee = Tee | AcknowledgedTee

HOST = "127.0.0.1"


def lines(tee: AnyTee) -> list[str]:
    """What became of the messages, a line for each receiver."""
    text = [f"{tee.received} messages received"]
    for branch in tee.branches:
        rows = "" if branch.cut is None else f", rows {branch.cut}"
        waiting = f", {len(branch.waiting)} waiting" if branch.waiting else ""
        refused = f", {branch.refused.total()} could not be cut ({branch.why})" if branch.refused else ""
        text.append(f"{branch.endpoint}{rows}: {branch.sent} sent, {branch.dropped} dropped{waiting}{refused}")
    return text


class _TeeCollector(Collector):
    def __init__(self, tee: AnyTee) -> None:
        self._tee = tee

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("streamer_tee_received", "Messages of the detector", self._tee.received)
        sent = CounterMetricFamily("streamer_tee_sent", "Messages that a receiver took", labels=["to"])
        lost = CounterMetricFamily("streamer_tee_dropped", "Messages that it did not take", labels=["to", "why"])
        for branch in self._tee.branches:
            sent.add_metric([branch.endpoint], branch.sent)
            for why, number in {"behind": branch.dropped, **branch.refused}.items():
                lost.add_metric([branch.endpoint, why], number)
        yield sent
        yield lost


def serve_metrics(tee: AnyTee, port: int) -> PageServer:
    """Counts of the tee for Prometheus. Raises BadInput when the port cannot be had."""
    registry = CollectorRegistry()
    registry.register(_TeeCollector(tee))
    return PageServer({"/metrics": exposition(registry)}, HOST, port)
