"""Signal or noise: how much of the spread of answers comes from who is asked, and how much from asking again.

Two facets, persona and item, and runs nested in their cells: y = μ + p + i + pi + e, all random but μ. The components
come from pairs of answers, sorted by what the two share (G is the mean of ½‖y - y'‖²):

    G_e same persona, same item    G_p same persona    G_i same item    G_0 neither
    σ²_e = G_e    σ²_p = G_0 - G_p    σ²_i = G_0 - G_i    σ²_pi = G_p + G_i - G_0 - G_e

Unbiased for any pattern of missing or unequal cells that does not depend on the effects, equal to ANOVA where the
design is balanced, and linear in the number of answers: for a group g the sum over its ordered pairs is
n_g Σ‖y‖² - ‖Σy‖², and exact sharing follows by inclusion and exclusion. Answers may be numbers, one-hot categories
(½‖o - o'‖² is then "differs") or unit vectors (then 1 - cosine).

Source: Koch's symmetric sums (1965) in squared-difference form; own derivation of the linear-time sums.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from multitudes.core.checks import check_same_length
from multitudes.core.errors import GaugeError
from multitudes.measure.stats import sum_by

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Anchor(NamedTuple):
    """A value found in people, to be read beside a simulated one. Bound to its topic: context, not a pass mark."""

    label: str
    quantity: str
    value: float
    low: float | None
    high: float | None
    source: str


_COLOUR = (
    "recomputation of the released human data of arXiv 2411.04427 (skmur/onefish-twofish, colorref.csv), quoted "
    "and not run again here: "
    "1 - ΣG_e/ΣG_i of CIE Lab colours over words, two-way bootstrap"
)
_POPQUORN = (
    "recomputed from POPQUORN offensiveness (Jiaxin-Pei/Potato-Prolific-Dataset), two-way jackknife; "
    "nobody rated twice, so it is also a lower bound on icc_within"
)
HUMAN_ANCHORS = (
    Anchor("475 people, 199 words, colour associations", "icc_within", 0.502, 0.470, 0.533, _COLOUR),
    Anchor("475 people, 199 words, colour associations", "rho", 0.99, 0.88, 1.13, _COLOUR),
    Anchor("475 people, 199 words, colour associations", "tau", 0.039, None, None, _COLOUR),
    Anchor("262 people, 1,500 texts, offensiveness", "tau", 0.274, 0.230, 0.318, _POPQUORN),
)


class Cells(NamedTuple):
    """Answers summed up per filled persona x item cell; everything the estimator needs.

    Attributes:
        persona: (C,) code of the persona of each cell, 0..P-1.
        item: (C,) code of the item.
        n: (C,) answers in the cell.
        total: (C, d) sum of the centred answers.
        square: (C,) sum of their squared norms.
        within: (C,) known run variance of the cell's distribution (exact form), else None.
        personas: The P labels.
        items: The I labels.
        unscored: Answers left out because they were NaN.
    """

    persona: IntArray
    item: IntArray
    n: FloatArray
    total: FloatArray
    square: FloatArray
    within: FloatArray | None
    personas: NDArray[Any]
    items: NDArray[Any]
    unscored: int


class Spreads(NamedTuple):
    """Mean of ½‖y - y'‖² by what two answers share; NaN where there is no such pair.

    Fields are numbers, or arrays of equal shape for many designs at once.
    """

    run: Any
    persona: Any
    item: Any
    neither: Any

    @property
    def icc_within(self) -> Any:
        """(σ²_p + σ²_pi) / (σ²_p + σ²_pi + σ²_e) = 1 - G_e/G_i: persona share within an item."""
        return 1 - _ratio(self.run, self.item)

    @property
    def tau(self) -> Any:
        """σ²_p / (σ²_p + σ²_pi + σ²_e) = (G_0 - G_p)/G_i: share that is stable across items."""
        return _ratio(self.neither - self.persona, self.item)


class Components(NamedTuple):
    """Variance components as estimated; negative ones are not clipped.

    ``interaction`` and ``run`` are NaN where no cell was asked twice; ``interaction_and_run`` is always there.
    """

    persona: float
    item: float
    interaction: float
    run: float
    interaction_and_run: float


def _ratio(top: Any, bottom: Any) -> Any:
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    out = np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan), where=bottom > 0)
    return float(out) if out.ndim == 0 else out


def collect(
    y: ArrayLike,
    persona: ArrayLike,
    item: ArrayLike,
    *,
    run: ArrayLike | None = None,
    run_variance: ArrayLike | None = None,
) -> Cells:
    """Answers as sums per cell, checked.

    Args:
        y: (n,) numbers or (n, d) vectors; an answer with a NaN is unscored and left out.
        persona: (n,) persona labels.
        item: (n,) item labels.
        run: (n,) run labels; only used to refuse an answer that is there twice.
        run_variance: (n,) run variance within each answer's option distribution (a trace for vectors). ``y`` is then
            the mean of that distribution, one per cell, and no run noise enters: the exact form, R = ∞.

    Raises:
        GaugeError: On shapes that differ, infinite values, a repeated answer, fewer than two personas or items, or
            personas and items that fall into groups which share nothing.
    """
    values = np.asarray(y, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise GaugeError("'y' has the wrong shape", where="y", found=str(values.shape), expected="(n,) or (n, d)")
    who, what = np.asarray(persona), np.asarray(item)
    check_same_length(y=values, persona=who, item=what)
    if np.isinf(values).any():
        raise GaugeError("'y' holds an infinite value", where="y", expected="numbers, or NaN for unscored")
    noise = None if run_variance is None else np.asarray(run_variance, dtype=np.float64)
    scored = ~np.isnan(values).any(axis=1)
    if noise is not None:
        check_same_length(y=values, run_variance=noise)
        if (noise < -1e-12).any():
            raise GaugeError("'run_variance' is negative", where="run_variance", found=repr(float(np.nanmin(noise))))
        scored &= ~np.isnan(noise)
    values, who, what = values[scored], who[scored], what[scored]
    personas, p = np.unique(who, return_inverse=True)
    items, i = np.unique(what, return_inverse=True)
    if len(personas) < 2 or len(items) < 2:
        raise GaugeError(
            "components need at least two personas and two items",
            found=f"{len(personas)} personas and {len(items)} items with a scored answer",
        )
    cell, inverse, counts = np.unique(p * len(items) + i, return_inverse=True, return_counts=True)
    if run is not None:
        _refuse_repeats(inverse, np.asarray(run)[scored])
    if noise is not None and (counts > 1).any():
        raise GaugeError("the exact form takes one distribution per persona and item", found="a cell with several")
    cp, ci = cell // len(items), cell % len(items)
    _refuse_islands(cp, ci, personas, items)
    centred = values - values.mean(axis=0)  # otherwise a large common level cancels all digits
    centred = np.where(np.ptp(values, axis=0) > 0, centred, 0.0)
    total = np.zeros((len(cell), values.shape[1]))
    np.add.at(total, inverse, centred)
    square = sum_by(inverse, (centred**2).sum(axis=1))
    within = None if noise is None else sum_by(inverse, np.maximum(noise[scored], 0.0))
    left_out = int((~scored).sum())
    return Cells(cp, ci, counts.astype(np.float64), total, square, within, personas, items, left_out)


def _refuse_repeats(cell: IntArray, run: NDArray[Any]) -> None:
    _, code = np.unique(run, return_inverse=True)
    _, counts = np.unique(cell * (code.max() + 1) + code, return_counts=True)
    if (counts > 1).any():
        raise GaugeError("an answer is there twice", found=f"{int((counts > 1).sum())} repeated (persona, item, run)")


def _refuse_islands(p: IntArray, i: IntArray, personas: NDArray[Any], items: NDArray[Any]) -> None:
    size = len(personas) + len(items)
    graph = coo_matrix((np.ones(len(p)), (p, i + len(personas))), shape=(size, size))
    parts, label = connected_components(graph, directed=False)
    if parts > 1:
        groups = [[str(x) for x in personas[label[: len(personas)] == part][:5]] for part in range(parts)]
        raise GaugeError(
            "personas and items fall into groups that share nothing, so their components cannot be told apart",
            found="; ".join(f"group with personas {', '.join(g)}" for g in groups[:5]),
            expected="a design in which every two personas are linked by shared items",
        )


def pair_sums(n: FloatArray, square: FloatArray, total: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Σ½‖y - y'‖² over the ordered pairs of a group, and their number, from its n, Σ‖y‖² and Σy (last axis)."""
    return np.maximum(n * square - (total**2).sum(axis=-1), 0.0), n * (n - 1)


def group_sums(cells: Cells, code: IntArray, size: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """n, Σ‖y‖² and Σy of each of ``size`` groups of cells."""
    total = np.zeros((size, cells.total.shape[1]))
    np.add.at(total, code, cells.total)
    return sum_by(code, cells.n, size), sum_by(code, cells.square, size), total


def share_exactly(cell: Any, persona: Any, item: Any, everyone: Any) -> Spreads:
    """G by inclusion and exclusion from (pair sum, pair count) of pairs that agree at least on each facet."""
    parts = [
        (cell[k], persona[k] - cell[k], item[k] - cell[k], everyone[k] - persona[k] - item[k] + cell[k])
        for k in (0, 1)
    ]
    return Spreads(*(_ratio(top, np.maximum(count, 0)) for top, count in zip(*parts, strict=True)))


def add_run_noise(spreads: Spreads, noise: Any) -> Spreads:
    """The exact form: G of the means, plus the mean run variance in every kind of pair."""
    return Spreads(noise, spreads.persona + noise, spreads.item + noise, spreads.neither + noise)


def spreads(cells: Cells) -> Spreads:
    """G_e, G_p, G_i and G_0 of the whole design."""
    sums = [
        np.sum(pair_sums(*group), axis=1)
        for group in (
            (cells.n, cells.square, cells.total),
            group_sums(cells, cells.persona, len(cells.personas)),
            group_sums(cells, cells.item, len(cells.items)),
            group_sums(cells, np.zeros_like(cells.item), 1),
        )
    ]
    found = share_exactly(*sums)
    return found if cells.within is None else add_run_noise(found, float(cells.within.mean()))


def components(found: Spreads) -> Components:
    """σ²_p, σ²_i, σ²_pi and σ²_e from the G's, as they are.

    >>> cells = collect([0.0, 1.0, 2.0, 3.0], ["a", "a", "b", "b"], [0, 1, 0, 1])
    >>> components(spreads(cells)).persona
    2.0
    """
    both = found.persona + found.item - found.neither
    return Components(found.neither - found.persona, found.neither - found.item, both - found.run, found.run, both)


def identical_run_share(cells: Cells) -> float:
    """Share of the cells asked more than once whose answers are all equal; NaN if there are none.

    Near 1 the runs are no runs: a cache, a fixed seed or temperature 0.
    """
    again = cells.n > 1
    if not again.any():
        return float("nan")
    spread, _ = pair_sums(cells.n[again], cells.square[again], cells.total[again])
    return float((spread <= 1e-12 * max(float(cells.square.max()), 1e-300)).mean())
