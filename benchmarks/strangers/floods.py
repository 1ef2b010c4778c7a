"""What a peer that keeps no rule can take from a daemon: its memory before, at most and after, its connections."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import urlsplit

import zmq

from benchmarks.strangers import zmtp
from benchmarks.strangers.house import House
from streamer.flow.wire.control import Ping
from streamer.flow.wire.daemon import Abort, GetStatus
from streamer.keys import Role
from tests.fuzz.mutations import corpus, mutated

SOCKETS = {"control": "DEALER", "events": "SUB", "preview": "SUB", "source": "PUSH"}
LORIS_S = 10.0
ENDED_S = 20.0


class Watch:
    """The largest memory of a daemon while the block runs."""

    def __init__(self, house: House) -> None:
        self._house, self._ended = house, threading.Event()
        self.result: dict[str, Any] = {"rss_mb_before": house.resident_mb()}
        self._top = self.result["rss_mb_before"]
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            self._top = max(self._top, self._house.resident_mb())

    def __enter__(self) -> dict[str, Any]:
        self._thread.start()
        return self.result

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.result |= {"rss_mb_at_most": self._top, "rss_mb_after": self._house.resident_mb()}


def unfinished(house: House, name: str, part: int, total: int) -> dict[str, Any]:
    """``total`` bytes of a message that does not end, in parts of ``part`` bytes."""
    with Watch(house) as result:
        try:
            with zmtp.greet(house.endpoints[name], SOCKETS[name]) as peer:
                result["bytes_taken"] = zmtp.unfinished(peer, bytes(part), total)
                time.sleep(0.5)  # they are on their way from the kernel into the daemon
        except OSError as error:
            result["no_handshake"] = type(error).__name__
    return {**result, **_alive(house)}


def idle(house: House, number: int) -> dict[str, Any]:
    """Connections that say nothing, to all sockets."""
    places = [*house.endpoints.values()]
    peers = []
    with Watch(house) as result:
        ports = [url for url in places if isinstance(url, str) and "://" in url]
        for count in range(number):
            with contextlib.suppress(OSError):
                peers.append(zmtp.connect(ports[count % len(ports)]))
        result |= {"opened": len(peers), "descriptors": house.descriptors(), **_alive(house)}
        result["scan_meanwhile"] = house.good_scan()
    for peer in peers:
        peer.close()
    return {**result, **_alive(house), "descriptors_after": house.descriptors()}


def slow(house: House, number: int) -> dict[str, Any]:
    """Connections that send a byte of a handshake, or of a request, now and then."""
    ports = [url for url in house.endpoints.values() if isinstance(url, str) and "://" in url]
    peers: list[tuple[socket.socket, bytes]] = []
    with Watch(house) as result:
        for count in range(number):
            url = ports[count % len(ports)]
            words = b"GET /metrics HTTP/1.1\r\n" if urlsplit(url).scheme == "http" else zmtp.GREETING
            peers.append((zmtp.connect(url), words))
        began, at = time.monotonic(), 0
        while time.monotonic() < began + LORIS_S:
            for peer, words in peers:
                with contextlib.suppress(OSError):
                    peer.send(words[at % len(words) : at % len(words) + 1])
            at += 1
            time.sleep(0.1)
        result |= _alive(house)
        result["scan_meanwhile"] = house.good_scan()
    for peer, _ in peers:
        peer.close()
    return result


def fuzz(house: House, messages: int) -> dict[str, Any]:
    """Mutated messages over the sockets: requests, each of which is answered, and messages of the frame stream."""
    random, stored, count = Random(3), corpus(), {"requests": 0, "answers": 0, "frames": 0}
    with Watch(house) as result, house.context.socket(zmq.DEALER) as control, house.context.socket(zmq.PUSH) as source:
        for peer in (control, source):
            peer.setsockopt(zmq.LINGER, int(1000 * ENDED_S))
            peer.setsockopt(zmq.SNDTIMEO, int(1000 * ENDED_S))
        if house.keys:
            house.keys[Role.LOOK].apply(control)
            house.keys[Role.SEND].apply(source)
        control.connect(house.endpoints["control"])
        source.connect(house.endpoints["source"])
        for number in range(messages):
            if number % 2:
                control.send_multipart([b"", mutated(random, stored, "requests")])
                count["requests"] += 1
                count["answers"] += _drained(control, 0)
            else:
                parts = [mutated(random, stored, "frames")] + [random.randbytes(64)] * random.randrange(3)
                source.send_multipart(parts)
                count["frames"] += 1
        count["answers"] += _drained(control, 2000)
    _abort(house)  # the fuzz may have armed a scan
    return {**count, **result, **_alive(house)}


def junk(house: House, number: int) -> dict[str, Any]:
    """Random bytes to every port, 4 KiB each time."""
    random = Random(4)
    ports = [url for url in house.endpoints.values() if isinstance(url, str) and "://" in url]
    with Watch(house) as result:
        for count in range(number):
            with contextlib.suppress(OSError), zmtp.connect(ports[count % len(ports)]) as peer:
                peer.sendall(random.randbytes(4096))
    return {"connections": number, **result, **_alive(house)}


def _drained(control: zmq.Socket[bytes], wait_ms: int) -> int:
    """Answers that have come; a request may have to wait for a verdict."""
    answers = 0
    while control.poll(wait_ms):
        control.recv_multipart()
        answers += 1
    return answers


def _abort(house: House) -> None:
    with house.link(house.keys.get(Role.STEER)) as link:
        status = link.ask(GetStatus())
        if status.scan is not None and not status.state.final:
            link.ask(Abort(status.scan.scan_id))


def _alive(house: House) -> dict[str, Any]:
    began = time.perf_counter()
    with house.link(house.keys.get(Role.STEER)) as link:
        link.ask(Ping())
    ping = time.perf_counter() - began
    began = time.perf_counter()
    cut = house.metric("connections_cut_total")
    return {
        "ping_ms": round(1000 * ping, 1),
        "scrape_ms": round(1000 * (time.perf_counter() - began), 1),
        "cut_so_far": int(sum(cut.values())),
    }


Flood = Callable[[House], dict[str, Any]]


def floods(megabytes: int, connections: int, messages: int) -> dict[str, Flood]:
    """All floods by name."""
    found: dict[str, Flood] = {}
    for name in SOCKETS:
        part = 2**18 - 16 if name in ("control", "source") else 1000
        found[f"{megabytes} MB unfinished to {name}"] = lambda house, name=name, part=part: unfinished(
            house, name, part, megabytes * 10**6
        )
        found[f"{megabytes // 20} MB unfinished to {name}, parts of 0 bytes"] = lambda house, name=name: unfinished(
            house, name, 0, megabytes * 10**6 // 20
        )
    found[f"{connections} idle connections"] = lambda house: idle(house, connections)
    found["300 slow connections"] = lambda house: slow(house, 300)
    found["200 times 4 KiB of random bytes to every port"] = lambda house: junk(house, 200 * 5)
    found[f"{messages} mutated messages over the sockets"] = lambda house: fuzz(house, messages)
    return found
