"""The plain calls: what the command line does, each in one function."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

from multitudes.axis.agreement import DOUBLE_SCORED
from multitudes.axis.artifact import save_axis
from multitudes.axis.axis import Axis
from multitudes.axis.build import check_judges, find_axis
from multitudes.axis.conditions import default_arms
from multitudes.axis.presets import cost_of, role_answers
from multitudes.axis.presets import preset as axis_preset
from multitudes.axis.remedy import has_taps
from multitudes.axis.roles import read_roles, shipped
from multitudes.core.errors import ConfigError, Unsupported, did_you_mean
from multitudes.core.loop import run_sync
from multitudes.core.records import Answer, Conversation, Dimension, Population, Questionnaire, Reading, Scenario
from multitudes.models.base import NEEDS_TAPS, ChatModel, Sampling
from multitudes.models.encode import Encoder, load_encoder
from multitudes.models.load import load
from multitudes.personas.generators import get_generator
from multitudes.personas.questionnaires import load_questionnaire
from multitudes.personas.render import render
from multitudes.report.pressure import write_pressure
from multitudes.simulate.conversation import Rules, Talk, hold_all
from multitudes.simulate.survey import Ask, By, SurveyRules, ask_all, mode_of
from multitudes.simulate.targets import FunctionTarget, HttpTarget, ModelTarget, Target
from multitudes.study.data import RunData
from multitudes.study.evidence import likelihoods, text_key
from multitudes.study.gauges import Material, read_gauge
from multitudes.study.pressure.analyse import analyse
from multitudes.study.pressure.data import open_pressure
from multitudes.study.pressure.result import PressureResult
from multitudes.study.pressure.run import run_pressure
from multitudes.study.pressure.spec import PresetName, make_spec
from multitudes.study.run import run_study
from multitudes.study.spec import GAUGES, StudySpec, read_study

CHAT = Scenario(id="chat", goal="you would like to have a conversation")


def populate(
    context: str,
    *,
    dimensions: Sequence[Dimension],
    n: int,
    writer: ChatModel | None = None,
    generator: str | None = None,
    seed: int = 0,
) -> Population:
    """``n`` people of a setting, spread over the space of ``dimensions``.

    Args:
        context: The setting, one or two sentences.
        dimensions: The axes they differ on.
        n: How many.
        writer: Model that writes the descriptions; without one they come from templates.
        generator: Name of a generator; ``sobol-or-template`` with a writer, else ``template``.
        seed: Root of every draw.

    >>> axes = [Dimension(id="patience", name="Patience", low="hangs up at once", high="waits calmly")]
    >>> len(populate("Callers of a help line.", dimensions=axes, n=3, seed=7))
    3
    """
    _refuse_name(writer, "writer")
    maker = get_generator(generator or ("sobol-or-template" if writer else "template"))
    return run_sync(maker.generate(context, list(dimensions), n, llm=writer, seed=seed))


def converse(
    people: Population,
    *,
    simulator: ChatModel,
    target: ChatModel | Target | Callable[..., Any],
    scenario: Scenario = CHAT,
    turns: int = 6,
    replicates: int = 1,
    sampling: Sampling | None = None,
    target_sampling: Sampling | None = None,
    seed: int = 0,
) -> list[Conversation]:
    """Every person talks to the target; one conversation per person and replicate, in that order.

    Args:
        people: Who.
        simulator: Model that plays them.
        target: A chat model, a function ``f(messages) -> str``, or anything with ``Target.reply``.
        scenario: What they want and what the target is told.
        turns: Turns of the person, at most.
        replicates: Runs of each person.
        sampling: How the person's words are drawn.
        target_sampling: How the target's words are drawn, where it is a chat model.
        seed: Root of every draw.

    >>> from multitudes.models.fake import echo, people as crowd
    >>> axes = [Dimension(id="patience", name="Patience", low="hangs up at once", high="waits calmly")]
    >>> talks = converse(populate("Callers.", dimensions=axes, n=2), simulator=crowd(), target=echo(), turns=2)
    >>> [len(t.turns) for t in talks]
    [4, 4]
    """
    _refuse_name(simulator, "simulator")
    spoken = _target(target, target_sampling or Sampling(temperature=0.7, max_tokens=120))
    rules = Rules(turns=turns, sampling=sampling or Sampling(max_tokens=60))
    talks = [
        Talk(
            id=f"{persona.id}.{scenario.id}.{replicate}",
            root=f"converse:{seed}",
            persona=persona,
            prompt=render(persona, scenario_goal=scenario.goal, context=people.context),
            scenario=scenario,
            replicate=replicate,
        )
        for persona in people.personas
        for replicate in range(replicates)
    ]

    async def hold() -> list[Conversation]:
        try:
            return [c async for c in hold_all(talks, simulator=simulator, target=spoken, rules=rules)]
        finally:
            if isinstance(spoken, HttpTarget):
                await spoken.aclose()

    order = {t.id: i for i, t in enumerate(talks)}
    return sorted(run_sync(hold()), key=lambda c: order[c.id])


def _refuse_name(model: Any, where: str) -> None:
    """A model is an object; its name is what ``load`` takes."""
    if isinstance(model, str):
        raise ConfigError(
            "the name of a model is not the model", where=where, found=repr(model), expected="a ChatModel",
            hint=f"mt.load({json.dumps(model)})",
        )  # fmt: skip


def _target(target: Any, sampling: Sampling) -> Target:
    _refuse_name(target, "target")
    if hasattr(target, "info"):
        return ModelTarget(target, sampling)
    if hasattr(target, "reply"):
        found: Target = target
        return found
    if callable(target):
        return FunctionTarget(target)
    raise ConfigError(
        "cannot talk to this target", where="target", found=type(target).__name__,
        expected="a ChatModel, a function of messages, or an object with reply()",
    )  # fmt: skip


def survey(
    people: Population,
    questionnaire: Questionnaire | str | Path,
    *,
    model: ChatModel,
    by: By = "letters",
    runs: int = 2,
    seed: int = 0,
) -> list[Answer]:
    """Every person answers every item: exact distributions where the engine has them, else ``runs`` parsed replies.

    Args:
        people: Who.
        questionnaire: What they are asked: the id of a shipped one, a TOML file, or the record.
        model: Model that plays them.
        by: ``letters`` or ``words``; words suit small models.
        runs: Sampled answers per person and item; exact distributions need one.
        seed: Root of every draw.

    Raises:
        ConfigError: An unknown ``by``, with the near ones.

    >>> from multitudes.models.fake import TableModel
    >>> axes = [Dimension(id="patience", name="Patience", low="hangs up at once", high="waits calmly")]
    >>> answers = survey(populate("Callers.", dimensions=axes, n=2), "help-line", model=TableModel({}))
    >>> answers[0].mode, round(sum(answers[0].probs), 6)
    ('exact', 1.0)
    """
    asked = questionnaire if isinstance(questionnaire, Questionnaire) else load_questionnaire(questionnaire)
    _refuse_name(model, "model")
    if by not in get_args(By):
        raise ConfigError(
            "unknown way to answer", where="by", found=repr(by), expected=" or ".join(get_args(By)),
            hint=did_you_mean(by, get_args(By)),
        )  # fmt: skip
    mode = mode_of(model)
    asks = [
        Ask(f"{p.id}.{item.id}.{run}", p, render(p, context=people.context), item, run)
        for p in people.personas
        for item in asked.items
        for run in range(1 if mode == "exact" else runs)
    ]
    rules = SurveyRules(mode=mode, by=by, runs=runs)
    return run_sync(ask_all(asks, asked, model=model, root=f"survey:{seed}", rules=rules))


def measure(
    conversations: Sequence[Conversation] = (),
    gauges: str | Sequence[str] = ("leak", "diversity"),
    *,
    answers: Sequence[Answer] = (),
    people: Population | None = None,
    questionnaire: Questionnaire | str | Path | None = None,
    scenarios: Sequence[Scenario] = (CHAT,),
    listener: ChatModel | None = None,
    candidates: int = 4,
    encoder: Encoder | None = None,
    seed: int = 0,
) -> list[Reading]:
    """Read gauges on conversations and answers, whoever made them.

    Args:
        conversations: For leak, listener and diversity.
        gauges: One or more of leak, listener, coverage, variance, diversity. One without material says so in its
            reading.
        answers: For coverage and variance.
        people: Who they are; needed by listener and coverage.
        questionnaire: What the answers are about; needed by coverage.
        scenarios: Those of the conversations, for what the listener is told of the goals.
        listener: Model with log-probabilities that guesses who spoke.
        candidates: People it chooses among.
        encoder: For embedding spread.
        seed: Seed of intervals and distractors.

    Raises:
        ConfigError: Unknown gauge, with the near ones.
    """
    names = (gauges,) if isinstance(gauges, str) else gauges
    _refuse_name(listener, "listener")
    for name in names:
        if name not in GAUGES:
            raise ConfigError("unknown gauge", where="gauges", found=repr(name), hint=did_you_mean(name, GAUGES))
    asked = load_questionnaire(questionnaire) if isinstance(questionnaire, str | Path) else questionnaire
    evidence: dict[str, Any] = {}
    if "listener" in names and listener is not None and people is not None:

        async def collect() -> None:
            goals = {s.id: s.goal for s in scenarios}
            found = likelihoods(
                conversations, people, goals=goals, n_candidates=candidates, root=f"measure:{seed}", listener=listener
            )
            async for one in found:
                evidence[one.conversation_id] = one.record

        run_sync(collect())
    vectors = None
    if encoder is not None:
        texts = list(dict.fromkeys(t for c in conversations for t in c.user_texts if t.strip()))
        vectors = dict(zip(map(text_key, texts), encoder.encode(texts), strict=True)) if texts else {}
    material = Material(
        conversations=tuple(conversations), answers=tuple(answers), population=people, questionnaire=asked,
        likelihoods=evidence, vectors=vectors, encoder=encoder.name if encoder else "", seed=seed,
    )  # fmt: skip
    return [read_gauge(name, material) for name in names]


def pressure(
    model: str | ChatModel = "smollm2",
    *,
    preset: PresetName = "small",
    out: str | Path | None = None,
    judge: ChatModel | None = None,
    page: bool = True,
    **changes: Any,
) -> PressureResult:
    """Press personas and read how much of them is kept, when they go, and whether they come back.

    Args:
        model: Who is pressed, by name or as an object; it needs log-likelihoods of given texts.
        preset: ``small`` or ``full``.
        out: Run folder; a run that is there is gone on with.
        judge: A model that rates replies beside the likelihoods.
        page: Whether to write the page and the machine form into the folder.
        **changes: Any key of ``study.pressure.spec.PressureSpec``, such as ``personas``, ``pressures`` or ``axis``.

    Raises:
        ConfigError: A key or value that cannot be run, or a folder that holds another run.
        GaugeError: A battery that is one-sided, too few probes, a probe that leaked.
    """
    name = model if isinstance(model, str) else model.info.name
    if judge is not None:
        changes["judge"] = judge.info.name
    spec = make_spec(preset, model=name, **changes)
    folder = Path(out) if out is not None else Path("runs") / f"pressure-{spec.hash[:8]}"
    speaker = None if isinstance(model, str) else model
    run_sync(run_pressure(spec, folder, model=speaker, judge=judge))
    found = analyse(open_pressure(folder))
    if page:
        write_pressure(found, folder)
    return found


def study(file: str | Path | StudySpec, out: str | Path | None = None) -> RunData:
    """Run a study, or go on where it stopped; see ``multitudes study --explain`` for the file."""
    base = Path() if isinstance(file, StudySpec) else Path(file).parent
    spec = file if isinstance(file, StudySpec) else read_study(Path(file))
    folder = Path(out) if out is not None else Path("runs") / f"{spec.name}-{spec.hash[:8]}"
    return run_sync(run_study(spec, folder, base=base))


def fit_axis(
    model: str | ChatModel,
    *,
    preset: str = "small",
    out: str | Path,
    roles: str | Path | None = None,
    replace: bool = False,
    judge: str | ChatModel | None = None,
    second_judge: str | ChatModel | None = None,
    topic_filter: str | Encoder | None = None,
    seed: int = 0,
    watch: Callable[[Any], None] | None = None,
    told: Callable[[str], None] | None = None,
    dry_run: bool = False,
) -> Axis | None:
    """Find the Assistant Axis of a local model and write it to ``out``; see ``multitudes axis fit --help``.

    A killed fit goes on where it stopped when it is called again with the same folder.

    Args:
        model: A local model, or its name.
        preset: ``small``, ``balanced`` or ``full``.
        out: Folder of the artifact.
        roles: Your own roles, JSON lines.
        replace: Use them instead of the shipped ones.
        judge: Scores answers; the likelihood filter does without one.
        second_judge: Scores a part of them again, to see whether two judges agree.
        topic_filter: An encoder, such as ``minilm``: answers must also lie closer to their own role's definition than
            to those of others. It never decides alone.
        seed: Seed of the answers.
        watch: Told after each part.
        told: Told the cost before anything is asked.
        dry_run: Stop there; None is returned.

    Raises:
        ConfigError: A second judge without a first, or the same one twice.
        Unsupported: A model without taps.
        TooFewRoles: Fewer than 20 roles or 3 families with enough answers.
        SignError: Default and roles do not lie as they should.
    """
    speaker = load(model) if isinstance(model, str) else model
    if not has_taps(speaker):
        raise Unsupported("taps", speaker.info.name, NEEDS_TAPS)
    tapped: Any = speaker
    everything = shipped() if roles is None else read_roles(Path(roles), replace=replace)
    size = axis_preset(preset)
    arms = len(default_arms(tapped, everything))
    cost = cost_of(size, everything, n_layers=tapped.n_layers, width=tapped.d_model, default_arms=arms)
    if told is not None:
        told(f"{preset}: {cost}")
        if speaker.info.name == "smollm2":
            minutes = max(1, round(cost.seconds / 60))
            told(f"about {minutes} min on two idle cores; a killed fit goes on where it stopped")
        if judge is not None:
            n = role_answers(size, everything)
            told(f"judged: {n:,} answers" + f", {min(n, DOUBLE_SCORED)} of them twice" * (second_judge is not None))
    judges = [load(j) if isinstance(j, str) else j for j in (judge, second_judge)]
    check_judges(*judges)
    topic = load_encoder(topic_filter) if isinstance(topic_filter, str) else topic_filter
    if dry_run:
        return None
    folder = Path(out)
    axis = run_sync(
        find_axis(
            tapped, everything, size, folder / "parts", seed=seed, judge=judges[0], second=judges[1], topic=topic,
            watch=watch,
        )
    )  # fmt: skip
    save_axis(axis, folder)
    return axis
