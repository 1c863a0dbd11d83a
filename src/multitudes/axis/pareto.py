"""Which settings are worth having: not beaten in every respect by another, and which of them to take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_shape

FloatArray = NDArray[np.float64]


def pareto_front(losses: ArrayLike) -> NDArray[np.bool_]:
    """(n,) whether no other row is at least as good everywhere and better somewhere.

    Args:
        losses: (n, k) one row per setting, lower is better in every column. A row with NaN is never on the front and
            beats nobody.

    >>> pareto_front([[1, 3], [2, 2], [2, 3]]).tolist()
    [True, True, False]
    """
    rows = check_shape("losses", losses, "n k")
    known = ~np.isnan(rows).any(axis=1)
    no_worse = (rows[:, None] <= rows[None]).all(axis=2)
    better = (rows[:, None] < rows[None]).any(axis=2)
    beaten = (no_worse & better & known[:, None]).any(axis=0)
    return np.asarray(known & ~beaten)


class Candidate(NamedTuple):
    """A setting that may be recommended.

    Attributes:
        place: Where it stands in the sweep.
        effects: Each kind of effect, the one that decides first; (N,) on each reply, NaN where there is none, higher
            is more. A kind without any number decides nothing.
        n_layers: Blocks it works on.
        height: How strong its threshold is.
    """

    place: int
    effects: tuple[FloatArray, ...]
    n_layers: int
    height: float


class Choice(NamedTuple):
    """What was taken: ``tied`` others could not be told from it by their effects; ``best`` has the largest first."""

    taken: int
    best: int
    tied: tuple[int, ...]


def choose(candidates: Sequence[Candidate], clusters: Sequence[str]) -> Choice | None:
    """The setting with the largest mean effect; of those within one standard error, the one that does least.

    Kinds of effects have no common unit and are not added up: the first decides, the second decides among those that
    the first cannot tell apart, and so on. The error is that of the paired difference to the best, over clusters. Of
    settings that are tied in all of them, the one with fewer layers is taken, then the one with the lower threshold.

    Args:
        candidates: Settings.
        clusters: (N,) what the replies belong to, such as a role.

    Returns:
        Places; None without candidates.
    """
    if not candidates:
        return None
    first, tied = None, list(candidates)
    for kind in range(len(candidates[0].effects)):
        means = [clustered(c.effects[kind], clusters)[0] for c in tied]
        if not np.isfinite(means).any():
            continue
        best = tied[int(np.nanargmax(means))]
        tied = [c for c in tied if c is best or _within_error(best.effects[kind] - c.effects[kind], clusters)]
        first = best if first is None else first
    taken = min(tied, key=lambda c: (c.n_layers, c.height))
    return Choice(taken.place, (first or taken).place, tuple(c.place for c in tied))


def _within_error(differences: FloatArray, clusters: Sequence[str]) -> bool:
    mean, error = clustered(differences, clusters)
    return bool(np.isfinite(error) and mean <= error)


def clustered(values: FloatArray, clusters: Sequence[str]) -> tuple[float, float]:
    """Mean of cluster means, and its standard error; NaN error with fewer than two clusters."""
    known = ~np.isnan(values)
    if not known.any():
        return float("nan"), float("nan")
    _, code = np.unique(np.asarray(clusters)[known], return_inverse=True)
    means = np.bincount(code, values[known]) / np.bincount(code)
    error = float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else float("nan")
    return float(means.mean()), error
