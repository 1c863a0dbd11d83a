"""Equal budgets: the same prompts, the same number of texts, the same lengths. What cannot be equal is refused.

| budget | rule |
|---|---|
| B1, ``texts`` | K texts of every prompt; of more, the mean over random subsets of K |
| B2, ``tokens`` | B1, and every text cut to L tokens, which at least 90 % of the texts of every arm reach |
| B3, ``valid`` | as many valid texts of every prompt as the arm with the fewest has |
| B4, ``cost`` | equal tokens, prompt and reply, within 2 % |

At most a tenth of an arm's texts are shorter than L. They cannot be made longer, and leaving them out would choose
among texts by their length. So lengths are matched: of one prompt, the longest text of each arm, the second longest
and so on are cut to the same length, at most L. The arms then have the same lengths to the token.

Source: own rule for short texts; rarefaction after Hurlbert 1971 (Ecology 52).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from multitudes.core.seeds import derive_rng
from multitudes.measure.diversity.arms import Sample
from multitudes.measure.diversity.lexical import VOCABULARY, tokenise
from multitudes.measure.errors import EmptyTextError, TooFewClustersError, TooFewSamplesError, UnequalBudgetError

REACHED = 0.9  # share of an arm's texts that must be as long as the common length
MAX_EMPTY = 0.1
DRAWS = 50  # random subsets of an arm that has more texts than another
SAME_COST = 0.02

Bags = dict[str, dict[str, list[Sample]]]  # by arm and prompt


class Domain(NamedTuple):
    """Texts of one domain, all prompts shared by all arms.

    Attributes:
        bags: All texts by arm and prompt.
        prompts: In the order of the first arm.
        k: Texts per prompt that every arm has.
        length: L of budget B2, in words.
        budget: What a reader should know of all that.
    """

    name: str
    bags: Bags
    prompts: list[str]
    k: int
    length: int
    budget: dict[str, Any]

    @property
    def every(self) -> list[Sample]:
        """All texts, by arm and prompt."""
        return [s for by in self.bags.values() for p in self.prompts for s in by[p]]


def domain_of(name: str, samples: Sequence[Sample], arms: Sequence[str]) -> Domain:
    """The texts of a domain, with their common number and length.

    Raises:
        EmptyTextError: More than a tenth of an arm's texts are empty.
        TooFewClustersError: The arms share fewer than two prompts.
        TooFewSamplesError: A shared prompt with fewer than two texts of an arm.
    """
    every: Bags = {arm: defaultdict(list) for arm in arms}
    for s in samples:
        every[s.arm][s.prompt].append(s)
    for arm, by_prompt in every.items():
        texts = [s for bag in by_prompt.values() for s in bag]
        empty = sum(not s.text.strip() for s in texts)
        if empty > MAX_EMPTY * len(texts):
            raise EmptyTextError(
                "too many texts are empty", where=f"{arm}, {name}", found=f"{empty} of {len(texts)}",
                expected="at most a tenth",
            )  # fmt: skip
    shared = [p for p in every[arms[0]] if all(p in every[arm] for arm in arms)]
    if len(shared) < 2:
        raise TooFewClustersError(
            "the arms share fewer than two prompts, and prompts are what is resampled", where=f"domain {name!r}",
            found=str(len(shared)), expected="the same prompts in every arm",
        )  # fmt: skip
    bags = {arm: {p: every[arm][p] for p in shared} for arm in arms}
    k = min(len(bags[arm][p]) for arm in arms for p in shared)
    if k < 2:
        raise TooFewSamplesError(
            "too few samples: diversity needs two texts of a prompt", where=f"domain {name!r}", found=str(k),
            expected=">= 2",
        )  # fmt: skip
    lengths = {arm: [len(tokenise(s.text)) for p in shared for s in bags[arm][p]] for arm in arms}
    length = common_length(lengths)
    budget = {
        "prompts": len(shared),
        "texts_per_prompt": k,
        "beyond": sum(len(bags[arm][p]) - k for arm in arms for p in shared),
        "unpaired": sum(len(texts) for arm in arms for p, texts in every[arm].items() if p not in shared),
        "tokens_per_text": length,
        "tokens": {arm: sum(v) for arm, v in lengths.items()},
        "cut": {arm: float(np.mean(np.array(v) > length)) for arm, v in lengths.items()},
        "shorter": {arm: float(np.mean(np.array(v) < length)) for arm, v in lengths.items()},
        "cost": {arm: _cost(bags[arm], shared) for arm in arms},
        "vocabulary": VOCABULARY,
    }
    return Domain(name, bags, shared, k, length, budget)


def _cost(by_prompt: Mapping[str, Sequence[Sample]], prompts: Sequence[str]) -> float | None:
    costs = [s.cost for p in prompts for s in by_prompt[p]]
    known = [c for c in costs if c is not None]
    return float(sum(known)) if costs and len(known) == len(costs) else None


def common_length(lengths: Mapping[str, Sequence[int]]) -> int:
    """L, the largest length that at least 90 % of the texts of every arm reach; at least 1.

    >>> common_length({"a": [5] * 10, "b": [1] + [4] * 3 + [9] * 6})
    4
    """
    return max(1, min(sorted(v)[int((1 - REACHED) * len(v) + 1e-9)] for v in lengths.values()))


def matched_lengths(lengths: Mapping[str, Sequence[int]], limit: int) -> dict[str, list[int]]:
    """To how many tokens each text of a prompt is cut so that the arms have the same lengths, at most ``limit``.

    Args:
        lengths: Tokens of the texts of one prompt, by arm.
        limit: L.

    Raises:
        UnequalBudgetError: Arms with different numbers of texts.

    >>> matched_lengths({"a": [3, 9, 8], "b": [9, 9, 9]}, 8)
    {'a': [3, 8, 8], 'b': [8, 8, 3]}
    """
    refuse_unequal({arm: len(found) for arm, found in lengths.items()}, "texts")
    ranked = {arm: np.argsort(-np.array(found), kind="stable") for arm, found in lengths.items()}
    sorted_lengths = [np.array(lengths[arm])[order] for arm, order in ranked.items()]
    common = np.minimum(np.min(sorted_lengths, axis=0), limit)
    out = {}
    for arm, order in ranked.items():
        cut = np.empty(len(order), dtype=np.int64)
        cut[order] = common
        out[arm] = cut.tolist()
    return out


def refuse_unequal(amounts: Mapping[str, float], what: str, *, tolerance: float = 0.0) -> None:
    """Refuse amounts that differ between arms by more than ``tolerance`` of the smallest.

    Raises:
        UnequalBudgetError: Naming the two ends.
    """
    low, high = min(amounts, key=lambda a: amounts[a]), max(amounts, key=lambda a: amounts[a])
    if amounts[high] > amounts[low] * (1 + tolerance):
        raise UnequalBudgetError(
            f"a score that depends on the amount of text, at unequal numbers of {what}",
            found=f"{amounts[low]:g} of {low!r} and {amounts[high]:g} of {high!r}",
            expected="the same" + (f" within {tolerance:.0%}" if tolerance else ""),
            hint="more prompts or texts make the steps smaller" if tolerance else "",
        )


def subsets(sizes: Mapping[str, int], k: int, *draw_of: str | int, draws: int = DRAWS) -> list[dict[str, list[int]]]:
    """Which ``k`` texts of each arm are scored: all of them where every arm has k, else ``draws`` random subsets.

    Args:
        sizes: Number of texts of one prompt by arm, each at least ``k``.
        k: The common number.
        draw_of: What the draws are derived from, such as a seed, a domain and a prompt.
        draws: How many subsets; those of an arm that has just k are all the same.

    Raises:
        TooFewSamplesError: An arm with fewer.
    """
    if min(sizes.values()) < k:
        raise TooFewSamplesError("cannot draw that many texts", found=str(dict(sizes)), expected=f">= {k} per arm")
    if max(sizes.values()) == k:
        return [{arm: list(range(k)) for arm in sizes}]
    rng = {arm: derive_rng("rarefy", *draw_of, arm) for arm in sizes}
    return [
        {arm: list(range(k)) if n == k else sorted(rng[arm].choice(n, k, replace=False).tolist())
         for arm, n in sizes.items()}
        for _ in range(draws)
    ]  # fmt: skip
