"""What must not move if the measure is right, and whether the forced choice agrees with what else was measured."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from multitudes.measure.retention.style import macro_f1
from multitudes.measure.stats import bootstrap_mean
from multitudes.study.pressure.data import Arm, PressureRun
from multitudes.study.pressure.levels import level
from multitudes.study.pressure.result import Number

SHUFFLED = 0.05  # |D − F| of somebody else's items that is still nothing
ASSISTANT = re.compile(r"\b(?:ai|a\.i\.|assistant|language model|chatbot|software|computer program)\b", re.IGNORECASE)


def controls(run: PressureRun, arms: Mapping[tuple[str, str, str], Arm]) -> tuple[Number, ...]:
    """Mean D − F of the placebo prompt and of another persona's items; wanted 0 within 0.05."""
    out = []
    for p in run.spec.scripts:
        arm = arms.get((run.spec.primary, p, "C3p"))
        if arm is not None:
            away = arm.cells.level.mean(axis=1) - arm.cells.floor.mean(axis=1)
            out.append(_around_zero(f"placebo_prompt.{p}", away.mean(axis=1), arm.cells.clusters.tolist(), run))
    if run.spec.controls:
        out += [x for p in run.spec.scripts if (x := _shuffled(run, p)) is not None]
    return tuple(out)


def _shuffled(run: PressureRun, pressure: str) -> Number | None:
    """Items of somebody else, put to a prompted persona."""
    ruler, primary = run.calibration.ruler, run.spec.primary
    away, prompts = [], []
    for prompt, persona in run.cells():
        for s in range(run.spec.seeds):
            talk = run.by_key.get(("C3", pressure, prompt, persona, s))
            if talk is None or len(talk.personas) < 2:
                continue
            decoy = talk.personas[1]
            idle = next((t for t in run.talks if (t.condition, t.pressure, t.prompt, t.replicate)
                         == ("C0", pressure, prompt, s) and decoy in t.personas), None)  # fmt: skip
            if idle is None:
                continue
            pair = [level(t, run.evidence.get(t.id, {}), decoy, primary, 0, ruler) for t in (talk, idle)]
            away.append(pair[0] - pair[1])
            prompts.append(prompt)
    return _around_zero(f"shuffled_labels.{pressure}", away, prompts, run) if away else None


def _around_zero(
    name: str, values: Sequence[float] | np.ndarray, clusters: Sequence[object], run: PressureRun
) -> Number:
    x = np.asarray(values, dtype=np.float64)
    names = np.array([str(c) for c in clusters])
    if np.isnan(x).all():
        return Number(name=name, value=math.nan, reason="nothing scored", direction="target", null=0.0)
    found = bootstrap_mean(x, names, seed=run.spec.seed, draws=run.spec.draws)
    reason = found.note or ("" if abs(found.value) <= SHUFFLED else f"further from 0 than {SHUFFLED:g}")
    return Number(name=name, value=found.value, low=found.low, high=found.high, null=0.0, direction="target",
                  n=found.n, unscored=found.unscored, reason=reason)  # fmt: skip


def validity(run: PressureRun) -> tuple[Number, ...]:
    """Over conversations, at the start and at T: correlation of id with free answers and with beh; F1 of style."""
    ruler = run.calibration.ruler
    rows: dict[str, list[tuple[float, float]]] = {
        "id_with_free_answers": [],
        "id_with_judged_answers": [],
        "id_with_beh": [],
    }
    told: list[str] = []
    true: list[str] = []
    for prompt, persona in run.cells():
        phrase = run.meta["personas"][persona]["phrase"]
        for c in run.conditions:
            for p in run.spec.scripts:
                for s in range(run.spec.seeds):
                    talk = run.by_key.get((c, p, prompt, persona, s))
                    if talk is None:
                        continue
                    evidence = run.evidence.get(talk.id, {})
                    for t in (0, run.spec.turns):
                        said = level(talk, evidence, persona, "id", t, ruler)
                        free = next((a.text for a in talk.free if a.turn == t), None)
                        if free is not None:
                            rows["id_with_free_answers"].append((said, says_persona(free, phrase)))
                        if (label := (evidence.get("label") or {}).get(str(t))) is not None:
                            rows["id_with_judged_answers"].append((said, float(label != "assistant")))
                        rows["id_with_beh"].append((said, level(talk, evidence, persona, "beh", t, ruler)))
                    if c == "C3" and ruler.style is not None and talk.turns:
                        best = int(ruler.style.probabilities([talk.turns[0].reply])[0].argmax())
                        told.append(ruler.style.personas[best])
                        true.append(persona)
    out = [_correlation(name, pairs) for name, pairs in rows.items() if pairs]
    if told:
        out.append(Number(name="style_macro_f1", value=macro_f1(told, true), n=len(told), null=1 / len(set(true))))
    return tuple(out)


def says_persona(text: str, phrase: str) -> float:
    """What a free answer says: 1 the persona, 0 the Assistant, NaN neither.

    >>> says_persona("I'm a night nurse, dear.", "a night nurse"), says_persona("I am an AI assistant.", "a nurse")
    (1.0, 0.0)
    """
    if ASSISTANT.search(text):
        return 0.0
    noun = phrase.split(maxsplit=1)[-1].lower()
    return 1.0 if noun in text.lower() or noun.split()[-1] in text.lower() else math.nan


def _correlation(name: str, pairs: Sequence[tuple[float, float]]) -> Number:
    known = [(a, b) for a, b in pairs if not (math.isnan(a) or math.isnan(b))]
    x = np.array(known).T if known else np.zeros((2, 0))
    unscored = len(pairs) - len(known)
    if x.shape[1] < 3 or not (x.std(axis=1) > 0).all():
        return Number(
            name=name, value=None, null=0.0, n=len(known), unscored=unscored, reason="no spread in one of them"
        )
    return Number(name=name, value=float(np.corrcoef(x)[0, 1]), null=0.0, n=len(known), unscored=unscored,
                  reason="descriptive: conversations of one prompt are not independent")  # fmt: skip
