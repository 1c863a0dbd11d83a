"""A question in a side branch: asked of a model as it is now, answered by probabilities, never remembered.

The branch is only a longer request: the conversation it forks from does not change, and an engine that keeps work by
prefix computes the shared part once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from multitudes.core.records import Usage
from multitudes.models.base import ChatModel, Message, ScoreItem


class OptionProbs(NamedTuple):
    """Answer to one question.

    Attributes:
        probs: Probability of each option, renormalised over the options.
        mass: Probability the model gave to the options at all, before that; in (0, 1].
        engine: Fingerprint of the engine.
        usage: Tokens.
    """

    probs: tuple[float, ...]
    mass: float
    engine: str
    usage: Usage


class Question(NamedTuple):
    """A context and the texts that may follow it as the next message. Single tokens compare without length bias."""

    messages: tuple[Message, ...]
    options: tuple[str, ...]
    include_end: bool = False


async def option_probs(model: ChatModel, questions: Sequence[Question]) -> list[OptionProbs]:
    """Exact option probabilities of every question, in one batch.

    Raises:
        Unsupported: If the engine has no log-probabilities of given continuations.
    """
    items = [ScoreItem(q.messages, option, q.include_end) for q in questions for option in q.options]
    scored = iter(await model.score(items))
    out = []
    for question in questions:
        mine = [next(scored) for _ in question.options]
        top = max(s.total for s in mine)
        weights = [math.exp(s.total - top) for s in mine]
        total = sum(weights)
        mass = min(1.0, total * math.exp(top))
        usage = sum((s.usage for s in mine), Usage())
        out.append(OptionProbs(tuple(w / total for w in weights), mass, mine[0].engine, usage))
    return out
