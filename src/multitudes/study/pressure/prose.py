"""What a hold costs language in general: perplexity of running text, plain and under the holds of a run.

The text is the shipped prose of the capability check, in windows that stand alone: nobody is played in them. Every
window is read plain, under the holds of some of the personas, under their holds on random directions, and under the
Assistant cap where one ran. Each is one record, stored under a hash of its tokens and edits, so that nothing is read
twice and a longer reading goes on from a shorter one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from multitudes.axis.capability import Material, measured
from multitudes.axis.capability_items import WINDOW, shipped_prose, spread, windows_of
from multitudes.core.canonical import content_hash
from multitudes.core.errors import GaugeError
from multitudes.measure.stats import Estimate, bootstrap_mean
from multitudes.models.base import Bare
from multitudes.models.edit import Edit
from multitudes.study.pressure.plan import Sources
from multitudes.study.pressure.store import PROSE, PressureStore

PLAIN = "plain"
SAME_HOLDS = "the holds of C6, on other people: the same reading"


class Unit(NamedTuple):
    """One window with everything it is read under.

    Attributes:
        window: Its tokens.
        arms: (condition, persona, edit); the first is plain.
    """

    window: Bare
    arms: tuple[tuple[str, str, Edit | None], ...]

    @property
    def key(self) -> str:
        """Where its record is stored: the same tokens under the same edits have the same key."""
        arms = [[c, who, "" if e is None else e.fingerprint] for c, who, e in self.arms]
        return PROSE + content_hash([list(self.window.ids), self.window.start, arms], length=24)


def readers(n_windows: int, people: Sequence[str], tokens: int) -> dict[int, tuple[str, ...]]:
    """Whose holds each window is read under: ``tokens`` in all, spread over the text and over people.

    Every window is read once before any is read a second time, under somebody else's hold.

    >>> readers(4, ["a", "b", "c"], 2 * 256), readers(2, ["a", "b", "c"], 4 * 256)
    ({1: ('a',), 3: ('c',)}, {0: ('a', 'c'), 1: ('b', 'a')})
    """
    n = min(max(1, tokens // WINDOW), n_windows * len(people))
    if n <= n_windows:
        some = [people[i] for i in spread(len(people), n)]
        return {w: (some[j % len(some)],) for j, w in enumerate(spread(n_windows, n))}
    out: dict[int, tuple[str, ...]] = dict.fromkeys(range(n_windows), ())
    cycle = len(people) // math.gcd(n_windows, len(people))  # turns after which going round would pair the same again
    for turn in range(math.ceil(n / n_windows)):
        for w in spread(n_windows, n - turn * n_windows):
            out[w] += (people[(turn * n_windows + w + turn // cycle) % len(people)],)
    return out


def units(template: Any, sources: Sources, conditions: Sequence[str], tokens: int) -> list[Unit]:
    """Windows of the shipped prose and the edits they are read under.

    Raises:
        GaugeError: A text shorter than one window.
    """
    windows = windows_of(template, shipped_prose())
    out = []
    for number, people in readers(len(windows), list(sources.hold), tokens).items():
        arms: list[tuple[str, str, Edit | None]] = [(PLAIN, "", None)]
        if "C7b" in conditions:
            arms.append(("C7b", "", sources.cap))
        for who in people:
            arms.append(("C6", who, sources.hold[who]))
            if "C6r" in conditions:
                arms.append(("C6r", who, sources.random[who]))
        out.append(Unit(windows[number], tuple(arms)))
    return out


async def read_prose(
    store: PressureStore, model: Any, sources: Sources, conditions: Sequence[str], tokens: int, *,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> None:  # fmt: skip
    """Read what has not been read; which windows belong to the run is stored before the first.

    Args:
        store: Of the run.
        model: The plain model.
        sources: Its holds.
        conditions: Those that ran.
        tokens: See ``readers``.
        watch: Called with windows read, and of how many.
    """
    if not hasattr(model, "follow"):
        store.put_meta(prose={"keys": [], "reason": "the engine does not read bare text"})
        return
    try:
        todo = units(model.template, sources, conditions, tokens)
    except GaugeError as error:
        store.put_meta(prose={"keys": [], "reason": error.what})
        return
    store.put_meta(prose={"keys": [u.key for u in todo], "reason": ""})
    known = store.evidence_ids()
    missing = [u for u in todo if u.key not in known]
    for done, unit in enumerate(missing, len(todo) - len(missing)):
        watch(done, len(todo))
        found = await measured(model, [edit for _, _, edit in unit.arms], Material([unit.window], [], [], []))
        rows = [
            {"condition": c, "persona": who, "nll": float(m.window_nll[0]), "engaged": m.engaged, "moved": m.moved}
            for (c, who, _), m in zip(unit.arms, found, strict=True)
        ]
        store.add_evidence([(unit.key, {"tokens": found[0].n_scored, "arms": rows})])
    watch(len(todo), len(todo))


class Reading(NamedTuple):
    """What a condition does to running text.

    Attributes:
        ratio: exp(mean paired ΔNLL), 1 = unchanged, lower is better, with its interval over windows; NaN where there
            is no ratio, and the note says why.
        engaged: Share of tokens of the text that were moved; None where nothing was read.
        tokens: Tokens scored under the condition.
    """

    ratio: Estimate
    engaged: float | None
    tokens: int


def reading_of(
    records: Sequence[Mapping[str, Any]], condition: str, *, planned: int, seed: int, draws: int
) -> Reading:
    """The perplexity ratio of one condition, from stored records.

    Readings of one window under several holds are resampled together. A reading in which nothing was moved says
    nothing about what the change costs: it is void and has no ratio.

    Args:
        records: Of the windows that were read.
        condition: C6, C6w, C6r or C7b.
        planned: Windows that were to be read.
        seed: Of the draws.
        draws: Number of them.
    """
    told = [f"{len(records)} of {planned} windows read so far"] if len(records) < planned else []
    delta, windows, engaged, tokens = list[float](), list[int](), list[float](), 0
    for k, record in enumerate(records):
        plain = next(a["nll"] for a in record["arms"] if a["condition"] == PLAIN)
        for arm in record["arms"]:
            if arm["condition"] == ("C6" if condition == "C6w" else condition):
                delta.append(arm["nll"] - plain)
                windows.append(k)
                engaged.append(arm["engaged"])
                tokens += record["tokens"]
    share = float(np.mean(engaged)) if engaged else None
    if not share:
        told.append("not read" if share is None else "it engaged nowhere on that text, so the reading is void")
        return Reading(Estimate(math.nan, None, None, len(set(windows)), 0, "; ".join(told)), share, tokens)
    mean = bootstrap_mean(delta, windows, seed=seed, weighting="unit", draws=draws)
    low, high = (None if x is None else math.exp(x) for x in (mean.low, mean.high))
    told += [SAME_HOLDS] if condition == "C6w" else []
    note = "; ".join(x for x in (*told, mean.note) if x)
    return Reading(Estimate(math.exp(mean.value), low, high, mean.n, mean.unscored, note), share, tokens)
