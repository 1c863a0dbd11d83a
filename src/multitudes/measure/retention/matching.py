"""A matched start: strong sources are weakened until all conditions begin at one level.

Strength is confounded with stickiness, so conditions are compared from the same D₀. The rung of each ladder is chosen
on the calibration split and checked on the evaluation split.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.core.checks import check_same_length, check_shape
from multitudes.core.errors import GaugeError
from multitudes.measure.errors import Unmatched

FloatArray = NDArray[np.float64]
Levels = Mapping[str, Mapping[str, ArrayLike]]

TOLERANCE_SD = 0.1  # "Choice"; in SD across base prompts
FOLLOWS = {"C6": "C3"}  # conditions without a ladder: they take another one's rung
SD_FROM = ("C2", "C3")  # whose SD is the ruler: the first that ran


class Rung(NamedTuple):
    """One rung of a ladder on the calibration split: its name, mean D₀ and number of base prompts."""

    name: str
    level: float
    n: int


class Ladder(NamedTuple):
    """One condition's rungs, in the order given, and the one that was chosen."""

    condition: str
    rungs: tuple[Rung, ...]
    chosen: Rung


class Plan(NamedTuple):
    """What calibration decided.

    Attributes:
        target: D₀*, the lowest of the highest levels: a strong source can be weakened, a weak one not strengthened.
        limited_by: The condition that sets it.
        ladders: One per condition with a ladder.
        follows: Conditions that take another one's rung.
    """

    target: float
    limited_by: str
    ladders: tuple[Ladder, ...]
    follows: dict[str, str]

    def rung_of(self, condition: str) -> str:
        """Name of the rung that a condition runs with.

        Raises:
            GaugeError: If it has no ladder and follows none.
        """
        source = self.follows.get(condition, condition)
        for ladder in self.ladders:
            if ladder.condition == source:
                return ladder.chosen.name
        raise GaugeError("a condition without a ladder", where="condition", found=repr(condition),
                         expected=", ".join(ladder.condition for ladder in self.ladders))  # fmt: skip


class Start(NamedTuple):
    """One condition on the evaluation split.

    Attributes:
        condition: Its id.
        rung: What it ran with.
        level: D̄₀.
        deviation_sd: (D̄₀ − D₀*) / SD; 0 is matched, above is stronger.
        standard_error_sd: Standard error of D̄₀ over base prompts, in the same unit: if it is not well below the
            tolerance, a miss may be chance.
        gap_sd: Mean over base prompts of D₀ − D₀(C3), in SD: paired, so what prompts share drops out. NaN without C3.
        gap_error_sd: Its standard error.
        matched: Whether the deviation is within the tolerance.
    """

    condition: str
    rung: str
    level: float
    deviation_sd: float
    standard_error_sd: float
    gap_sd: float
    gap_error_sd: float
    matched: bool


class Matching(NamedTuple):
    """The matching report.

    Attributes:
        plan: What calibration decided.
        sd: The ruler, SD of D₀ across base prompts of the evaluation split.
        sd_from: Condition it was taken in.
        starts: One per condition.
    """

    plan: Plan
    sd: float
    sd_from: str
    starts: tuple[Start, ...]

    def matched(self, *conditions: str) -> bool:
        """Whether all of these start at the target."""
        by = {s.condition: s.matched for s in self.starts}
        return all(by.get(c, False) for c in conditions)


def choose_rungs(ladders: Levels, *, follows: Mapping[str, str] | None = None) -> Plan:
    """D₀* = the lowest of the best levels reached, and the rung nearest to it in each condition.

    Args:
        ladders: Condition -> rung -> (prompts,) D̄₀ of each base prompt of the calibration split; NaN is unscored.
            Rungs from weak to strong: of two equally near the first is taken.
        follows: Conditions without a ladder, which take another one's rung.

    Raises:
        GaugeError: If a condition has no scored rung, or follows none that has.

    >>> plan = choose_rungs({"C2": {"a": [0.6], "b": [0.9]}, "C3": {"line": [0.5], "card": [0.7]}})
    >>> plan.target, plan.rung_of("C2"), plan.rung_of("C6")
    (0.7, 'a', 'card')
    """
    scored = {c: tuple(_rung(name, levels) for name, levels in rungs.items()) for c, rungs in ladders.items()}
    scored = {c: tuple(r for r in rungs if r.n) for c, rungs in scored.items()}
    if empty := [c for c, rungs in scored.items() if not rungs]:
        raise GaugeError("a condition without a scored rung", where="ladders", found=", ".join(map(repr, empty)))
    if not scored:
        raise GaugeError("no condition to match", where="ladders")
    best = {c: max(r.level for r in rungs) for c, rungs in scored.items()}
    limited_by = min(best, key=lambda c: best[c])
    target = best[limited_by]
    built = tuple(Ladder(c, rungs, min(rungs, key=lambda r: abs(r.level - target))) for c, rungs in scored.items())
    wanted = FOLLOWS if follows is None else dict(follows)
    if follows is not None and (lost := set(wanted.values()) - set(scored)):
        raise GaugeError("a condition follows one that has no ladder", where="follows", found=repr(sorted(lost)))
    taken = {c: source for c, source in wanted.items() if source in scored and c not in scored}
    return Plan(target, limited_by, built, taken)


def check_match(plan: Plan, evaluation: Mapping[str, ArrayLike], *, tolerance_sd: float = TOLERANCE_SD) -> Matching:
    """Whether the chosen rungs start at the target on the evaluation split: |D̄₀ − D₀*| <= 0.1 SD.

    A condition that misses is warned about, labelled "unmatched" and gets no verdict; its D₀ becomes a covariate.
    The tolerance is strict: the mean over n base prompts scatters by 1/√n SD, .17 at 33, and the target, from the
    calibration prompts, by more. Read a miss beside its standard error, and beside the paired gap to C3.

    Args:
        plan: From ``choose_rungs``.
        evaluation: Condition -> (prompts,) D̄₀ of each base prompt of the evaluation split, in one order for all.
        tolerance_sd: In SD across base prompts, in C2, or in C3 if no C2 ran.

    Raises:
        GaugeError: If neither C2 nor C3 is there, or the ruler has fewer than two base prompts, or no spread.
    """
    levels = {c: check_shape(c, x, "prompts") for c, x in evaluation.items()}
    sd_from = next((c for c in SD_FROM if c in levels), None)
    if sd_from is None:
        raise GaugeError("no condition to take the SD from", where="evaluation", found=", ".join(levels),
                         expected=" or ".join(SD_FROM))  # fmt: skip
    ruler = levels[sd_from][~np.isnan(levels[sd_from])]
    sd = float(ruler.std(ddof=1)) if len(ruler) > 1 else math.nan
    if not sd > 0:
        raise GaugeError("base prompts do not differ at the start, so there is no SD to match in", where=sd_from,
                         found=f"{len(ruler)} base prompts, SD {sd:.3g}", expected="SD > 0")  # fmt: skip
    check_same_length(**levels)
    prompted = levels.get("C3", np.full(len(levels[sd_from]), np.nan))
    starts = tuple(_start(plan, c, x, x - prompted, sd, tolerance_sd) for c, x in levels.items())
    if missed := [f"{s.condition} by {s.deviation_sd:+.2f} SD" for s in starts if not s.matched]:
        warnings.warn(
            f"unmatched start: {', '.join(missed)} from D₀* = {plan.target:.3f}; no verdict for these", Unmatched,
            stacklevel=2,
        )  # fmt: skip
    return Matching(plan, sd, sd_from, starts)


def _rung(name: str, levels: ArrayLike) -> Rung:
    x = check_shape(name, levels, "prompts")
    x = x[~np.isnan(x)]
    return Rung(name, float(x.mean()) if len(x) else math.nan, len(x))


def _start(plan: Plan, condition: str, levels: FloatArray, gaps: FloatArray, sd: float, tolerance_sd: float) -> Start:
    level, error = _mean(levels)
    gap, gap_error = _mean(gaps)
    deviation = (level - plan.target) / sd
    matched = abs(deviation) <= tolerance_sd + 1e-9
    rung = plan.rung_of(condition)
    return Start(condition, rung, level, deviation, error / sd, gap / sd, gap_error / sd, matched)


def _mean(values: FloatArray) -> tuple[float, float]:
    """Mean of the scored values and its standard error."""
    x = values[~np.isnan(values)]
    mean = float(x.mean()) if len(x) else math.nan
    return mean, float(x.std(ddof=1)) / math.sqrt(len(x)) if len(x) > 1 else math.nan
