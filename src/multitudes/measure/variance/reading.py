"""Persona signal and run noise of a set of answers as one reading, with people's own noise beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from multitudes.core.records import Reading, Score
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.components import (
    HUMAN_ANCHORS,
    Anchor,
    Cells,
    collect,
    components,
    identical_run_share,
    spreads,
)
from multitudes.measure.variance.intervals import Quantity, interval
from multitudes.measure.variance.missing import cell_weighted_spreads, heaviest_persona, is_uneven

GAUGE = "variance"
MIN_REPEATED = 30  # fewer repeated cells give a run variance that should not be trusted
SAME_RUNS = 0.99  # share of cells with identical runs above which runs are no runs
UNEVEN = 3.0  # one persona holding this many fair shares of the answers dominates the pairs

score = partial(Score, gauge=GAUGE)


def variance_reading(
    y: ArrayLike,
    persona: ArrayLike,
    item: ArrayLike,
    *,
    run: ArrayLike | None = None,
    run_variance: ArrayLike | None = None,
    anchors: Sequence[Anchor] = HUMAN_ANCHORS,
    method: Literal["jackknife", "bootstrap"] = "jackknife",
    seed: int = 0,
    level: float = 0.95,
) -> Reading:
    """How much of the spread of answers is the persona's, and how much is noise between runs.

    Args:
        y: (n,) answers, or (n, d) one-hot or unit vectors; NaN is unscored.
        persona: (n,) persona labels.
        item: (n,) item labels.
        run: (n,) run labels, to refuse doubled answers.
        run_variance: (n,) run variance of each answer's option distribution, in exact form; see ``collect``.
        anchors: Human values to show beside the simulated ones.
        method: Two-way interval.
        seed: Seed of the bootstrap, if that is the method.
        level: Confidence level.

    Returns:
        Scores ``icc_within``, ``rho``, ``tau``, ``sigma2_persona``, ``sigma2_item``, ``sigma2_interaction``,
        ``sigma2_run`` (``sigma2_interaction_and_run`` where nobody was asked twice), and ``icc_within_by_cell`` where
        one persona holds more than three fair shares of the pairs; tables ``bars`` and
        ``components``. Shares are None, with the reason, where all answers are equal or runs are no runs.

    Raises:
        GaugeError: As ``collect``.
    """
    cells = collect(y, persona, item, run=run, run_variance=run_variance)
    whole = spreads(cells)
    exact = cells.within is not None
    repeated = exact or bool((cells.n > 1).any())
    reason = _why_no_share(cells, float(whole.item))
    flags = _flags(cells)
    find = partial(interval, cells, method=method, seed=seed, level=level)
    icc = None if reason or not repeated else find(lambda g: g.icc_within)
    tau = None if float(whole.item) <= 0 else find(lambda g: g.tau)
    resampled = {
        "jackknife": "personas and items, two-way delete-one jackknife V_p + V_i, Satterthwaite t; conservative",
        "bootstrap": "personas and items, two-way percentile bootstrap; conservative",
    }[method]
    once = "" if repeated else "nobody was asked twice: interaction and run noise cannot be told apart"
    scores = [
        _share("icc_within", icc, "(σ²_p + σ²_pi) / (σ²_p + σ²_pi + σ²_e) = 1 - G_e/G_i", resampled, "higher", 0.0,
               [reason, once, flags, "below 0 as estimated" if icc is not None and icc.value < 0 else ""]),
        _share("rho", _rho(icc), "σ²_e / (σ²_p + σ²_pi) = (1 - icc_within)/icc_within, interval from icc_within",
               resampled, "target", math.inf,
               [reason, once, "no persona signal" if icc is not None and icc.value <= 0 else ""]),
        _share("tau", tau, "σ²_p / (σ²_p + σ²_pi + σ²_e) = (G_0 - G_p)/G_i", resampled, "none", 0.0,
               ["no variance: all answers are equal" if tau is None else "", flags]),
    ]  # fmt: skip
    parts = _component_quantities(repeated)
    scores += [
        _share(f"sigma2_{name}", find(quantity), how, resampled, "none", 0.0, [once], unit="squared scale units")
        for name, (quantity, how) in parts.items()
    ]
    if icc is not None and is_uneven(cells):
        scores.append(_by_cell(cells))
    return Reading(
        gauge=GAUGE,
        scores=tuple(scores),
        tables={
            "bars": _bars({"icc_within": icc, "rho": _rho(icc), "tau": tau}, anchors),
            "components": _component_table({name: float(quantity(whole)) for name, (quantity, _) in parts.items()}),
            "design": {
                "personas": len(cells.personas),
                "items": len(cells.items),
                "cells": len(cells.n),
                "answers": int(cells.n.sum()),
                "repeated_cells": int((cells.n > 1).sum()),
                "form": "exact" if exact else "sampled",
            },
        },
    )


def _by_cell(cells: Cells) -> Score:
    """``icc_within`` with every persona and item counted once, however often it was asked."""
    who, share = heaviest_persona(cells)
    value = float(cell_weighted_spreads(cells).icc_within)
    return score(
        name="icc_within_by_cell", value=value, null=0.0, direction="higher", unit="share", n=len(cells.personas),
        estimator="1 - G_e/G_i with pairs averaged within each persona and item first",
        note=f"{str(who)!r} holds {share:.0%} of the pairs behind some part of icc_within; read both",
    )  # fmt: skip


def _component_quantities(repeated: bool) -> dict[str, tuple[Quantity, str]]:
    both: dict[str, tuple[Quantity, str]] = {
        "persona": (lambda g: components(g).persona, "G_0 - G_p"),
        "item": (lambda g: components(g).item, "G_0 - G_i"),
    }
    if not repeated:
        return {**both, "interaction_and_run": (lambda g: components(g).interaction_and_run, "G_p + G_i - G_0")}
    return {
        **both,
        "interaction": (lambda g: components(g).interaction, "G_p + G_i - G_0 - G_e"),
        "run": (lambda g: components(g).run, "G_e"),
    }


def _why_no_share(cells: Cells, within_item: float) -> str:
    if within_item <= 0:
        return "no variance: all answers to an item are equal"
    if cells.within is None and identical_run_share(cells) > SAME_RUNS:
        return "runs are identical in more than 99 % of cells (cache, fixed seed or temperature 0): no run variance"
    return ""


def _flags(cells: Cells) -> str:
    flags = []
    again = int((cells.n > 1).sum())
    if cells.within is None and 0 < again < min(MIN_REPEATED, len(cells.n)):
        flags.append(f"run noise rests on {again} repeated cells")
    heaviest = np.bincount(cells.persona, cells.n).max() / cells.n.sum()
    if heaviest > UNEVEN / len(cells.personas):
        flags.append(f"one persona gave {heaviest:.0%} of the answers")
    return "; ".join(flags)


def _rho(icc: Estimate | None) -> Estimate | None:
    """ρ = (1 - ICC)/ICC falls as ICC rises, so its limits are those of ICC, mapped and swapped; ∞ at no signal."""

    def mapped(share: float) -> float:
        return (1 - share) / share if share > 0 else math.inf

    if icc is None:
        return None
    limits = (None, None) if icc.low is None or icc.high is None else (mapped(min(icc.high, 1.0)), mapped(icc.low))
    return icc._replace(value=mapped(icc.value), low=limits[0], high=limits[1])


def _share(
    name: str,
    estimate: Estimate | None,
    how: str,
    resampled: str,
    direction: Literal["higher", "target", "none"],
    null: float,
    notes: list[str],
    *,
    unit: str = "share",
) -> Score:
    number: dict[str, Any] = {"value": None}
    if estimate is not None:
        notes = [*notes, estimate.note]
        number = {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}
        number["unscored"] = estimate.unscored
    return score(
        name=name,
        estimator=how,
        interval=resampled if number.get("low") is not None else "",
        direction=direction,
        null=null,
        unit="ratio" if name == "rho" else unit,
        note="; ".join(n for n in notes if n),
        **number,
    )


def _bars(found: dict[str, Estimate | None], anchors: Sequence[Anchor]) -> list[dict[str, Any]]:
    """One row per quantity and group: simulated first, people beside it."""
    rows: list[dict[str, Any]] = []
    for name, e in found.items():
        if e is not None:
            rows.append({"quantity": name, "who": "simulated", "value": e.value, "low": e.low, "high": e.high,
                         "source": ""})  # fmt: skip
        rows += [
            {"quantity": name, "who": f"people: {a.label}", "value": a.value, "low": a.low, "high": a.high,
             "source": a.source}
            for a in anchors if a.quantity == name
        ]  # fmt: skip
    return rows


def _component_table(values: dict[str, float]) -> list[dict[str, Any]]:
    """Values as they are, shares with negative ones counted as 0 (and flagged)."""
    total = sum(max(v, 0.0) for v in values.values())
    return [
        {"name": k, "value": v, "share": max(v, 0.0) / total if total > 0 else None, "clipped": v < 0}
        for k, v in values.items()
    ]
