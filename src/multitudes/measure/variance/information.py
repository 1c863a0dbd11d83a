"""Sampled categorical answers: how much does knowing the persona tell about the answer to an item?

Two scales. Gini: κ_P = 1 - D_w/D_b, where D_w and D_b are the chances that two runs of one persona, or of two
personas, differ on an item; it is ``icc_within`` of one-hot answers. Bits: the persona information ratio
PIR = Σ_q I(P;A|q) / Σ_q H(A|q).

The plug-in I is useless: with nothing to find, 20 personas asked 5 times seem to explain a fifth of the answers. Its
mean under shuffled labels has a closed form, EMI, and Σ(I - EMI)/Σ(H - EMI) puts both ends of the scale right.
A refusal is an answer: give it an option of its own. From option probabilities, see ``option_information``.

Source: EMI from Vinh, Epps & Bailey 2010 (JMLR 11, eq. 24a); the pooled ratio is ours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, xlogy

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import TooFewPersonasError
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.two_way import two_way_estimate

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

PERMUTATIONS = 999
MIN_REPEATED = 30  # fewer repeated cells give a run noise that should not be trusted
_AT_ONCE = 4_000_000  # numbers held in memory at a time
_NOTHING = 1e-9  # bits or shares below this are rounding


class Counts(NamedTuple):
    """Answers counted: ``n`` (I, P, K) by item, persona and option, with the labels in sorted order."""

    n: IntArray
    items: NDArray[Any]
    personas: NDArray[Any]
    options: NDArray[Any]


class Counted(NamedTuple):
    """Persona information in sampled answers.

    Attributes:
        pir: Adjusted PIR, at most 1, 0 if personas do not matter, below 0 by chance; None where ``note`` says why.
        kappa: κ_P, at most 1, null 0; None likewise.
        plug_in: Unadjusted ΣI/ΣH, biased upwards; to show what the correction does, never to report alone.
        information: Σ I - EMI over items, bits.
        p: Permutation p-value of Σ I; None if no item can tell.
        items: Items answered by at least two personas: those that count.
        left_out: Items answered by fewer.
        constant: Items of ``items`` on which all answers are equal; they stay in the sums and add nothing.
        note: Flags, and why a value is None.
    """

    pir: Estimate | None
    kappa: Estimate | None
    plug_in: float | None
    information: float
    p: float | None
    items: int
    left_out: int
    constant: int
    note: str


class _Tables(NamedTuple):
    """Contingency tables of personas by options as sums; all fields share their leading axes."""

    joint: FloatArray  # Σ n_pk log2 n_pk
    rows: FloatArray  # Σ n_p log2 n_p
    columns: IntArray  # (..., K) answers per option
    sizes: IntArray  # (S,) the different n_p > 0 there are, common to all tables
    times: IntArray  # (..., S) personas of each size


def count_answers(answer: ArrayLike, persona: ArrayLike, item: ArrayLike) -> Counts:
    """Labels as counts (I, P, K).

    Args:
        answer: (n,) option labels; a refusal needs a label too.
        persona: (n,) persona labels.
        item: (n,) item labels.

    Raises:
        GaugeError: On lengths that differ or an answer that is None or NaN.

    >>> count_answers(["yes", "no", "yes"], ["a", "a", "b"], ["q", "q", "q"]).n.tolist()
    [[[1, 1], [0, 1]]]
    """
    said = np.asarray(answer, dtype=object)
    check_same_length(answer=said, persona=np.asarray(persona), item=np.asarray(item))
    for at, x in enumerate(said):
        if x is None or x != x:
            raise GaugeError(
                "an answer is missing",
                where=f"answer[{at}]",
                found=repr(x),
                expected="a label",
                hint="give refusals and unreadable answers an option of their own, or leave the rows out",
            )
    coded = [np.unique(np.asarray(x), return_inverse=True) for x in (item, persona, answer)]
    n = np.zeros([len(labels) for labels, _ in coded], dtype=np.int64)
    np.add.at(n, tuple(code for _, code in coded), 1)
    return Counts(n, *(labels for labels, _ in coded))


def expected_information(rows: ArrayLike, columns: ArrayLike) -> FloatArray:
    """EMI: mean plug-in mutual information of tables with these margins when labels are shuffled, in bits.

    Args:
        rows: (B, P) answers per persona; zeros are personas who did not answer.
        columns: (B, K) answers per option, with the same sums.

    Returns:
        (B,) bits; 0 for an empty table. O(B·S·K·max n_p) for S different row sums.

    Raises:
        GaugeError: If margins are negative or do not agree.

    Source: Vinh, Epps & Bailey 2010 (JMLR 11, eq. 24a), for B tables at once.

    >>> round(float(expected_information([[2, 2]], [[2, 2]])[0]), 6)  # 1 bit in 2 of 6 tables, else 0
    0.333333
    """
    a = check_shape("rows", rows, "B P", dtype=np.int64)
    m = check_shape("columns", columns, "B K", dtype=np.int64)
    check_same_length(rows=a, columns=m)
    if (a < 0).any() or (m < 0).any() or (a.sum(axis=1) != m.sum(axis=1)).any():
        raise GaugeError("margins are negative or have different sums", where="rows, columns")
    sizes, times = _row_sizes(a)
    return _expected(sizes, times, m)


def _row_sizes(rows: IntArray) -> tuple[IntArray, IntArray]:
    sizes = np.unique(rows[rows > 0])
    return sizes, np.stack([(rows == s).sum(axis=-1) for s in sizes] or [np.zeros(rows.shape[:-1], int)], axis=-1)


def _expected(sizes: IntArray, times: IntArray, columns: IntArray) -> FloatArray:
    """EMI of tables (...); equal (row sum, column sum, total) are worked out once."""
    total = columns.sum(axis=-1)
    out = np.zeros(total.shape)
    base = np.int64(total.max(initial=0) + 1)
    for s, size in enumerate(sizes):
        keys, where = np.unique(columns * base + total[..., None], return_inverse=True)
        value = _expected_cells(int(size), keys // base, keys % base)
        out += times[..., s] * value[where.reshape(columns.shape)].sum(axis=-1)
    return out


def _expected_cells(a: int, m: IntArray, total: IntArray) -> FloatArray:
    """Σ_x (x/N) log2(Nx/(a m)) Hypergeometric(x; N, a, m) for each (m, N)."""
    out = np.zeros(len(m))
    x = np.arange(1, a + 1)
    step = max(1, _AT_ONCE // a)
    for start in range(0, len(m), step):
        c, n = m[start : start + step, None], total[start : start + step, None]
        there = (x <= c) & (x >= a + c - n) & (a <= n)
        c, n, k = (np.where(there, v, w) for v, w in ((c, a), (n, a), (x, a)))  # harmless numbers elsewhere
        log_ways = _log_choose(c, k) + _log_choose(n - c, a - k) - _log_choose(n, np.full_like(n, a))
        terms = np.exp(log_ways) * (k / n) * np.log2(k * (n / a) / c)
        out[start : start + step] = np.where(there, terms, 0.0).sum(axis=1)
    return out


def _log_choose(n: IntArray, k: IntArray) -> FloatArray:
    return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0), dtype=np.float64)


def _xlogx(x: NDArray[np.generic]) -> FloatArray:
    return np.asarray(xlogy(x, x) / np.log(2), dtype=np.float64)


def _measured(t: _Tables) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Plug-in I, plug-in H and EMI of each table; all 0 where fewer than two personas answered."""
    total = t.columns.sum(axis=-1)
    told = t.times.sum(axis=-1) >= 2
    n = np.maximum(total, 1)
    by_option = _xlogx(t.columns).sum(axis=-1)
    entropy = (_xlogx(total) - by_option) / n
    information = np.maximum((t.joint - t.rows - by_option + _xlogx(total)) / n, 0.0)
    return (
        np.where(told, information, 0.0),
        np.where(told, entropy, 0.0),
        np.where(told, _expected(t.sizes, t.times, t.columns), 0.0),
    )


def _tables(n: IntArray) -> tuple[_Tables, _Tables]:
    """The tables of all items (I,), and those without each persona (I, P)."""
    size = n.sum(axis=-1)
    joint, rows = _xlogx(n).sum(axis=-1), _xlogx(size)
    sizes, times = _row_sizes(size)
    whole = _Tables(joint.sum(axis=1), rows.sum(axis=1), n.sum(axis=1), sizes, times)
    less = _Tables(
        whole.joint[:, None] - joint,
        whole.rows[:, None] - rows,
        whole.columns[:, None] - n,
        sizes,
        times[:, None] - (size[..., None] == sizes),
    )
    return whole, less


def _pairs(n: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Ordered pairs of runs, differing and all, on the last axis.

    Within cells (I, P, 2); across personas per item (I, 2); and across personas with each one in it (I, P, 2).
    """
    c = n.astype(np.float64)
    size, options, total = c.sum(axis=2), c.sum(axis=1), c.sum(axis=(1, 2))
    within = np.stack([size**2 - (c**2).sum(axis=2), size * (size - 1)], axis=-1)
    met = size * (total[:, None] - size)
    equal = (c * (options[:, None] - c)).sum(axis=2)
    part = 2 * np.stack([met - equal, met], axis=-1)
    return within, part.sum(axis=1) / 2, part


def _share(top: FloatArray, bottom: FloatArray) -> FloatArray:
    return np.asarray(
        np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=np.asarray(bottom) > _NOTHING)
    )


def _kappa(within: FloatArray, between: FloatArray) -> FloatArray:
    """1 - D_w/D_b from (differing, all) pairs on the last axis; NaN where there are no pairs or no difference."""
    d_w = _share(within[..., 0], within[..., 1])
    d_b = _share(between[..., 0], between[..., 1])
    return 1 - _share(d_w, d_b)


def _jackknifed(
    ratio: FloatArray, without_persona: FloatArray, without_item: FloatArray, level: float
) -> Estimate | None:
    value = float(ratio)
    return None if np.isnan(value) else two_way_estimate(value, without_persona, without_item, level=level)


def permuted_information(counts: ArrayLike, *, seed: int, draws: int = PERMUTATIONS) -> FloatArray:
    """Σ_q plug-in I in bits, for ``draws`` shuffles of the answers over the personas of each item.

    Args:
        counts: (I, P, K) answers.
        seed: Seed of the shuffles.
        draws: Number of shuffles.
    """
    n = _checked_counts(counts)
    rng = np.random.default_rng(seed)
    k = n.shape[2]
    out = np.zeros(draws)
    for table in n:
        asked = table[table.sum(axis=1) > 0]
        if len(asked) < 2:
            continue
        code = np.repeat(np.arange(asked.size), asked.ravel())
        total, width = len(code), asked.size
        weight = _xlogx(np.arange(total + 1))
        margins = weight[asked.sum(axis=1)].sum() + weight[asked.sum(axis=0)].sum() - weight[total]
        step = max(1, _AT_ONCE // max(width, total))
        for start in range(0, draws, step):
            b = min(step, draws - start)
            option = rng.permuted(np.tile(code % k, (b, 1)), axis=1)
            cell = option + (code - code % k) + width * np.arange(b)[:, None]
            drawn = np.bincount(cell.ravel(), minlength=b * width).reshape(b, width)
            out[start : start + b] += np.maximum(weight[drawn].sum(axis=1) - margins, 0.0) / total
    return out


def _checked_counts(counts: ArrayLike) -> IntArray:
    given = check_shape("counts", counts, "I P K")
    if not np.isfinite(given).all() or (given < 0).any() or (given != np.floor(given)).any():
        raise GaugeError("'counts' are not counts", where="counts", expected="whole numbers, at least 0")
    n = given.astype(np.int64)
    n = n[n.sum(axis=(1, 2)) > 0][:, n.sum(axis=(0, 2)) > 0]
    if n.shape[1] < 2:
        raise TooFewPersonasError("persona information needs two personas with answers", found=str(n.shape[1]))
    return np.asarray(n)


def counted_information(
    counts: ArrayLike, *, seed: int = 0, draws: int = PERMUTATIONS, level: float = 0.95
) -> Counted:
    """Adjusted PIR and κ_P of sampled answers, with two-way jackknife intervals and a within-item permutation test.

    Cells may hold different numbers of runs or none. Pairs are weighted equally in κ_P, items in PIR. Runs must be
    separate calls; check them with ``check_runs`` first.

    Args:
        counts: (I, P, K) answers by item, persona and option; see ``count_answers``.
        seed: Seed of the permutations.
        draws: Permutations; p = (1 + #{ΣI ≥ observed}) / (1 + draws).
        level: Confidence level.

    Raises:
        GaugeError: On counts that are none.
        TooFewPersonasError: On fewer than two personas.
    """
    n = _checked_counts(counts)
    whole, less = _tables(n)
    i, h, e = _measured(whole)
    top, bottom = i - e, h - e
    pi, ph, pe = _measured(less)
    pir = _jackknifed(
        _share(top.sum(), bottom.sum()),
        _share((pi - pe).sum(axis=0), (ph - pe).sum(axis=0)),
        _share(top.sum() - top, bottom.sum() - bottom),
        level,
    )
    within, between, part = _pairs(n)
    w, b = within.sum(axis=(0, 1)), between.sum(axis=0)
    kappa = _jackknifed(
        _kappa(w, b),
        _kappa(w - within.sum(axis=0), b - part.sum(axis=0)),
        _kappa(w - within.sum(axis=1), b - between),
        level,
    )
    told = whole.times.sum(axis=-1) >= 2
    constant = told & ((whole.columns > 0).sum(axis=-1) == 1)
    again = int((n.sum(axis=2) > 1).sum())
    repeated = again > 0
    p = None
    if repeated and (told & ~constant).any():
        observed = i.sum()
        null = permuted_information(n, seed=seed, draws=draws)
        p = float((1 + (null >= observed - _NOTHING).sum()) / (1 + draws))  # equal tables must count as equal
    reasons = [
        "" if repeated else "nobody was asked twice: persona and run noise cannot be told apart",
        f"run noise rests on {again} repeated cells" if 0 < again < MIN_REPEATED else "",
        "" if told.any() else "no item was answered by two personas",
        "no variance: all answers to an item are equal" if told.any() and constant.sum() == told.sum() else "",
    ]
    return Counted(
        pir=pir if repeated else None,
        kappa=kappa,
        plug_in=float(i.sum() / h.sum()) if h.sum() > _NOTHING else None,
        information=float(top.sum()),
        p=p,
        items=int(told.sum()),
        left_out=int((~told).sum()),
        constant=int(constant.sum()),
        note="; ".join(r for r in reasons if r),
    )
