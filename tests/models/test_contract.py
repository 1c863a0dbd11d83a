"""One suite for everything that speaks: what a caller may rely on, whatever the engine."""

import asyncio
import doctest
import importlib
from typing import get_args

import pytest

from multitudes.core.errors import ConfigError, Unsupported
from multitudes.core.records import SeedStatus, Usage
from multitudes.models.base import Capabilities, Message, Reply, Request, Sampling, Scored, ScoreItem
from multitudes.models.endpoint import EndpointModel
from multitudes.models.fake import KINDS, FaultyModel, LatencyModel, TableModel, echo
from multitudes.models.loopback import serve
from multitudes.models.retry import RetryPolicy

QUICK = RetryPolicy(max_tries=2, base_s=0.001, cap_s=0.002, deadline_s=2.0)
FAKES = {f"fake:{kind}": make for kind, make in KINDS.items()} | {
    "fake:faulty": lambda: FaultyModel(["ok"]),
    "fake:latency": lambda: LatencyModel(low_s=0.001, high_s=0.003),
    "fake:table": lambda: TableModel({("hello", "yes"): 0.5}),
}
NAMES = [*sorted(FAKES), "fake:tiny", "endpoint"]


@pytest.fixture(autouse=True)
def _no_key_of_the_machine(monkeypatch):
    for name in ("MULTITUDES_API_KEY", "OPENAI_API_KEY", "MULTITUDES_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


def using(name, work, *, faults=()):
    """What ``await work(model, calls)`` gives; ``calls()`` is how many replies were computed or asked of a server."""

    async def go():
        if name == "endpoint":
            server = serve(echo(), faults=faults)
            async with server as url:
                model = EndpointModel(url, "m", policy=QUICK)
                try:
                    return await work(model, lambda: server.requests)
                finally:
                    await model.aclose()
        if name == "fake:tiny":
            pytest.importorskip("torch")
            from multitudes.models.local.tiny import tiny_model

            model = tiny_model()
            counter = lambda: model.batcher.prefill_tokens  # noqa: E731
        else:
            model = FaultyModel(faults) if faults else FAKES[name]()
            counter = lambda: model.calls  # noqa: E731
        try:
            return await work(model, counter)
        finally:
            await model.aclose()

    return asyncio.run(go())


def ask(text="hello", **more):
    messages = (Message("system", "You are Ada."), Message("user", text))
    return Request(messages, **{"sampling": Sampling(temperature=0, max_tokens=8)} | more)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_it_says_what_it_is(name):
    async def work(model, calls):
        return model.info, calls()

    info, calls = using(name, work)
    assert isinstance(info, Capabilities)
    assert info.name
    assert info.engine
    assert info.fingerprint
    assert info.seed_status in get_args(SeedStatus)
    assert calls == 0


def test_an_empty_batch_gives_an_empty_list(name):
    async def work(model, calls):
        replies = await model.reply([])
        scored = await model.score([]) if model.info.score else []
        return replies, scored, calls()

    assert using(name, work) == ([], [], 0)


def test_results_come_in_the_order_of_requests(name):
    asked = [f"{'word ' * (i % 4)}number {i}" for i in range(9)]

    async def work(model, calls):
        together = await model.reply([ask(text, seed=i) for i, text in enumerate(asked)])
        backwards = await model.reply([ask(text, seed=i) for i, text in [*enumerate(asked)][::-1]])
        return together, backwards[::-1]

    together, backwards = using(name, work)
    assert all(isinstance(reply, Reply) for reply in together)
    assert [reply.seed for reply in together] == list(range(9))
    assert [reply.text for reply in together] == [reply.text for reply in backwards]
    if name in ("fake:echo", "fake:latency", "fake:faulty", "fake:table", "endpoint"):
        assert [reply.text for reply in together] == asked


def test_callers_at_the_same_time_get_their_own_replies(name):
    async def work(model, calls):
        single = [(await model.reply([ask(f"number {i}", seed=i)]))[0] for i in range(6)]
        waited = await asyncio.gather(*(model.reply([ask(f"number {i}", seed=i)]) for i in range(6)))
        return single, [replies[0] for replies in waited]

    single, together = using(name, work)
    assert [reply.text for reply in single] == [reply.text for reply in together]


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ((), "messages"),
        ((Message("user", "a"), Message("system", "b")), r"messages\[1\]"),
        ((Message("user", "a"), Message("assistant", "b")), r"messages\[1\]"),
        ((Message("bard", "a"),), r"messages\[0\]"),
    ],
)
def test_messages_that_nobody_can_answer_are_refused_by_their_index(name, bad, where):
    async def work(model, calls):
        with pytest.raises(ConfigError, match=rf"requests\[2\]\.{where}"):
            await model.reply([ask(), ask(), Request(bad)])
        return calls()

    assert using(name, work) == 0


@pytest.mark.parametrize(
    "messages",
    [
        (Message("system", "You open."),),
        (Message("system", "You opened."), Message("assistant", "Hello."), Message("user", "Hi.")),
        (Message("user", "No system text."),),
        (Message("system", ""), Message("user", "An empty one.")),
        (Message("system", "Two in a row."), Message("user", "One."), Message("user", "Two.")),
    ],
)
def test_openings_that_are_legal(name, messages):
    async def work(model, calls):
        return await model.reply([Request(messages, Sampling(temperature=0, max_tokens=3))])

    assert using(name, work)[0].fault is None


@pytest.mark.parametrize(
    ("name", "faults", "texts", "codes"),
    [
        ("fake:faulty", ["ok", "server", "ok"], ["a", "b", "c"], [None, "server", None]),
        ("fake:tiny", (), ["a", "b" * 3000, "c"], [None, "too_long", None]),
    ],
)
def test_a_fault_is_a_reply_and_its_neighbours_are_fine(name, faults, texts, codes):
    async def work(model, calls):
        return await model.reply([ask(text, seed=i) for i, text in enumerate(texts)])

    _check_faults(using(name, work, faults=faults), codes)


def test_a_fault_of_a_server_is_a_reply():
    async def work(model, calls):
        return [(await model.reply([ask(text, seed=i)]))[0] for i, text in enumerate("abc")]

    _check_faults(using("endpoint", work, faults=["ok", "400", "ok"]), [None, "refused", None])


def _check_faults(replies, codes):
    assert [reply.fault.code if reply.fault else None for reply in replies] == codes
    assert [reply.finish == "error" for reply in replies] == [code is not None for code in codes]
    assert [reply.seed for reply in replies] == [0, 1, 2]
    assert all(reply.fault.detail for reply in replies if reply.fault)


def test_replies_carry_a_seed_status_an_engine_and_a_time(name):
    async def work(model, calls):
        return model.info, await model.reply([ask(seed=3), ask()])

    info, replies = using(name, work)
    for reply in replies:
        assert reply.seed_status in get_args(SeedStatus)
        assert reply.engine.startswith(info.fingerprint)
        assert reply.latency_s >= 0
        assert reply.tries >= 1
        assert not reply.cache_hit
    assert replies[0].seed == 3


def test_no_engine_claims_more_than_it_shows(name):
    """``honoured`` means: the same seed, the same text."""

    async def work(model, calls):
        sampling = Sampling(temperature=1, max_tokens=8)
        return [(await model.reply([ask(seed=5, sampling=sampling)]))[0] for _ in range(2)]

    first, second = using(name, work)
    assert first.seed_status == second.seed_status
    if first.seed_status == "honoured":
        assert first.text == second.text


def test_usage_counts(name):
    async def work(model, calls):
        return await model.reply([ask("one"), ask("one " * 30)])

    short, long = using(name, work)
    for reply in (short, long):
        assert isinstance(reply.usage, Usage)
        assert 0 < reply.usage.completion <= 8
        assert 0 <= reply.usage.cached <= reply.usage.prompt
        assert reply.cost_usd is None or reply.cost_usd >= 0
    assert 0 < short.usage.prompt < long.usage.prompt


def test_a_limit_on_tokens_holds(name):
    async def work(model, calls):
        return (await model.reply([ask("one two three four", sampling=Sampling(temperature=0, max_tokens=1))]))[0]

    reply = using(name, work)
    assert reply.usage.completion == 1
    assert reply.fault is None


def test_score_works_or_is_refused_before_any_work(name):
    context = ask().messages
    items = [ScoreItem(context, "yes"), ScoreItem(context, "no"), ScoreItem(context, "yes", include_end=False)]

    async def work(model, calls):
        if not model.info.score:
            with pytest.raises(Unsupported) as caught:
                await model.score(items)
            return caught.value, calls()
        for bad, where in (
            (ScoreItem(context, ""), r"items\[1\]\.continuation"),
            (ScoreItem((), "yes"), r"items\[1\]\.context"),
            (ScoreItem((*context, Message("assistant", "a")), "yes"), r"items\[1\]\.context\[2\]"),
        ):
            with pytest.raises(ConfigError, match=where):
                await model.score([items[0], bad])
        assert calls() == 0
        return await model.score(items), await model.score(items[::-1])

    first, second = using(name, work)
    if isinstance(first, Unsupported):
        assert (first.flag, second) == ("score", 0)
        return
    assert all(isinstance(scored, Scored) for scored in first)
    assert [s.total for s in first] == pytest.approx([s.total for s in second[::-1]], abs=1e-6)
    assert all(p <= 0 for scored in first for p in scored.token_logp)
    assert len(first[0].token_logp) == len(first[2].token_logp) + 1
    assert first[0].token_logp[:-1] == pytest.approx(first[2].token_logp, abs=1e-6)
    assert len({scored.engine for scored in first}) == 1


def test_a_cancelled_caller_leaves_the_others_alone(name):
    async def work(model, calls):
        others = asyncio.gather(*(model.reply([ask(f"number {i}", seed=i)]) for i in range(3)))
        leaver = asyncio.ensure_future(model.reply([ask("never mind")]))
        await asyncio.sleep(0)
        leaver.cancel()
        replies = [replies[0] for replies in await others]
        return replies, [(await model.reply([ask(f"number {i}", seed=i)]))[0] for i in range(3)]

    replies, later = using(name, work)
    assert [reply.fault for reply in replies] == [None] * 3
    if name != "fake:scripted":
        assert [reply.text for reply in replies] == [reply.text for reply in later]


@pytest.mark.parametrize("module", ["fake", "load", "loopback", "retry", "schema", "transport"])
def test_examples_in_docstrings_are_true(module):
    result = doctest.testmod(importlib.import_module(f"multitudes.models.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
