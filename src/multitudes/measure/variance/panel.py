"""One panel and its placebo arms as a reading: persona signal beside what any prompt would do, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from multitudes.core.errors import GaugeError
from multitudes.core.records import Reading, Score
from multitudes.measure.variance.answers import ArmAnswers
from multitudes.measure.variance.arms import arm_icc, arm_parts, around, no_interval
from multitudes.measure.variance.beside_people import EPSILON, Beside, beside_people
from multitudes.measure.variance.panel_verdict import PLACEBOS, Terms, panel_verdict
from multitudes.measure.variance.people import against_people
from multitudes.measure.variance.reading import GAUGE, variance_reading
from multitudes.measure.variance.refusals import refusal_scores, take_refusals
from multitudes.measure.variance.signal_scores import TWO_WAY, signal_scores
from multitudes.measure.variance.verdict import Margins
from multitudes.measure.variance.wording import wording_score

__all__ = ["PLACEBOS", "ArmAnswers", "panel_reading"]


def panel_reading(
    arms: Mapping[str, ArmAnswers],
    *,
    waiver: str = "",
    human: ArmAnswers | None = None,
    temperature: float = 1.0,
    margins: Margins = Margins(),  # noqa: B008 - frozen
    epsilon: float = EPSILON,
    quick: bool = False,
    seed: int = 0,
) -> Reading:
    """Variance of the persona arm with its placebo ladder and the verdict.

    Args:
        arms: Answers by arm; ``persona`` must be there. Same items, runs and decoding in each.
        waiver: Why placebo arms are missing, in the words of whoever left them out.
        human: People's own answers to the same items, on the same scale.
        temperature: Of sampled runs.
        margins: Smallest differences that matter, fixed before the data.
        epsilon: How much less often than a person the panel may win the alternative annotator test, [0, 1).
        quick: Only the values: no permutation test, no ladder, no verdict.
        seed: Seed of permutations.

    Returns:
        The reading of ``variance_reading`` with ``kappa``, ``pir``, ``p_signal`` and one ``icc_within_ARM`` per
        placebo added, and tables ``ladder`` and ``verdict``; with people also the distances to them, what
        ``beside_people`` finds, and a table ``groups``. Where there can be no verdict its table says why; where
        answers were refused by who was asked it is the least favourable one, see ``refusals``.
    """
    ours = arms["persona"]
    base = variance_reading(
        ours.score, ours.persona, ours.item, run=None if ours.exact else ours.run, run_variance=ours.run_variance,
        seed=seed,
    )  # fmt: skip
    draws = 99 if quick else 999
    extra, p = signal_scores(ours, seed=seed, draws=draws)
    refused = take_refusals(arms, human, seed=seed, draws=draws)
    extra += refusal_scores(refused)
    if ours.worded is not None:
        extra.append(wording_score(ours.worded))
    if quick:
        return base.model_copy(update={"scores": (*base.scores, *extra)})
    ladder = [_rung(name, answers) for name, answers in arms.items()]
    scores = [s for row in ladder if (s := _arm_score(row)) is not None]
    distance = None
    if human is not None and ours.probs is not None and human.probs is not None:
        try:
            found, distance = against_people(
                ours.probs, ours.item, human.probs, human.item, exact=ours.exact, ordinal=ours.ordered, seed=seed
            )
        except GaugeError as error:
            found = [Score(gauge=GAUGE, name="people_jsd", value=None, note=str(error).splitlines()[0])]
        scores += found
    beside = Beside([], []) if human is None else beside_people(ours, human, epsilon=epsilon, seed=seed)
    verdict = panel_verdict(refused, p=p, distance=distance, terms=Terms(waiver, temperature, margins, seed, draws))
    return base.model_copy(
        update={
            "scores": (*base.scores, *extra, *scores, *beside.scores),
            "tables": {
                **base.tables,
                "ladder": ladder,
                "verdict": verdict,
                **({"groups": beside.groups} if beside.groups else {}),
            },
        }
    )


def _rung(name: str, answers: ArmAnswers) -> dict[str, Any]:
    """One arm of the placebo ladder: its ICC_within with interval, or why there is none."""
    row: dict[str, Any] = {"arm": name, "icc_within": None, "low": None, "high": None, "note": ""}
    try:
        cells = answers.cells()
        arm = arm_icc(cells)
    except GaugeError as error:
        return {**row, "people": len(np.unique(answers.persona)), "note": str(error).splitlines()[0]}
    row |= {"people": len(cells.personas), "items": len(cells.items), "icc_within": arm.value}
    if why := no_interval(arm):
        return {**row, "note": why}
    low, high = around(arm.value, arm_parts(arm), 0.95)
    return {**row, "low": low, "high": high}


def _arm_score(row: Mapping[str, Any]) -> Score | None:
    if row["arm"] == "persona":
        return None
    return Score(
        gauge=GAUGE, name=f"icc_within_{row['arm'].replace('-', '_')}", value=row["icc_within"], low=row["low"],
        high=row["high"], n=row["people"], null=0.0, unit="share", note=row["note"],
        estimator="icc_within of this placebo arm: signal that is there without the personas",
        interval=TWO_WAY if row["low"] is not None else "",
    )  # fmt: skip
