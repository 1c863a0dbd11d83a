"""Three more looks at a panel beside people: whom it misses, whom it could replace, how much alike its people are.

* Group bias: in every group that both sides know (an age, a town), how much higher the panel answers than people do.
* The alternative annotator test: is a simulated person closer to the other people than the one left out?
* Constraint: the share of the differences between persons that lies along one line, at equal numbers of persons.

None of them enters the verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.core.checks import check_range
from multitudes.core.errors import GaugeError
from multitudes.core.records import Score
from multitudes.measure.variance.alt_test import AltTest, alt_test
from multitudes.measure.variance.answers import ArmAnswers, FloatArray, upside_down
from multitudes.measure.variance.demographics import first_component_share
from multitudes.measure.variance.distance import SPLITS
from multitudes.measure.variance.group_bias import MIN_RATERS, group_bias

GAUGE = "variance"
EPSILON = 0.1  # what people cost more than the panel; rule of thumb for crowd workers
_POWER = (
    1.645 + 0.842
) ** 2  # over ε²: items at which differences of mean 0 and variance 1 are seen below ε, power .8
_NUMBERS = 100_000_000  # comparisons of two people that the alternative annotator test may make


class Beside(NamedTuple):
    """Scores, and one row for each group of people.

    Attributes:
        scores: ``group_bias``, ``alt_winning_rate``, ``alt_advantage``, ``first_component`` and
            ``first_component_people``; those without data are None and say why.
        groups: attribute, group, people, simulated, raw, pooled, low, high and note of each group.
    """

    scores: list[Score]
    groups: list[dict[str, Any]]


def beside_people(ours: ArmAnswers, human: ArmAnswers, *, epsilon: float = EPSILON, seed: int = 0) -> Beside:
    """The three looks, on the items that both sides answered.

    Args:
        ours: The persona arm.
        human: People's answers on the same scale.
        epsilon: How much less often than a person the panel may win the alternative annotator test, [0, 1).
        seed: Seed of who is drawn.

    Raises:
        GaugeError: If ``epsilon`` is out of range.
    """
    check_range("epsilon", epsilon, 0.0, np.nextafter(1.0, 0.0))
    items = np.intersect1d(ours.item[ours.scored].astype(str), human.item[human.scored].astype(str))
    if not len(items):
        return Beside([], [])  # the distances say so already
    sides = (_on(ours, items), _on(human, items))
    groups = _groups(*sides)
    scores = [
        *_tried(("group_bias",), lambda: [_farthest(groups, *sides)]),
        *_tried(("alt_winning_rate", "alt_advantage"), lambda: _alternatives(*sides, epsilon, seed)),
        *_tried(("first_component", "first_component_people"), lambda: _components(*sides, seed)),
    ]
    return Beside(scores, groups)


def _tried(names: tuple[str, ...], read: Callable[[], list[Score]]) -> list[Score]:
    try:
        return read()
    except GaugeError as error:
        why = str(error).splitlines()[0]
        return [Score(gauge=GAUGE, name=name, value=None, note=why) for name in names]


class _Side(NamedTuple):
    """The scored answers of one side to the common items; item codes are those of the common list."""

    answers: ArmAnswers
    rows: NDArray[np.int64]
    persons: NDArray[Any]
    person: NDArray[np.int64]
    item: NDArray[np.int64]
    items: int

    def means(self) -> FloatArray:
        """(P, I) mean score of each person and item; NaN where there is none."""
        total, n = (np.zeros((len(self.persons), self.items)) for _ in range(2))
        np.add.at(total, (self.person, self.item), self.answers.score[self.rows])
        np.add.at(n, (self.person, self.item), 1.0)
        return np.asarray(np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0))


def _on(answers: ArmAnswers, items: NDArray[Any]) -> _Side:
    names = answers.item.astype(str)
    rows = np.flatnonzero(answers.scored & np.isin(names, items))
    persons, person = np.unique(answers.persona[rows], return_inverse=True)
    return _Side(answers, rows, persons, person, np.searchsorted(items, names[rows]), len(items))


# --- groups -------------------------------------------------------------------------------------------------


def _groups(ours: _Side, human: _Side) -> list[dict[str, Any]]:
    """Bias of every group of every common attribute, in persons' mean deviations from people's item means."""
    if ours.answers.score.ndim > 1:
        return []
    mine, theirs = ours.answers.attributes or {}, human.answers.attributes or {}
    means = human.means()
    level = np.nansum(means, axis=0) / (~np.isnan(means)).sum(axis=0)
    people, panel = (np.nanmean(side.means() - level, axis=1) for side in (human, ours))
    rows: list[dict[str, Any]] = []
    for name in sorted(set(mine) & set(theirs)):
        found = group_bias(people, _of_persons(human, theirs[name]), panel, _of_persons(ours, mine[name]))
        rows += [{"attribute": name, **b._asdict()} for b in found]
    return rows


def _of_persons(side: _Side, values: NDArray[Any]) -> NDArray[Any]:
    first = np.unique(side.person, return_index=True)[1]
    return np.asarray(values[side.rows][first])


def _farthest(groups: list[dict[str, Any]], ours: _Side, human: _Side) -> Score:
    how = "mean deviation from people's item means, personas minus people, groups pooled; the largest of all groups"
    known = [g for g in groups if g["pooled"] is not None]
    if not known:
        why = f"no group has {MIN_RATERS} people and 2 personas" if groups else "no attribute that both sides know"
        if ours.answers.score.ndim > 1:
            why = "options without an order have no mean"
        return Score(gauge=GAUGE, name="group_bias", value=None, estimator=how, note=why)
    worst = max(known, key=lambda g: abs(g["pooled"]))
    clear = sum(g["low"] > 0 or g["high"] < 0 for g in known)
    notes = [
        f"{worst['attribute']} = {worst['group']}: {worst['people']} people, {worst['simulated']} personas",
        f"{len(known)} of {len(groups)} groups are large enough, intervals of {clear} leave out 0",
        worst["note"],
    ]
    return Score(
        gauge=GAUGE, name="group_bias", value=worst["pooled"], low=worst["low"], high=worst["high"], null=0.0,
        n=worst["people"], direction="target", unit="scale units", estimator=how,
        note="; ".join(x for x in notes if x), interval="persons, normal; other persons on these items",
    )  # fmt: skip


# --- the alternative annotator test -------------------------------------------------------------------------


def _alternatives(ours: _Side, human: _Side, epsilon: float, seed: int) -> list[Score]:
    """The test with one simulated answer an item, drawn from the panel, averaged over draws.

    One person is compared with one simulated person. The panel's mean or commonest answer would be nearer to others
    than anybody, and a panel of a single opinion would pass for the best of all.
    """
    nominal = ours.answers.score.ndim > 1
    ratings = np.full((human.items, len(human.persons)), np.nan)
    order = np.arange(len(human.rows))[::-1]  # of several runs the first one stays
    ratings[human.item[order], human.person[order]] = _values(human, human.rows)[order]
    rng = np.random.default_rng(seed)
    draws = int(np.clip(_NUMBERS // (human.items * len(human.persons) ** 2), 1, SPLITS))
    found = [
        alt_test(ratings, _drawn(ours, rng), epsilon=epsilon, metric="nominal" if nominal else "interval")
        for _ in range(draws)
    ]
    rates = [t.winning_rate for t in found]
    needed = f"from about {_POWER / epsilon**2:,.0f} items on" if epsilon > 0 else "never"
    note = (
        f"epsilon {epsilon:g}; {len(found[0].annotators)} people, {found[0].left_out} left out; {min(rates):.2g} to "
        f"{max(rates):.2g} over {draws} draws of one simulated answer an item; a panel that is just like people "
        f"passes {needed}, here are {human.items}; rewards sameness: read it beside people_jsd"
    )
    return [_alternative(name, how, null, note, found) for name, how, null in _ALTERNATIVES]


_ALTERNATIVES = (
    ("alt_winning_rate", "share of people whom a simulated person may replace, BY-corrected; passes from .5", 0.0),
    ("alt_advantage", "share of items on which a simulated person is at least as close to the others", None),
)


def _alternative(name: str, how: str, null: float | None, note: str, found: list[AltTest]) -> Score:
    values = [t.winning_rate if name == "alt_winning_rate" else t.advantage for t in found]
    return Score(gauge=GAUGE, name=name, value=float(np.mean(values)), n=len(found[0].annotators), null=null,
                 direction="higher", unit="share", estimator=how, note=note)  # fmt: skip


def _values(side: _Side, rows: NDArray[np.int64]) -> FloatArray:
    """Numbers of rows: their score, or the place of their option where options have no order."""
    score = side.answers.score[rows]
    return np.asarray(score if score.ndim == 1 else score.argmax(axis=1), dtype=np.float64)


def _drawn(side: _Side, rng: np.random.Generator) -> FloatArray:
    """(I,) for each item the answer of one row of the panel; of whole distributions one option is drawn."""
    order = rng.permutation(len(side.rows))
    _, first = np.unique(side.item[order], return_index=True)
    at = order[first]  # one row an item, in the order of items: every item has an answer
    rows = side.rows[at]
    if not side.answers.exact:
        return _values(side, rows)
    answers = side.answers
    if answers.probs is None or answers.ends is None:
        raise GaugeError("whole distributions need their options and the ends of their scale to be drawn from")
    low, high = answers.ends
    probs = answers.probs[rows]
    option = (rng.random(len(rows))[:, None] > probs.cumsum(axis=1)[:, :-1]).sum(axis=1)
    top = probs.shape[1] - 1
    place = np.where(upside_down(answers, low, high)[rows], top - option, option)
    return np.asarray(low + (high - low) * place / top)


# --- constraint ---------------------------------------------------------------------------------------------


def _components(ours: _Side, human: _Side, seed: int) -> list[Score]:
    """λ_1/Σλ of both sides at equal numbers of persons: it falls as persons are added, whoever they are."""
    if ours.answers.score.ndim > 1:
        raise GaugeError("options without an order have no component")
    size = min(len(ours.persons), len(human.persons))
    rng = np.random.default_rng(seed)
    return [
        _component(name, side.means(), size, rng)
        for name, side in (("first_component", ours), ("first_component_people", human))
    ]


def _component(name: str, means: FloatArray, size: int, rng: np.random.Generator) -> Score:
    how = "λ_1/Σλ of the covariance of items over persons, at as many persons as the smaller side has"
    given: dict[str, Any] = {"gauge": GAUGE, "name": name, "estimator": how, "unit": "share", "direction": "none"}
    try:
        whole = first_component_share(means, interval=len(means) == size)
        if len(means) == size:
            interval = "personas and items, two-way delete-one jackknife" if whole.low is not None else ""
            return Score(**given, value=whole.value, low=whole.low, high=whole.high, n=whole.n, note=whole.note,
                         unscored=whole.unscored, interval=interval)  # fmt: skip
        draws = [means[rng.permutation(len(means))[:size]] for _ in range(SPLITS)]
        value = float(np.mean([first_component_share(m, interval=False).value for m in draws]))
    except GaugeError as error:
        return Score(**given, value=None, note=str(error).splitlines()[0])
    note = f"mean over {SPLITS} draws of {size} of {len(means)} persons; all of them: {whole.value:.3g}"
    return Score(**given, value=value, n=size, unscored=whole.unscored, note=note)
