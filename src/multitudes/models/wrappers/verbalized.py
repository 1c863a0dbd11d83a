"""Verbalized sampling: ask for several possible messages with their probabilities, and draw one of them.

A tuned model's single answer is its most typical one; its list of answers is spread wider. The list costs as many
tokens as it has answers, so a fair comparison is at equal cost.

Source: arXiv 2510.01171 (1.6 to 2.1 times the diversity is their figure, from the abstract; not checked here). Small
models often do not keep to the form, and then there is no message.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from multitudes.core.errors import Unsupported
from multitudes.core.seeds import derive_rng
from multitudes.models.base import (
    Capabilities,
    ChatModel,
    Message,
    Reply,
    ReplyFault,
    Request,
    check_requests,
)
from multitudes.models.wrappers.base import Wrapper

ANSWERS = 5
FEWEST = 2  # a list of one is a single answer
_OVERHEAD = 10  # tokens for number and probability of each answer
_ASK = (
    "Before you speak, list {k} different things you might say next, in your own voice, each on a line of its own: "
    "number, how likely it is in percent, then the words. Like this:\n1. 40% the words\n2. 25% other words\n"
    "Write the {k} lines and nothing else."
)
# A bare number is a probability only with a sign, brackets or a mark behind it: "1. 2 of us" is words.
_LINE = re.compile(
    r"^\s*(?:\d+\s*[.):]|[-*•])\s*(?P<open>[(\[]?)\s*(?P<p>\d+(?:\.\d+)?|\.\d+)\s*(?P<percent>%?)\s*"
    r"(?P<close>[)\]]?)\s*(?P<mark>[:–—,|-]*)\s*(?P<text>\S.*)$"
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
    found: list[tuple[str, float, bool]] = []
    for line in reply.splitlines():
        match = _LINE.match(line)
        if match is None or not (match["percent"] or match["close"] or match["mark"] or "." in match["p"]):
            continue
        weight = float(match["p"]) / (100 if match["percent"] else 1)
        text = match["text"].strip().strip('"“”').strip()
        if text and weight > 0:
            found.append((text, weight, bool(match["percent"])))
    # Numbers without a sign are percents in a list in which one of them is above 1.
    scale = 100 if any(weight > 1 for _, weight, signed in found if not signed) else 1
    shares = [Candidate(text, weight if signed else weight / scale) for text, weight, signed in found]
    return [candidate for candidate in shares if candidate.weight <= 1]


class Verbalized(Wrapper):
    """The model inside, asked for several messages of which one is drawn by its stated probability.

    A reply with fewer than two lines in the form is a fault ``empty``, as a message of nothing would be: the caller
    may ask again, and the raw list never enters a conversation. The last line of a list that was cut off is no
    message. ``score`` is that of the model inside.
    """

    def __init__(self, inner: ChatModel, answers: int = ANSWERS) -> None:
        super().__init__(inner, "verbalized")
        self.answers = answers

    @property
    def info(self) -> Capabilities:
        """As the model inside; a list follows no schema."""
        return replace(super().info, json_schema=False)

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """One drawn message per request; usage and cost are those of the whole list.

        Raises:
            Unsupported: A request with a schema.
        """
        check_requests(requests, taps=True)
        if any(r.schema is not None for r in requests):
            raise Unsupported("json_schema", self.info.name, "leave out the schema, or ask the model inside")
        requests = [r if r.seed is not None else replace(r, seed=_fresh_seed()) for r in requests]
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


def _fresh_seed() -> int:
    return int.from_bytes(os.urandom(8), "big") >> 1


def _drawn(request: Request, reply: Reply) -> Reply:
    if reply.fault is not None:
        return reply
    whole = reply.text.rpartition("\n")[0] if reply.finish == "length" else reply.text
    candidates = parse_candidates(whole)
    plain = replace(reply, token_ids=None, logprobs=None)
    if len(candidates) < FEWEST:
        detail = f"fewer than {FEWEST} whole lines with a probability and words: {reply.text[:80]!r}"
        return replace(plain, text="", finish="error", fault=ReplyFault("empty", detail))
    weights = [c.weight for c in candidates]
    rng = derive_rng("verbalized", request.seed or 0, request.replicate)
    chosen = int(rng.choice(len(candidates), p=[w / sum(weights) for w in weights]))
    text = candidates[chosen].text
    cut = min((text.index(s) for s in request.sampling.stop if s in text), default=len(text))
    return replace(plain, text=text[:cut], finish="stop")
