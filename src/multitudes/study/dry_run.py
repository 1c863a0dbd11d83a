"""What a study would ask and cost, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from multitudes.core.loop import run_sync
from multitudes.core.records import Population, Usage
from multitudes.models.budget import Prices
from multitudes.models.load import WRAPPERS, split_adapter
from multitudes.personas.generators import get_generator
from multitudes.personas.questionnaires import load_questionnaire
from multitudes.personas.sources import load_population
from multitudes.simulate.survey import Mode
from multitudes.study.plan import forecast, make_plan
from multitudes.study.spec import StudySpec

# Tokens per second of the embedded model on two cores, from benchmarks/engine.py; other engines are not guessed.
WITH_LOG_PROBABILITIES = ("smollm2", "hf:", "gguf:", "fake:table", "fake:tiny")
BEFORE_THE_MODEL = {"temperature": 1, "cap": 1, "hold": 1, "steer": 2}  # parts of a name between kind and model
EMBEDDED_PREFILL_TPS, EMBEDDED_DECODE_TPS = 450.0, 200.0


def describe(spec: StudySpec, *, base: Path, folder: Path) -> Iterator[str]:
    """Lines that say who is asked what, how many tokens that takes, how long and for how much money."""
    questionnaire = None
    if spec.survey is not None:
        name = spec.survey.questionnaire
        questionnaire = load_questionnaire(base / name if name.endswith(".toml") else name)
    people = spec.population
    written = people.generator not in ("template",) and not people.file
    if people.file:
        population = load_population(base / people.file, limit=people.n)
    else:  # the template stands in for people that a model would write: same number, about the same length
        dimensions = people.dimensions or (questionnaire.dimensions if questionnaire else ())
        context = people.context or (questionnaire.context if questionnaire else "")
        population = _stand_ins(context, dimensions, people.n, spec.seed)
    mode: Mode = "sampled"
    if spec.survey is not None and spec.survey.mode != "auto":
        mode = spec.survey.mode
    elif _inner(spec.models.simulator).startswith(WITH_LOG_PROBABILITIES):
        mode = "exact"
    cost = forecast(make_plan(spec, population, questionnaire, mode=mode), spec)
    yield f"study {spec.name} ({spec.hash[:8]}), run folder {folder}"
    yield f"people: {len(population)}" + (
        f", written by {spec.models.writer or spec.models.simulator}" if written else ""
    )
    yield f"conversations: {cost.conversations} (up to {spec.conversation.turns} turns of the person each)"
    placebo = f", and {cost.placebo} of placebo arms ({', '.join(spec.placebo)})" if cost.placebo else ""
    yield f"survey answers: {cost.answers} ({mode}){placebo}" if questionnaire else "survey answers: none"
    yield f"model calls: {cost.calls}, before redraws (each guard rejection costs one more)"
    yield f"tokens in: {cost.prompt_tokens:,}; {cost.new_prompt_tokens:,} new to an engine that reuses prefixes"
    yield f"tokens out: at most {cost.completion_tokens:,}"
    if split_adapter(_inner(spec.models.simulator))[0] == "smollm2":
        seconds = cost.new_prompt_tokens / EMBEDDED_PREFILL_TPS + cost.completion_tokens / EMBEDDED_DECODE_TPS
        yield f"time: about {seconds:,.0f} s on two cores for the embedded model, without the gauges"
    else:
        yield "time: depends on the server"
    if spec.prices is not None:
        usage = Usage(prompt=cost.prompt_tokens, completion=cost.completion_tokens)
        prices = Prices(spec.prices.usd_per_1m_prompt, spec.prices.usd_per_1m_completion)
        yield f"money: at most {prices.cost_usd(usage):,.2f} USD if the simulator and the target both cost that"
    else:
        yield "money: unknown; add [prices]" if spec.models.simulator.startswith("http") else "money: none"


def _inner(name: str) -> str:
    """The model that a wrapper asks."""
    kind, _, rest = name.partition(":")
    for _ in range(BEFORE_THE_MODEL.get(kind, 0)):
        rest = rest.partition(":")[2]
    return _inner(rest) if kind in WRAPPERS or kind in BEFORE_THE_MODEL else name


def _stand_ins(context: str, dimensions: object, n: int, seed: int) -> Population:
    return run_sync(
        get_generator("template").generate(context, dimensions, n, llm=None, seed=seed)  # type: ignore[arg-type]
    )
