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

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import (
    DisconnectedDesignError,
    DuplicateKeyError,
    NotFiniteError,
    TooFewItemsError,
    TooFewPersonasError,
)
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
        TooFewPersonasError: If fewer than two personas have a scored answer.
        TooFewItemsError: If fewer than two items have one.
        DisconnectedDesignError: If personas and items fall into groups that share nothing.
        DuplicateKeyError: If an answer of one persona, item and run is there twice.
        NotFiniteError: If a value is infinite, or a label is missing.
        GaugeError: On shapes that differ or a negative run variance.
    """
    answers = scored_answers(y, {"persona": persona, "item": item}, run=run, run_variance=run_variance)
    personas, p = np.unique(answers.labels["persona"], return_inverse=True)
    items, i = np.unique(answers.labels["item"], return_inverse=True)
    if len(personas) < 2 or len(items) < 2:
        raise (TooFewPersonasError if len(personas) < 2 else TooFewItemsError)(
            "components need at least two personas and two items",
            found=f"{len(personas)} personas and {len(items)} items with a scored answer",
            hint=None if len(personas) < 2 else "one item alone: one_way in measure/variance/anova.py",
        )
    cell, inverse, counts = np.unique(p * len(items) + i, return_inverse=True, return_counts=True)
    cp, ci = cell // len(items), cell % len(items)
    refuse_islands(cp, ci, personas, items)
    total, square, within = cell_sums(answers, inverse, counts)
    return Cells(cp, ci, counts.astype(np.float64), total, square, within, personas, items, answers.unscored)


class Answers(NamedTuple):
    """Scored answers, checked: values (n, d), labels, run labels and run variances, and how many were left out."""

    values: FloatArray
    labels: dict[str, NDArray[Any]]
    run: NDArray[Any] | None
    run_variance: FloatArray | None
    unscored: int


def scored_answers(
    y: ArrayLike, labels: Mapping[str, ArrayLike], *, run: ArrayLike | None, run_variance: ArrayLike | None
) -> Answers:
    """The answers without NaN, as ``collect`` describes them, with their labels.

    Raises:
        NotFiniteError: If a value is infinite, or a label is missing.
        GaugeError: On shapes that differ or a negative run variance.
    """
    values = check_shape("y", y, "n" if np.ndim(y) == 1 else "n d")
    values = values[:, None] if values.ndim == 1 else values
    named = {**labels, **({} if run is None else {"run": run})}
    columns = {name: _labels(name, column) for name, column in named.items()}
    check_same_length(y=values, **columns)
    if np.isinf(values).any():
        raise NotFiniteError("'y' holds an infinite value", where="y", expected="numbers, or NaN for unscored")
    scored = ~np.isnan(values).any(axis=1)
    noise = None
    if run_variance is not None:
        noise = check_shape("run_variance", run_variance, "n")
        check_same_length(y=values, run_variance=noise)
        if np.isinf(noise).any():
            raise NotFiniteError("'run_variance' holds an infinite value", where="run_variance")
        if (noise < -1e-12).any():
            raise GaugeError("'run_variance' is negative", where="run_variance", found=repr(float(np.nanmin(noise))))
        scored &= ~np.isnan(noise)
        noise = np.maximum(noise[scored], 0.0)
    kept = {name: columns[name][scored] for name in labels}
    runs = None if run is None else columns["run"][scored]
    return Answers(values[scored], kept, runs, noise, int((~scored).sum()))


def _labels(name: str, column: ArrayLike) -> NDArray[Any]:
    out = np.asarray(column)
    if out.ndim != 1:
        raise GaugeError(f"{name!r} has the wrong shape", where=name, found=str(out.shape), expected="(n,)")
    missing = out.dtype.kind == "f" and np.isnan(out).any()
    if missing or (out.dtype.kind == "O" and any(x is None or x != x for x in out)):
        raise NotFiniteError(f"{name!r} has a missing label", where=name, expected="a label for every answer")
    return out


def cell_sums(answers: Answers, cell: IntArray, counts: IntArray) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Σy, Σ‖y‖² and run variance per cell, of the answers less their mean.

    Raises:
        DuplicateKeyError: If a run label is there twice in a cell.
        GaugeError: If a cell has several distributions.
    """
    if answers.run is not None:
        _, code = np.unique(answers.run, return_inverse=True)
        _, times = np.unique(cell * (code.max() + 1) + code, return_counts=True)
        if (times > 1).any():
            keys = ", ".join([*answers.labels, "run"])
            raise DuplicateKeyError("an answer is there twice", found=f"{int((times > 1).sum())} repeated ({keys})")
    if answers.run_variance is not None and (counts > 1).any():
        raise GaugeError("the exact form takes one distribution per persona and item", found="a cell with several")
    centred = answers.values - answers.values.mean(axis=0)  # otherwise a large common level cancels all digits
    centred = np.where(np.ptp(answers.values, axis=0) > 0, centred, 0.0)
    square = sum_by(cell, np.einsum("nd,nd->n", centred, centred), len(counts))
    noise = answers.run_variance
    return sum_rows_by(cell, centred, len(counts)), square, None if noise is None else sum_by(cell, noise)


def sum_rows_by(code: IntArray, rows: FloatArray, size: int) -> FloatArray:
    """Sum of the rows (n, d) of each code 0..size-1: (size, d)."""
    if rows.shape[1] <= 8:
        return np.stack([sum_by(code, column, size) for column in rows.T], axis=1)
    n = len(code)
    return np.asarray(csr_matrix((np.ones(n), (code, np.arange(n))), shape=(size, n)) @ rows)


def refuse_islands(a: IntArray, b: IntArray, a_labels: Any, b_labels: Any, names: str = "personas and items") -> None:
    """Check that codes ``a`` and ``b`` of two facets are linked by the cells they share.

    Raises:
        DisconnectedDesignError: With the groups.
    """
    size = len(a_labels) + len(b_labels)
    graph = coo_matrix((np.ones(len(a)), (a, b + len(a_labels))), shape=(size, size))
    parts, label = connected_components(graph, directed=False)
    if parts > 1:
        first = names.split(" and ")[0]
        groups = [[str(x) for x in a_labels[label[: len(a_labels)] == part][:5]] for part in range(parts)]
        raise DisconnectedDesignError(
            f"{names} fall into groups that share nothing, so their components cannot be told apart",
            found="; ".join(f"group with {first} {', '.join(g)}" for g in groups[:5]),
            expected=f"a design in which every two {first} are linked by shared {names.split(' and ')[1]}",
        )


def pair_sums(n: FloatArray, square: FloatArray, total: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Σ½‖y - y'‖² over the ordered pairs of a group, and their number, from its n, Σ‖y‖² and Σy (last axis).

    A sum that rounding alone could have left is 0, so that equal answers have no spread rather than a random one.
    """
    top = n * square - (total**2).sum(axis=-1)
    rounding = 16 * np.finfo(np.float64).eps * np.sqrt(np.maximum(n, 1.0)) * n * square
    return np.where(top > rounding, top, 0.0), n * (n - 1)


def group_sums(cells: Cells, code: IntArray, size: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """n, Σ‖y‖² and Σy of each of ``size`` groups of cells."""
    return sum_by(code, cells.n, size), sum_by(code, cells.square, size), sum_rows_by(code, cells.total, size)


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
