"""Score answers of a collection: by a judge or by likelihood, and by topic beside either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from multitudes.axis.adherence import IN_ROLE, by_likelihood
from multitudes.axis.answers import Answer
from multitudes.axis.conditions import Condition, messages_of
from multitudes.axis.presets import Preset, roles_of
from multitudes.axis.roles import Question, RoleSet
from multitudes.axis.topic import TopicFilter
from multitudes.axis.verdicts import Verdicts
from multitudes.core.seeds import derive_rng
from multitudes.models.base import ScoreItem

MIN_TOKENS = 3  # counted tokens below which an answer is unscored


async def scored(
    model: Any, everything: RoleSet, part: Sequence[Condition], questions: Sequence[Question],
    answers: Sequence[Answer], theta: float, *, verdicts: Verdicts | None, topic: TopicFilter | None,
) -> list[Answer]:  # fmt: skip
    """Answers with their scores; arms without a role are kept whole.

    Args:
        model: The model that answered.
        everything: Roles, questions, arms.
        part: Conditions of the answers.
        questions: Questions of the answers.
        answers: What is scored.
        theta: Threshold of the likelihood filter.
        verdicts: A judge; the likelihood filter without one.
        topic: A condition beside either.
    """
    by_id = {c.id: c for c in part}
    out = [replace(a, score=IN_ROLE) if by_id[a.condition].kind != "role" else a for a in answers]
    asked = [i for i, a in enumerate(answers) if by_id[a.condition].kind == "role" and a.n_tokens >= MIN_TOKENS]
    if not asked:
        return out
    rows = [answers[i] for i in asked]
    if verdicts is not None:
        scores = await verdicts.scores(judged_rows(everything, part, questions, rows))
        found = [replace(a, score=s) for a, s in zip(rows, scores, strict=True)]
    else:
        found = await with_likelihood(model, part, questions, rows, theta)
    if topic is not None:
        places = [by_id[a.condition].role for a in rows]
        margins = topic.margins([a.text for a in rows], [p for p in places if p is not None])
        found = [replace(a, topic=m) for a, m in zip(found, margins, strict=True)]
    for i, answer in zip(asked, found, strict=True):
        out[i] = answer
    return out


def judged_rows(
    everything: RoleSet, part: Sequence[Condition], questions: Sequence[Question], answers: Sequence[Answer]
) -> list[tuple[str, str, str]]:
    """What a judge is shown of each answer: the definition of its role, the question, the text."""
    roles, by_id, text_of = (
        {r.id: r for r in everything.roles},
        {c.id: c for c in part},
        {q.id: q.text for q in questions},
    )
    return [(roles[by_id[a.condition].role_id].described, text_of[a.question], a.text) for a in answers]


async def with_likelihood(
    model: Any, part: Sequence[Condition], questions: Sequence[Question], answers: Sequence[Answer], theta: float
) -> list[Answer]:
    """Answers with their log-likelihood ratios, and the scores that follow from them."""
    by_id, text_of = {c.id: c for c in part}, {q.id: q for q in questions}
    found = await ratios(model, [(by_id[a.condition], text_of[a.question], a) for a in answers])
    names, makers = (model.info.name.rpartition("/")[2], *model.info.names), model.info.makers
    return [
        replace(a, llr=llr, score=by_likelihood(a.text, llr, theta, names=names, makers=makers).score)
        for a, llr in zip(answers, found, strict=True)
    ]


async def null_ratios(
    model: Any, everything: RoleSet, size: Preset, part: Sequence[Condition], questions: Sequence[Question],
    answers: Sequence[Answer], seed: int,
) -> list[float]:  # fmt: skip
    """Log-likelihood ratios of default answers under role prompts that they were not given."""
    text_of, by_id = {q.id: q for q in questions}, {c.id: c for c in part}
    prompts = [p for r in roles_of(size, everything) for p in r.prompts[: size.prompts]]
    rng = derive_rng("axis", "null", seed)
    own = [a for a in answers if by_id[a.condition].kind == "default" and a.n_tokens >= MIN_TOKENS]
    drawn = [prompts[int(rng.integers(len(prompts)))] for _ in own]
    roles = [Condition("null", "role", p, 0) for p in drawn]
    return await ratios(model, [(r, text_of[a.question], a) for r, a in zip(roles, own, strict=True)])


async def ratios(model: Any, rows: Sequence[tuple[Condition, Question, Answer]]) -> list[float]:
    """Nats per token by which each answer is more likely under its condition than under an empty system text."""
    plain = Condition("none", "default", "", None)
    items = [
        ScoreItem(messages_of(c, q), a.text or " ", token_ids=a.token_ids) for c0, q, a in rows for c in (c0, plain)
    ]
    found = await model.score(items)
    return [(found[2 * i].total - found[2 * i + 1].total) / len(a.token_ids) for i, (_, _, a) in enumerate(rows)]
