"""How many calls at once, and the only retries in the house: places, pauses, and a budget around each call."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from multitudes.core.errors import ConfigError
from multitudes.core.records import Usage
from multitudes.models.budget import Budget, Meter, Prices
from multitudes.models.retry import Clock, RetryPolicy, TryFailed

log = logging.getLogger(__name__)

# As many as a study holds at once by default; a server that refuses halves it at the first burst.
START_IN_FLIGHT = 64


class Limiter:
    """Places for calls in flight. Their number adapts: one more when all goes well, half on overload.

    A full window is as many successes in a row as there are places. A place is added when the window's p95 latency
    stays below twice that of the best window. Calls that were already in flight when the number was halved do not
    halve it again: one burst of refusals is one event.

    Attributes:
        limit: Places now.
        in_flight: Places taken.
    """

    def __init__(self, *, start: int = START_IN_FLIGHT, cap: int = 128) -> None:
        if cap < 1:
            raise ConfigError("no place for a call", where="max_in_flight", found=repr(cap), expected=">= 1")
        self.limit, self.in_flight = min(start, cap), 0
        self._cap = cap
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._window: list[float] = []
        self._best_p95_s = math.inf
        self._cuts = 0

    async def acquire(self) -> int:
        """Wait for a place, first come first served. The ticket goes back to ``release``."""
        if self.in_flight < self.limit:  # then nobody waits: every place that comes free is handed on at once
            self.in_flight += 1
            return self._cuts
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the place was handed over just before: pass it on
                self._free_place()
            raise
        return self._cuts

    def release(self, ticket: int, *, latency_s: float | None = None, overloaded: bool = False) -> None:
        """Give a place back.

        Args:
            ticket: From ``acquire``.
            latency_s: How long a success took; None for anything else.
            overloaded: The server said, or showed by a time-out, that this is too much.
        """
        if latency_s is not None:
            self._count(latency_s)
        else:
            self._window.clear()
        if overloaded and ticket == self._cuts:
            self.limit = max(1, self.limit // 2)
            self._cuts += 1
        self._free_place()

    def _count(self, latency_s: float) -> None:
        self._window.append(latency_s)
        if len(self._window) < self.limit:
            return
        p95_s = sorted(self._window)[math.ceil(0.95 * len(self._window)) - 1]
        self._window.clear()
        self._best_p95_s = min(self._best_p95_s, p95_s)
        if p95_s < 2 * self._best_p95_s:
            self.limit = min(self._cap, self.limit + 1)

    def _free_place(self) -> None:
        self.in_flight -= 1
        while self._waiting and self.in_flight < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)


T = TypeVar("T")


class Sent(NamedTuple, Generic[T]):
    """What came back, what it used if the server says, how often it was sent, and how long the last try took."""

    value: T
    usage: Usage | None
    tries: int
    latency_s: float


class Limits:
    """Sends calls: a budget around each call, a place around each try, pauses in between.

    Args:
        policy: When to try again.
        budget: How much in all.
        prices: What a token costs; None where unknown.
        max_in_flight: Most tries at once.
        clock: Time; a virtual one in tests.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        budget: Budget,
        *,
        prices: Prices | None = None,
        max_in_flight: int = 128,
        clock: Clock | None = None,
    ) -> None:
        self.policy, self.clock = policy, clock or Clock()
        self.meter = Meter(budget, prices=prices, clock=self.clock)
        self.limiter = Limiter(cap=max_in_flight)

    async def call(
        self, send: Callable[[], Awaitable[tuple[T, Usage | None]]], *, call_id: str, need: Usage
    ) -> Sent[T]:
        """What ``send`` returns, after as many tries as it takes and the policy allows.

        Args:
            send: One try. Raises ``TryFailed``; anything else passes through at once.
            call_id: Names the call in logs and seeds its jitter.
            need: The most it may use.

        Raises:
            TryFailed: The last failure, with the number of ``tries``.
        """
        await self.meter.reserve(need)
        used: Usage | None = Usage()  # a failed call is taken to have cost nothing
        try:
            sent = await self._try_often(send, call_id)
            used = sent.usage
            return sent
        finally:
            self.meter.settle(need, used)

    async def _try_often(self, send: Callable[[], Awaitable[tuple[T, Usage | None]]], call_id: str) -> Sent[T]:
        tries = 0
        while True:
            ticket = await self.limiter.acquire()
            latency_s, overloaded = None, False
            try:
                self.meter.check_open()
                tries, started = tries + 1, self.clock.now()
                value, usage = await send()
                latency_s = self.clock.now() - started
                return Sent(value, usage, tries, latency_s)
            except TryFailed as error:
                failure, overloaded = error, error.overloaded
            finally:
                self.limiter.release(ticket, latency_s=latency_s, overloaded=overloaded)
            failure.tries = tries
            pause_s = self.policy.pause_s(failure, attempt=tries, call_id=call_id)
            log.info("call %s, try %d: %s; next in %s s", call_id, tries, failure, pause_s)
            if pause_s is None:
                raise failure
            await self.clock.sleep(pause_s)
