"""A run in a few plain sentences and one stable JSON object."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from multitudes.core.canonical import strict_values
from multitudes.core.records import Direction, Frozen, Reading, Score, Usage
from multitudes.measure.placement_fit import ADHERENCE_GATE
from multitudes.models.budget import Prices
from multitudes.study.data import RunData
from multitudes.study.gauges import score_of

WEAK_MODEL = (
    "The embedded model is small and weak at playing people: these numbers show that the machinery works, "
    "not how people are."
)


Endless = Literal["Infinity", "-Infinity"]  # JSON has no such numbers


class ShownScore(Frozen):
    """One score of ``show --json``. NaN (unscored) travels as the string "NaN"; null means not applicable."""

    gauge: str
    name: str
    value: float | Literal["NaN"] | Endless | None
    low: float | Endless | None
    high: float | Endless | None
    null: float | None
    direction: Direction
    n: int
    unscored: int
    unit: str = ""
    note: str = ""


class ShownStudy(Frozen):
    """What was run."""

    name: str
    seed: int
    hash: str
    folder: str
    people: int
    scenarios: int
    conversations: int
    conversations_planned: int
    answers: int
    answers_planned: int


class ShownUsage(Frozen):
    """What it cost. ``cost`` is in US dollars, null where no price is known; ``wall_s`` counts all resumptions."""

    calls: int
    tokens_in: int
    tokens_out: int
    cached: int
    rejected_draws: int
    measure_tokens_in: int
    wall_s: float
    cost: float | None


class ShownModel(Frozen):
    """Who spoke. ``seeds`` is honoured, ignored or unknown."""

    name: str
    engine: str | None = None
    weights_sha256: str | None = None
    dtype: str | None = None
    seeds: str | None = None
    fingerprint: str | None = None
    licence: str | None = None


class Summary(Frozen):
    """The contract of ``multitudes show RUN --json``, version 1."""

    version: Literal[1] = 1
    study: ShownStudy
    headline: tuple[str, ...]
    scores: tuple[ShownScore, ...]
    faults: dict[str, int] = Field(description="Count by kind; empty if there were none.")
    usage: ShownUsage
    model: dict[str, ShownModel] = Field(description="By part: simulator, target, listener.")


def summarise(run: RunData) -> Summary:
    """The summary of a run, complete or not."""
    spec, info = run.spec, run.info
    usage = _usage(run)
    faults = Counter(f.kind for f in _faults(run))
    study = ShownStudy(
        name=spec.name,
        seed=spec.seed,
        hash=spec.hash,
        folder=run.folder.name,
        people=len(run.population),
        scenarios=len(spec.scenarios),
        conversations=len(run.conversations),
        conversations_planned=info["planned"].get("conversations", 0),
        answers=len(run.answers),
        answers_planned=info["planned"].get("answers", 0),
    )
    return Summary(
        study=study,
        headline=tuple(headline(run, study, faults)),
        scores=tuple(_shown(s) for r in run.readings for s in r.scores),
        faults=dict(faults),
        usage=usage,
        model={
            part: ShownModel(**{k: v for k, v in m.items() if k in ShownModel.model_fields})
            for part, m in info["models"].items()
        },
    )


def is_small(run: RunData) -> bool:
    """Whether the people were played by a model known to be weak at it."""
    return bool(run.info["models"].get("simulator", {}).get("small_model"))


def _shown(s: Score) -> ShownScore:
    fields: dict[str, Any] = {k: getattr(s, k) for k in ShownScore.model_fields}
    for end in ("low", "high", "null"):  # an end that could not be found is no end
        if fields[end] is not None and math.isnan(fields[end]):
            fields[end] = None
    if fields["null"] is not None and math.isinf(fields["null"]):
        fields["null"] = None
    return ShownScore(**strict_values(fields))


def _faults(run: RunData) -> list[Any]:
    talks = [c.fault for c in run.conversations if c.fault is not None]
    return talks + [a.fault for a in run.answers if a.fault is not None]


def _usage(run: RunData) -> ShownUsage:
    calls = draws = 0
    total = Usage()
    costs: list[float | None] = []
    rates = run.spec.prices
    prices = None if rates is None else Prices(rates.usd_per_1m_prompt, rates.usd_per_1m_completion)
    for turn in (t for c in run.conversations for t in c.turns):
        draws += len(turn.rejected)
        if turn.call is not None:
            calls += 1 + len(turn.rejected)
            total = total + turn.call.usage + (turn.call_rejected or Usage())
            costs.append(turn.call.cost_usd)
            if prices is not None and turn.call_rejected is not None and turn.call.cost_usd:
                costs.append(prices.cost_usd(turn.call_rejected))
    for answer in run.answers:
        if answer.call is not None:
            calls += 2 if answer.mode == "exact" else 1
            total = total + answer.call.usage
            costs.append(answer.call.cost_usd)
    known = [c for c in costs if c is not None]
    measured = Usage.model_validate(run.info["measure_usage"] or {})
    return ShownUsage(
        calls=calls,
        tokens_in=total.prompt,
        tokens_out=total.completion,
        cached=total.cached,
        rejected_draws=draws,
        measure_tokens_in=measured.prompt,
        wall_s=round(run.info["wall_s"], 2),
        cost=sum(known) if costs and len(known) == len(costs) else None,
    )


# --- sentences ----------------------------------------------------------------------------------------------


def headline(run: RunData, study: ShownStudy, faults: Counter[str]) -> list[str]:
    """What a product person needs to know, most basic first. Each number has its interval and what nothing is."""
    lines = [_happened(run, study, faults)]
    readings = run.readings
    for sentence in (_leak(readings), _identity(readings), _coverage(readings), _variance(readings)):
        if sentence:
            lines.append(sentence)
    return lines


def _happened(run: RunData, study: ShownStudy, faults: Counter[str]) -> str:
    fallbacks = sum(p.fallback for p in run.population.personas)
    parts = [f"{study.people} simulated people" + (f" ({fallbacks} written by template)" if fallbacks else "")]
    if study.conversations_planned:
        held = sum(c.complete for c in run.conversations)
        parts.append(f"{held} of {study.conversations_planned} planned conversations held")
    if study.answers_planned:
        given = sum(a.fault is None for a in run.answers)
        placebo = len(run.answers) - len(run.own_answers)
        parts.append(
            f"{given} of {study.answers_planned} survey answers given"
            + (f" ({placebo} of them by placebos)" if placebo else "")
        )
    unasked = (study.conversations_planned - study.conversations) + (study.answers_planned - study.answers)
    blame = ", ".join(f"{n} {kind}" for kind, n in sorted(faults.items()))
    spent = sum(c.stop_reason == "budget" for c in run.conversations)
    ending = f"faults: {blame}." if faults else "no faults."
    if spent:
        ending = f"{spent} stopped by the budget; " + ending
    if spent or unasked:
        ending += " The run is not finished: run it again to go on."
    return "; ".join(parts) + "; " + ending


def _between(s: Score) -> str:
    if s.low is None or s.high is None:
        return f" ({s.note})" if s.note else ""
    return f" (95% interval {s.low:.0%} to {s.high:.0%})"


def _value(s: Score | None) -> float | None:
    return None if s is None or s.value is None or math.isnan(s.value) else s.value


def _leak(readings: Sequence[Reading]) -> str:
    rate, first = score_of(readings, "leak", "rate"), score_of(readings, "leak", "rate_first_draw")
    if rate is None or first is None or (v := _value(rate)) is None or (f := _value(first)) is None:
        return ""
    text = f"The people sounded like the Assistant in {v:.0%} of their lines{_between(rate)}"
    if f - v > 0.005:
        text += f"; before guards redrew lines it was {f:.0%}"
    slope = score_of(readings, "leak", "slope")
    if slope is not None and (b := _value(slope)) is not None and slope.low is not None and slope.high is not None:
        trend = "rising" if slope.low > 0 else "falling" if slope.high < 0 else "no clear change"
        text += f"; over the turns: {trend} ({b:+.1%} per 10 turns)".replace("(-", "(−")
    return text + "."


def _identity(readings: Sequence[Reading]) -> str:
    accuracy, bits = (
        score_of(readings, "listener", "accuracy_dialogue"),
        score_of(readings, "listener", "bits_dialogue"),
    )
    if accuracy is None or (v := _value(accuracy)) is None:
        return ""
    chance = accuracy.null or 0.0
    text = f"A listener who reads a whole conversation names the right person {v:.0%} of the time{_between(accuracy)}"
    text += f", where guessing gives {chance:.0%}"
    if bits is not None and (b := _value(bits)) is not None:
        text += f"; that is {b:.2f} of {-math.log2(chance):.3g} bits" if chance else ""
    return text + "."


def _coverage(readings: Sequence[Reading]) -> str:
    c, r = score_of(readings, "coverage", "coverage"), score_of(readings, "coverage", "adherence")
    if c is None or (v := _value(c)) is None:
        return ""
    text = f"Their answers cover {v:.0%} of the space of attitudes{_between(c)}; a well-spread population covers 99%"
    text += f" and one in which everybody answers alike {c.null:.0%}" if c.null is not None else ""
    if r is not None and (a := _value(r)) is not None:
        obeys = (
            "The people are where they were put" if a >= ADHERENCE_GATE else "The people are not where they were put"
        )
        text += f". {obeys} (adherence r = {a:.2f}, wanted at least {ADHERENCE_GATE:.2f})".replace("= -", "= −")
    return text + "."


def _variance(readings: Sequence[Reading]) -> str:
    icc = score_of(readings, "variance", "icc_within")
    if icc is None or (v := _value(icc)) is None:
        return ""
    text = (
        f"Who was asked explains {v:.0%} of the spread of answers to a question{_between(icc)}; the rest is noise "
        "between runs. In people it is about 50% on one task with repeats (colour associations)."
    )
    placebo = score_of(readings, "variance", "icc_within_random_text")
    if placebo is not None and (r := _value(placebo)) is not None:
        text += f" Random texts in place of the personas explain {r:.0%}{_between(placebo)}."
    verdict = next((r.tables["verdict"] for r in readings if r.gauge == "variance" and "verdict" in r.tables), None)
    return text.replace(" -", " −") + (f" {verdict['sentence']}" if verdict else "")
