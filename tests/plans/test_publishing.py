"""Documents over ZeroMQ: msgpack, never pickle."""

import pickle
import subprocess
import sys
from datetime import date

import numpy as np
import pytest
from bluesky.callbacks.zmq import Publisher

from streamer.frames import BadInput
from streamer_plans.publishing import DocumentPublisher, pack_document, read_document
from streamer_plans.tomo import tomo_fly
from tests.paths import ROOT


def test_numbers_of_numpy_and_unknown_values_are_packed():
    document = {"n": np.int64(3), "x": np.float32(0.5), "a": np.arange(3), "day": date(2026, 1, 2), "none": None}
    _, read = read_document(b" start " + pack_document(document))
    assert read == {"n": 3, "x": 0.5, "a": [0, 1, 2], "day": "2026-01-02", "none": None}


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code was run')",))


@pytest.mark.parametrize(
    "message",
    [b"", b"start", b" start ", b" begin \x80", b" start " + pickle.dumps(Bomb()), b" start \x93\x01\x02\x03"],
)
def test_anything_else_is_refused_and_not_run(message):
    with pytest.raises(BadInput):
        read_document(message)


def test_a_document_that_cannot_be_sent_does_not_end_the_run(monkeypatch, caplog):
    def fail(self, name, document):
        raise OSError("no network")

    monkeypatch.setattr(Publisher, "__call__", fail)
    publisher = DocumentPublisher("tcp://127.0.0.1:9")
    publisher("start", {})
    publisher.close()
    assert "a start document is not published" in caplog.text


def test_another_process_hears_the_documents(engine, documents, start_daemon, connect, scan, tmp_path):
    address = f"ipc://{tmp_path}/documents"
    command = [sys.executable, str(ROOT / "examples" / "listen_documents.py"), address]
    listener = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert listener.stdout.readline() == "listening\n"
        publisher = DocumentPublisher(address)
        engine.subscribe(publisher)
        beamline = connect(start_daemon())
        engine(tomo_fly(beamline, scan))
        heard, _ = listener.communicate(timeout=100)
        publisher.close()
    finally:
        listener.kill()
    first, *middle, last = heard.splitlines()
    assert first == "tomo_fly of wood: 47 frames"
    assert "frames up to 47" in middle
    assert last == "success: nothing_wrong: fine"
