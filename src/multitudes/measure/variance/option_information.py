"""The exact form: persona information from option probabilities, where no answer is drawn and no run noise enters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from multitudes.core.checks import check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import OptionMassError, TooFewPersonasError
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.two_way import two_way_estimate

FloatArray = NDArray[np.float64]

MASS_WARNING = 0.10  # lost probability that is worth a word
MASS_ERROR = 0.50  # lost probability above which the options are not what the model answers
_NOTHING = 1e-12


class OptionInformation(NamedTuple):
    """Persona information in option probabilities.

    Attributes:
        pir: PIR in [0, 1] of this panel, personas weighted equally; null 0. None where ``note`` says why.
        kappa: κ_P = 1 - d_within/d_between, at most 1, null 0; None likewise.
        d_within: Chance that two runs of one persona differ on an item.
        d_between: Chance that runs of two personas differ on an item; None if no item has two personas.
        information: Mean I(P;A|q) over items, bits.
        lost_mass: Mean share of the probability that lay outside the options.
        items: Items with at least two personas: those that count in ``pir``.
        unscored: Cells without probabilities.
        note: Flags, ``OptionMassWarning`` among them, and why a value is None.
    """

    pir: Estimate | None
    kappa: Estimate | None
    d_within: float
    d_between: float | None
    information: float
    lost_mass: float
    items: int
    unscored: int
    note: str


def renormalised(mass: ArrayLike) -> tuple[FloatArray, float, str]:
    """Probabilities over the options alone, the mean mass that was lost, and a warning about it or "".

    Args:
        mass: (P, I, K) probability of each option as the model gave it, summed over its tokens or spellings and
            averaged over option orders; NaN in every option of a cell is unscored.

    Raises:
        OptionMassError: If more than half of the probability is lost on average, or all of it in a cell.
        GaugeError: On a negative number, a sum above 1, or a cell that is NaN in part.
    """
    given = check_shape("mass", mass, "P I K")
    missing = np.isnan(given)
    total = given.sum(axis=2)
    scored = ~missing.all(axis=2)
    if (missing.any(axis=2) & scored).any():
        raise GaugeError("a cell of 'mass' is NaN in part", where="mass", expected="all options of a cell, or none")
    if (given < 0).any() or (total > 1 + 1e-6).any():
        raise GaugeError("'mass' holds no probabilities", where="mass", expected="numbers >= 0 with sums <= 1")
    if not scored.any():
        raise GaugeError("'mass' holds no scored cell", where="mass")
    kept = total[scored]
    lost = max(0.0, float(1 - kept.mean()))
    if lost > MASS_ERROR or (kept <= 0).any():
        raise OptionMassError(
            "the model does not answer with the options offered",
            where="mass",
            found=f"{lost:.0%} of the probability lies elsewhere, all of it in {int((kept <= 0).sum())} cells",
            expected=f"at most {MASS_ERROR:.0%}",
            hint="sum over all spellings of an option's letter, or score the whole text of each option",
        )
    empty = float((kept < 1 - MASS_ERROR).mean())
    warning = ""
    if lost > MASS_WARNING or empty > 0:
        warning = (
            f"OptionMassWarning: {lost:.0%} of the probability lies outside the options, "
            f"more than half of it in {empty:.0%} of the cells"
        )
    return given / total[..., None], lost, warning


def option_information(mass: ArrayLike, *, level: float = 0.95) -> OptionInformation:
    """PIR and κ_P from option probabilities, with two-way jackknife intervals.

    D_w = mean(1 - ‖p_pi‖²) over cells, D_b = mean(1 - p_pi·p_p'i) over pairs of personas on an item;
    PIR = Σ_q (H(mean_p p_pq) - mean_p H(p_pq)) / Σ_q H(mean_p p_pq). PIR describes these personas; that of
    few falls short of that of the population they come from, because their mean lies among them.

    Args:
        mass: (P, I, K) option probabilities, renormalised here; see ``renormalised``. Average at least
            two option orders before.
        level: Confidence level.

    Raises:
        OptionMassError: If more than half of the probability is lost.
        TooFewPersonasError: On fewer than two personas.
        GaugeError: On an array that holds no probabilities.
    """
    prob, lost, warning = renormalised(mass)
    scored = ~np.isnan(prob[..., 0])
    prob, scored = prob[scored.any(axis=1)][:, scored.any(axis=0)], scored[scored.any(axis=1)][:, scored.any(axis=0)]
    if len(prob) < 2:
        raise TooFewPersonasError("persona information needs two personas with answers", found=str(len(prob)))
    prob = np.where(scored[..., None], prob, 0.0)
    there = scored.astype(np.float64)  # (P, I)
    n, total = there.sum(axis=0), prob.sum(axis=0)  # (I,), (I, K)
    own = np.asarray(entr(prob)).sum(axis=2) / np.log(2)  # (P, I) bits
    whole = _bits(n, total, own.sum(axis=0))
    less = _bits(n - there, total - prob, own.sum(axis=0) - own)
    pir = _estimate(
        _ratio(*(x.sum() for x in whole)),
        _ratio(*(x.sum(axis=1) for x in less)),
        _ratio(*(x.sum() - x for x in whole)),
        level,
    )
    equal = (prob**2).sum(axis=2)
    differ = there - equal  # 1 - ‖p‖², (P, I)
    met = there * (n - 1)
    apart = met - ((prob * total).sum(axis=2) - equal)  # Σ over the others of 1 - p·p'
    kappa = _estimate(
        _gini(differ.sum(), there.sum(), apart.sum(), met.sum()),
        _gini(*(x.sum() - k * x.sum(axis=1) for k, x in ((1, differ), (1, there), (2, apart), (2, met)))),
        _gini(*(x.sum() - x.sum(axis=0) for x in (differ, there, apart, met))),
        level,
    )
    told = n >= 2
    reasons = [
        warning,
        "" if told.any() else "no item was answered by two personas",
        "no variance: every persona gives every item one and the same option" if told.any() and pir is None else "",
    ]
    return OptionInformation(
        pir=pir,
        kappa=kappa,
        d_within=float(differ.sum() / there.sum()),
        d_between=float(apart.sum() / met.sum()) if met.sum() else None,
        information=float(whole[0][told].mean()) if told.any() else 0.0,
        lost_mass=lost,
        items=int(told.sum()),
        unscored=int((~scored).sum()),
        note="; ".join(r for r in reasons if r),
    )


def expected_identical_share(mass: ArrayLike, runs: int) -> float:
    """Share of cells in which ``runs`` independent answers are expected to be all equal: mean Σ_k p_k^runs.

    Args:
        mass: (P, I, K) option probabilities at the temperature of the runs.
        runs: Answers per cell, at least 2.

    >>> expected_identical_share([[[0.5, 0.5]], [[1.0, 0.0]]], 2)
    0.75
    """
    if runs < 2:
        raise GaugeError("identical runs need two of them", where="runs", found=repr(runs), expected="at least 2")
    prob, _, _ = renormalised(mass)
    return float(np.nanmean(np.where(np.isnan(prob[..., 0]), np.nan, (prob**runs).sum(axis=2))))


def _bits(n: FloatArray, total: FloatArray, own: FloatArray) -> tuple[FloatArray, FloatArray]:
    """I and H of each item in bits; 0 with fewer than two personas."""
    mean = np.clip(total, 0.0, None) / np.maximum(n, 1)[..., None]
    entropy = np.asarray(entr(mean)).sum(axis=-1) / np.log(2)
    told = n >= 2
    return np.where(told, np.maximum(entropy - own / np.maximum(n, 1), 0.0), 0.0), np.where(told, entropy, 0.0)


def _ratio(top: ArrayLike, bottom: ArrayLike) -> FloatArray:
    t, b = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    return np.asarray(np.divide(t, b, out=np.full(b.shape, np.nan), where=b > _NOTHING))


def _gini(differ: ArrayLike, cells: ArrayLike, apart: ArrayLike, met: ArrayLike) -> FloatArray:
    return 1 - _ratio(_ratio(differ, cells), _ratio(apart, met))


def _estimate(
    value: FloatArray, without_persona: FloatArray, without_item: FloatArray, level: float
) -> Estimate | None:
    number = float(value)
    return None if np.isnan(number) else two_way_estimate(number, without_persona, without_item, level=level)
