"""Stereotype guard: how much of the differences between personas does their demographic line explain?

R²_demo = 1 - (SS_res/(N-I-q)) / (SS_within/(N-I)): least squares of answers on attribute dummies, both centred within
item, so that what is asked plays no part; q is the rank of the dummies. More than in people on the same items is
stereotyping. Other denominators (total instead of within-item variance, unadjusted) give other numbers, so the
formula goes with the number.

The adjustment takes answers as independent, so 0 is the null only where personas do not differ. Where they do, any
grouping of P personas into q + 1 explains about q/(P-1) of what personas explain. That is ``chance``, and a panel of
50 has five times as much of it as a panel of 250: compare shares above chance, or panels of equal size.

A second sign is constraint: one line along which all personas differ. ``first_component_share`` measures it.

Source: own definition; constraint after Converse 1964 ("The nature of belief systems in mass publics").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError, TooFewItemsError, TooFewPersonasError
from multitudes.measure.stats import Estimate, sum_by
from multitudes.measure.variance.two_way import two_way_estimate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

JOINT = "all attributes together"
PERSON_CODE = 0.5  # with more categories than this share of the personas, attributes nearly name the person
MAX_MISSING = 0.10  # missing cells that pairwise covariances bear
_RANK = 1e-9  # eigenvalues below this share of the largest are linear dependence
_DETERMINED = 1e-6  # 1 - leverage below this is a direction that only the deleted rows determine
_NOTHING = 1e-10  # relative sums of squares below this are rounding


class Explained(NamedTuple):
    """Share of the within-item variance of answers that an attribute explains.

    Attributes:
        share: R²_demo, at most 1, null ``chance``; two-way jackknife interval. None where ``note`` says why.
        chance: About the share if the same values were dealt to these personas at random; None likewise.
        categories: Different values, or combinations of values, among the personas.
        q: Rank of their dummies within items.
        note: Why there is no share, or that categories nearly name the person.
    """

    share: Estimate | None
    chance: float | None
    categories: int
    q: int
    note: str


class _Fit(NamedTuple):
    """Least squares within items: residuals, an orthonormal basis of the centred dummies, what is left over."""

    residual: FloatArray  # (n,)
    basis: FloatArray  # (n, q)
    square: float
    freedom: int


def demographic_shares(
    y: ArrayLike,
    persona: ArrayLike,
    item: ArrayLike,
    attributes: Mapping[str, ArrayLike],
    *,
    level: float = 0.95,
) -> dict[str, Explained]:
    """R²_demo of each attribute, and of all together.

    Together means crossed: one dummy per combination of values that occurs, so that interactions count. With many
    attributes the combinations come close to naming the person, and the note says so.

    Args:
        y: (n,) numeric answers; NaN is unscored and left out.
        persona: (n,) persona labels.
        item: (n,) item labels.
        attributes: Name to (n,) values, the same in all answers of a persona. A value that is not known is a value
            of its own.
        level: Confidence level.

    Returns:
        One entry per attribute, and ``JOINT`` if there are at least two.

    Raises:
        GaugeError: On lengths that differ, infinite answers, or an attribute that changes within a persona.
        TooFewPersonasError: On fewer than two personas.

    The jackknife deletes rows from the one fit by their leverages, exactly, instead of fitting again.
    """
    values = check_shape("y", y, "n")
    check_same_length(y=values, persona=np.asarray(persona), item=np.asarray(item))
    if np.isinf(values).any():
        raise NotFiniteError("'y' holds an infinite value", where="y", expected="numbers, or NaN for unscored")
    if not attributes:
        raise GaugeError("no attributes", where="attributes", found="an empty mapping")
    scored = ~np.isnan(values)
    personas, p = np.unique(np.asarray(persona)[scored], return_inverse=True)
    _, i = np.unique(np.asarray(item)[scored], return_inverse=True)
    if len(personas) < 2:
        raise TooFewPersonasError("demographics need two personas", found=str(len(personas)))
    codes = {name: _code(name, a, scored, p, len(values)) for name, a in attributes.items()}
    if len(codes) > 1:
        _, crossed = np.unique(np.stack(list(codes.values()), axis=1), axis=0, return_inverse=True)
        codes[JOINT] = crossed.reshape(-1)
    left_out = int((~scored).sum())
    return {name: _explained(values[scored], p, i, code, left_out, level) for name, code in codes.items()}


def first_component_share(means: ArrayLike, *, level: float = 0.95, interval: bool = True) -> Estimate:
    """Share of the variance between personas that lies along one line: λ_1/Σλ of the item x item covariance.

    Items keep their own scale. Higher is more constrained; with nothing shared it is still well above 1/I, more so
    for few personas, so compare with as many people on the same items. Missing cells: covariances from the personas
    who answered both items, up to 10 % missing; nothing is filled in.

    Args:
        means: (P, I) mean answer of each persona to each item; NaN is missing.
        level: Confidence level.
        interval: False to leave the interval out, which takes nearly all of the time.

    Returns:
        The share in (0, 1], up to rounding (pairwise covariances can exceed 1 a little), with its two-way jackknife
        interval; ``unscored`` counts missing cells.

    Raises:
        TooFewPersonasError, TooFewItemsError: On fewer than three personas or two items.
        NotFiniteError: On infinite values.
        GaugeError: If more than 10 % is missing, two items share fewer than two personas, or nothing varies.

    >>> round(first_component_share([[1, 2, 3], [2, 3, 4], [4, 5, 6]]).value, 6)
    1.0
    """
    table = check_shape("means", means, "P I")
    if np.isinf(table).any():
        raise NotFiniteError("'means' holds an infinite value", where="means", expected="numbers, or NaN for missing")
    if table.shape[0] < 3:
        raise TooFewPersonasError("a component of personas needs three of them", found=str(table.shape[0]))
    if table.shape[1] < 2:
        raise TooFewItemsError("a component needs two items", found=str(table.shape[1]))
    missing = np.isnan(table)
    if missing.mean() > MAX_MISSING:
        raise GaugeError(
            "too many answers are missing for a component",
            where="means",
            found=f"{missing.mean():.0%} missing",
            expected=f"at most {MAX_MISSING:.0%}",
            hint="keep the personas and items that were asked in full",
        )
    value = _first_share(table)
    if np.isnan(value):
        raise GaugeError("no component: nothing varies, or two items share fewer than two personas", where="means")
    if not interval:
        return Estimate(value, None, None, table.shape[0], int(missing.sum()), "no interval was asked for")
    without_persona = [_first_share(np.delete(table, k, axis=0)) for k in range(table.shape[0])]
    without_item = [_first_share(np.delete(table, k, axis=1)) for k in range(table.shape[1])]
    found = two_way_estimate(value, without_persona, without_item, level=level)
    return found._replace(unscored=int(missing.sum()))


def _first_share(table: FloatArray) -> float:
    there = ~np.isnan(table)
    scale = float(np.nanmax(np.abs(table))) ** 2
    if there.all():  # the same eigenvalues from whichever side is shorter
        a = table - table.mean(axis=0)
        gram = a @ a.T if len(a) < a.shape[1] else a.T @ a
        total = float(np.trace(gram))
        return float(np.linalg.eigvalsh(gram)[-1] / total) if total > 1e-24 * scale * len(a) else float("nan")
    a, n = np.where(there, table, 0.0), there.astype(np.float64)
    both = n.T @ n
    if both.min() < 2:
        return float("nan")
    a = np.where(there, a - a.sum(axis=0) / n.sum(axis=0), 0.0)
    covariance = (a.T @ a - (a.T @ n) * (n.T @ a) / both) / (both - 1)
    total = float(np.trace(covariance))
    return float(np.linalg.eigvalsh(covariance)[-1] / total) if total > 1e-24 * scale else float("nan")


def _code(name: str, values: ArrayLike, scored: NDArray[np.bool_], persona: IntArray, n: int) -> IntArray:
    """Category codes of the scored answers, checked to be constant within personas."""
    given = np.asarray(values, dtype=object)
    if given.shape != (n,):
        raise GaugeError("an attribute has the wrong shape", where=name, found=str(given.shape), expected=f"({n},)")
    _, code = np.unique([repr(v) for v in given[scored].tolist()], return_inverse=True)
    pairs = np.unique(np.stack([persona, code], axis=1), axis=0)
    changed = np.flatnonzero(np.bincount(pairs[:, 0]) > 1)
    if len(changed):
        raise GaugeError(
            "an attribute changes within a persona",
            where=name,
            found=f"{len(changed)} personas with several values",
            expected="one value per persona",
        )
    return np.asarray(code, dtype=np.int64)


def _explained(y: FloatArray, p: IntArray, i: IntArray, code: IntArray, left_out: int, level: float) -> Explained:
    categories, personas, items = int(code.max()) + 1, int(p.max()) + 1, int(i.max()) + 1
    null = _fit(y, i, np.empty((len(y), 0)))
    if null.square <= 1e-20 * float((y**2).sum()) + 1e-300:
        return Explained(None, None, categories, 0, "no variance: all answers to an item are equal")
    full = _fit(y, i, np.eye(categories)[code])
    q = full.basis.shape[1]
    if q == 0 or full.freedom <= 0:
        return Explained(None, None, categories, q, "no item was answered by personas who differ in it" if q == 0 else
                         f"{items} items and {q} dummies leave nothing of {len(y)} answers")  # fmt: skip
    n_item = np.bincount(i).astype(np.float64)
    dropped = [_adjusted(*(_without_each(fit, facet, i, n_item) for fit in (full, null))) for facet in (p, i)]
    value = float(_adjusted((np.array([full.square]), np.array([full.freedom])),
                            (np.array([null.square]), np.array([null.freedom])))[0])  # fmt: skip
    note = f"{categories} categories for {personas} personas: nearly a name for each"
    return Explained(
        two_way_estimate(value, *dropped, level=level)._replace(unscored=left_out),
        _chance(null, q, p, i),
        categories,
        q,
        note if categories > PERSON_CODE * personas else "",
    )


def _fit(y: FloatArray, item: IntArray, dummies: FloatArray) -> _Fit:
    n = np.bincount(item)
    residual = y - (sum_by(item, y) / n)[item]
    basis = np.empty((len(y), 0))
    if dummies.shape[1]:
        means = np.stack([sum_by(item, d) / n for d in dummies.T], axis=1)
        centred = dummies - means[item]
        power, axes = np.linalg.eigh(centred.T @ centred)
        kept = power > _RANK * max(power[-1], 1.0)
        basis = centred @ (axes[:, kept] / np.sqrt(power[kept]))
        residual = residual - basis @ (basis.T @ residual)
    return _Fit(residual, basis, float(residual @ residual), len(y) - len(n) - basis.shape[1])


def _without_each(fit: _Fit, facet: IntArray, item: IntArray, n_item: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Residual sum of squares and degrees of freedom without each persona or item, (G,) each.

    Deleting rows b lowers the sum by e_b'(I - H_bb)⁻¹ e_b, H the hat matrix of item means and dummies. A direction
    of leverage 1 is one that only these rows determine: its residual is 0, and the rank of the rest falls by one.
    """
    order = np.argsort(facet, kind="stable")
    square, freedom = [], []
    for rows in np.split(order, np.cumsum(np.bincount(facet))[:-1]):
        same = item[rows][:, None] == item[rows][None]
        hat = same / n_item[item[rows]][:, None] + fit.basis[rows] @ fit.basis[rows].T
        power, axes = np.linalg.eigh(np.eye(len(rows)) - hat)
        free = power > _DETERMINED
        part = axes.T @ fit.residual[rows]
        square.append(fit.square - float((part[free] ** 2 / power[free]).sum()))
        freedom.append(fit.freedom - int(free.sum()))
    return np.array(square), np.array(freedom, dtype=np.float64)


def _chance(null: _Fit, q: int, persona: IntArray, item: IntArray) -> float:
    """R²_demo of q random ones of the r directions that tell personas apart: q/r of their sum of squares."""
    n_item, n_persona = np.bincount(item).astype(np.float64), np.bincount(persona).astype(np.float64)
    asked = coo_matrix((np.ones(len(item)), (persona, item)), shape=(len(n_persona), len(n_item))).tocsr()
    power, axes = np.linalg.eigh(np.diag(n_persona) - (asked.multiply(1 / n_item) @ asked.T).toarray())
    kept = power > _RANK * power[-1]
    part = axes.T @ sum_by(persona, null.residual)
    persons = float((part[kept] ** 2 / power[kept]).sum())
    left = (null.square - q / int(kept.sum()) * persons) / (null.freedom - q)
    return 1 - left / (null.square / null.freedom)


def _adjusted(full: tuple[FloatArray, FloatArray], null: tuple[FloatArray, FloatArray]) -> FloatArray:
    """1 - (SS_res/df_res)/(SS_within/df_within); NaN where nothing is left."""
    (res, df_res), (within, df_within) = full, null
    usable = (df_res > 0) & (df_within > 0) & (within > _NOTHING * max(float(within.max(initial=0)), 1e-300))
    out = np.full(len(res), np.nan)
    top = np.divide(res, df_res, out=out.copy(), where=usable)
    bottom = np.divide(within, df_within, out=out.copy(), where=usable)
    return np.asarray(1 - np.divide(top, bottom, out=out, where=usable))
