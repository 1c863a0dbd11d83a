"""Any OpenAI-compatible server as a ChatModel: one pooled client, plain JSON."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pydantic import SecretStr

from multitudes.core.errors import ModelError, Unsupported
from multitudes.core.records import SeedStatus, Usage
from multitudes.models.base import (
    Capabilities,
    Message,
    Reply,
    ReplyFault,
    Request,
    Sampling,
    Scored,
    ScoreItem,
    check_requests,
)
from multitudes.models.budget import Budget, Prices
from multitudes.models.cache import CallCache, call_key
from multitudes.models.limits import Limits, Sent
from multitudes.models.retry import Clock, RetryPolicy, TryFailed
from multitudes.models.schema import JsonAsker, JsonMode, refuse_unknown_rules
from multitudes.models.transport import Transport, find_api_key
from multitudes.models.wire import Answer, payload

log = logging.getLogger(__name__)

PROBE_TOKENS = 20  # shorter replies may agree by chance
LIST_LIMIT_S = 20.0  # a list of models is no work

_PROBE = (
    Message("system", "You tell stories."),
    Message("user", "Tell me a short story about somebody who finds a key."),
)


class EndpointModel:
    """A model behind an OpenAI-compatible server. Use it from one event loop at a time.

    Args:
        base_url: Such as ``http://localhost:8000/v1``.
        model: Name of the model on that server.
        api_key: Key; else the environment is asked, see ``find_api_key``. Sent to ``base_url`` and nowhere else.
        policy: Deadline and retries.
        budget: How much this model may use in all.
        prices: What a token costs; without them the cost of a reply is unknown, not zero.
        cache: Replies that were already paid for. Its owner closes it.
        max_in_flight: Most calls at once; the number adapts below it.
        revision: Version of the model, where you know it; part of the cache key.
        clock: Time; a virtual one in tests.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | SecretStr | None = None,
        policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        budget: Budget = Budget(),  # noqa: B008 - frozen
        prices: Prices | None = None,
        cache: CallCache | None = None,
        max_in_flight: int = 128,
        revision: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        key = SecretStr(api_key.strip()) if isinstance(api_key, str) else api_key or find_api_key(os.environ)
        clock = clock or Clock()
        self._transport = Transport(base_url, model, api_key=key, deadline_s=policy.deadline_s, clock=clock)
        self._model, self._revision = model, revision
        self._prices, self._cache = prices, cache
        self._limits = Limits(policy, budget, prices=prices, max_in_flight=max_in_flight, clock=clock)
        self._call_numbers = itertools.count(1)
        self._json = JsonAsker(self._ask)
        self._fingerprint: str | None = None
        self._engines: set[str] = set()
        self._seed_status: SeedStatus = "unknown"
        self._probed = False
        self._probing = asyncio.Lock()
        name = self._transport.name
        self._info = Capabilities(
            name=name, engine="endpoint", fingerprint=name + (f"@{revision}" if revision else ""), json_schema=True
        )

    def __repr__(self) -> str:
        return f"EndpointModel({self._transport.base_url!r}, {self._model!r})"

    @property
    def info(self) -> Capabilities:
        """What is known of the endpoint; ``seed_status`` is what the last probe found."""
        return replace(self._info, seed_status=self._seed_status)

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, as many at once as the endpoint bears.

        Raises:
            ConfigError: A request that no model can answer, or a schema with unknown words.
            ModelError: A refused key, or a model that the endpoint does not have.
        """
        check_requests(requests, engine=self.info.name)
        for i, request in enumerate(requests):
            if request.schema is not None:
                refuse_unknown_rules(request.schema, where=f"requests[{i}].schema")
        if len(requests) == 1:
            return [await self._one(requests[0])]
        tasks = [asyncio.ensure_future(self._one(request)) for request in requests]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()  # only where one call brought down the backend; the others are done

    async def score(self, items: Sequence[ScoreItem]) -> list[Scored]:
        """Not available: few servers give the probabilities of a given text.

        Raises:
            Unsupported: Always.
        """
        raise Unsupported("score", self._info.name, "sample answers and count them, or use a local model")

    async def check(self) -> None:
        """Make one short call, so that a wrong address, key or model shows before a study starts.

        Raises:
            ModelError: The endpoint does not answer as it should.
        """
        try:
            await self._ask(Request(_PROBE, Sampling(max_tokens=1), call_id="check"), None)
        except TryFailed as failure:
            raise ModelError(
                "the endpoint does not answer", where=self._info.name, found=failure.detail,
                hint="check that the server runs, and that its address ends where /chat/completions begins",
            ) from None  # fmt: skip

    async def probe_seed(self) -> SeedStatus:
        """Find out, once, whether seeds are honoured: one seed twice, another seed once. Never asks the cache."""
        async with self._probing:
            if not self._probed:
                requests = [
                    Request(_PROBE, Sampling(max_tokens=3 * PROBE_TOKENS), seed=seed, call_id=f"probe-{i}")
                    for i, seed in enumerate((1, 1, 2))
                ]
                try:
                    replies = [await self._ask(request, None) for request in requests]
                except TryFailed as failure:
                    log.info("seed probe of %s failed: %s", self._info.name, failure)
                    return "unknown"
                self._seed_status, self._probed = _seed_verdict(*replies), True
        return self._seed_status

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        await self._transport.aclose()

    # --- one reply ---------------------------------------------------------------------------------------------

    async def _one(self, request: Request) -> Reply:
        key = None
        if self._cache is not None:
            key = call_key(request, endpoint=self._transport.base_url, model=self._model, revision=self._revision)
            if stored := self._cache.get(key):
                self._note_engine(stored.engine)
                return stored
        started_s = self._limits.clock.now()
        try:
            reply = await (self._ask(request, None) if request.schema is None else self._json.ask(request))
        except TryFailed as failure:
            return Reply(
                text="",
                finish="error",
                seed=request.seed,
                latency_s=self._limits.clock.now() - started_s,
                tries=failure.tries,
                engine=self._info.fingerprint,
                fault=ReplyFault(failure.code, failure.detail),
            )
        if self._cache is not None and key is not None:
            self._cache.put(key, reply)
        return reply

    async def _ask(self, request: Request, mode: JsonMode | None) -> Reply:
        body = payload(request, self._model, mode)
        # Three bytes a token: more tokens than nearly any text has, so that a reservation errs on the safe side.
        need = Usage(prompt=len(body) // 3, completion=request.sampling.max_tokens)
        call_id = request.call_id or f"call-{next(self._call_numbers)}"
        return self._to_reply(
            request, await self._limits.call(partial(self._transport.post, body), call_id=call_id, need=need)
        )

    def _to_reply(self, request: Request, sent: Sent[Answer]) -> Reply:
        answer, usage = sent.value, sent.usage
        engine = self._info.fingerprint + (f"+{answer.fingerprint}" if answer.fingerprint else "")
        self._note_fingerprint(answer.fingerprint)
        self._note_engine(engine)
        empty = not answer.text.strip() and answer.finish != "filtered"
        return Reply(
            text="" if empty else answer.text,
            finish="error" if empty else answer.finish,
            usage=usage or Usage(),
            seed=request.seed,
            seed_status="unknown" if request.seed is None else self._seed_status,
            latency_s=sent.latency_s,
            cost_usd=self._prices.cost_usd(usage) if self._prices and usage else None,
            tries=sent.tries,
            reasoning=answer.reasoning,
            engine=engine,
            fault=ReplyFault("empty", f"nothing was said; finish was {answer.finish!r}") if empty else None,
        )

    def _note_fingerprint(self, fingerprint: str | None) -> None:
        """Another server, or another build of it: what was probed no longer holds."""
        if fingerprint is None or fingerprint == self._fingerprint:
            return
        if self._fingerprint is not None:
            self._seed_status, self._probed = "unknown", False
        self._fingerprint = fingerprint

    def _note_engine(self, engine: str) -> None:
        if engine in self._engines:
            return
        self._engines.add(engine)
        if len(self._engines) == 2:  # once
            log.warning("%s: replies of more than one server build: %s", self._info.name, sorted(self._engines))


async def list_models(base_url: str, *, api_key: SecretStr | None = None) -> list[str]:
    """Names of the models that a server has.

    Args:
        base_url: Such as ``http://localhost:8000/v1``.
        api_key: Key; else the environment is asked, see ``find_api_key``.

    Raises:
        ConfigError: Not the address of an endpoint.
        ModelError: A refused key, or no list of models there.
    """
    key = api_key or find_api_key(os.environ)
    transport = Transport(base_url, "", api_key=key, deadline_s=LIST_LIMIT_S, clock=Clock())
    try:
        return await transport.model_names()
    except TryFailed as failure:
        raise ModelError(
            "the server lists no models", where=base_url, found=failure.detail,
            hint="check that the server runs, and that its address ends in /v1",
        ) from None  # fmt: skip
    finally:
        await transport.aclose()


def _seed_verdict(first: Reply, same: Reply, other: Reply) -> SeedStatus:
    """Honoured: equal under one seed, different under another. Ignored: different under one seed."""
    replies = (first, same, other)
    shortest = min(r.usage.completion or len(r.text.split()) for r in replies)
    if any(r.fault for r in replies) or shortest < PROBE_TOKENS or len({r.engine for r in replies}) > 1:
        return "unknown"
    if first.text != same.text:
        return "ignored"
    return "honoured" if first.text != other.text else "unknown"
