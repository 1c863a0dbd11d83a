"""A run as the plain values its page shows: one function per section."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from multitudes.core.records import Answer, Conversation, Fault, Reading, Turn
from multitudes.report.words import GAUGES, STOPS, counted, duration, interval, number, percent, shown
from multitudes.study.data import RunData
from multitudes.study.summary import ShownUsage

FAULTS_LISTED = 200
_BETTER = {"none": "", "target": "near a target"}


def deck(run: RunData) -> list[tuple[str, str]]:
    """What was run, as (name, value) pairs."""
    spec, models = run.spec, run.info["models"]
    names = {part: m.get("name", "?") for part, m in models.items()}
    rules = spec.conversation
    talks = f"{counted(len(spec.scenarios), 'scenario')}, {counted(rules.replicates, 'run')} each, "
    talks += f"up to {counted(rules.turns, 'turn')} of the person"
    survey = run.questionnaire
    rows = [
        ("People", f"{len(run.population)}, made by {run.population.generator}"),
        ("Played by", names.get("simulator", spec.models.simulator)),
        ("Talking to", names.get("target", "")) if spec.scenarios else ("Talking to", "nobody: no scenarios"),
        ("Conversations", talks) if spec.scenarios else ("Conversations", "none"),
        ("Survey", f"{survey.title or survey.id}, {counted(len(survey.items), 'item')}")
        if survey
        else ("Survey", "none"),
        ("Seed", str(spec.seed)),
    ]
    return [(k, v) for k, v in rows if v]


def unfinished(run: RunData) -> str:
    """A sentence where something planned is not there yet; empty for a finished run."""
    planned = run.info["planned"]
    parts = []
    for what, done in (("conversations", len(run.conversations)), ("answers", len(run.answers))):
        want = planned.get(what, 0)
        if done < want:
            parts.append(f"{done:,} of {want:,} {what}")
    if not planned or parts or not run.readings:
        have = " and ".join(parts) or "nothing has been measured yet"
        return f"This run is not finished: {have}. Run the same command again to go on."
    return ""


def ordered(run: RunData) -> list[Conversation]:
    """Conversations as a reader looks for them: by person, scenario and run. Links count in this order."""
    place = {p.id: k for k, p in enumerate(run.population.personas)}
    last = len(place)
    return sorted(
        run.conversations, key=lambda c: (place.get(c.persona_id or "", last), c.scenario_id or "", c.replicate, c.id)
    )


def transcripts(run: RunData) -> list[dict[str, Any]]:
    """Conversations for the browser of transcripts."""
    return [_talk(c) for c in ordered(run)]


def _talk(c: Conversation) -> dict[str, Any]:
    out: dict[str, Any] = {
        "id": c.id, "person": c.persona_id, "scenario": c.scenario_id, "run": c.replicate + 1, "stop": c.stop_reason,
        "turns": [_turn(t) for t in c.turns],
    }  # fmt: skip
    if c.fault is not None:
        out["fault"] = _fault(c.fault)
    if c.probes:
        out["probes"] = [
            f"after turn {p.after_turn}: {p.id}, " + " / ".join(shown(float(f"{v:.3g}")) for v in p.probs)
            for p in c.probes
        ]
    return out


def _turn(t: Turn) -> dict[str, Any]:
    out: dict[str, Any] = {"who": t.speaker, "text": t.text}
    if t.guards:
        out["guards"] = list(t.guards)
    if t.rejected:
        out["rejected"] = [{"text": d.text, "guards": list(d.guards)} for d in t.rejected]
    if t.reasoning:
        out["thinking"] = t.reasoning
    if t.ends:
        out["ends"] = True
    return out


def _fault(f: Fault) -> dict[str, Any]:
    return {"kind": f.kind, "code": f.code, "detail": f.detail, "turn": None if f.turn is None else f.turn + 1}


def people(run: RunData) -> list[dict[str, Any]]:
    """Who the people are, with a name that no two share."""
    names = distinct_names(run)
    return [
        {"id": p.id, "name": names[p.id], "text": p.text, "facts": [f"{k}: {v}" for k, v in p.facts.items()],
         "fallback": p.fallback}
        for p in run.population.personas
    ]  # fmt: skip


def distinct_names(run: RunData) -> dict[str, str]:
    """Names by id; people who share one get the start of their id behind it."""
    counts = Counter(p.name for p in run.population.personas)
    return {
        p.id: (p.name if counts[p.name] == 1 else f"{p.name} ({p.id[:6]})") or p.id for p in run.population.personas
    }


def survey(run: RunData, reading: Reading | None) -> dict[str, Any] | None:
    """Positions and answers by person, for the survey table; None where nobody was asked."""
    q = run.questionnaire
    if q is None:
        return None
    table = (reading.tables.get("persona_map") if reading else None) or {}
    z = dict(zip(table.get("personas") or [], table.get("z") or [], strict=False))
    t = dict(zip(table.get("personas") or [], table.get("t") or [], strict=False))
    axes = table.get("axes") or [d.id for d in q.dimensions]
    names = {d.id: d.name for d in q.dimensions}
    answers: dict[str, list[dict[str, Any]]] = {}
    order = {item.id: k for k, item in enumerate(q.items)}
    for a in sorted(run.own_answers, key=lambda a: (order.get(a.item_id, len(order)), a.replicate, a.id)):
        answers.setdefault(a.persona_id, []).append(_answer(a, order))
    return {
        "axes": [names.get(a, a) for a in axes],
        "labels": list(q.labels),
        "items": [
            {"text": i.text, "axis": names.get(i.dimension, i.dimension), "reverse": i.reverse} for i in q.items
        ],
        "z": [[_short(v) for v in z.get(p.id, [None] * len(axes))] for p in run.population.personas],
        "t": [[_short(v) for v in t[p.id]] if p.id in t else None for p in run.population.personas],
        "answers": [answers.get(p.id, []) for p in run.population.personas],
    }


def _answer(a: Answer, order: Mapping[str, int]) -> dict[str, Any]:
    out: dict[str, Any] = {"item": order.get(a.item_id, a.item_id), "score": _short(a.score)}
    if a.probs is not None:
        out["probs"] = [_short(p) for p in a.probs]
    if a.mode == "sampled" and a.text is not None:
        out["text"] = a.text
    if a.fault is not None:
        out["fault"] = _fault(a.fault)
    return out


def _short(value: Any) -> float | None:
    """Four digits are more than a bar can show; JSON has no NaN."""
    v = number(value)
    return None if v is None or not math.isfinite(v) else round(v, 4)


def scores(run: RunData) -> list[dict[str, Any]]:
    """All scores by gauge, in words."""
    out = []
    for reading in run.readings:
        rows = [
            {
                "name": s.name,
                "value": shown(s.value),
                "unit": s.unit,
                "interval": interval(s.low, s.high),
                "null": "" if s.null is None else shown(s.null),
                "better": _BETTER.get(s.direction, s.direction),
                "n": f"{s.n:,}",
                "unscored": f"{s.unscored:,}",
                "how": s.estimator,
                "resampled": s.interval,
                "note": s.note,
            }
            for s in reading.scores
        ]
        out.append({"gauge": reading.gauge, "title": GAUGES.get(reading.gauge, reading.gauge), "rows": rows})
    return out


def quotes(run: RunData) -> list[dict[str, Any]]:
    """Lines worth showing, with who said them, where, and the place to read on."""
    names = distinct_names(run)
    talks = ordered(run)
    index = {c.id: k for k, c in enumerate(talks)}
    out = []
    for q in (q for r in run.readings for q in r.quotes):
        k = index.get(q.conversation_id)
        c = None if k is None else talks[k]
        who = "an unknown speaker" if c is None or c.persona_id is None else names.get(c.persona_id, c.persona_id)
        place = [] if c is None or c.scenario_id is None else [c.scenario_id, f"run {c.replicate + 1}"]
        link = None if k is None else f"#talk-{k}-{q.turn}"
        out.append({"text": q.text, "why": q.why, "who": who, "where": [*place, f"turn {q.turn + 1}"], "link": link})
    return out


def alike(run: RunData) -> list[dict[str, Any]]:
    """The most alike pairs of lines, side by side, with who said them and the place to read on."""
    names = distinct_names(run)
    talks = ordered(run)
    index = {c.id: k for k, c in enumerate(talks)}

    def side(row: Mapping[str, Any]) -> dict[str, Any]:
        k = index.get(row.get("conversation", ""))
        c = None if k is None else talks[k]
        who = names.get(row["source"], row["source"])
        place = [] if c is None else [*([c.scenario_id] if c.scenario_id else []), f"run {c.replicate + 1}"]
        turn = [] if c is None else [f"turn {row['turn'] + 1}"]
        link = None if k is None else f"#talk-{k}-{row['turn']}"
        return {"text": row["text"], "who": who, "where": [*place, *turn], "link": link}

    rows = [row for r in run.readings for row in r.tables.get("alike") or ()]
    return [
        {"where": "between people" if row["where"] == "across" else "within one person",
         "common": percent(row["rouge_l"]), "sides": [side(s) for s in row["sides"]]}
        for row in rows
    ]  # fmt: skip


def faults(run: RunData) -> dict[str, Any]:
    """What went wrong, by kind, and what was left out of the numbers."""
    names = distinct_names(run)
    rows = [
        {"kind": c.fault.kind, "code": c.fault.code, "detail": c.fault.detail, "link": f"#talk-{k}-0",
         "where": f"{names.get(c.persona_id or '', c.persona_id or 'conversation')}, {c.scenario_id or c.id}"
         + ("" if c.fault.turn is None else f", turn {c.fault.turn + 1}")}
        for k, c in enumerate(ordered(run)) if c.fault is not None
    ] + [
        {"kind": a.fault.kind, "code": a.fault.code, "detail": a.fault.detail, "link": None,
         "where": f"{names.get(a.persona_id, a.persona_id)}, item {a.item_id}"
         + ("" if a.arm == "persona" else f" (placebo: {a.arm})")}
        for a in run.answers if a.fault is not None
    ]  # fmt: skip
    unscored = sum(math.isnan(a.score) and a.fault is None for a in run.answers)
    kept = sum(bool(t.guards) for c in run.conversations for t in c.turns)
    counts = [
        *((f"{kind} faults", n) for kind, n in sorted(Counter(r["kind"] for r in rows).items())),
        ("conversations stopped by the budget", sum(c.stop_reason == "budget" for c in run.conversations)),
        ("conversations begun again after a fault", run.info["attempts"]),
        ("survey answers that could not be read (unscored)", unscored),
        ("lines kept although a guard fired", kept),
        ("people a template wrote because the writer could not", sum(p.fallback for p in run.population.personas)),
        *((f"units unscored by {r.gauge}, at most", max(s.unscored for s in r.scores)) for r in run.readings
          if r.scores),
    ]  # fmt: skip
    ends = Counter(c.stop_reason for c in run.conversations)
    return {
        "counts": counts,
        "rows": rows[:FAULTS_LISTED],
        "more": max(len(rows) - FAULTS_LISTED, 0),
        "ends": [(STOPS.get(k, k), n) for k, n in ends.most_common()],
    }


def cost(usage: ShownUsage) -> list[tuple[str, str]]:
    """What the run cost."""
    share = f" ({usage.cached / usage.tokens_in:.0%} not computed again)" if usage.tokens_in else ""
    return [
        ("Calls of models", f"{usage.calls:,}"),
        ("Tokens in", f"{usage.tokens_in:,}"),
        ("of these cached", f"{usage.cached:,}{share}"),
        ("Tokens out", f"{usage.tokens_out:,}"),
        ("Draws that guards rejected", f"{usage.rejected_draws:,}"),
        ("Tokens in, for measuring", f"{usage.measure_tokens_in:,}"),
        ("Time, all resumptions", duration(usage.wall_s)),
        ("Money", "unknown: no price was given" if usage.cost is None else f"{usage.cost:,.2f} US dollars"),
    ]
