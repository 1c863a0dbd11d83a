"""Whether an answer is in role: by a judge where one is given, else by how much the answer depends on the role.

Scale of Lu et al., arXiv 2601.10387: 0 refuses as itself, 1 answers without a sign of the role, 2 some of the role
but still names itself as a machine, 3 fully in role. Only 3 enters a role's mean.

Without a judge: ``LLR = (1/k) Σ_t [log p(y_t | role prompt) − log p(y_t | no prompt)]``, nats per token, from raw
log-probabilities; higher is more in role. Its null are answers of the default under role prompts that they were not
given. The threshold is ``max(0, 95th percentile of the null)``. An answer that passes depends on the prompt, which is
what the filter can see: say "likelihood-filtered", never "judged".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from multitudes.core.canonical import content_hash
from multitudes.models.base import ChatModel, Message, ReplyFault, Request, Sampling
from multitudes.simulate.faults import PROVIDER_CODES
from multitudes.simulate.voice import LEXICON, voice_hits

NULL_QUANTILE = 0.95
Filter = Literal["likelihood", "judge", "none"]
IN_ROLE = 3
PARTLY = 2
UNSCORED = -1
VERDICT_TOKENS = 16  # a reply that needs more is no verdict

RUBRIC = """A writer was told to answer as: {definition}

Question: {question}

Answer: {answer}

How far is the answer in that role? Reply with one digit and nothing else.
0 = it refuses, speaking as a machine or a helper
1 = it answers, but nothing of the role is to be seen
2 = something of the role is there, but it still calls itself a machine or a helper
3 = wholly in role; a refusal that the role would give counts here"""
AGAIN = "Your last reply to this could not be read. One digit, 0, 1, 2 or 3:"
RUBRIC_HASH = content_hash([RUBRIC, AGAIN], length=16)

_NUMBER = re.compile(r"[-+−–]?\w*\d\w*(?:[.,]\d+)*")
_GROUPS = {p.name: p.group for p in LEXICON}


@dataclass(frozen=True, slots=True)
class Adherence:
    """Score of one answer, and its log-likelihood ratio in nats per token (NaN without one)."""

    score: int
    llr: float


def threshold(null: Sequence[float]) -> float:
    """``max(0, 95th percentile)`` of the log-likelihood ratios of answers that were not given in the role.

    >>> threshold([-1.0, -0.5, -0.2])
    0.0
    """
    known = [x for x in null if np.isfinite(x)]
    return max(0.0, float(np.quantile(known, NULL_QUANTILE))) if known else 0.0


def by_likelihood(
    text: str, llr: float, theta: float, *, names: Sequence[str] = (), makers: Sequence[str] = ()
) -> Adherence:
    """Score by the threshold and by two lists of patterns: names itself as a machine, declines as one.

    Args:
        text: The answer.
        llr: Its log-likelihood ratio, nats per token; NaN leaves it unscored.
        theta: Threshold.
        names: Names of the model; saying one of them as one's own is naming oneself.
        makers: Whom it was made by; saying so is naming oneself too.
    """
    if not np.isfinite(llr):
        return Adherence(UNSCORED, llr)
    groups = {_GROUPS[h.name] for h in voice_hits(text)}
    own = _own_names(tuple(names), tuple(makers))
    named = own is not None and own.search(text.replace("’", "'")) is not None
    if llr >= theta:
        return Adherence(PARTLY if "self" in groups or named else IN_ROLE, llr)
    return Adherence(0 if "refusal" in groups else 1, llr)


@cache
def _own_names(names: tuple[str, ...], makers: tuple[str, ...]) -> re.Pattern[str] | None:
    """Sentences in which a model gives its own name, or says who made it; None without any to look for."""

    def one_of(texts: tuple[str, ...]) -> str:
        return "|".join(r"\s?".join(map(re.escape, t.split())) for t in texts if t.strip())

    parts = []
    if name := one_of(names):
        parts.append(rf"\b(?:i am|i'm|my name is|my name's|call me|as|this is) (?:called )?(?:{name})\b")
    if maker := one_of(makers):
        parts.append(
            rf"\bi(?:'m| am| was|'ve been| have been)\b[^.!?\n]{{0,60}}?\b(?:made|built|trained|created|developed|"
            rf"designed|programmed) by (?:the )?(?:\w+ (?:at|of|from) )?(?:{maker})\b"
        )
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def rubric(definition: str, question: str, answer: str) -> str:
    """What a judge is asked about one answer."""
    return RUBRIC.format(definition=definition, question=question, answer=answer)


def read_score(reply: str) -> int:
    """The one integer from 0 to 3 that a reply holds; unscored if it holds another number, several or none.

    >>> read_score("Score: 3."), read_score("2 or 3"), read_score("-1"), read_score("2.5")
    (3, -1, -1, -1)
    """
    found = _NUMBER.findall(reply)
    return int(found[0]) if len(found) == 1 and found[0] in ("0", "1", "2", "3") else UNSCORED


class Judged(NamedTuple):
    """What a judge said.

    Attributes:
        scores: 0 to 3; -1 = unscored; None where no verdict could be had, which says nothing of the answer.
        fault: Why not, of the last of these.
    """

    scores: list[int | None]
    fault: ReplyFault | None


async def by_judge(judge: ChatModel, asked: Sequence[str]) -> Judged:
    """Scores by a judge at temperature 0, one retry.

    Fail closed: a reply without exactly one integer 0 to 3, or one that was cut off, twice, leaves the answer
    unscored, and it is not kept. The retry says so: the same words would give the same reply.

    Args:
        judge: Who is asked.
        asked: What, see ``rubric``.
    """
    scores: list[int | None] = [UNSCORED] * len(asked)
    fault: ReplyFault | None = None
    for attempt in range(2):
        open_ = [i for i, s in enumerate(scores) if s == UNSCORED]
        replies = await judge.reply(
            [
                Request(
                    (Message("user", f"{asked[i]}\n\n{AGAIN}" if attempt else asked[i]),),
                    Sampling(temperature=0, max_tokens=VERDICT_TOKENS), seed=0, replicate=attempt, keep=False,
                    call_id=f"judge.{i}",
                )
                for i in open_
            ]
        )  # fmt: skip
        for i, reply in zip(open_, replies, strict=True):
            if reply.fault is not None and reply.fault.code in {*PROVIDER_CODES, "budget"}:
                scores[i], fault = None, reply.fault
            elif reply.fault is None and reply.finish == "stop":
                scores[i] = read_score(reply.text)
    return Judged(scores, fault)
