"""Do two judges, or a judge and the likelihood filter, keep the same answers?

Wherever a judge decides, at least ``DOUBLE_SCORED`` role answers (all, if there are fewer) are scored a second time
by the likelihood filter, and by a second judge where there is one. They are drawn by family, and evenly over the
roles of a family. Reported are Cohen's κ with quadratic weights on the scale 0 to 3, and on "3 or not", which is all
that a fit uses, the share of equal decisions beside the share that chance would give.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.axis.adherence import IN_ROLE, UNSCORED, threshold
from multitudes.axis.answers import Answer, Collection, Step, write_whole
from multitudes.axis.collected import default_mean
from multitudes.axis.conditions import Condition, conditions_of, messages_of
from multitudes.axis.presets import Preset, questions_of
from multitudes.axis.roles import RoleSet
from multitudes.axis.scoring import MIN_TOKENS, judged_rows, null_ratios, with_likelihood
from multitudes.axis.verdicts import Verdicts
from multitudes.core.canonical import content_hash
from multitudes.core.seeds import derive_rng, derive_seed
from multitudes.measure.kappa import kappa_over_clusters
from multitudes.measure.stats import bootstrap_mean
from multitudes.models.base import ChatModel, ScoreItem

FloatArray = NDArray[np.float64]

DOUBLE_SCORED = 200  # answers, at least, where there are so many
SCALE = 4  # scores 0 to 3
AT_ONCE = 256  # answers that are read at a time


class DoubleScored(NamedTuple):
    """Answers that were scored more than once; all sequences are in the order of ``answers``.

    Attributes:
        answers: The answers, with the score of the first judge.
        roles: Id of the role of each.
        of: Answers that they were drawn from.
        other: By who scored them (``likelihood``, ``second_judge``), their scores; -1 = unscored.
        names: By the same, what it is called.
        theta: Threshold of the likelihood filter, nats per token.
        null: Log-likelihood ratios of its null.
    """

    answers: tuple[Answer, ...]
    roles: tuple[str, ...]
    of: int
    other: Mapping[str, tuple[int, ...]]
    names: Mapping[str, str]
    theta: float
    null: tuple[float, ...]


def drawn(families: Sequence[int], roles: Sequence[str], *, n: int = DOUBLE_SCORED, seed: int) -> list[int]:
    """Indices of ``n`` answers, in their order: families in turn, and inside a family its roles in turn.

    Args:
        families: Family of the role of each answer.
        roles: Role of each answer.
        n: How many; all if there are no more.
        seed: Of the order inside roles, roles inside families, and families. A larger ``n`` holds a smaller one.

    >>> drawn([1, 1, 1, 2], ["a", "a", "a", "b"], n=2, seed=0)[1]
    3
    """
    rng = derive_rng("axis", "double scored", seed)
    order = [int(i) for i in rng.permutation(len(roles))]
    rank_in_role: dict[str, int] = defaultdict(int)
    by_family: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for i in order:
        by_family[families[i]].append((rank_in_role[roles[i]], i))
        rank_in_role[roles[i]] += 1
    ranked = [(place, i) for rows in by_family.values() for place, (_, i) in enumerate(sorted(rows, key=_first))]
    return sorted(i for _, i in sorted(ranked, key=_first)[:n])


def _first(pair: tuple[int, int]) -> int:
    return pair[0]  # ties keep their random order


async def score_twice(
    model: Any, everything: RoleSet, size: Preset, done: Collection, folder: Path, *, second: ChatModel | None,
    seed: int, watch: Callable[[Step], None] | None = None,
) -> DoubleScored:  # fmt: skip
    """Score a part of the judged answers by likelihood and by a second judge, or go on there.

    Args:
        model: The model that answered.
        everything: What was asked.
        size: How much.
        done: A collection that was scored by a judge.
        folder: Where its parts are; verdicts and ratios are kept there.
        second: The second judge; None for none.
        seed: Seed of the fit.
        watch: Told of each part.

    Raises:
        ModelError: A verdict that could not be had; those before it are kept.
    """
    told = watch or (lambda _step: None)
    plan, questions = conditions_of(model, everything, size), questions_of(size, everything)
    by_id, family = {c.id: c for c in plan}, {r.id: r.family for r in everything.roles}
    able = [a for a in done.answers if by_id[a.condition].kind == "role" and a.n_tokens >= MIN_TOKENS]
    ids = [by_id[a.condition].role_id for a in able]
    chosen = drawn([family[r] for r in ids], ids, seed=seed)
    rows = [able[i] for i in chosen]
    other, names = {}, {"likelihood": "the likelihood filter"}
    told(Step("likelihood of judged answers", 0, 1))
    scores, theta, null = await _by_likelihood(model, everything, size, plan, done, rows, folder, seed)
    told(Step("likelihood of judged answers", 1, 1))
    other["likelihood"] = scores
    if second is not None:
        verdicts, name = Verdicts(folder, second), "second judge"
        asked = judged_rows(everything, plan, questions, rows)
        found = await verdicts.scores(asked, told=lambda k, n: told(Step(name, k, n)))
        told(Step(name, len(rows), len(rows)))
        other["second_judge"], names["second_judge"] = tuple(found), second.info.name
    return DoubleScored(tuple(rows), tuple(ids[i] for i in chosen), len(able), other, names, theta, null)


async def _by_likelihood(
    model: Any, everything: RoleSet, size: Preset, plan: Sequence[Condition], done: Collection,
    rows: Sequence[Answer], folder: Path, seed: int,
) -> tuple[tuple[int, ...], float, tuple[float, ...]]:  # fmt: skip
    """Scores, threshold and null as the likelihood filter would have had them; read where they are known."""
    file = folder / "likelihood.json"
    key = content_hash([[a.condition, a.question, a.draw, a.token_ids] for a in rows])
    if file.is_file():
        known = json.loads(file.read_text(encoding="utf-8"))
        if known["of"] == key:
            return tuple(known["scores"]), known["theta"], tuple(known["null"])
    questions = questions_of(size, everything)
    kinds = {c.id: c.kind for c in plan}
    default = [a for a in done.answers if kinds[a.condition] == "default"]
    null = await null_ratios(model, everything, size, plan, questions, default, seed)
    theta = threshold(null)
    scores = [a.score for a in await with_likelihood(model, plan, questions, rows, theta)]
    write_whole(file, json.dumps({"of": key, "theta": theta, "null": null, "scores": scores}))
    return tuple(scores), theta, tuple(null)


def agreements(found: DoubleScored, *, seed: int) -> dict[str, Any]:
    """What is reported of each second scoring, as plain values.

    ``kappa`` with ``low`` and ``high`` over roles, null 0, at most 1, higher is better; ``same`` with its limits:
    share of answers that both keep or both drop, beside ``by_chance``; ``table``: counts, rows the judge's scores 0
    to 3, columns the other's; ``n`` answers of ``roles`` roles; ``unscored`` by one of the two, in no number.
    """
    first = np.array([np.nan if a.score == UNSCORED else a.score for a in found.answers], dtype=np.float64)
    out: dict[str, Any] = {}
    for name, scores in found.other.items():
        second = np.array([np.nan if s == UNSCORED else s for s in scores], dtype=np.float64)
        both = ~(np.isnan(first) | np.isnan(second))
        kappa = kappa_over_clusters(first, second, found.roles, seed=derive_seed("axis", "kappa", name, seed))
        kept = np.stack([first[both] == IN_ROLE, second[both] == IN_ROLE])
        same = np.full(len(first), np.nan)
        same[both] = kept[0] == kept[1]
        share = bootstrap_mean(
            same, found.roles, seed=derive_seed("axis", "same", name, seed), weighting="unit"
        )  # fmt: skip
        table = np.zeros((SCALE, SCALE), dtype=np.int64)
        np.add.at(table, (first[both].astype(int), second[both].astype(int)), 1)
        rates = kept.mean(axis=1) if both.any() else np.full(2, np.nan)
        out[name] = {
            "with": found.names[name], "kappa": kappa.value, "low": kappa.low, "high": kappa.high, "n": kappa.n,
            "roles": kappa.clusters, "unscored": kappa.unscored, "of": found.of, "note": kappa.note,
            "same": share.value, "same_low": share.low, "same_high": share.high,
            "by_chance": float(rates[0] * rates[1] + (1 - rates[0]) * (1 - rates[1])), "table": table.tolist(),
        }  # fmt: skip
    return out


async def axes_by_scorer(
    model: Any, everything: RoleSet, size: Preset, done: Collection, found: DoubleScored
) -> dict[str, FloatArray]:
    """(L, d) axes of the double-scored answers alone, as each of their scorers keeps them.

    ``judge`` is the first. Roles weigh equally; one with no kept answer is left out. NaN where a scorer keeps none.
    Answers that somebody keeps are read once more, and only weighted sums of them are held.
    """
    scores = {"judge": tuple(a.score for a in found.answers), **found.other}
    weights = {name: _weights(s, found.roles) for name, s in scores.items()}
    conditions = {c.id: c for c in conditions_of(model, everything, size)}
    questions = {q.id: q for q in questions_of(size, everything)}
    default = default_mean(done.generated)
    sums = {name: np.zeros_like(default) for name in scores}
    used = [i for i in range(len(found.answers)) if any(w[i] > 0 for w in weights.values())]
    for start in range(0, len(used), AT_ONCE):
        part = used[start : start + AT_ONCE]
        rows = [found.answers[i] for i in part]
        items = [
            ScoreItem(
                messages_of(conditions[a.condition], questions[a.question]), a.text or " ", token_ids=a.token_ids[:-1]
            )
            for a in rows
        ]
        for i, means in zip(part, await model.read(items, range(model.n_layers), mean=True), strict=True):
            for name, w in weights.items():
                if w[i] > 0:
                    sums[name] += w[i] * means.astype(np.float64)
    return {k: default - s if weights[k].any() else np.full_like(default, np.nan) for k, s in sums.items()}


def _weights(scores: Sequence[int], roles: Sequence[str]) -> FloatArray:
    """(n,) weight of each answer in the mean over roles of the means of their kept answers; 0 = dropped."""
    kept = np.array([s == IN_ROLE for s in scores])
    names, code = np.unique(np.asarray(roles), return_inverse=True)
    n = np.bincount(code.reshape(-1), kept, len(names))
    out = np.zeros(len(kept))
    out[kept] = 1 / (n[code.reshape(-1)][kept] * (n > 0).sum())
    return out


def judge_record(judge: ChatModel, rubric_hash: str) -> dict[str, str]:
    """Who judged, and by which rubric, for the artifact."""
    return {"name": judge.info.name, "engine": judge.info.fingerprint, "rubric": rubric_hash}
