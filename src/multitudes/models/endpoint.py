"""Any OpenAI-compatible server as a ChatModel: one pooled client, plain JSON."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from pydantic import SecretStr

from multitudes.core.errors import ConfigError, ModelError, Unsupported, did_you_mean
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
from multitudes.models.cache import CallCache, call_key
from multitudes.models.limits import (
    Budget,
    Clock,
    Limits,
    Prices,
    RetryPolicy,
    Sent,
    TryFailed,
    parse_retry_after,
)
from multitudes.models.schema import (
    JsonAsker,
    JsonMode,
    refuse_unknown_rules,
    response_format,
    with_instructions,
)

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

KEY_PLACES = "MULTITUDES_API_KEY, OPENAI_API_KEY, or a file named by MULTITUDES_API_KEY_FILE"
DETAIL_CHARS = 300  # how much of a server's error text is kept
PROBE_TOKENS = 20  # shorter replies may agree by chance

_THINKING = re.compile(r"\s*<think>(.*?)(?:</think>\s*|\Z)", re.DOTALL)
_TOO_LONG = re.compile(
    r"context.{0,20}(length|size|window)|maximum context|maximum model length|too long", re.IGNORECASE
)
_FINISH: dict[str | None, Literal["stop", "length", "filtered"]] = {"length": "length", "content_filter": "filtered"}
_PROBE = (
    Message("system", "You tell stories."),
    Message("user", "Tell me a short story about somebody who finds a key."),
)


def find_api_key(env: Mapping[str, str]) -> SecretStr | None:
    """The API key that an environment holds or points to; None if there is none.

    Looks at ``MULTITUDES_API_KEY``, then ``OPENAI_API_KEY``, then into the file named by ``MULTITUDES_API_KEY_FILE``.

    >>> find_api_key({"OPENAI_API_KEY": "secret"})
    SecretStr('**********')

    Raises:
        ConfigError: The file cannot be read.
    """
    key = env.get("MULTITUDES_API_KEY") or env.get("OPENAI_API_KEY")
    path = env.get("MULTITUDES_API_KEY_FILE")
    if not key and path:
        try:
            key = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                "no key can be read", where="MULTITUDES_API_KEY_FILE", found=type(error).__name__
            ) from error
    return SecretStr(key.strip()) if key and key.strip() else None


class Answer(NamedTuple):
    """What one HTTP answer says."""

    text: str
    reasoning: str | None
    finish: Literal["stop", "length", "filtered"]
    fingerprint: str | None


def read_answer(data: Any) -> tuple[Answer, Usage | None]:
    """The first choice of a chat completion, and its usage if the server gives one.

    Thinking is taken out of the text, whether it has a field of its own or leads the text as ``<think>``.

    Raises:
        TryFailed: ``server`` for a body that is no completion; ``refused`` where the model says so.
    """
    try:
        choice = data["choices"][0]
        message = choice["message"]
        text, thoughts = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
        refusal, finish = message.get("refusal"), _FINISH.get(choice.get("finish_reason"), "stop")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise TryFailed("server", "the answer is no chat completion", retry=True) from None
    if text is None and refusal:
        raise TryFailed("refused", str(refusal)[:DETAIL_CHARS])
    if not isinstance(text, str | None) or not isinstance(thoughts, str | None):
        raise TryFailed("server", "the answer has no text", retry=True)
    text = text or ""
    if block := _THINKING.match(text):
        text = text[block.end() :]
        thoughts = "\n".join(part for part in (thoughts, block[1].strip()) if part)
    fingerprint = data.get("system_fingerprint")
    return Answer(text, thoughts or None, finish, fingerprint and str(fingerprint)), _read_usage(data.get("usage"))


def _read_usage(data: Any) -> Usage | None:
    if not isinstance(data, dict):
        return None
    details = data.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    prompt, completion, cached = data.get("prompt_tokens"), data.get("completion_tokens"), cached or 0
    if isinstance(prompt, int) and isinstance(completion, int) and isinstance(cached, int):
        return Usage(prompt=prompt, cached=cached, completion=completion)
    return None


def _payload(request: Request, model: str, mode: JsonMode | None) -> bytes:
    """The body of a call. Filters that are off are not sent: some servers refuse even their names."""
    messages, sampling = request.messages, request.sampling
    body: dict[str, Any] = {
        "model": model,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
    }
    for name, value, off in (
        ("top_p", sampling.top_p, 1.0),
        ("top_k", sampling.top_k, 0),
        ("min_p", sampling.min_p, 0.0),
        ("stop", sampling.stop, ()),
        ("seed", request.seed, None),
    ):
        if value != off:
            body[name] = value
    if mode is not None and request.schema is not None:
        if form := response_format(mode, request.schema):
            body["response_format"] = form
        if mode != "json_schema":
            messages = with_instructions(messages, request.schema)
    body["messages"] = [{"role": m.role, "content": m.text} for m in messages]
    return json.dumps(body).encode()


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
        parts = urlsplit(base_url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise ConfigError(
                "not the address of an endpoint", where="base_url", found=f"{parts.scheme}://{parts.hostname}",
                expected="http(s)://HOST:PORT/v1, without a user, a query or a fragment",
            )  # fmt: skip
        self._base_url, self._model, self._revision = base_url.rstrip("/"), model, revision
        self._key = SecretStr(api_key.strip()) if isinstance(api_key, str) else api_key or find_api_key(os.environ)
        if self._key and not re.fullmatch(r"[!-~]+", self._key.get_secret_value()):
            raise ConfigError("the API key is not one word of plain characters", where="api_key")
        self._prices, self._cache = prices, cache
        self._limits = Limits(policy, budget, prices=prices, max_in_flight=max_in_flight, clock=clock)
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()
        self._call_numbers = itertools.count(1)
        self._json = JsonAsker(self._ask)
        self._fingerprint: str | None = None
        self._engines: set[str] = set()
        self._seed_status: SeedStatus = "unknown"
        self._probed = False
        self._probing = asyncio.Lock()
        name = f"{self._base_url}#{model}"
        self._info = Capabilities(
            name=name, engine="endpoint", fingerprint=name + (f"@{revision}" if revision else ""), json_schema=True
        )

    def __repr__(self) -> str:
        return f"EndpointModel({self._base_url!r}, {self._model!r})"

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
        check_requests(requests)
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
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    # --- one reply ---------------------------------------------------------------------------------------------

    async def _one(self, request: Request) -> Reply:
        key = None
        if self._cache is not None:
            key = call_key(request, endpoint=self._base_url, model=self._model, revision=self._revision)
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
        body = _payload(request, self._model, mode)
        # Three bytes a token: more tokens than nearly any text has, so that a reservation errs on the safe side.
        need = Usage(prompt=len(body) // 3, completion=request.sampling.max_tokens)
        call_id = request.call_id or f"call-{next(self._call_numbers)}"
        return self._to_reply(request, await self._limits.call(partial(self._post, body), call_id=call_id, need=need))

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

    # --- transport ---------------------------------------------------------------------------------------------

    def _session(self) -> aiohttp.ClientSession:
        import aiohttp

        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            headers = {"Content-Type": "application/json"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
            session = self._sessions[loop] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # the limiter bounds the calls
                timeout=aiohttp.ClientTimeout(total=self._limits.policy.deadline_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
            )
        return session

    async def _http(self, method: str, path: str, body: bytes | None = None) -> tuple[int, str | None, bytes]:
        """Status, ``Retry-After`` and body of one exchange. Redirects are not followed: they could lead anywhere."""
        import aiohttp

        try:
            async with self._session().request(
                method, self._base_url + path, data=body, allow_redirects=False
            ) as response:
                return response.status, response.headers.get("Retry-After"), await response.read()
        except TimeoutError:
            detail = f"no answer within {self._limits.policy.deadline_s:g} s"
            failure = TryFailed("timeout", detail, retry=True, overloaded=True)
        except aiohttp.ClientError as error:
            failure = TryFailed("server", self._clean(f"{type(error).__name__}: {error}"), retry=True)
        raise failure  # outside the handler: a client's error carries the headers, and with them the key

    async def _post(self, body: bytes) -> tuple[Answer, Usage | None]:
        status, retry_after, raw = await self._http("POST", "/chat/completions", body)
        if status != 200:
            raise await self._failure(status, retry_after, raw)
        try:
            data = json.loads(raw)
            answer, usage = read_answer(data)
            answer.text.encode()
        except (ValueError, RecursionError):
            raise TryFailed("server", "unreadable answer: " + self._clean(_error_text(raw)), retry=True) from None
        return answer, usage

    async def _failure(self, status: int, retry_after: str | None, raw: bytes) -> TryFailed | ModelError:
        detail = f"HTTP {status}: {self._clean(_error_text(raw))}"
        if status in (401, 403):
            hint = f"set {KEY_PLACES}; this call went out {'with' if self._key else 'without'} a key"
            return ModelError("the endpoint refuses the key", where=self._info.name, found=detail, hint=hint)
        if status == 404:
            return await self._no_such_model(detail)
        if status in (408, 409, 429) or status >= 500:
            wait_s = parse_retry_after(retry_after, wall_s=self._limits.clock.wall())
            return TryFailed(
                "timeout" if status == 408 else "rate_limit" if status == 429 or wait_s is not None else "server",
                detail if wait_s is None else f"{detail} (asks to wait {wait_s:.0f} s)",
                retry=True, overloaded=status in (408, 429, 503), retry_after_s=wait_s, status=status,
            )  # fmt: skip
        return TryFailed("too_long" if _TOO_LONG.search(detail) else "refused", detail, status=status)

    async def _no_such_model(self, detail: str) -> ModelError:
        try:
            _, _, raw = await self._http("GET", "/models")
            names = [self._clean(str(entry["id"])) for entry in json.loads(raw)["data"]]
        except (TryFailed, ValueError, KeyError, TypeError):
            names = []
        hint = did_you_mean(self._model, names) if names else "check the address; it often ends in /v1"
        return ModelError(f"no model {self._model!r} here", where=self._info.name, found=detail, hint=hint)

    def _clean(self, text: str) -> str:
        """A server's words, without the key that it may have echoed, and not too many of them."""
        if self._key:
            text = text.replace(self._key.get_secret_value(), "[API key]")
        return text if len(text) <= DETAIL_CHARS else text[:DETAIL_CHARS] + "..."


def _error_text(raw: bytes) -> str:
    """The message in an error body, or the body itself."""
    text = raw.decode("utf-8", errors="replace").strip()
    try:
        data = json.loads(text)
        error = data.get("error", data)
        message = error.get("message", text) if isinstance(error, dict) else error
    except (ValueError, AttributeError, RecursionError):
        return text
    return str(message)


def _seed_verdict(first: Reply, same: Reply, other: Reply) -> SeedStatus:
    """Honoured: equal under one seed, different under another. Ignored: different under one seed."""
    replies = (first, same, other)
    shortest = min(r.usage.completion or len(r.text.split()) for r in replies)
    if any(r.fault for r in replies) or shortest < PROBE_TOKENS or len({r.engine for r in replies}) > 1:
        return "unknown"
    if first.text != same.text:
        return "ignored"
    return "honoured" if first.text != other.text else "unknown"
