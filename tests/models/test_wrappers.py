"""Remedies for sameness are models like any other: what they change, and what they leave alone."""

from dataclasses import replace

import pytest

from multitudes.core.errors import ConfigError, Unsupported
from multitudes.core.loop import run_sync
from multitudes.models.base import Message, Reply, Request, Sampling, ScoreItem
from multitudes.models.fake import TableModel, scripted
from multitudes.models.load import load
from multitudes.models.wrappers.minimal import Minimal, document
from multitudes.models.wrappers.random_text import RandomText
from multitudes.models.wrappers.temperature import Temperature
from multitudes.models.wrappers.verbalized import Verbalized, parse_candidates

ASKED = (Message("system", "You are Ana. You keep bees."), Message("user", "Hello?"))


class Recorder:
    """Answers with a fixed text and remembers what it was asked."""

    def __init__(self, text):
        self.text, self.seen, self.info, self.finish = text, [], scripted(["x"]).info, "stop"

    async def reply(self, requests):
        self.seen += requests
        return [Reply(self.text, self.finish, seed=r.seed) for r in requests]

    async def score(self, items):
        self.seen += items
        return await TableModel({}).score(items)

    async def aclose(self):
        self.seen.append("closed")


def ask(model, n=1, **more):
    return run_sync(model.reply([Request(ASKED, Sampling(max_tokens=20), seed=k, **more) for k in range(n)]))


LIST = 'Sure!\n1. 70% Good day to you.\n2. (20%) - Hi.\n3) 5%: "What now?"\n4. maybe Hm.\n- 5% Bye.'


def test_verbalized_draws_by_stated_probability_and_never_gives_the_raw_list():
    inner = Recorder(LIST)
    said = [r.text for r in ask(Verbalized(inner), 600)]
    assert set(said) == {"Good day to you.", "Hi.", "What now?", "Bye."}
    assert said.count("Good day to you.") / 600 == pytest.approx(0.7, abs=0.06)
    assert [r.text for r in ask(Verbalized(inner), 9)] == said[:9]
    request = inner.seen[0]
    assert request.sampling.max_tokens == 5 * 30
    assert request.messages[-1].text.startswith("Hello?\n\nBefore you speak, list 5")
    assert not request.keep


@pytest.mark.parametrize("text", ["Hello, how are you?", "", "1. 0% nothing", "1. 140% too much", "1. 30%"])
def test_a_list_that_keeps_no_form_is_no_message(text):
    (reply,) = ask(Verbalized(Recorder(text)))
    assert (reply.text, reply.fault.code) == ("", "empty")
    assert parse_candidates(text) == []


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("1. 60 - a\n2. 40 - b", {"a": 0.6, "b": 0.4}),
        ("1. 1: a\n2. 40: b", {"a": 0.01, "b": 0.4}),
        ("1. 0.5 a\n2. .25 b", {"a": 0.5, "b": 0.25}),
        ("1. 1 of my friends\n2. 2 more questions", {}),
    ],
)
def test_bare_numbers_are_shares_only_where_something_says_so(text, shares):
    assert dict(parse_candidates(text)) == pytest.approx(shares)


def test_verbalized_draws_from_two_whole_lines_at_least():
    assert ask(Verbalized(Recorder("1. 90% alone")))[0].fault.code == "empty"
    cut = Recorder("1. 5% whole\n2. 5% whole, too\n3. 90% cut in the")
    cut.finish = "length"
    assert {r.text for r in ask(Verbalized(cut), 60)} == {"whole", "whole, too"}


def test_verbalized_without_a_seed_draws_anew_and_keeps_the_stops_of_the_caller():
    listed = Recorder("1. 50% a STOP b\n2. 50% c")
    request = Request(ASKED, Sampling(max_tokens=20, stop=("STOP",)))
    replies = run_sync(Verbalized(listed).reply([request] * 60))
    assert {r.text for r in replies} == {"a ", "c"}
    assert all(r.seed is not None for r in replies)
    assert listed.seen[0].sampling.stop == ()


def test_verbalized_refuses_a_schema():
    model = load("verbalized:fake:echo")
    assert not model.info.json_schema
    with pytest.raises(Unsupported, match="json_schema"):
        ask(model, schema={"type": "object"})


WRAPPED = [f"{how}:fake:{kind}" for how in ("verbalized", "minimal", "random-text", "temperature:1.3")
           for kind in ("echo", "table")]  # fmt: skip


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapper_refuses_what_every_engine_refuses_and_counts_what_it_asks(name):
    model = load(name)
    for bad, where in (
        ((), "messages"),
        ((Message("user", "a"), Message("system", "b")), r"messages\[1\]"),
        ((Message("user", "a"), Message("assistant", "b")), r"messages\[1\]"),
        ((Message("bard", "a"),), r"messages\[0\]"),
    ):
        with pytest.raises(ConfigError, match=rf"requests\[1\]\.{where}"):
            run_sync(model.reply([Request(ASKED), Request(bad)]))
    assert run_sync(model.reply([])) == []
    (reply,) = ask(model)
    assert reply.engine.startswith(model.info.fingerprint)
    assert reply.usage.prompt > 0
    assert not model.info.taps
    if model.info.score:
        with pytest.raises(ConfigError, match=r"items\[0\]\.continuation"):
            run_sync(model.score([ScoreItem(ASKED, "")]))
        (scored,) = run_sync(model.score([ScoreItem(ASKED, "yes")]))
        assert scored.engine.startswith(model.info.fingerprint)
    else:
        with pytest.raises(Unsupported):
            run_sync(model.score([ScoreItem(ASKED, "yes")]))


def test_a_probe_for_seeds_reaches_the_model_inside():
    class Probed(Recorder):
        async def probe_seed(self):
            self.info = replace(self.info, seed_status="ignored")
            return "ignored"

    model = Temperature(Probed("x"), 1.3)
    assert run_sync(model.probe_seed()) == model.info.seed_status == "ignored"


def test_verbalized_asks_even_where_nobody_spoke_yet():
    inner = Recorder(LIST)
    run_sync(Verbalized(inner).reply([Request(ASKED[:1])]))
    assert [m.role for m in inner.seen[0].messages] == ["system", "user"]


def test_minimal_is_a_document_without_roles():
    inner = Recorder(" I am here. ")
    (reply,) = ask(Minimal(inner))
    assert reply.text == "I am here."
    (message,) = inner.seen[0].messages
    assert message.text == "You are Ana. You keep bees.\n\nOther: Hello?\nAna:"
    assert inner.seen[0].sampling.stop == ("\n",)
    assert document([Message("user", "a\nb"), Message("assistant", "c"), Message("user", "d")]) == (
        "Other: a b\nI: c\nOther: d\nI:"
    )


def test_random_text_is_as_long_as_the_prompt_and_stays_over_turns_but_not_over_runs():
    inner = Recorder("x")
    model = RandomText(inner)
    ask(model)
    run_sync(model.reply([Request((*ASKED, Message("assistant", "Hi."), Message("user", "And?")))]))
    ask(model, replicate=1)
    first, later, other = (r.messages[0].text for r in inner.seen)
    assert first == later != other
    words, own = first.split("\n\n")
    assert own == ASKED[0].text
    assert len(words.split()) == 8


def test_temperature_is_set_and_nothing_else():
    inner = Recorder("x")
    ask(Temperature(inner, 1.3))
    assert inner.seen[0] == replace(inner.seen[0], sampling=Sampling(temperature=1.3, max_tokens=20))


def test_names_and_fingerprints_tell_them_apart():
    names = ["fake:echo", "verbalized:fake:echo", "random-text:fake:echo", "temperature:1.3:fake:echo",
             "temperature:0.7:fake:echo", "verbalized:temperature:1.3:fake:echo", "minimal:fake:echo"]  # fmt: skip
    models = [load(n) for n in names]
    assert [m.info.name for m in models] == names
    assert len({m.info.fingerprint for m in models}) == len(names)
    (reply,) = ask(models[3])
    assert reply.engine == models[3].info.fingerprint


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("verbalized:", ConfigError, "ends too early"),
        ("temperature:hot:fake:echo", ConfigError, "temperature:NUMBER:MODEL"),
        ("temperature:-1:fake:echo", ConfigError, "temperature"),
        ("minimal:http://localhost/v1#m", Unsupported, "local model"),
        ("verbalised:fake:echo", ConfigError, "verbalized"),
    ],
)
def test_what_is_no_wrapper_is_refused(name, error, said):
    with pytest.raises(error, match=said):
        load(name)


@pytest.mark.weights
def test_the_embedded_model_goes_on_with_a_document():
    model = load("minimal:smollm2")
    requests = [Request(ASKED, Sampling(max_tokens=12), seed=k) for k in range(3)]
    replies = run_sync(model.reply(requests))
    assert all(r.fault is None and "\n" not in r.text for r in replies)
    assert len({r.text for r in replies}) > 1
    assert [r.text for r in run_sync(model.reply(requests))] == [r.text for r in replies]
