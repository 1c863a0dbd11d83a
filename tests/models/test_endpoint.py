import asyncio
import json
import logging

import pytest
from aiohttp import web
from pydantic import SecretStr

from multitudes.core.errors import ConfigError, ModelError, MultitudesError, Unsupported
from multitudes.core.records import Usage
from multitudes.models.base import Message, Request, Sampling, ScoreItem
from multitudes.models.budget import Budget, Prices
from multitudes.models.cache import CallCache
from multitudes.models.endpoint import EndpointModel
from multitudes.models.fake import LatencyModel, echo, scripted
from multitudes.models.loopback import serve
from multitudes.models.retry import RetryPolicy, TryFailed
from multitudes.models.transport import find_api_key
from multitudes.models.wire import read_answer

CANARY = "sk-canary-5ec4e7"
QUICK = RetryPolicy(base_s=0.001, cap_s=0.002, deadline_s=1.5)
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


@pytest.fixture(autouse=True)
def _no_key_of_the_machine(monkeypatch):
    for name in ("MULTITUDES_API_KEY", "OPENAI_API_KEY", "MULTITUDES_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


def ask(text="hello", **more):
    return Request((Message("system", "You are Ada."), Message("user", text)), **more)


class Handler:
    """Answers what ``say(body, headers)`` gives: a text, a (status, message), or a whole body."""

    def __init__(self, say, names=("m",)):
        self.say, self.names, self.bodies = say, names, []

    async def _chat(self, http):
        self.bodies.append(await http.json())
        said = self.say(self.bodies[-1], http.headers)
        if isinstance(said, tuple):
            return web.json_response({"error": {"message": said[1]}}, status=said[0])
        if isinstance(said, str):
            said = {"choices": [{"message": {"content": said}, "finish_reason": "stop"}]}
        return web.json_response(said)

    async def _models(self, http):
        return web.json_response({"data": [{"id": name} for name in self.names]})

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self.runner.addresses[0][1]}/v1"

    async def __aexit__(self, *_):
        await self.runner.cleanup()


def using(server, work, **more):
    """What ``work(model)`` gives while ``server`` runs."""

    async def go():
        async with server as url:
            model = EndpointModel(url, "m", **{"policy": QUICK} | more)
            try:
                return await work(model)
            finally:
                await model.aclose()

    return asyncio.run(go())


def reply_of(server, request=None, **more):
    return using(server, lambda model: model.reply([request or ask()]), **more)[0]


def completion(text, *, finish="stop", **message):
    return {"choices": [{"message": {"content": text} | message, "finish_reason": finish}]}


# --- keys ------------------------------------------------------------------------------------------------------


def test_where_keys_are_looked_for(tmp_path):
    file = tmp_path / "key"
    file.write_text("from-file\n")
    env = {"MULTITUDES_API_KEY": "ours", "OPENAI_API_KEY": "theirs", "MULTITUDES_API_KEY_FILE": str(file)}
    found = []
    for name in ("MULTITUDES_API_KEY", "OPENAI_API_KEY", "MULTITUDES_API_KEY_FILE"):
        found.append(find_api_key(env).get_secret_value())
        del env[name]
    assert found == ["ours", "theirs", "from-file"]
    assert find_api_key({"OPENAI_API_KEY": " "}) is None
    with pytest.raises(ConfigError, match="MULTITUDES_API_KEY_FILE"):
        find_api_key({"MULTITUDES_API_KEY_FILE": str(tmp_path / "missing")})


def test_the_key_is_sent_and_an_argument_wins(monkeypatch):
    monkeypatch.setenv("MULTITUDES_API_KEY", "from-env")
    seen = []
    for key in (None, "given", SecretStr("given-secret")):
        reply_of(Handler(lambda body, headers: seen.append(headers["Authorization"]) or "ok"), api_key=key)
    assert seen == ["Bearer from-env", "Bearer given", "Bearer given-secret"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_the_key_appears_nowhere(status, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    cache = CallCache(tmp_path / "calls.sqlite")
    shown = []

    async def work(model):
        shown.append(repr(model) + repr(model.info) + str(vars(model)) + str(vars(model._transport)))
        try:
            shown.append(repr(await model.reply([ask("1"), ask("2")])))
        except MultitudesError as error:
            shown.append(str(error) + repr(error) + repr(error.__cause__) + repr(error.__context__))
        return None

    def say(body, headers):
        return "fine" if body["messages"][-1]["content"] == "1" else (status, f"bad {headers['Authorization']}" * 40)

    using(Handler(say), work, api_key=CANARY, cache=cache)
    cache.close()
    everything = "".join(shown) + caplog.text + "".join(r.getMessage() for r in caplog.records)
    assert CANARY not in everything
    assert CANARY[:12] not in everything
    assert "[API key]" in everything
    assert all(CANARY.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_the_key_is_in_no_error_of_the_client(caplog):
    caplog.set_level(logging.DEBUG)
    reply = reply_of(serve(echo(), faults=["close_mid_body", "html"] * 3), api_key=CANARY)
    assert reply.fault.code == "server"
    assert CANARY not in repr(reply) + caplog.text
    for bad in (f"{CANARY}\nX: y", f"two {CANARY}"):
        with pytest.raises(ConfigError) as caught:
            EndpointModel("http://a/v1", "m", api_key=bad)
        assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://a/v1", "http://", f"http://u:{CANARY}@a/v1", "http://a/v1?k=1"]
)
def test_what_is_no_address(url):
    with pytest.raises(ConfigError) as caught:
        EndpointModel(url, "m")
    assert CANARY not in str(caught.value)


# --- what is sent and read -------------------------------------------------------------------------------------


def test_only_what_is_set_is_sent():
    server = Handler(lambda body, headers: "ok")
    full = Sampling(temperature=0.5, top_p=0.9, top_k=5, min_p=0.1, max_tokens=7, stop=("x",))

    async def work(model):
        await model.reply([ask()])
        await model.reply([ask(sampling=full, seed=3)])

    using(server, work)
    assert server.bodies[0] == {
        "model": "m",
        "temperature": 1.0,
        "max_tokens": 256,
        "messages": [{"role": "system", "content": "You are Ada."}, {"role": "user", "content": "hello"}],
    }
    assert {k: server.bodies[1][k] for k in ("top_p", "top_k", "min_p", "max_tokens", "stop", "seed")} == {
        "top_p": 0.9, "top_k": 5, "min_p": 0.1, "max_tokens": 7, "stop": ["x"], "seed": 3,
    }  # fmt: skip


def test_a_reply_through_the_wire():
    reply = reply_of(serve(echo()), ask("hé, wörld", seed=5), prices=Prices(1.0, 2.0))
    assert (reply.text, reply.finish, reply.fault, reply.tries) == ("hé, wörld", "stop", None, 1)
    assert reply.usage == Usage(prompt=5, completion=2)
    assert reply.cost_usd == pytest.approx(9e-6)
    assert (reply.seed, reply.seed_status) == (5, "unknown")
    assert reply.engine.endswith("#m+fake:echo")
    assert reply.latency_s > 0


def test_an_unknown_price_or_usage_is_no_cost():
    assert reply_of(serve(echo())).cost_usd is None
    assert reply_of(Handler(lambda body, headers: "ok"), prices=Prices(1.0, 1.0)).cost_usd is None


def test_order_and_empty_batches():
    async def work(model):
        assert await model.reply([]) == []
        return await model.reply([ask(str(i), seed=i) for i in range(40)])

    assert [r.text for r in using(serve(LatencyModel()), work)] == [str(i) for i in range(40)]


def test_bad_requests_are_named():
    def work(model):
        return model.reply([ask(), Request((Message("assistant", "x"),))])

    with pytest.raises(ConfigError, match=r"requests\[1\]"):
        using(serve(echo()), work)
    with pytest.raises(ConfigError, match=r"requests\[0\]\.schema"):
        reply_of(serve(echo()), ask(schema={"pattern": "x"}))


@pytest.mark.parametrize(
    ("reason", "finish"), [("stop", "stop"), ("length", "length"), ("content_filter", "filtered"), (None, "stop")]
)
def test_finish(reason, finish):
    assert read_answer(completion("x", finish=reason))[0].finish == finish


def test_usage_with_cached_tokens():
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    assert read_answer(completion("x") | {"usage": usage})[1] == Usage(prompt=9, cached=4, completion=2)
    for bad in (None, {}, {"prompt_tokens": "9", "completion_tokens": 2}, [1]):
        assert read_answer(completion("x") | {"usage": bad})[1] is None


@pytest.mark.parametrize(
    ("body", "text", "reasoning"),
    [
        (completion("Hi", reasoning_content="hm"), "Hi", "hm"),
        (completion("Hi", reasoning="hm"), "Hi", "hm"),
        (completion("\n<think>\nhm\n</think>\n\nHi"), "Hi", "hm"),
        (completion("<think></think>Hi"), "Hi", None),
        (completion("Hi <think>no</think>"), "Hi <think>no</think>", None),
        (completion(" Hi\n"), " Hi\n", None),
    ],
)
def test_reasoning_is_kept_apart(body, text, reasoning):
    assert read_answer(body)[0][:2] == (text, reasoning)


@pytest.mark.parametrize("text", ["<think>still at it", "", "  \n"])
def test_nothing_said_is_a_fault(text):
    reply = reply_of(Handler(lambda body, headers: completion(text, finish="length")))
    assert (reply.text, reply.finish, reply.fault.code) == ("", "error", "empty")
    assert reply.reasoning == ("still at it" if "think" in text else None)


def test_a_filtered_reply_may_be_empty():
    reply = reply_of(Handler(lambda body, headers: completion(None, finish="content_filter")))
    assert (reply.text, reply.finish, reply.fault) == ("", "filtered", None)


def test_a_refusal_is_a_fault():
    reply = reply_of(Handler(lambda body, headers: completion(None, refusal="I will not")))
    assert (reply.fault.code, reply.fault.detail) == ("refused", "I will not")


@pytest.mark.parametrize(
    "body", [None, [], {}, {"choices": []}, {"choices": [{}]}, completion(3), completion("x", reasoning=3)]
)
def test_what_is_no_completion(body):
    with pytest.raises(TryFailed) as caught:
        read_answer(body)
    assert (caught.value.code, caught.value.retry) == ("server", True)


# --- faults ----------------------------------------------------------------------------------------------------

PASSING = ["408", "409", "429", "429:retry-after=0", "500", "502", "503", "hang", "truncated_json", "html",
           "close_mid_body", "empty_choices", "non_utf8", "garbage_200"]  # fmt: skip


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_costs_one_try(fault):
    server = serve(echo(), faults=[fault])
    reply = reply_of(server)
    assert (reply.text, reply.tries, server.requests) == ("hello", 2, 2)


@pytest.mark.parametrize(
    ("fault", "code"),
    [("408", "timeout"), ("429", "rate_limit"), ("503", "server"), ("html", "server"), ("close_mid_body", "server")],
)
def test_a_lasting_fault_ends_after_six_tries(fault, code):
    server = serve(echo(), faults=[fault] * 20)
    reply = reply_of(server)
    assert (reply.text, reply.finish, reply.fault.code, reply.tries, server.requests) == ("", "error", code, 6, 6)


def test_a_time_out():
    reply = reply_of(serve(echo(), faults=["hang"] * 2), policy=RetryPolicy(max_tries=2, base_s=0, deadline_s=0.1))
    assert (reply.fault.code, reply.tries) == ("timeout", 2)
    assert "0.1 s" in reply.fault.detail


def test_a_server_that_asks_for_patience():
    server = serve(echo(), faults=["503:retry-after=500"])
    reply = reply_of(server)
    assert (reply.fault.code, server.requests) == ("rate_limit", 1)
    assert "500 s" in reply.fault.detail


def test_nobody_there_is_a_fault_and_check_says_so():
    async def go():
        model = EndpointModel("http://127.0.0.1:9/v1", "m", policy=QUICK)
        reply = (await model.reply([ask()]))[0]
        assert (reply.fault.code, reply.tries) == ("server", 6)
        with pytest.raises(ModelError, match="does not answer"):
            await model.check()
        await model.aclose()

    asyncio.run(go())


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "This model's maximum context length is 4096 tokens.", "too_long"),
        (400, "the request exceeds the available context size", "too_long"),
        (422, "bad temperature", "refused"),
        (400, "no top_k here", "refused"),
        (307, "elsewhere", "refused"),
    ],
)
def test_what_another_try_cannot_help(status, message, code):
    server = Handler(lambda body, headers: (status, message))
    reply = reply_of(server)
    assert (reply.fault.code, reply.tries, len(server.bodies)) == (code, 1, 1)
    assert message in reply.fault.detail


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_the_backend(status):
    server = Handler(lambda body, headers: (status, "no"))
    with pytest.raises(ModelError, match="MULTITUDES_API_KEY_FILE") as caught:
        using(server, lambda model: model.reply([ask(str(i)) for i in range(4)]))
    assert "without a key" in str(caught.value)
    with pytest.raises(ModelError, match="with a key"):
        using(server, lambda model: model.check(), api_key="k")


def test_a_missing_model_names_the_others():
    server = Handler(lambda body, headers: (404, "no such model"), names=("mm", "other"))
    with pytest.raises(ModelError, match="did you mean 'mm'"):
        reply_of(server)
    with pytest.raises(ModelError, match="/v1"):
        reply_of(Handler(lambda body, headers: (404, "page not found"), names=()))


def test_check_is_content_with_an_answer_even_an_empty_one():
    server = Handler(lambda body, headers: completion("<think>"))
    using(server, lambda model: model.check())
    assert len(server.bodies) == 1


def test_one_bad_reply_leaves_the_others_alone():
    server = Handler(lambda body, headers: (400, "no") if body["messages"][1]["content"] == "3" else "ok")
    replies = using(server, lambda model: model.reply([ask(str(i)) for i in range(6)]))
    assert [r.fault is None for r in replies] == [True, True, True, False, True, True]


def test_a_budget_ends_calls_not_the_batch():
    replies = using(serve(echo()), lambda m: m.reply([ask() for _ in range(30)]), budget=Budget(tokens=1000))
    codes = {r.fault.code for r in replies if r.fault}
    assert codes == set()  # each reserves about 300 and uses 5: they wait for each other
    server = Handler(
        lambda body, headers: completion("x") | {"usage": {"prompt_tokens": 300, "completion_tokens": 1}}
    )
    replies = using(server, lambda m: m.reply([ask() for _ in range(9)]), budget=Budget(tokens=1000))
    assert len(server.bodies) == 3
    assert [r.fault.code for r in replies if r.fault] == ["budget"] * 6


def test_calls_in_flight_are_bounded():
    server = serve(echo(), delay_s=0.02)
    using(server, lambda model: model.reply([ask() for _ in range(20)]), max_in_flight=3)
    assert server.peak_in_flight == 3


def test_score_is_not_available():
    model = EndpointModel("http://a/v1", "m")
    with pytest.raises(Unsupported, match="sample answers"):
        asyncio.run(model.score([ScoreItem((Message("user", "x"),), "y")]))


def test_one_session_a_loop_and_none_left_open():
    async def go(model, url):
        await model.reply([ask() for _ in range(3)])
        session = model._transport.session()
        assert session is model._transport.session()
        await model.aclose()
        await model.aclose()
        assert session.closed
        return session

    async def twice():
        async with serve(echo()) as url:
            model = EndpointModel(url, "m")
            first = await go(model, url)
            second = await asyncio.to_thread(asyncio.run, go(model, url))
            assert first is not second

    asyncio.run(twice())


# --- seeds -----------------------------------------------------------------------------------------------------

LONG = "one two three four five six seven eight nine ten " * 3


def probing(say):
    server = Handler(say)

    async def work(model):
        first, again = await model.probe_seed(), await model.probe_seed()
        assert first == again == model.info.seed_status
        reply = (await model.reply([ask(seed=1)]))[0]
        assert reply.seed_status == first
        assert (await model.reply([ask()]))[0].seed_status == "unknown"  # no seed, nothing honoured
        return first

    return using(server, work), len(server.bodies) - 2


def test_seeds_are_probed_once():
    assert probing(lambda body, headers: f"{LONG} {body.get('seed')}") == ("honoured", 3)
    numbers = iter(range(99))
    assert probing(lambda body, headers: f"{LONG} {next(numbers)}") == ("ignored", 3)
    assert probing(lambda body, headers: LONG) == ("unknown", 3)  # the same whatever the seed
    assert probing(lambda body, headers: f"short {body.get('seed')}") == ("unknown", 3)


def test_a_failed_probe_says_nothing():
    assert using(Handler(lambda body, headers: (400, "no")), lambda model: model.probe_seed()) == "unknown"


def test_another_build_of_the_server_resets_the_status(caplog):
    build = "a"

    async def work(model):
        nonlocal build
        assert await model.probe_seed() == "honoured"
        build = "b"
        status = (await model.reply([ask(seed=1)]))[0].seed_status
        await model.reply([ask(seed=2)])
        return status, model.info.seed_status, await model.probe_seed()

    def say(body, headers):
        return completion(f"{LONG} {body.get('seed')}") | {"system_fingerprint": build}

    assert using(Handler(say), work) == ("unknown", "unknown", "honoured")
    assert caplog.text.count("more than one server build") == 1


# --- structured replies ----------------------------------------------------------------------------------------


def test_json_is_read_and_checked():
    server = Handler(lambda body, headers: 'Sure: {"age": 3}')
    reply = reply_of(server, ask(schema=SCHEMA))
    assert (reply.data, reply.text, reply.tries) == ({"age": 3}, 'Sure: {"age": 3}', 1)
    assert server.bodies[0]["response_format"]["json_schema"]["schema"] == SCHEMA
    assert server.bodies[0]["messages"][0]["content"] == "You are Ada."


@pytest.mark.parametrize(("takes", "calls"), [({"json_object"}, [2, 1]), (set(), [3, 1])])
def test_the_strongest_mode_is_learned_once(takes, calls):
    def say(body, headers):
        mode = body.get("response_format", {}).get("type")
        return '{"age": 3}' if mode is None or mode in takes else (400, f"no {mode}")

    server, counts = Handler(say), []

    async def work(model):
        for _ in range(2):
            before = len(server.bodies)
            assert (await model.reply([ask(schema=SCHEMA)]))[0].data == {"age": 3}
            counts.append(len(server.bodies) - before)

    using(server, work)
    assert counts == calls
    assert json.dumps(SCHEMA) in server.bodies[-1]["messages"][0]["content"]


def test_a_request_refused_in_every_mode_teaches_nothing():
    server = Handler(lambda body, headers: (400, "no") if "bad" in str(body) else '{"age": 3}')

    async def work(model):
        assert (await model.reply([ask("bad", schema=SCHEMA)]))[0].fault.code == "refused"
        await model.reply([ask(schema=SCHEMA)])

    using(server, work)
    assert len(server.bodies) == 4
    assert server.bodies[-1]["response_format"]["type"] == "json_schema"


def test_one_repair():
    said = iter(['{"age": "old"}', '{"age": 80}'])
    server = Handler(
        lambda body, headers: completion(next(said)) | {"usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    )
    reply = reply_of(server, ask(schema=SCHEMA), prices=Prices(1e6, 1e6))
    assert (reply.data, reply.tries, reply.cost_usd) == ({"age": 80}, 2, 14.0)
    assert reply.usage == Usage(prompt=10, completion=4)
    assert server.bodies[1]["messages"][-2] == {"role": "assistant", "content": '{"age": "old"}'}
    assert "$.age: expected integer" in server.bodies[1]["messages"][-1]["content"]


def test_then_a_fault_with_the_raw_text():
    said = iter(["old", "very old"])
    server = Handler(lambda body, headers: next(said))
    reply = reply_of(server, ask(schema=SCHEMA))
    assert (reply.text, reply.finish, reply.fault.code, reply.data, len(server.bodies)) == (
        "very old",
        "error",
        "parse",
        None,
        2,
    )


def test_a_repair_that_cannot_be_had():
    said = iter(["old", (400, "no"), (400, "no"), (400, "no")])
    reply = reply_of(Handler(lambda body, headers: next(said)), ask(schema=SCHEMA))
    assert (reply.text, reply.finish, reply.fault.code) == ("", "error", "refused")
    assert "no complete JSON object" in reply.fault.detail


# --- cache -----------------------------------------------------------------------------------------------------


def test_a_call_is_paid_once(tmp_path):
    cache, server = CallCache(tmp_path / "calls.sqlite"), serve(scripted(["a", "b"]))

    async def work(model):
        first, hit, other = [(await model.reply([ask(seed=1, replicate=r)]))[0] for r in (0, 0, 1)]
        assert (first.text, hit.text, other.text) == ("a", "a", "b")
        assert (hit.cache_hit, hit.cost_usd, hit.latency_s) == (True, 0.0, first.latency_s)
        assert hit.engine == first.engine

    using(server, work, cache=cache, prices=Prices(1.0, 1.0))
    assert (server.requests, len(cache)) == (2, 2)
    cache.close()


def test_faults_are_asked_again_and_probes_never_stored(tmp_path):
    cache = CallCache(tmp_path / "calls.sqlite")
    server = serve(echo(), faults=["ok", "ok", "ok", "400"])

    async def work(model):
        await model.probe_seed()
        assert len(cache) == 0
        return [(await model.reply([ask()]))[0] for _ in range(3)]

    refused, fresh, hit = using(server, work, cache=cache)
    assert (refused.fault.code, fresh.fault, hit.cache_hit, server.requests) == ("refused", None, True, 5)
    cache.close()


def test_nothing_heavy_is_loaded_by_import():
    import subprocess
    import sys

    code = "import sys, multitudes.models.endpoint, multitudes.models.loopback; print('aiohttp' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    )
