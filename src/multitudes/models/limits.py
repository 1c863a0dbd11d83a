"""How many calls at once, how often each, how much in all: places, the only retries in the house, and budgets."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Generic, NamedTuple, TypeVar

from multitudes.core.errors import ConfigError
from multitudes.core.records import Usage
from multitudes.core.seeds import derive_rng
from multitudes.models.base import FaultCode

log = logging.getLogger(__name__)


class Clock:
    """Time as the limits see it. Tests pass a virtual one."""

    def now(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970, for dates that a server names."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class TryFailed(Exception):
    """One try of a call that failed, and what that means for the next one. Becomes a ``ReplyFault``.

    Args:
        code: The fault it becomes if no later try succeeds.
        detail: What happened, without secrets.
        retry: Whether another try can help.
        overloaded: Whether it says that fewer calls should be in flight.
        retry_after_s: How long the server asked to wait.
        status: HTTP status, where there was one.
    """

    def __init__(
        self,
        code: FaultCode,
        detail: str,
        *,
        retry: bool = False,
        overloaded: bool = False,
        retry_after_s: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail, self.retry, self.overloaded = code, detail, retry, overloaded
        self.retry_after_s, self.status = retry_after_s, status
        self.tries = 0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed try is repeated. Pauses have full jitter: uniform between 0 and a doubling bound.

    Attributes:
        max_tries: Most tries of one call, the first included.
        base_s: Bound of the first pause.
        cap_s: Largest bound of a pause.
        retry_after_cap_s: Longest pause that a server may ask for; beyond it the call is given up.
        deadline_s: Longest time of one try.
    """

    max_tries: int = 6
    base_s: float = 0.5
    cap_s: float = 30.0
    retry_after_cap_s: float = 120.0
    deadline_s: float = 120.0

    def __post_init__(self) -> None:
        if self.max_tries < 1 or self.deadline_s <= 0:
            raise ConfigError("a call needs a try and time for it", where="policy", found=repr(self))

    def pause_s(self, failure: TryFailed, *, attempt: int, call_id: str) -> float | None:
        """How long to wait after try number ``attempt``; None to give up. The jitter is seeded by the call's id."""
        if not failure.retry or attempt >= self.max_tries:
            return None
        if failure.retry_after_s is not None:
            return failure.retry_after_s if failure.retry_after_s <= self.retry_after_cap_s else None
        bound_s = min(self.cap_s, self.base_s * 2.0 ** (attempt - 1))
        return float(derive_rng("retry", call_id, attempt).uniform(0.0, bound_s))


def parse_retry_after(value: str | None, *, wall_s: float) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, from a number or an HTTP date; None if it says neither.

    >>> parse_retry_after("2", wall_s=0.0)
    2.0
    >>> parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", wall_s=50.0)
    10.0
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - wall_s
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


START_IN_FLIGHT = (
    64  # as many as a study holds at once by default; a server that refuses halves it at the first burst
)


class Limiter:
    """Places for calls in flight. Their number adapts: one more when all goes well, half on overload.

    A full window is as many successes in a row as there are places. A place is added when the window's p95 latency
    stays below twice that of the best window. Calls that were already in flight when the number was halved do not
    halve it again: one burst of refusals is one event.

    Attributes:
        limit: Places now.
        in_flight: Places taken.
    """

    def __init__(self, *, start: int = 8, cap: int = 128) -> None:
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


@dataclass(frozen=True, slots=True)
class Prices:
    """What a model costs, in USD per million tokens."""

    usd_per_1m_prompt: float
    usd_per_1m_completion: float

    def cost_usd(self, usage: Usage) -> float:
        """Cost of ``usage``; a prompt token from the server's cache counts in full."""
        return (usage.prompt * self.usd_per_1m_prompt + usage.completion * self.usd_per_1m_completion) / 1e6


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that one model may use. None is no limit.

    Attributes:
        tokens: Prompt and completion tokens together.
        usd: Money.
        seconds: Wall time from the first call on.
    """

    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None

    @property
    def counts_tokens(self) -> bool:
        """Whether the size of a call matters."""
        return self.tokens is not None or self.usd is not None


class Meter:
    """Keeps a budget: reserve before a call, settle after it.

    A call that does not fit beside the running ones waits for them, because most need less than they reserved. One
    that does not fit beside what is spent closes the budget for good; else short calls would go on while long ones
    fail, and the results would lean towards short conversations.

    Attributes:
        spent: Tokens used so far; counted only where the budget limits tokens or money.
    """

    def __init__(self, budget: Budget, *, prices: Prices | None, clock: Clock) -> None:
        if budget.usd is not None and prices is None:
            raise ConfigError(
                "a budget in USD needs prices", where="prices", hint="give prices, or a budget in tokens"
            )
        self._budget, self._prices, self._clock = budget, prices, clock
        self.spent = self._reserved = Usage()
        self._ends = math.inf
        self._closed: str | None = None
        self._waiting: list[asyncio.Future[None]] = []

    async def reserve(self, need: Usage) -> None:
        """Set ``need`` aside, once it fits.

        Raises:
            TryFailed: ``budget``, if it never will.
        """
        if self._budget.seconds is not None and self._ends == math.inf:
            self._ends = self._clock.now() + self._budget.seconds
        self.check_open()
        if not self._budget.counts_tokens:
            return
        while True:
            self.check_open()  # another call may have closed it while this one waited
            if not self._fits(self.spent + need):
                self._close(f"{self.spent.prompt + self.spent.completion} tokens used, the next call does not fit")
            elif self._fits(self.spent + self._reserved + need):
                break
            else:
                turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiting.append(turn)
                await turn
        self._reserved += need

    def settle(self, need: Usage, used: Usage | None) -> None:
        """Replace what was reserved by what was used; by the reservation where the server does not say."""
        if not self._budget.counts_tokens:
            return
        self._reserved += Usage(prompt=-need.prompt, completion=-need.completion)
        self.spent += need if used is None else used
        self._wake()

    def check_open(self) -> None:
        """Refuse with ``budget`` once it is used up."""
        if self._clock.now() >= self._ends:
            self._close("time is up")
        if self._closed is not None:
            raise TryFailed("budget", self._closed)

    def _fits(self, usage: Usage) -> bool:
        limit = self._budget
        tokens_fit = limit.tokens is None or usage.prompt + usage.completion <= limit.tokens
        return tokens_fit and (limit.usd is None or self._prices is None or self._prices.cost_usd(usage) <= limit.usd)

    def _close(self, why: str) -> None:
        if self._closed is None:
            self._closed = f"{self._budget}: {why}"
            log.warning("no new calls: %s", self._closed)
        self._wake()

    def _wake(self) -> None:
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
        self._waiting.clear()


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
        self.limiter = Limiter(start=START_IN_FLIGHT, cap=max_in_flight)

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
