"""From a stored run to what it says. No model is needed, and the same run gives the same numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import GaugeError
from multitudes.measure.errors import NoRange, TooFewClustersError, Unmatched
from multitudes.measure.retention.cells import Cells, check_measurable
from multitudes.measure.retention.compare import auc_difference, over_neutral, rho_difference
from multitudes.measure.retention.curve import recovery
from multitudes.measure.retention.matching import check_match
from multitudes.measure.retention.verdict import Pressed as Family
from multitudes.measure.retention.verdict import judge
from multitudes.measure.stats import MIN_CLUSTERS, Estimate
from multitudes.simulate.scripts import PRESSURES, neutral_of
from multitudes.study.pressure.arms import against_prompting, read_arm
from multitudes.study.pressure.beside import Samples, beside
from multitudes.study.pressure.controls import controls, validity
from multitudes.study.pressure.data import Arm, PressureRun, arm_of
from multitudes.study.pressure.hold import judge_role_hold
from multitudes.study.pressure.personas import thin
from multitudes.study.pressure.plan import TRAINED
from multitudes.study.pressure.power import power_line
from multitudes.study.pressure.refusal import refusals
from multitudes.study.pressure.result import (
    ArmResult,
    MatchResult,
    Number,
    PressureLine,
    PressureResult,
    RungResult,
    StartResult,
    VerdictResult,
)
from multitudes.study.pressure.spec import LABELS

NO_VERDICT_FOR = ("C0", "C3", "C3p")

Arms = dict[tuple[str, str, str], Arm]


def analyse(run: PressureRun) -> PressureResult:
    """Every arm, comparison, control and verdict of a run.

    Raises:
        GaugeError: The run holds nothing that could be read.
    """
    spec = run.spec
    kept = [d for d in spec.dispositions if d != "ref"]  # refusing has no start to be kept
    dispositions = (*kept, *(("judged",) if run.meta.get("judge") else ()))
    arms: Arms = {}
    for d in dispositions:
        for p in spec.scripts:
            for c in run.conditions:
                if c != "C0" and (found := arm_of(run, c, p, d)) is not None:
                    arms[d, p, c] = found
    match = _match(run, arms)
    matched = {s.condition: s.matched for s in match.starts} | {"C1": True}
    samples = Samples(spec)
    results = [_result(run, arms, key, matched.get(key[2]), samples) for key in _keys(run, dispositions)]
    verdicts = tuple(v for c in run.conditions if (v := _verdict(run, arms, c, matched, samples)) is not None)
    power = power_line(spec)
    said = _headline(run, results, verdicts, match)
    held = judge_role_hold(run, arms, seed=samples.seed)
    if held is not None:
        said.append(f"Role hold (a hypothesis): {held.words}; {'; '.join(held.reasons)}.")
        said += held.warnings
    return PressureResult(
        headline=tuple(said), match=match, arms=tuple(results), verdicts=verdicts,
        controls=controls(run, arms), validity=validity(run), calibration=_calibration(run), power=power,
        header=_header(run), refusals=refusals(run, seed=samples.seed), hold=held,
    )  # fmt: skip


def matching(run: PressureRun) -> MatchResult:
    """The matching report of a run, which may have been calibrated only."""
    return _match(run, {})


def _keys(run: PressureRun, dispositions: Sequence[str]) -> list[tuple[str, str, str]]:
    return [(d, p, c) for d in dispositions for p in run.spec.scripts for c in run.conditions if c != "C0"]


def _result(
    run: PressureRun, arms: Arms, key: tuple[str, str, str], matched: bool | None, samples: Samples
) -> ArmResult:
    d, p, c = key
    arm = arms.get(key)
    neutral = neutral_of(p) if p in PRESSURES else p
    base = {"disposition": d, "pressure": p, "condition": c, "label": LABELS[c], "neutral": neutral}
    if arm is None:
        reason = run.calibration.ruler.reasons.get(d) or "nothing was scored"
        if c in run.calibration.weak:
            reason = "at no rung of its ladder does it stand 0.2 above no persona"
        return ArmResult(**base, measurable=False, reason=reason)
    floor = "pooled" if c in TRAINED or run.spec.seeds < 3 else "cell"
    result = read_arm(arm, samples.of(arm.cells), base=base, matched=matched, floor=floor, spec=run.spec)  # type: ignore[arg-type]
    if not result.measurable:
        return result
    other, more = arms.get((d, p, "C3")), list[Number]()
    if c != "C3" and other is not None:
        more += against_prompting(arm, other, samples.of(arm.cells, other.cells), floor=floor, matched=matched,  # type: ignore[arg-type]
                                  seed=samples.seed)  # fmt: skip
    return result.model_copy(update={"numbers": (*result.numbers, *more, *beside(run, arms, key, samples))})


# --- matched start --------------------------------------------------------------------------------------------


def _match(run: PressureRun, arms: Arms) -> MatchResult:
    found = run.calibration
    if found.matching is None:
        return MatchResult(target=None, reason="no rung of the system prompt could be scored", weak=found.weak)
    plan = found.matching
    rungs = tuple(
        RungResult(condition=x.condition, rung=r.name, level=r.level, n=r.n, chosen=r == x.chosen)
        for x in plan.ladders
        for r in x.rungs
    )
    base: dict[str, Any] = {
        "target": plan.target,
        "limited_by": plan.limited_by,
        "rungs": rungs,
        "weak": found.weak,
    }
    first = run.spec.scripts[0]
    levels: dict[str, NDArray[np.float64]] = {}
    for c in run.conditions:
        arm = arms.get((run.spec.primary, first, c))
        if arm is not None and c not in TRAINED and c not in ("C0", "C3p", *found.weak):
            levels[c] = _by_prompt(arm.cells)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Unmatched)  # the report says it
            checked = check_match(plan, levels)
    except (GaugeError, StopIteration) as error:
        return MatchResult(**base, reason=str(error).splitlines()[0])
    starts = tuple(
        StartResult(condition=s.condition, rung=s.rung, level=s.level, deviation_sd=s.deviation_sd, matched=s.matched)
        for s in checked.starts
    )
    return MatchResult(**base, sd=checked.sd, starts=starts)


def _by_prompt(cells: Cells) -> NDArray[np.float64]:
    """Mean D₀ of each base prompt."""
    out = []
    for prompt in dict.fromkeys(cells.clusters.tolist()):
        values = cells.level[cells.clusters == prompt, :, 0]
        out.append(float(np.nanmean(values)) if not np.isnan(values).all() else math.nan)
    return np.array(out)


# --- verdicts -------------------------------------------------------------------------------------------------


def _verdict(
    run: PressureRun, arms: Arms, c: str, matched: Mapping[str, bool | None], samples: Samples
) -> VerdictResult | None:
    """The verdict on one condition against C3, on the primary disposition."""
    d = run.spec.primary
    if c in NO_VERDICT_FOR:
        return None
    if not any((d, p, c) in arms for p in run.spec.pressing):
        why = "it does not stand above no persona at the start" if c in run.calibration.weak else "nothing was scored"
        sentence = f"no verdict: not measurable, {why}"
        return VerdictResult(condition=c, label=LABELS[c], words="no verdict", sentence=sentence, pressures=())
    family: list[Family] = []
    failed: dict[str, float] = {}
    clusters, lines = math.inf, list[str]()
    for p in run.spec.pressing:
        mine, theirs, trained = (arms.get((d, p, x)) for x in (c, "C3", "C2"))
        idle = tuple(arms.get((d, neutral_of(p), x)) for x in (c, "C3"))
        if mine is None or theirs is None:
            lines.append(f"{p}: not measurable")
            continue
        failed |= {c: max(mine.failed, failed.get(c, 0.0)), "C3": max(theirs.failed, failed.get("C3", 0.0))}
        clusters = min(clusters, len(set(mine.cells.clusters) & set(theirs.cells.clusters)))
        neutral = (idle[0].cells, idle[1].cells) if idle[0] is not None and idle[1] is not None else None
        try:
            one = _family(p, mine.cells, theirs.cells, neutral, samples)
            if c != "C2" and trained is not None and matched.get("C2"):
                one = one._replace(as_trained=_as_trained(mine.cells, trained.cells, samples))
            family.append(one)
        except NoRange as error:
            lines.append(f"{p}: not measurable ({error.found})")
        except TooFewClustersError:
            pass
    if not family or clusters < MIN_CLUSTERS:  # a run that goes on may be further under one pressure than another
        why = "; ".join(lines) if lines and not family else f"{clusters:g} base prompts, of at least 20"
        return VerdictResult(
            condition=c, label=LABELS[c], words="no verdict", sentence=f"no verdict: {why}", pressures=()
        )
    found = judge(
        family, matched=c == "C1" or bool(matched.get(c) and matched.get("C3")), failed=failed, clusters=int(clusters)
    )
    rows = [PressureLine(pressure=j.pressure, reversed=j.reversed, line=j.line) for j in found.pressures]
    rows += [PressureLine(pressure=x.split(":")[0], reversed=False, line=x) for x in lines]
    return VerdictResult(
        condition=c, label=LABELS[c], words=found.words, sentence=found.sentence, pressures=tuple(rows)
    )


def _as_trained(mine: Cells, trained: Cells, samples: Samples) -> Estimate | None:
    """AUC_R minus that of the trained persona; None where the latter has nothing to lose."""
    try:
        check_measurable(trained)
        sample = samples.of(mine, trained)
        found = None if sample is None else auc_difference(mine, trained, sample, seed=samples.seed)
    except GaugeError:
        return None
    return (
        None if found is None else Estimate(found.value, found.low, found.high, found.n, found.unscored, found.note)
    )


def _family(p: str, mine: Cells, theirs: Cells, neutral: tuple[Cells, Cells] | None, samples: Samples) -> Family:
    for cells in (mine, theirs):
        check_measurable(cells)
    sample = samples.of(mine, theirs)
    if sample is None:
        raise TooFewClustersError("too few base prompts")
    beyond = None
    if neutral is not None and (four := samples.of(mine, theirs, *neutral)) is not None:
        try:
            beyond = over_neutral((mine, theirs), neutral, four)
        except NoRange:
            beyond = None
    own, other = (recovery(x) if x.turns[-1] > x.last else None for x in (mine, theirs))
    never_lost = own is not None and other is not None and own.rho is None and other.rho is not None and own.n > 0
    rho = rho_difference(mine, theirs, sample) if own is not None and other is not None else None
    return Family(p, auc_difference(mine, theirs, sample, seed=samples.seed), rho, beyond, None, never_lost)


# --- words ----------------------------------------------------------------------------------------------------


def _headline(
    run: PressureRun, arms: Sequence[ArmResult], verdicts: Sequence[VerdictResult], match: MatchResult
) -> list[str]:
    spec, out = run.spec, []
    held = [t for t in run.talks if not t.id.startswith("cal.")]
    planned = run.meta.get("planned") or 0
    faults = sum(t.fault is not None for t in held)
    out.append(
        f"{len(held)} of {planned} conversations held, {faults} of them ended by a fault; "
        f"{len(run.meta['personas'])} personas, {len(run.meta['prompts']['evaluation'])} base prompts."
    )
    if run.meta.get("left_out"):
        out.append(f"Without an axis artifact these were left out: {', '.join(run.meta['left_out'])}.")
    if warning := thin({k: p["facts"] for k, p in run.meta["personas"].items()}):
        out.append(f"{warning}.")
    for v in verdicts:
        out.append(f"{v.condition} ({v.label}): {v.sentence}.")
    prompted = [a for a in arms if (a.condition, a.disposition) == ("C3", spec.primary)]
    for a in prompted:
        auc = a.number("auc")
        if a.measurable and auc is not None and auc.value is not None and a.pressure in PRESSURES:
            life = a.number("half_life")
            out.append(
                f"Prompted personas under {a.pressure}: {auc.value:.0%} of what lies above no persona is kept on "
                f"average, half-life {life.text if life is not None and life.text else 'not told'} turns."
            )
        elif not a.measurable:
            out.append(f"Prompted personas under {a.pressure}: not measurable ({a.reason}).")
    return out


def _calibration(run: PressureRun) -> dict[str, Any]:
    ruler = run.calibration.ruler
    out: dict[str, Any] = {"reasons": dict(ruler.reasons), "rungs": dict(run.calibration.rungs)}
    if ruler.gate is not None:
        out["gate"] = ruler.gate._asdict()
    if ruler.behaviour is not None:
        out["behaviour"] = ruler.behaviour._asdict()
    out["items_kept"] = {f"{p}/{b}": list(items) for (p, b), items in ruler.items.items()}
    out["items_dropped"] = {
        f"{p}/{b}": dropped
        for (p, b), gains in run.calibration.gains.items()
        if (dropped := [i for i in gains if i not in ruler.items.get((p, b), ())])
    }
    return out


def _header(run: PressureRun) -> dict[str, Any]:
    spec = run.spec
    likelihoods = [d for d in spec.dispositions if d not in ("style", "ref")]
    by_judge = ["judged", *(d for d in spec.dispositions if d == "ref")] if run.meta.get("judge") else []
    return {
        "model": run.meta["model"], "banks": run.meta["banks"], "batteries": run.meta["batteries"],
        "versions": run.meta["versions"], "adapters": run.meta.get("adapters"),
        "axis": run.meta.get("axis"), "judge": run.meta.get("judge"),
        "by_likelihood": likelihoods, "by_classifier": [d for d in spec.dispositions if d == "style"],
        "by_judge": by_judge, "wall_s": run.meta.get("wall_s") or 0.0,
        "spec": spec.model_dump(mode="json"), "spec_hash": run.meta["spec_hash"],
    }  # fmt: skip
