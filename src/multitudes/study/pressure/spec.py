"""What a pressure run may say: a preset, and what departs from it, as options or as a TOML file."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError, did_you_mean
from multitudes.core.records import Frozen
from multitudes.core.toml import parse, read_text
from multitudes.measure.errors import OneSidedBattery, TooFewProbesError
from multitudes.models.base import Sampling
from multitudes.simulate.scripts import known, needed

Disposition = Literal["id", "fact", "trait", "beh", "style", "ref"]
SELF_REPORTS = ("id", "fact", "trait")
BEHAVIOURS = ("beh", "style")
CONDITIONS = ("C0", "C1", "C2", "C3", "C3p", "C4", "C5", "C6", "C6w", "C6r", "C7a", "C7b")
UNTRAINED = tuple(c for c in CONDITIONS if c != "C2")  # C2 trains an adapter per persona, so it is asked for by name
NEED_AXIS = ("C5", "C6", "C6w", "C6r", "C7a", "C7b")
LABELS = {
    "C0": "no persona", "C1": "trained default", "C2": "trained persona", "C3": "system prompt",
    "C3p": "placebo prompt", "C4": "few-shot", "C5": "steered", "C6": "prompt and hold",
    "C6w": "prompt and another persona's hold", "C6r": "prompt and hold on random directions",
    "C7a": "trained default, capped", "C7b": "prompt and Assistant cap",
}  # fmt: skip
HOLD, HOLD_CONTROLS = "C6", ("C6w", "C6r")
LATER = ("hold_alpha", "hold_layers", "hold_sides")  # keys that came later: no part of the hash at their defaults
OF_C2 = ("adapters", "answers", "epochs", "learning_rate", "c2_rungs")  # no part of the hash of a run without C2
PresetName = Literal["small", "full"]


class PressureSpec(Frozen):
    """One pressure run.

    Attributes:
        model: Who is pressed: a name as everywhere.
        axis: Folder of an axis artifact of the model; without one the conditions that need it are left out.
        people: File of a population; the shipped human roles if None.
        personas: How many of them.
        prompts: Base prompts that results are taken from. One third of all are set aside before, for calibration.
        crossed: Every persona meets every base prompt; otherwise persona k meets prompt k alone.
        seeds: Runs of each cell.
        conditions: What is run; C0 and C3 always are, and C6 brings both of its controls: see ``with_controls``.
        pressures: P0a to P7. Neutral runs of equal length are added by themselves.
        turns: T, turns of pressure.
        recovery: K, turns after it.
        max_tokens: Longest reply, in tokens.
        temperature: Of replies; 0 is the most likely words, and then seeds make no difference.
        top_p: Of replies.
        dispositions: What is measured; at least one self-report and one behaviour. ``ref``, refusing, needs P3, a set
            of prompts for it, and a judge.
        primary: The disposition named before the run, on which the verdict is given.
        items: Items of each battery.
        wordings: Wordings of each probe question.
        every: Probe after every so many turns of pressure.
        adapters: Folder with one adapter per persona, for C2; they are trained in the run if None.
        answers: Answers that each adapter is trained on.
        epochs: Passes over them.
        learning_rate: Of the adapters. Few answers are few steps, and then it is higher.
        c2_rungs: Ladder of trained personas, ``epoch-1`` and so on up to ``final``; empty is all that training
            keeps, or ``final`` alone of given adapters.
        c3_rungs: Ladder of the system prompt, from weak to strong.
        c4_rungs: Ladder of the few-shot condition: pairs.
        c5_rungs: Ladder of steering: strengths.
        full_history: Judge coherence given the whole visible history; otherwise given the last message.
        controls: Probe another persona's items in the prompted arm (shuffled labels).
        effect: Difference of AUC_R that the run is to find.
        sd: SD of AUC_R across base prompts that is expected.
        correlation: Between arms, across base prompts, that is expected.
        keep_weak: Also press conditions that stand less than 0.2 above no persona at their best calibration rung;
            they are not measurable, so the small preset leaves them out.
        free_answers: Also ask who is there in free text, at the start and at T, to check the forced choice.
        draws: Bootstrap draws.
        seed: Root of every draw.
        in_flight: Conversations held at the same time.
        p3: A bank of the user's for P3; refused without one.
        judge: Model that rates replies; without one everything is read off likelihoods.
        base_prompts: File with base prompts of the user's ([[prompt]] with id and text); the shipped 60 if None.
        hold_alpha: Share of a person's tokens outside its range on either side, for C6 and its controls.
        hold_layers: Blocks that they hold at; the axis' window if None.
        hold_sides: ``both``: two-sided on the axis and the own direction; ``own_floor``: a floor on the latter.
        hold_tokens: Tokens of running text, over all personas, that are read held and plain for their perplexity.
    """

    name: str = "pressure"
    model: str = "smollm2"
    axis: str | None = None
    people: str | None = None
    personas: int = Field(8, ge=1, le=1000)
    prompts: int = Field(8, ge=1, le=10_000)
    crossed: bool = False
    seeds: int = Field(1, ge=1, le=1000)
    conditions: tuple[str, ...] = ("C0", "C1", "C3", "C4", "C5", "C6")
    pressures: tuple[str, ...] = ("P1", "P2")
    turns: int = Field(4, le=12)
    recovery: int = Field(2, ge=0, le=12)
    max_tokens: int = Field(24, ge=1)
    temperature: float = Field(0.7, ge=0, le=5)
    top_p: float = Field(0.95, gt=0, le=1)
    dispositions: tuple[Disposition, ...] = ("id", "beh")
    primary: Disposition = "id"
    items: int = Field(4, ge=1, le=6)
    wordings: int = Field(1, ge=1, le=3)
    every: int = Field(2, ge=1)
    adapters: str | None = None
    answers: int = Field(48, ge=8)
    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    c2_rungs: tuple[str, ...] = ()
    c3_rungs: tuple[str, ...] = ("paragraph", "card")
    c4_rungs: tuple[int, ...] = (2, 4)
    c5_rungs: tuple[float, ...] = (0.2, 0.4)
    full_history: bool = False
    controls: bool = False
    effect: float = Field(0.10, gt=0)
    sd: float = Field(0.3, gt=0)
    correlation: float = Field(0.3, ge=-1, lt=1)
    keep_weak: bool = False
    free_answers: bool = True
    draws: int = Field(400, ge=50)
    seed: int = 0
    in_flight: int = Field(32, ge=1, le=4096)
    p3: str | None = None
    judge: str | None = None
    base_prompts: str | None = None
    hold_alpha: float = Field(0.05, gt=0, lt=0.5)
    hold_layers: tuple[int, ...] | None = Field(None, min_length=1)
    hold_sides: Literal["both", "own_floor"] = "both"
    hold_tokens: int = Field(4096, ge=256)

    @field_validator("conditions")
    @classmethod
    def _conditions_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for c in value:
            if c not in CONDITIONS:
                raise ValueError(f"unknown condition {c!r}; {did_you_mean(c, CONDITIONS)}")
        return tuple(c for c in CONDITIONS if c in value or c in ("C0", "C3"))

    @field_validator("hold_layers")
    @classmethod
    def _layers_in_order(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (min(value) < 0 or len(set(value)) < len(value)):
            raise ValueError("must be blocks, each once, counted from 0")
        return None if value is None else tuple(sorted(value))

    @field_validator("c3_rungs")
    @classmethod
    def _rungs_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from multitudes.study.pressure.personas import RUNGS

        if not value or any(r not in RUNGS for r in value):
            raise ValueError(f"must be some of {', '.join(RUNGS)}")
        return tuple(r for r in RUNGS if r in value)

    @model_validator(mode="after")
    def _fits(self) -> PressureSpec:
        if self.primary not in self.dispositions:
            raise ValueError(f"the primary disposition {self.primary!r} is not among those measured")
        if unknown := set(self.c2_rungs) - ({f"epoch-{e}" for e in range(1, self.epochs)} | {"final"}):
            raise ValueError(
                f"c2_rungs names {', '.join(sorted(unknown))}; an adapter has epoch-1 and so on, and final"
            )
        if "ref" in self.dispositions:
            given = {
                "P3 among the pressures": "P3" in self.pressures,
                "a set of prompts of your own (p3 = FILE), for none is shipped": self.p3,
                "a judge (judge = MODEL)": self.judge,
            }
            if missing := [what for what, there in given.items() if not there]:
                raise ValueError(f"ref, refusing, needs {' and '.join(missing)}")
            if self.primary == "ref":
                raise ValueError("ref has no start to be kept, so no verdict rests on it; name another primary")
        if "P3" in self.pressures and self.p3 is None:
            raise ValueError("P3 needs a set of prompts of your own (p3 = FILE): none is shipped")
        if not self.crossed and self.prompts < self.personas:
            raise ValueError("every persona needs a base prompt of its own; raise prompts, or set crossed")
        for p in self.pressures:
            try:
                known(p)
            except ConfigError as error:
                raise ValueError(f"{error.what}: {error.found}; {error.hint}") from error
        return self

    def check(self) -> PressureSpec:
        """Refuse what could never give a number.

        Raises:
            OneSidedBattery: Self-reports without a behaviour, or the other way round.
            TooFewProbesError: T < 2, or fewer than two probes under pressure.
        """
        if not all(any(d in side for d in self.dispositions) for side in (SELF_REPORTS, BEHAVIOURS)):
            raise OneSidedBattery(
                "what a persona says of itself and what it does come apart, so both are measured",
                where="dispositions", found=", ".join(self.dispositions),
                expected="at least one of id, fact, trait and one of beh, style",
            )  # fmt: skip
        if self.turns < 2 or len(self.pressed_at) < 2:
            raise TooFewProbesError(
                "no event can be defined: a flip is two probes in a row", where="turns, every",
                found=f"{self.turns} turns, probed at {list(self.pressed_at)}", expected="two probes under pressure",
            )  # fmt: skip
        return self

    @property
    def with_controls(self) -> tuple[str, ...]:
        """The conditions, and with C6 the holds on another person's ranges and on random directions.

        A hold without them shows nothing about holding people. A single persona has nobody else's range.
        """
        brought = HOLD_CONTROLS if HOLD in self.conditions else ()
        alone = ("C6w",) if self.personas < 2 else ()
        return tuple(c for c in CONDITIONS if c in (*self.conditions, *brought) and c not in alone)

    @property
    def adapter_rungs(self) -> tuple[str, ...]:
        """Ladder of C2, from weak to strong."""
        from multitudes.train.adapter import rung_name

        kept = tuple(rung_name(e, self.epochs) for e in range(1, self.epochs + 1))
        return self.c2_rungs or (kept if self.adapters is None else kept[-1:])

    @property
    def pressed_at(self) -> tuple[int, ...]:
        """Turns under pressure after which is probed; T is always among them."""
        return tuple(sorted({*range(self.every, self.turns + 1, self.every), self.turns} - {0}))

    @property
    def probe_at(self) -> tuple[int, ...]:
        """All turns after which is probed."""
        return (0, *self.pressed_at, *((self.turns + self.recovery,) if self.recovery else ()))

    @property
    def free_at(self) -> tuple[int, ...]:
        """Turns after which is asked in free text."""
        return (0, self.turns) if self.free_answers else ()

    @property
    def scripts(self) -> tuple[str, ...]:
        """Pressures by their full names, with the neutral runs they need."""
        return needed(self.pressures)

    @property
    def pressing(self) -> tuple[str, ...]:
        """Pressures by their full names, in the order given."""
        return tuple(dict.fromkeys(known(p) for p in self.pressures))

    @property
    def sampling(self) -> Sampling:
        """How replies are drawn, in every condition."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)

    @cached_property
    def hash(self) -> str:
        """What the questions depend on: not draws of intervals, the number in flight, or how much text is read.

        The conditions count as asked: the controls of a hold join a run that was begun without them.
        """
        default = [k for k in LATER if getattr(self, k) == type(self).model_fields[k].default]
        unused = OF_C2 if "C2" not in self.conditions else ()
        left_out = {"name", "draws", "in_flight", "hold_tokens", *default, *unused}
        return content_hash(self.model_dump(mode="json", exclude=left_out))

    @property
    def root(self) -> str:
        """Root of all seeds. The list of conditions and pressures is no part of it: the same talk stays the same."""
        return f"pressure:{self.seed}"


FULL: dict[str, Any] = {
    "personas": 12, "prompts": 40, "crossed": True, "seeds": 3, "conditions": UNTRAINED,
    "pressures": ("P1", "P2", "P4", "P5", "P6", "P7", "P0a"), "turns": 8, "recovery": 4, "max_tokens": 200,
    "dispositions": ("id", "fact", "trait", "beh", "style"), "items": 6, "wordings": 3, "every": 1,
    "c3_rungs": ("line", "paragraph", "card", "card and rule"), "c4_rungs": (1, 2, 4, 8),
    "c5_rungs": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), "full_history": True, "controls": True, "keep_weak": True,
    "answers": 200, "learning_rate": 2e-4, "draws": 2000, "hold_tokens": 20_480,
}  # fmt: skip
PRESETS: dict[PresetName, dict[str, Any]] = {"small": {}, "full": FULL}


def make_spec(preset: PresetName = "small", **changes: Any) -> PressureSpec:
    """A preset with changes.

    Raises:
        ConfigError: An unknown preset or key, or a value out of range, all in one message.
        OneSidedBattery, TooFewProbesError: See ``PressureSpec.check``.

    >>> make_spec("small", turns=8).probe_at
    (0, 2, 4, 6, 8, 10)
    """
    if preset not in PRESETS:
        raise ConfigError("unknown preset", where="preset", found=repr(preset), hint=did_you_mean(preset, PRESETS))
    try:
        return PressureSpec.model_validate({**PRESETS[preset], **changes}).check()
    except ValidationError as error:
        raise ConfigError("\n".join(["the pressure run has problems", *map(_problem, error.errors())])) from error


def read_spec(path: Path, **changes: Any) -> PressureSpec:
    """The run of a TOML file: ``preset`` and any key of ``PressureSpec``.

    Raises:
        ConfigError: As ``make_spec``.
    """
    table = parse(read_text(path), where=str(path))
    return make_spec(table.pop("preset", "small"), **{**table, **changes})


def _problem(error: Any) -> str:
    key = ".".join(map(str, error["loc"])) or "run"
    if error["type"] == "extra_forbidden":
        return f"  {key}: unknown key; {did_you_mean(key, PressureSpec.model_fields)}"
    return f"  {key}: {error['msg'].removeprefix('Value error, ')}"
