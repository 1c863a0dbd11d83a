"""One HTTP exchange with an OpenAI-compatible server: where it goes, with which key, and what its failure means."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from pydantic import SecretStr

from multitudes.core.errors import ConfigError, ModelError, did_you_mean
from multitudes.core.records import Usage
from multitudes.models.retry import Clock, TryFailed, parse_retry_after
from multitudes.models.wire import DETAIL_CHARS, Answer, error_text, read_answer

if TYPE_CHECKING:
    import aiohttp

KEY_PLACES = "MULTITUDES_API_KEY, OPENAI_API_KEY, or a file named by MULTITUDES_API_KEY_FILE"

_TOO_LONG = re.compile(
    r"context.{0,20}(length|size|window)|maximum context|maximum model length|too long", re.IGNORECASE
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


class Transport:
    """Exchanges with one server by a pooled client, one per event loop.

    Args:
        base_url: Such as ``http://localhost:8000/v1``.
        model: Name of the model on that server.
        api_key: Sent to ``base_url`` and nowhere else.
        deadline_s: Longest time of one exchange.
        clock: Time, for dates that a server names.

    Attributes:
        base_url: Without a slash at its end.
        name: Address and model, for people.
    """

    def __init__(
        self, base_url: str, model: str, *, api_key: SecretStr | None, deadline_s: float, clock: Clock
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
        if api_key and not re.fullmatch(r"[!-~]+", api_key.get_secret_value()):
            raise ConfigError("the API key is not one word of plain characters", where="api_key")
        self.base_url, self._model = base_url.rstrip("/"), model
        self.name = f"{self.base_url}#{model}"
        self._key, self._deadline_s, self._clock = api_key, deadline_s, clock
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()

    def session(self) -> aiohttp.ClientSession:
        """The running loop's client, made at its first call."""
        import aiohttp

        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            headers = {"Content-Type": "application/json"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key.get_secret_value()}"
            session = self._sessions[loop] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # the limiter bounds the calls
                timeout=aiohttp.ClientTimeout(total=self._deadline_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
            )
        return session

    async def _http(self, method: str, path: str, body: bytes | None = None) -> tuple[int, str | None, bytes]:
        """Status, ``Retry-After`` and body of one exchange. Redirects are not followed: they could lead anywhere."""
        import aiohttp

        try:
            async with self.session().request(
                method, self.base_url + path, data=body, allow_redirects=False
            ) as response:
                return response.status, response.headers.get("Retry-After"), await response.read()
        except TimeoutError:
            detail = f"no answer within {self._deadline_s:g} s"
            failure = TryFailed("timeout", detail, retry=True, overloaded=True)
        except aiohttp.ClientError as error:
            failure = TryFailed("server", self._clean(f"{type(error).__name__}: {error}"), retry=True)
        raise failure  # outside the handler: a client's error carries the headers, and with them the key

    async def post(self, body: bytes) -> tuple[Answer, Usage | None]:
        """One try of one call.

        Raises:
            TryFailed: Whatever a later try, or another request, may not meet.
            ModelError: A refused key, or a model that the endpoint does not have.
        """
        status, retry_after, raw = await self._http("POST", "/chat/completions", body)
        if status != 200:
            raise await self._failure(status, retry_after, raw)
        try:
            data = json.loads(raw)
            answer, usage = read_answer(data)
            answer.text.encode()
        except (ValueError, RecursionError):
            raise TryFailed("server", "unreadable answer: " + self._clean(error_text(raw)), retry=True) from None
        return answer, usage

    async def model_names(self) -> list[str]:
        """Names of the models that the server lists.

        Raises:
            TryFailed: No answer, or no list in it.
            ModelError: A refused key.
        """
        status, retry_after, raw = await self._http("GET", "/models")
        if status in (401, 403):
            raise await self._failure(status, retry_after, raw)
        try:
            return [self._clean(str(entry["id"])) for entry in json.loads(raw)["data"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            detail = f"HTTP {status}: {self._clean(error_text(raw))}"
            raise TryFailed("server", f"no list of models: {detail}", status=status) from None

    async def _failure(self, status: int, retry_after: str | None, raw: bytes) -> TryFailed | ModelError:
        detail = f"HTTP {status}: {self._clean(error_text(raw))}"
        if status in (401, 403):
            hint = f"set {KEY_PLACES}; this call went out {'with' if self._key else 'without'} a key"
            return ModelError("the endpoint refuses the key", where=self.name, found=detail, hint=hint)
        if status == 404:
            return await self._no_such_model(detail)
        if status in (408, 409, 429) or status >= 500:
            wait_s = parse_retry_after(retry_after, wall_s=self._clock.wall())
            return TryFailed(
                "timeout" if status == 408 else "rate_limit" if status == 429 or wait_s is not None else "server",
                detail if wait_s is None else f"{detail} (asks to wait {wait_s:.0f} s)",
                retry=True, overloaded=status in (408, 429, 503), retry_after_s=wait_s, status=status,
            )  # fmt: skip
        return TryFailed("too_long" if _TOO_LONG.search(detail) else "refused", detail, status=status)

    async def _no_such_model(self, detail: str) -> ModelError:
        try:
            names = await self.model_names()
        except (TryFailed, ModelError):
            names = []
        hint = did_you_mean(self._model, names) if names else "check the address; it often ends in /v1"
        return ModelError(f"no model {self._model!r} here", where=self.name, found=detail, hint=hint)

    def _clean(self, text: str) -> str:
        """A server's words, without the key that it may have echoed, and not too many of them."""
        if self._key:
            text = text.replace(self._key.get_secret_value(), "[API key]")
        return text if len(text) <= DETAIL_CHARS else text[:DETAIL_CHARS] + "..."

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()
