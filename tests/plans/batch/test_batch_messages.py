"""Messages to people, received by a real web server and a real mail server."""

import json
import queue
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from streamer_plans.batch.journal import action_entries
from streamer_plans.batch.messages import Mail, Messenger, Webhook, message_of
from streamer_plans.batch.policy import Action, Choice

WAIT_S = 60.0


def decided(choice):
    return action_entries(Action(Choice(choice), "the words"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"event": "attempt", "sample": "wood", "decision": decided("retake")}, "RETAKE wood: the words"),
        ({"event": "attempt", "sample": "wood", "decision": decided("realign")}, "REALIGN wood: the words"),
        ({"event": "attempt", "sample": "wood", "decision": decided("reject")}, None),
        ({"event": "attempt", "sample": "wood", "decision": decided("accept")}, None),
        ({"event": "decided", "sample": "wood", "decision": decided("reject")}, "REJECT wood: the words"),
        ({"event": "decided", "sample": "wood", "decision": decided("accept")}, None),
        ({"event": "robot", "sample": "wood", "decision": decided("retake")}, "ROBOT wood: the words"),
        ({"event": "waiting", "text": "no daemon"}, "IDLE: waiting for a server; no daemon"),
        ({"event": "failed", "text": "x"}, "IDLE: the batch ended before its last sample: x"),
        ({"event": "ended"}, "IDLE: the batch has ended"),
        ({"event": "scanning", "sample": "wood"}, None),
        ({"event": "started"}, None),
    ],
)
def test_what_is_told(line, expected):
    assert message_of(line) == expected


@pytest.fixture
def served():
    """Run a server on a free port of this machine; gives its port."""
    servers = []

    def run(server):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return server.server_address[1]

    yield run
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_webhook_gets_a_text(served):
    bodies = queue.Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args): ...

    port = served(ThreadingHTTPServer(("127.0.0.1", 0), Receiver))
    messenger = Messenger([Webhook(f"http://127.0.0.1:{port}/hook")])
    messenger({"event": "robot", "sample": "kůra", "decision": decided("retake")})
    assert bodies.get(timeout=WAIT_S) == {"text": "ROBOT kůra: the words"}
    messenger.close()


def test_mail(served):
    mails = queue.Queue()

    class Receiver(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 here\r\n")
            for line in self.rfile:
                word = line.split(b" ")[0].strip().upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    mails.put(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")

    port = served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Receiver))
    messenger = Messenger([Mail("127.0.0.1", "beamline@example.org", ["ann@example.org", "bob@example.org"], port)])
    messenger({"event": "decided", "sample": "wood", "decision": decided("reject")})
    mail = mails.get(timeout=WAIT_S)
    messenger.close()
    assert "Subject: REJECT wood: the words" in mail
    assert "To: ann@example.org, bob@example.org" in mail


def test_a_message_that_cannot_be_sent_holds_nothing_up(caplog):
    sent = []

    def broken(text):
        raise OSError("no network")

    messenger = Messenger([broken, sent.append])
    messenger({"event": "ended"})
    messenger.close()
    assert sent == ["IDLE: the batch has ended"]
    assert "a message was not sent (no network): IDLE" in caplog.text


def test_a_batch_in_which_nothing_happens_is_told_once():
    told = queue.Queue()
    messenger = Messenger([told.put], idle_s=0.02)
    messenger({"event": "scanning", "sample": "wood"})
    assert "the last was: scanning wood" in told.get(timeout=WAIT_S)
    messenger({"event": "ended"})
    messenger.close()
    assert told.get(timeout=WAIT_S) == "IDLE: the batch has ended"
    assert told.empty()
