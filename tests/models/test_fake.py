"""Each fake does what its line in the table says."""

import asyncio
import math

import pytest

from multitudes.core.errors import ConfigError, Unsupported
from multitudes.models.base import Message, Request, Sampling, ScoreItem
from multitudes.models.fake import (
    KINDS,
    FakeModel,
    FaultyModel,
    LatencyModel,
    TableModel,
    echo,
    people,
    scripted,
)


def ask(text="hello", *, system="You are Ada.", **more):
    return Request((Message("system", system), Message("user", text)), **more)


def replies(model, *requests):
    return asyncio.run(model.reply(requests))


def texts(model, *requests):
    return [reply.text for reply in replies(model, *requests)]


def test_echo_says_the_last_message_back():
    assert texts(echo(), ask("a"), ask("b  c")) == ["a", "b  c"]
    assert texts(echo("You said: "), ask("a")) == ["You said: a"]


def test_scripted_says_its_lines_over_and_over_or_what_a_function_returns():
    model = scripted(["one", "two"])
    assert texts(model, ask(), ask()) + texts(model, ask()) == ["one", "two", "one"]
    assert texts(scripted(lambda messages, seed: f"{len(messages)} {seed}"), ask(seed=7)) == ["2 7"]
    assert texts(scripted([]), ask()) == ["..."]


def test_people_vary_with_persona_turn_and_seed_and_with_nothing_else():
    ann, bob = "You are Ann.", "You are Bob."
    said = texts(people(), *(ask(system=s, seed=seed) for s in (ann, bob) for seed in range(20)))
    again = texts(people(), *(ask(system=s, seed=seed) for s in (ann, bob) for seed in range(20)))
    assert said == again
    assert len(set(said)) > 30
    assert set(said[:20]) != set(said[20:])
    assert texts(people(), ask("another turn", system=ann, seed=0)) != said[:1]
    assert len(set(texts(people(), ask(), ask(seed=0)))) == 1  # no seed is seed 0


def test_a_reply_is_cut_at_its_limit_and_counted_in_words():
    reply = replies(echo(), ask("one two three", sampling=Sampling(max_tokens=2)))[0]
    assert (reply.text, reply.finish, reply.usage.completion) == ("one two", "length", 2)
    assert reply.usage.prompt == 6
    whole = replies(echo(), ask("one two", sampling=Sampling(max_tokens=2), seed=5))[0]
    assert (whole.finish, whole.seed, whole.seed_status, whole.cost_usd) == ("stop", 5, "honoured", 0.0)


def test_calls_are_counted():
    model = FakeModel("fake:mine", lambda messages, seed: "x")
    replies(model, ask(), ask())
    assert model.calls == 2
    assert model.info.fingerprint == "fake:mine"
    assert FakeModel("fake:mine", lambda messages, seed: "x", fingerprint="v2").info.fingerprint == "v2"


def test_latency_runs_calls_beside_each_other_and_keeps_their_order():
    model = LatencyModel(low_s=0.001, high_s=0.02)
    assert texts(model, *(ask(str(i), seed=i) for i in range(12))) == [str(i) for i in range(12)]
    assert model.peak_in_flight == 12
    replies(model, ask())
    assert model._in_flight == 0


def test_latency_counts_a_cancelled_call_as_gone():
    model = LatencyModel(low_s=5, high_s=6)

    async def go():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(model.reply([ask()]), 0.01)

    asyncio.run(go())
    assert (model._in_flight, model.calls) == (0, 0)


def test_faulty_follows_its_plan_and_starts_over():
    got = replies(FaultyModel(["ok", "timeout", "say:", "say:half a verd"]), *(ask(seed=i) for i in range(6)))
    said = [r.fault.code if r.fault else r.text for r in got]
    assert said == ["hello", "timeout", "", "half a verd", "hello", "timeout"]
    assert [r.finish for r in got] == ["stop", "error", "stop", "stop", "stop", "error"]
    assert [r.seed for r in got] == list(range(6))
    assert texts(FaultyModel([]), ask()) == ["hello"]


def test_faulty_refuses_an_unknown_fault_at_once():
    with pytest.raises(ConfigError, match=r"plan\[1\]") as caught:
        FaultyModel(["ok", "sulk"])
    assert "'sulk'" in str(caught.value)
    assert "rate_limit" in str(caught.value)


def test_table_is_the_closed_form():
    table = TableModel({("You are Ada.", "yes"): 0.25, ("which?", "yes"): 0.5, ("which?", "no"): 1.0}, floor=1e-6)
    context = ask("which?").messages
    items = [
        ScoreItem(context, "yes"),
        ScoreItem(context, "yes", include_end=False),
        ScoreItem(context, "no"),
        ScoreItem(ask("other").messages, "yes"),
        ScoreItem(context, "unheard of"),
    ]
    scored = asyncio.run(table.score(items))
    assert [s.total for s in scored] == pytest.approx(
        [math.log(0.5), math.log(0.5), 0.0, math.log(0.25), math.log(1e-6)], abs=1e-12
    )
    assert [len(s.token_logp) for s in scored] == [2, 1, 2, 2, 2]
    assert {s.engine for s in scored} == {"fake:table"}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"table"}))
def test_other_fakes_have_no_probabilities_and_say_where_some_are(kind):
    model = KINDS[kind]()
    assert not model.info.score
    with pytest.raises(Unsupported, match="fake:table"):
        asyncio.run(model.score([ScoreItem(ask().messages, "x")]))
    assert model.calls == 0
