"""What a run over the drift domains says, as plain JSON: curves, excursions, return, arms compared, prediction.

One number stands for one turn: z at the analysis layer, of the model's own activations. Intervals resample whole
scripts where there are eight of them, because two runs of one script are not independent; else conversations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.axis.build import warnings_of
from multitudes.core.canonical import strict_values
from multitudes.core.errors import GaugeError
from multitudes.core.records import Conversation
from multitudes.measure.drift import MIN_SAMPLES, conversation_drift, pooled_drift
from multitudes.measure.drift_prediction import DriftPrediction, predict_drift
from multitudes.measure.stats import MIN_CLUSTERS, Estimate, bootstrap_mean, paired_difference
from multitudes.models.encode import Encoder
from multitudes.simulate.drift_domains import OFF_POLICY, DriftTalk
from multitudes.study.drift import DriftRun
from multitudes.study.taps import limit_of

FloatArray = NDArray[np.float64]
SCHEMA = 1
ALL = "all domains"
LOWEST = 4  # turns that are quoted from each arm
PUBLISHED = "published: 0.53 to 0.77 for z and 0.10 for its change, in-sample, 15,000 turns of three large models"


class Held(NamedTuple):
    """Conversations of one arm without faults. C conversations.

    Attributes:
        talks: C talks.
        conversations: C conversations.
        z: (K, C, T) by watched block, conversation and turn of the model; NaN is unscored or was never held.
        faults: Conversations that were left out.
    """

    talks: tuple[DriftTalk, ...]
    conversations: tuple[Conversation, ...]
    z: FloatArray
    faults: int

    def of(self, domain: str) -> NDArray[np.intp]:
        """Which conversations belong to a domain, or all."""
        return np.array([i for i, t in enumerate(self.talks) if domain in (ALL, t.domain)], dtype=np.intp)


def held_of(run: DriftRun, arm: str) -> Held:
    """The conversations of an arm in the order of the plan, with where their turns lie."""
    n = run.setup.turns + run.setup.neutral
    pairs = [(t, run.held[arm][t.talk.id]) for t in run.talks if t.talk.id in run.held[arm]]
    kept = [(t, c) for t, c in pairs if c.complete]
    z = np.full((len(run.layers), len(kept), n), np.nan)
    for i, (_, c) in enumerate(kept):
        for j, turn in enumerate(t for t in c.turns if t.speaker == "target"):
            if turn.inside is not None:
                z[:, i, j] = turn.inside.z
    return Held(tuple(t for t, _ in kept), tuple(c for _, c in kept), z, len(pairs) - len(kept))


def drift_result(run: DriftRun, *, encoder: Encoder | None = None, seed: int | None = None) -> dict[str, Any]:
    """Everything that a page, a table or another program needs.

    Args:
        run: What was held.
        encoder: Makes vectors of the users' messages, for prediction; None leaves prediction out.
        seed: Seed of intervals and permutations; that of the run if None.

    Returns:
        Values that JSON has; NaN (unscored) as the string "NaN".
    """
    root = run.setup.seed if seed is None else seed
    held = {arm: held_of(run, arm) for arm in run.held}
    first = next(iter(held))
    domains = [*run.setup.domains, *([ALL] if len(run.setup.domains) > 1 else [])]
    limits = [limit_of(run.axis, layer) for layer in run.layers]
    by_layer = []
    for k, layer in enumerate(run.layers):
        curves = {a: {d: _curve(run, h, k, d, root) for d in domains} for a, h in held.items()}
        rows = [
            {"arm": a, "domain": d} | _row(run, h, k, d, limits[k], root) for a, h in held.items() for d in domains
        ]
        apart = [
            {"arm": a, "against": first, "domain": d} | _apart(run, h, held[first], k, d, limits[k], root)
            for a, h in held.items() if a != first for d in domains
        ]  # fmt: skip
        by_layer.append({"layer": layer, "limit": limits[k], "curves": curves, "summary": rows, "differences": apart})
    result: dict[str, Any] = {
        "schema": SCHEMA, "kind": "drift", "view": "own",
        "label": "z of the model's own activations, read while it wrote",
        "mode": run.mode, "auditor": run.auditor, "off_policy": OFF_POLICY if run.mode == "scripted" else "",
        "axis": _axis(run), "setup": _setup(run),
        "arms": [
            {"name": a, "model": i.name, "engine": i.fingerprint, "small_model": i.small_model,
             "conversations": len(held[a].talks), "faults": held[a].faults}
            for a, i in run.models.items()
        ],
        "domains": domains, "layers": by_layer,
        "prediction": {a: predict(run, h, encoder, seed=root) for a, h in held.items()},
        "published": PUBLISHED, "encoder": "" if encoder is None else encoder.name,
        "lowest": {a: _lowest(run, h) for a, h in held.items()},
        "conversations": [_talk(run, a, h, held[first]) for a, h in held.items()],
    }  # fmt: skip
    plain: dict[str, Any] = strict_values(result)
    return plain


def _axis(run: DriftRun) -> dict[str, Any]:
    a = run.axis
    return {
        "id": run.axis_id, "model": str(a.about.get("model", "")), "method": a.method, "layer": a.layer,
        "window": list(a.window), "preset": str(a.about.get("preset", "")), "warnings": warnings_of(a),
    }  # fmt: skip


def _setup(run: DriftRun) -> dict[str, Any]:
    s = run.setup
    return {
        "domains": list(s.domains), "turns": s.turns, "neutral": s.neutral, "replicates": s.replicates,
        "seed": s.seed, "scripts": len({(t.domain, t.script) for t in run.talks}),
        "temperature": s.sampling.temperature, "top_p": s.sampling.top_p, "max_tokens": s.sampling.max_tokens,
    }  # fmt: skip


# --- statistics ---------------------------------------------------------------------------------------------------


def _clusters(held: Held, chosen: NDArray[np.intp]) -> tuple[NDArray[Any], str]:
    """What is resampled: scripts where there are enough of them, else conversations."""
    scripts = np.array([f"{held.talks[i].domain}.{held.talks[i].script}" for i in chosen])
    if len(np.unique(scripts)) >= MIN_CLUSTERS:
        return scripts, "scripts"
    return np.array([str(i) for i in chosen]), "conversations"


def _curve(run: DriftRun, held: Held, k: int, domain: str, seed: int) -> dict[str, Any]:
    """Mean z by turn, domain turns and everyday ones.

    A position needs ten conversations, as in the paper, because later positions belong to the talkative. Scripts are
    all of one length, so where fewer were planned their number is enough: nobody has dropped out.
    """
    chosen = held.of(domain)
    planned = sum(domain in (ALL, t.domain) for t in run.talks)
    z = held.z[k][chosen]
    who, _ = _clusters(held, chosen)
    found = pooled_drift(z, seed=seed, clusters=who, views=["own"] * len(z), minimum=min(MIN_SAMPLES, planned))
    c = found.curve
    return {
        "turn": [int(x) + 1 for x in c.x], "z": c.value.tolist(), "low": c.low.tolist(), "high": c.high.tolist(),
        "n": c.n.tolist(), "neutral_from": run.setup.turns + 1 if run.setup.neutral else None,
        "dropped": [t + 1 for t in found.dropped], "conversations": int((~np.isnan(z)).any(axis=1).sum()),
    }  # fmt: skip


def _row(run: DriftRun, held: Held, k: int, domain: str, limit: float, seed: int) -> dict[str, Any]:
    """One arm in one domain."""
    chosen = held.of(domain)
    who, what = _clusters(held, chosen)
    z, after = held.z[k][chosen, : run.setup.turns], held.z[k][chosen, run.setup.turns :]
    d = conversation_drift(z, limit=limit)
    last, calibrated = _last(z), not np.isnan(limit)
    left = ~np.isnan(d.left)
    away = last < limit
    first_after = after[:, 0] if after.shape[1] else np.full(len(z), np.nan)

    def mean(values: ArrayLike) -> dict[str, Any]:
        return _shown(bootstrap_mean(values, who, seed=seed))

    return {
        "conversations": len(z), "resampled": what, "mean_z": mean(_mean(z)), "slope": mean(d.slope),
        "change": mean(d.change), "outside": mean(d.outside) if calibrated else None,
        "left": int(left.sum()) if calibrated else None,
        "returned": int((~np.isnan(d.returned)).sum()) if calibrated else None,
        "ended_outside": int(away.sum()) if calibrated else None,
        "neutral_asked": int((away & ~np.isnan(first_after)).sum()) if calibrated else None,
        "neutral_back": int((away & (first_after >= limit)).sum()) if calibrated else None,
        "neutral_change": mean(first_after - last) if after.shape[1] else None,
        "unscored": int(np.isnan(held.z[k][chosen]).sum()),
    }  # fmt: skip


def _apart(run: DriftRun, held: Held, base: Held, k: int, domain: str, limit: float, seed: int) -> dict[str, Any]:
    """An arm minus the first one, paired by conversation: same messages, same seeds."""
    at = {t.talk.id: i for i, t in enumerate(base.talks)}
    pairs = [(i, at[held.talks[i].talk.id]) for i in held.of(domain) if held.talks[i].talk.id in at]
    mine = np.array([i for i, _ in pairs], dtype=np.intp)
    theirs = np.array([j for _, j in pairs], dtype=np.intp)
    who, what = _clusters(held, mine)
    turns = run.setup.turns
    a, b = held.z[k][mine, :turns], base.z[k][theirs, :turns]
    da, db = conversation_drift(a, limit=limit), conversation_drift(b, limit=limit)

    def difference(x: FloatArray, y: FloatArray) -> dict[str, Any]:
        found = paired_difference(x, y, who, seed=seed)
        return {"value": found.value, "low": found.low, "high": found.high, "p": found.p, "n": found.n,
                "note": found.note}  # fmt: skip

    return {
        "pairs": len(pairs), "resampled": what, "mean_z": difference(_mean(a), _mean(b)),
        "slope": difference(da.slope, db.slope), "change": difference(da.change, db.change),
        "outside": None if np.isnan(limit) else difference(da.outside, db.outside),
    }  # fmt: skip


def _mean(z: FloatArray) -> FloatArray:
    """(C,) mean of the scored turns; NaN where there are none."""
    n = (~np.isnan(z)).sum(axis=1)
    out = np.full(len(z), np.nan)
    np.divide(np.nansum(z, axis=1), n, out=out, where=n > 0)
    return out


def _last(z: FloatArray) -> FloatArray:
    """(C,) the last scored turn."""
    there = ~np.isnan(z)
    if not z.shape[1]:
        return np.full(len(z), np.nan)
    return np.asarray(z[np.arange(len(z)), z.shape[1] - 1 - there[:, ::-1].argmax(axis=1)])


def _shown(e: Estimate) -> dict[str, Any]:
    return {"value": e.value, "low": e.low, "high": e.high, "n": e.n, "note": e.note}


# --- prediction ---------------------------------------------------------------------------------------------------


def predict(run: DriftRun, held: Held, encoder: Encoder | None, *, seed: int) -> dict[str, Any]:
    """Does the user's message predict where the answer lies? Held-out and in-sample R², or why there is none.

    Rows are the turns of the domains; everyday questions are left out, which would be told from the rest at once.
    """
    if encoder is None:
        return {"missing": "no encoder was given"}
    z, texts, people, talks, turns, domains = [], [], [], [], [], []
    for i, (talk, c) in enumerate(zip(held.talks, held.conversations, strict=True)):
        said = [t.text for t in c.turns if t.speaker == "user"]
        for j, text in enumerate(said[: run.setup.turns]):
            z.append(held.z[0, i, j])
            texts.append(text)
            people.append(talk.talk.persona.id)
            talks.append(c.id)
            turns.append(j)
            domains.append(talk.domain)
    if not texts:
        return {"missing": "no turn was scored"}
    known = list(dict.fromkeys(texts))
    at = {text: k for k, text in enumerate(known)}
    try:
        vectors = encoder.encode(known).astype(np.float64)
        found = predict_drift(
            np.array(z), vectors[[at[t] for t in texts]], personas=people, conversations=talks, turns=turns,
            domains=domains, seed=seed,
        )  # fmt: skip
    except GaugeError as error:
        details = f" ({error.found}; needed: {error.expected})" if error.found and error.expected else ""
        return {"missing": error.what + details}
    return _prediction(found)


def _prediction(p: DriftPrediction) -> dict[str, Any]:
    return {
        "r2_out": _shown(p.r2_out), "r2_in_sample": p.r2_in_sample,
        "r2_change": None if p.r2_change is None else _shown(p.r2_change), "r2_domain": p.r2_domain,
        "r2_history": p.r2_history, "r2_within": dict(p.r2_within), "p": p.p, "exchangeable": p.exchangeable,
        "n_turns": p.n_turns, "n_personas": p.n_personas, "n_conversations": p.n_conversations,
        "unscored": p.unscored,
    }  # fmt: skip


# --- what was said ------------------------------------------------------------------------------------------------


def _lowest(run: DriftRun, held: Held) -> list[dict[str, Any]]:
    """The turns furthest from the Assistant, one of each conversation at most."""
    z = held.z[0][:, : run.setup.turns]
    rows = []
    for i in range(len(z)):
        if not np.isnan(z[i]).all():
            rows.append((float(np.nanmin(z[i])), i, int(np.nanargmin(z[i]))))
    out = []
    for value, i, j in sorted(rows)[:LOWEST]:
        c = held.conversations[i]
        said = [t.text for t in c.turns if t.speaker == "user"][j]
        answer = [t.text for t in c.turns if t.speaker == "target"][j]
        out.append({"z": value, "turn": j + 1, "domain": held.talks[i].domain, "script": held.talks[i].script,
                    "user": said, "model": answer})  # fmt: skip
    return out


def _talk(run: DriftRun, arm: str, held: Held, base: Held) -> dict[str, Any]:
    """All conversations of an arm, with the turn from which its answers differ from those of the first arm."""
    answers = {t.talk.id: _answers(c) for t, c in zip(base.talks, base.conversations, strict=True)}
    rows = []
    for i, (talk, c) in enumerate(zip(held.talks, held.conversations, strict=True)):
        mine, theirs = _answers(c), answers.get(talk.talk.id, [])
        apart = next((j + 1 for j, (x, y) in enumerate(zip(mine, theirs, strict=False)) if x != y), None)
        rows.append(
            {
                "id": c.id, "domain": talk.domain, "script": talk.script, "run": c.replicate, "ended": c.stop_reason,
                "differs_from_turn": apart, "z": held.z[:, i].tolist(),
                "turns": [
                    {"speaker": t.speaker, "text": t.text, "tokens": None if t.inside is None else t.inside.n_tokens}
                    for t in c.turns
                ],
            }
        )  # fmt: skip
    faults = [
        {"id": c.id, "fault": c.fault.code, "detail": c.fault.detail[:300]}
        for c in run.held[arm].values() if c.fault is not None
    ]  # fmt: skip
    return {"arm": arm, "held": rows, "faults": faults}


def _answers(c: Conversation) -> list[str]:
    return [t.text for t in c.turns if t.speaker == "target"]
