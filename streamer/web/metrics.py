"""Metrics of the page's server: who looks, what was sent to them, and what they were too slow for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamer.web.hub import Hub

PREFIX = "streamer_web_"


class WebCollector(Collector):
    """Reads the counts of a hub at each scrape. ``connected`` says whether the daemon was heard of lately."""

    def __init__(self, hub: Hub, connected: Callable[[], bool]) -> None:
        self._hub, self._connected = hub, connected

    def collect(self) -> Iterator[Metric]:
        counts = self._hub.counts
        yield GaugeMetricFamily(f"{PREFIX}clients", "Open pages", len(self._hub.clients))
        yield GaugeMetricFamily(
            f"{PREFIX}clients_seeing_detector", "Open pages that see the detector", self._hub.seeing_detector
        )
        yield GaugeMetricFamily(
            f"{PREFIX}daemon_connected", "1 while the daemon answers the page's server", float(self._connected())
        )
        sent = CounterMetricFamily(f"{PREFIX}messages_sent", "Messages that pages took", labels=["kind"])
        for kind, name in (("picture", "pictures"), ("text", "texts")):
            sent.add_metric([kind], counts[name])
        yield sent
        for name, key, text in (
            ("messages_dropped", "dropped", "Messages that a newer one overtook before a page took them"),
            ("sent_bytes", "bytes", "Bytes of messages that pages took"),
            ("bricks", "bricks", "Boxes of tomograms that pages have had"),
            ("brick_bytes", "brick bytes", "Bytes of these"),
            ("clients_refused", "refused", "Requests of other hosts and pages, and wrong tokens"),
            ("clients_cut", "cut", "Pages that took nothing for half a minute, and were cut off"),
        ):
            yield CounterMetricFamily(PREFIX + name, text, counts[key])
