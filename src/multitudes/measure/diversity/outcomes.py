"""Arms as remedies: what each gains in effective diversity, what it costs, and what it loses.

A gain counts only if it is shown (the verdict of D_pair), if validity falls by no more than two points, and, where
placed people were asked, if they still are where they were put.

Source: own rules; see the methods of arXiv 2510.01171 for why cost must be counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.diversity.arms import Cell, Outcome
from multitudes.measure.diversity.budget import Domain
from multitudes.measure.diversity.effective import Judged
from multitudes.measure.jackknife import jackknife
from multitudes.measure.placement_fit import ADHERENCE_GATE, fit_placement
from multitudes.measure.resample import bca

FloatArray = NDArray[np.float64]

MOST_LOST = 0.02  # of validity, in shares


class Placed(NamedTuple):
    """Where people were put and where their answers are: (N, K) each, the same people in every arm."""

    targets: FloatArray
    z: FloatArray


class Follows(NamedTuple):
    """Adherence of an arm and its change against the first one, with the jackknife interval over people."""

    r: float | None
    change: float | None
    low: float | None
    high: float | None


NOTHING = Follows(None, None, None, None)


def adherence(targets: ArrayLike, z: ArrayLike) -> float | None:
    """Mean over axes of the correlation of planned and expressed positions; None where it is undefined."""
    found = fit_placement(targets, z).r_mean
    return None if found is None else found.value


def follow(before: Placed, after: Placed) -> Follows:
    """Adherence of ``after`` and its difference to ``before``; people are left out of both at once.

    Raises:
        GaugeError: Other people, or people who were put elsewhere.
    """
    t = check_shape("targets", before.targets, "N K")
    if not np.array_equal(t, check_shape("targets", after.targets, "N K")):
        raise GaugeError("arms whose people were put in other places", where="targets", expected="the same people")
    first, second = adherence(t, before.z), adherence(t, after.z)
    if first is None or second is None:
        return Follows(second, None, None, None)
    rest = []
    for j in range(len(t)):
        pair = [adherence(np.delete(t, j, 0), np.delete(x, j, 0)) for x in (before.z, after.z)]
        rest.append(np.nan if pair[0] is None or pair[1] is None else pair[1] - pair[0])
    found = jackknife(second - first, rest)
    return Follows(second, found.value, found.low, found.high)


def outcomes(
    domain: Domain, judged: Mapping[str, Judged] | None, cells: Mapping[str, Cell], placed: Mapping[str, Placed], *,
    seed: int,
) -> list[Outcome]:  # fmt: skip
    """One row per arm, the first arm on top.

    Args:
        domain: The texts.
        judged: From ``effective.judge``; None where validity is unknown.
        cells: D_pair of each further arm against the first.
        placed: Of each arm whose placed people were asked.
        seed: Of intervals.
    """
    first = next(iter(domain.bags))
    frontier = {} if judged is None else _frontier(judged)
    return [
        _outcome(domain, arm, first, judged, cells.get(arm), placed, frontier.get(arm), seed) for arm in domain.bags
    ]


def _outcome(
    domain: Domain, arm: str, first: str, judged: Mapping[str, Judged] | None, cell: Cell | None,
    placed: Mapping[str, Placed], on_frontier: bool | None, seed: int,
) -> Outcome:  # fmt: skip
    total, base = domain.budget["cost"][arm], domain.budget["cost"][first]
    texts = sum(len(domain.bags[arm][p]) for p in domain.prompts)
    own = None if judged is None else judged[arm]
    change = None
    if judged is not None and arm != first:
        pair = np.stack([judged[first].valid, judged[arm].valid], axis=1)
        change = bca(pair, lambda m: m[..., 1] - m[..., 0], seed=seed)
    follows = _follows(arm, first, placed)
    found = 0.0 if own is None or np.isnan(own.classes).any() else float(own.classes.sum())
    return Outcome(
        domain=domain.name,
        arm=arm,
        cost=None if total is None else total / texts,
        cost_ratio=None if total is None or not base else total / base,
        validity=None if own is None else float(own.valid.mean()),
        validity_change=None if change is None else change.value,
        validity_low=None if change is None else change.low,
        validity_high=None if change is None else change.high,
        d_pair=None if own is None else float(own.different.mean()),
        gain=None if cell is None else cell.effect,
        adherence=follows.r,
        adherence_change=follows.change,
        adherence_low=follows.low,
        adherence_high=follows.high,
        cost_per_answer=total / found if total is not None and found else None,
        frontier=on_frontier,
        verdict="" if arm == first else _verdict(cell, None if change is None else change.value, follows),
    )


def _follows(arm: str, first: str, placed: Mapping[str, Placed]) -> Follows:
    if arm not in placed or first not in placed:
        return NOTHING
    if arm == first:
        return Follows(adherence(*placed[arm]), None, None, None)
    return follow(placed[first], placed[arm])


def _verdict(cell: Cell | None, change: float | None, follows: Follows) -> str:
    if cell is None or change is None:
        return "validity is unknown, so nothing counts"
    stamp = f" ({cell.stamp})" if cell.stamp else ""
    if not cell.verdict.startswith("higher"):
        return f"no gain shown{stamp}"
    if change < -MOST_LOST - 1e-12:
        return f"does not count{stamp}: validity falls by {-100 * change:.0f} points"
    if follows.r is not None and follows.r < ADHERENCE_GATE:
        return f"does not count{stamp}: people are not where they were put (r = {follows.r:.2f})"
    return f"counts{stamp}" + ("" if follows.r is not None else "; adherence was not asked")


def _frontier(judged: Mapping[str, Judged]) -> dict[str, bool]:
    at = {arm: (float(j.valid.mean()), float(j.different.mean())) for arm, j in judged.items()}
    return {
        arm: not any(v >= mine[0] and d >= mine[1] and (v, d) != mine for v, d in at.values())
        for arm, mine in at.items()
    }
