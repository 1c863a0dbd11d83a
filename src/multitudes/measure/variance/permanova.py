"""Text answers: do personas answer differently, do they stay who they are over items, and is it only length?

Answers are unit vectors x, centred within their item: z = x - x̄_item, so that what is asked plays no part. Then
SS_T = Σ‖z‖² splits into SS_A = Σ n_pi ‖z̄_pi‖² between persona x item cells and SS_W within them. No matrix of
distances is made: SS_T stays the same under every permutation, and a draw needs only sums of vectors over groups.

Two questions, two permutations. *Any persona signal*: runs change persona within their item. *A trait*: whole cells
do. Shuffling single runs for the second question would call every persona x item interaction a trait.

Source: Anderson 2001 (Austral Ecology 26) for F; Anderson 2006 (Biometrics 62) for spread; restricted permutation
after Anderson & ter Braak 2003. The test of spread departs from the source, see ``permanova``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NotFiniteError, NotUnitError, TooFewPersonasError, ZeroVectorError
from multitudes.measure.stats import sum_by
from multitudes.measure.variance.components import pair_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PERMUTATIONS = 999
ALPHA = 0.05  # where a verdict flips
UNIT_TOLERANCE = 1e-3  # what half precision does to a length of 1
_AT_ONCE = 4_000_000  # numbers held in memory at a time
_SAME = 1e-10  # relative difference of statistics that is rounding


class Units(NamedTuple):
    """What is shuffled: sums of vectors that move as one, within strata, over the places of groups.

    Attributes:
        total: (m, k) sum of the vectors of each unit.
        n: (m,) vectors in each unit.
        stratum: (m,) code of the stratum that a unit may not leave.
        group: (m,) code of the group at each unit's place.
    """

    total: FloatArray
    n: FloatArray
    stratum: IntArray
    group: IntArray


class Permanova(NamedTuple):
    """Persona signal in vectors.

    Attributes:
        f: (SS_A/(C-I)) / (SS_W/(N-C)), at least 0, null about 1; None without repeats.
        r2: SS_A/SS_T in [0, 1], biased upwards (null mean about (C-I)/(N-I)): read ``icc_within`` beside it.
        icc_within: 1 - G_e/G_i, at most 1, null 0, unbiased; None without repeats or without two personas on an item.
        p_signal: Test 1, any persona signal: runs permuted within their item.
        p_trait: Test 2, signal that is stable over items: whole cells permuted within their item; None on one item.
        p_spread: Do some personas spread more than others from run to run? Whole cells permuted; None likewise.
        p_signal_length: Test 1 on vectors freed of log length; None if no lengths were given.
        p_trait_length: Test 2 likewise.
        length_confounded: Which of "signal" and "trait" change side of .05 when length is taken out.
        answers: N.
        cells: C.
        personas: P.
        items: I.
        note: "location or spread" where that is all that can be said, and why a value is None.
    """

    f: float | None
    r2: float | None
    icc_within: float | None
    p_signal: float | None
    p_trait: float | None
    p_spread: float | None
    p_signal_length: float | None
    p_trait_length: float | None
    length_confounded: tuple[str, ...]
    answers: int
    cells: int
    personas: int
    items: int
    note: str


class _Design(NamedTuple):
    item: IntArray  # (n,)
    cell: IntArray  # (n,)
    cell_item: IntArray  # (C,)
    cell_persona: IntArray  # (C,)
    cell_n: FloatArray  # (C,)
    items: int
    personas: int


def permanova(
    x: ArrayLike,
    persona: ArrayLike,
    item: ArrayLike,
    *,
    length: ArrayLike | None = None,
    draws: int = PERMUTATIONS,
    seed: int = 0,
) -> Permanova:
    """Tests of persona signal, trait and spread in text embeddings, and whether length alone explains them.

    Each p is (1 + #{drawn ≥ observed}) / (1 + draws).

    Spread: the root mean square distance of a cell's answers to their centroid, with n - 1, centred within item;
    statistic Σ_p ‖mean‖² over each persona's cells asked at least twice. We permute whole cells, not runs: both
    runs of a pair lie equally far from their centroid, so single distances of R = 2 are not exchangeable. A persona
    that is erratic on one item only goes unseen.

    Args:
        x: (n, d) unit vectors, one answer each; NaN rows are unscored and left out.
        persona: (n,) persona labels.
        item: (n,) item labels.
        length: (n,) length of each answer in any unit, above 0; log length is regressed out within items.
        draws: Permutations per test.
        seed: Seed of the permutations.

    Raises:
        NotUnitError, ZeroVectorError, NotFiniteError: On vectors that are no directions.
        TooFewPersonasError: On fewer than two personas.
        GaugeError: On shapes that differ or lengths that are not above 0.
    """
    vectors, who, what, log_length = _checked(x, persona, item, length)
    design = _design(who, what)
    z = _centred(vectors, design.item, design.items)
    total = float((z**2).sum())
    n, c = len(z), len(design.cell_n)
    empty = Permanova(None, None, None, None, None, None, None, None, (), n, c, design.personas, design.items, "")
    if total <= 1e-12 * n:
        return empty._replace(note="no variance: all answers to an item are equal")
    sums = _group_sums(z, design.cell, c)
    signal, trait = _tests(z, design, draws, seed)
    spread = _spread_test(z, sums, design, draws, seed)
    reasons = [
        "" if n > c else "nobody was asked twice: signal and run noise cannot be told apart",
        "" if design.items > 1 else "one item: a trait cannot be told from an answer to this item",
    ]
    if spread is not None and spread < ALPHA and min(p for p in (signal, trait, 1.0) if p is not None) < ALPHA:
        reasons.append("location or spread: personas also differ in how much their runs vary")
    found = empty._replace(p_signal=signal, p_trait=trait, p_spread=spread)
    if n > c:
        between = float(((sums**2).sum(axis=1) / design.cell_n).sum())
        within = max(total - between, 0.0)
        f = (
            (between / (c - design.items)) / (within / (n - c))
            if c > design.items and within > _SAME * total
            else None
        )
        reasons.append("" if f is not None else "no F: runs of a cell are all equal, or no item has two personas")
        found = found._replace(f=f, r2=between / total, icc_within=_icc_within(z, sums, design))
    if log_length is not None:
        found = _without_length(found, z, log_length, design, draws, seed)
        if found.length_confounded:
            reasons.append("length-confounded: " + ", ".join(found.length_confounded))
    return found._replace(note="; ".join(r for r in reasons if r))


def permuted_sums_of_squares(units: Units, orders: IntArray) -> FloatArray:
    """Σ_g ‖Σz‖²/n_g over groups for each order: ``orders[b, j]`` is the unit that takes place j.

    Args:
        units: The design.
        orders: (draws, m) permutations of the units, in blocks that fit in memory.

    Returns:
        (draws,) statistics, one sparse product for all of them.
    """
    place = np.argsort(units.group, kind="stable")  # places of a group side by side: rows of the sparse matrix
    counts = np.bincount(units.group)
    draws, m = orders.shape
    start = np.concatenate([[0], np.cumsum(np.tile(counts, draws))])
    picked = csr_matrix((np.ones(draws * m), orders[:, place].ravel(), start), shape=(draws * len(counts), m))
    square = ((picked @ units.total) ** 2).sum(axis=1)
    size = picked @ units.n
    each = np.divide(square, size, out=np.zeros_like(square), where=size > 0)
    return np.asarray(each.reshape(draws, -1).sum(axis=1))


def orders_within(stratum: IntArray, draws: int, rng: np.random.Generator) -> IntArray:
    """(draws, m) uniform permutations of 0..m-1 in which nobody leaves the stratum; see ``Units``."""
    out = np.empty((draws, len(stratum)), dtype=np.int64)
    by_stratum = np.argsort(stratum, kind="stable")
    for members in np.split(by_stratum, np.cumsum(np.bincount(stratum))[:-1]):
        out[:, members] = rng.permuted(np.tile(members, (draws, 1)), axis=1)
    return out


def permutation_p(units: Units, *, draws: int, seed: int) -> float:
    """Share of permutations within strata whose Σ_g ‖Σz‖²/n_g is at least the observed one; 1 added to both."""
    rng = np.random.default_rng(seed)
    m = len(units.n)
    observed = permuted_sums_of_squares(units, np.arange(m)[None])[0]
    groups = int(units.group.max()) + 1
    step = max(1, _AT_ONCE // max(m, groups * units.total.shape[1]))
    hits = 0
    for start in range(0, draws, step):
        orders = orders_within(units.stratum, min(step, draws - start), rng)
        hits += int((permuted_sums_of_squares(units, orders) >= observed * (1 - _SAME)).sum())
    return (1 + hits) / (1 + draws)


def _checked(
    x: ArrayLike, persona: ArrayLike, item: ArrayLike, length: ArrayLike | None
) -> tuple[FloatArray, NDArray[np.generic], NDArray[np.generic], FloatArray | None]:
    vectors = check_shape("x", x, "n d")
    who, what = np.asarray(persona), np.asarray(item)
    check_same_length(x=vectors, persona=who, item=what)
    if np.isinf(vectors).any():
        raise NotFiniteError("'x' holds an infinite value", where="x", expected="unit vectors, or NaN for unscored")
    scored = ~np.isnan(vectors).any(axis=1)
    norm = np.linalg.norm(vectors, axis=1)
    if (norm[scored] == 0).any():
        raise ZeroVectorError("a vector of length 0 has no direction", where=f"x[{int(np.argmax(norm == 0))}]")
    off = scored & ~(np.abs(norm - 1) <= UNIT_TOLERANCE)
    if off.any():
        at = int(np.argmax(off))
        raise NotUnitError(
            "vectors are not of length 1",
            where=f"x[{at}]",
            found=f"length {norm[at]:.6g}",
            expected=f"1 within {UNIT_TOLERANCE:g}",
            hint="divide each vector by its length",
        )
    if len(np.unique(who[scored])) < 2:
        raise TooFewPersonasError("persona signal needs two personas", found=str(len(np.unique(who[scored]))))
    if length is None:
        return vectors[scored], who[scored], what[scored], None
    long = check_shape("length", length, "n")
    check_same_length(x=vectors, length=long)
    if not (np.isfinite(long[scored]) & (long[scored] > 0)).all():
        raise GaugeError("a length is not above 0", where="length", expected="finite numbers above 0")
    return vectors[scored], who[scored], what[scored], np.log(long[scored])


def _design(persona: NDArray[np.generic], item: NDArray[np.generic]) -> _Design:
    personas, p = np.unique(persona, return_inverse=True)
    items, i = np.unique(item, return_inverse=True)
    cells, cell, counts = np.unique(i * len(personas) + p, return_inverse=True, return_counts=True)
    by_item, by_persona = cells // len(personas), cells % len(personas)
    return _Design(i, cell, by_item, by_persona, counts.astype(np.float64), len(items), len(personas))


def _group_sums(values: FloatArray, code: IntArray, size: int) -> FloatArray:
    """(size, k) sums of the rows of each group."""
    at = csr_matrix((np.ones(len(code)), (code, np.arange(len(code)))), shape=(size, len(code)))
    return np.asarray(at @ values)


def _centred(values: FloatArray, item: IntArray, items: int) -> FloatArray:
    return values - (_group_sums(values, item, items) / np.bincount(item, minlength=items)[:, None])[item]


def _tests(z: FloatArray, design: _Design, draws: int, seed: int) -> tuple[float | None, float | None]:
    """P of Test 1 (needs repeats and two personas on an item) and of Test 2 (needs two items)."""
    n, c = len(z), len(design.cell_n)
    signal = trait = None
    if n > c > design.items:
        signal = permutation_p(Units(z, np.ones(n), design.item, design.cell), draws=draws, seed=seed)
    if design.items > 1 and c > design.items:
        cells = Units(_group_sums(z, design.cell, c), design.cell_n, design.cell_item, design.cell_persona)
        trait = permutation_p(cells, draws=draws, seed=seed)
    return signal, trait


def _spread_test(z: FloatArray, sums: FloatArray, design: _Design, draws: int, seed: int) -> float | None:
    again = design.cell_n > 1
    square = sum_by(design.cell, (z**2).sum(axis=1), len(design.cell_n))[again]
    n = design.cell_n[again]
    spread = np.sqrt(np.maximum(square - (sums[again] ** 2).sum(axis=1) / n, 0.0) / np.maximum(n - 1, 1))
    _, item = np.unique(design.cell_item[again], return_inverse=True)
    _, persona = np.unique(design.cell_persona[again], return_inverse=True)
    items = int(item.max(initial=-1)) + 1
    if items < 2 or len(n) <= items or persona.max() < 1:
        return None
    apart = _centred(spread[:, None], item, items)
    if (apart**2).sum() <= _SAME * max(float((spread**2).sum()), 1e-300):
        return None
    return permutation_p(Units(apart, np.ones(len(n)), item, persona), draws=draws, seed=seed)


def _icc_within(z: FloatArray, sums: FloatArray, design: _Design) -> float | None:
    square = sum_by(design.cell, (z**2).sum(axis=1), len(design.cell_n))
    run, run_pairs = (v.sum() for v in pair_sums(design.cell_n, square, sums))
    n_item = np.bincount(design.item, minlength=design.items).astype(np.float64)
    whole, pairs = (
        v.sum()
        for v in pair_sums(
            n_item,
            sum_by(design.item, (z**2).sum(axis=1), design.items),
            np.zeros((design.items, z.shape[1])),  # centred: an item's sum is 0
        )
    )
    if run_pairs == 0 or pairs == run_pairs or whole - run <= 0:
        return None
    return float(1 - (run / run_pairs) / ((whole - run) / (pairs - run_pairs)))


def _without_length(
    found: Permanova, z: FloatArray, log_length: FloatArray, design: _Design, draws: int, seed: int
) -> Permanova:
    """The two tests on what is left of z after its regression on log length, both centred within item."""
    long = _centred(log_length[:, None], design.item, design.items)
    power = float((long**2).sum())
    rest = z - long @ (long.T @ z) / power if power > 1e-12 * len(z) else z
    if (rest**2).sum() <= _SAME * (z**2).sum():
        p_signal, p_trait = (None if p is None else 1.0 for p in (found.p_signal, found.p_trait))
    else:
        p_signal, p_trait = _tests(rest, design, draws, seed)
    pairs = (("signal", found.p_signal, p_signal), ("trait", found.p_trait, p_trait))
    flipped = tuple(
        name
        for name, raw, freed in pairs
        if raw is not None and freed is not None and (raw < ALPHA) != (freed < ALPHA)
    )
    return found._replace(p_signal_length=p_signal, p_trait_length=p_trait, length_confounded=flipped)
