"""One panel and its placebo arms as a reading: persona signal beside what any prompt would do, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import GaugeError
from multitudes.core.records import Reading, Score
from multitudes.measure.stats import Estimate
from multitudes.measure.variance.arms import ArmICC, arm_icc, arm_parts, around, no_interval
from multitudes.measure.variance.components import Cells, collect, components, identical_run_share, spreads
from multitudes.measure.variance.demographics import JOINT, demographic_shares
from multitudes.measure.variance.information import count_answers, counted_information
from multitudes.measure.variance.missing import least_favourable, refusal_test
from multitudes.measure.variance.option_information import option_information
from multitudes.measure.variance.people import against_people
from multitudes.measure.variance.permanova import Units, permutation_p
from multitudes.measure.variance.planner import from_pilot, plan
from multitudes.measure.variance.power import HUMAN_LOG_SE
from multitudes.measure.variance.reading import GAUGE, variance_reading
from multitudes.measure.variance.runs import check_runs
from multitudes.measure.variance.verdict import Arms, Enough, Margins, judge
from multitudes.measure.variance.wording import Worded, wording_score

FloatArray = NDArray[np.float64]

REFUSAL_P, REFUSAL_SHARE = 0.05, 0.1  # beyond either, missing answers are no accident
PLACEBOS = {"none": "none", "random-text": "random_text", "shuffled": "shuffled", "demographics": "demographics"}
_TWO_WAY = "personas and items, two-way delete-one jackknife V_p + V_i, Satterthwaite t; conservative"


@dataclass(frozen=True, slots=True)
class ArmAnswers:
    """Answers of one arm, or of people.

    Attributes:
        score: (n,) numeric answers, or (n, K) one-hot rows of options without an order; NaN is unscored.
        persona: (n,) who answered.
        item: (n,) what was asked.
        run: (n,) which run; None where nobody numbered them.
        probs: (n, K) probability of each option, a one-hot row where one was given; NaN where unscored. None where
            answers are numbers without options.
        run_variance: (n,) variance of each answer's own option distribution. Given, ``probs`` are whole
            distributions (the exact form), one per persona and item.
        attributes: (n,) values by attribute, for people with known demographics.
        ordered: Whether options are steps of a scale.
        worded: The same answers with the way each question was put, where it was put in several.
    """

    score: FloatArray
    persona: NDArray[Any]
    item: NDArray[Any]
    run: NDArray[Any] | None = None
    probs: FloatArray | None = None
    run_variance: FloatArray | None = None
    attributes: Mapping[str, NDArray[Any]] | None = None
    ordered: bool = True
    worded: Worded | None = None

    @property
    def exact(self) -> bool:
        """Whether answers are whole distributions."""
        return self.run_variance is not None

    def cells(self) -> Cells:
        """The design as sums per persona and item."""
        run = None if self.exact else self.run
        return collect(self.score, self.persona, self.item, run=run, run_variance=self.run_variance)


def panel_reading(
    arms: Mapping[str, ArmAnswers],
    *,
    waiver: str = "",
    human: ArmAnswers | None = None,
    temperature: float = 1.0,
    margins: Margins = Margins(),  # noqa: B008 - frozen
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
        quick: Only the values: no permutation test, no ladder, no verdict.
        seed: Seed of permutations.

    Returns:
        The reading of ``variance_reading`` with ``kappa``, ``pir``, ``p_signal`` and one ``icc_within_ARM`` per
        placebo added, and tables ``ladder`` and ``verdict``. Where there can be no verdict its table says why.
    """
    ours = arms["persona"]
    base = variance_reading(
        ours.score, ours.persona, ours.item, run=None if ours.exact else ours.run, run_variance=ours.run_variance,
        seed=seed,
    )  # fmt: skip
    draws = 99 if quick else 999
    extra, p = _information(ours, seed=seed, draws=draws)
    extra += _refusals(ours, seed=seed, draws=draws)
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
    verdict = _verdict(arms, p, waiver, human, distance, temperature, margins)
    return base.model_copy(
        update={
            "scores": (*base.scores, *extra, *scores),
            "tables": {**base.tables, "ladder": ladder, "verdict": verdict},
        }
    )


def _information(ours: ArmAnswers, *, seed: int, draws: int) -> tuple[list[Score], float | None]:
    """κ_P and persona information of categorical answers, and the permutation p; None where there is no test."""
    if ours.probs is None:
        test = _permuted(ours, seed=seed, draws=draws)
        return ([] if test is None else [_p_signal(test, "SS_A", draws)]), test
    scored = ~np.isnan(ours.probs).any(axis=1)
    if ours.exact:
        people, p = np.unique(ours.persona, return_inverse=True)
        items, i = np.unique(ours.item, return_inverse=True)
        mass = np.full((len(people), len(items), ours.probs.shape[1]), np.nan)
        mass[p[scored], i[scored]] = ours.probs[scored]
        exact = option_information(mass)
        form, pir, kappa, note, test = "exact", exact.pir, exact.kappa, exact.note, None
    else:
        said = ours.probs[scored].argmax(axis=1)
        counted = counted_information(
            count_answers(said, ours.persona[scored], ours.item[scored]).n, seed=seed, draws=draws
        )
        form, pir, kappa, note, test = "counts, chance removed", counted.pir, counted.kappa, counted.note, counted.p
    scores = [
        _score("kappa", kappa, "1 - ΣD_w/ΣD_b: persona share of answers that differ, options unordered", note, 0.0),
        _score("pir", pir, f"Σ I(persona; answer) / Σ H(answer) over items, {form}", note, 0.0),
    ]
    if test is not None:
        scores.append(_p_signal(test, "ΣI", draws))
    return scores, test


def _refusals(ours: ArmAnswers, *, seed: int, draws: int) -> list[Score]:
    """Whether missing answers depend on who was asked, and then the least favourable share of any completion."""
    if ours.score.ndim > 1 or not (gone := np.isnan(ours.score)).any() or gone.all():
        return []
    test = refusal_test(gone, ours.persona, ours.item, seed=seed, draws=draws)
    how = "permutation of persona cells within items, statistic Σ(O - E)²/E of missing answers"
    out = [Score(gauge=GAUGE, name="p_refusal", value=test.p, estimator=how, direction="none", unit="p-value",
                 note=f"{int(gone.sum())} answers missing")]  # fmt: skip
    _, who = np.unique(ours.persona, return_inverse=True)
    heaviest = float((np.bincount(who, gone) / np.bincount(who)).max())
    if ours.exact or ((test.p is None or test.p >= REFUSAL_P) and heaviest <= REFUSAL_SHARE):
        return out
    low, high = float(np.nanmin(ours.score)), float(np.nanmax(ours.score))

    def read(y: FloatArray) -> float:
        return float(spreads(collect(y, ours.persona, ours.item, run=ours.run)).icc_within)

    try:
        name, worst, _ = least_favourable(read, ours.score, ours.persona, ours.item, low=low, high=high, favour=float)
    except GaugeError as error:
        name, worst = str(error).splitlines()[0], float("nan")
    out.append(Score(gauge=GAUGE, name="icc_within_bound", value=worst, null=0.0, direction="higher", unit="share",
                     estimator="least favourable icc_within with missing answers filled in four ways",
                     note=f"answers are missing by who was asked; worst: {name}"))  # fmt: skip
    return out


def _p_signal(p: float, statistic: str, draws: int) -> Score:
    how = f"(1+#)/(1+{draws}), # permutations of runs over personas within items whose {statistic} is as large"
    return Score(gauge=GAUGE, name="p_signal", value=p, estimator=how, direction="lower", unit="p-value")


def _permuted(ours: ArmAnswers, *, seed: int, draws: int) -> float | None:
    """Permutation p of persona signal in plain numbers; None where nobody was asked twice."""
    scored = ~np.isnan(ours.score)
    _, item = np.unique(ours.item[scored], return_inverse=True)
    _, cell = np.unique(
        np.stack([item, np.unique(ours.persona[scored], return_inverse=True)[1]]), axis=1, return_inverse=True
    )
    if len(item) == cell.max() + 1:
        return None
    y = ours.score[scored]
    centred = y - (np.bincount(item, y) / np.bincount(item))[item]
    return permutation_p(Units(centred[:, None], np.ones(len(y)), item, cell.reshape(-1)), draws=draws, seed=seed)


def _score(name: str, found: Estimate | None, how: str, note: str, null: float) -> Score:
    number: dict[str, Any] = {"value": None}
    if found is not None:
        number = {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    return Score(
        gauge=GAUGE, name=name, estimator=how, interval=_TWO_WAY if number.get("low") is not None else "",
        direction="higher", null=null, unit="share", note=note or (found.note if found else ""), **number,
    )  # fmt: skip


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
        interval=_TWO_WAY if row["low"] is not None else "",
    )  # fmt: skip


def _verdict(
    arms: Mapping[str, ArmAnswers],
    p: float | None,
    waiver: str,
    human: ArmAnswers | None,
    distance: Estimate | None,
    temperature: float,
    margins: Margins,
) -> dict[str, Any]:
    ours = arms["persona"]
    try:
        cells = ours.cells()
        if not ours.exact:
            check_runs(identical_run_share(cells), temperature=temperature)
        given = Arms(
            persona=arm_icc(cells),
            **{field: arm_icc(arms[name].cells()) for name, field in PLACEBOS.items() if name in arms},
        )
        # Whole distributions have no run noise to test against: whether they differ is a fact.
        certain = 0.0 if ours.exact else 1.0
        repeats = _repeats(human, cells)
        ask = partial(
            judge, given, p=certain if p is None else p, human=repeats, distance=distance, margins=margins,
            demographics=_demographics(ours, human), human_demographics=_demographics(human, ours), waiver=waiver,
        )  # fmt: skip
        found = ask()
        if found.state == "underpowered":
            found = ask(enough=_enough(cells, given, repeats is not None, margins))
    except GaugeError as error:
        return {"state": "no verdict", "sentence": f"No verdict: {str(error).splitlines()[0]}.", "lines": [],
                "questions": [], "what_to_do": error.hint or ""}  # fmt: skip
    return {
        "state": found.state,
        "sentence": found.sentence,
        "lines": list(found.lines),
        "questions": [a._asdict() for a in found.answers],
        "waiver": found.waiver,
    }


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
    both = {name: one.attributes[name] for name in one.attributes if name in other.attributes}
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
