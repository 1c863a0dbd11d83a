"""One event loop for the whole process: async inside, plain calls at the edge."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

CLEANUP_S = 20.0  # how long an interrupt waits for the work in flight to close its store and clients

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="multitudes-loop", daemon=True).start()
        return _loop


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` on the package's loop and wait for it; works in scripts and in notebooks.

    One loop lives as long as the process, so pooled clients stay open between calls. An interrupt cancels
    the coroutine, waits up to ``CLEANUP_S`` for its clean-up and then passes on.
    """
    ended = threading.Event()

    async def guarded() -> T:
        try:
            return await coroutine
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(guarded(), _running_loop())
    try:
        return future.result()
    except KeyboardInterrupt:
        future.cancel()
        ended.wait(CLEANUP_S)
        raise
