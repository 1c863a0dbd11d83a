import asyncio
import contextlib
import json
import sys
import time

import pytest
from aiohttp import web

from multitudes.core.errors import ConfigError
from multitudes.core.loop import run_sync
from multitudes.models.base import Message, Reply, ReplyFault, Sampling
from multitudes.models.fake import scripted
from multitudes.simulate.targets import MAX_REPLY_BYTES, FunctionTarget, HttpTarget, ModelTarget, function_target

TALK = (
    Message("system", "You are a bank."),
    Message("user", "hi"),
    Message("assistant", "yes?"),
    Message("user", "x"),
)


def ask(target, messages=TALK):
    return run_sync(target.reply(messages, seed=1, conversation_id="abc"))


# --- a model


def test_a_model_is_asked_with_the_seed_and_the_sampling():
    seen = []

    class Spy:
        info = scripted(["x"]).info

        async def reply(self, requests):
            seen.extend(requests)
            return await scripted(["fine"]).reply(requests)

    sampling = Sampling(temperature=0.2, max_tokens=9)
    assert ask(ModelTarget(Spy(), sampling)).text == "fine"
    assert (seen[0].messages, seen[0].seed, seen[0].sampling) == (TALK, 1, sampling)


# --- a function


def test_a_function_gets_plain_messages_and_returns_text():
    seen = []

    def answer(messages):
        seen.append(messages)
        return "said"

    reply = ask(FunctionTarget(answer))
    assert (reply.text, reply.fault) == ("said", None)
    assert seen[0][1] == {"role": "user", "content": "hi"}
    assert len(seen[0]) == len(TALK)


def test_an_async_function_and_an_object_with_an_async_call():
    async def answer(messages):
        await asyncio.sleep(0)
        return messages[-1]["content"].upper()

    class Service:
        async def __call__(self, messages):
            return "from an object"

    assert ask(FunctionTarget(answer)).text == "X"
    assert ask(FunctionTarget(Service(), name="service")).text == "from an object"


def test_a_plain_function_does_not_hold_up_the_loop():
    def slow(messages):
        time.sleep(0.2)
        return "done"

    async def many():
        target = FunctionTarget(slow)
        return await asyncio.gather(*(target.reply(TALK, seed=0, conversation_id="c") for _ in range(4)))

    start = time.perf_counter()
    assert [r.text for r in run_sync(many())] == ["done"] * 4
    assert time.perf_counter() - start < 0.7


def raises(messages):
    raise KeyError("account")


async def never(messages):
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("function", "detail"),
    [
        (raises, "KeyError: 'account'"),
        (lambda m: None, "returned NoneType"),
        (lambda m: {"text": "x"}, "returned dict"),
        (lambda m: Reply(text=None), "returned Reply"),
        (never, "no answer within 0.1 s"),
    ],
)
def test_what_a_function_does_wrong_is_a_fault_with_its_reason(function, detail):
    reply = ask(FunctionTarget(function, limit_s=0.1))
    assert reply.text == ""
    assert reply.finish == "error"
    assert reply.fault.code == "refused"
    assert detail in reply.fault.detail


def test_a_function_may_return_a_whole_reply():
    given = Reply(text="", finish="error", fault=ReplyFault("rate_limit", "slow down"))
    assert ask(FunctionTarget(lambda m: given)) is given


def test_a_function_by_its_path():
    target = function_target("json:dumps")
    assert target.name == "python:json:dumps"
    assert json.loads(ask(target).text)[1] == {"role": "user", "content": "hi"}


@pytest.mark.parametrize("path", ["no_such_module_here:f", "json:no_such_function", "json", ":f"])
def test_a_wrong_path_is_told_with_the_form_it_should_have(path):
    with pytest.raises(ConfigError, match="python:MODULE:FUNCTION"):
        function_target(path)


def test_a_module_in_a_folder_is_found_and_the_path_is_as_before(tmp_path, monkeypatch):
    before = list(sys.path)
    with pytest.raises(ConfigError, match="no_such_bot"):
        function_target("no_such_bot:answer", folder=tmp_path)
    (tmp_path / "beside_bot.py").write_text("def answer(messages):\n    return 'from beside'\n")
    monkeypatch.delitem(sys.modules, "beside_bot", raising=False)
    assert ask(function_target("beside_bot:answer", folder=tmp_path)).text == "from beside"
    assert sys.path == before


# --- an HTTP endpoint


class Server:
    """Answers each path in its own way, and keeps what it was sent."""

    def __init__(self):
        self.seen, self.peers = [], set()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{kind}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _answer(self, http):
        kind = http.match_info["kind"]
        self.peers.add(http.transport.get_extra_info("peername"))
        self.seen.append({"method": http.method, "headers": dict(http.headers), "body": await http.json()})
        if kind == "hang":
            await asyncio.Event().wait()
        bodies = {
            "ok": '{"reply": "hello"}',
            "deep": '{"choices": [{"message": {"a/b": "deep"}}]}',
            "html": "<html>sorry</html>",
            "list": "[1]",
            "number": '{"reply": 5}',
            "nested": "[" * 100_000,
            "error": '{"reply": "not this"}',
            "moved": "",
        }
        status = {"error": 500, "moved": 302}.get(kind, 200)
        if kind == "endless":
            return await self._endless(http)
        headers = {"Location": "/ok"} if kind == "moved" else {"Set-Cookie": "who=first"}
        return web.Response(text=bodies[kind], status=status, headers=headers)

    async def _endless(self, http):
        response = web.StreamResponse()
        await response.prepare(http)
        with contextlib.suppress(ConnectionError):
            for _ in range(MAX_REPLY_BYTES // 2**20 + 2):
                await response.write(b"x" * 2**20)
        return response


def over_http(kind, **fields):
    async def go():
        async with Server() as server:
            target = HttpTarget(url=f"{server.url}/{kind}", **fields)
            try:
                return await target.reply(TALK, seed=1, conversation_id="abc"), server.seen
            finally:
                await target.aclose()

    return run_sync(go())


def test_the_body_is_filled_and_the_reply_found(monkeypatch):
    monkeypatch.setenv("BANK_TOKEN", "secret-token")
    body = {"q": "{last}", "session": {"id": "{conversation_id}"}, "all": ["{messages}"], "note": "about {last}"}
    reply, seen = over_http("ok", body=body, headers_env={"Authorization": "BANK_TOKEN"}, method="PUT")
    assert (reply.text, reply.fault) == ("hello", None)
    assert seen[0]["method"] == "PUT"
    assert seen[0]["headers"]["Authorization"] == "secret-token"
    sent = seen[0]["body"]
    assert (sent["q"], sent["session"], sent["note"]) == ("x", {"id": "abc"}, "about {last}")
    assert sent["all"] == [[{"role": m.role, "content": m.text} for m in TALK]]


def test_a_pointer_goes_through_lists_and_escapes():
    assert over_http("deep", reply_at="/choices/0/message/a~1b")[0].text == "deep"


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("html", "nothing at '/reply'"),
        ("list", "nothing at '/reply'"),
        ("nested", "nothing at '/reply'"),
        ("number", "holds int, expected a string"),
        ("error", 'HTTP 500: {"reply": "not this"}'),
        ("moved", "HTTP 302"),
        ("hang", "no answer within 0.2 s"),
    ],
)
def test_what_an_endpoint_does_wrong_is_a_fault_with_its_reason(kind, detail):
    reply, seen = over_http(kind, limit_s=0.2)
    assert (reply.text, reply.fault.code) == ("", "refused")
    assert detail in reply.fault.detail
    assert len(seen) == 1  # a redirect is not followed


def test_calls_share_connections_and_no_cookies_until_the_target_is_closed():
    async def go():
        async with Server() as server:
            target = HttpTarget(url=f"{server.url}/ok")
            for _ in range(3):
                assert (await target.reply(TALK, seed=1, conversation_id="abc")).text == "hello"
            assert len(server.peers) == 1
            await target.aclose()
            assert (await target.reply(TALK, seed=1, conversation_id="abc")).text == "hello"
            assert len(server.peers) == 2
            await target.aclose()
            return server.seen

    assert not any("Cookie" in call["headers"] for call in run_sync(go()))


def test_an_endless_answer_is_a_fault():
    reply, _ = over_http("endless")
    assert reply.fault.detail == "an answer of more than 4,194,304 bytes"


def test_nobody_there_is_a_fault():
    reply = ask(HttpTarget(url="http://127.0.0.1:1/x", limit_s=1))
    assert "Cannot connect" in reply.fault.detail


def test_a_header_that_cannot_be_sent_is_a_fault(monkeypatch):
    monkeypatch.setenv("BANK_TOKEN", "two\nlines")
    assert over_http("ok", headers_env={"X-Token": "BANK_TOKEN"})[0].fault is not None


def test_a_missing_variable_is_told_by_name(monkeypatch):
    monkeypatch.delenv("BANK_TOKEN", raising=False)
    target = HttpTarget(url="http://127.0.0.1:1/x", headers_env={"X-Token": "BANK_TOKEN"})
    with pytest.raises(ConfigError, match=r"headers_env\.X-Token[\s\S]*'BANK_TOKEN'[\s\S]*export BANK_TOKEN"):
        target.check_env()
