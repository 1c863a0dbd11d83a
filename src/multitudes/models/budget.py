"""How much in all: prices, a budget, and the meter that keeps it."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass

from multitudes.core.errors import ConfigError
from multitudes.core.records import Usage
from multitudes.models.retry import Clock, TryFailed

log = logging.getLogger(__name__)


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
