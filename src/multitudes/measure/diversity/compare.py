"""Which of several models, checkpoints or remedies is more diverse, domain by domain: tested, never assumed.

Prompts are the clusters. Every score is one number per prompt and arm; arms are paired over the prompts that they
share, at the same number of texts, lexical scores at the same length of text. The effect is
δ = ln(mean after / mean before), turned so that + is more diverse.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import ConfigError
from multitudes.core.records import Frozen
from multitudes.measure.diversity import overlap
from multitudes.measure.diversity.lexical import (
    VOCABULARY,
    cosine_distance,
    distinct_n,
    expectation_adjusted_distinct,
    tokenise,
)
from multitudes.measure.diversity.syntax import Tagger, pos_scores, tag_texts
from multitudes.measure.diversity.trees import tree_diversity
from multitudes.measure.diversity.validity import count_classes, d_pair, d_pair_valid, validity
from multitudes.measure.errors import (
    EmptyTextError,
    TooFewClustersError,
    TooFewSamplesError,
    UnsupportedLanguageError,
)
from multitudes.measure.multiplicity import benjamini_hochberg, gail_simon, holm
from multitudes.measure.resample import bca
from multitudes.measure.stats import sign_flip_p

FloatArray = NDArray[np.float64]

HEADLINE = ("ead", "pos_compression", "ast_jsd", "cosine", "d_pair")  # fixed before the data
LOWER = frozenset({"pos_compression", "rouge_l", "self_bleu", "self_repetition"})
MARGIN = math.log(1.10)
MARGIN_PLAIN = 0.02  # of a plain difference, where a mean is 0 and has no logarithm
REACHED = 0.9  # share of an arm's texts that must be as long as the common length
MAX_EMPTY = 0.1
COUNTER_EVIDENCE = (
    "That tuning lowers diversity is a hypothesis here, not a premise. Against it: post-training was found to "
    "improve novelty (arXiv 2504.09389, abstract), and effective diversity may rise because more outputs are valid "
    "(arXiv 2504.12522, abstract; effect sizes not checked).",
    "Models of different families, sizes, quantisation or chat formats differ in more than the one thing you mean to "
    "compare; without the base weights of an aligned model no difference can be laid to its alignment.",
)


class Sample(NamedTuple):
    """One text.

    Attributes:
        valid: Whether it does what was asked; None if nobody knows.
        kind: Label of its meaning class, compared within a prompt; needed where ``valid`` is known.
        vector: Unit vector of an encoder.
    """

    arm: str
    domain: str
    prompt: str
    text: str
    valid: bool | None = None
    kind: str = ""
    vector: FloatArray | None = None


class Cell(Frozen):
    """One score of one arm against the first, in one domain.

    Attributes:
        effect: δ, + is more diverse; a plain difference where ``plain``.
        low: Lower end of the 95 % interval.
        se: Standard error of the effect.
        p: Sign-flip p over prompts.
        p_adjusted: Holm over the headline family, Benjamini-Hochberg over the rest.
        verdict: higher, lower, equivalent or undetermined, ``(small)`` where also equivalent.
        prompts_needed: Prompts that would show a difference of 10 %, where undetermined.
    """

    score: str
    domain: str
    before: str
    after: str
    mean_before: float
    mean_after: float
    effect: float | None
    plain: bool
    low: float | None
    high: float | None
    se: float
    p: float
    p_adjusted: float
    verdict: str
    headline: bool
    prompts: int
    samples: int
    prompts_needed: int | None
    note: str = ""


class Turn(Frozen):
    """Whether the direction of a score depends on the domain."""

    score: str
    after: str
    p: float
    sentence: str


class Effective(Frozen):
    """Validity of both arms, and the two terms of the change of D_pair: more is valid, or valid texts differ more."""

    domain: str
    after: str
    valid_before: float
    valid_after: float
    term_validity: float | None
    term_difference: float | None


class DiversityComparison(Frozen):
    """All cells, crossovers, validity terms, what was controlled and what cannot be concluded."""

    arms: tuple[str, ...]
    domains: tuple[str, ...]
    cells: tuple[Cell, ...]
    crossovers: tuple[Turn, ...]
    effective: tuple[Effective, ...]
    budget: dict[str, dict[str, Any]]
    caveats: tuple[str, ...]
    alike: tuple[dict[str, Any], ...] = ()


class _Domain(NamedTuple):
    """Samples of one domain by arm and prompt, all prompts shared and of equal number of texts."""

    bags: dict[str, dict[str, list[Sample]]]
    prompts: list[str]
    k: int
    length: int
    budget: dict[str, Any]


def compare_arms(
    samples: Sequence[Sample], *, tagger: Tagger | None = None, seed: int = 0, alike: int = 3
) -> DiversityComparison:
    """Compare every arm with the first one.

    Args:
        samples: Texts of at least two arms. Arms and domains are in the order of their first text. The domain
            ``code`` is read as Python programs.
        tagger: For the syntax of prose; without one there is none.
        seed: Seed of intervals and tests.
        alike: Most alike pairs of one prompt to quote per arm and domain.

    Raises:
        ConfigError: Fewer than two arms.
        TooFewClustersError: A domain in which two arms share fewer than two prompts.
        TooFewSamplesError: A shared prompt with fewer than two texts of an arm.
        EmptyTextError: More than a tenth of an arm's texts are empty.
    """
    arms = list(dict.fromkeys(s.arm for s in samples))
    if len(arms) < 2:
        raise ConfigError("a comparison needs two arms", found=", ".join(map(repr, arms)) or "none")
    domains = list(dict.fromkeys(s.domain for s in samples))
    ready = {d: _domain(d, [s for s in samples if s.domain == d], arms) for d in domains}
    raw: list[dict[str, Any]] = []
    caveats = list(COUNTER_EVIDENCE)
    effective: list[Effective] = []
    for name, domain in ready.items():
        table, missing = _scores(name, domain, tagger)
        caveats += missing
        for arm in arms[1:]:
            raw += [
                _cell(score, name, arms[0], arm, by_arm[arms[0]], by_arm[arm], domain, seed)
                for score, by_arm in table.items()
            ]
            effective += _effective(name, domain, arms[0], arm)
    cells = _judged(raw)
    turns = [t for arm in arms[1:] for t in _turns(cells, arm)]
    return DiversityComparison(
        arms=tuple(arms), domains=tuple(domains), cells=tuple(cells), crossovers=tuple(turns),
        effective=tuple(effective), budget={d: r.budget for d, r in ready.items()},
        caveats=tuple(dict.fromkeys(caveats)), alike=tuple(_alike(ready, arms, alike)),
    )  # fmt: skip


def _domain(name: str, samples: list[Sample], arms: list[str]) -> _Domain:
    bags: dict[str, dict[str, list[Sample]]] = {arm: defaultdict(list) for arm in arms}
    for s in samples:
        bags[s.arm][s.prompt].append(s)
    for arm, by_prompt in bags.items():
        every = [s for texts in by_prompt.values() for s in texts]
        empty = sum(not s.text.strip() for s in every)
        if empty > MAX_EMPTY * len(every):
            raise EmptyTextError(
                "too many texts are empty", where=f"{arm}, {name}", found=f"{empty} of {len(every)}",
                expected="at most a tenth",
            )  # fmt: skip
    shared = [p for p in bags[arms[0]] if all(p in bags[arm] for arm in arms)]
    if len(shared) < 2:
        raise TooFewClustersError(
            "the arms share fewer than two prompts, and prompts are what is resampled", where=f"domain {name!r}",
            found=str(len(shared)), expected="the same prompts in every arm",
        )  # fmt: skip
    k = min(len(bags[arm][p]) for arm in arms for p in shared)
    if k < 2:
        raise TooFewSamplesError(
            "too few samples: diversity needs two texts of a prompt", where=f"domain {name!r}", found=str(k),
            expected=">= 2",
        )  # fmt: skip
    dropped = sum(len(bags[arm][p]) for arm in arms for p in bags[arm]) - k * len(shared) * len(arms)
    kept = {arm: {p: bags[arm][p][:k] for p in shared} for arm in arms}
    lengths = {arm: [len(tokenise(s.text)) for p in shared for s in kept[arm][p]] for arm in arms}
    length = max(1, min(int(np.quantile(v, 1 - REACHED, method="lower")) for v in lengths.values()))
    budget = {
        "prompts": len(shared), "texts_per_prompt": k, "left_out": dropped, "tokens_per_text": length,
        "tokens": {arm: sum(v) for arm, v in lengths.items()},
        "cut": {arm: float(np.mean(np.array(v) > length)) for arm, v in lengths.items()},
        "shorter": {arm: float(np.mean(np.array(v) < length)) for arm, v in lengths.items()},
        "vocabulary": VOCABULARY,
    }  # fmt: skip
    return _Domain(kept, shared, k, length, budget)


Table = dict[str, dict[str, FloatArray]]


def _scores(name: str, domain: _Domain, tagger: Tagger | None) -> tuple[Table, list[str]]:
    """Each score as one number per prompt and arm, (G,); and why some are missing."""
    missing = []
    every = [s for by in domain.bags.values() for texts in by.values() for s in texts]
    of_bag: dict[str, Callable[[list[Sample]], float | None]] = {
        "ead": lambda bag: expectation_adjusted_distinct(_cut(bag, domain.length)).mean,
        "distinct": lambda bag: distinct_n(_cut(bag, domain.length)).mean,
        "rouge_l": lambda bag: overlap.rouge_l(_cut(bag, None)).mean,
        "self_bleu": lambda bag: overlap.self_bleu(_cut(bag, None)).mean,
        "self_repetition": lambda bag: overlap.self_repetition(_cut(bag, None)).mean,
    }
    if all(s.vector is not None for s in every if s.text.strip()):
        of_bag["cosine"] = lambda bag: cosine_distance(np.stack([s.vector for s in bag])).mean  # type: ignore[misc]
    else:
        missing.append("cosine: some texts have no vector, so the spread of embeddings is not assessed")
    if name == "code":
        of_bag["ast_jsd"] = lambda bag: tree_diversity([s.text for s in bag]).jsd
    elif tagger is not None:
        of_bag["pos_compression"] = lambda bag: (
            pos_scores(tag_texts([_first_words(s.text, domain.length) for s in bag], tagger)).compression
        )
    else:
        missing.append(f"{name}: no tagger was given, so syntax is not assessed")
    table: Table = {}
    for score, value in of_bag.items():
        try:
            table[score] = {
                arm: np.array([_of(value, by[p]) for p in domain.prompts]) for arm, by in domain.bags.items()
            }
        except UnsupportedLanguageError as error:
            missing.append(f"{name}: {score} is not assessed: {str(error).splitlines()[0]}")
    if all(s.valid is not None for s in every):
        table["d_pair"] = {arm: d_pair(_counts(by, domain)) for arm, by in domain.bags.items()}
    else:
        missing.append(f"{name}: validity is unknown, so effective diversity is not assessed: noise would score high")
    return table, missing


def _of(value: Callable[[list[Sample]], float | None], bag: list[Sample]) -> float:
    """A score of the texts that say something; NaN (the prompt is unscored) where fewer than two do."""
    said = [s for s in bag if s.text.strip()]
    found = value(said) if len(said) > 1 else None
    return math.nan if found is None else float(found)


def _cut(bag: list[Sample], length: int | None) -> list[list[str]]:
    return [tokenise(s.text)[:length] for s in bag]


def _first_words(text: str, length: int) -> str:
    return " ".join(text.split()[:length])


def _counts(by: Mapping[str, list[Sample]], domain: _Domain) -> Any:
    flat = [s for p in domain.prompts for s in by[p]]
    return count_classes([s.prompt for s in flat], [bool(s.valid) for s in flat], [s.kind for s in flat])


def _cell(
    score: str, domain: str, first: str, arm: str, before: FloatArray, after: FloatArray, ready: _Domain, seed: int
) -> dict[str, Any]:
    scored = ~(np.isnan(before) | np.isnan(after))
    b, a = before[scored], after[scored]
    base: dict[str, Any] = {
        "score": score, "domain": domain, "before": first, "after": arm, "headline": score in HEADLINE,
        "prompts": int(scored.sum()), "samples": ready.k * int(scored.sum()), "prompts_needed": None, "note": "",
    }  # fmt: skip
    if len(b) < 2:
        nothing = dict.fromkeys(("mean_before", "mean_after", "p", "se"), math.nan)
        return {**base, **nothing, **dict.fromkeys(("effect", "low", "high")), "plain": False, "small": False,
                "note": "fewer than two prompts scored"}  # fmt: skip
    sign = -1.0 if score in LOWER else 1.0
    plain = not (b.mean() > 0 and a.mean() > 0)

    def effect(means: FloatArray) -> FloatArray:
        if plain:
            return np.asarray(sign * (means[..., 1] - means[..., 0]))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(sign * np.log(means[..., 1] / means[..., 0]))

    found = bca(np.stack([b, a], axis=1), effect, seed=seed)
    margin = MARGIN_PLAIN if plain else MARGIN
    return {
        **base, "mean_before": float(b.mean()), "mean_after": float(a.mean()), "effect": found.value, "plain": plain,
        "low": found.low, "high": found.high, "p": sign_flip_p(a - b, seed=seed), "se": found.se,
        "small": -margin < found.low90 and found.high90 < margin,
        "prompts_needed": math.ceil(len(b) * ((1.96 + 0.84) * found.se / margin) ** 2) if found.se > 0 else None,
        "note": found.note,
    }  # fmt: skip


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
        out.append(Cell(**{k: v for k, v in cell.items() if k != "small"}, verdict=verdict))
    return out


def _turns(cells: list[Cell], arm: str) -> list[Turn]:
    by_score: dict[str, list[Cell]] = defaultdict(list)
    for c in cells:
        if c.after == arm and c.effect is not None and not c.plain and c.se > 0:
            by_score[c.score].append(c)
    out = []
    for score, found in by_score.items():
        if len(found) < 2:
            continue
        p = gail_simon([c.effect or 0.0 for c in found], [c.se for c in found]).p
        said = "direction depends on domain" if p < 0.05 else "no evidence that the direction depends on the domain"
        out.append(Turn(score=score, after=arm, p=p, sentence=f"{score}: {said} (Gail-Simon p = {p:.3g})"))
    return out


def _effective(name: str, domain: _Domain, first: str, arm: str) -> list[Effective]:
    if any(s.valid is None for by in domain.bags.values() for texts in by.values() for s in texts):
        return []
    counts = [_counts(domain.bags[x], domain) for x in (first, arm)]
    shares = [d_pair_valid(c) for c in counts]
    pairs = [float(s.pairs.sum()) for s in shares]
    differ = [float(s.different.sum()) for s in shares]
    known = min(pairs) > 0 and min(differ) > 0
    return [
        Effective(
            domain=name, after=arm, valid_before=float(validity(counts[0]).mean()),
            valid_after=float(validity(counts[1]).mean()),
            term_validity=math.log(pairs[1] / pairs[0]) if known else None,
            term_difference=math.log(differ[1] / pairs[1]) - math.log(differ[0] / pairs[0]) if known else None,
        )
    ]  # fmt: skip


def _alike(ready: Mapping[str, _Domain], arms: list[str], k: int) -> list[dict[str, Any]]:
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
