"""How much of an arm's answers tells who gave them, as scores, and the permutation p of there being anything."""

from __future__ import annotations

from typing import Any

import numpy as np

from multitudes.core.records import Score
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.answers import ArmAnswers
from multitudes.measure.variance.information import Counted, count_answers, counted_information
from multitudes.measure.variance.option_information import MASS_ERROR, MASS_WARNING, option_information
from multitudes.measure.variance.permanova import Units, permutation_p

GAUGE = "variance"
TWO_WAY = "personas and items, two-way delete-one jackknife V_p + V_i, Satterthwaite t; conservative"


def signal_scores(ours: ArmAnswers, *, seed: int, draws: int) -> tuple[list[Score], float | None]:
    """κ_P and persona information of answers with options, and the permutation p; None where there is no test.

    Refused answers are an option of their own here: who refuses what may be the persona as well.
    """
    if ours.probs is None:
        p = signal_p(ours, seed=seed, draws=draws)
        return ([] if p is None else [_p_signal(p, "SS_A", draws)]), p
    if ours.exact:
        scores = _exact(ours)
        return scores, None
    found = _counted(ours, seed=seed, draws=draws)
    refused = int(ours.refused.sum())
    notes = [found.note, f"{refused} refused answers are an option of their own" if refused else ""]
    scores = _shares(found.pir, found.kappa, "counts, chance removed", "; ".join(n for n in notes if n))
    return scores if found.p is None else [*scores, _p_signal(found.p, "ΣI", draws)], found.p


def signal_p(ours: ArmAnswers, *, seed: int, draws: int) -> float | None:
    """Permutation p of persona signal within items; None where nobody was asked twice, and for exact answers."""
    if ours.exact:
        return None
    return _permuted(ours, seed=seed, draws=draws) if ours.probs is None else _counted(ours, seed=seed, draws=draws).p


def _counted(ours: ArmAnswers, *, seed: int, draws: int) -> Counted:
    assert ours.probs is not None
    there = np.asarray(~np.isnan(ours.probs).any(axis=1))
    said = np.full(len(there), ours.probs.shape[1])
    said[there] = ours.probs[there].argmax(axis=1)
    rows = there | ours.refused
    return counted_information(
        count_answers(said[rows], ours.persona[rows], ours.item[rows]).n, seed=seed, draws=draws
    )


def _exact(ours: ArmAnswers) -> list[Score]:
    assert ours.probs is not None
    scored = ~np.isnan(ours.probs).any(axis=1)
    people, p = np.unique(ours.persona, return_inverse=True)
    items, i = np.unique(ours.item, return_inverse=True)
    mass = np.full((len(people), len(items), ours.probs.shape[1]), np.nan)
    mass[p[scored], i[scored]] = ours.probs[scored]
    exact = option_information(mass)
    return [*_shares(exact.pir, exact.kappa, "exact", exact.note), *_mass(ours)]


def _mass(ours: ArmAnswers) -> list[Score]:
    """How much of the model's probability lies on the options that it was offered."""
    if ours.mass is None or np.isnan(ours.mass).all():
        return []
    kept = ours.mass[~np.isnan(ours.mass)]
    lost = 1 - float(kept.mean())
    warning = ""
    if lost > MASS_WARNING:
        warning = f"OptionMassWarning: {100 * lost:.3g}% of the probability lies outside the options"
    if lost > MASS_ERROR:
        warning += "; shares are of what little is left, not of what the model would answer"
    return [
        Score(gauge=GAUGE, name="option_mass", value=1 - lost, n=len(kept), direction="higher", unit="share",
              estimator="mean probability that the model gives to the options at all", note=warning)
    ]  # fmt: skip


def _shares(pir: Estimate | None, kappa: Estimate | None, form: str, note: str) -> list[Score]:
    return [
        _score("kappa", kappa, "1 - ΣD_w/ΣD_b: persona share of answers that differ, options unordered", note),
        _score("pir", pir, f"Σ I(persona; answer) / Σ H(answer) over items, {form}", note),
    ]


def _p_signal(p: float, statistic: str, draws: int) -> Score:
    how = f"(1+#)/(1+{draws}), # permutations of runs over personas within items whose {statistic} is as large"
    return Score(gauge=GAUGE, name="p_signal", value=p, estimator=how, direction="lower", unit="p-value")


def _permuted(ours: ArmAnswers, *, seed: int, draws: int) -> float | None:
    """Permutation p of persona signal in plain numbers; None where nobody was asked twice."""
    scored = ours.scored
    _, item = np.unique(ours.item[scored], return_inverse=True)
    _, cell = np.unique(
        np.stack([item, np.unique(ours.persona[scored], return_inverse=True)[1]]), axis=1, return_inverse=True
    )
    if len(item) == cell.max() + 1:
        return None
    y = ours.score[scored]
    centred = y - (np.bincount(item, y) / np.bincount(item))[item]
    return permutation_p(Units(centred[:, None], np.ones(len(y)), item, cell.reshape(-1)), draws=draws, seed=seed)


def _score(name: str, found: Estimate | None, how: str, note: str) -> Score:
    number: dict[str, Any] = {"value": None}
    if found is not None:
        number = {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    return Score(
        gauge=GAUGE, name=name, estimator=how, interval=TWO_WAY if number.get("low") is not None else "",
        direction="higher", null=0.0, unit="share", note=note or (found.note if found else ""), **number,
    )  # fmt: skip
