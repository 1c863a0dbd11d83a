"""Coverage, adherence and gain of a population as one reading, so that none of them is seen alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.errors import GaugeError
from multitudes.core.records import Reading, Score
from multitudes.measure import coverage as support
from multitudes.measure import placement_fit as placed
from multitudes.measure.stats import Estimate, bootstrap_mean

FloatArray = NDArray[np.float64]

GAUGE = "coverage"
_JACKKNIFE = "personas, delete-one jackknife, t"
_FISHER = "personas, delete-one jackknife on Fisher's z, t"
_BOOTSTRAP = "personas, expanded percentile bootstrap"

score = partial(Score, gauge=GAUGE)


def _numbers(estimate: Estimate, *notes: str) -> dict[str, Any]:
    """The fields of a Score that an estimate fills; the interval's name goes if there is no interval."""
    note = "; ".join(part for part in (*notes, estimate.note) if part)
    out = {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}
    return {**out, "unscored": estimate.unscored, "note": note}


def coverage_reading(
    z: ArrayLike,
    targets: ArrayLike | None = None,
    *,
    dimension_ids: Sequence[str],
    persona_ids: Sequence[str] | None = None,
    lattice: Sequence[int] | None = None,
    answer_probs: ArrayLike | None = None,
    answer_personas: Sequence[str] | None = None,
    seed: int = 0,
    level: float = 0.95,
) -> Reading:
    """Coverage of a population, and whether its diversity is the one that was planned.

    Args:
        z: (N, K) expressed positions in [0, 1]; NaN where too few items of an axis were scored.
        targets: (N, K) planned positions; None for populations that were placed nowhere.
        dimension_ids: (K,) ids of the axes.
        persona_ids: (N,) ids, for the map; numbers if None.
        lattice: (K,) attainable values per axis for sampled answers, None for exact expectations.
        answer_probs: (n, L) label probabilities of every answer, for the share of extreme answers; optional.
        answer_personas: (n,) persona of each of these answers.
        seed: Seed of the bootstrap of shares.
        level: Confidence level.

    Returns:
        Scores ``coverage``, ``coverage_raw``, ``coverage_of_targets``, ``loss_placement``, ``loss_expression``,
        ``adherence``, ``gain`` (both also per axis as ``adherence.<id>``), ``extremity``, ``corner_mass`` and
        ``cd2``; tables ``persona_map``, ``verdict`` and ``gates``.

    Raises:
        GaugeError: If shapes do not fit each other or a position lies outside [0, 1].
    """
    y = placed.check_positions("z", z)
    n, k = y.shape
    people = list(persona_ids) if persona_ids is not None else [str(i) for i in range(n)]
    if len(dimension_ids) != k or len(people) != n:
        raise GaugeError(
            "ids do not fit the positions",
            found=f"{len(dimension_ids)} dimension ids, {len(people)} persona ids",
            expected=f"{k} and {n}",
        )
    found = support.support_coverage(y, lattice=lattice, level=level)
    fit = placed.fit_placement(targets, y, level=level) if targets is not None else None
    word = placed.verdict(found.coverage.value, fit) if fit is not None else ""
    scores = [*_coverage_scores(found, k, word)]
    if targets is not None and fit is not None:
        scores += _loss_scores(support.split_loss(y, targets, lattice=lattice, level=level), n, found, k)
        scores += _fit_scores(fit, dimension_ids)
    else:
        scores += [score(name=name, value=None, note="no targets were planned") for name in ("adherence", "gain")]
    scores += _shape_scores(y, people, seed=seed, level=level)
    if answer_probs is not None:
        owners = answer_personas if answer_personas is not None else np.arange(len(np.asarray(answer_probs)))
        scores.append(_extremity_score(answer_probs, owners, seed=seed, level=level))
    table = {
        "axes": list(dimension_ids),
        "personas": people,
        "z": _rows(y),
        "t": None if targets is None else _rows(placed.check_positions("targets", targets)),
    }
    gates = None if fit is None else placed.passes_gates(fit)
    return Reading(
        gauge=GAUGE,
        scores=tuple(scores),
        tables={"persona_map": table, "verdict": word, "gates": {"passed": gates}},
    )


def _rows(positions: FloatArray) -> list[list[float | None]]:
    """Plain rows for a figure; None is a gap."""
    return [[None if np.isnan(v) else float(v) for v in row] for row in positions]


def _coverage_scores(found: support.Support, k: int, word: str) -> list[Score]:
    wide = "radius above 1/2, coverage discriminates little" if found.radius > 0.5 else ""
    many = f"more than {support.MAX_AXES} axes, prefer cd2" if k > support.MAX_AXES else ""
    common: dict[str, Any] = {"direction": "higher", "unit": "share"}
    centre = "; null is everybody at the centre"
    how = f"share of {2**support.PROBE_POWER} Sobol probes with a persona within r"
    return [
        score(
            name="coverage",
            **common,
            estimator=f"{how} = {found.radius:.3f}, the .99 quantile for Sobol populations of this size; ideal .99"
            + centre,
            interval=_JACKKNIFE if found.coverage.low is not None else "",
            null=support.collapsed_coverage(found.radius, k),
            **_numbers(found.coverage, word, wide, many),
        ),
        score(
            name="coverage_raw",
            **common,
            value=found.raw,
            n=found.coverage.n,
            unscored=found.coverage.unscored,
            null=support.collapsed_coverage(found.radius_raw, k),
            estimator=f"{how} = {found.radius_raw:.3f}, calibrated to continuous positions" + centre,
        ),
    ]


def _loss_scores(split: support.LossSplit, n: int, found: support.Support, k: int) -> list[Score]:
    loss = split.expression
    return [
        score(
            name="coverage_of_targets",
            value=split.of_targets,
            n=n,
            null=support.collapsed_coverage(found.radius, k),
            unit="share",
            direction="higher",
            estimator="coverage that answers exactly at the targets would have, same radius",
        ),
        score(
            name="loss_placement",
            value=split.placement,
            n=n,
            null=0.0,
            unit="share",
            direction="lower",
            estimator="1 - coverage_of_targets",
        ),
        score(
            name="loss_expression",
            null=0.0,
            unit="share",
            direction="lower",
            estimator="coverage_of_targets - coverage",
            interval=_JACKKNIFE if loss.low is not None else "",
            **_numbers(loss),
        ),
    ]


def _fit_scores(fit: placed.PlacementFit, dimension_ids: Sequence[str]) -> list[Score]:
    reasons = "; ".join(f"{d}: {r}" for d, r in zip(dimension_ids, fit.reasons, strict=True) if r)
    names = ["", *(f".{d}" for d in dimension_ids)]
    notes = [reasons, *fit.reasons]
    scores = []
    for name, estimates, how, interval, null, direction in (
        ("adherence", (fit.r_mean, *fit.r), "correlation of expressed with planned position", _FISHER, 0.0, "higher"),
        ("gain", (fit.gain_mean, *fit.gain), "OLS slope of expressed on planned position; 1 ideal, below is "
         "flattened, above caricature", _JACKKNIFE, 0.0, "target"),
    ):  # fmt: skip
        for suffix, estimate, note in zip(names, estimates, notes, strict=True):
            numbers = {"value": None, "note": note} if estimate is None else _numbers(estimate, note)
            scores.append(
                score(
                    name=name + suffix,
                    unit="correlation" if name == "adherence" else "ratio",
                    direction=direction,
                    null=null,
                    estimator=how if suffix else f"mean over axes of the {how}",
                    interval=interval if estimate is not None and estimate.low is not None else "",
                    **numbers,
                )
            )
    return scores


def _shape_scores(y: FloatArray, people: list[str], *, seed: int, level: float) -> list[Score]:
    corners = bootstrap_mean(placed.in_corner(y), people, seed=seed, level=level)
    cd2, uniform, used = support.centred_discrepancy(y)
    return [
        score(
            name="corner_mass",
            null=0.2 ** y.shape[1],
            unit="share",
            direction="target",
            estimator="share of personas within .1 of an end on every axis; null is that of uniform positions",
            interval=_BOOTSTRAP if corners.low is not None else "",
            **_numbers(corners),
        ),
        score(
            name="cd2",
            value=cd2,
            null=uniform,
            n=used,
            unscored=len(y) - used,
            unit="squared discrepancy",
            direction="lower",
            estimator="centred L2 discrepancy squared; null is the mean for independent uniform positions",
            note="" if cd2 is not None else f"computed for 1 to {support.CD2_MAX_N} complete rows only",
        ),
    ]


def _extremity_score(probs: ArrayLike, owners: ArrayLike, *, seed: int, level: float) -> Score:
    share = bootstrap_mean(placed.extreme_share(probs), owners, seed=seed, weighting="unit", level=level)
    labels = np.asarray(probs).shape[1]
    return score(
        name="extremity",
        null=1 / (labels - 1),
        unit="share",
        direction="target",
        estimator="mean probability of an end category; null is that of uniform positions rounded to the labels",
        interval=_BOOTSTRAP if share.low is not None else "",
        **_numbers(share),
    )
