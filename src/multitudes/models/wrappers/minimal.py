"""Minimal format: no chat template and no role tokens, only a written document that the model goes on with.

The template itself is part of what makes a tuned model answer as the Assistant (arXiv 2505.18949, abstract; not
checked here). A document with a person in it and a line to finish calls less on that habit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from multitudes.models.base import (
    ChatModel,
    Message,
    Reply,
    Request,
    Scored,
    ScoreItem,
    check_requests,
    check_score_items,
)
from multitudes.models.wrappers.base import Wrapper

_NAME = re.compile(r"\AYou are ([^.\n]{1,60})\.")


class Minimal(Wrapper):
    """A document in place of a chat; the model inside must take one message as raw text.

    Args:
        inner: A local model opened with ``raw=True``.
    """

    def __init__(self, inner: ChatModel) -> None:
        super().__init__(inner, "minimal")

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """The next line of each document, up to its end."""
        check_requests(requests, taps=True)
        raw = [
            replace(r, messages=_raw(r.messages), sampling=replace(r.sampling, stop=("\n", *r.sampling.stop)))
            for r in requests
        ]
        return [replace(r, text=r.text.strip()) for r in await super().reply(raw)]

    async def score(self, items: Sequence[ScoreItem]) -> list[Scored]:
        """Log-probabilities of the next line; its end is the line break."""
        check_score_items(items, taps=True)
        return await super().score(
            [
                replace(
                    i,
                    context=_raw(i.context),
                    continuation=f" {i.continuation}" + ("\n" if i.include_end else ""),
                    include_end=False,
                )
                for i in items
            ]
        )


def document(messages: Sequence[Message]) -> str:
    r"""A conversation as a page of writing that ends where the person is about to speak.

    >>> print(document([Message("system", "You are Ana."), Message("user", "Hello?")]))
    You are Ana.
    <BLANKLINE>
    Other: Hello?
    Ana:
    """
    about = messages[0].text if messages and messages[0].role == "system" else ""
    found = _NAME.match(about)
    name = found[1] if found else "I"
    said = messages[1:] if about else messages
    lines = [f"{name if m.role == 'assistant' else 'Other'}: {' '.join(m.text.split())}" for m in said]
    return "\n".join([*([about, ""] if about else []), *lines, f"{name}:"])


def _raw(messages: Sequence[Message]) -> tuple[Message, ...]:
    return (Message("user", document(messages)),)
