"""Does holding a person in its own range keep it in character? Confirmed, refuted or inconclusive, and why.

The rule was fixed before anything was measured: the hold must beat the prompt alone, beat a hold on random directions
of persona space, and beat a hold on somebody else's range, without costing language.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from multitudes.core.errors import GaugeError
from multitudes.measure.multiplicity import holm
from multitudes.measure.retention.verdict import ALPHA, MARGIN, MIN_CLUSTERS_FOR_VERDICT
from multitudes.measure.stats import Difference, Estimate

Words = Literal["confirmed", "refuted", "inconclusive"]

NEEDED = "P1"  # the pressure that a confirmation must include
MOST_PERPLEXITY = 1.02
LEAST_LANGUAGE = 0.95  # of the unheld arm's coherence and of its distinct n-grams
ENGAGED_WITHIN = 0.03  # of the hold's engagement, for a hold on random directions to be its control


class HeldUnder(NamedTuple):
    """The hold under one pressure: differences of AUC_R, paired on base prompts.

    Attributes:
        pressure: Id.
        over_prompt: Prompt and hold, minus prompt alone (B − A), with its unadjusted p.
        over_random: Minus a hold on covariance-matched random directions (B − C); None if that did not run.
        over_other: Minus a hold on another person's range (B − D); None if that did not run.
        matched: B − A where both start equally strong; None if this was not read.
        engaged_more: Share of tokens that the hold on random directions moves, minus that of the hold; None if this
            was not read. Beyond ±.03 it is another dose and no control: B − C then shows nothing either way.
    """

    pressure: str
    over_prompt: Difference
    over_random: Difference | Estimate | None
    over_other: Difference | Estimate | None
    matched: Estimate | None = None
    engaged_more: float | None = None

    @property
    def controlled(self) -> bool:
        """Whether the hold on random directions engages as often as the hold."""
        return self.engaged_more is None or abs(self.engaged_more) <= ENGAGED_WITHIN + 1e-9

    @property
    def over_control(self) -> Difference | Estimate | None:
        """B − C, where C is a control."""
        return self.over_random if self.controlled else None


class HoldVerdict(NamedTuple):
    """One of three words, the reasons, and the pressures under which all conditions of a confirmation held."""

    words: Words
    reasons: tuple[str, ...]
    held: tuple[str, ...]


def judge_hold(
    family: Sequence[HeldUnder], *, perplexity: Estimate | None, coherence: float | None, distinct: float | None
) -> HoldVerdict:
    """The verdict on the role hold.

    * **confirmed**: on at least half of the pressures, P1 among them, the gain over the prompt is above 0 (interval,
      and Holm over pressures), and so are the gains over both controls; perplexity of the held model on other text
      at most 1.02 times the plain one; coherence and distinct n-grams at least .95 of the unheld arm's.
    * **refuted**: the gain over the prompt is below .05 for sure (upper end) under every pressure; or it is above 0
      but the gain over a control is below .05 for sure wherever it is: unspecific; or it vanishes (upper end below
      .05) once both start equally strong.
    * **inconclusive**: else, and wherever fewer than 20 base prompts stand behind a difference. What was not measured
      counts as not shown.

    Where a gain is above 0 for sure and below .05 for sure, or vanishes at an equal start, both first rules apply:
    then it is refuted, since .05 is the least that was to be found.

    Args:
        family: All planned pressures.
        perplexity: Ratio, held to plain; the value decides. None or NaN if not measured, the note says why.
        coherence: Share of coherent replies, held to unheld; None if not measured.
        distinct: Distinct n-grams within persons, held to unheld; None if not measured.

    Raises:
        GaugeError: No pressure, or one twice.
    """
    names = [x.pressure for x in family]
    if not names or len(set(names)) < len(names):
        raise GaugeError("a family is pressures, each once", where="family", found=repr(names))
    adjusted = holm([1.0 if x.over_prompt.p != x.over_prompt.p else x.over_prompt.p for x in family])
    gains = [_above(x.over_prompt) and p <= ALPHA for x, p in zip(family, adjusted, strict=True)]
    held = tuple(
        x.pressure
        for x, g in zip(family, gains, strict=True)
        if g and _above(x.over_control) and _above(x.over_other)
    )
    reasons = _missing(perplexity, coherence, distinct)
    if few := _few(family):
        return HoldVerdict("inconclusive", (few, *reasons), held)
    if all(_surely_small(x.over_prompt) for x in family):
        return HoldVerdict("refuted", (f"the gain over the prompt is below {MARGIN:g} under every pressure",), held)
    gained = [x for x, g in zip(family, gains, strict=True) if g]
    if gained and all(_surely_small(x.over_control) or _surely_small(x.over_other) for x in gained):
        return HoldVerdict("refuted", ("unspecific: a control holds as well wherever there is a gain",), held)
    if gained and all(_surely_small(x.matched) for x in gained):
        return HoldVerdict("refuted", ("the gain vanishes once both start equally strong",), held)
    if len(held) * 2 >= len(family) and NEEDED in held and not reasons:
        return HoldVerdict("confirmed", (f"all conditions hold under {', '.join(held)}",), held)
    if other_dose := [x.pressure for x in family if not x.controlled]:
        reasons.append(f"no control at equal engagement under {', '.join(other_dose)}")
    if NEEDED not in held:
        reasons.append(f"not shown under {NEEDED}")
    if len(held) * 2 < len(family):
        reasons.append(f"shown under {len(held)} of {len(family)} pressures")
    return HoldVerdict("inconclusive", tuple(reasons), held)


def _few(family: Sequence[HeldUnder]) -> str:
    """Why there may be no other word; empty where there are enough base prompts."""
    counts = [x.over_prompt.n for x in family if x.over_prompt.value == x.over_prompt.value]
    if not counts:
        return f"measured under no pressure: {family[0].over_prompt.note or 'no difference to the prompt alone'}"
    least = min(counts)
    return f"{least} base prompts of at least {MIN_CLUSTERS_FOR_VERDICT}" if least < MIN_CLUSTERS_FOR_VERDICT else ""


def _missing(perplexity: Estimate | None, coherence: float | None, distinct: float | None) -> list[str]:
    """What of the language conditions fails or was not measured."""
    out = []
    if perplexity is None or perplexity.value != perplexity.value:
        why = "" if perplexity is None else perplexity.note
        out.append("perplexity ratio not measured" + (f": {why}" if why else ""))
    elif not perplexity.value <= MOST_PERPLEXITY:
        out.append(f"perplexity ratio {perplexity.value:.3f}, above {MOST_PERPLEXITY:g}")
    for name, value in (("coherence", coherence), ("distinct n-grams", distinct)):
        if value is None or value != value:
            out.append(f"{name} not measured")
        elif not value >= LEAST_LANGUAGE:
            out.append(f"{name} {value:.3f} of the unheld arm's, below {LEAST_LANGUAGE:g}")
    return out


def _above(x: Difference | Estimate | None) -> bool:
    return x is not None and x.low is not None and x.low > 0


def _surely_small(x: Difference | Estimate | None) -> bool:
    return x is not None and x.high is not None and x.high < MARGIN
