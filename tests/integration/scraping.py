"""A Prometheus with the shipped configuration and rules, for a test."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from station import eventually

from tests.paths import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"


class Prometheus:
    """A server on loopback, on a port of its own choice, with the shipped rules and a quicker pulse."""

    def __init__(self, folder: Path, *instances: str, web: str) -> None:
        """``instances`` are daemons, ``web`` is the server of the page, each as HOST:PORT."""
        config = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
        config, targets = re.subn(r'"127\.0\.0\.1:9108"', ", ".join(f'"{name}"' for name in instances), config)
        config, pages = re.subn(r"127\.0\.0\.1:9109", web, config)
        config, pulses = re.subn(r"_interval: 5s", "_interval: 250ms", config)
        assert (targets, pages, pulses) == (1, 1, 2)
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
