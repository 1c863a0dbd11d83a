"""Effective diversity of the arms of a comparison: how valid they are, and how much their valid texts differ.

Where it is known to which class each valid text belongs, all pairs count. Where a judge or a threshold told pairs
apart, its counts are given. Every number is one per prompt, so that prompts can be resampled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.measure.diversity.arms import Effective, PairCount, Sample
from multitudes.measure.diversity.bag_scores import Column, Table, cosine, ead_of_subsets, plain
from multitudes.measure.diversity.budget import Domain
from multitudes.measure.diversity.validity import PromptCounts, count_classes, rarefied_classes
from multitudes.measure.errors import TooFewSamplesError

FloatArray = NDArray[np.float64]
Pairs = Mapping[tuple[str, str, str], PairCount]  # by arm, domain and prompt

LEAST = 2  # valid texts of a prompt below which their diversity is not defined


class Judged(NamedTuple):
    """One arm of one domain over G prompts.

    Attributes:
        valid: (G,) share of valid texts.
        different: (G,) share of the pairs that are both valid and different: D_pair.
        both: (G,) share of the pairs that are both valid.
        classes: (G,) different classes among the valid texts; NaN where nobody knows.
    """

    valid: FloatArray
    different: FloatArray
    both: FloatArray
    classes: FloatArray


def is_judged(domain: Domain) -> bool:
    """Whether the validity of every text is known."""
    return all(s.valid is not None for s in domain.every)


def judge(domain: Domain, pairs: Pairs) -> dict[str, Judged]:
    """Validity and pairs of every arm.

    Args:
        domain: Of which ``is_judged`` holds.
        pairs: What a judge or a threshold said; empty where the texts have classes.

    Raises:
        TooFewSamplesError: Pairs are given for some prompts of the domain and not for others.
    """
    given = any((arm, domain.name, p) in pairs for arm in domain.bags for p in domain.prompts)
    out = {}
    for arm, by in domain.bags.items():
        rows = []
        for p in domain.prompts:
            found = pairs.get((arm, domain.name, p)) if given else _of_classes(by[p])
            if found is None or not found.drawn:
                raise TooFewSamplesError(
                    "no pairs were judged", where=f"{arm}, {domain.name}, {p}", found="0", expected=">= 1"
                )
            share = float(np.mean([bool(s.valid) for s in by[p]]))
            classes = math.nan if found.classes is None else found.classes
            rows.append((share, found.different / found.drawn, found.valid / found.drawn, classes))
        out[arm] = Judged(*np.array(rows, dtype=np.float64).T)
    return out


def _counts(bag: list[Sample]) -> PromptCounts:
    return count_classes([0] * len(bag), [bool(s.valid) for s in bag], [s.kind for s in bag])


def _of_classes(bag: list[Sample]) -> PairCount:
    found = _counts(bag)
    v = int(found.valid[0])
    return PairCount(
        float(v**2 - found.same[0]), float(v * (v - 1)), len(bag) * (len(bag) - 1), int(found.distinct[0])
    )


def effective_table(
    domain: Domain, judged: Mapping[str, Judged], *, with_classes: bool, same_cost: bool, seed: int
) -> Table:
    """D_pair, and diversity among as many valid texts of every prompt as the arm with the fewest has.

    Args:
        domain: The texts.
        judged: From ``judge``.
        with_classes: Whether the texts have classes, so that classes among fewer texts can be expected.
        same_cost: Whether the arms took the same tokens, so that what they gave for them can be compared.
        seed: Of random subsets.
    """
    table: Table = {("d_pair", "texts"): {arm: plain(j.different) for arm, j in judged.items()}}
    if any((j.both > 0).any() for j in judged.values()):
        table["d_pair", "valid"] = {arm: Column(j.different, j.both) for arm, j in judged.items()}
    table |= _among_valid(domain, with_classes=with_classes, seed=seed)
    if same_cost and not any(np.isnan(j.classes).any() for j in judged.values()):
        table["classes", "cost"] = {arm: plain(j.classes) for arm, j in judged.items()}
    return table


def _among_valid(domain: Domain, *, with_classes: bool, seed: int) -> Table:
    names = ["ead", *(["cosine"] if all(s.vector is not None for s in domain.every if s.text.strip()) else [])]
    names += ["classes"] if with_classes else []
    values = {name: {arm: np.full(len(domain.prompts), np.nan) for arm in domain.bags} for name in names}
    for q, p in enumerate(domain.prompts):
        good = {arm: [s for s in by[p] if s.valid and s.text.strip()] for arm, by in domain.bags.items()}
        least = min(map(len, good.values()))
        if least < LEAST:
            continue
        words = ead_of_subsets(domain, good, least, prompt=p, seed=seed)
        for arm, bag in good.items():
            values["ead"][arm][q] = np.nan if words[arm] is None else words[arm]
            if "cosine" in values:
                values["cosine"][arm][q] = cosine(bag)
            if with_classes:
                values["classes"][arm][q] = rarefied_classes(_counts(bag), [least])[0]
    found: Table = {
        (name, "valid"): {arm: plain(column) for arm, column in by_arm.items()} for name, by_arm in values.items()
    }
    return {key: by_arm for key, by_arm in found.items() if not all(np.isnan(c.value).all() for c in by_arm.values())}


def explain(domain: str, first: str, arm: str, judged: Mapping[str, Judged], stamp: str) -> Effective:
    """Validity of two arms and the two terms of the change of ln D_pair, which sum to it."""
    before, after = judged[first], judged[arm]
    both, differ = [float(j.both.sum()) for j in (before, after)], [float(j.different.sum()) for j in (before, after)]
    known = min(both) > 0 and min(differ) > 0
    return Effective(
        domain=domain,
        after=arm,
        valid_before=float(before.valid.mean()),
        valid_after=float(after.valid.mean()),
        term_validity=math.log(both[1] / both[0]) if known else None,
        term_difference=math.log(differ[1] / both[1]) - math.log(differ[0] / both[0]) if known else None,
        stamp=stamp,
    )
