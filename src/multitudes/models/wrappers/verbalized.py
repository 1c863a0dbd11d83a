"""Verbalized sampling: ask for several possible messages with their probabilities, and draw one of them.

A tuned model's single answer is its most typical one; its list of answers is spread wider. The list costs as many
tokens as it has answers, so a fair comparison is at equal cost.

Source: arXiv 2510.01171 (1.6 to 2.1 times the diversity is their figure, from the abstract; not checked here). Small
models often do not keep to the form, and then there is no message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from multitudes.core.seeds import derive_rng
from multitudes.models.base import ChatModel, Message, Reply, ReplyFault, Request
from multitudes.models.wrappers.base import Wrapper

ANSWERS = 5
_OVERHEAD = 10  # tokens for number and probability of each answer
_ASK = (
    "Before you speak, list {k} different things you might say next, in your own voice, each on a line of its own: "
    "number, how likely it is in percent, then the words. Like this:\n1. 40% the words\n2. 25% other words\n"
    "Write the {k} lines and nothing else."
)
_LINE = re.compile(
    r"^\s*(?:\d+\s*[.):]|[-*•])\s*[(\[]?\s*(?P<p>\d+(?:\.\d+)?|\.\d+)\s*(?P<percent>%?)\s*[)\]]?\s*[:\-–—,]*\s*(?P<text>\S.*)$"
)


class Candidate(NamedTuple):
    """One message and the share the model gave it; shares need not sum to 1."""

    text: str
    weight: float


def parse_candidates(reply: str) -> list[Candidate]:
    r"""Messages with a probability, one per line; what does not keep to the form is no candidate.

    >>> parse_candidates("1. 60% Hello there.\n2) (40%): Good day!\nThat is all.")
    [Candidate(text='Hello there.', weight=0.6), Candidate(text='Good day!', weight=0.4)]
    """
    found = []
    for line in reply.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        weight = float(match["p"]) / (100 if match["percent"] else 1)
        text = match["text"].strip().strip('"“”').strip()
        if text and 0 < weight <= 1:
            found.append(Candidate(text, weight))
    return found


class Verbalized(Wrapper):
    """The model inside, asked for several messages of which one is drawn by its stated probability.

    A reply in which no line keeps to the form is a fault ``empty``, as a message of nothing would be: the caller may
    ask again, and the raw list never enters a conversation. ``score`` is that of the model inside.
    """

    def __init__(self, inner: ChatModel, answers: int = ANSWERS) -> None:
        super().__init__(inner, "verbalized")
        self.answers = answers

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """One drawn message per request; usage and cost are those of the whole list."""
        listed = await super().reply([self._listing(r) for r in requests])
        return [_drawn(request, reply) for request, reply in zip(requests, listed, strict=True)]

    def _listing(self, request: Request) -> Request:
        ask = _ASK.format(k=self.answers)
        *before, last = request.messages
        if last.role == "user":
            messages = (*before, Message("user", f"{last.text}\n\n{ask}"))
        else:
            messages = (*request.messages, Message("user", ask))
        longer = self.answers * (request.sampling.max_tokens + _OVERHEAD)
        sampling = replace(request.sampling, max_tokens=longer, stop=())
        return replace(request, messages=messages, sampling=sampling, keep=False)


def _drawn(request: Request, reply: Reply) -> Reply:
    if reply.fault is not None:
        return reply
    candidates = parse_candidates(reply.text)
    plain = replace(reply, token_ids=None, logprobs=None)
    if not candidates:
        detail = f"no line of the list has a probability and words: {reply.text[:80]!r}"
        return replace(plain, text="", finish="error", fault=ReplyFault("empty", detail))
    weights = [c.weight for c in candidates]
    rng = derive_rng("verbalized", reply.seed if reply.seed is not None else 0, request.replicate)
    chosen = int(rng.choice(len(candidates), p=[w / sum(weights) for w in weights]))
    return replace(plain, text=candidates[chosen].text, finish="stop")
