"""A study file and a population → everything that will be asked, each with its id, before anything is."""

from __future__ import annotations

from typing import NamedTuple

from multitudes.core.canonical import content_hash
from multitudes.core.records import Population, Questionnaire
from multitudes.personas.placebo import placebo
from multitudes.personas.render import render
from multitudes.simulate.conversation import Rules, Talk
from multitudes.simulate.survey import Ask, Mode, SurveyRules, frame
from multitudes.study.spec import StudySpec

TOKENS_PER_WORD = 1.4  # English prose in the tokenizers of current models, rounded up


class Plan(NamedTuple):
    """Conversations and survey answers of a study, in a fixed order.

    Attributes:
        talks: One per person, scenario and run.
        asks: One per person, item and run.
        questionnaire: What the asks are about.
        rules: How conversations go.
        survey_rules: How the survey is asked.
    """

    talks: tuple[Talk, ...]
    asks: tuple[Ask, ...]
    questionnaire: Questionnaire | None
    rules: Rules
    survey_rules: SurveyRules


def make_plan(spec: StudySpec, population: Population, questionnaire: Questionnaire | None, *, mode: Mode) -> Plan:
    """The plan. Ids depend on who, what and which run, so a larger study keeps the ids of a smaller one."""
    context = population.context
    talks = tuple(
        Talk(
            id=_id("c", spec.root, persona.id, scenario.id, replicate),
            root=spec.root,
            persona=persona,
            prompt=render(persona, scenario_goal=scenario.goal, context=context),
            scenario=scenario,
            replicate=replicate,
        )
        for replicate in range(spec.conversation.replicates)
        for scenario in spec.scenarios
        for persona in population.personas
    )
    runs = 1 if mode == "exact" or spec.survey is None else spec.survey.runs
    asked = [("persona", persona, render(persona, context=context)) for persona in population.personas]
    for arm in spec.placebo:
        n = min(spec.placebo_people, len(population))
        asked += [(arm, *one) for one in placebo(arm, population, n=n, root=spec.root)]
    asks = tuple(
        Ask(
            id=_id("a", spec.root, *(() if arm == "persona" else (arm,)), persona.id, questionnaire.id, item.id, run),
            persona=persona,
            prompt=prompt,
            item=item,
            replicate=run,
            arm=arm,
        )
        for arm, persona, prompt in asked
        for item in questionnaire.items
        for run in range(runs)
    ) if questionnaire else ()  # fmt: skip
    c = spec.conversation
    rules = Rules(
        turns=c.turns, sampling=spec.user_sampling, guards=frozenset(c.guards), attempts=c.attempts,
        on_rejected=c.on_rejected, target_last=c.target_last, stop=c.stop, probes=c.probes,
    )  # fmt: skip
    survey = SurveyRules(mode=mode, runs=runs)
    if spec.survey:
        survey = SurveyRules(mode=mode, by=spec.survey.by, runs=runs, temperature=spec.survey.temperature)
    return Plan(talks, asks, questionnaire, rules, survey)


def _id(kind: str, *parts: str | int) -> str:
    return f"{kind}-{content_hash([str(p) for p in parts], length=16)}"


class Forecast(NamedTuple):
    """What a plan will cost, before guards reject anything.

    Attributes:
        conversations: How many are held.
        answers: How many survey answers of the people.
        placebo: How many of placebo arms.
        calls: Model calls.
        prompt_tokens: Fed, if nothing were reused.
        new_prompt_tokens: Fed where an engine reuses what was said before.
        completion_tokens: Written, at most.
    """

    conversations: int
    answers: int
    placebo: int
    calls: int
    prompt_tokens: int
    new_prompt_tokens: int
    completion_tokens: int


def forecast(plan: Plan, spec: StudySpec) -> Forecast:
    """Calls and tokens of a plan. Message lengths are taken at their caps, so this is an upper estimate."""
    calls = prompt = new = completion = 0
    c = spec.conversation
    pair = c.max_tokens + c.target_max_tokens
    for talk in plan.talks:
        user, target = _tokens(talk.prompt), _tokens(talk.scenario.target_system)
        answers = c.turns - (not c.target_last)
        calls += c.turns + answers
        prompt += c.turns * user + answers * target + pair * c.turns * (c.turns - 1) + answers * c.max_tokens
        new += user + target + c.turns * pair
        completion += c.turns * c.max_tokens + answers * c.target_max_tokens
    exact = plan.survey_rules.mode == "exact"
    for ask in plan.asks:
        asked = sum(_tokens(m.text) for m in frame(plan.questionnaire, ask)) if plan.questionnaire else 0
        calls += 2 if exact else 1
        prompt += asked * (2 if exact else 1)
        new += (asked - _tokens(ask.prompt)) * (2 if exact else 1)
        completion += 0 if exact else 12
    people = sum(ask.arm == "persona" for ask in plan.asks)
    return Forecast(len(plan.talks), people, len(plan.asks) - people, calls, prompt, new, completion)


def _tokens(text: str) -> int:
    return round(TOKENS_PER_WORD * len(text.split())) + 4
