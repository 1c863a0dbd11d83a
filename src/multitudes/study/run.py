"""Run a study: people, conversations, survey, evidence, readings. Each step is stored before the next begins."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multitudes.core.errors import ConfigError, Unsupported
from multitudes.core.records import Answer, Conversation, Population, Questionnaire, Usage
from multitudes.models.base import ChatModel
from multitudes.models.budget import Budget, Prices
from multitudes.models.load import load
from multitudes.personas.generators import get_generator
from multitudes.personas.questionnaires import load_questionnaire
from multitudes.personas.render import template_hash
from multitudes.personas.sources import load_population
from multitudes.simulate.conversation import hold_all
from multitudes.simulate.survey import Ask, ask_all, mode_of, survey_hash
from multitudes.simulate.targets import HttpTarget, ModelTarget, Target, function_target
from multitudes.study.data import RunData, read_run
from multitudes.study.evidence import collect_embeddings, collect_likelihoods
from multitudes.study.gauges import read_gauges
from multitudes.study.human import read_human
from multitudes.study.plan import Plan, make_plan
from multitudes.study.spec import StudySpec, TargetSpec
from multitudes.study.store import Store
from multitudes.study.taps import Taps, ask_neutral, open_taps, tapped_sides

ASKS_AT_ONCE = 96  # survey answers in one batch and one transaction


class Step(NamedTuple):
    """Progress: what is being done, how much of it, and of how much."""

    name: Literal["people", "conversations", "answers", "evidence", "gauges"]
    done: int
    total: int


Watch = Callable[[Step], None]


class Voices(NamedTuple):
    """Everyone who speaks in a study."""

    simulator: ChatModel
    target: Target
    writer: ChatModel
    listener: ChatModel | None


def load_voices(spec: StudySpec, *, base: Path = Path()) -> Voices:
    """Load each model once, however often it is named; a target's module may lie in the folder ``base``."""
    loaded: dict[str, ChatModel] = {}
    shared: dict[tuple[str, bool], ChatModel] = {}  # a model and a wrapper of it use the same weights
    budget = Budget(tokens=spec.budget.tokens, usd=spec.budget.usd, seconds=spec.budget.seconds)
    prices = None if spec.prices is None else Prices(spec.prices.usd_per_1m_prompt, spec.prices.usd_per_1m_completion)

    def get(name: str) -> ChatModel:
        if name not in loaded:
            loaded[name] = load(name, budget=budget, prices=prices, shared=shared)
        return loaded[name]

    names = spec.models
    simulator = get(names.simulator)
    target: Target
    if isinstance(names.target, TargetSpec):
        target = HttpTarget.model_validate(names.target.model_dump())
        target.check_env()
    elif names.target.startswith("python:"):
        target = function_target(names.target.removeprefix("python:"), folder=base)
    else:
        target = ModelTarget(get(names.target), spec.target_sampling)
    listener = get(names.listener) if names.listener else (simulator if simulator.info.score else None)
    return Voices(simulator, target, get(names.writer) if names.writer else simulator, listener)


async def run_study(
    spec: StudySpec,
    folder: Path,
    *,
    base: Path = Path(),
    voices: Voices | None = None,
    watch: Watch = lambda step: None,
    retry_faults: bool = False,
) -> RunData:
    """Run ``spec`` in ``folder``, or go on where an earlier run stopped.

    Args:
        spec: The study.
        folder: Run folder; made if it is not there.
        base: Folder that relative paths of the study file start from, and where a target's module may lie.
        voices: Models, if they are not to be loaded by name.
        watch: Called with every step of progress.
        retry_faults: Ask again for conversations and answers that ended in a provider's fault; what they were is
            kept.

    Raises:
        ConfigError: The folder holds another study, or the study cannot be run as written.
        StoreError, RunLocked: The folder cannot be used.
        ModelError: A model cannot be used at all.
    """
    questionnaire = _questionnaire(spec, base)
    with Store(folder, write=True) as store:
        started = time.monotonic()
        _refuse_other(store, spec, questionnaire)
        voices = voices or load_voices(spec, base=base)
        try:
            _check_abilities(spec, voices)
            taps = open_taps(spec, voices.simulator, voices.target, base=base)
            await _probe_seeds(voices)
            population = await _population(store, spec, questionnaire, voices, base, watch)
            # Only now is the folder this study's: one that could not begin may be mended and run again in it.
            store.put_meta(
                spec=spec.model_dump(mode="json", by_alias=True), spec_hash=spec.hash,
                population=population.model_dump(mode="json"),
            )  # fmt: skip
            mode = spec.survey.mode if spec.survey else "auto"
            plan = make_plan(
                spec, population, questionnaire, mode=mode_of(voices.simulator) if mode == "auto" else mode
            )
            _record_setup(store, plan, voices, questionnaire, taps)
            if questionnaire is not None and spec.survey is not None and spec.survey.human is not None:
                store.put_meta(human=read_human(base / spec.survey.human, questionnaire))
            await _converse(store, plan, spec, voices, taps, watch, retry_faults)
            await _survey(store, plan, spec, voices, watch, retry_faults)
            if taps is not None and "drift" in spec.measure.gauges:
                await ask_neutral(store, taps, spec)
            await _measure(store, spec, population, voices, watch)
        finally:
            close = getattr(voices.target, "aclose", None)
            if close is not None:
                await close()
            store.add_wall_s(time.monotonic() - started)
        return read_run(store)


def _questionnaire(spec: StudySpec, base: Path) -> Questionnaire | None:
    if spec.survey is None:
        return None
    name = spec.survey.questionnaire
    return load_questionnaire(base / name if name.endswith(".toml") else name)


def _refuse_other(store: Store, spec: StudySpec, questionnaire: Questionnaire | None) -> None:
    """The folder belongs to one study; only what does not change the questions may differ on resuming."""
    known = store.get_meta("spec_hash")
    if known is not None and known != spec.hash:
        raise ConfigError(
            "the run folder holds another study", where=str(store.folder), found=f"study {known[:8]}",
            expected=f"study {spec.hash[:8]}", hint="give this run another folder with --out",
        )  # fmt: skip
    asked = store.get_meta("questionnaire")
    if questionnaire is not None and asked is not None and questionnaire.hash != _hash_of(asked):
        raise ConfigError(
            "the questionnaire is not the one that this run began with", where=str(store.folder),
            found=f"questionnaire {questionnaire.hash[:8]}", expected=f"questionnaire {_hash_of(asked)[:8]}",
            hint="give this run another folder with --out",
        )  # fmt: skip


def _hash_of(questionnaire: Any) -> str:
    return Questionnaire.model_validate(questionnaire).hash


def _check_abilities(spec: StudySpec, voices: Voices) -> None:
    """Refuse what the simulator's engine cannot do before anything is asked."""
    asides = bool(spec.conversation.probes) or spec.conversation.stop == "probe"
    exact = spec.survey is not None and spec.survey.mode == "exact"
    if (asides or exact) and not voices.simulator.info.score:
        hint = 'set survey mode = "sampled"' if exact else 'leave out the probes and set stop = "turns"'
        raise Unsupported("score", voices.simulator.info.name, hint)


async def _probe_seeds(voices: Voices) -> None:
    """Ask endpoints once whether they honour seeds, so that replies can say so."""
    target = voices.target.model if isinstance(voices.target, ModelTarget) else None
    for model in {id(m): m for m in (voices.simulator, target) if m is not None}.values():
        probe = getattr(model, "probe_seed", None)
        if probe is not None and model.info.seed_status == "unknown":
            await probe()


async def _population(
    store: Store, spec: StudySpec, questionnaire: Questionnaire | None, voices: Voices, base: Path, watch: Watch
) -> Population:
    known = store.population()
    if known is not None:
        return known
    people = spec.population
    watch(Step("people", 0, people.n))
    if people.file:
        population = load_population(base / people.file, limit=people.n)
        population = population.model_copy(update={"context": people.context or population.context})
    else:
        dimensions = people.dimensions or (questionnaire.dimensions if questionnaire else ())
        context = people.context or (questionnaire.context if questionnaire else "")
        generator = get_generator(people.generator)
        population = await generator.generate(context, dimensions, people.n, llm=voices.writer, seed=spec.seed)
    watch(Step("people", len(population), len(population)))
    return population


def _record_setup(
    store: Store, plan: Plan, voices: Voices, questionnaire: Questionnaire | None, taps: Taps | None
) -> None:
    models = {"simulator": describe(voices.simulator), "target": {"name": voices.target.name}}
    if isinstance(voices.target, ModelTarget):
        models["target"] = describe(voices.target.model)
    if voices.listener is not None:
        models["listener"] = describe(voices.listener)
    store.put_meta(
        models=models,
        versions=versions(),
        templates={"persona": template_hash(), **survey_hash()},
        questionnaire=None if questionnaire is None else questionnaire.model_dump(mode="json"),
        planned={"conversations": len(plan.talks), "answers": len(plan.asks)},
        axis=None if taps is None else taps.about,
    )


def describe(model: ChatModel) -> dict[str, Any]:
    """What a run records of a model."""
    info = model.info
    return {
        "name": info.name, "engine": info.engine, "fingerprint": info.fingerprint,
        "weights_sha256": info.weights_sha256, "dtype": info.dtype, "seeds": info.seed_status,
        "small_model": info.small_model, "licence": info.licence,
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Versions behind a run."""
    out = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("multitudes", "numpy", "scipy", "torch", "transformers"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out


def _unfinished(record: Conversation | Answer, retry_faults: bool) -> bool:
    if isinstance(record, Conversation) and record.stop_reason == "budget":
        return True
    return retry_faults and record.fault is not None and record.fault.kind == "provider"


async def _converse(
    store: Store, plan: Plan, spec: StudySpec, voices: Voices, taps: Taps | None, watch: Watch, retry_faults: bool
) -> None:
    simulator, target = tapped_sides(taps, voices.simulator, voices.target)
    done = {c.id for c in store.conversations() if not _unfinished(c, retry_faults)}
    todo = [t for t in plan.talks if t.id not in done]
    count = len(plan.talks) - len(todo)
    watch(Step("conversations", count, len(plan.talks)))
    held = hold_all(todo, simulator=simulator, target=target, rules=plan.rules, in_flight=spec.conversation.in_flight)
    async with aclosing(held):  # a store that fails must not leave conversations going on unheard
        async for conversation in held:
            store.add_conversation(conversation)
            count += 1
            watch(Step("conversations", count, len(plan.talks)))


async def _survey(
    store: Store, plan: Plan, spec: StudySpec, voices: Voices, watch: Watch, retry_faults: bool
) -> None:
    if plan.questionnaire is None:
        return
    done = {a.id for a in store.answers() if not _unfinished(a, retry_faults)}
    todo = [a for a in plan.asks if a.id not in done]
    for start in range(0, len(todo), ASKS_AT_ONCE):
        part: Sequence[Ask] = todo[start : start + ASKS_AT_ONCE]
        watch(Step("answers", len(plan.asks) - len(todo) + start, len(plan.asks)))
        answers = await ask_all(
            part, plan.questionnaire, model=voices.simulator, root=spec.root, rules=plan.survey_rules
        )
        # A spent budget is nobody's fault: what it left open is not an answer, and is asked when the run goes on.
        store.add_answers([a for a in answers if a.fault is None or a.fault.code != "budget"])
    watch(Step("answers", len(plan.asks), len(plan.asks)))


async def _measure(store: Store, spec: StudySpec, population: Population, voices: Voices, watch: Watch) -> None:
    conversations = store.conversations()
    spent = Usage()
    if "listener" in spec.measure.gauges and voices.listener is not None and len(population) > 1:
        watch(Step("evidence", 0, len(conversations)))
        spent = await collect_likelihoods(store, conversations, population, spec, voices.listener)
        watch(Step("evidence", len(conversations), len(conversations)))
    if {"diversity", "variance"} & set(spec.measure.gauges) and spec.models.encoder != "none" and conversations:
        from multitudes.models.encode import load_encoder

        collect_embeddings(store, [t for c in conversations for t in c.user_texts], load_encoder(spec.models.encoder))
    if spent != Usage():
        before = Usage.model_validate(store.get_meta("measure_usage") or {})
        store.put_meta(measure_usage=(before + spent).model_dump())
    watch(Step("gauges", 0, len(spec.measure.gauges)))
    store.put_readings(read_gauges(store, spec))
    watch(Step("gauges", len(spec.measure.gauges), len(spec.measure.gauges)))
