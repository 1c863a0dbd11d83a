import asyncio
import json

import aiohttp
import pytest

from multitudes.core.errors import ConfigError
from multitudes.models.base import Reply
from multitudes.models.fake import FakeModel, FaultyModel, LatencyModel, echo
from multitudes.models.loopback import serve

BODY = {"model": "m", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 8}


async def post(url, body=BODY, *, timeout_s=5.0):
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{url}/chat/completions", json=body) as r,
    ):
        return r.status, r.headers, await r.read()


def exchange(server, n=1, **more):
    async def go():
        async with server as url:
            assert url.startswith("http://127.0.0.1:")
            return [await post(url, **more) for _ in range(n)]

    return asyncio.run(go())


def test_it_speaks_for_a_model():
    server = serve(echo())
    status, _, raw = exchange(server)[0]
    data = json.loads(raw)
    assert status == 200
    assert data["choices"][0]["message"]["content"] == "hello there"
    assert data["choices"][0]["finish_reason"] == "stop"
    assert data["usage"]["prompt_tokens"] == 2
    assert server.requests == 1


def test_it_lists_its_model():
    async def go():
        async with serve(echo()) as url, aiohttp.ClientSession() as session, session.get(f"{url}/models") as r:
            return await r.json()

    assert asyncio.run(go())["data"][0]["id"] == "fake:echo"


def test_the_plan_is_followed_and_then_all_is_well():
    server = serve(echo(), faults=["429:retry-after=1", "500", "ok", "503"])
    got = exchange(server, 6)
    assert [status for status, _, _ in got] == [429, 500, 200, 503, 200, 200]
    assert got[0][1]["Retry-After"] == "1"
    assert server.requests == 6


@pytest.mark.parametrize("fault", ["truncated_json", "html", "non_utf8"])
def test_bodies_that_are_no_json(fault):
    status, _, raw = exchange(serve(echo(), faults=[fault]))[0]
    assert status == 200
    with pytest.raises(ValueError):
        json.loads(raw)


@pytest.mark.parametrize(("fault", "body"), [("empty_choices", {"choices": []}), ("garbage_200", [1, 2, "three"])])
def test_json_that_is_no_completion(fault, body):
    data = json.loads(exchange(serve(echo(), faults=[fault]))[0][2])
    assert (data if isinstance(data, list) else {"choices": data["choices"]}) == body


def test_it_hangs_up_in_the_middle():
    with pytest.raises(aiohttp.ClientPayloadError):
        exchange(serve(echo(), faults=["close_mid_body"]))


def test_a_hang_lasts_until_the_client_leaves():
    async def go():
        server = serve(echo(), faults=["hang"])
        async with server as url:
            with pytest.raises(TimeoutError):
                await post(url, timeout_s=0.1)
            await asyncio.sleep(0.05)
            assert server._in_flight == 0
            assert (await post(url))[0] == 200

    asyncio.run(go())


def test_faults_of_the_model_become_statuses():
    model = FaultyModel(["rate_limit", "timeout", "server", "too_long", "refused", "ok"])
    assert [status for status, _, _ in exchange(serve(model), 6)] == [429, 408, 500, 400, 400, 200]


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": [{"role": "bard", "content": ""}]}, [1], None])
def test_a_bad_request_is_refused(body):
    assert exchange(serve(echo()), body=body)[0][0] == 400


def test_filtered_replies_and_reasoning_travel():
    class Shy(FakeModel):
        async def reply(self, requests):
            return [Reply(text="cut", finish="filtered", reasoning="hm") for _ in requests]

    choice = json.loads(exchange(serve(Shy("fake:shy", lambda m, s: "")))[0][2])["choices"][0]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["reasoning_content"] == "hm"


def test_calls_run_beside_each_other():
    async def go():
        server = serve(LatencyModel(low_s=0.05, high_s=0.05))
        async with server as url:
            await asyncio.gather(*(post(url) for _ in range(16)))
        return server.peak_in_flight

    assert asyncio.run(go()) > 8


def test_an_unknown_fault_is_refused_at_once():
    with pytest.raises(ConfigError, match="sulk"):
        serve(echo(), faults=["ok", "sulk"])
