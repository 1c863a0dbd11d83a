"""The verdict on a panel from its answers: judged once, or once for every way to take refused answers.

Of several verdicts the least favourable one is given, and its sentence says so. That is a bound, not a guess: what
the missing answers would have been is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from multitudes.core.errors import GaugeError
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.answers import ArmAnswers
from multitudes.measure.variance.arms import ArmICC, arm_icc
from multitudes.measure.variance.components import Cells, collect, components, identical_run_share, spreads
from multitudes.measure.variance.demographics import JOINT, demographic_shares
from multitudes.measure.variance.people import against_people
from multitudes.measure.variance.planner import from_pilot, plan
from multitudes.measure.variance.power import HUMAN_LOG_SE
from multitudes.measure.variance.refusals import Refused, Way
from multitudes.measure.variance.runs import check_runs
from multitudes.measure.variance.signal_scores import signal_p
from multitudes.measure.variance.verdict import Arms, Enough, Margins, Verdict, judge

PLACEBOS = {"none": "none", "random-text": "random_text", "shuffled": "shuffled", "demographics": "demographics"}
_RANK = {"no verdict": 0, "not supported": 1, "underpowered": 2, "supported": 3}


class Terms(NamedTuple):
    """What a verdict is judged by, whatever the answers.

    Attributes:
        waiver: Why placebo arms are missing; empty if they are not.
        temperature: Of sampled runs.
        margins: Fixed before the data.
        seed: Seed of permutations and splits.
        draws: Permutations.
    """

    waiver: str
    temperature: float
    margins: Margins
    seed: int
    draws: int


class _Judged(NamedTuple):
    """The verdict on one way, or the error that stands in its place; ``again`` judges anew, with a design."""

    way: Way
    verdict: Verdict | None
    error: GaugeError | None
    again: Any = None

    @property
    def state(self) -> str:
        return "no verdict" if self.verdict is None else self.verdict.state

    @property
    def favour(self) -> tuple[int, float]:
        """How favourable: the state, then the lower limit of the persona signal."""
        if self.verdict is None:
            return 0, -math.inf
        q1 = self.verdict.answers[0]
        low = q1.value if q1.ci95 is None else q1.ci95.low
        return _RANK[self.state], -math.inf if low is None or math.isnan(low) else low


def panel_verdict(refused: Refused, *, p: float | None, distance: Estimate | None, terms: Terms) -> dict[str, Any]:
    """The verdict as plain data: state, sentence, lines, the four questions; with refusals every way's state.

    Args:
        refused: The ways to take refused answers, the observed one first.
        p: Permutation p of persona signal in the observed answers; None where there is no test.
        distance: Distance of the observed answers to people over their floor.
        terms: What it is judged by.
    """
    first, *others = refused.ways
    found = [_judged(first, p, distance, terms)]
    if found[0].verdict is not None:  # else there is none whatever is filled in
        found += [_anew(way, terms) for way in others]
    worst = min(found, key=lambda j: j.favour)
    end, states = ".", dict[str, Any]()
    if len(found) > 1:
        end = f"; {_taken(refused, worst.way)}."
        states = {"ways": {j.way.name: j.state for j in found}, "taken": worst.way.name}
    if worst.verdict is None:
        assert worst.error is not None
        why = str(worst.error).splitlines()[0]
        return {"state": "no verdict", "sentence": f"No verdict: {why}{end}", "lines": _ways(refused, found),
                "questions": [], "what_to_do": worst.error.hint or "", **states}  # fmt: skip
    verdict = worst.verdict
    if verdict.state == "underpowered":
        verdict = worst.again()
    return {
        "state": verdict.state,
        "sentence": verdict.sentence.removesuffix(".") + end,
        "lines": [*verdict.lines, *_ways(refused, found)],
        "questions": [a._asdict() for a in verdict.answers],
        "waiver": verdict.waiver,
        **states,
    }


def _taken(refused: Refused, way: Way) -> str:
    return (
        f"{_percent(refused.share)} of the answers are missing, and this is the least favourable of "
        f"{len(refused.ways)} ways to take them ({way.said})"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "under 1 %"


def _ways(refused: Refused, found: list[_Judged]) -> list[str]:
    """One line about what is missing, and one for each way to take it; nothing where no answer is missing."""
    if not refused.tests:
        return []
    parts = [f"{side} {t.missing} of {t.asked} (p = {t.p:.3g})" for side, t in refused.tests.items()]
    note = refused.scale or "as few and as even as chance would have them: taken as they are"
    lines = [f"missing answers: {', '.join(parts)}; {note}"]
    if len(found) == 1:
        return lines
    for j in found:
        numbers = str(j.error).splitlines()[0] if j.verdict is None else _delta(j.verdict)
        lines.append(f"missing answers {j.way.said}: {j.state} ({numbers})")
    return lines


def _delta(verdict: Verdict) -> str:
    q1 = verdict.answers[0]
    if q1.value is None:
        return "Δ not assessed"
    around = "" if q1.ci95 is None else f" [{q1.ci95.low:.2f}, {q1.ci95.high:.2f}]"
    return f"Δ = {q1.value:.2f}{around}".replace("-", "−")


def _anew(way: Way, terms: Terms) -> _Judged:
    """A way with the p and the distance of its own answers."""
    ours, human = way.arms["persona"], way.human
    distance = None
    try:
        p = signal_p(ours, seed=terms.seed, draws=terms.draws)
        if human is not None and ours.probs is not None and human.probs is not None:
            try:
                _, distance = against_people(
                    ours.probs, ours.item, human.probs, human.item, exact=ours.exact, ordinal=ours.ordered,
                    seed=terms.seed,
                )  # fmt: skip
            except GaugeError:  # no item in common: not assessed, as for the observed answers
                distance = None
    except GaugeError as error:
        return _Judged(way, None, error)
    return _judged(way, p, distance, terms)


def _judged(way: Way, p: float | None, distance: Estimate | None, terms: Terms) -> _Judged:
    arms, human = way.arms, way.human
    ours = arms["persona"]
    try:
        cells = ours.cells()
        persona = arm_icc(cells)  # first: answers that are all equal are no copies of runs
        if not ours.exact and way.name == "observed":
            check_runs(identical_run_share(cells), temperature=terms.temperature)
        given = Arms(
            persona=persona,
            **{field: arm_icc(arms[name].cells()) for name, field in PLACEBOS.items() if name in arms},
        )
        # Whole distributions have no run noise to test against: whether they differ is a fact.
        certain = 0.0 if ours.exact else 1.0
        repeats = _repeats(human, cells)
        ask = partial(
            judge, given, p=certain if p is None else p, human=repeats, distance=distance, margins=terms.margins,
            demographics=_demographics(ours, human), human_demographics=_demographics(human, ours),
            waiver=terms.waiver,
        )  # fmt: skip
        return _Judged(
            way, ask(), None, lambda: ask(enough=_enough(cells, given, repeats is not None, terms.margins))
        )
    except GaugeError as error:
        return _Judged(way, None, error)


def _repeats(human: ArmAnswers | None, ours: Cells) -> ArmICC | None:
    """People's ICC on the panel's items; None where they were not asked all of these, or nobody twice."""
    if human is None or not np.isin(ours.items, human.item).all():
        return None
    same = np.isin(human.item, ours.items)
    run = None if human.run is None else human.run[same]
    cells = collect(human.score[same], human.persona[same], human.item[same], run=run)
    return arm_icc(cells) if bool((cells.n > 1).any()) else None


def _demographics(one: ArmAnswers | None, other: ArmAnswers | None) -> Estimate | None:
    """R²_demo of one side, of the attributes that both sides know, together, less what chance alone explains.

    Labels dealt at random explain about q/(P-1) of the persons' share, so a small panel would look stereotyped beside
    many people; taken off, both sides are comparable whatever their numbers.
    """
    if one is None or other is None or not one.attributes or not other.attributes or one.score.ndim > 1:
        return None
    both: Mapping[str, Any] = {name: one.attributes[name] for name in one.attributes if name in other.attributes}
    if not both:
        return None
    found = demographic_shares(one.score, one.persona, one.item, both)
    explained = found[JOINT if len(both) > 1 else next(iter(both))]
    share, chance = explained.share, explained.chance or 0.0
    if share is None:
        return None
    low, high = (None if end is None else end - chance for end in (share.low, share.high))
    return share._replace(value=share.value - chance, low=low, high=high)


def _enough(cells: Cells, arms: Arms, against_people: bool, margins: Margins) -> Enough | None:
    """The design that would decide if the components are what they seem; None where none would."""
    assumed = from_pilot(components(spreads(cells)))
    placebo = max(arms.random_text.value, 0.0) if arms.random_text else 0.0
    if assumed.icc <= placebo:
        return None
    return plan(assumed, placebo_icc=placebo, human=HUMAN_LOG_SE if against_people else None, margins=margins).enough
