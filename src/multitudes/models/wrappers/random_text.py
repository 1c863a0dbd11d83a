"""Random words before the prompt: what any change of the prompt does, as a baseline for what a remedy does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

import numpy as np

from multitudes.core.seeds import derive_rng
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

FEWEST = 8


@cache
def _words() -> tuple[str, ...]:
    return tuple((files(__package__) / "everyday.txt").read_text(encoding="utf-8").split())


def random_words(n: int, rng: np.random.Generator) -> str:
    """``n`` everyday English words in a row, at least ``FEWEST``, closed by a full stop.

    >>> len(random_words(12, np.random.default_rng(0)).split())
    12
    """
    words = _words()
    return " ".join(words[i] for i in rng.choice(len(words), size=max(FEWEST, n))) + "."


class RandomText(Wrapper):
    """The model inside, with random words as long as the system prompt before it.

    The words depend on the system prompt and the run alone: they stay the same over the turns of a conversation.
    """

    def __init__(self, inner: ChatModel) -> None:
        super().__init__(inner, "random-text")

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """Replies to the longer prompt."""
        check_requests(requests, taps=True)
        return await super().reply([replace(r, messages=_prefixed(r.messages, r.replicate)) for r in requests])

    async def score(self, items: Sequence[ScoreItem]) -> list[Scored]:
        """Log-probabilities after the longer prompt."""
        check_score_items(items, taps=True)
        return await super().score([replace(item, context=_prefixed(item.context, 0)) for item in items])


def _prefixed(messages: tuple[Message, ...], replicate: int) -> tuple[Message, ...]:
    first = messages[0] if messages and messages[0].role == "system" else None
    own = first.text if first else ""
    words = random_words(len(own.split()), derive_rng("random-text", own, replicate))
    rest = messages[1:] if first else messages
    return (Message("system", f"{words}\n\n{own}".rstrip()), *rest)
