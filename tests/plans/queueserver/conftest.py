"""A real Redis, a real RE Manager on free ports, and requests to it."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest
import zmq

from tests.paths import ROOT

PATIENCE_S = 200.0
PERMISSIONS = ROOT / "deploy" / "queueserver" / "user_group_permissions.yaml"
START = "from bluesky_queueserver.manager.start_manager import start_manager; start_manager()"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Manager:
    """Requests to an RE Manager."""

    def __init__(self, folder, beamline, daemon, redis_port):
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.log = folder / "manager.log"
        words = ["--startup-module", "streamer_plans.startup", "--existing-plans-devices", str(folder)]
        words += ["--user-group-permissions", str(PERMISSIONS), "--redis-addr", f"127.0.0.1:{redis_port}"]
        words += ["--redis-name-prefix", folder.name, "--zmq-control-addr", self.endpoint]
        words += ["--zmq-info-addr", f"tcp://127.0.0.1:{free_port()}"]
        environment = {**os.environ, "STREAMER_BEAMLINE": beamline, "STREAMER_DAEMON": daemon}
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START, *words], stdout=sink, stderr=sink, env=environment, cwd=ROOT
            )
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REQ)  # waits for the manager to bind
        self._socket.connect(self.endpoint)
        self.ask("ping")

    def ask(self, method, **params):
        self._socket.send_json({"method": method, "params": params})
        self.until(lambda: self._socket.poll(100), f"answering {method}")
        return self._socket.recv_json()

    def submit(self, name, group="primary", **arguments):
        item = {"item_type": "plan", "name": name, "kwargs": arguments}
        return self.ask("queue_item_add", item=item, user="ann", user_group=group)

    def until(self, condition, what):
        end = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, f"not {what} in time: {self.log.read_text()[-3000:]}"
            time.sleep(0.05)
        return found

    def until_state(self, *states):
        return self.until(lambda: self.ask("status")["manager_state"] in states, " or ".join(states))

    def open(self):
        assert self.ask("environment_open")["success"]
        self.until(lambda: self.ask("status")["worker_environment_exists"], "open")
        self.until_state("idle")

    def history(self):
        return self.ask("history_get")["items"]

    def close(self):
        """The manager ends its worker itself; it is killed only when it does not answer."""
        if self.process.poll() is None:
            self.ask("manager_stop", option="safe_off")
            try:
                self.process.wait(30.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._context.destroy(linger=0)


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory):
    binary = shutil.which("redis-server")
    assert binary, "the tests of bluesky-queueserver need redis-server (.ci/run installs it)"
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with (folder / "redis.log").open("wb") as sink:
        process = subprocess.Popen([binary, *words], stdout=sink, stderr=sink)
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            assert process.poll() is None, (folder / "redis.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.02)
    yield port
    process.terminate()
    process.wait(30.0)


@pytest.fixture
def manager(tmp_path, beamline_process, start_daemon, connect, redis_port):
    """An RE Manager with an open environment; ``connect`` brings the beamline to its rest."""
    daemon = start_daemon()
    connect(daemon)
    manager = Manager(tmp_path, beamline_process.endpoints["control"], daemon.endpoints["control"], redis_port)
    try:
        manager.open()
        yield manager
    finally:
        manager.close()
