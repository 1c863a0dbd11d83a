"""The OpenAI-compatible wire format: the body of a call, and what an answer says."""

from __future__ import annotations

import json
import re
from typing import Any, Literal, NamedTuple

from multitudes.core.records import Usage
from multitudes.models.base import Request
from multitudes.models.retry import TryFailed
from multitudes.models.schema import JsonMode, response_format, with_instructions

DETAIL_CHARS = 300  # how much of a server's error text is kept

_THINKING = re.compile(r"\s*<think>(.*?)(?:</think>\s*|\Z)", re.DOTALL)
_FINISH: dict[str | None, Literal["stop", "length", "filtered"]] = {"length": "length", "content_filter": "filtered"}


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


def payload(request: Request, model: str, mode: JsonMode | None) -> bytes:
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


def error_text(raw: bytes) -> str:
    """The message in an error body, or the body itself."""
    text = raw.decode("utf-8", errors="replace").strip()
    try:
        data = json.loads(text)
        error = data.get("error", data)
        message = error.get("message", text) if isinstance(error, dict) else error
    except (ValueError, AttributeError, RecursionError):
        return text
    return str(message)
