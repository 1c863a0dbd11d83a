"""What a study file may say, with every default and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    Field,
    Strict,
    StrictBool,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError, did_you_mean
from multitudes.core.records import ID_PATTERN, Dimension, Frozen, Scenario
from multitudes.core.toml import KeyPath, key_lines, line_of, parse, read_text
from multitudes.models.base import Sampling
from multitudes.simulate.conversation import ProbeSpec
from multitudes.simulate.guards import GUARDS

PLACING = ("template", "sobol", "sobol-or-template")  # generators that need dimensions
GaugeName = Literal["leak", "listener", "coverage", "variance", "diversity", "fluency", "drift"]
GAUGES: tuple[GaugeName, ...] = get_args(GaugeName)


def _plain_id(value: Any) -> Any:
    if isinstance(value, str) and not ID_PATTERN.fullmatch(value):
        raise ValueError("must be 1 to 80 letters, digits or . _ : -")
    return value


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):  # equal to 1, but not it
        raise ValueError("must be 1")
    return value


# TOML has numbers of its own: a text or a truth value in their place is a slip of the pen.
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Id = Annotated[str, BeforeValidator(_plain_id)]


class PopulationSpec(Frozen):
    """Who is simulated: either made by a generator or read from a file."""

    context: str = Field("", description="The setting the people live in, one or two sentences.")
    generator: str = Field(
        "template",
        description="How they are made: template, sobol, sobol-or-template, iid, naive, or MODULE:OBJECT.",
    )
    n: Whole = Field(12, ge=1, le=1_000_000, description="Number of people to make, or the most to read.")
    file: str | None = Field(None, description="Read them from a TOML, JSON, JSONL, CSV or Parquet file instead.")
    dimensions: tuple[Dimension, ...] = Field(
        (), description="Axes the people differ on; the survey's own if none are given."
    )


class ModelsSpec(Frozen):
    """Who speaks."""

    simulator: str = Field("smollm2", description="Model that plays the people.")
    target: str | TargetSpec = Field(
        "smollm2", description="Who they talk to: a model, python:MODULE:FUNCTION, or an [models.target] table."
    )
    writer: str | None = Field(None, description="Model that writes personas; the simulator if none is given.")
    listener: str | None = Field(
        None, description="Model that guesses who spoke; the simulator's weights if it has log-probabilities."
    )
    encoder: Literal["minilm", "hash", "none"] = Field(
        "hash", description="Text encoder for embedding spread: minilm (topics), hash (n-grams, no weights), none."
    )


class TargetSpec(Frozen):
    """Somebody's own HTTP endpoint as target."""

    url: str = Field(description="Where the request goes.")
    method: str = Field("POST", description="HTTP method.")
    headers_env: dict[str, str] = Field({}, description="Header name = environment variable that holds its value.")
    body: dict[str, Any] = Field(
        {"messages": "{messages}"}, description="JSON body with {messages}, {last} and {conversation_id} as values."
    )
    reply_at: str = Field("/reply", description="JSON pointer to the reply text.")
    limit_s: Number = Field(120.0, gt=0, description="Seconds to wait for an answer.")


class ConversationSpec(Frozen):
    """How the conversations go. Without scenarios there are none."""

    turns: Whole = Field(4, ge=1, le=500, description="Turns of the simulated person, at most.")
    replicates: Whole = Field(2, ge=1, le=1000, description="Runs of every person in every scenario.")
    max_tokens: Whole = Field(60, ge=1, description="Longest message of the person, in tokens.")
    target_max_tokens: Whole = Field(120, ge=1, description="Longest message of the target, in tokens.")
    temperature: Number = Field(
        1.0, ge=0, le=5, description="Of the person's words; 1 is the model's own distribution."
    )
    top_p: Number = Field(1.0, gt=0, le=1, description="Of the person's words; 1 keeps all tokens.")
    target_temperature: Number = Field(0.7, ge=0, le=5, description="Of the target's words.")
    target_top_p: Number = Field(1.0, gt=0, le=1, description="Of the target's words.")
    guards: tuple[str, ...] = Field(tuple(GUARDS), description="Guards on the person's words.")
    attempts: Whole = Field(3, ge=1, le=10, description="Draws per message, the first included.")
    on_rejected: Literal["keep", "fail"] = Field(
        "keep", description="After the last attempt: keep the draw, with its guards on record, or fail."
    )
    target_last: StrictBool = Field(True, description="Whether the target answers the person's last message.")
    stop: Literal["turns", "probe"] = Field(
        "turns", description="turns: always to the cap; probe: a side question whether the person is done."
    )
    probes: tuple[ProbeSpec, ...] = Field(
        (), description="Questions to the person in side branches; their answers are probabilities."
    )
    in_flight: Whole = Field(64, ge=1, le=4096, description="Conversations held at the same time.")

    @field_validator("guards")
    @classmethod
    def _guards_exist(cls, guards: tuple[str, ...]) -> tuple[str, ...]:
        for name in guards:
            if name not in GUARDS:
                raise ValueError(f"unknown guard {name!r}; {did_you_mean(name, GUARDS)}")
        return guards


class SurveySpec(Frozen):
    """What everybody is asked."""

    questionnaire: str = Field(description="Id of a shipped questionnaire, or a TOML file.")
    mode: Literal["auto", "exact", "sampled"] = Field(
        "auto", description="exact: label log-probabilities; sampled: parsed replies; auto: exact where possible."
    )
    by: Literal["letters", "words"] = Field(
        "letters", description="letters: one token per answer; words: the labels' own words, for small models."
    )
    runs: Whole = Field(2, ge=1, le=1000, description="Sampled answers per person and item; exact ones need one.")
    temperature: Number = Field(1.0, gt=0, le=5, description="Of sampled answers.")
    placebo: tuple[Literal["none", "random-text", "shuffled", "demographics"], ...] = Field(
        ("none", "random-text", "shuffled"),
        description="Who answers beside the people, for the variance gauge: what any prompt would do.",
    )
    placebo_people: Whole = Field(25, ge=2, le=1000, description="In each placebo arm; never more than people.")
    placebo_waived: str = Field("", description="Why there is no placebo; printed beside the result.")
    human: str | None = Field(
        None, description="Table of people's own answers to the same items, to compare with (CSV, JSONL, Parquet)."
    )

    @model_validator(mode="after")
    def _placebo_or_reason(self) -> Self:
        if ("none" not in self.placebo or len(self.placebo) < 2) and not self.placebo_waived.strip():
            raise ValueError(
                'personas are judged against what any prompt would do: placebo needs "none" and one more arm; '
                "or say in placebo_waived why there is none, which is printed beside the result"
            )
        return self


class MeasureSpec(Frozen):
    """What is measured."""

    gauges: tuple[GaugeName, ...] = Field(GAUGES, description="Gauges to read.")
    candidates: Whole = Field(4, ge=2, le=64, description="People a listener chooses among, the true one included.")
    axis: str | None = Field(
        None, description="Folder of an axis: local models are read along it while they talk, for the gauge drift."
    )
    neutral: Whole = Field(
        1, ge=0, le=5, description="Everyday questions to a target that is read, in a side branch at the end."
    )


class BudgetSpec(Frozen):
    """When an endpoint is not asked any more. Nothing is cut off: what runs is finished, the rest is not begun."""

    tokens: Whole | None = Field(None, ge=1, description="Prompt and completion tokens together.")
    usd: Number | None = Field(None, gt=0, description="Money, by the prices below.")
    seconds: Number | None = Field(None, gt=0, description="Wall time.")


class PricesSpec(Frozen):
    """What an endpoint costs; without prices money is reported as unknown."""

    usd_per_1m_prompt: Number = Field(ge=0, description="US dollars per million prompt tokens.")
    usd_per_1m_completion: Number = Field(ge=0, description="US dollars per million completion tokens.")


class StudySpec(Frozen):
    """A whole study."""

    schema_version: Annotated[Literal[1], BeforeValidator(_no_truth_value)] = Field(
        1, description="Version of this file's format.", alias="schema"
    )
    name: Id = Field(description="Short name; part of the run folder's name.")
    seed: Whole = Field(0, ge=0, description="Root of all seeds.")
    population: PopulationSpec = Field(default_factory=PopulationSpec, description="Who is simulated.")
    models: ModelsSpec = Field(default_factory=ModelsSpec, description="Who speaks.")
    conversation: ConversationSpec = Field(default_factory=ConversationSpec, description="How conversations go.")
    scenarios: tuple[Scenario, ...] = Field((), description="Why people talk to the target; one conversation each.")
    survey: SurveySpec | None = Field(None, description="What everybody is asked; nothing if left out.")
    measure: MeasureSpec = Field(default_factory=MeasureSpec, description="What is measured.")
    budget: BudgetSpec = Field(default_factory=BudgetSpec, description="Limits of endpoints.")
    prices: PricesSpec | None = Field(None, description="Prices of endpoints.")

    @model_validator(mode="after")
    def _something_happens(self) -> Self:
        if not self.scenarios and self.survey is None:
            raise ValueError("a study needs at least one [[scenarios]] table or a [survey]")
        people = self.population
        if people.generator in PLACING and not (people.file or people.dimensions or self.survey):
            raise ValueError(
                f"the generator {people.generator!r} places people on dimensions: add [[population.dimensions]], "
                "a [survey] whose dimensions it can use, or population.file"
            )
        return self

    @field_validator("scenarios")
    @classmethod
    def _scenarios_differ(cls, scenarios: tuple[Scenario, ...]) -> tuple[Scenario, ...]:
        ids = [s.id for s in scenarios]
        for i, name in enumerate(ids):
            if name in ids[:i]:
                raise PydanticCustomError(
                    "twice", "two scenarios have the id '{id}'", {"id": name, "within": (i, "id")}
                )
        return scenarios

    @property
    def hash(self) -> str:
        """SHA-256 of everything that decides what is asked: not of budgets, prices, gauges or concurrency."""
        content = self.model_dump(exclude={"budget", "prices", "measure"}, mode="json")
        content["conversation"].pop("in_flight")
        return content_hash(content)

    @property
    def placebo(self) -> tuple[str, ...]:
        """Placebo arms that are asked: those of the survey, if its variance is measured."""
        return self.survey.placebo if self.survey and "variance" in self.measure.gauges else ()

    @property
    def placebo_people(self) -> int:
        """People in each placebo arm, at most."""
        return self.survey.placebo_people if self.survey else 0

    @property
    def root(self) -> str:
        """Root of the study's seeds."""
        return f"{self.name}:{self.seed}"

    @property
    def user_sampling(self) -> Sampling:
        """How the person's words are drawn."""
        c = self.conversation
        return Sampling(temperature=c.temperature, top_p=c.top_p, max_tokens=c.max_tokens)

    @property
    def target_sampling(self) -> Sampling:
        """How the target's words are drawn."""
        c = self.conversation
        return Sampling(temperature=c.target_temperature, top_p=c.target_top_p, max_tokens=c.target_max_tokens)


ModelsSpec.model_rebuild()


def read_study(path: Path) -> StudySpec:
    """The study of a TOML file.

    Raises:
        ConfigError: All problems in one message, each with line, key, what was found and what to do.
    """
    text = read_text(path)
    raw = parse(text, where=str(path))
    try:
        return StudySpec.model_validate(raw)
    except ValidationError as error:
        lines = key_lines(text)
        problems = [_problem(path, lines, e) for e in error.errors() if not _beside_the_point(e)]
        raise ConfigError("\n".join(["the study file has problems", *problems]), where=str(path)) from error


def _beside_the_point(error: Any) -> bool:
    """Where a target may be a text or a table, only what is wrong with the kind that was written matters."""
    *_, branch = error["loc"] or ("",)
    table = isinstance(error["input"], dict)
    return (branch == "str" and error["type"] == "string_type" and table) or (
        branch == "TargetSpec" and error["type"] == "model_type"
    )


def _problem(path: Path, lines: dict[KeyPath, int], error: Any) -> str:
    at = tuple(p for p in error["loc"] if p not in ("str", "TargetSpec"))
    at += tuple(error.get("ctx", {}).get("within", ()))
    key = ".".join(str(p) for p in at) or "study"
    where = f"{path}:{line_of(lines, at)}: {key}"
    if error["type"] == "extra_forbidden":
        return f"  {where}: unknown key; {did_you_mean(str(at[-1]), keys_at(at[:-1]))}"
    if error["type"] == "missing":
        return f"  {where}: is missing; add it (see: multitudes study --explain)"
    message = error["msg"].removeprefix("Value error, ")
    shown = isinstance(error["input"], str | int | float | list)
    return f"  {where}: {message}" + (f"; found {error['input']!r:.80}" if shown else "")


def keys_at(path: KeyPath) -> list[str]:
    """Known keys of the table at ``path`` of a study file."""
    model: Any = StudySpec
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        found = list(_models_in(field.annotation))
        if not found:
            return []
        model = found[0]
    return [f.alias or name for name, f in model.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in getattr(annotation, "__args__", ()) for m in _models_in(a)]


def explain() -> str:
    """Every key of a study file with its default and meaning, as TOML.

    What has no default is commented out, and so is every table that may be left out: the rest is a study, once a
    name and something that happens are filled in.
    """
    lines = ["# A study file: every key, its default and what it means. What is commented out may be left out."]

    def table(model: type[BaseModel], title: str, mark: str) -> None:
        nested: list[tuple[str, type[BaseModel], str]] = []
        if title:
            lines.extend(["", f"{mark}{title}    # {' '.join((model.__doc__ or '').split()).split('. ')[0]}"])
        for name, field in model.model_fields.items():
            key = field.alias or name
            inner = _models_in(field.annotation)
            if inner:
                many = "tuple" in str(field.annotation)
                path = f"{title.strip('[]')}.{key}" if title else key
                optional = "" if field.default_factory else "# "
                nested.append((f"[[{path}]]" if many else f"[{path}]", inner[0], mark or optional))
            if not inner or key == "target":  # a target is a text or a table
                default, meaning = _toml_default(field), field.description or _doc_of(model, name)
                must = " Must be given." if field.is_required() else ""
                lines.append(f"{mark or ('# ' if default == '...' else '')}{key} = {default}    # {meaning}{must}")
        for name, inner_model, inner_mark in nested:
            table(inner_model, name, inner_mark)

    table(StudySpec, "", "")
    return "\n".join(lines)


def _toml_default(field: Any) -> str:
    """The default as TOML; three dots where there is none."""
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    if value is None:
        return "..."
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(f'"{v}"' for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f'{k} = "{v}"' for k, v in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _doc_of(model: type[BaseModel], name: str) -> str:
    """The line of the class docstring that describes the field."""
    for line in (model.__doc__ or "").splitlines():
        if line.strip().startswith(f"{name}:"):
            return line.strip().partition(":")[2].strip()
    return ""
