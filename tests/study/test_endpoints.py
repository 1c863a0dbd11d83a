"""Studies over HTTP: whatever a server does, the study goes on and says what happened."""

import pytest

from multitudes.core.errors import ModelError
from multitudes.core.loop import run_sync
from multitudes.models.base import Sampling
from multitudes.models.budget import Budget, Prices
from multitudes.models.endpoint import EndpointModel
from multitudes.models.fake import echo, people
from multitudes.models.loopback import serve
from multitudes.models.retry import RetryPolicy
from multitudes.simulate.targets import ModelTarget
from multitudes.study.run import Voices, run_study
from multitudes.study.store import Store
from multitudes.study.summary import summarise

PROBE = ["ok"] * 3  # whether seeds are honoured is asked first
MIXED = ["429", "500", "hang", "truncated_json", "html", "close_mid_body", "empty_choices"]
CODES = ["rate_limit", "server", "timeout", "server", "server", "server", "server"]


@pytest.fixture(autouse=True)
def _no_key_of_the_machine(monkeypatch):
    for name in ("MULTITUDES_API_KEY", "OPENAI_API_KEY", "MULTITUDES_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


def over_http(spec, folder, *, faults=(), tries=1, budget=None, prices=None, **more):
    """The run of a study whose people live behind a server, and how many calls the server saw."""

    async def go():
        server = serve(people(), faults=[*PROBE, *faults])
        async with server as url:
            policy = RetryPolicy(
                max_tries=tries, base_s=0.001, cap_s=0.002, deadline_s=2.0
            )  # longer than a stall of a busy machine
            model = EndpointModel(url, "fake:people", policy=policy, budget=budget or Budget(), prices=prices)
            voices = Voices(model, ModelTarget(echo(), Sampling()), model, None)
            try:
                return await run_study(spec, folder, voices=voices, **more), server.requests - len(PROBE)
            finally:
                await model.aclose()

    return run_sync(go())


@pytest.fixture
def spec(small):
    return small(conversation={"in_flight": 1})


def test_faults_that_pass_leave_no_trace_but_their_tries(tmp_path, spec, held):
    plain, calls = over_http(spec, tmp_path / "plain")
    shaken, more = over_http(spec, tmp_path / "shaken", faults=["ok", *MIXED, "ok", *MIXED], tries=9)
    assert held(shaken) == held(plain)
    assert more == calls + 2 * len(MIXED)
    assert not any(c.fault for c in shaken.conversations)
    tries = sorted(t.call.tries for c in shaken.conversations for t in c.turns if t.speaker == "user")
    assert tries[-2:] == [8, 8]
    assert summarise(shaken).model["simulator"].engine == "endpoint"


def test_faults_that_stay_end_one_conversation_each_and_never_the_study(tmp_path, spec, held):
    plain, _ = over_http(spec, tmp_path / "plain")
    # Seven conversations end at their first call, the eighth has two calls; then come the answers.
    broken, _ = over_http(spec, tmp_path / "run", faults=[*MIXED, "ok", "ok", "429", "500", "400"])
    faults = [c.fault for c in broken.conversations if c.fault]
    assert sorted(f.code for f in faults) == sorted(CODES)
    assert {f.kind for f in faults} == {"provider"}
    assert {(f.side, f.turn) for f in faults} == {("user", 0)}
    assert all(f.detail for f in faults)
    assert [c.stop_reason for c in broken.conversations].count("max_turns") == 1
    codes = sorted((a.fault.kind, a.fault.code) for a in broken.answers if a.fault and a.fault.code != "parse")
    assert codes == [("provider", "rate_limit"), ("provider", "server"), ("simulator", "refused")]
    assert len(broken.answers) == len(plain.answers)
    assert summarise(broken).faults["provider"] == 9
    assert "9 provider" in summarise(broken).headline[0]

    mended, _ = over_http(spec, tmp_path / "run", retry_faults=True)
    assert held(mended)["conversations"] == held(plain)["conversations"]
    still = [a.fault.code for a in mended.answers if a.fault and a.fault.code != "parse"]
    assert still == ["refused"]  # nobody but the provider is asked again
    with Store(tmp_path / "run", write=False) as store:
        kept = [r["fault"]["code"] for _, r in store.attempts()]
    assert sorted(kept) == sorted([*CODES, "rate_limit", "server"])


def test_many_at_once_on_a_bad_line(tmp_path, small):
    spec = small(population={"n": 6}, conversation={"replicates": 3, "in_flight": 32})
    faults = (["ok", "500", "ok", "429", "html", "ok", "close_mid_body"] * 12)[:80]
    data, _ = over_http(spec, tmp_path, faults=faults, tries=2)
    assert len(data.conversations) == 18
    assert all((c.fault is None) == (c.stop_reason == "max_turns") for c in data.conversations)
    assert all(c.fault is None or c.fault.kind == "provider" for c in data.conversations)


def test_a_budget_stops_cleanly_and_a_larger_one_finishes_the_rest(tmp_path, spec, held):
    plain, calls = over_http(spec, tmp_path / "plain")
    used = summarise(plain).usage
    small_budget = Budget(tokens=(used.tokens_in + used.tokens_out) // 12)
    stopped, asked = over_http(spec, tmp_path / "run", budget=small_budget)
    assert 0 < asked < calls
    assert any(c.stop_reason == "max_turns" for c in stopped.conversations)
    assert any(c.stop_reason == "budget" for c in stopped.conversations)
    assert not any(c.fault for c in stopped.conversations)
    assert summarise(stopped).faults == {}
    assert "stopped by the budget" in summarise(stopped).headline[0]
    assert "run it again to go on" in summarise(stopped).headline[0]
    done = {c.id: c for c in stopped.conversations if c.stop_reason == "max_turns"}

    finished, more = over_http(spec, tmp_path / "run", budget=Budget(tokens=10_000_000))
    assert held(finished) == held(plain)
    assert all(c == done[c.id] for c in finished.conversations if c.id in done)  # not held again
    assert more <= calls - 2 * len(done)
    assert "run it again" not in summarise(finished).headline[0]


def test_money_counts_rejected_draws_and_is_unknown_without_prices(tmp_path, small):
    prices = {"usd_per_1m_prompt": 1.0, "usd_per_1m_completion": 2.0}
    guards = {"in_flight": 1, "guards": ["restart"]}  # people repeat themselves: some draws are rejected
    spec = small(prices=prices, survey=None, conversation={**guards, "turns": 6})
    data, _ = over_http(spec, tmp_path / "a", prices=Prices(1.0, 2.0))
    usage = summarise(data).usage
    assert usage.rejected_draws > 0
    own = [t for c in data.conversations for t in c.turns if t.speaker == "user"]
    prompt = sum(t.call.usage.prompt + (t.call_rejected.prompt if t.call_rejected else 0) for t in own)
    words = sum(t.call.usage.completion + (t.call_rejected.completion if t.call_rejected else 0) for t in own)
    assert usage.cost == pytest.approx((prompt + 2 * words) / 1e6)
    data, _ = over_http(small(survey=None), tmp_path / "b")
    assert summarise(data).usage.cost is None


def test_a_refused_key_ends_the_run_with_what_was_stored(tmp_path, spec):
    with pytest.raises(ModelError, match="refuses the key"):
        over_http(spec, tmp_path, faults=["ok"] * 4 + ["401"])
    with Store(tmp_path, write=False) as store:
        assert len(store.conversations()) == 2
    data, _ = over_http(spec, tmp_path)
    assert not any(c.fault for c in data.conversations)
