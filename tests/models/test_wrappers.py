"""Remedies for sameness are models like any other: what they change, and what they leave alone."""

from dataclasses import replace

import pytest

from multitudes.core.errors import ConfigError, Unsupported
from multitudes.core.loop import run_sync
from multitudes.models.base import Message, Reply, Request, Sampling
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
        self.text, self.seen, self.info = text, [], scripted(["x"]).info

    async def reply(self, requests):
        self.seen += requests
        return [Reply(self.text, seed=r.seed) for r in requests]

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
