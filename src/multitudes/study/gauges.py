"""Which gauge looks at what of a run. A new gauge is one function here and one file in ``measure``."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import GaugeError, MixedEngines
from multitudes.core.records import Answer, Conversation, Population, Questionnaire, Reading, Score
from multitudes.measure.coverage_reading import coverage_reading
from multitudes.measure.diversity.reading import diversity_reading
from multitudes.measure.drift_reading import drift_reading
from multitudes.measure.fluency import fluency_reading
from multitudes.measure.leak import leak_reading
from multitudes.measure.listener_reading import listener_reading
from multitudes.measure.variance.answers import ArmAnswers
from multitudes.measure.variance.panel import panel_reading
from multitudes.measure.variance.text import text_variance_scores
from multitudes.measure.variance.wording import Worded
from multitudes.personas.placebo import ARMS
from multitudes.simulate.survey import keyed
from multitudes.study.attributes import with_attributes
from multitudes.study.evidence import text_key
from multitudes.study.human import stored_human
from multitudes.study.spec import StudySpec
from multitudes.study.store import Store
from multitudes.study.taps import neutral_of

MISSING_SHARE = 1 / 3  # of an axis's items; with more missing a person has no position on it


@dataclass(frozen=True, slots=True)
class Material:
    """What gauges look at.

    Attributes:
        likelihoods: Listener evidence by conversation id, as stored by ``study.evidence``.
        vectors: Embeddings by key of the text.
        encoder: Name of what made them; empty if there are none.
        human: People's own answers to the same items, on the scale of the survey.
        placebo_waived: Why there are no placebo arms.
        temperature: Of sampled answers.
        quick: Read values only: no permutation tests, no verdict.
        axis: What is known of the axis along which turns were read while they were said.
        neutral: By conversation, where the target's answer to an everyday question at the end lies on it.
    """

    conversations: tuple[Conversation, ...]
    answers: tuple[Answer, ...] = ()
    population: Population | None = None
    questionnaire: Questionnaire | None = None
    likelihoods: Mapping[str, Any] | None = None
    vectors: Mapping[str, NDArray[np.float32]] | None = None
    encoder: str = ""
    human: ArmAnswers | None = None
    placebo_waived: str = ""
    temperature: float = 1.0
    quick: bool = False
    axis: Mapping[str, Any] | None = None
    neutral: Mapping[str, float] | None = None
    seed: int = 0

    def without(self, people: frozenset[str]) -> Material:
        """The same with some personas left out; only values are read of it."""
        return replace(
            self,
            conversations=tuple(c for c in self.conversations if c.persona_id not in people),
            answers=tuple(a for a in self.answers if a.persona_id not in people),
            population=None if self.population is None else self.population.model_copy(
                update={"personas": tuple(p for p in self.population.personas if p.id not in people)}
            ),
            quick=True,
        )  # fmt: skip


def material_of(store: Store, spec: StudySpec) -> Material:
    """Everything a stored run offers to gauges."""
    questionnaire, conversations = store.get_meta("questionnaire"), tuple(store.conversations())
    encoder = {"hash": "hash-ngram-512", "minilm": "all-MiniLM-L6-v2-384"}.get(spec.models.encoder, "")
    return Material(
        conversations=conversations,
        answers=tuple(store.answers()),
        population=store.population(),
        questionnaire=None if questionnaire is None else Questionnaire.model_validate(questionnaire),
        likelihoods=store.likelihoods(),
        vectors=store.embeddings(encoder) if encoder else None,
        encoder=encoder,
        human=stored_human(store.get_meta("human")),
        placebo_waived=spec.survey.placebo_waived if spec.survey else "",
        temperature=spec.survey.temperature if spec.survey else 1.0,
        axis=store.get_meta("axis"),
        neutral=neutral_of(store, conversations),
        seed=spec.seed,
    )


def read_gauges(store: Store, spec: StudySpec) -> list[Reading]:
    """All gauges of the study. One that has nothing to look at says so instead of being absent."""
    material = material_of(store, spec)
    return [read_gauge(name, material) for name in spec.measure.gauges]


def read_gauge(name: str, material: Material) -> Reading:
    """One gauge on one run."""
    try:
        return _GAUGES[name](material)
    except GaugeError as error:
        return _nothing(name, str(error).splitlines()[0])


def _nothing(gauge: str, why: str) -> Reading:
    """A reading that says why there is none."""
    return Reading(gauge=gauge, scores=(Score(gauge=gauge, name="not_read", value=None, note=why),))


def _leak(m: Material) -> Reading:
    return leak_reading(m.conversations, seed=m.seed)


def _listener(m: Material) -> Reading:
    rows: list[list[float]] = []
    true: list[int] = []
    people: list[str] = []
    dialogues: list[str] = []
    turns: list[int] = []
    names: set[str] = set()
    for c in m.conversations:
        found = (m.likelihoods or {}).get(c.id)
        if found is None or c.persona_id is None:
            continue
        names.add(found["listener"])
        for turn, line in zip(found["turns"], found["logp"], strict=True):
            rows.append(line)
            true.append(found["true"])
            people.append(c.persona_id)
            dialogues.append(c.id)
            turns.append(turn)
    if not rows:
        raise GaugeError("no listener evidence: the engine has no log-probabilities, or nothing was said")
    if len(names) > 1:
        raise MixedEngines("log-likelihoods of two engines in one run", found=", ".join(sorted(names)))
    if len({len(r) for r in rows}) > 1:
        raise GaugeError("the number of candidates differs between lines", expected="one number for all")
    return listener_reading(
        np.array(rows), np.array(true), persona=np.array(people), dialogue=np.array(dialogues),
        turn=np.array(turns), listener=names.pop(), seed=m.seed,
    )  # fmt: skip


def positions(m: Material) -> tuple[list[str], list[str], Any, Any]:
    """People, axes, expressed positions z (N, K) and planned positions t (N, K) or None."""
    if m.questionnaire is None or m.population is None or not m.answers:
        raise GaugeError("no survey was asked")
    axes = [d.id for d in m.questionnaire.dimensions]
    people = [p.id for p in m.population.personas]
    items: dict[str, list[str]] = defaultdict(list)
    for item in m.questionnaire.items:
        items[item.dimension].append(item.id)
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for a in m.answers:
        if not math.isnan(a.score) and a.arm == "persona":
            scores[a.persona_id, a.item_id].append(a.score)
    z = np.full((len(people), len(axes)), np.nan)
    for i, person in enumerate(people):
        for k, axis in enumerate(axes):
            means = [float(np.mean(scores[person, item])) for item in items[axis] if (person, item) in scores]
            if len(means) >= (1 - MISSING_SHARE) * len(items[axis]):
                z[i, k] = np.mean(means)
    placed = all(set(axes) <= set(p.placement) for p in m.population.personas)
    t = np.array([[p.placement[a].target for a in axes] for p in m.population.personas]) if placed else None
    return people, axes, z, t


def _coverage(m: Material) -> Reading:
    people, axes, z, t = positions(m)
    assert m.questionnaire is not None
    scored = [a for a in m.answers if a.probs is not None and a.arm == "persona"]
    if not scored:
        raise GaugeError("no answer could be scored")
    lattice = None
    if m.answers[0].mode == "sampled":
        runs = len({a.replicate for a in m.answers})
        steps = len(m.questionnaire.labels) - 1
        n_items = [sum(i.dimension == axis for i in m.questionnaire.items) for axis in axes]
        lattice = [n * runs * steps + 1 for n in n_items]
    return coverage_reading(
        z, t, dimension_ids=axes, persona_ids=people, lattice=lattice,
        answer_probs=np.array([a.probs for a in scored]), answer_personas=[a.persona_id for a in scored], seed=m.seed,
    )  # fmt: skip


def _variance(m: Material) -> Reading:
    """Survey answers by arm, and what was said in conversations as vectors."""
    said = _conversation_vectors(m)
    texts = () if said is None else text_variance_scores(*said, seed=m.seed, draws=99 if m.quick else 999)
    if not any(a.arm == "persona" for a in m.answers):
        if not texts:
            raise GaugeError("no survey was asked, and no conversations that were held twice have vectors")
        return Reading(gauge="variance", scores=texts)
    arms = {arm: _arm_answers([a for a in m.answers if a.arm == arm], m) for arm in _arms_of(m.answers)}
    human = m.human
    if human is not None:
        arms["persona"], human, _ = with_attributes(arms["persona"], human)
    found = panel_reading(
        arms, waiver=m.placebo_waived, human=human, temperature=m.temperature, quick=m.quick, seed=m.seed
    )
    return found.model_copy(update={"scores": (*found.scores, *texts)})


def _arms_of(answers: Sequence[Answer]) -> list[str]:
    """Arms in the order of the ladder."""
    there = {a.arm for a in answers}
    return [arm for arm in ("persona", *ARMS) if arm in there]


def _arm_answers(answers: Sequence[Answer], m: Material) -> ArmAnswers:
    exact = all(a.mode == "exact" for a in answers)
    k = max((len(a.probs) for a in answers if a.probs is not None), default=1)
    facts = {} if m.population is None else {p.id: p.facts for p in m.population.personas}
    known = set.intersection(*(set(facts.get(a.persona_id, {})) for a in answers)) if answers else set()
    return ArmAnswers(
        score=np.array([a.score for a in answers]),
        persona=np.array([a.persona_id for a in answers]),
        item=np.array([a.item_id for a in answers]),
        run=np.array([a.replicate for a in answers]),
        probs=np.array([a.probs if a.probs is not None else [math.nan] * k for a in answers]),
        run_variance=np.array([math.nan if a.variance is None else a.variance for a in answers]) if exact else None,
        worded=_worded(answers, m.questionnaire),
        attributes={name: np.array([facts[a.persona_id][name] for a in answers]) for name in sorted(known)},
        ends=(0.0, 1.0),
        options=m.questionnaire.labels if m.questionnaire is not None else (),
        mass=np.array([math.nan if a.label_mass is None else a.label_mass for a in answers]) if exact else None,
        # What a server lost is no refusal; what the simulator said and nobody could read is one.
        lost=np.array([a.fault is not None and a.fault.kind != "simulator" for a in answers]),
    )


def _worded(answers: Sequence[Answer], asked: Questionnaire | None) -> Worded | None:
    """The two orders in which labels were listed, as two ways to put every question; exact answers only."""
    both = [a for a in answers if a.by_order is not None and len(a.by_order) == 2]
    if asked is None or len(both) < len(answers) or not both:
        return None
    rows = [
        (*keyed(probs, reverse=asked.by_id[a.item_id].reverse), a.persona_id, a.item_id, order)
        for a in both
        for order, probs in enumerate(a.by_order or ())
    ]
    mean, variance, persona, item, order = (np.array(column) for column in zip(*rows, strict=True))
    return Worded(mean, persona, item, order, nested=False, run_variance=variance)


def _conversation_vectors(m: Material) -> tuple[Any, Any, Any, Any] | None:
    """One unit vector per conversation with its persona, scenario and words; None where too little was said."""
    vectors = m.vectors or {}
    rows = []
    for c in m.conversations:
        lines = [t for t in c.user_texts if t.strip()]
        if c.complete and c.persona_id and lines and all(text_key(t) in vectors for t in lines):
            mean = np.mean([vectors[text_key(t)] for t in lines], axis=0, dtype=np.float64)
            if (length := float(np.linalg.norm(mean))) > 0:
                rows.append((mean / length, c.persona_id, c.scenario_id or "", sum(len(t.split()) for t in lines)))
    if len({r[1] for r in rows}) < 2 or len(rows) == len({r[1:3] for r in rows}):
        return None
    x, who, what, words = zip(*rows, strict=True)
    return np.stack(x), np.array(who), np.array(what), np.array(words, dtype=np.float64)


def _diversity(m: Material) -> Reading:
    """A bag is what one person said in all their conversations, in the order of the plan."""
    bags: dict[str, list[str]] = defaultdict(list)
    places: dict[str, list[tuple[str, int]]] = defaultdict(list)
    order = sorted(m.conversations, key=lambda c: (c.scenario_id or "", c.replicate, c.id))
    for c in order:
        if c.complete:
            bags[c.cluster] += c.user_texts
            places[c.cluster] += [(c.id, i) for i, t in enumerate(c.turns) if t.speaker == "user"]
    if not bags:
        raise GaugeError("nothing was said")
    vectors = m.vectors or {}
    full = bool(m.encoder) and all(text_key(t) in vectors for bag in bags.values() for t in bag if t.strip())
    embeddings = (
        {
            b: np.stack([vectors[text_key(t)] if t.strip() else np.zeros(1) for t in texts])
            for b, texts in bags.items()
        }
        if full and all(t.strip() for texts in bags.values() for t in texts)
        else None
    )
    found = diversity_reading(
        bags, embeddings=embeddings, encoder_name=m.encoder if embeddings else "", quick=m.quick, seed=m.seed
    )
    for row in found.tables.get("alike", ()):
        for side in row["sides"]:
            side["conversation"], side["turn"] = places[side["source"]][side["place"]]
    return found


def _drift(m: Material) -> Reading:
    """Turns of both sides along the axis of the study, as they were read while they were said."""
    return drift_reading(m.conversations, axis=m.axis, neutral=m.neutral, seed=m.seed)


def _fluency(m: Material) -> Reading:
    """Lines as the listener finds them, under the person who said them."""
    nats: list[float] = []
    tokens: list[int] = []
    texts: list[str] = []
    people: list[str] = []
    names: set[str] = set()
    for c in m.conversations:
        found = (m.likelihoods or {}).get(c.id)
        if found is None or c.persona_id is None or "tokens" not in found:
            continue
        names.add(found["listener"])
        own = c.user_texts
        for turn, line, n in zip(found["turns"], found["logp"], found["tokens"], strict=True):
            nats.append(line[found["true"]])
            tokens.append(n)
            texts.append(own[turn - 1])
            people.append(c.persona_id)
    if len(names) > 1:
        raise MixedEngines("log-likelihoods of two engines in one run", found=", ".join(sorted(names)))
    return fluency_reading(nats, tokens, texts, persona=people, listener="".join(names), seed=m.seed)


_GAUGES: dict[str, Callable[[Material], Reading]] = {
    "leak": _leak,
    "listener": _listener,
    "coverage": _coverage,
    "variance": _variance,
    "diversity": _diversity,
    "fluency": _fluency,
    "drift": _drift,
}


def score_of(readings: Sequence[Reading], gauge: str, name: str) -> Score | None:
    """One score, or None where it was not read."""
    for reading in readings:
        if reading.gauge == gauge:
            return next((s for s in reading.scores if s.name == name), None)
    return None
