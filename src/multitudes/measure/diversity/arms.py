"""What a comparison of diversity is made of: the texts that go in, and the records that come out."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.core.records import Frozen

FloatArray = NDArray[np.float64]

Budget = Literal["texts", "tokens", "valid", "cost"]
BUDGETS: dict[Budget, str] = {
    "texts": "equal number of texts",
    "tokens": "equal number and length of texts",
    "valid": "equal number of valid texts",
    "cost": "equal number of tokens, prompts included",
}
CODE = frozenset({"code", "code-closed"})  # domains that are read as Python programs


class Sample(NamedTuple):
    """One text.

    Attributes:
        valid: Whether it does what was asked; None if nobody knows.
        kind: Label of its meaning class, compared within a prompt; needed where ``valid`` is known and the domain's
            pairs are not given.
        vector: Unit vector of an encoder.
        cost: Tokens it took, prompt and reply; None if nobody counted.
    """

    arm: str
    domain: str
    prompt: str
    text: str
    valid: bool | None = None
    kind: str = ""
    vector: FloatArray | None = None
    cost: float | None = None


class PairCount(NamedTuple):
    """What is known of the pairs of the valid texts of one prompt and arm.

    Attributes:
        different: Pairs whose two texts are both valid and differ.
        valid: Pairs whose two texts are both valid.
        drawn: Pairs looked at, among valid and invalid texts alike.
        classes: Different classes among the valid texts; None where nobody knows.
    """

    different: float
    valid: float
    drawn: float
    classes: float | None


class Cell(Frozen):
    """One score of one arm against the first, in one domain.

    Attributes:
        budget: What was made equal: see ``BUDGETS``.
        effect: δ, + is more diverse; a plain difference where ``plain``.
        low: Lower end of the 95 % interval.
        se: Standard error of the effect.
        p: Sign-flip p over prompts.
        p_adjusted: Holm over the headline family, Benjamini-Hochberg over the rest.
        verdict: higher, lower, equivalent or undetermined, ``(small)`` where also equivalent; then the stamp.
        stamp: What the verdict rests on where that is less than it seems: ``proxy``, ``uncalibrated``,
            ``structural``.
        prompts_needed: Prompts that would show a difference of 10 %, where undetermined.
    """

    score: str
    budget: Budget
    domain: str
    before: str
    after: str
    mean_before: float
    mean_after: float
    effect: float | None
    plain: bool
    low: float | None
    high: float | None
    se: float
    p: float
    p_adjusted: float
    verdict: str
    headline: bool
    prompts: int
    samples: int
    prompts_needed: int | None
    stamp: str = ""
    note: str = ""


class Turn(Frozen):
    """Whether the direction of a score depends on the domain."""

    score: str
    after: str
    p: float
    sentence: str


class Effective(Frozen):
    """Validity of both arms, and the two terms of the change of D_pair: more is valid, or valid texts differ more."""

    domain: str
    after: str
    valid_before: float
    valid_after: float
    term_validity: float | None
    term_difference: float | None
    stamp: str = ""


class Outcome(Frozen):
    """One arm in one domain as a remedy is judged: what it gains, what that costs, and what it loses.

    Attributes:
        cost: Tokens of a text, prompt and reply, mean; None if nobody counted.
        cost_ratio: Tokens of all its texts over those of the first arm.
        validity: Share of valid texts.
        validity_change: Against the first arm, paired over prompts, in shares.
        d_pair: Effective diversity.
        gain: δ of D_pair against the first arm.
        adherence: r of planned and expressed positions of placed people.
        adherence_change: Against the first arm, the same people.
        cost_per_answer: Tokens per different valid answer.
        frontier: No other arm is at least as valid and as diverse, and better in one.
        verdict: Whether a gain counts, in words; empty for the first arm.
    """

    domain: str
    arm: str
    cost: float | None
    cost_ratio: float | None
    validity: float | None
    validity_change: float | None
    validity_low: float | None
    validity_high: float | None
    d_pair: float | None
    gain: float | None
    adherence: float | None
    adherence_change: float | None
    adherence_low: float | None
    adherence_high: float | None
    cost_per_answer: float | None
    frontier: bool | None
    verdict: str


class DiversityComparison(Frozen):
    """All cells, crossovers, validity terms, outcomes, what was controlled and what cannot be concluded."""

    arms: tuple[str, ...]
    domains: tuple[str, ...]
    cells: tuple[Cell, ...]
    crossovers: tuple[Turn, ...]
    effective: tuple[Effective, ...]
    outcomes: tuple[Outcome, ...]
    budget: dict[str, dict[str, Any]]
    caveats: tuple[str, ...]
    alike: tuple[dict[str, Any], ...] = ()
