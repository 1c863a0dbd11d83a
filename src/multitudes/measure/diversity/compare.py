"""Which of several models, checkpoints or remedies is more diverse, domain by domain: tested, never assumed.

Prompts are the clusters. Every score is one number per prompt and arm; arms are paired over the prompts that they
share, at equal budgets. The effect is δ = ln(mean after / mean before), turned so that + is more diverse.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import ConfigError
from multitudes.measure.diversity import overlap
from multitudes.measure.diversity.arms import Budget, Cell, DiversityComparison, Effective, Outcome, Sample, Turn
from multitudes.measure.diversity.bag_scores import Column, score_table
from multitudes.measure.diversity.budget import SAME_COST, Domain, domain_of, refuse_unequal
from multitudes.measure.diversity.effective import Judged, Pairs, effective_table, explain, is_judged, judge
from multitudes.measure.diversity.lexical import tokenise
from multitudes.measure.diversity.outcomes import Placed, outcomes
from multitudes.measure.diversity.syntax import Tagger
from multitudes.measure.errors import UnequalBudgetError
from multitudes.measure.multiplicity import benjamini_hochberg, gail_simon, holm
from multitudes.measure.resample import bca
from multitudes.measure.stats import sign_flip_p

FloatArray = NDArray[np.float64]

HEADLINE: frozenset[tuple[str, Budget]] = frozenset(  # fixed before the data
    {("ead", "tokens"), ("pos_compression", "tokens"), ("ast_jsd", "texts"), ("cosine", "texts"), ("d_pair", "texts")}
)
LOWER = frozenset(
    {"pos_compression", "rouge_l", "self_bleu", "self_repetition", "template_rate", "templates_per_token"}
)
MARGIN = math.log(1.10)
POWER = 1.96 + 0.84  # standard errors that 5 % two-sided and a power of 80 % ask for
MARGIN_PLAIN = 0.02  # of a plain difference, where a mean is 0 and has no logarithm
COUNTER_EVIDENCE = (
    "That tuning lowers diversity is a hypothesis here, not a premise. Against it: post-training was found to "
    "improve novelty (arXiv 2504.09389, abstract), and effective diversity may rise because more outputs are valid "
    "(arXiv 2504.12522, abstract; effect sizes not checked).",
    "Models of different families, sizes, quantisation or chat formats differ in more than the one thing you mean to "
    "compare; without the base weights of an aligned model no difference can be laid to its alignment.",
)
STAMPS = {
    "proxy": "a verdict marked (proxy) rests on rules and embeddings: it says nothing about meaning",
    "uncalibrated": "a verdict marked (uncalibrated) rests on a judge whose agreement with people is not shown",
    "structural": "in code-closed all valid programs do the same, so a verdict marked (structural) is about how they "
    "are written",
}


def compare_arms(
    samples: Sequence[Sample],
    *,
    tagger: Tagger | None = None,
    pairs: Pairs | None = None,
    stamps: Mapping[str, str] | None = None,
    placed: Mapping[str, Placed] | None = None,
    same_cost: bool = False,
    seed: int = 0,
    alike: int = 3,
) -> DiversityComparison:
    """Compare every arm with the first one.

    Args:
        samples: Texts of at least two arms. Arms and domains are in the order of their first text. The domains
            ``code`` and ``code-closed`` are read as Python programs.
        tagger: For the syntax of prose; without one there is none.
        pairs: What a judge or a threshold said about pairs of valid texts, in domains without classes.
        stamps: What verdicts on effective diversity rest on, by domain; see ``STAMPS``.
        placed: Placed people and their answers, by arm.
        same_cost: Compare also what the arms gave for equal tokens; refused where their tokens differ by over 2 %.
        seed: Seed of intervals, tests and random subsets.
        alike: Most alike pairs of one prompt to quote per arm and domain.

    Raises:
        ConfigError: Fewer than two arms.
        TooFewClustersError: A domain in which two arms share fewer than two prompts.
        TooFewSamplesError: A shared prompt with fewer than two texts of an arm.
        EmptyTextError: More than a tenth of an arm's texts are empty.
        UnequalBudgetError: ``same_cost`` and tokens that differ, or that nobody counted.
    """
    arms = list(dict.fromkeys(s.arm for s in samples))
    if len(arms) < 2:
        raise ConfigError("a comparison needs two arms", found=", ".join(map(repr, arms)) or "none")
    domains = list(dict.fromkeys(s.domain for s in samples))
    ready = {d: domain_of(d, [s for s in samples if s.domain == d], arms) for d in domains}
    judged: dict[str, dict[str, Judged]] = {}
    raw: list[dict[str, Any]] = []
    caveats = list(COUNTER_EVIDENCE)
    effective: list[Effective] = []
    for name, domain in ready.items():
        table, missing = score_table(domain, tagger, seed=seed)
        if same_cost:
            _refuse_other_cost(domain)
        stamp = {"code-closed": "structural", **(stamps or {})}.get(name, "")
        if is_judged(domain):
            given = any((arms[0], name, p) in (pairs or {}) for p in domain.prompts)
            judged[name] = judge(domain, pairs or {})
            table |= effective_table(domain, judged[name], with_classes=not given, same_cost=same_cost, seed=seed)
            effective += [explain(name, arms[0], arm, judged[name], stamp) for arm in arms[1:]]
            caveats += [STAMPS[stamp]] if stamp in STAMPS else []
        else:
            missing.append(
                f"{name}: validity is unknown, so effective diversity is not assessed: noise would score high"
            )
        caveats += missing
        raw += [
            _cell(score, budget, domain, arms[0], arm, by_arm, stamp, seed)
            for arm in arms[1:]
            for (score, budget), by_arm in table.items()
        ]
    cells = _judged(raw)
    turns = [t for arm in arms[1:] for t in _turns(cells, arm)]
    return DiversityComparison(
        arms=tuple(arms), domains=tuple(domains), cells=tuple(cells), crossovers=tuple(turns),
        effective=tuple(effective), outcomes=tuple(_outcomes(ready, judged, cells, placed or {}, seed)),
        budget={d: r.budget for d, r in ready.items()}, caveats=tuple(dict.fromkeys(caveats)),
        alike=tuple(_alike(ready, arms, alike)),
    )  # fmt: skip


def _refuse_other_cost(domain: Domain) -> None:
    costs = domain.budget["cost"]
    unknown = [arm for arm, cost in costs.items() if cost is None]
    if unknown:
        raise UnequalBudgetError(
            "nobody counted the tokens, so nothing can be compared at equal cost",
            where=f"{unknown[0]}, {domain.name}",
        )
    refuse_unequal(costs, f"tokens in {domain.name}", tolerance=SAME_COST)


def _outcomes(
    ready: Mapping[str, Domain], judged: Mapping[str, Mapping[str, Judged]], cells: Sequence[Cell],
    placed: Mapping[str, Placed], seed: int,
) -> list[Outcome]:  # fmt: skip
    out = []
    for name, domain in ready.items():
        own = {c.after: c for c in cells if (c.domain, c.score, c.budget) == (name, "d_pair", "texts")}
        if name in judged or placed or any(cost is not None for cost in domain.budget["cost"].values()):
            out += outcomes(domain, judged.get(name), own, placed, seed=seed)
    return out


def _cell(
    score: str,
    budget: Budget,
    ready: Domain,
    first: str,
    arm: str,
    by_arm: Mapping[str, Column],
    stamp: str,
    seed: int,
) -> dict[str, Any]:
    x, y = by_arm[first], by_arm[arm]
    scored = ~(np.isnan(x.value) | np.isnan(y.value))
    columns = np.stack([column[scored] for side in (x, y) for column in (side.value, side.over)], axis=1)
    base: dict[str, Any] = {
        "score": score, "budget": budget, "domain": ready.name, "before": first, "after": arm,
        "headline": (score, budget) in HEADLINE, "prompts": int(scored.sum()),
        "samples": ready.k * int(scored.sum()), "prompts_needed": None,
        "stamp": stamp if score in ("d_pair", "classes") or budget == "valid" else "",
    }  # fmt: skip
    sums = columns.sum(axis=0)
    if len(columns) < 2 or not (sums[1] > 0 and sums[3] > 0):
        nothing = dict.fromkeys(("mean_before", "mean_after", "p", "se"), math.nan)
        return {**base, **nothing, **dict.fromkeys(("effect", "low", "high")), "plain": False, "small": False,
                "note": "fewer than two prompts scored"}  # fmt: skip
    before, after = float(sums[0] / sums[1]), float(sums[2] / sums[3])
    sign = -1.0 if score in LOWER else 1.0
    plain = not (before > 0 and after > 0)

    def effect(means: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            b, a = means[..., 0] / means[..., 1], means[..., 2] / means[..., 3]
            return np.asarray(sign * (a - b) if plain else sign * np.log(a / b))

    found = bca(columns, effect, seed=seed)
    nothing_there = before == after == 0  # such as no valid text on either side: no ground to call them equivalent
    margin = MARGIN_PLAIN if plain else MARGIN
    return {
        **base, "mean_before": before, "mean_after": after, "effect": found.value, "plain": plain,
        "low": found.low, "high": found.high, "p": sign_flip_p(_influence(columns), seed=seed), "se": found.se,
        "small": -margin < found.low90 and found.high90 < margin and not nothing_there,
        "prompts_needed": math.ceil(len(columns) * (POWER * found.se / margin) ** 2) if found.se > 0 else None,
        "note": "; ".join(n for n in ("both are 0" if nothing_there else found.note, _drawn(x, y)) if n),
    }  # fmt: skip


def _influence(columns: FloatArray) -> FloatArray:
    """(G,) what each prompt adds to the difference of the two means or ratios of sums; for means their difference."""
    means = columns.mean(axis=0)
    sides = []
    for top, bottom in ((0, 1), (2, 3)):
        ratio = means[top] / means[bottom]
        sides.append(ratio + (columns[:, top] - ratio * columns[:, bottom]) / means[bottom])
    return np.asarray(sides[1] - sides[0])


def _drawn(x: Column, y: Column) -> str:
    spans = [f"{s[0]:.3g} to {s[1]:.3g}" for s in (x.spread, y.spread) if s is not None]
    return "mean over random subsets of equal size, which range over " + " and ".join(spans) if spans else ""


def _judged(raw: list[dict[str, Any]]) -> list[Cell]:
    """Adjust within the headline family and within the rest, and name each cell."""
    for family, adjust in ((True, holm), (False, benjamini_hochberg)):
        members = [c for c in raw if c["headline"] is family]
        # A test that could not be made counts as one that found nothing: the family was fixed before the data.
        p_values = [1.0 if math.isnan(c["p"]) else c["p"] for c in members]
        for cell, p in zip(members, adjust(p_values) if members else (), strict=True):
            cell["p_adjusted"] = float(p)
    out = []
    for cell in raw:
        significant = cell["p_adjusted"] < 0.05
        if significant:
            verdict = ("higher" if cell["effect"] > 0 else "lower") + (" (small)" if cell["small"] else "")
        else:
            verdict = "equivalent" if cell["small"] else "undetermined"
        if verdict != "undetermined":
            cell["prompts_needed"] = None
        verdict += f" ({cell['stamp']})" if cell["stamp"] else ""
        out.append(Cell(**{k: v for k, v in cell.items() if k != "small"}, verdict=verdict))
    return out


def _turns(cells: list[Cell], arm: str) -> list[Turn]:
    """Of the headline; what rests on other grounds, such as a proxy, is not set against what does not."""
    by_score: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for c in cells:
        if c.headline and c.after == arm and c.effect is not None and not c.plain and c.se > 0:
            by_score[c.score, c.stamp].append(c)
    out = []
    for (score, _), found in by_score.items():
        if len(found) < 2:
            continue
        p = gail_simon([c.effect or 0.0 for c in found], [c.se for c in found]).p
        said = "direction depends on domain" if p < 0.05 else "no evidence that the direction depends on the domain"
        out.append(Turn(score=score, after=arm, p=p, sentence=f"{score}: {said} (Gail-Simon p = {p:.3g})"))
    return out


def _alike(ready: Mapping[str, Domain], arms: list[str], k: int) -> list[dict[str, Any]]:
    """The most alike pairs within a prompt, to be read side by side."""
    out = []
    for name, domain in ready.items():
        for arm in arms:
            found: list[dict[str, Any]] = []
            for prompt, texts in domain.bags[arm].items():
                said = [s.text for s in texts if s.text.strip()]
                if len(said) > 1:
                    for pair in overlap.most_alike([tokenise(t) for t in said], 1):
                        found.append({"domain": name, "arm": arm, "prompt": prompt, "rouge_l": pair.rouge_l,
                                      "first": said[pair.first], "second": said[pair.second]})  # fmt: skip
            out += sorted(found, key=lambda row: -row["rouge_l"])[:k]
    return out
