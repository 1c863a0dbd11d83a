"""Numbers beside the triple of an arm: doses, neutral talk, answers without their prior, personas in general."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from multitudes.core.errors import GaugeError
from multitudes.core.seeds import derive_seed
from multitudes.measure.errors import NoRange, TooFewClustersError, TooFewPersonasError
from multitudes.measure.retention.cells import Cells, check_measurable, delta0
from multitudes.measure.retention.compare import auc_difference
from multitudes.measure.retention.curve import area, curve_of
from multitudes.measure.retention.dose import DoseInterval, DoseResponse, dose_interval, dose_response
from multitudes.measure.retention.intervals import MIN_PERSONAS, Resample, interval, resample
from multitudes.measure.retention.statistics import auc_statistic, curve_statistic, difference
from multitudes.simulate.pressure import bank
from multitudes.simulate.probes import BATTERIES
from multitudes.simulate.scripts import FOREIGN, PRESSURES, neutral_of
from multitudes.study.pressure.arms import FEW, number_of
from multitudes.study.pressure.data import Arm, PressureRun, arm_of
from multitudes.study.pressure.levels import Scale
from multitudes.study.pressure.result import Number
from multitudes.study.pressure.spec import PressureSpec

Arms = Mapping[tuple[str, str, str], Arm]
ABSENT = "answers without a history were not scored; going on with the run adds them"
NOT_CROSSED = "personas have base prompts of their own: the two cannot be told apart"


class Samples:
    """Bootstrap draws over base prompts, the same for arms that have the same prompts."""

    def __init__(self, spec: PressureSpec) -> None:
        self.seed = derive_seed(spec.root, "intervals") % (1 << 32)
        self.draws, self.crossed = spec.draws, spec.crossed

    def of(self, *cells: Cells) -> Resample | None:
        """Draws that the arms share; None below eight base prompts."""
        try:
            return resample(cells, seed=self.seed, draws=self.draws)
        except TooFewClustersError:
            return None

    def in_general(self, *cells: Cells) -> Resample | str:
        """Draws of base prompts and, independently, of personas; or why nothing is said about personas in general."""
        if not self.crossed:
            return NOT_CROSSED
        try:
            return resample(cells, seed=self.seed, draws=self.draws, personas=True)
        except TooFewPersonasError as error:
            return f"{error.found} personas, of at least {MIN_PERSONAS}"
        except TooFewClustersError:
            return FEW


def beside(run: PressureRun, arms: Arms, key: tuple[str, str, str], samples: Samples) -> list[Number]:
    """What stands beside the triple of a measurable arm."""
    disposition, pressure, condition = key
    arm = arms[key]
    out = _doses(arms, key, samples)
    if pressure in PRESSURES and neutral_of(pressure) != pressure:
        out.append(_over_neutral(arm, arms.get((disposition, neutral_of(pressure), condition)), samples))
    out += _in_general(arm, arms.get((disposition, pressure, "C3")) if condition != "C3" else None, samples)
    if disposition == run.spec.primary and disposition in BATTERIES:
        scales: tuple[Scale, ...] = ("corrected", "log-odds")
        out += [_on_another_scale(run, key, scale, samples) for scale in scales]
    return out


# --- doses ----------------------------------------------------------------------------------------------------


def _doses(arms: Arms, key: tuple[str, str, str], samples: Samples) -> list[Number]:
    """ED50 where the pressure has a dose: suffixes that pile up turn by turn, or a foreign turn of some length."""
    if key[1] == "P1.stacked":
        return [_suffixes(arms[key], samples)]
    return [_foreign(arms, key, samples)] if key[1] in FOREIGN else []


def _suffixes(arm: Arm, samples: Samples) -> Number:
    """R_t over suffixes: turn t piles up t of them, one of each kind, until all kinds are there."""
    pressed, unit = arm.cells.pressed, "suffixes"
    doses = np.minimum(arm.cells.turns[pressed], len(bank("P1").levels("assistant")))
    whole = curve_statistic(arm.cells)
    sample = samples.of(arm.cells)
    try:
        if sample is None:
            return _dose(dose_response(doses, curve_of(arm.cells)[pressed]), arm, unit)
        return _dose_number(dose_interval(lambda w: whole(w)[:, pressed], doses, sample), unit)
    except GaugeError as error:
        return Number(name="ed50", value=None, unit=unit, reason=error.what)


def _foreign(arms: Arms, key: tuple[str, str, str], samples: Samples) -> Number:
    """AUC_R over tokens: each length of the foreign turn is a pressure of its own, so the curve runs across arms.

    Without a foreign turn (``P6.0``) is a dose of 0, which the curve takes as 1. All lengths bear the same number.
    """
    disposition, _, condition = key
    found = {float(p.partition(".")[2]): arms.get((disposition, p, condition)) for p in FOREIGN}
    cells = {
        dose: arm.cells for dose, arm in found.items() if dose > 0 and arm is not None and _measurable(arm.cells)
    }
    unit, doses = "foreign tokens", list(cells)
    if len(doses) < 2:
        reason = "a dose curve needs two lengths that are measurable"
        return Number(name="ed50", value=None, unit=unit, reason=reason)
    sample = samples.of(*cells.values())
    if sample is None:
        return _dose(
            dose_response(doses, [float(area(curve_of(c), c.pressed)) for c in cells.values()]), arms[key], unit
        )
    areas = [auc_statistic(c) for c in cells.values()]
    return _dose_number(dose_interval(lambda w: np.stack([f(w) for f in areas], axis=1), doses, sample), unit)


def _dose(found: DoseResponse, arm: Arm, unit: str) -> Number:
    n = len(set(arm.cells.clusters.tolist()))
    return Number(name="ed50", value=found.ed50, text=found.text, n=n, unit=unit, reason=FEW)


def _dose_number(found: DoseInterval, unit: str) -> Number:
    value, low, high = (x if x is not None and 0 < x < math.inf else None for x in found.estimate[:3])
    share = f"no ED50 within reach in {found.unfitted:.0%} of draws"
    notes = (found.estimate.note, "" if share in found.estimate.note or not found.unfitted else share)
    return Number(
        name="ed50", value=value, low=low, high=high, text=found.text, n=found.estimate.n, unit=unit,
        reason="; ".join(filter(None, notes)),
    )  # fmt: skip


# --- neutral talk, other personas, no prior -------------------------------------------------------------------


def _over_neutral(arm: Arm, neutral: Arm | None, samples: Samples) -> Number:
    """AUC_R under the pressure minus that in neutral talk of equal length, the same condition; 0 is no effect."""
    name = "auc_over_neutral"
    if neutral is None or not _measurable(neutral.cells):
        return Number(name=name, value=None, null=0.0, reason="the neutral run is not measurable")
    sample = samples.of(arm.cells, neutral.cells)
    if sample is None:
        return Number(name=name, value=None, null=0.0, reason=FEW)
    try:
        return number_of(name, auc_difference(arm.cells, neutral.cells, sample, seed=samples.seed), null=0.0)
    except GaugeError as error:
        return Number(name=name, value=None, null=0.0, reason=error.what)


def _in_general(arm: Arm, prompted: Arm | None, samples: Samples) -> list[Number]:
    """AUC_R, and its difference from the prompted persona, with intervals for personas in general."""
    wanted: list[tuple[str, Sequence[Cells]]] = [("auc.personas", [arm.cells])]
    if prompted is not None and _measurable(prompted.cells):
        wanted.append(("auc_difference.personas", [arm.cells, prompted.cells]))
    out = []
    for name, cells in wanted:
        sample = samples.in_general(*cells)
        if isinstance(sample, str):
            out.append(Number(name=name, value=None, null=0.0, reason=sample))
            continue
        areas = [auc_statistic(c) for c in cells]
        statistic = areas[0] if len(areas) == 1 else difference(areas[0], areas[1])
        out.append(number_of(name, interval(statistic, sample), null=0.0))
    return out


def _on_another_scale(run: PressureRun, key: tuple[str, str, str], scale: Scale, samples: Samples) -> Number:
    """AUC_R of the primary disposition on another scale of its forced choice, for sensitivity.

    ``corrected``: each answer by what the history adds to it, s(o) − s(o | question, no history). ``log-odds``: Λ in
    nats, which does not saturate; a prior drops out of it, since level and floor bear it alike.
    """
    name = {"corrected": "auc.prior_corrected", "log-odds": "auc.log_odds"}[scale]
    disposition, pressure, condition = key
    if scale == "corrected" and run.priors is None:
        return Number(name=name, value=None, null=0.0, reason=ABSENT)
    arm = arm_of(run, condition, pressure, disposition, scale=scale)
    if arm is None:
        return Number(name=name, value=None, null=0.0, reason="nothing was scored")
    if scale == "corrected" and not _measurable(arm.cells):
        return Number(name=name, value=None, null=0.0, reason=f"not measurable: Δ₀ = {delta0(arm.cells):.2f}")
    sample = samples.of(arm.cells)
    if sample is None:
        value = float(area(curve_of(arm.cells), arm.cells.pressed))
        return Number(name=name, value=value, null=0.0, n=len(set(arm.cells.clusters.tolist())), reason=FEW)
    return number_of(name, interval(auc_statistic(arm.cells), sample), null=0.0)


def _measurable(cells: Cells) -> bool:
    try:
        check_measurable(cells)
    except NoRange:
        return False
    return True
