"""The records everything is said in: frozen, typed, and the same in memory, in the store and in a report.

NaN means *unscored* and is excluded with a count; None means *not applicable*. Both survive JSON: NaN travels as
the string ``"NaN"``, because JSON has no such number.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from multitudes.core.canonical import content_hash
from multitudes.core.frozen import Frozen as Frozen
from multitudes.core.inside import Inside

SCHEMA_VERSION: Literal[1] = 1

Speaker = Literal["user", "target"]
SeedStatus = Literal["honoured", "ignored", "unknown"]
FaultKind = Literal["simulator", "target", "judge", "provider", "config"]
StopReason = Literal[
    "max_turns", "user_done", "endless_goodbye", "target_closed", "budget",
    "simulator_fault", "target_fault", "provider_fault", "config_fault", "imported",
]  # fmt: skip
Direction = Literal["higher", "lower", "target", "none"]

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,79}")


class Record(Frozen):
    """A value that is stored or travels, and says which version of its schema it follows."""

    schema_version: Literal[1] = SCHEMA_VERSION


# --- who is simulated ---------------------------------------------------------------------------------------


class Dimension(Frozen):
    """One axis that people of a population differ on, described by its two ends.

    Attributes:
        id: Short name, used as key.
        name: What a reader calls it.
        low: What someone at position 0 is like.
        high: What someone at position 1 is like.
        ladder: Graded phrases from low to high; None lets the generator make them.
    """

    id: str
    name: str
    low: str
    high: str
    ladder: tuple[str, ...] | None = None


class Placement(Frozen):
    """Where a persona is meant to be on one dimension. Private to measurement: never rendered.

    Attributes:
        target: Planned position in [0, 1].
        rung: Index of the ladder phrase the position was turned into.
        phrase: That phrase; the only form in which a position reaches a model.
    """

    target: float = Field(ge=0, le=1)
    rung: int = Field(ge=0)
    phrase: str


class Persona(Record):
    """One simulated person.

    Attributes:
        id: Stable id; never the name.
        name: What the person is called; may repeat in a population.
        text: Who the person is, in prose. This and the facts are all that a model is told.
        facts: Structured facts such as ``{"age": "34"}``, rendered as sentences.
        placement: Planned position by dimension id; empty where nothing was planned.
        weight: Relative weight in population figures.
        fallback: True where a template wrote the text because the writer model could not.
        provenance: Where it came from: source, model, prompt hash, seed.
    """

    id: str
    name: str
    text: str
    facts: dict[str, str] = Field(default_factory=dict)
    placement: dict[str, Placement] = Field(default_factory=dict)
    weight: float = Field(default=1.0, gt=0)
    fallback: bool = False
    provenance: dict[str, str] = Field(default_factory=dict)

    @field_validator("id")
    @classmethod
    def _id_is_plain(cls, value: str) -> str:
        if not ID_PATTERN.fullmatch(value):
            raise ValueError(f"persona id {value!r} must be 1 to 80 letters, digits or . _ : -")
        return value

    @field_validator("text")
    @classmethod
    def _text_says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("a persona needs a text")
        return value


class Population(Record):
    """Personas that belong together, and how they came to be.

    Attributes:
        id: Short name.
        context: The setting they live in, one or two sentences.
        dimensions: The axes they were placed on; empty for populations from elsewhere.
        personas: The people, in a fixed order. Ids and texts are unique.
        generator: Name of what made them.
        seed: Root seed of that, where there was one.
        near_duplicates: Pairs of persona ids whose texts are nearly the same (word 5-shingle Jaccard >= .8).
    """

    id: str = "population"
    context: str = ""
    dimensions: tuple[Dimension, ...] = ()
    personas: tuple[Persona, ...]
    generator: str = "given"
    seed: int | None = None
    near_duplicates: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="after")
    def _people_are_distinct(self) -> Self:
        for label, values in (
            ("id", [p.id for p in self.personas]),
            ("text", [" ".join((p.name + " " + p.text).split()).casefold() for p in self.personas]),
        ):
            twice = [v for v, n in Counter(values).items() if n > 1]
            if twice:
                raise ValueError(f"two personas have the same {label}: {twice[0][:80]!r}")
        return self

    def __len__(self) -> int:
        return len(self.personas)

    @cached_property
    def by_id(self) -> dict[str, Persona]:
        """Personas by id."""
        return {p.id: p for p in self.personas}


# --- what they are asked ------------------------------------------------------------------------------------


class Item(Frozen):
    """One statement to be answered on the questionnaire's labels.

    Attributes:
        id: Short name.
        dimension: Id of the dimension it speaks to.
        text: The statement.
        reverse: True where agreeing means the low end.
    """

    id: str
    dimension: str
    text: str
    reverse: bool = False


class Questionnaire(Record):
    """Items on one scale of answers.

    Attributes:
        id: Short name.
        title: What a reader calls it.
        context: The setting in which the items are asked.
        language: Language tag.
        split: Part of an experiment it belongs to.
        licence: Licence of the wording.
        author: Who wrote it.
        labels: Answers from the lowest to the highest.
        dimensions: What the items measure.
        items: The statements.
    """

    id: str
    title: str = ""
    context: str
    language: str = "en"
    split: Literal["train", "validation", "test", "none"] = "none"
    licence: str = ""
    author: str = ""
    labels: tuple[str, ...]
    dimensions: tuple[Dimension, ...]
    items: tuple[Item, ...]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content without title and author."""
        return content_hash(self.model_dump(exclude={"title", "author"}))

    @cached_property
    def by_id(self) -> dict[str, Item]:
        """Items by id."""
        return {i.id: i for i in self.items}


class Scenario(Frozen):
    """Why a persona talks to the target, and what the target is told.

    Attributes:
        id: Short name.
        goal: What the simulated person wants, told to the person and never to the target.
        target_system: System prompt of the target.
        opener: Who speaks first.
        opening: The target's first words where it opens; None lets the target write them.
    """

    id: str
    goal: str
    target_system: str = ""
    opener: Speaker = "user"
    opening: str | None = None


# --- what happened ------------------------------------------------------------------------------------------


class Usage(Frozen):
    """Tokens of one or more calls; ``cached`` is the part of ``prompt`` that was not computed again."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt=self.prompt + other.prompt,
            cached=self.cached + other.cached,
            completion=self.completion + other.completion,
        )


class Call(Frozen):
    """What one call of a model cost and how far its seed was honoured.

    Attributes:
        seed: Seed that was sent; None where none was.
        seed_status: Whether the engine was shown to honour it.
        finish: Why the text ended.
        usage: Tokens.
        latency_s: Seconds from asking to answer.
        cost_usd: Money; None where no price is known.
        cache_hit: True where a stored reply was used.
        tries: How often the call was sent.
        near_ties: Sampling steps whose draw lay within 1e-4 of another token.
    """

    seed: int | None = None
    seed_status: SeedStatus = "unknown"
    finish: Literal["stop", "length", "filtered", "error"] = "stop"
    usage: Usage = Usage()
    latency_s: float = 0.0
    cost_usd: float | None = None
    cache_hit: bool = False
    tries: int = 1
    near_ties: int = 0


class Draw(Frozen):
    """A text that a guard rejected, kept beside the one that was used in its place."""

    text: str
    guards: tuple[str, ...]
    seed: int | None = None


class Turn(Frozen):
    """One message of a conversation.

    Attributes:
        speaker: ``user`` is the simulated person, ``target`` whoever they talk to.
        text: What was said, exactly as it was generated.
        ends: True where the speaker said that this is the last turn. Never read from the text.
        rejected: Draws that guards turned down before this one.
        guards: Guards that fired on the kept text; not empty only where redraws ran out in lenient mode.
        reasoning: Thinking that the model sent apart from its text; never shown to the other side.
        call: What the generation of the kept text cost; None for imported turns.
        call_rejected: What the rejected draws cost together.
        inside: Where the model was on an axis while it wrote the kept text; None where nobody looked.
    """

    speaker: Speaker
    text: str
    ends: bool = False
    rejected: tuple[Draw, ...] = ()
    guards: tuple[str, ...] = ()
    reasoning: str | None = None
    call: Call | None = None
    call_rejected: Usage | None = None
    inside: Inside | None = None


class Fault(Frozen):
    """Why a conversation or an answer could not be finished, and whose fault it was.

    Attributes:
        kind: Whose fault.
        code: Short name of what went wrong, such as ``timeout`` or ``guards_exhausted``.
        detail: What was tried and what came back.
        side: Whose call failed, where one did.
        turn: Index of the turn that was being made.
    """

    kind: FaultKind
    code: str
    detail: str = ""
    side: Speaker | None = None
    turn: int | None = None


class Probe(Frozen):
    """A question asked in a side branch of a conversation; neither side ever sees it.

    Attributes:
        after_turn: Number of turns that had been said.
        probs: Probability of each option, in the order of the probe's options.
    """

    id: str
    after_turn: int
    probs: tuple[float, ...]


class Conversation(Record):
    """One conversation between a simulated person and a target.

    Attributes:
        id: Stable id: derived from the plan, or from the file it was read from.
        persona_id: Who the user side was; None where nobody knows.
        scenario_id: Which scenario; None for imported transcripts.
        replicate: Which run of the same persona and scenario.
        turns: What was said.
        stop_reason: Why it ended.
        fault: Set where it could not be finished; such conversations are kept and not scored.
        source: Dialogue this is one speaker's view of; what intervals resample for imported transcripts.
        probes: Side-branch answers.
    """

    id: str
    persona_id: str | None = None
    scenario_id: str | None = None
    replicate: int = 0
    turns: tuple[Turn, ...] = ()
    stop_reason: StopReason = "imported"
    fault: Fault | None = None
    source: str | None = None
    probes: tuple[Probe, ...] = ()
    meta: dict[str, Any] = Field(default_factory=dict)

    @cached_property
    def user_texts(self) -> tuple[str, ...]:
        """What the simulated person said, in order."""
        return tuple(t.text for t in self.turns if t.speaker == "user")

    @property
    def complete(self) -> bool:
        """Whether it went as it should: no fault, and not cut short by a budget. Gauges look at no other."""
        return self.fault is None and self.stop_reason != "budget"

    @property
    def cluster(self) -> str:
        """What an interval resamples: the persona, else the dialogue, else the conversation itself."""
        return self.persona_id or self.source or self.id


class Answer(Record):
    """One persona's answer to one item in one run.

    Attributes:
        id: Stable id from the plan.
        persona_id: Who answered.
        questionnaire_id: Which questionnaire.
        item_id: Which item.
        replicate: Which run. Exact distributions have one.
        arm: ``persona`` for the people under test, else the placebo that answered in their place.
        wording: Which way the question was put; 1 where a sampled run saw the labels upside down.
        mode: ``exact`` for option log-probabilities, ``sampled`` for a parsed reply.
        probs: Probability of each label from lowest to highest; a one-hot row in sampled mode, None if unscored.
        score: Keyed position in [0, 1]: 0 is the low end of the dimension. NaN where the answer was unscored.
        variance: Exact run variance of ``score`` within the distribution; None in sampled mode.
        by_order: Exact mode: probabilities with the labels listed upwards, and downwards; ``probs`` is their mean.
        label_mass: Probability that the model gave to the offered labels at all; None in sampled mode.
        text: The raw reply in sampled mode.
        fault: Set where no answer came.
        call: What it cost.
    """

    id: str
    persona_id: str
    questionnaire_id: str
    item_id: str
    replicate: int = 0
    arm: str = "persona"
    wording: int = 0
    mode: Literal["exact", "sampled"]
    probs: tuple[float, ...] | None = None
    score: float
    variance: float | None = None
    by_order: tuple[tuple[float, ...], ...] | None = None
    label_mass: float | None = None
    text: str | None = None
    fault: Fault | None = None
    call: Call | None = None


# --- what was measured --------------------------------------------------------------------------------------


class Score(Record):
    """One number with everything needed to read it.

    Attributes:
        gauge: The gauge it belongs to.
        name: Its name within the gauge.
        value: The number. NaN: could not be scored. None: does not apply here.
        low: Lower end of the interval; None where there is none.
        high: Upper end.
        level: Confidence level of the interval.
        null: Value that would mean "nothing there"; None where there is no such value.
        direction: Which way is better; ``target`` where a reference value is best, ``none`` where neither is.
        n: Units behind the number, of the kind that the interval resamples.
        unscored: Units left out because they were NaN or faulted.
        unit: Unit of ``value``, such as ``bits`` or ``share``.
        estimator: How the number is computed, one line.
        interval: What is resampled, one line; empty where there is no interval.
        note: What a reader must know, such as a flag; empty if nothing.
    """

    gauge: str
    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    null: float | None = None
    direction: Direction = "none"
    n: int = 0
    unscored: int = 0
    unit: str = ""
    estimator: str = ""
    interval: str = ""
    note: str = ""


class Point(Frozen):
    """One point of a curve with its pointwise interval and the number of units behind it."""

    x: float
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0


class Curve(Frozen):
    """A quantity over turns."""

    gauge: str
    name: str
    x_label: str
    points: tuple[Point, ...]
    null: float | None = None
    unit: str = ""


class Quote(Frozen):
    """A text worth showing, with where it was said."""

    gauge: str
    text: str
    why: str
    conversation_id: str
    turn: int


class Reading(Record):
    """What one gauge says about one run: its scores, curves, quotes and plain tables for figures."""

    gauge: str
    scores: tuple[Score, ...]
    curves: tuple[Curve, ...] = ()
    quotes: tuple[Quote, ...] = ()
    tables: dict[str, Any] = Field(default_factory=dict)
