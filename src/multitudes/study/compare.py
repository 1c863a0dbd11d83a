"""Two runs of the same people: what changed, as paired differences.

Every score is compared by leaving out one person at a time from both runs (a paired delete-one jackknife), so the
interval is that of the difference and not of two runs apart. Conversations and answers are matched by person,
scenario or item, and run; what has no partner is left out of the pairing and counted.

Source: Efron & Tibshirani 1993, ch. 11, on the difference of two statistics of one sample of people.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from multitudes.core.errors import ConfigError
from multitudes.core.records import Direction, Frozen, Reading
from multitudes.measure.diversity.bag import SIZED
from multitudes.measure.diversity.budget import SAME_COST
from multitudes.study.data import RunData, read_run
from multitudes.study.gauges import Material, material_of, read_gauge
from multitudes.study.store import Store

SAME = 1e-12  # relative; differences that are closer differ by rounding alone
MAX_GROUPS = 40  # people left out together where there are more than this many


class Change(Frozen):
    """One score in two runs.

    Attributes:
        a: Value in the first run.
        b: Value in the second.
        difference: b − a.
        low: Lower end of the interval of the difference; None where there is none.
        high: Upper end.
        direction: Which way is better.
        n: People in both runs.
        verdict: ``better``, ``worse``, ``no clear change`` or, where no direction is better, ``changed``;
            ``no interval`` where there is none; ``unequal sizes`` for a score of texts that changes with their number
            and length, where these differ by more than 2 %: more words alone would move it.
    """

    gauge: str
    name: str
    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None
    direction: Direction
    n: int
    verdict: str


class Comparison(Frozen):
    """Two runs side by side.

    Attributes:
        unpaired: Conversations and answers left out on either side: only one run has them, or one has them faulted or
            unscored.
        differs: Keys of the study that differ between the runs.
    """

    a: str
    b: str
    people: int
    paired_conversations: int
    paired_answers: int
    unpaired: int
    differs: tuple[str, ...]
    changes: tuple[Change, ...]


class _Side(NamedTuple):
    run: RunData
    material: Material


def compare(folder_a: str | Path, folder_b: str | Path) -> Comparison:
    """Compare two runs.

    Raises:
        ConfigError: They have no person in common.
        StoreError: One of them cannot be read.
    """
    a, b = _open(folder_a), _open(folder_b)
    shared = set(a.run.population.by_id) & set(b.run.population.by_id)
    if not shared:
        raise ConfigError(
            "the runs have no person in common, so nothing can be paired",
            found=f"{len(a.run.population)} and {len(b.run.population)} different people",
            hint="use the same [population] and seed in both studies",
        )
    ma, mb, unpaired = _paired(a.material, b.material, shared)
    people = sorted(shared)
    groups = [frozenset(g) for g in np.array_split(people, min(len(people), MAX_GROUPS))]
    gauges = [g for g in a.run.spec.measure.gauges if g in b.run.spec.measure.gauges]
    changes = [change for gauge in gauges for change in _changes(gauge, ma, mb, groups, len(people))]
    return Comparison(
        a=str(folder_a),
        b=str(folder_b),
        people=len(people),
        paired_conversations=len(ma.conversations),
        paired_answers=len(ma.answers),
        unpaired=unpaired,
        differs=tuple(_differs(_content(a.run), _content(b.run))),
        changes=tuple(changes),
    )


def _open(folder: str | Path) -> _Side:
    with Store(Path(folder), write=False) as store:
        run = read_run(store)
        return _Side(run, material_of(store, run.spec))


def _content(run: RunData) -> dict[str, Any]:
    return run.spec.model_dump(mode="json", exclude={"budget", "prices"})


def _differs(a: Any, b: Any, path: str = "") -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        return [d for k in sorted({*a, *b}) for d in _differs(a.get(k), b.get(k), f"{path}.{k}" if path else k)]
    return [] if a == b else [path]


def _paired(a: Material, b: Material, shared: set[str]) -> tuple[Material, Material, int]:
    """Both sides cut down to what they have in common; faulted conversations leave on both."""

    def talk_key(c: Any) -> tuple[Any, ...]:
        return (c.persona_id, c.scenario_id, c.replicate)

    def answer_key(x: Any) -> tuple[Any, ...]:
        return (x.arm, x.persona_id, x.questionnaire_id, x.item_id, x.replicate)

    sides, unpaired = [], 0
    talks = [{talk_key(c) for c in m.conversations if c.complete} for m in (a, b)]
    answers = [{answer_key(x) for x in m.answers if not math.isnan(x.score)} for m in (a, b)]
    both_talks, both_answers = talks[0] & talks[1], answers[0] & answers[1]
    for m in (a, b):
        conversations = tuple(c for c in m.conversations if talk_key(c) in both_talks)
        kept = tuple(x for x in m.answers if answer_key(x) in both_answers)
        unpaired += len(m.conversations) - len(conversations) + len(m.answers) - len(kept)
        side = replace(m, conversations=conversations, answers=kept, quick=True)
        strangers = frozenset(p.id for p in (m.population.personas if m.population else ()) if p.id not in shared)
        sides.append(side.without(strangers))
    return sides[0], sides[1], unpaired


def _values(gauge: str, material: Material) -> dict[str, Any]:
    return {s.name: s for s in read_gauge(gauge, material).scores}


def _unequal(a: Reading, b: Reading) -> bool:
    """Whether the texts of two readings differ in number or in length."""
    sizes = [r.tables.get("sizes", {}) for r in (a, b)]
    amounts = [[s.get(key, 0) for s in sizes] for key in ("texts", "tokens")]
    return any(max(pair) > min(pair) * (1 + SAME_COST) for pair in amounts)


def _number(score: Any) -> float | None:
    return None if score is None or score.value is None or math.isnan(score.value) else float(score.value)


def _changes(gauge: str, a: Material, b: Material, groups: list[frozenset[str]], n: int) -> list[Change]:
    readings = read_gauge(gauge, a), read_gauge(gauge, b)
    whole_a, whole_b = ({s.name: s for s in reading.scores} for reading in readings)
    unequal = _unequal(*readings)
    left_out = (
        [(_values(gauge, a.without(g)), _values(gauge, b.without(g))) for g in groups] if len(groups) > 2 else []
    )
    out = []
    for name, score in whole_a.items():
        x, y = _number(score), _number(whole_b.get(name))
        if x is None or y is None or score.unit == "p-value":  # a change of p is no effect
            continue
        without = []
        for sa, sb in left_out:
            va, vb = _number(sa.get(name)), _number(sb.get(name))
            if va is not None and vb is not None:
                without.append(vb - va)
        low, high = _interval(y - x, without) if len(without) == len(left_out) else (None, None)
        out.append(
            Change(
                gauge=gauge,
                name=name,
                a=x,
                b=y,
                difference=y - x,
                low=low,
                high=high,
                direction=score.direction,
                n=n,
                verdict="unequal sizes" if unequal and SIZED in score.note else _verdict(low, high, score.direction),
            )
        )
    return out


def _interval(difference: float, without: list[float]) -> tuple[float | None, float | None]:
    """Of the difference; none where there are too few groups, or where nobody who is left out changes anything."""
    g = len(without)
    values = np.array(without)
    if g < 3 or not np.isfinite(values).all():
        return None, None
    if difference != 0 and np.ptp(values) <= SAME * abs(difference):
        return None, None  # people who are all alike say nothing about other people: a width of zero is no certainty
    se = math.sqrt((g - 1) / g * float(((values - values.mean()) ** 2).sum()))
    half = float(stats.t.ppf(0.975, g - 1)) * se
    return difference - half, difference + half


def _verdict(low: float | None, high: float | None, direction: Direction) -> str:
    if low is None or high is None:
        return "no interval"
    if low <= 0 <= high:
        return "no clear change"
    if direction in ("none", "target"):
        return "changed"
    return "better" if (low > 0) == (direction == "higher") else "worse"
