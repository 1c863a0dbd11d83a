"""Small runs in every state a report can meet; every string that a model or a user can write is an argument."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from multitudes.core.records import (
    Answer,
    Call,
    Conversation,
    Curve,
    Dimension,
    Draw,
    Fault,
    Item,
    Persona,
    Placement,
    Point,
    Population,
    Questionnaire,
    Quote,
    Reading,
    Scenario,
    Score,
    Turn,
)
from multitudes.study.data import RunData
from multitudes.study.spec import PopulationSpec, StudySpec, SurveySpec

EMPTY_INFO: dict[str, Any] = {
    "planned": {}, "models": {}, "versions": {}, "templates": {}, "wall_s": 0.0, "attempts": 0, "measure_usage": {},
}  # fmt: skip


def make_run(text: str = "plain", **changes: Any) -> RunData:
    """A small finished run in which every string a model or a user can write is ``text``."""
    axes = tuple(Dimension(id=i, name=f"{i} {text}", low=f"low {text}", high=f"high {text}") for i in ("a", "b", "c"))
    people = tuple(
        Persona(
            id=f"p{k}", name=f"{text} {k}", text=f"who {k} {text}", facts={f"age {text}": text}, fallback=k == 0,
            placement={d.id: Placement(target=k / 3, rung=0, phrase=text) for d in axes},
        )
        for k in range(4)
    )  # fmt: skip
    filed = text.replace("\ud800", "")  # files are UTF-8, which has no lone surrogates
    asked = tuple(Dimension(id=d.id, name=f"{d.id} {filed}", low=f"low {filed}", high=f"high {filed}") for d in axes)
    questionnaire = Questionnaire(
        id="q", title=filed, context=filed, labels=("no", f"maybe {filed}", "yes"), dimensions=asked,
        items=tuple(Item(id=f"i{d.id}", dimension=d.id, text=f"item {filed}") for d in axes),
    )  # fmt: skip
    turns = (
        Turn(speaker="user", text=f"first {text}", rejected=(Draw(text=f"draft {text}", guards=(f"g {text}",)),),
             guards=(f"kept {text}",), reasoning=text, call=Call(cost_usd=None)),
        Turn(speaker="target", text=text, ends=True),
    )  # fmt: skip
    fault = Fault(kind="target", code=f"code {text}", detail=f"detail {text}", side="target", turn=1)
    talks = (
        *(Conversation(id=f"c{k}", persona_id=f"p{k}", scenario_id=f"s {text}", turns=turns, stop_reason="max_turns")
          for k in range(3)),
        Conversation(id="c3", persona_id="p3", scenario_id="s", stop_reason="target_fault", fault=fault),
        Conversation(id=f"c4 {text}", persona_id=f"gone {text}", turns=turns[:1], stop_reason="budget"),
        Conversation(id="c5", turns=turns),
    )  # fmt: skip
    answers = (
        Answer(id="x0", persona_id="p0", questionnaire_id="q", item_id="ia", mode="sampled", text=text,
               probs=(0.0, 1.0, 0.0), score=0.5),
        Answer(id="x1", persona_id="p1", questionnaire_id="q", item_id=f"? {text}", mode="sampled", text=text,
               score=math.nan),
        Answer(id="x2", persona_id="p2", questionnaire_id="q", item_id="ib", mode="sampled", score=math.nan,
               fault=fault),
    )  # fmt: skip
    base = RunData(
        folder=Path("some run"),
        spec=StudySpec(name="study", scenarios=(Scenario(id="s", goal=filed, target_system=filed, opening=filed),),
                       survey=SurveySpec(questionnaire="q")),
        population=Population(context=text, generator=text, dimensions=axes, personas=people),
        questionnaire=questionnaire,
        conversations=talks,
        answers=answers,
        readings=make_readings(text),
        info={
            **EMPTY_INFO,
            "planned": {"conversations": 6, "answers": 3},
            "models": {"simulator": {"name": f"m {text}", "engine": text, "seeds": "unknown", "licence": text}},
            "versions": {"python": text},
            "templates": {"persona": text},
        },
    )  # fmt: skip
    return replace(base, **changes)


def make_readings(text: str) -> tuple[Reading, ...]:
    points = tuple(Point(x=x, value=v, low=None if x == 2 else 0.0, high=0.4, n=4 - x) for x, v in
                   ((1, 0.1), (2, math.nan), (3, 0.3)))  # fmt: skip
    place = {"axes": ["a", "b", "c"], "personas": ["p0", "p1", "p2", "p3"],
             "z": [[0.1, 0.2, 0.3], [0.5, 0.5, 0.5], [None, 0.2, "NaN"], [1.0, 0.0, 0.4]],
             "t": [[0.5] * 3] * 4}  # fmt: skip
    return (
        Reading(
            gauge="coverage", tables={"persona_map": place},
            scores=(Score(gauge="coverage", name="coverage", value=0.5, low=0.4, high=0.6, null=0.3),
                    Score(gauge="coverage", name="adherence.a", value=math.nan, note=text),
                    Score(gauge="coverage", name="gain", value=None, note=text)),
        ),
        Reading(
            gauge="diversity", scores=(Score(gauge="diversity", name="ead_within", value=0.7),),
            tables={"alike": [
                {"where": "across", "rouge_l": 0.8, "sides": [
                    {"text": f"one {text}", "source": "p0", "place": 0, "conversation": "c0", "turn": 0},
                    {"text": f"two {text}", "source": f"? {text}", "place": 1, "conversation": "nowhere", "turn": 1},
                ]}]},
        ),
        Reading(
            gauge="leak", quotes=(Quote(gauge="leak", text=text, why=text, conversation_id="c0", turn=0),
                                  Quote(gauge="leak", text=text, why=text, conversation_id="nowhere", turn=3)),
            curves=tuple(Curve(gauge="leak", name=n, x_label="own turn", points=points, null=0.0)
                         for n in ("rate_by_turn", "first_draw_by_turn")),
            scores=(Score(gauge="leak", name="rate", value=0.25, n=4, unscored=1, note=text, estimator=text,
                          interval=text, unit=text),),
        ),
        Reading(gauge="listener", scores=(Score(gauge="listener", name="not_read", value=None, note=text),)),
        Reading(
            gauge="variance",
            scores=(Score(gauge="variance", name="icc_within", value=None, note=text),
                    Score(gauge="variance", name="rho", value=math.inf, null=math.inf)),
            tables={"bars": [{"quantity": "icc_within", "who": f"people: {text}", "value": 0.5, "low": None,
                              "high": None, "source": text}],
                    "components": [{"name": f"run {text}", "value": "NaN", "share": None, "clipped": True}]},
        ),
    )  # fmt: skip


ONE = make_run().population.personas[:1]
STATES = {
    "no survey": {"questionnaire": None, "answers": (),
                  "spec": StudySpec(name="s", population=PopulationSpec(generator="iid"),
                                    scenarios=(Scenario(id="s", goal="g"),))},
    "no conversations": {"conversations": (), "spec": StudySpec(name="s", survey=SurveySpec(questionnaire="q"))},
    "nothing yet": {"conversations": (), "answers": (), "readings": (), "info": EMPTY_INFO},
    "all faulted": {"conversations": tuple(c for c in make_run().conversations if c.fault) * 3, "answers": (),
                    "readings": ()},
    "one person": {"population": Population(personas=ONE)},
    "no gauge could be read": {"readings": tuple(
        Reading(gauge=g, scores=(Score(gauge=g, name="not_read", value=None, note=f"no {g} here"),))
        for g in ("coverage", "diversity", "leak", "listener", "variance"))},
    "an empty reading": {"readings": tuple(Reading(gauge=g, scores=()) for g in ("coverage", "leak", "variance"))},
}  # fmt: skip
