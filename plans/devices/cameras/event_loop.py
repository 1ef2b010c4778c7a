"""An event loop on a thread of its own, for cameras whose methods are coroutines.

The calls of a camera come from several threads, and some from the RunEngine's, whose loop must not wait for itself.
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from streamer.client import LinkError, LinkTimeout

log = logging.getLogger(__name__)

T = TypeVar("T")

CLOSE_S = 2.0


class EventLoop:
    """Runs coroutines one beside the other; ``name`` is what errors call the device behind them.

    The thread begins with the first coroutine.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._serves = threading.Event()
        self._lock = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether it has run, and runs no more: it was closed, or a coroutine ended the thread."""
        return self._serves.is_set() and not self._thread.is_alive()

    def run(self, work: Coroutine[Any, Any, T], limit_s: float) -> T:
        """The result of a coroutine; not to be called on the loop's own thread.

        Raises LinkTimeout when there is none within ``limit_s``: the coroutine is cancelled, or the loop is blocked.
        Raises LinkError for whatever else goes wrong.
        """
        self._begin(work)
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(limit_s)
        except TimeoutError as error:
            future.cancel()
            raise LinkTimeout(f"{self._name}: {_text(error) or f'no answer within {limit_s:g} s'}") from error
        except Exception as error:
            # ophyd-async's NotConnectedError is no TimeoutError.
            kind = LinkTimeout if type(error).__name__ == "NotConnectedError" else LinkError
            raise kind(f"{self._name}: {_text(error) or type(error).__name__}") from error

    def post(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin a coroutine, and do not wait for it. Raises LinkError when the loop has ended."""
        self._begin(work)
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Cancel whatever runs, and end the thread; a coroutine that blocks it holds it up no longer than CLOSE_S."""
        with self._lock:
            if self._serves.is_set() and self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._closing.set)
                self._thread.join(CLOSE_S)

    def _work(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException:  # a coroutine's SystemExit ends the loop, and must not do so in silence
            log.exception("%s: its event loop has ended", self._name)

    async def _serve(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        self._serves.set()
        await self._closing.wait()

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        with self._lock:
            if not self._serves.is_set():
                self._thread.start()
                self._serves.wait()
        if self.ended:
            work.close()
            raise LinkError(f"{self._name}: its event loop has ended; start the session anew")


def _text(error: BaseException) -> str:
    return " ".join(str(error).split())
