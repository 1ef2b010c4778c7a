"""The one interface of what starts the processes of a cluster and tells of their death."""

from __future__ import annotations

from typing import Protocol

from streamer.cluster.messages import Ready, Setup


class Helper(Protocol):
    """A process of a cluster."""

    @property
    def pid(self) -> int:
        """On the machine that it runs on; 0 until it is known, at the latest when it is ready."""

    @property
    def alive(self) -> bool: ...

    @property
    def is_ready(self) -> bool:
        """Whether it can work; does not wait."""

    def ready(self) -> Ready:
        """Its endpoints; waits until it can work. Raises BadInput when it cannot."""

    def leave(self) -> None:
        """Have it notice that nothing is wanted of it any more."""

    def end(self, timeout_s: float) -> None:
        """Wait until it ends, and no longer than that."""


class Engine(Protocol):
    """Places processes on what there is. Frames and calls never go through it."""

    @property
    def gpus(self) -> int:
        """That shards may have, one each."""

    def reserve(self, shards: int, spares: int, threads: int | None) -> None:
        """Have places granted for so many processes, each with its ``threads`` (None: at least one).

        Raises BadInput within two seconds, with what there is, when they are not.
        """

    def start(self, program: str, setup: Setup, gpu: int | None = None, here: bool = False) -> Helper:
        """Start a module of this package as a program; ``gpu`` is the only one that it sees, if the engine does not
        choose. ``here``: on the machine of the scout. Raises OSError.
        """

    def close(self) -> None:
        """Nothing more is started; what still runs is not waited for."""
