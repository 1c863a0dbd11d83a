"""What a simulated person talks to: a chat model, a Python function or somebody's HTTP endpoint.

A target is told the conversation and nothing about the person: no persona id, no latent, and a conversation id that
is random. Its failures come back as a ``Reply`` with a fault, so that they are counted as the target's.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from pydantic import Field, PrivateAttr

from multitudes.core.errors import ConfigError
from multitudes.core.records import Frozen
from multitudes.models.base import ChatModel, Message, Reply, ReplyFault, Request, Sampling

if TYPE_CHECKING:
    import aiohttp

TARGET_LIMIT_S = 120.0
MAX_REPLY_BYTES = 4 * 1024 * 1024  # of an HTTP answer; the longest message of a conversation is far below
KEEP_ALIVE_S = 2.0  # shorter than servers keep idle connections, so that no call meets one that is being closed
TargetFunction = Callable[[list[dict[str, str]]], "str | Reply | Awaitable[str | Reply]"]


class Target(Protocol):
    """Whoever the simulated person talks to."""

    @property
    def name(self) -> str:
        """How the run calls it."""
        ...

    async def reply(self, messages: Sequence[Message], *, seed: int, conversation_id: str) -> Reply:
        """The next message, or a fault. Never raises for what one conversation met."""
        ...


class ModelTarget:
    """A chat model as target."""

    def __init__(self, model: ChatModel, sampling: Sampling) -> None:
        self.model, self._sampling = model, sampling

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.info.name

    def over(self, model: ChatModel) -> ModelTarget:
        """The same target with another model in the place of its own."""
        return ModelTarget(model, self._sampling)

    async def reply(self, messages: Sequence[Message], *, seed: int, conversation_id: str) -> Reply:
        """One reply of the model."""
        request = Request(tuple(messages), self._sampling, seed=seed, call_id=conversation_id)
        return (await self.model.reply([request]))[0]


class FunctionTarget:
    """A Python function ``f(messages) -> str | Reply``, plain or async; messages are ``{"role", "content"}``."""

    def __init__(self, function: TargetFunction, *, name: str | None = None, limit_s: float = TARGET_LIMIT_S) -> None:
        self._function, self._limit_s = function, limit_s
        self._name = name or f"python:{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', '?')}"

    @property
    def name(self) -> str:
        """Module and name of the function."""
        return self._name

    async def reply(self, messages: Sequence[Message], *, seed: int, conversation_id: str) -> Reply:
        """What the function returns; what it raises is the target's fault."""
        sent = [{"role": m.role, "content": m.text} for m in messages]
        start = time.perf_counter()
        try:
            answer = await asyncio.wait_for(self._call(sent), self._limit_s)
        except TimeoutError:
            return _fault("refused", f"no answer within {self._limit_s:g} s")
        except Exception as error:  # foreign code: whatever it raises belongs in the record, not in our run
            return _fault("refused", f"{type(error).__name__}: {error}")
        if isinstance(answer, Reply) and isinstance(answer.text, str):
            return answer
        if not isinstance(answer, str):
            return _fault("refused", f"returned {type(answer).__name__}, expected a str or a Reply")
        return Reply(text=answer, latency_s=time.perf_counter() - start, engine=self._name)

    async def _call(self, sent: list[dict[str, str]]) -> Any:
        if inspect.iscoroutinefunction(self._function):
            return await self._function(sent)
        answer = await asyncio.to_thread(self._function, sent)
        return await answer if inspect.isawaitable(answer) else answer


class HttpTarget(Frozen):
    """Somebody's own HTTP endpoint, asked through one pooled client per event loop; ``aclose`` closes it.

    Attributes:
        url: Where the request goes.
        method: HTTP method.
        headers_env: Header name → environment variable that holds its value, so that no secret is in a file.
        body: JSON body; the strings ``{messages}``, ``{last}`` and ``{conversation_id}`` are replaced where they
            stand alone as a value.
        reply_at: JSON pointer to the reply text, such as ``/choices/0/text``.
        limit_s: Seconds to wait.
    """

    url: str
    method: str = "POST"
    headers_env: dict[str, str] = Field(default_factory=dict)
    body: dict[str, Any] = Field(default_factory=lambda: {"messages": "{messages}"})
    reply_at: str = "/reply"
    limit_s: float = TARGET_LIMIT_S
    _sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = PrivateAttr(
        default_factory=WeakKeyDictionary
    )

    @property
    def name(self) -> str:
        """The URL."""
        return self.url

    def check_env(self) -> None:
        """Refuse to go on without the headers that the study names.

        Raises:
            ConfigError: A variable of ``headers_env`` is not set.
        """
        for header, variable in self.headers_env.items():
            if variable not in os.environ:
                raise ConfigError(
                    "the environment variable of a header is not set", where=f"headers_env.{header}",
                    found=repr(variable), hint=f"export {variable}=...",
                )  # fmt: skip

    async def reply(self, messages: Sequence[Message], *, seed: int, conversation_id: str) -> Reply:
        """What stands at ``reply_at`` of the answer; everything else is a fault of the target."""
        import aiohttp

        values = {
            "{messages}": [{"role": m.role, "content": m.text} for m in messages],
            "{last}": messages[-1].text,
            "{conversation_id}": conversation_id,
        }
        self.check_env()
        headers = {k: os.environ[v] for k, v in self.headers_env.items()}
        start = time.perf_counter()
        try:
            async with self._session().request(  # a redirect is not followed: it could carry the headers anywhere
                self.method, self.url, json=_filled(self.body, values), headers=headers, allow_redirects=False
            ) as answer:
                body = await _body(answer)
                if body is None:
                    return _fault("refused", f"an answer of more than {MAX_REPLY_BYTES:,} bytes")
                raw = _decoded(body, answer.charset)
                if answer.status >= 300:
                    return _fault("refused", f"HTTP {answer.status}: {raw[:200]}")
        except TimeoutError:
            return _fault("refused", f"no answer within {self.limit_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a header or URL that cannot be sent
            return _fault("refused", f"{type(error).__name__}: {error}")
        try:
            text = _at(json.loads(raw), self.reply_at)
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            return _fault("refused", f"nothing at {self.reply_at!r} ({error}): {raw[:200]}")
        if not isinstance(text, str):
            return _fault("refused", f"{self.reply_at!r} holds {type(text).__name__}, expected a string")
        return Reply(text=text, latency_s=time.perf_counter() - start, engine=self.url)

    def _session(self) -> aiohttp.ClientSession:
        """The running loop's client, made at its first call. It keeps no cookies: conversations must not mix."""
        import aiohttp

        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            session = self._sessions[loop] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),  # the study bounds the calls
                timeout=aiohttp.ClientTimeout(total=self.limit_s),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return session

    async def aclose(self) -> None:
        """Close the connections of the running loop; a later call opens them again."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()


async def _body(answer: aiohttp.ClientResponse) -> bytes | None:
    """The body; None where it is longer than any reply."""
    body = bytearray()
    async for part in answer.content.iter_any():
        body += part
        if len(body) > MAX_REPLY_BYTES:
            return None
    return bytes(body)


def _decoded(body: bytes, charset: str | None) -> str:
    try:
        return body.decode(charset or "utf-8", errors="replace")
    except LookupError:  # a charset that nobody knows
        return body.decode("utf-8", errors="replace")


def _fault(code: Any, detail: str) -> Reply:
    return Reply(text="", finish="error", fault=ReplyFault(code, detail))


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return values.get(value, value)
    if isinstance(value, dict):
        return {k: _filled(v, values) for k, v in value.items()}
    return [_filled(v, values) for v in value] if isinstance(value, list) else value


def _at(data: Any, pointer: str) -> Any:
    for part in [p.replace("~1", "/").replace("~0", "~") for p in pointer.split("/") if p]:
        data = data[int(part)] if isinstance(data, list) else data[part]
    return data


def function_target(path: str, *, folder: Path | None = None) -> FunctionTarget:
    """The target behind ``MODULE:FUNCTION``.

    Args:
        path: Module and function.
        folder: Where a module that is not installed may lie; it is looked at first, and only during this import.

    Raises:
        ConfigError: No such module or function.
    """
    module_name, _, name = path.partition(":")
    try:
        with _importable(folder):
            function = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            "no such target function", where=f"python:{path}", found=str(error), expected="python:MODULE:FUNCTION"
        ) from error
    return FunctionTarget(function, name=f"python:{path}")


@contextmanager
def _importable(folder: Path | None) -> Iterator[None]:
    """``folder`` first on the path that modules are imported from, and the path as it was afterwards."""
    if folder is None:
        yield
        return
    entry = str(folder.resolve())
    importlib.invalidate_caches()  # the file may be younger than what Python remembers of its folder
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
