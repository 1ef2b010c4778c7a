"""The program that speaks to Ray for the scout: a process of its own, as Ray ends a process whose cluster is lost.

It is asked over a socket, and answers there, in JSON: what the cluster has, whether places are granted, and which
process was started in one. ``Place`` runs within Ray: it holds what was granted, and forks the processes that use it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from streamer.cluster.engines.lifeline import START_S, keep_alive
from streamer.cluster.engines.nursery import Nursery

GRANT_S = 1.5
LOCAL, LOCAL_PLACE, LOCAL_PLACES = "local", "place", 2048
STORE_BYTES = 80 * 2**20
"""Ray's store of objects, of which none is ever made; its smallest."""

CONNECT_S = 10.0


class Place:
    """In a process of Ray, on any machine of the cluster."""

    def __init__(self) -> None:
        self._nursery = Nursery(apart=True)  # Ray ends the group of what it started; shards go on when it is lost

    def start(self, program: str, host: str, port: int, secret: str) -> int:
        """Start a program whose scout listens at ``host:port`` for who knows the ``secret``; its pid."""
        if not self._nursery.alive:
            self._nursery.close()
            self._nursery = Nursery(apart=True)
        with socket.create_connection((host, port), CONNECT_S) as end:
            end.settimeout(None)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(end)
            end.sendall(secret.encode())
            return self._nursery.start(program, None, end)

    def kill(self, pid: int) -> None:
        self._nursery.kill(pid)


class Driver:
    """``reserve`` and ``cluster`` answer at once, ``start`` when Ray has."""

    def __init__(self, control: socket.socket, address: str, everywhere: bool) -> None:
        """``everywhere``: places may be on other machines than this one."""
        self._control, self._local = control, address == LOCAL
        self._saying = threading.Lock()
        self._group: Any = None
        self._actors: dict[int, Any] = {}
        options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
        if self._local:
            options |= {
                "include_dashboard": False,
                "object_store_memory": STORE_BYTES,
                "resources": {LOCAL_PLACE: LOCAL_PLACES},
            }
        ray.init(**options)
        here = ray.get_runtime_context().get_node_id()
        self._nodes = cast(Callable[[], list[dict[str, Any]]], ray.nodes)
        self._here = next(node for node in self._nodes() if node["NodeID"] == here)
        names = [name for name in self._here["Resources"] if name.startswith("node:") and "__" not in name]
        self._pin = {} if self._local or everywhere else {names[0]: 0.001}

    def cluster(self) -> dict[str, Any]:
        """GPUs and CPUs that places may have, and the address of this machine in the cluster."""
        nodes = [self._here] if self._pin else [node for node in self._nodes() if node["Alive"]]
        total = {name: sum(node["Resources"].get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
        return {"cpus": total["CPU"], "gpus": int(total["GPU"]), "host": self._here["NodeManagerAddress"]}

    def reserve(self, places: int, threads: int, gpu: bool) -> bool:
        """Whether so many places are granted, all of them, now."""
        one: dict[str, float] = {LOCAL_PLACE: 1} if self._local else {"CPU": threads}
        if gpu:
            one["GPU"] = 1
        self._group = placement_group([{**one, **self._pin} for _ in range(places)], strategy="SPREAD")
        if self._group.wait(GRANT_S):
            return True
        remove_placement_group(self._group)
        return False

    def start(self, place: int, program: str, host: str, port: int, secret: str) -> None:
        """Answered from a thread: a place may have to be made first."""
        threading.Thread(target=self._start, args=(place, program, host, port, secret), daemon=True).start()

    def _start(self, place: int, program: str, host: str, port: int, secret: str) -> None:
        try:
            if place not in self._actors:
                self._actors[place] = self._new(place)
            pid = ray.get(self._actors[place].start.remote(program, host, port, secret), timeout=START_S)
            self.say({"started": secret, "pid": pid})
        except Exception as error:
            self._actors.pop(place, None)
            self.say({"started": secret, "error": " ".join(str(error).split())[:300]})

    def _new(self, place: int) -> Any:
        granted = self._group.bundle_specs[place]
        strategy = PlacementGroupSchedulingStrategy(self._group, place)
        options = {
            "num_cpus": granted.get("CPU", 0),
            "num_gpus": granted.get("GPU", 0),
            "resources": {name: value for name, value in granted.items() if name not in ("CPU", "GPU")},
            "max_restarts": -1,  # on another machine, where there is one
            "scheduling_strategy": strategy,
        }
        return ray.remote(Place).options(**options).remote()

    def kill(self, place: int, pid: int) -> None:
        if place in self._actors:
            self._actors[place].kill.remote(pid)

    def say(self, answer: Any) -> None:
        with self._saying, suppress(OSError):
            self._control.send(json.dumps(answer).encode())

    def serve(self) -> None:
        """Until the scout is gone."""
        while said := self._control.recv(65536):
            what, *words = json.loads(said)
            if what == "cluster":
                self.say({what: self.cluster()})
            elif what == "reserve":
                self.say({what: self.reserve(*words)})
            elif what == "start":
                self.start(*words)
            else:
                self.kill(*words)


def main() -> None:
    control, address, everywhere = socket.socket(fileno=int(sys.argv[1])), sys.argv[2], sys.argv[3] == "everywhere"
    try:
        driver = Driver(control, address, everywhere)
    except Exception as error:
        control.send(json.dumps({"refused": " ".join(str(error).split())[:300]}).encode())
        raise SystemExit(1) from error
    driver.say({"ready": True})
    with suppress(ConnectionResetError):
        driver.serve()
    ray.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
