import math
from dataclasses import replace

import pytest

from multitudes.core.errors import StoreError
from multitudes.core.records import Usage
from multitudes.models.base import Message, Reply, ReplyFault, Request, Sampling
from multitudes.models.cache import CallCache, call_key

REQUEST = Request(
    (Message("system", "You are Ada."), Message("user", "Hé!")),
    Sampling(temperature=0.5),
    seed=3,
    schema={"type": "object"},
)
WHERE = {"endpoint": "http://a/v1", "model": "m", "revision": None}


@pytest.fixture
def cache(tmp_path):
    cache = CallCache(tmp_path / "calls.sqlite")
    yield cache
    cache.close()


@pytest.mark.parametrize(
    "other",
    [
        {"messages": (Message("user", "Hé!"),)},
        {"messages": (Message("system", "You are Ada."), Message("user", "He!"))},
        {"sampling": Sampling(temperature=0.6)},
        {"sampling": Sampling(temperature=0.5, top_p=0.9)},
        {"sampling": Sampling(temperature=0.5, top_k=4)},
        {"sampling": Sampling(temperature=0.5, min_p=0.1)},
        {"sampling": Sampling(temperature=0.5, max_tokens=9)},
        {"sampling": Sampling(temperature=0.5, stop=("x",))},
        {"seed": 4},
        {"seed": None},
        {"replicate": 1},
        {"schema": None},
        {"schema": {"type": "array"}},
    ],
)
def test_each_field_of_a_request_makes_another_key(other):
    assert call_key(replace(REQUEST, **other), **WHERE) != call_key(REQUEST, **WHERE)


@pytest.mark.parametrize("other", [{"endpoint": "http://b/v1"}, {"model": "n"}, {"revision": "2"}])
def test_each_field_of_the_place_makes_another_key(other):
    assert call_key(REQUEST, **WHERE | other) != call_key(REQUEST, **WHERE)


def test_the_name_of_a_call_does_not_count():
    assert call_key(replace(REQUEST, call_id="x", keep=False), **WHERE) == call_key(REQUEST, **WHERE)


def test_a_hit_is_the_reply_marked_and_free(cache):
    reply = Reply(
        text="Ça va", finish="length", usage=Usage(prompt=3, cached=1, completion=2), seed=3, seed_status="honoured",
        latency_s=1.25, cost_usd=0.5, tries=2, data={"a": [None, "NaN"]}, reasoning="hm", token_ids=(1, 2),
        logprobs=(-0.5, -math.inf), engine="e+fp",
    )  # fmt: skip
    assert cache.get("k") is None
    cache.put("k", reply)
    assert cache.get("k") == replace(reply, cache_hit=True, cost_usd=0.0)
    assert len(cache) == 1


def test_nan_and_none_survive(cache):
    cache.put("k", Reply(text="", logprobs=(math.nan,), data={"score": math.nan}, reasoning=None, seed=None))
    reply = cache.get("k")
    assert math.isnan(reply.logprobs[0])
    assert math.isnan(reply.data["score"])
    assert reply.reasoning is None
    assert reply.seed is None


def test_a_fault_is_not_stored(cache):
    cache.put("k", Reply(text="", finish="error", fault=ReplyFault("server", "down")))
    assert cache.get("k") is None


def test_it_outlives_its_process_and_may_be_shared(cache):
    other = CallCache(cache.path)
    cache.put("k", Reply(text="said"))
    assert other.get("k").text == "said"
    other.close()
    assert cache._run("PRAGMA journal_mode") == [("wal",)]


def test_another_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and long enough not to be an empty database" * 40)
    with pytest.raises(StoreError, match=r"notes\.txt"):
        CallCache(path)
    assert path.read_text().startswith("these are my notes")
    with pytest.raises(StoreError):
        CallCache(tmp_path / "missing" / "calls.sqlite")
