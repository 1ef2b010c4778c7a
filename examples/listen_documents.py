"""Listen to the documents of a RunEngine that publishes them, here or on another machine.

python examples/listen_documents.py [ADDRESS] [RUNS]

It binds ADDRESS (default tcp://127.0.0.1:5578) and ends after RUNS runs (default 1). On the other side:
``RE.subscribe(DocumentPublisher("tcp://127.0.0.1:5578"))``, or STREAMER_DOCUMENTS for the startup module.
"""

import sys

import zmq

from streamer.frames import BadInput
from streamer_plans.publishing import read_document


def main(address: str, runs: int) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.bind(address)
        socket.subscribe(b"")
        print("listening", flush=True)
        while runs:
            try:
                name, document = read_document(socket.recv())
            except BadInput as error:
                print(error, flush=True)
                continue
            if name == "start":
                print(
                    f"{document['plan_name']} of {document['sample_name']}: {document['num_points']} frames", flush=True
                )
            elif name == "stream_datum":
                print(f"frames up to {document['indices']['stop']}", flush=True)
            elif name == "stop":
                print(f"{document['exit_status']}: {document.get('reason', '')}", flush=True)
                runs -= 1


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5578", int(sys.argv[2]) if len(sys.argv) > 2 else 1)
