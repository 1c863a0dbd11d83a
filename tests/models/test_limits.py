import asyncio

import pytest

from multitudes.core.errors import ConfigError
from multitudes.core.records import Usage
from multitudes.models.budget import Budget, Prices
from multitudes.models.limits import START_IN_FLIGHT, Limiter, Limits
from multitudes.models.retry import Clock, RetryPolicy, TryFailed, parse_retry_after

NEED = Usage(prompt=10, completion=10)


class VirtualClock(Clock):
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.time_s = 1000.0
        self.pauses: list[float] = []

    def now(self):
        return self.time_s

    def wall(self):
        return self.time_s

    async def sleep(self, seconds):
        self.pauses.append(seconds)
        self.time_s += seconds
        await asyncio.sleep(0)


class Server:
    """Follows a plan of failures, then succeeds; a try takes ``seconds`` of virtual time."""

    def __init__(self, clock, plan=(), *, used=NEED, seconds=1.0):
        self.clock, self.plan, self.used, self.seconds = clock, list(plan), used, seconds
        self.calls = 0

    async def __call__(self):
        self.calls += 1
        await asyncio.sleep(0)
        self.clock.time_s += self.seconds
        if self.plan:
            failure = self.plan.pop(0)
            if failure is not None:
                raise failure
        return "said", self.used


down = lambda **more: TryFailed("server", "down", retry=True, **more)  # noqa: E731
busy = lambda **more: TryFailed("rate_limit", "busy", retry=True, overloaded=True, **more)  # noqa: E731


def run(server, *, policy=RetryPolicy(), budget=Budget(), call_id="c", **more):  # noqa: B008
    limits = Limits(policy, budget, clock=server.clock, **more)
    return asyncio.run(limits.call(server, call_id=call_id, need=NEED)), limits


# --- retries ---------------------------------------------------------------------------------------------------


def test_a_call_is_tried_until_it_succeeds():
    server = Server(VirtualClock(), [down(), down()])
    sent, _ = run(server)
    assert (sent.value, sent.tries, server.calls, sent.latency_s) == ("said", 3, 3, 1.0)
    assert len(server.clock.pauses) == 2


def test_six_tries_and_no_more():
    server = Server(VirtualClock(), [down() for _ in range(9)])
    with pytest.raises(TryFailed) as caught:
        run(server)
    assert (server.calls, caught.value.tries, caught.value.code) == (6, 6, "server")
    bounds = [0.5, 1, 2, 4, 8]
    assert all(0 <= pause <= bound for pause, bound in zip(server.clock.pauses, bounds, strict=True))


def test_what_cannot_be_helped_is_not_tried_again():
    server = Server(VirtualClock(), [TryFailed("refused", "no")])
    with pytest.raises(TryFailed) as caught:
        run(server)
    assert (server.calls, caught.value.tries, server.clock.pauses) == (1, 1, [])


def test_other_errors_pass_at_once_and_give_their_place_back():
    server = Server(VirtualClock(), [ZeroDivisionError()])
    limits = Limits(RetryPolicy(), Budget(), clock=server.clock)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(limits.call(server, call_id="c", need=NEED))
    assert (server.calls, limits.limiter.in_flight) == (1, 0)


def test_jitter_belongs_to_the_call_and_stays_below_the_cap():
    def pause(call_id, attempt):
        return RetryPolicy(max_tries=99).pause_s(down(), attempt=attempt, call_id=call_id)

    assert pause("a", 3) == pause("a", 3)
    assert pause("a", 3) != pause("b", 3)
    many = [pause(str(i), 50) for i in range(400)]
    assert max(many) <= 30
    assert 13 < sum(many) / len(many) < 17  # full jitter: mean 15, standard error 0.43


def test_retry_after_wins_up_to_its_cap():
    server = Server(VirtualClock(), [busy(retry_after_s=7.0), busy(retry_after_s=120.0)])
    sent, _ = run(server)
    assert (sent.tries, server.clock.pauses) == (3, [7.0, 120.0])


def test_retry_after_beyond_its_cap_ends_the_call():
    server = Server(VirtualClock(), [busy(retry_after_s=121.0)])
    with pytest.raises(TryFailed) as caught:
        run(server)
    assert (server.calls, caught.value.code, server.clock.pauses) == (1, "rate_limit", [])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("", None), ("soon", None), ("nan", None), ("inf", None),
        ("3", 3.0), (" 1.5 ", 1.5), ("-4", 0.0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after_header(value, seconds):
    assert parse_retry_after(value, wall_s=100.0) == seconds


@pytest.mark.parametrize("bad", [{"max_tries": 0}, {"deadline_s": 0.0}])
def test_a_policy_must_allow_a_try(bad):
    with pytest.raises(ConfigError):
        RetryPolicy(**bad)


# --- places ----------------------------------------------------------------------------------------------------


def succeed(limiter, times, latency_s=1.0):
    async def go():
        for _ in range(times):
            limiter.release(await limiter.acquire(), latency_s=latency_s)

    asyncio.run(go())
    return limiter.limit


def overload(limiter):
    asyncio.run(_overload(limiter))
    return limiter.limit


async def _overload(limiter):
    limiter.release(await limiter.acquire(), overloaded=True)


def test_a_full_window_of_successes_adds_one_place():
    limiter = Limiter(start=8)
    assert succeed(limiter, 7) == 8
    assert succeed(limiter, 1) == 9
    assert succeed(limiter, 8) == 9
    assert succeed(limiter, 1) == 10


def test_a_slow_window_adds_nothing():
    limiter = Limiter(start=8)
    assert succeed(limiter, 8, latency_s=1.0) == 9
    assert succeed(limiter, 9, latency_s=2.0) == 9  # not below twice the best
    assert succeed(limiter, 9, latency_s=1.9) == 10


def test_p95_forgives_one_in_twenty_but_not_two():
    limiter = Limiter(start=20)
    assert succeed(limiter, 20) == 21
    succeed(limiter, 1, latency_s=9.0)
    assert succeed(limiter, 20) == 22
    succeed(limiter, 2, latency_s=9.0)
    assert succeed(limiter, 20) == 22


def test_a_failure_starts_the_window_over():
    limiter = Limiter(start=8)
    succeed(limiter, 7)
    asyncio.run(_fail(limiter))
    assert succeed(limiter, 7) == 8
    assert succeed(limiter, 1) == 9


async def _fail(limiter):
    limiter.release(await limiter.acquire())


def test_overload_halves_down_to_one():
    limiter = Limiter(start=8)
    assert [overload(limiter) for _ in range(5)] == [4, 2, 1, 1, 1]


def test_a_burst_of_refusals_is_one_event():
    async def go():
        limiter = Limiter(start=8)
        tickets = [await limiter.acquire() for _ in range(8)]
        for ticket in tickets:
            limiter.release(ticket, overloaded=True)
        return limiter.limit

    assert asyncio.run(go()) == 4


def test_the_cap_holds():
    assert succeed(Limiter(start=8, cap=9), 200) == 9
    assert Limiter(cap=3).limit == 3
    assert Limiter().limit == START_IN_FLIGHT
    with pytest.raises(ConfigError):
        Limiter(cap=0)


def test_no_more_calls_than_places_and_no_lost_wake_up():
    async def go():
        limiter, peak, done = Limiter(start=3, cap=3), 0, 0

        async def call(i):
            nonlocal peak, done
            ticket = await limiter.acquire()
            try:
                peak = max(peak, limiter.in_flight)
                await asyncio.sleep(0)
            finally:
                limiter.release(ticket, overloaded=i % 7 == 0)
            done += 1

        tasks = [asyncio.create_task(call(i)) for i in range(200)]
        await asyncio.sleep(0)
        for task in tasks[1::3]:
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), timeout=5)
        assert limiter.in_flight == 0
        assert peak <= 3
        assert done == sum(not task.cancelled() for task in tasks)

    asyncio.run(go())


def test_a_place_handed_to_a_cancelled_call_is_passed_on():
    async def go():
        limiter = Limiter(start=1, cap=1)
        ticket = await limiter.acquire()
        first, second = (asyncio.create_task(limiter.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        limiter.release(ticket)  # hands the place to the first
        first.cancel()  # before it can wake up
        await asyncio.wait_for(second, timeout=1)
        assert first.cancelled()
        assert limiter.in_flight == 1

    asyncio.run(go())


# --- budgets ---------------------------------------------------------------------------------------------------


def many(server, n, *, budget, need=NEED, **more):
    """n calls at once: the codes of their ends, in order."""
    limits = Limits(RetryPolicy(), budget, clock=server.clock, **more)

    async def one(i):
        try:
            return (await limits.call(server, call_id=str(i), need=need)).value
        except TryFailed as failure:
            return failure.code

    async def go():
        return await asyncio.wait_for(asyncio.gather(*(one(i) for i in range(n))), timeout=5)

    return asyncio.run(go()), limits


def test_tokens_spent_is_tokens_refused():
    server = Server(VirtualClock())
    ends, limits = many(server, 10, budget=Budget(tokens=70))
    assert sorted(ends) == ["budget"] * 7 + ["said"] * 3
    assert server.calls == 3
    assert limits.meter.spent == Usage(prompt=30, completion=30)


def test_a_call_waits_where_only_reservations_are_in_its_way():
    server = Server(VirtualClock(), used=Usage(prompt=1, completion=1))
    ends, _ = many(server, 10, budget=Budget(tokens=40))  # two reservations fill it; ten calls use 20
    assert ends == ["said"] * 10


def test_once_closed_a_budget_stays_closed():
    clock = VirtualClock()
    server = Server(clock)
    limits = Limits(RetryPolicy(), Budget(tokens=50), clock=clock)

    async def go():
        await limits.call(server, call_id="1", need=NEED)
        for need in (Usage(prompt=31), Usage(prompt=1)):
            with pytest.raises(TryFailed, match="budget"):
                await limits.call(server, call_id="2", need=need)

    asyncio.run(go())
    assert server.calls == 1


def test_money_is_counted_at_the_given_prices():
    server = Server(VirtualClock())
    prices = Prices(1e6, 2e6)  # 1 and 2 USD a token: 30 USD a call
    ends, _ = many(server, 5, budget=Budget(usd=60.0), prices=prices)
    assert sorted(ends) == ["budget"] * 3 + ["said"] * 2
    with pytest.raises(ConfigError, match="prices"):
        Limits(RetryPolicy(), Budget(usd=1.0))


def test_time_is_up_for_waiting_calls_but_running_ones_finish():
    server = Server(VirtualClock(), seconds=1.0)
    ends, limits = many(server, 6, budget=Budget(seconds=2.0), max_in_flight=1)
    assert ends == ["said", "said", "budget", "budget", "budget", "budget"]
    assert (server.calls, limits.limiter.in_flight) == (2, 0)


def test_time_runs_out_between_tries():
    server = Server(VirtualClock(), [busy(retry_after_s=50.0)])
    with pytest.raises(TryFailed) as caught:
        run(server, budget=Budget(seconds=10.0))
    assert (caught.value.code, caught.value.tries, server.calls) == ("budget", 1, 1)


def test_unknown_usage_counts_as_reserved_and_failures_as_nothing():
    server = Server(VirtualClock(), used=None)
    _, limits = run(server, budget=Budget(tokens=100))
    assert limits.meter.spent == NEED
    server = Server(VirtualClock(), [TryFailed("refused", "no")])
    ends, limits = many(server, 1, budget=Budget(tokens=100))
    assert (ends, limits.meter.spent) == (["refused"], Usage())


def test_a_cancelled_call_frees_its_reservation():
    async def go():
        limits = Limits(RetryPolicy(), Budget(tokens=20), clock=VirtualClock())
        hanging = asyncio.create_task(limits.call(asyncio.Event().wait, call_id="1", need=NEED))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(limits.call(Server(limits.clock), call_id="2", need=NEED))
        await asyncio.sleep(0)
        hanging.cancel()
        assert (await asyncio.wait_for(waiting, timeout=1)).value == "said"

    asyncio.run(go())
