"""Messages to people: a webhook, as Slack and Mattermost take it, and mail. They never hold up or end a batch."""

import json
import logging
import queue
import smtplib
import threading
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

log = logging.getLogger(__name__)

Send = Callable[[str], None]

TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Webhook:
    """Posts ``{"text": …}`` to ``url``."""

    url: str

    def __call__(self, text: str) -> None:
        body = json.dumps({"text": text}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            pass


@dataclass(frozen=True)
class Mail:
    """Sends a mail by ``host``:``port`` without a login, as the mail server of an institute takes it."""

    host: str
    sender: str
    to: Sequence[str]
    port: int = 25

    def __call__(self, text: str) -> None:
        message = EmailMessage()
        message["Subject"] = text.splitlines()[0][:120]
        message["From"], message["To"] = self.sender, ", ".join(self.to)
        message.set_content(text)
        with smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S) as server:
            server.send_message(message)


def message_of(line: dict[str, Any]) -> str | None:
    """What people are told of a line of the journal; None for what runs as it should."""
    sample = line.get("sample", "")
    decision = line.get("decision", {})
    match line["event"]:
        case "attempt" if decision["choice"] in ("retake", "realign"):
            return f"{decision['choice'].upper()} {sample}: {decision['why']}"
        case "decided" if decision["choice"] == "reject":
            return f"REJECT {sample}: {decision['why']}"
        case "robot":
            return f"ROBOT {sample}: {decision['why']}"
        case "waiting":
            return f"IDLE: waiting for a server; {line['text']}"
        case "failed":
            return f"IDLE: the batch ended before its last sample: {line['text']}"
        case "ended":
            return "IDLE: the batch has ended"
        case _:
            return None


class Messenger:
    """Sends messages on a thread of its own; a listener of a journal. A message that cannot be sent is logged.

    When nothing is written for ``idle_s`` seconds between the start and the end of a batch, that is told, once.
    """

    def __init__(self, sends: Sequence[Send], idle_s: float = 600.0) -> None:
        self._sends, self._idle_s = tuple(sends), idle_s
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="messages", daemon=True)
        self._thread.start()

    def __call__(self, line: dict[str, Any]) -> None:
        self._lines.put(line)

    def close(self) -> None:
        """Send what waits, and end."""
        self._lines.put(None)
        self._thread.join(2 * TIMEOUT_S)

    def _run(self) -> None:
        busy, last = False, ""
        while True:
            try:
                line = self._lines.get(timeout=self._idle_s if busy else None)
            except queue.Empty:
                busy = False
                self._tell(f"IDLE: nothing has happened for {self._idle_s / 60:.3g} min; the last was: {last}")
                continue
            if line is None:
                return
            last = " ".join(str(line[key]) for key in ("event", "sample") if key in line)
            busy = line["event"] not in ("ended", "failed")
            if (text := message_of(line)) is not None:
                self._tell(text)

    def _tell(self, text: str) -> None:
        for send in self._sends:
            try:
                send(text)
            except Exception as error:
                log.warning("a message was not sent (%s): %s", error, text)
