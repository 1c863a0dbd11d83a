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
from typing import Literal

import numpy as np

from multitudes.models.base import ChatModel, Message, Request, Sampling
from multitudes.simulate.voice import LEXICON, voice_hits

NULL_QUANTILE = 0.95
Filter = Literal["likelihood", "judge", "none"]
IN_ROLE = 3
UNSCORED = -1

RUBRIC = """A writer was told to answer as: {definition}

Question: {question}

Answer: {answer}

How far is the answer in that role? Reply with one digit and nothing else.
0 = it refuses, speaking as a machine or a helper
1 = it answers, but nothing of the role is to be seen
2 = something of the role is there, but it still calls itself a machine or a helper
3 = wholly in role; a refusal that the role would give counts here"""


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


def by_likelihood(text: str, llr: float, theta: float, *, names: Sequence[str] = ()) -> Adherence:
    """Score by the threshold and by two lists of patterns: names itself as a machine, declines as one.

    Args:
        text: The answer.
        llr: Its log-likelihood ratio, nats per token; NaN leaves it unscored.
        theta: Threshold.
        names: Names of the model and its maker; saying one of them as one's own is naming oneself.
    """
    if not np.isfinite(llr):
        return Adherence(UNSCORED, llr)
    groups = {p.name: p.group for p in LEXICON}
    hits = {groups[h.name] for h in voice_hits(text)}
    named = any(re.search(rf"\b(?:i am|i'm|my name is) {re.escape(n)}\b", text, re.IGNORECASE) for n in names if n)
    if llr >= theta:
        return Adherence(2 if "self" in hits or named else IN_ROLE, llr)
    return Adherence(0 if "refusal" in hits else 1, llr)


async def by_judge(judge: ChatModel, rows: Sequence[tuple[str, str, str]]) -> list[int]:
    """Scores of (definition, question, answer) by a judge at temperature 0, one retry.

    Fail closed: a reply without exactly one digit 0 to 3, twice, leaves the answer unscored, and it is not kept.
    """
    asked = [RUBRIC.format(definition=d, question=q, answer=a) for d, q, a in rows]
    scores = [UNSCORED] * len(rows)
    for attempt in range(2):
        open_ = [i for i, s in enumerate(scores) if s == UNSCORED]
        replies = await judge.reply(
            [
                Request((Message("user", asked[i]),), Sampling(temperature=0, max_tokens=8), replicate=attempt)
                for i in open_
            ]
        )
        for i, reply in zip(open_, replies, strict=True):
            found = re.findall(r"\d+", reply.text)
            if reply.fault is None and len(found) == 1 and found[0] in ("0", "1", "2", "3"):
                scores[i] = int(found[0])
    return scores
