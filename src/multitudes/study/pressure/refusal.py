"""Refusing under the user's own prompts (P3): a judge labels each reply, blind to the condition.

No prompts are shipped. What a judge writes is parsed strictly and asked once more; then the reply is unscored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from multitudes.core.canonical import content_hash
from multitudes.core.seeds import derive_seed
from multitudes.measure.retention.refusal import LABELS, MEANING, Label, count, declined, parse_label
from multitudes.measure.stats import bootstrap_mean, paired_difference
from multitudes.models.base import ChatModel, Message, Request
from multitudes.simulate.press import Pressed
from multitudes.study.pressure.arms import number_of
from multitudes.study.pressure.data import PressureRun
from multitudes.study.pressure.judge import SAMPLING, fill, template
from multitudes.study.pressure.result import Number, RefusalResult
from multitudes.study.pressure.spec import LABELS as CONDITION_LABELS

PRESSURE, NOBODY = "P3", "C0"
NOT_YET = "no reply was labelled yet; going on with the run does it"


def refusal_hash() -> str:
    """Hash of what a judge is asked about refusing, for the record of a run."""
    return content_hash([template("refusal"), template("refusal_again"), list(MEANING.items())], length=16)


async def label_refusals(
    judge: ChatModel, talks: Sequence[Pressed], *, root: str
) -> list[tuple[str, dict[str, Any]]]:
    """Labels of the replies under pressure of some conversations, in one batch and once more for those unread.

    The judge sees the message and the reply, and neither the condition nor the persona.

    Returns:
        Per conversation ``refusal``: by turn a label, or None where twice none could be read, or the judge failed.
    """
    labels = "\n".join(f"{name}: the reply {meaning}" for name, meaning in MEANING.items())
    places = [(t.id, turn) for t in talks for turn in t.turns if turn.phase == "pressure"]
    asked: list[tuple[Message, ...]] = [
        (Message("user", fill("refusal", said=turn.said, reply=turn.reply, labels=labels)),) for _, turn in places
    ]
    found: list[Label | None] = [None] * len(places)
    open_ = list(range(len(places)))
    for attempt in range(2):
        requests = [
            Request(asked[i], SAMPLING, seed=derive_seed(root, "refusal", places[i][0], places[i][1].turn),
                    replicate=attempt, keep=False)
            for i in open_
        ]  # fmt: skip
        replies = await judge.reply(requests) if requests else []
        still = []
        for i, reply in zip(open_, replies, strict=True):
            if reply.fault is not None:
                continue
            found[i] = parse_label(reply.text)
            if found[i] is None and reply.text.strip():
                again = fill("refusal_again", labels=", ".join(LABELS))
                asked[i] = (*asked[i], Message("assistant", reply.text), Message("user", again))
            still += [i] if found[i] is None else []
        open_ = still
    out: dict[str, dict[str, Any]] = {t.id: {"refusal": {}} for t in talks}
    for (talk, turn), label in zip(places, found, strict=True):
        out[talk]["refusal"][str(turn.turn)] = label
    return list(out.items())


def refusals(run: PressureRun, *, seed: int) -> tuple[RefusalResult, ...]:
    """Share of replies that decline in every condition, and its difference from nobody (C0) on the same prompts.

    The trained default under P3 is C0: an arm of its own stands beside it only where the user's bank pushes to the
    persona. Clusters are base prompts: a statement about these prompts of the user's.
    """
    if "ref" not in run.spec.dispositions or PRESSURE not in run.spec.pressing:
        return ()
    by = {c: _shares(run, c) for c in run.conditions}
    out = []
    for condition in run.conditions:
        talks = _talks(run, condition)
        if not talks:
            continue
        labels = [x for t in talks for x in _labels(run, t)]
        numbers = _numbers(run, condition, by, labels, seed) if labels else _empty()
        out.append(
            RefusalResult(
                condition=condition, label=CONDITION_LABELS[condition], replies=len(labels),
                labels=dict(count(labels).by_label), numbers=tuple(numbers),
            )
        )  # fmt: skip
    return tuple(out)


def _numbers(
    run: PressureRun, condition: str, by: dict[str, np.ndarray], labels: Sequence[Label | None], seed: int
) -> list[Number]:
    clusters = np.array([prompt for prompt, _ in run.cells()], dtype=object)
    found = count(labels)
    unscored = found.unread + found.by_label["garbled"] + found.by_label["unclear"]
    mean = bootstrap_mean(by[condition], clusters, seed=seed, draws=run.spec.draws)
    out = [
        number_of("declined", mean).model_copy(update={"unscored": unscored}),
        Number(name="declined_at_least", value=found.at_least, n=mean.n, unscored=unscored,
               reason="all replies, those that cannot be told taken to give in"),
        Number(name="declined_in_role", value=_known(found.in_role), n=mean.n, direction="none",
               reason="" if found.in_role == found.in_role else "none declined"),
        Number(name="unread", value=found.unread / len(labels), n=mean.n, direction="lower", unit="share"),
    ]  # fmt: skip
    if condition != NOBODY:
        more = paired_difference(by[condition], by[NOBODY], clusters, seed=seed, draws=run.spec.draws)
        out.append(number_of("declined_difference", more, null=0.0))
    return out


def _empty() -> list[Number]:
    return [Number(name="declined", value=math.nan, reason=NOT_YET)]


def _known(x: float) -> float | None:
    return None if math.isnan(x) else x


def _talks(run: PressureRun, condition: str) -> list[Pressed]:
    """Conversations of a condition of its own, each once."""
    return [
        t for t in run.talks if (t.condition, t.pressure) == (condition, PRESSURE) and not t.id.startswith("cal.")
    ]


def _labels(run: PressureRun, talk: Pressed) -> list[Label | None]:
    return list((run.evidence.get(talk.id, {}).get("refusal") or {}).values())


def _shares(run: PressureRun, condition: str) -> np.ndarray:
    """(g,) share of replies that decline in each cell, over seeds and turns; NaN where none tells."""
    out = []
    for prompt, persona in run.cells():
        told = []
        for s in range(run.spec.seeds):
            talk = run.by_key.get((condition, PRESSURE, prompt, persona, s))
            told += [] if talk is None else [declined(x) for x in _labels(run, talk)]
        scored = [x for x in told if not math.isnan(x)]
        out.append(sum(scored) / len(scored) if scored else math.nan)
    return np.array(out)
