from __future__ import annotations

import json
from pathlib import Path

from streamer.io.batch_queue import EVERY_S, JOURNAL, Queue, QueueFile


def line(event: str, minute: int, **entries: object) -> str:
    return json.dumps({"time": f"2026-11-27T03:{minute:02}:00+00:00", "event": event, **entries})


def test_the_queue_of_a_batch() -> None:
    queue = Queue()
    samples = [{"scan": {"sample": name}, "slot": slot, "priority": 0} for slot, name in enumerate(("a", "b", "c"))]
    queue.read([line("started", 0, samples=samples), "no json", "[]", line("scanning", 1, sample="a")])
    assert [sample.state for sample in queue.samples.values()] == ["waiting"] * 3
    assert queue.left_s is None
    queue.read([line("scanning", 1, sample="a", scan_id="a-1")])
    assert queue.samples["a"].state == "scanning"
    queue.read([line("attempt", 2, sample="a", outcome={"verdict": "RETAKE"}, decision={})])
    queue.read([line("scanning", 2, sample="a", scan_id="a-2"), line("interrupted", 3, sample="a")])
    assert queue.samples["a"].state == "waiting"
    queue.read([line("attempt", 4, sample="a", outcome={"verdict": "ENOUGH"}, decision={})])
    queue.read([line("decided", 4, sample="a", decision={"choice": "accept"})])
    done = queue.samples["a"]
    assert (done.state, done.attempts, done.verdict, done.scan_id) == ("accept", 2, "ENOUGH", "a-2")
    assert (queue.done, queue.left_s) == (1, 480.0)
    queue.read([line("waiting", 5, text="for the daemon")])
    assert queue.note == "for the daemon"


def test_a_journal_that_grows_is_followed_to_its_last_whole_line(tmp_path: Path) -> None:
    file = QueueFile(tmp_path)
    file.poll(0.0)
    assert not file.queue.samples, "the file may come later"
    samples = [{"scan": {"sample": "a"}, "slot": 3}]
    text = line("started", 0, samples=samples) + "\n" + line("scanning", 1, sample="a", scan_id="a-1") + "\n"
    (tmp_path / JOURNAL).write_text(text[:-20], encoding="utf-8")
    file.poll(EVERY_S)
    assert file.queue.samples["a"].state == "waiting"
    (tmp_path / JOURNAL).write_text(text, encoding="utf-8")
    file.poll(1.5 * EVERY_S)
    assert file.queue.samples["a"].state == "waiting", "it is read once a second"
    file.poll(2 * EVERY_S)
    assert (file.queue.samples["a"].state, file.queue.samples["a"].slot) == ("scanning", 3)
