"""Every score of a comparison as one number per prompt and arm, at equal budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.measure.diversity import overlap
from multitudes.measure.diversity.arms import CODE, Budget, Sample
from multitudes.measure.diversity.budget import Domain, common_length, matched_lengths, refuse_unequal, subsets
from multitudes.measure.diversity.lexical import (
    ORDERS,
    VOCABULARY,
    cosine_distance,
    expectation_adjusted_distinct,
    lexical,
    ngram_counts,
    tokenise,
)
from multitudes.measure.diversity.syntax import (
    Tagged,
    Tagger,
    Tags,
    Templates,
    fit_templates,
    pos_scores,
    tag_texts,
    template_use,
)
from multitudes.measure.diversity.trees import tree_diversity
from multitudes.measure.errors import UnsupportedLanguageError

FloatArray = NDArray[np.float64]
Key = tuple[str, Budget]
Values = dict[str, float | None]


class Column(NamedTuple):
    """One score of one arm over G prompts.

    Attributes:
        value: (G,) of each prompt; NaN is unscored. Of a ratio of sums, the numerators.
        over: (G,) denominators; all 1 where the score is a plain mean.
        spread: Middle 95 % of the arm's mean over random subsets of its texts; None where all were used.
    """

    value: FloatArray
    over: FloatArray
    spread: tuple[float, float] | None = None


Table = dict[Key, dict[str, Column]]


class _Read(NamedTuple):
    """A text with its words and, in prose that could be tagged, the tags of its sentences."""

    sample: Sample
    tokens: list[str]
    tags: tuple[Tags, ...] | None


class Syntax(NamedTuple):
    """Tags of the sentences of each text by arm, prompt and place, and the templates of all arms together."""

    tags: dict[tuple[str, str, int], tuple[Tags, ...]]
    templates: Templates
    length: int


def plain(values: FloatArray, spread: tuple[float, float] | None = None) -> Column:
    """A score that is averaged over prompts."""
    return Column(values, np.ones(len(values)), spread)


def read_syntax(domain: Domain, tagger: Tagger) -> Syntax:
    """Tag every text once and find the templates of the arms together, K texts of each prompt and arm.

    Raises:
        UnsupportedLanguageError: A text that is not taken for English prose.
    """
    places = [
        (arm, p, i)
        for arm, by in domain.bags.items()
        for p in domain.prompts
        for i, s in enumerate(by[p])
        if s.text.strip()
    ]
    tagged = tag_texts([domain.bags[arm][p][i].text for arm, p, i in places], tagger)
    tags = dict(zip(places, tagged.texts, strict=True))
    equal = {arm: [tags.get((arm, p, i), ()) for p in domain.prompts for i in range(domain.k)] for arm in domain.bags}
    templates = fit_templates([Tagged(tagged.tagger, tuple(texts), 0) for texts in equal.values()])
    lengths = {arm: [sum(map(len, t)) for (a, _, _), t in tags.items() if a == arm] for arm in domain.bags}
    return Syntax(tags, templates, common_length(lengths))


def score_table(domain: Domain, tagger: Tagger | None, *, seed: int) -> tuple[Table, list[str]]:
    """All scores that need no validity: at equal numbers of texts, and at equal numbers and lengths beside it.

    Returns:
        The columns by score and budget, and why some are missing.
    """
    missing: list[str] = []
    syntax: Syntax | None = None
    if domain.name not in CODE and tagger is None:
        missing.append(f"{domain.name}: no tagger was given, so syntax is not assessed")
    elif domain.name not in CODE and tagger is not None:
        try:
            syntax = read_syntax(domain, tagger)
        except UnsupportedLanguageError as error:
            missing.append(f"{domain.name}: syntax is not assessed: {str(error).splitlines()[0]}")
    reads = _reads(domain, syntax)
    table: Table = {}
    budgets: tuple[Budget, ...] = ("texts", "tokens")
    for budget in budgets:
        found = _over_draws(domain, reads, syntax, budget, seed)
        table |= {(name, budget): by_arm for name, by_arm in found.items()}
    if all(s.vector is not None for s in domain.every if s.text.strip()):
        table["cosine", "texts"] = {
            arm: plain(np.array([cosine(by[p]) for p in domain.prompts])) for arm, by in domain.bags.items()
        }
    else:
        missing.append("cosine: some texts have no vector, so the spread of embeddings is not assessed")
    return table, missing


def cosine(bag: Sequence[Sample]) -> float:
    """Mean pairwise distance of the vectors of a bag, all of them: it does not depend on their number."""
    vectors = [s.vector for s in bag if s.vector is not None and s.text.strip()]
    return cosine_distance(np.stack(vectors)).mean if len(vectors) > 1 else np.nan


def ead_of_subsets(domain: Domain, bags: Mapping[str, Sequence[Sample]], k: int, *, prompt: str, seed: int) -> Values:
    """EAD of ``k`` texts of each arm at equal length, mean over random subsets; texts of one prompt."""
    tokens = {arm: [tokenise(s.text) for s in bag] for arm, bag in bags.items()}
    values: dict[str, list[float]] = {arm: [] for arm in bags}
    for draw in subsets({arm: len(bag) for arm, bag in bags.items()}, k, seed, domain.name, prompt, "valid"):
        chosen = {arm: [tokens[arm][i] for i in places] for arm, places in draw.items()}
        kept = matched_lengths({arm: [len(t) for t in bag] for arm, bag in chosen.items()}, domain.length)
        for arm, bag in chosen.items():
            cut = [t[:n] for t, n in zip(bag, kept[arm], strict=True) if n]
            values[arm].append(_nan(expectation_adjusted_distinct(cut).mean) if len(cut) > 1 else np.nan)
    means = {arm: _mean(found) for arm, found in values.items()}
    return {arm: None if np.isnan(mean) else mean for arm, mean in means.items()}


def _reads(domain: Domain, syntax: Syntax | None) -> dict[str, dict[str, list[_Read]]]:
    return {
        arm: {
            p: [
                _Read(s, tokenise(s.text), None if syntax is None else syntax.tags.get((arm, p, i), ()))
                for i, s in enumerate(by[p])
            ]
            for p in domain.prompts
        }
        for arm, by in domain.bags.items()
    }


def _over_draws(
    domain: Domain, reads: Mapping[str, Mapping[str, list[_Read]]], syntax: Syntax | None, budget: Budget, seed: int
) -> dict[str, dict[str, Column]]:
    """Each score of each arm, over the random subsets of K texts of each prompt."""
    by_prompt = [
        _of_prompt({arm: by[p] for arm, by in reads.items()}, domain, syntax, budget, (seed, domain.name, p))
        for p in domain.prompts
    ]
    names = list(dict.fromkeys(n for draws in by_prompt for d in draws for found in d.values() for n in found))
    most = max(map(len, by_prompt))
    out: dict[str, dict[str, Column]] = {}
    for name in names:
        out[name] = {}
        for arm in reads:
            rows = [[_nan(d[arm].get(name)) for d in draws] for draws in by_prompt]
            values = np.array([_mean(row) for row in rows])
            whole = np.array([row if len(row) == most else row * most for row in rows])  # (G, draws)
            out[name][arm] = plain(values, _range(whole))
    return out


def _of_prompt(
    bags: Mapping[str, list[_Read]],
    domain: Domain,
    syntax: Syntax | None,
    budget: Budget,
    root: tuple[str | int, ...],
) -> list[dict[str, Values]]:
    """Scores of the texts of one prompt by arm, for each random subset; what comes up again is not scored again."""
    known: dict[tuple[Any, ...], Values] = {}
    out = []
    for draw in subsets({arm: len(bag) for arm, bag in bags.items()}, domain.k, *root):
        chosen = {arm: [bags[arm][i] for i in places] for arm, places in draw.items()}
        words, tags = _kept(chosen, domain, syntax, budget)
        found = {}
        for arm, bag in chosen.items():
            key = (arm, tuple(draw[arm]), tuple(words[arm]), tuple(tags[arm]))
            if key not in known:
                known[key] = _scores(bag, words[arm], tags[arm], syntax)
                if domain.name in CODE and budget == "texts":
                    known[key] |= _trees([r.sample.text for r in bag if r.sample.text.strip()])
            found[arm] = known[key]
        out.append(found)
    return out


def _kept(
    chosen: Mapping[str, list[_Read]], domain: Domain, syntax: Syntax | None, budget: Budget
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """How many words and how many tags of each text count."""
    words = {arm: [len(r.tokens) for r in bag] for arm, bag in chosen.items()}
    tags = {arm: [sum(map(len, r.tags or ())) for r in bag] for arm, bag in chosen.items()}
    if budget == "texts":
        return words, tags
    words = matched_lengths(words, domain.length)
    refuse_unequal({arm: sum(kept) for arm, kept in words.items()}, "tokens")
    return words, tags if syntax is None else matched_lengths(tags, syntax.length)


def _scores(bag: Sequence[_Read], words: Sequence[int], tags: Sequence[int], syntax: Syntax | None) -> Values:
    """Of the words and tags that are left of a bag; none where fewer than two texts have any."""
    said = [r.tokens[:n] for r, n in zip(bag, words, strict=True) if n and r.sample.text.strip()]
    out = _words(said) if len(said) > 1 else {}
    if syntax is not None:
        tagged = [t for r, n in zip(bag, tags, strict=True) if (t := first_tags(r.tags or (), n))]
        out |= _grammar(tagged, syntax.templates) if len(tagged) > 1 else {}
    return out


def _trees(programs: Sequence[str]) -> Values:
    return {"ast_jsd": tree_diversity(programs).jsd} if len(programs) > 1 else {}


def _range(whole: FloatArray) -> tuple[float, float] | None:
    """2.5 to 97.5 % of the mean over prompts, over the draws; None where there was one."""
    scored = whole[~np.isnan(whole).any(axis=1)]
    if whole.shape[1] == 1 or not len(scored):
        return None
    low, high = np.quantile(scored.mean(axis=0), (0.025, 0.975))
    return (float(low), float(high)) if high > low else None


def _nan(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else np.nan


def first_tags(tags: Sequence[Tags], n: int) -> tuple[Tags, ...]:
    """The first ``n`` tags of a text, in their sentences.

    >>> first_tags((("DT", "NN"), ("PRP", "VBP")), 3)
    (('DT', 'NN'), ('PRP',))
    """
    out: list[Tags] = []
    for sentence in tags:
        if n <= 0:
            break
        out.append(sentence[:n])
        n -= len(sentence)
    return tuple(out)


def _words(bag: Sequence[Sequence[str]]) -> Values:
    counts = [ngram_counts(bag, n) for n in ORDERS]
    return {
        "ead": lexical(counts, vocabulary=VOCABULARY).mean,
        "distinct": lexical(counts, vocabulary=None).mean,
        "rouge_l": overlap.rouge_l(bag).mean,
        "self_bleu": overlap.self_bleu(bag).mean,
        "self_repetition": overlap.self_repetition(bag).mean,
    }


def _grammar(texts: Sequence[tuple[Tags, ...]], templates: Templates) -> Values:
    tagged = Tagged(templates.tagger, tuple(texts), 0)
    if not tagged.tokens:
        return {}
    scores, use = pos_scores(tagged), template_use(tagged, templates)
    return {
        "pos_compression": scores.compression,
        "pos_diversity": scores.diversity,
        "template_rate": use.rate,
        "templates_per_token": use.per_token,
    }
