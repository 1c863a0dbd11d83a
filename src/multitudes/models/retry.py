"""How one try of a call fails, and whether and when the next one follows. The loop that tries is in ``limits.py``."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from multitudes.core.errors import ConfigError
from multitudes.core.seeds import derive_rng
from multitudes.models.base import FaultCode


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
