"""A server on this machine that speaks for any ChatModel as ``/v1``: for tests, benchmarks and documents."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from multitudes.core.errors import ConfigError
from multitudes.models.base import ChatModel, FaultCode, Message, Reply, Request, Sampling

if TYPE_CHECKING:
    from aiohttp import web

_STATUS = re.compile(r"([3-5]\d\d)(?::retry-after=(.+))?")
_STATUS_OF_FAULT: Mapping[FaultCode, int] = {"rate_limit": 429, "timeout": 408, "too_long": 400, "refused": 400}
_GARBAGE = {
    "html": b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    "empty_choices": b'{"object": "chat.completion", "choices": []}',
    "non_utf8": b'{"choices": [{"message": {"content": "caf\xe9 \xff"}}]}',
    "garbage_200": b'[1, 2, "three"]',
}
_BROKEN = ("truncated_json", "close_mid_body", "hang")


class Loopback:
    """``async with serve(model) as url``: the server runs inside the block, on a free port of 127.0.0.1.

    Attributes:
        requests: Calls of ``/v1/chat/completions`` so far, failed ones included.
        peak_in_flight: The most of them at one time.
    """

    def __init__(self, model: ChatModel, *, delay_s: float, faults: Sequence[str]) -> None:
        for i, entry in enumerate(faults):
            if entry != "ok" and entry not in _GARBAGE and entry not in _BROKEN and not _STATUS.fullmatch(entry):
                raise ConfigError(
                    "unknown fault", where=f"faults[{i}]", found=repr(entry),
                    expected=", ".join(["ok", "STATUS", "STATUS:retry-after=VALUE", *_GARBAGE, *_BROKEN]),
                )  # fmt: skip
        self._model, self._delay_s, self._faults = model, delay_s, tuple(faults)
        self.requests = self.peak_in_flight = self._in_flight = 0
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> str:
        from aiohttp import web

        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        # A handler ends when its client leaves, so a hang lasts as long as somebody waits for it.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _models(self, http: web.Request) -> web.StreamResponse:
        return _json_response({"object": "list", "data": [{"id": self._model.info.name, "object": "model"}]})

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        entry = self._faults[self.requests] if self.requests < len(self._faults) else "ok"
        self.requests += 1
        self._in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self._in_flight)
        try:
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            return await self._answer(http, entry)
        finally:
            self._in_flight -= 1

    async def _answer(self, http: web.Request, entry: str) -> web.StreamResponse:
        from aiohttp import web

        if entry == "hang":
            await asyncio.Event().wait()
        if status := _STATUS.fullmatch(entry):
            headers = {"Retry-After": status[2]} if status[2] else None
            return _json_response(_error(f"planned {status[1]}"), status=int(status[1]), headers=headers)
        if entry in _GARBAGE:
            return web.Response(
                body=_GARBAGE[entry], content_type="text/html" if entry == "html" else "application/json"
            )
        try:
            reply = (await self._model.reply([_read(await http.json())]))[0]
        except (ConfigError, ValueError, KeyError, TypeError, AttributeError) as error:
            return _json_response(_error(repr(error)), status=400)
        if reply.fault is not None:
            return _json_response(_error(reply.fault.detail), status=_STATUS_OF_FAULT.get(reply.fault.code, 500))
        body = json.dumps(_completion(reply, self._model.info.fingerprint)).encode()
        if entry == "truncated_json":
            return web.Response(body=body[: len(body) // 2], content_type="application/json")
        if entry == "close_mid_body":
            return await _half(http, body)
        return web.Response(body=body, content_type="application/json")


def serve(model: ChatModel, *, delay_s: float = 0.0, faults: Sequence[str] = ()) -> Loopback:
    """A server for ``model``.

    Args:
        model: What speaks.
        delay_s: Seconds before each answer.
        faults: What to do to each request in turn, then ``ok`` for all others: ``ok``; a status such as ``429``, or
            ``429:retry-after=1``; ``hang``; ``truncated_json``; ``html``; ``close_mid_body``; ``empty_choices``;
            ``non_utf8``; ``garbage_200``.

    >>> from multitudes.core.loop import run_sync
    >>> from multitudes.models.endpoint import EndpointModel
    >>> from multitudes.models.fake import echo
    >>> async def talk():
    ...     async with serve(echo()) as url:
    ...         model = EndpointModel(url, "fake:echo")
    ...         replies = await model.reply([Request((Message("user", "hello"),))])
    ...         await model.aclose()
    ...         return replies[0].text
    >>> run_sync(talk())
    'hello'
    """
    return Loopback(model, delay_s=delay_s, faults=faults)


def _read(body: Mapping[str, Any]) -> Request:
    stop = body.get("stop") or ()
    return Request(
        messages=tuple(Message(m["role"], m["content"]) for m in body["messages"]),
        sampling=Sampling(
            temperature=body.get("temperature", 1.0),
            top_p=body.get("top_p", 1.0),
            top_k=body.get("top_k", 0),
            min_p=body.get("min_p", 0.0),
            max_tokens=body.get("max_tokens", 256),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
        ),
        seed=body.get("seed"),
        schema=(body.get("response_format") or {}).get("json_schema", {}).get("schema"),
    )


def _completion(reply: Reply, fingerprint: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text}
    if reply.reasoning is not None:
        message["reasoning_content"] = reply.reasoning
    return {
        "object": "chat.completion",
        "system_fingerprint": fingerprint,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "content_filter" if reply.finish == "filtered" else reply.finish,
            }
        ],
        "usage": {
            "prompt_tokens": reply.usage.prompt,
            "completion_tokens": reply.usage.completion,
            "prompt_tokens_details": {"cached_tokens": reply.usage.cached},
        },
    }


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


def _json_response(data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    from aiohttp import web

    return web.Response(
        body=json.dumps(data).encode(), status=status, headers=headers, content_type="application/json"
    )


async def _half(http: web.Request, body: bytes) -> web.StreamResponse:
    """Promise all of ``body``, send half of it and hang up."""
    from aiohttp import web

    response = web.StreamResponse(headers={"Content-Length": str(len(body)), "Content-Type": "application/json"})
    await response.prepare(http)
    await response.write(body[: len(body) // 2])
    if http.transport is not None:
        http.transport.close()
    return response
