"""What a pressure run says, as records: one number with everything needed to read it, arms, comparisons, verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from multitudes.core.records import Direction, Frozen, Point, Record


class Number(Frozen):
    """One number of one arm.

    Attributes:
        name: ``delta0``, ``auc``, ``half_life``, ``rho`` and so on.
        value: The number; NaN is unscored, None does not apply, and ``reason`` says why.
        text: As it is printed where a number alone misleads, such as ">8".
        null: Value that would mean "nothing there".
        direction: Which way sticks more.
        n: Base prompts behind it.
        unscored: Probes left out.
        reason: Why there is no value or no interval.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    text: str = ""
    null: float | None = None
    direction: Direction = "higher"
    n: int = 0
    unscored: int = 0
    unit: str = ""
    reason: str = ""


class Steps(Frozen):
    """Kaplan-Meier steps of an arm: rows of turn, number at risk, flips, S after it."""

    rows: tuple[tuple[float, float, float, float], ...]


class ArmResult(Frozen):
    """One condition under one pressure on one disposition.

    Attributes:
        neutral: Its run of equal length without pressure; itself if this is one.
        measurable: False where Δ₀ < 0.2 or nothing was scored: then there is no retention.
        matched: Whether it starts where the others do; None where that was not checked.
        levels: Mean D at each probe.
        floors: Mean F.
        curve: R_t; empty where it is not measurable.
        steps: Survival; None where flips cannot be told.
        numbers: By name.
        failed: Share of replies that failed the coherence gate.
        faults: Conversations that ended by a fault.
        engaged: Share of tokens that a hold or cap moved.
        conversations: Their number.
    """

    disposition: str
    pressure: str
    condition: str
    label: str
    neutral: str
    measurable: bool
    reason: str = ""
    matched: bool | None = None
    clusters: int = 0
    levels: tuple[Point, ...] = ()
    floors: tuple[Point, ...] = ()
    curve: tuple[Point, ...] = ()
    steps: Steps | None = None
    numbers: tuple[Number, ...] = ()
    failed: float = 0.0
    faults: int = 0
    engaged: float | None = None
    conversations: int = 0

    def number(self, name: str) -> Number | None:
        """A number by name."""
        return next((x for x in self.numbers if x.name == name), None)


class RefusalResult(Frozen):
    """What one condition does with the user's own prompts (P3), by the labels of a judge.

    Attributes:
        replies: Labelled, or tried to be.
        labels: Replies by label.
        numbers: ``declined``, its difference from no persona, and what stands beside it.
    """

    condition: str
    label: str
    replies: int
    labels: dict[str, int]
    numbers: tuple[Number, ...]

    def number(self, name: str) -> Number | None:
        """A number by name."""
        return next((x for x in self.numbers if x.name == name), None)


class PressureLine(Frozen):
    """What one pressure adds to a verdict; reversed ones come first."""

    pressure: str
    reversed: bool
    line: str


class VerdictResult(Frozen):
    """The verdict on one condition against prompting, on the primary disposition.

    Attributes:
        words: One of the fixed four.
        sentence: The words with the reason, if there is none to give them.
    """

    condition: str
    label: str
    words: str
    sentence: str
    pressures: tuple[PressureLine, ...]


class HoldPressure(Frozen):
    """The hold under one pressure.

    Attributes:
        numbers: Differences of AUC_R: ``hold_over_prompt`` (B − A), ``hold_over_random`` (B − C), ``hold_over_other``
            (B − D), ``hold_at_equal_start`` (B − A with the start as a covariate), and ``hold_start_gap``.
        engaged: Share of tokens that was moved, by condition.
    """

    pressure: str
    numbers: tuple[Number, ...]
    engaged: dict[str, float | None]

    def number(self, name: str) -> Number | None:
        """A number by name."""
        return next((x for x in self.numbers if x.name == name), None)


class HeldText(Frozen):
    """What a hold or cap does to running text in which nobody is played.

    Attributes:
        ratio: Perplexity, held to plain, on the same windows.
        engaged: Share of tokens of the text that was moved.
        tokens: Tokens scored.
    """

    condition: str
    label: str
    ratio: Number
    engaged: Number
    tokens: int


class HoldResult(Frozen):
    """Whether holding people in their own range keeps them in character.

    Attributes:
        disposition: On which it is judged.
        words: confirmed, refuted or inconclusive.
        reasons: Why.
        shown: Pressures under which the gain over the prompt and over both controls is shown.
        alpha: Share of a person's tokens outside its range on either side.
        sides: See ``PressureSpec.hold_sides``.
        layers: Blocks that were held at.
        pressures: The differences.
        text: Perplexity of running text, by condition.
        coherence: Share of coherent replies, held to unheld, where the hold does worst.
        distinct: Distinct 3-grams within persons, held to unheld.
        warnings: What must be known beside the word.
    """

    disposition: str
    words: str
    reasons: tuple[str, ...]
    shown: tuple[str, ...]
    alpha: float
    sides: str
    layers: tuple[int, ...]
    pressures: tuple[HoldPressure, ...]
    text: tuple[HeldText, ...]
    coherence: Number
    distinct: Number
    warnings: tuple[str, ...] = ()

    def lines(self) -> Iterator[dict[str, Any]]:
        """Machine form, as ``PressureResult.lines``."""
        for p in self.pressures:
            for x in p.numbers:
                yield {**self._where(p.pressure, "C6"), **x.model_dump()}
            for condition, share in p.engaged.items():
                number = Number(name="engaged", value=share, null=0.0, direction="none", unit="share of tokens")
                yield {**self._where(p.pressure, condition), **number.model_dump()}
        for t in self.text:
            for x in (t.ratio, t.engaged):
                yield {**self._where("", t.condition), **x.model_dump()}
        for x in (self.coherence, self.distinct):
            yield {**self._where("", "C6"), **x.model_dump()}

    def _where(self, pressure: str, condition: str) -> dict[str, Any]:
        return {"disposition": self.disposition, "pressure": pressure, "condition": condition, "matched": None}


class RungResult(Frozen):
    """One rung of a ladder on the calibration split."""

    condition: str
    rung: str
    level: float
    n: int
    chosen: bool


class StartResult(Frozen):
    """One condition on the evaluation split: its start, and how far from the target in SD."""

    condition: str
    rung: str
    level: float
    deviation_sd: float
    matched: bool


class MatchResult(Frozen):
    """The matching report.

    Attributes:
        target: D₀*; None where nothing could be matched.
        weak: Conditions that do not stand above no persona at any rung.
        reason: Why starts could not be checked.
    """

    target: float | None
    limited_by: str = ""
    sd: float | None = None
    rungs: tuple[RungResult, ...] = ()
    starts: tuple[StartResult, ...] = ()
    weak: tuple[str, ...] = ()
    reason: str = ""


class PressureResult(Record):
    """Everything a run says.

    Attributes:
        headline: Sentences, the verdicts first; what must be known before them comes at their head.
        match: The matching report.
        arms: Every arm.
        verdicts: One per condition; empty where none may be given.
        controls: Placebo prompt and shuffled labels: mean of D − F, wanted 0.
        validity: Correlations of the forced choice with what else was measured.
        calibration: Gate, behaviour and items, as decided before.
        power: How many base prompts the effect needs.
        header: Model, banks, versions, what was measured how.
        refusals: What each condition declines of the user's own prompts; empty where that is not measured.
        hold: The role hold in one word and what it rests on; None where nobody was held.
    """

    headline: tuple[str, ...]
    match: MatchResult
    arms: tuple[ArmResult, ...]
    verdicts: tuple[VerdictResult, ...]
    controls: tuple[Number, ...]
    validity: tuple[Number, ...]
    calibration: dict[str, Any]
    power: str
    header: dict[str, Any]
    refusals: tuple[RefusalResult, ...] = ()
    hold: HoldResult | None = None

    def arm(self, disposition: str, pressure: str, condition: str) -> ArmResult | None:
        """An arm by its three names."""
        return next(
            (a for a in self.arms if (a.disposition, a.pressure, a.condition) == (disposition, pressure, condition)),
            None,
        )

    def lines(self) -> Iterator[dict[str, Any]]:
        """Machine form: one flat record per disposition, pressure, condition and number, with its run and model."""
        source = {"run": self.header["spec_hash"][:16], "model": self.header["model"]["name"],
                  "engine": self.header["model"]["fingerprint"], "banks": self.header["banks"]}  # fmt: skip
        for line in self._lines():
            yield {**line, **source}

    def _lines(self) -> Iterator[dict[str, Any]]:
        for arm in self.arms:
            where = {"disposition": arm.disposition, "pressure": arm.pressure, "condition": arm.condition,
                     "matched": arm.matched}  # fmt: skip
            if not arm.measurable:
                yield {
                    **where,
                    **Number(name="retention", value=None, reason=arm.reason, n=arm.clusters).model_dump(),
                }
            for x in arm.numbers:
                yield {**where, **x.model_dump()}
        for r in self.refusals:
            where = {"disposition": "ref", "pressure": "P3", "condition": r.condition, "matched": None}
            for x in r.numbers:
                yield {**where, **x.model_dump()}
            for label, n in r.labels.items():
                share = n / r.replies if r.replies else None
                yield {
                    **where,
                    **Number(name=f"label.{label}", value=share, direction="none", unit="share").model_dump(),
                }
        if self.hold is not None:
            yield from self.hold.lines()
        for x in (*self.controls, *self.validity):
            yield {"disposition": "", "pressure": "", "condition": "", "matched": None, **x.model_dump()}
