"""Does what the user says predict where the model goes next? Ridge from message embeddings, judged on new personas.

The target is z of the turn that answers the message. R² is out of sample: folds keep personas whole. The published
values (.53 to .77 for z, .10 for its change, 15,000 turns) are in-sample, so a lower number here is no contradiction;
the in-sample value stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.core.seeds import derive_rng, derive_seed
from multitudes.measure.errors import (
    DuplicateKeyError,
    NotFiniteError,
    TooFewGroups,
    ZeroVarianceError,
    ZeroVectorError,
)
from multitudes.measure.ridge import OutOfFold, in_sample_ridge, nested_ridge
from multitudes.measure.stats import (
    DRAWS,
    MIN_CLUSTERS,
    Estimate,
    few_clusters,
    percentile_limits,
    resampled_sums,
    sum_by,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MIN_PERSONAS = 5  # one for each outer fold
MIN_TURNS = 100
SHUFFLES = 200


class DriftPrediction(NamedTuple):
    """R²_out = 1 - Σ(y-ŷ)²/Σ(y-ȳ_train)², held-out personas; range (-∞, 1], null <= 0 (slightly negative).

    Attributes:
        r2_out: Of z from the message; the interval resamples personas and keeps the fitted predictions.
        r2_in_sample: The same regression on the rows it was fitted to, against their own mean; not below 0.
        r2_change: R²_out of z minus the z of the turn before, over turns that have one; None if too few have.
        r2_domain: R²_out of a baseline that knows the domain only; None without two domains.
        r2_history: R²_out of a baseline that knows the previous z and the turn number.
        r2_within: By domain, R²_out of the same held-out predictions against the training mean of that domain; NaN
            where the training rows lack the domain.
        p: Permutation p-value of ``r2_out`` under shuffles of whole conversations, (1 + hits)/(1 + shuffles). Its
            null says that conversations are exchangeable. Where personas differ both in z and in how they write, it
            is below .05 in .07 to .15 of null data sets (own simulations, 10 and 20 personas): then the interval,
            which is conservative there, decides.
        exchangeable: Share of conversations that a shuffle can move: those that share their scored turns with
            another. Below 1 the p-value is conservative.
        predicted: (n,) held-out z; NaN where the turn is unscored.
        alphas: (folds,) penalty chosen in each.
        n_turns: Scored turns.
        n_personas: Personas.
        n_conversations: Conversations.
        unscored: Turns left out.
    """

    r2_out: Estimate
    r2_in_sample: float
    r2_change: Estimate | None
    r2_domain: float | None
    r2_history: float
    r2_within: Mapping[str, float]
    p: float
    exchangeable: float
    predicted: FloatArray
    alphas: FloatArray
    n_turns: int
    n_personas: int
    n_conversations: int
    unscored: int


class _Rows(NamedTuple):
    """Scored turns, groups coded as integers."""

    y: FloatArray
    x: FloatArray
    turn: FloatArray
    persona: IntArray
    conversation: IntArray
    domain: IntArray | None


def r2(y: FloatArray, predicted: FloatArray, baseline: FloatArray) -> FloatArray:
    """1 - Σ(y-ŷ)²/Σ(y-baseline)² over the first axis; NaN where the baseline is perfect."""
    bottom = ((y - baseline) ** 2).sum(axis=0)
    out = np.full(np.shape(bottom), np.nan)
    np.divide(((y - predicted) ** 2).sum(axis=0), bottom, out=out, where=bottom > 0)
    return 1 - out


def predict_drift(
    z: ArrayLike,
    embeddings: ArrayLike,
    *,
    personas: ArrayLike,
    conversations: ArrayLike,
    turns: ArrayLike,
    seed: int,
    domains: ArrayLike | None = None,
    shuffles: int = SHUFFLES,
    draws: int = DRAWS,
) -> DriftPrediction:
    """Predict z of a target turn from the user message before it, on personas that the fit never saw.

    Ridge with 13 penalties from 10^-2 to 10^4; 5 outer folds by persona, inner folds by conversation.

    Args:
        z: (n,) one per target turn; NaN is unscored: left out and counted.
        embeddings: (n, e) of the latest user message before that turn; made unit length here.
        personas: (n,) who spoke to the target.
        conversations: (n,) ids, unique over all personas.
        turns: (n,) turn numbers; the turn before is the one with the number less one.
        seed: Seed of shuffles and draws.
        domains: (n,) labels, or None.
        shuffles: Permutations of whole conversations.
        draws: Bootstrap draws over personas.

    Raises:
        TooFewGroups: Fewer than 5 personas or 100 scored turns.
        ZeroVectorError: An embedding of length 0.
        ZeroVarianceError: All z are equal.
        DuplicateKeyError: A turn of a conversation is there twice.
        GaugeError: Lengths or shapes differ, or a conversation has two personas or two domains.

    Source: Lu et al. 2026, arXiv 2601.10387, section 5 and its appendix; folds by persona, baselines, permutation and
    interval are ours.
    """
    rows, scored, previous = _rows(z, embeddings, personas, conversations, turns, domains)
    shuffled, movable = _shuffled(rows, seed=seed, shuffles=shuffles)
    targets = np.column_stack([rows.y, rows.y[shuffled].T])
    fits = nested_ridge(rows.x, targets, outer=rows.persona, inner=rows.conversation)
    values = r2(targets, fits.predicted, fits.train_mean)
    hits = int((values[1:] >= values[0] - 1e-12).sum())
    fitted = in_sample_ridge(rows.x, targets[:, :1], inner=rows.conversation)
    predicted = np.full(len(scored), np.nan)
    predicted[scored] = fits.predicted[:, 0]
    return DriftPrediction(
        r2_out=_with_interval(rows.y, fits, rows.persona, seed=seed, draws=draws),
        r2_in_sample=float(r2(targets[:, :1], fitted, targets[:, :1].mean(axis=0))[0]),
        r2_change=_change(rows, previous, seed=seed, draws=draws),
        r2_domain=_domain_baseline(rows),
        r2_history=_history_baseline(rows, previous),
        r2_within=_within(rows, fits, domains, scored),
        p=(1 + hits) / (1 + shuffles),
        exchangeable=movable,
        predicted=predicted,
        alphas=fits.alphas[:, 0],
        n_turns=len(rows.y),
        n_personas=len(np.unique(rows.persona)),
        n_conversations=len(np.unique(rows.conversation)),
        unscored=int((~scored).sum()),
    )


def _coded(name: str, labels: ArrayLike, n: int) -> IntArray:
    values = np.asarray(labels)
    if values.shape != (n,):
        raise GaugeError(f"{name!r} has the wrong shape", where=name, found=str(values.shape), expected=f"({n},)")
    return np.asarray(np.unique(values, return_inverse=True)[1], dtype=np.int64)


def _rows(
    z: ArrayLike,
    embeddings: ArrayLike,
    personas: ArrayLike,
    conversations: ArrayLike,
    turns: ArrayLike,
    domains: ArrayLike | None,
) -> tuple[_Rows, NDArray[np.bool_], FloatArray]:
    """Scored rows, which of the given rows they are, and the z of the turn before each (NaN if there is none)."""
    y, x = check_shape("z", z, "n"), check_shape("embeddings", embeddings, "n e")
    turn = check_shape("turns", turns, "n")
    n = check_same_length(z=y, embeddings=x, turns=turn)
    who, talk = _coded("personas", personas, n), _coded("conversations", conversations, n)
    topic = None if domains is None else _coded("domains", domains, n)
    for name, label in (("persona", who), ("domain", topic)):
        pairs = set() if label is None else set(zip(talk.tolist(), label.tolist(), strict=True))
        if len(pairs) > len(set(talk.tolist())):
            raise GaugeError(
                f"a conversation has more than one {name}",
                hint="ids of conversations must be unique over all of them",
            )
    keys = list(zip(talk.tolist(), turn.tolist(), strict=True))
    if len(set(keys)) < n:
        raise DuplicateKeyError("a turn of a conversation is there twice", where="turns")
    scored = ~np.isnan(y)
    kept_personas = len(np.unique(who[scored]))
    if kept_personas < MIN_PERSONAS or scored.sum() < MIN_TURNS:
        raise TooFewGroups(
            "too few personas or turns to predict some from others",
            found=f"{kept_personas} personas, {int(scored.sum())} scored turns",
            expected=f"{MIN_PERSONAS} personas, {MIN_TURNS} scored turns",
            hint="hold more conversations, with more personas",
        )
    if np.ptp(y[scored]) == 0:
        raise ZeroVarianceError("all z are equal: there is nothing to predict", where="z")
    if not (np.isfinite(x[scored]).all() and np.isfinite(y[scored]).all()):
        raise NotFiniteError("an embedding or z is not finite", where="embeddings")
    length = np.linalg.norm(x[scored], axis=1, keepdims=True)
    if (length == 0).any():
        raise ZeroVectorError("an embedding of length 0 has no direction", where="embeddings")
    at = dict(zip(keys, y.tolist(), strict=True))
    before = np.array([at.get((talk_id, number - 1), np.nan) for talk_id, number in keys])
    rows = _Rows(
        y[scored], x[scored] / length, turn[scored], who[scored], talk[scored],
        None if topic is None else topic[scored],
    )  # fmt: skip
    return rows, scored, before[scored]


def _shuffled(rows: _Rows, *, seed: int, shuffles: int) -> tuple[IntArray, float]:
    """(shuffles, n) which row's z each row receives, and the share of conversations that can be moved.

    A conversation receives the whole z of another one with the same scored turns, turn by turn. So what z does over
    turns, and its dependence between turns, stay as they are; only its tie to the messages is cut.
    """
    order = np.lexsort((rows.turn, rows.conversation))
    starts = np.flatnonzero(np.diff(rows.conversation[order], prepend=-1))
    blocks = np.split(order, starts[1:])
    alike: dict[tuple[float, ...], list[IntArray]] = {}
    for block in blocks:
        alike.setdefault(tuple(rows.turn[block].tolist()), []).append(block)
    source = np.empty((shuffles, len(order)), dtype=np.int64)
    rng = derive_rng("drift", "shuffles", seed)
    for same in alike.values():
        places = np.stack(same)  # (members, turns)
        drawn = rng.permuted(np.tile(np.arange(len(same)), (shuffles, 1)), axis=1)
        source[:, places] = places[drawn]
    movable = sum(len(same) for same in alike.values() if len(same) > 1)
    return source, movable / len(blocks)


def _with_interval(y: FloatArray, fits: OutOfFold, persona: IntArray, *, seed: int, draws: int) -> Estimate:
    """R²_out of the first target as a ratio of sums over personas, and its interval over resampled personas."""
    wrong, null = (y - fits.predicted[:, 0]) ** 2, (y - fits.train_mean[:, 0]) ** 2
    code = _coded("personas", persona, len(y))
    sums = np.column_stack([sum_by(code, wrong), sum_by(code, null)])
    g = len(sums)
    value = float(r2(y, fits.predicted[:, 0], fits.train_mean[:, 0]))
    if g < MIN_CLUSTERS:
        return Estimate(value, None, None, g, 0, few_clusters(g))
    drawn = resampled_sums(sums, seed=derive_seed("drift", "personas", seed), draws=draws)
    low, high = percentile_limits(1 - drawn[:, 0] / drawn[:, 1], 0.95, g)
    return Estimate(value, float(low), float(high), g)


def _change(rows: _Rows, previous: FloatArray, *, seed: int, draws: int) -> Estimate | None:
    there = ~np.isnan(previous)
    step = (rows.y - previous)[there]
    if len(np.unique(rows.persona[there])) < MIN_PERSONAS or len(step) < MIN_TURNS or np.ptp(step) == 0:
        return None
    fits = nested_ridge(rows.x[there], step[:, None], outer=rows.persona[there], inner=rows.conversation[there])
    return _with_interval(step, fits, rows.persona[there], seed=seed, draws=draws)


def _baseline(rows: _Rows, x: FloatArray) -> float:
    fits = nested_ridge(x, rows.y[:, None], outer=rows.persona, inner=rows.conversation)
    return float(r2(rows.y[:, None], fits.predicted, fits.train_mean)[0])


def _domain_baseline(rows: _Rows) -> float | None:
    if rows.domain is None or len(np.unique(rows.domain)) < 2:
        return None
    return _baseline(rows, (rows.domain[:, None] == np.unique(rows.domain)).astype(np.float64))


def _history_baseline(rows: _Rows, previous: FloatArray) -> float:
    """Previous z and turn number; a first turn has an indicator in the place of a previous z."""
    there = ~np.isnan(previous)
    return _baseline(rows, np.column_stack([np.where(there, previous, 0.0), there, rows.turn]))


def _within(rows: _Rows, fits: OutOfFold, domains: ArrayLike | None, scored: NDArray[np.bool_]) -> dict[str, float]:
    """Held-out predictions against the mean of the same domain in the training rows of each row's fold."""
    if domains is None or rows.domain is None:
        return {}
    labels = np.asarray(domains)[scored]
    found = {}
    for name in np.unique(labels):
        mine = labels == name
        base = np.full(len(rows.y), np.nan)
        for held in np.unique(fits.fold[mine]):
            train = mine & (fits.fold != held)
            base[mine & (fits.fold == held)] = rows.y[train].mean() if train.any() else np.nan
        found[str(name)] = float(r2(rows.y[mine], fits.predicted[mine, 0], base[mine]))
    return found
