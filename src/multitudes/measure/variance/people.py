"""A panel beside people's own answers to the same items: distances as scores, and the ratio that decides Q4."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.core.records import Score
from multitudes.measure.errors import TooFewItemsError
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.distance import Beside, compare_with_people

GAUGE = "variance"


def against_people(
    ours: NDArray[Any], our_items: NDArray[Any], human: NDArray[Any], human_items: NDArray[Any], *, exact: bool,
    ordinal: bool, seed: int,
) -> tuple[list[Score], Estimate | None]:  # fmt: skip
    """Distances of answer distributions, each with people's split-half floor in its note, and JSD over floor.

    Args:
        ours: (n, K) one-hot answers or, with ``exact``, distributions; NaN rows are unscored.
        our_items: (n,) items.
        human: (m, K) people's one-hot answers.
        human_items: (m,) items.
        exact: Whether ``ours`` are distributions.
        ordinal: Whether options are ordered.
        seed: Seed of splits and draws.

    Raises:
        TooFewItemsError: No common item.
    """
    items = sorted(set(our_items.tolist()) & set(human_items.tolist()))
    if not items:
        raise TooFewItemsError("no item was answered by both people and panel", hint="use the same ids of items")
    mine = np.stack([_sum(ours, our_items, item) for item in items])
    theirs = np.stack([_sum(human, human_items, item) for item in items])
    if exact:  # an item that nobody of the panel answered stays 0 and is left out there
        total = mine.sum(axis=1, keepdims=True)
        mine = np.divide(mine, total, out=np.zeros_like(mine), where=total > 0)
    found = compare_with_people(theirs, mine, ordinal=ordinal, exact=exact, seed=seed)
    rows = [found.jsd, found.w1, found.cross_entropy, found.kl, found.entropy_correlation]
    scores = [_score(b) for b in rows if b is not None]
    if found.jsd.ratio is not None:
        r = found.jsd.ratio
        scores.append(
            _made("people_jsd_ratio", r, "JSD over people's split-half floor, at equal numbers of answers", "")
        )
    for who, alpha in (("people", found.alpha_people), ("simulated", found.alpha_simulated)):
        if alpha is not None:
            scores.append(
                Score(gauge=GAUGE, name=f"alpha_{who}", value=alpha.value, low=alpha.low, high=alpha.high, n=alpha.n,
                      unscored=alpha.unscored, null=0.0, estimator="Krippendorff's alpha", note=alpha.note,
                      interval="items, bootstrap" if alpha.low is not None else "")
            )  # fmt: skip
    return scores, found.jsd.ratio


def _sum(probs: NDArray[Any], items: NDArray[Any], item: Any) -> NDArray[np.float64]:
    return np.asarray(np.nansum(probs[items == item], axis=0))


def _score(b: Beside) -> Score:
    floor = f"people against people: {b.floor.value:.3g}" if np.isfinite(b.floor.value) else ""
    return _made(f"people_{b.name}", b.value, b.name.replace("_", " "), "; ".join(x for x in (floor, b.note) if x))


def _made(name: str, e: Estimate, how: str, note: str) -> Score:
    return Score(
        gauge=GAUGE, name=name.lower().replace(" ", "_"), value=e.value, low=e.low, high=e.high, n=e.n,
        unscored=e.unscored, estimator=how, interval="items, bootstrap" if e.low is not None else "",
        note="; ".join(x for x in (note, e.note) if x),
    )  # fmt: skip
