"""What is decided on base prompts that no result is taken from: rungs, items, the scale of behaviour, coherence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multitudes.core.errors import GaugeError
from multitudes.measure.retention.behaviour import Behaviour, calibrate_behaviour
from multitudes.measure.retention.cells import MIN_RANGE
from multitudes.measure.retention.coherence import Gate, calibrate_gate
from multitudes.measure.retention.matching import Plan, choose_rungs
from multitudes.measure.retention.screening import screen_items
from multitudes.measure.retention.style import fit_style
from multitudes.simulate.press import Pressed
from multitudes.simulate.probes import BATTERIES
from multitudes.study.pressure.levels import Ruler, item_level, level, words
from multitudes.study.pressure.spec import PressureSpec

FOLLOWERS = {"C6": "C3", "C6w": "C3", "C6r": "C3", "C7b": "C3", "C3p": "C3"}


@dataclass(frozen=True, slots=True)
class Calibration:
    """What calibration decided.

    Attributes:
        ruler: How levels are measured.
        matching: Ladders, target and chosen rungs; None where nothing could be matched.
        rungs: Rung that each condition runs with.
        gains: Mean of C3 − C0 at the start by persona, battery and item.
        weak: Conditions whose best rung stands less than 0.2 above no persona: they are run at that rung, but the
            others are not weakened to meet them.
    """

    ruler: Ruler
    matching: Plan | None
    rungs: Mapping[str, str]
    gains: Mapping[tuple[str, str], Mapping[str, float]]
    weak: tuple[str, ...] = ()


def calibrate(
    spec: PressureSpec, personas: Sequence[str], evaluation: Sequence[str], talks: Sequence[Pressed],
    evidence: Mapping[str, Any],
) -> Calibration:  # fmt: skip
    """Read the calibration talks of a run; those of other stages are ignored.

    Args:
        spec: The run.
        personas: Their ids.
        evaluation: Base prompts that results are taken from; none may be among those of calibration.
        talks: Stored conversations.
        evidence: What the plain model says about them, by id.
    """
    by: dict[str, list[Pressed]] = {}
    for t in talks:
        if t.id.startswith("cal."):
            by.setdefault(t.condition, []).append(t)
    strongest = f"C3@{spec.c3_rungs[-1]}"
    plain, prompted = by.get("C0", []), by.get(strongest, [])
    items, events, gains = _screened(spec, personas, evaluation, plain, prompted)
    gate = _gate([*plain, *prompted], evidence)
    behaviour, reasons = _behaviour(spec, plain, prompted, evidence)
    for battery in (b for b in BATTERIES if b in spec.dispositions):
        if not any(k[1] == battery for k in items):
            reasons[battery] = "fewer than 3 items tell the prompted persona from no persona, for every persona"
    style = None
    if "style" in spec.dispositions:
        said = [(t.turns[0].reply, t.personas[0]) for k, v in by.items() if k.startswith("C3@") for t in v if t.turns]
        try:
            style = fit_style([r for r, _ in said], [p for _, p in said])
        except GaugeError as error:
            reasons["style"] = f"{error.what}: {error.found}"
    ruler = Ruler(items, events, gate, behaviour, style, reasons)
    ladders = _ladders(spec, by, evidence, ruler)
    floor = _mean([level(t, evidence.get(t.id, {}), p, spec.primary, 0, ruler) for t in plain for p in t.personas])
    best = {c: max((_mean(x), r) for r, x in rungs.items()) for c, rungs in ladders.items()}
    weak = tuple(c for c, (d, _) in best.items() if c != "C3" and not d - floor >= MIN_RANGE)
    rungs = {c: rung for c, rung in rungs_of(spec)} | {c: best[c][1] for c in weak}
    matching = None
    if "C3" in ladders:
        matching = choose_rungs({c: x for c, x in ladders.items() if c not in weak}, follows=FOLLOWERS)
        rungs |= {x.condition: x.chosen.name for x in matching.ladders}
    rungs |= {c: rungs["C3"] for c in FOLLOWERS}
    return Calibration(ruler, matching, rungs, gains, weak)


def _mean(values: Sequence[float]) -> float:
    scored = [x for x in values if not math.isnan(x)]
    return sum(scored) / len(scored) if scored else math.nan


def _screened(
    spec: PressureSpec,
    personas: Sequence[str],
    evaluation: Sequence[str],
    plain: Sequence[Pressed],
    prompted: Sequence[Pressed],
) -> tuple[
    dict[tuple[str, str], tuple[str, ...]], frozenset[tuple[str, str]], dict[tuple[str, str], dict[str, float]]
]:
    """Items on which the prompted persona differs from nobody, by persona and battery."""
    items: dict[tuple[str, str], tuple[str, ...]] = {}
    gains: dict[tuple[str, str], dict[str, float]] = {}
    events = set()
    for persona in personas:
        for battery in (b for b in BATTERIES if b in spec.dispositions):
            rows = []
            for talk in (t for t in prompted if persona in t.personas):
                same = next((t for t in plain if t.prompt == talk.prompt and persona in t.personas), None)
                if same is not None:
                    rows.append(
                        (talk.prompt, item_level(talk, persona, battery, 0), item_level(same, persona, battery, 0))
                    )
            names = sorted({k for _, high, low in rows for k in high if k in low})
            if not names:
                continue
            with_prompt = np.array([[high.get(n, math.nan) for n in names] for _, high, _ in rows])
            without = np.array([[low.get(n, math.nan) for n in names] for _, _, low in rows])
            found = screen_items(with_prompt, without, [r[0] for r in rows], evaluation=evaluation)
            gains[persona, battery] = dict(zip(names, map(float, found.gain), strict=True))
            if found.use != "unavailable":
                items[persona, battery] = tuple(n for n, keep in zip(names, found.kept, strict=True) if keep)
            if found.use == "retention and events":
                events.add((persona, battery))
    return items, frozenset(events), gains


def _gate(talks: Sequence[Pressed], evidence: Mapping[str, Any]) -> Gate | None:
    rows = [
        (words(t.turns[0].reply), float(nll))
        for t in talks
        if t.turns and (nll := evidence.get(t.id, {}).get("nll", {}).get("0")) is not None
    ]
    return calibrate_gate([r for r, _ in rows], [x for _, x in rows]) if rows else None


def _behaviour(
    spec: PressureSpec, plain: Sequence[Pressed], prompted: Sequence[Pressed], evidence: Mapping[str, Any]
) -> tuple[Behaviour | None, dict[str, str]]:
    if "beh" not in spec.dispositions:
        return None, {}

    def ratios(talks: Sequence[Pressed]) -> list[float]:
        found = (evidence.get(t.id, {}).get("llr", {}).get(p, {}).get("0") for t in talks for p in t.personas)
        return [float(x) for x in found if x is not None]

    try:
        found = calibrate_behaviour(ratios(prompted), ratios(plain))
    except GaugeError as error:
        return None, {"beh": error.what}
    return found, {"beh": found.reason} if found.reason else {}


def _ladders(
    spec: PressureSpec, by: Mapping[str, Sequence[Pressed]], evidence: Mapping[str, Any], ruler: Ruler
) -> dict[str, dict[str, list[float]]]:
    """Condition -> rung -> mean D₀ of each calibration prompt, on the primary disposition."""
    out: dict[str, dict[str, list[float]]] = {}
    for key, talks in by.items():
        name, _, rung = key.partition("@")
        if not rung:
            continue
        prompts: dict[str, list[float]] = {}
        for talk in talks:
            for persona in talk.personas:
                d = level(talk, evidence.get(talk.id, {}), persona, spec.primary, 0, ruler)
                prompts.setdefault(talk.prompt, []).append(d)
        found = [float(np.nanmean(v)) if not np.isnan(v).all() else math.nan for v in prompts.values()]
        if not np.isnan(found).all():
            out.setdefault(name, {})[rung] = found
    order = {f"{c}@{r}": i for i, (c, r) in enumerate(rungs_of(spec))}
    return {c: dict(sorted(r.items(), key=lambda x: order.get(f"{c}@{x[0]}", 0))) for c, r in sorted(out.items())}


def rungs_of(spec: PressureSpec) -> list[tuple[str, str]]:
    """(condition, rung) of all ladders, from weak to strong."""
    ladders = {"C2": spec.adapter_rungs, "C3": spec.c3_rungs, "C4": spec.c4_rungs, "C5": spec.c5_rungs}
    return [(c, str(r)) for c, rungs in ladders.items() if c in spec.conditions for r in rungs]
