"""``streamer keys``: makes, lists and removes the keys of a daemon and its clients."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from streamer.cli.terminal.arguments import add_verb, checked
from streamer.keys import MEANING, KeyFolder, Role

DEFAULT = Path("keys")

MORE = """\
The daemon needs security.keys = "FOLDER" in its configuration. A client needs its file: --key FILE, or
STREAMER_KEY=FILE in the environment. Whoever has the file has the roles: hand it over by a safe way, keep no copy.
A new client is let in at once. The requests of a removed one are refused at once, and it cannot connect again; what it
subscribed to it hears until its connection ends.
"""


def add_parser(verbs: Any) -> None:
    roles = "; ".join(f"{role}: {MEANING[role]}" for role in Role)
    parser = add_verb(
        verbs,
        "keys",
        f"Keys for a daemon that other machines may reach. Roles of a client: {roles}.",
        {
            "keys make": "the folder keys, with the key of a daemon",
            "keys add viewer --role look -o viewer.key": "a client that may look, and the file that it needs",
            "keys add camera --role send --role look -o camera.key": "a client with two roles",
            "keys list": "who may do what",
            "keys remove viewer": "the end of a key",
        },
        MORE,
    )
    parser.add_argument(
        "--folder", type=Path, default=DEFAULT, metavar="FOLDER", help=f"folder of the keys (default {DEFAULT})"
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", help="what to do")
    actions.add_parser("make", help="make the folder and the key of a daemon")
    add = actions.add_parser("add", help="make the key of a client")
    add.add_argument("name", metavar="NAME", help="name of the client")
    add.add_argument(
        "--role",
        type=checked(Role),
        action="append",
        required=True,
        metavar="|".join(Role),
        help="what the client may do; may be given more than once",
    )
    add.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="write the key to FILE (mode 600)")
    actions.add_parser("list", help="list the clients")
    remove = actions.add_parser("remove", help="forget a client")
    remove.add_argument("name", metavar="NAME", help="name of the client")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    folder = KeyFolder(args.folder)
    if args.action == "make":
        folder.make()
        print(f'{args.folder}: a key of a daemon; its configuration needs security.keys = "{args.folder.resolve()}"')
    elif args.action == "add":
        client = folder.add(args.name, args.role, args.out)
        print(f"{args.out}: the key of {client.name}, who may {', '.join(sorted(client.roles))}")
    elif args.action == "remove":
        folder.remove(args.name)
        print(f"{args.name} is removed")
    else:
        folder.daemon()  # a folder without one is a mistyped folder
        for client in folder.clients():
            print(f"{client.name:20} {', '.join(sorted(client.roles)):20} {client.public}")
    return 0
