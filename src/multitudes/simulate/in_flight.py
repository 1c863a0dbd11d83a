"""Many conversations at the same time, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

Asked = TypeVar("Asked")
Found = TypeVar("Found")


async def as_they_end(
    asked: Sequence[Asked], hold: Callable[[Asked], Coroutine[Any, Any, Found]], *, in_flight: int = 64
) -> AsyncGenerator[Found, None]:
    """Hold many at once, at most ``in_flight``, and yield each result as it comes.

    The first one that raises ends all, after those that had ended with it were yielded. Close it
    (``contextlib.aclosing``) where you may leave it early: what is in flight is then cancelled.
    """
    queue = iter(asked)
    running: set[asyncio.Task[Found]] = set()

    def start() -> None:
        for one in queue:
            running.add(asyncio.create_task(hold(one)))
            return

    for _ in range(in_flight):
        start()
    try:
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda t: t.exception() is not None):  # what was finished is not lost
                running.discard(task)
                found = task.result()
                start()
                yield found
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
