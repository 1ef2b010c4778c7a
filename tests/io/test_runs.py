from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from streamer.frames import BadInput
from streamer.io import runs
from streamer.io.runs import find_scan, newest_scan, scan_of_run
from streamer.io.tomogram import TomogramFile
from tests.io.helpers import SPEC
from tests.io.test_nexus import raw_file

UID = "8f1c22a4-7a0e-4b5e-9a55-5d8f0f1f8a10"
KEY = "secret"


def aged(path: Path, seconds: int) -> Path:
    os.utime(path, (1_700_000_000 - seconds,) * 2)
    return path


class TestFolder:
    def test_the_newest_file_that_holds_a_scan_is_taken(self, tmp_path: Path) -> None:
        aged(raw_file(tmp_path / "old.nx", SPEC), 30)
        scan = aged(raw_file(tmp_path / "new.nx", SPEC), 20)
        with TomogramFile.create(tmp_path / "new.tomogram.h5", (2, 2, 2), SPEC) as file:
            file.write_rows(0, np.zeros((2, 2, 2), np.float32))
        aged(raw_file(tmp_path / "new+1.nx", SPEC), 10)  # a segment
        (tmp_path / "broken.h5").write_text("no HDF5")
        (tmp_path / "newest.txt").touch()
        assert newest_scan(tmp_path) == scan
        assert find_scan(str(tmp_path), None) == (scan, f"the newest scan of {tmp_path} is new.nx")
        assert find_scan(str(scan), None) == (scan, "")

    def test_a_folder_without_a_scan_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.h5").write_text("no HDF5")
        with pytest.raises(BadInput, match="no file of this folder holds a scan"):
            newest_scan(tmp_path)


def entry(name: str, *files: Path) -> dict[str, Any]:
    """What Tiled 0.2.20 says of a container, or of an array in files."""
    assets = [{"data_uri": f"file://localhost{file}", "is_directory": False} for file in files]
    family = "array" if files else "container"
    sources = [{"structure_family": "array", "mimetype": "application/x-hdf5", "assets": assets}] if files else []
    return {"id": name, "attributes": {"structure_family": family, "metadata": {}, "data_sources": sources}}


Serve = Callable[[dict[str, Any]], str]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serve replies by path, to who has the key; gives the address."""
    servers: list[ThreadingHTTPServer] = []
    monkeypatch.setattr(runs, "ANSWER_S", 100.0)  # the server has no processor of its own

    def start(replies: dict[str, Any]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                reply = replies.get(unquote(urlsplit(self.path).path).removeprefix("/api/v1/"))
                known = self.headers["Authorization"] == f"Apikey {KEY}"
                self.send_response(401 if not known else 200 if reply else 404)
                self.end_headers()
                self.wfile.write(json.dumps(reply).encode() if known else b"")

            def log_message(self, *_: Any) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class TestTiled:
    def test_the_file_of_a_run_is_found(self, tmp_path: Path, serve: Serve) -> None:
        scan = raw_file(tmp_path / "scan 1.nx", SPEC)
        address = serve({
            f"metadata/raw/{UID}": {"data": entry(UID)},
            f"search/raw/{UID}": {"data": [entry("baseline"), entry("primary")]},
            f"search/raw/{UID}/baseline": {"data": []},
            f"search/raw/{UID}/primary": {"data": [entry("other", tmp_path / "gone.h5"), entry("camera", scan)]},
        })  # fmt: skip
        assert scan_of_run(f"{address}/raw/", UID, KEY) == scan

    def test_a_key_comes_from_the_environment(
        self, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scan = raw_file(tmp_path / "a.nx", SPEC)
        address = serve({f"metadata/{UID}": {"data": entry(UID, scan)}})
        monkeypatch.setenv("TILED_API_KEY", KEY)
        assert find_scan(UID, address) == (scan, f"run {UID} is {scan}")
        monkeypatch.setenv("TILED_API_KEY", "wrong")
        with pytest.raises(BadInput, match="it wants a key: set TILED_API_KEY"):
            find_scan(UID, address)

    @pytest.mark.parametrize(
        ("replies", "words"),
        [
            ({}, "there is no such run"),
            ({f"metadata/{UID}": {"data": entry(UID)}, f"search/{UID}": {"data": []}}, "names no file of it"),
            ({f"metadata/{UID}": {"data": entry(UID, Path("/none/a.nx"))}}, "/none/a.nx"),
            ({f"metadata/{UID}": ["nothing"]}, "the answer is none of Tiled's"),
        ],
    )
    def test_what_cannot_be_found_is_one_line(self, serve: Serve, replies: dict[str, Any], words: str) -> None:
        with pytest.raises(BadInput, match=words) as caught:
            scan_of_run(serve(replies), UID, KEY)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("address", "words"),
        [("127.0.0.1:8000", "give the address of a server"), ("http://127.0.0.1:1", "no Tiled server answers")],
    )
    def test_an_address_without_a_server_is_one_line(self, address: str, words: str) -> None:
        with pytest.raises(BadInput, match=words):
            scan_of_run(address, UID)
