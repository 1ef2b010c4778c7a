"""Put a batch of plans into the queue of bluesky-queueserver, run it, and say how each of them ended.

python examples/queue_batch.py [BATCH] [MANAGER]

BATCH is a list of items in JSON (default examples/queue_batch.json), MANAGER the control socket of the RE Manager
(default tcp://127.0.0.1:60615); docs/how-to/queueserver.md says how to start it. A wrong item is refused, and nothing
moves then.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from bluesky_queueserver import ZMQCommSendThreads


def main(batch: Path, address: str) -> int:
    manager = ZMQCommSendThreads(zmq_server_address=address)

    def ask(method: str, **params: Any) -> dict[str, Any]:
        reply: dict[str, Any] = manager.send_message(method=method, params=params)
        return reply

    def wait_for(*states: str) -> dict[str, Any]:
        while (status := ask("status"))["manager_state"] not in states:
            time.sleep(0.2)
        return status

    try:
        if not wait_for("idle")["worker_environment_exists"]:
            ask("environment_open")
            time.sleep(0.5)
            wait_for("idle")
        items = json.loads(batch.read_text(encoding="utf-8"))
        added = ask("queue_item_add_batch", items=items, user="batch", user_group="primary")
        for item, result in zip(items, added["results"], strict=True):
            print(f"{item['name']}: {'queued' if result['success'] else result['msg']}")
        if not added["success"]:
            return 1  # all or nothing
        ask("queue_start")
        time.sleep(0.5)
        wait_for("idle", "paused")
        for done in ask("history_get")["items"][-len(items) :]:
            print(f"{done['name']} {done['result']['exit_status']}: {done['result']['msg'] or 'no complaint'}")
        return 0
    finally:
        manager.close()


if __name__ == "__main__":
    here = Path(__file__).with_suffix(".json")
    paths = sys.argv[1:] or [str(here)]
    sys.exit(main(Path(paths[0]), paths[1] if len(paths) > 1 else "tcp://127.0.0.1:60615"))
