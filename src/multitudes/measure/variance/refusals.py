"""Refused answers: when they may depend on who was asked, every reading is repeated with them filled in.

Each side of a study (the personas, a placebo, people) is tested by itself. If one fails, the answers that are missing
anywhere are filled in on every side in one way at a time, and the whole verdict is judged anew for each way:

    numbers   all at the lowest end of the scale; all at the highest; each at the end that is nearer to who refused;
              each at the mean of its item
    options   a category of their own; each the commonest answer of who refused; all of them one option, for each

The arm without personas stays as it is: it is a test of the calls, not a side of the comparison. So do exact answers:
whole distributions refuse nothing, and what is missing there is a fault of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import GaugeError
from multitudes.core.records import Score
from multitudes.measure.variance.answers import ArmAnswers, FloatArray, upside_down
from multitudes.measure.variance.components import collect, spreads
from multitudes.measure.variance.missing import RefusalTest, completions, refusal_test

GAUGE = "variance"
PEOPLE = "people"  # the name of their side, beside those of the arms
UNTOUCHED = "none"  # the arm that tests the calls
MAX_OPTIONS = 12  # with more, "all of them one option" is no longer tried for each

_NUMBERS = {
    "minimum": "all at the lowest end of the scale",
    "maximum": "all at the highest end of the scale",
    "nearer_extreme": "each at the end nearer to who refused",
    "item_mean": "each at the mean of its item",
}


class Way(NamedTuple):
    """One way to take the answers that are missing.

    Attributes:
        name: ``observed``, a name of ``missing.completions``, or for options ``own_category``, ``own_commonest``
            or ``all_K``.
        said: The same in words.
        arms: Answers by arm, filled in.
        human: People's answers, filled in; None where there are none.
    """

    name: str
    said: str
    arms: Mapping[str, ArmAnswers]
    human: ArmAnswers | None


class Refused(NamedTuple):
    """What is missing on each side, and the ways to take it.

    Attributes:
        tests: By side that misses answers: a name of an arm, or ``people``.
        ways: ``observed`` first; alone where bounds are not needed.
        scale: The ends that were used, and whether they were given or are the extremes of the answers; empty for
            options, or where no bounds are needed.
    """

    tests: Mapping[str, RefusalTest]
    ways: tuple[Way, ...]
    scale: str

    @property
    def share(self) -> float:
        """Share of the answers of all sides that miss some which are missing."""
        asked = sum(t.asked for t in self.tests.values())
        return sum(t.missing for t in self.tests.values()) / asked if asked else 0.0


def take_refusals(arms: Mapping[str, ArmAnswers], human: ArmAnswers | None, *, seed: int, draws: int) -> Refused:
    """Test every side for missing answers that follow who was asked, and fill them in if one of them does.

    Args:
        arms: Answers by arm; ``persona`` must be there.
        human: People's answers on the same scale.
        seed: Seed of the permutations.
        draws: Number of permutations.
    """
    sides = {**arms, **({} if human is None else {PEOPLE: human})}
    asked = {name: a for name, a in sides.items() if name != UNTOUCHED and not a.exact}
    tests = {
        name: _test(a, seed=seed, draws=draws) for name, a in asked.items() if a.refused.any() and a.scored.any()
    }
    observed = Way("observed", "as they are", arms, human)
    if not any(t.bounds_needed for t in tests.values()):
        return Refused(tests, (observed,), "")
    ordered = arms["persona"].score.ndim == 1
    low, high, scale = _ends(sides, given=arms["persona"].ends) if ordered else (0.0, 1.0, "")
    if not low < high:
        return Refused(tests, (observed,), "all answers are equal: the scale has no length")
    fills = _number_fills(low, high) if ordered else _option_fills(arms["persona"])
    ways = [observed]
    for name, said, fill in fills:
        done = {side: fill(a) if side in tests else _as_wide(a, name) for side, a in sides.items()}
        ways.append(Way(name, said, {k: v for k, v in done.items() if k != PEOPLE}, done.get(PEOPLE)))
    return Refused(tests, tuple(ways), scale)


def _test(answers: ArmAnswers, *, seed: int, draws: int) -> RefusalTest:
    asked = answers.scored | answers.refused
    return refusal_test(answers.refused[asked], answers.persona[asked], answers.item[asked], seed=seed, draws=draws)


def refusal_scores(refused: Refused) -> list[Score]:
    """``p_refusal`` of the personas, and with bounds ``icc_within_bound``; nothing where no answer is missing."""
    test = refused.tests.get("persona")
    if test is None:
        return []
    how = "permutation of persona cells within items, statistic Σ(O - E)²/E of missing answers"
    out = [Score(gauge=GAUGE, name="p_refusal", value=test.p, estimator=how, direction="none", unit="p-value",
                 note=f"{test.missing} of {test.asked} answers missing")]  # fmt: skip
    if len(refused.ways) == 1:
        return out
    found: dict[str, float] = {}
    failed = []
    for way in refused.ways:
        try:
            found[way.said] = _icc(way.arms["persona"])
        except GaugeError as error:
            failed.append(f"{way.said}: {str(error).splitlines()[0]}")
    finite = {said: x for said, x in found.items() if x == x}
    worst = min(finite, key=lambda said: finite[said]) if finite else ""
    notes = [
        "missing answers may depend on who was asked",
        f"worst: {worst}" if worst else "",
        refused.scale,
        *failed,
    ]
    out.append(Score(gauge=GAUGE, name="icc_within_bound", value=finite[worst] if worst else None, null=0.0,
                     direction="higher", unit="share", note="; ".join(n for n in notes if n),
                     estimator=f"least icc_within of {len(refused.ways)} ways to take missing answers"))  # fmt: skip
    return out


def _icc(answers: ArmAnswers) -> float:
    return float(spreads(collect(answers.score, answers.persona, answers.item, run=answers.run)).icc_within)


Fill = Callable[[ArmAnswers], ArmAnswers]


def _ends(sides: Mapping[str, ArmAnswers], given: tuple[float, float] | None) -> tuple[float, float, str]:
    if given is not None:
        return *given, f"scale from {given[0]:g} to {given[1]:g}"
    seen = np.concatenate([a.score[a.scored] for a in sides.values()])
    low, high = float(seen.min()), float(seen.max())
    return low, high, f"scale from {low:g} to {high:g}, the extremes of the answers: nobody gave its ends"


def _number_fills(low: float, high: float) -> list[tuple[str, str, Fill]]:
    def fill(answers: ArmAnswers, name: str) -> ArmAnswers:
        gone = answers.refused
        filled = completions(answers.score, answers.persona, answers.item, low=low, high=high)[name]
        score, probs = np.where(gone, filled, answers.score), answers.probs
        if probs is not None and name != "item_mean":  # an item's own shares leave its distribution as it is
            top = np.zeros(len(score), dtype=np.int64)
            top[(filled >= high) != upside_down(answers, low, high)] = probs.shape[1] - 1
            probs = np.where(gone[:, None], np.eye(probs.shape[1])[top], probs)
        return replace(answers, score=score, probs=probs)

    def named(name: str) -> Fill:
        return lambda answers: fill(answers, name)

    return [(name, said, named(name)) for name, said in _NUMBERS.items()]


def _option_fills(persona: ArmAnswers) -> list[tuple[str, str, Fill]]:
    k = persona.score.shape[1]
    names = persona.options or tuple(f"option {j + 1}" for j in range(k))

    def with_rows(answers: ArmAnswers, option: NDArray[np.int64], wide: int) -> ArmAnswers:
        base = np.hstack([answers.score, np.zeros((len(answers.score), wide - answers.score.shape[1]))])
        rows = np.where(answers.refused[:, None], np.eye(wide)[option], base)
        return replace(answers, score=rows, probs=None if answers.probs is None else rows)

    def own_category(answers: ArmAnswers) -> ArmAnswers:
        return with_rows(answers, np.full(len(answers.score), k), k + 1)

    def own_commonest(answers: ArmAnswers) -> ArmAnswers:
        _, who = np.unique(answers.persona, return_inverse=True)
        counts = np.zeros((int(who.max()) + 1, k))
        np.add.at(counts, who[answers.scored], answers.score[answers.scored])
        counts += counts.sum(axis=0) / (counts.sum() + 1)  # who never answered takes what is commonest of all
        return with_rows(answers, counts.argmax(axis=1)[who], k)

    def all_one(j: int) -> Fill:
        return lambda answers: with_rows(answers, np.full(len(answers.score), j), k)

    fills: list[tuple[str, str, Fill]] = [
        ("own_category", "a category of their own", own_category),
        ("own_commonest", "each the commonest answer of who refused", own_commonest),
    ]
    if k <= MAX_OPTIONS:
        fills += [(f"all_{j + 1}", f"all of them {name!r}", all_one(j)) for j, name in enumerate(names)]
    return fills


def _as_wide(answers: ArmAnswers, name: str) -> ArmAnswers:
    """Beside a side with a category more, one that misses nothing gets it too, unused."""
    if name != "own_category":
        return answers
    empty: FloatArray = np.where(answers.scored, 0.0, np.nan)[:, None]
    wide: Any = np.hstack([answers.score, empty])
    return replace(answers, score=wide, probs=None if answers.probs is None else wide)
