"""Who meets what: base prompts set aside for calibration, conversations of every condition, each with its id."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from multitudes.core.errors import ConfigError
from multitudes.core.toml import read_text
from multitudes.measure.retention.screening import split_prompts
from multitudes.models.edit import Edit
from multitudes.simulate.press import Condition, Press
from multitudes.simulate.pressure import Bank, Opening, openings, read_bank
from multitudes.simulate.probes import BATTERIES, Target, items_of
from multitudes.simulate.scripts import Draw, Lengths, Script, draw_scripts
from multitudes.study.pressure.personas import PressPersona, load_personas
from multitudes.study.pressure.spec import LABELS, PressureSpec

START = "start"  # pressure of a calibration talk: there is none
PERSONLESS = ("C0", "C1", "C7a")  # nobody is played, so one conversation serves all personas of its prompt
TRAINED = ("C1", "C7a")  # scored on the Assistant's side
NOTHING = Script(START, "both", (), ())


@dataclass(frozen=True, slots=True)
class Cast:
    """Personas and base prompts of a run.

    Attributes:
        personas: By id.
        calibration: Base prompts from which no result is taken.
        evaluation: Those that results are taken from.
        crossed: Whether every persona meets every prompt.
        own: Banks of the user's.
    """

    personas: Mapping[str, PressPersona]
    calibration: tuple[Opening, ...]
    evaluation: tuple[Opening, ...]
    crossed: bool
    own: Mapping[str, Bank] = field(default_factory=dict)

    def pairs(self, prompts: Sequence[Opening], *, evaluation: bool) -> Iterator[tuple[Opening, tuple[str, ...]]]:
        """Each prompt with the personas that meet it."""
        ids = tuple(self.personas)
        if self.crossed:
            yield from ((p, ids) for p in prompts)
        elif evaluation:
            yield from ((p, (ids[i % len(ids)],)) for i, p in enumerate(prompts))
        else:
            yield from ((p, ids[i :: len(prompts)]) for i, p in enumerate(prompts[: len(ids)]))


@dataclass(frozen=True, slots=True)
class Sources:
    """What conditions are made of beside system texts.

    Attributes:
        shots: In-character (question, answer) pairs, by persona.
        push: Steering edit, by persona and strength.
        hold: Hold on the persona's own ranges, by persona.
        wrong: Hold on another persona's ranges.
        random: Hold on covariance-matched random directions.
        cap: Cap of the Assistant.
        adapters: Folder of the adapter, by persona and rung.
        placebo: Sentences about nothing of the kind.
    """

    shots: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    push: Mapping[tuple[str, float], Edit] = field(default_factory=dict)
    hold: Mapping[str, Edit] = field(default_factory=dict)
    wrong: Mapping[str, Edit] = field(default_factory=dict)
    random: Mapping[str, Edit] = field(default_factory=dict)
    cap: Edit | None = None
    adapters: Mapping[tuple[str, str], Path] = field(default_factory=dict)
    placebo: tuple[str, ...] = ()


def make_cast(spec: PressureSpec, *, base: Path = Path()) -> Cast:
    """Load personas, split base prompts.

    Raises:
        ConfigError: Too few personas or prompts.
    """
    personas = {p.id: p for p in load_personas(spec.people, spec.personas, base=base)}
    available = openings() if spec.base_prompts is None else _read_openings(base / spec.base_prompts)
    total = round(spec.prompts * 3 / 2)
    if len(available) < total:
        raise ConfigError(
            "too few base prompts", where="prompts", found=f"{len(available)} in all",
            expected=f"{total}: {spec.prompts} for results and half as many for calibration",
            hint="lower prompts, or give more with base_prompts = FILE.toml",
        )  # fmt: skip
    used = {p.id: p for p in available[:total]}
    split = split_prompts(list(used), seed=spec.seed)
    chosen = [used[str(i)] for i in split.evaluation][: spec.prompts]
    own = {"P3": read_bank(base / spec.p3)} if spec.p3 is not None and "P3" in spec.pressing else {}
    return Cast(personas, tuple(used[str(i)] for i in split.calibration), tuple(chosen), spec.crossed, own)


def _read_openings(path: Path) -> tuple[Opening, ...]:
    try:
        rows = tomllib.loads(read_text(path))["prompt"]
        return tuple(Opening(str(r["id"]), str(r["text"])) for r in rows)
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ConfigError("not base prompts", where=str(path), found=str(error),
                          expected="[[prompt]] tables with id and text") from error  # fmt: skip


def targets(spec: PressureSpec, cast: Cast, who: Sequence[str]) -> tuple[Target, ...]:
    """The personas that a conversation is probed for."""
    facts = {k: p.facts for k, p in cast.personas.items()}
    wanted = [b for b in BATTERIES if b in spec.dispositions]
    return tuple(
        Target(k, items_of(k, facts[k], wanted, others=facts, root=spec.root, per_battery=spec.items)) for k in who
    )


def condition(name: str, persona: PressPersona | None, rung: str, sources: Sources) -> Condition:
    """A condition of one persona at one rung of its ladder.

    Args:
        name: C0 to C7b.
        persona: Who is played; None in C0, C1 and C7a.
        rung: Rung of the adapter (C2) or the system text (C3, C3p, C6, C7b), number of pairs (C4) or strength (C5).
        sources: Shots, edits and adapters.
    """
    label = LABELS[name]
    if name in ("C0", "C1") or persona is None:
        toward = "persona" if name in TRAINED else "assistant"
        return Condition(name, label, edit=sources.cap if name == "C7a" else None, toward=toward)  # type: ignore[arg-type]
    if name == "C2":
        return Condition(name, label, adapter=str(sources.adapters[persona.id, rung]))
    if name == "C4":
        return Condition(name, label, shots=sources.shots[persona.id][: int(rung)])
    if name == "C5":
        return Condition(name, label, edit=sources.push[persona.id, float(rung)])
    system = persona.rungs[rung]
    if name == "C3p":
        return Condition(name, label, system=placebo(system, sources.placebo))
    edits = {"C6": sources.hold, "C6w": sources.wrong, "C6r": sources.random}
    edit = sources.cap if name == "C7b" else edits[name][persona.id] if name in edits else None
    return Condition(name, label, system=system, edit=edit)


def placebo(text: str, sentences: Sequence[str]) -> str:
    """As many words of ``sentences`` as ``text`` has.

    >>> placebo("You are a midwife.", ["A stone bridge carries its load.", "Onions grow."])
    'A stone bridge carries.'
    """
    words = " ".join(sentences).split()
    n = len(text.split())
    return " ".join((words * (n // max(1, len(words)) + 1))[:n]).rstrip(".,;") + "."


def start_talks(spec: PressureSpec, cast: Cast, name: str, rungs: Sequence[str], sources: Sources) -> list[Press]:
    """Calibration: replies to the base prompts that were set aside, at each rung of one condition."""
    out: list[Press] = []
    for prompt, who in cast.pairs(cast.calibration, evaluation=False):
        for rung in rungs:
            groups = [who] if name in PERSONLESS else [(w,) for w in who]
            for group in groups:
                persona = None if name in PERSONLESS else cast.personas[group[0]]
                key = f"{name}@{rung}" if rung else name
                talk = f"cal.{key}.{prompt.id}.{'-' if persona is None else persona.id}"
                made = replace(condition(name, persona, rung, sources), id=key)
                out.append(Press(talk, f"{spec.root}:cal", made, prompt, 0, NOTHING, targets(spec, cast, group)))
    return out


def pressed_talks(
    spec: PressureSpec, cast: Cast, conditions: Sequence[str], rungs: Mapping[str, str], sources: Sources,
    lengths: Lengths,
) -> list[Press]:  # fmt: skip
    """Evaluation: every condition under every pressure and neutral run. Those of one persona stand side by side."""
    roles = {k: p.phrase for k, p in cast.personas.items()}
    out: list[Press] = []
    for prompt, who in cast.pairs(cast.evaluation, evaluation=True):
        for replicate in range(spec.seeds):
            draw = Draw(spec.root, prompt, replicate, spec.turns, spec.recovery, lengths)
            scripts = draw_scripts(spec.scripts, draw, roles={k: roles[k] for k in who}, own=cast.own)
            for pressure in spec.scripts:
                for name in conditions:
                    out += _talks(spec, cast, name, pressure, prompt, who, replicate, scripts, rungs, sources)
    return out


def _talks(
    spec: PressureSpec, cast: Cast, name: str, pressure: str, prompt: Opening, who: Sequence[str], replicate: int,
    scripts: Mapping[tuple[str, str], Script], rungs: Mapping[str, str], sources: Sources,
) -> Iterator[Press]:  # fmt: skip
    mirrored = any((pressure, w) in scripts for w in who)
    if name == "C1" and not mirrored:
        return  # it shares the conversations of C0
    groups = [tuple(who)] if name in PERSONLESS and not (name in TRAINED and mirrored) else [(w,) for w in who]
    for group in groups:
        played = None if name in PERSONLESS else cast.personas[group[0]]
        script = scripts.get((pressure, group[0] if name in TRAINED else "")) or scripts[pressure, ""]
        probed = group
        if spec.controls and len(cast.personas) > 1 and (name == "C3" or (name == "C0" and not cast.crossed)):
            probed = tuple(dict.fromkeys((*group, *(decoy_of(cast, w) for w in group))))
        yield Press(
            f"{name}.{pressure}.{prompt.id}.{group[0] if len(group) == 1 else '-'}.{replicate}", spec.root,
            condition(name, played, rungs.get(name, ""), sources), prompt, replicate, script,
            targets(spec, cast, probed),
        )  # fmt: skip


def decoy_of(cast: Cast, persona: str) -> str:
    """The other persona whose items are put to this one: the next in order."""
    ids = list(cast.personas)
    return ids[(ids.index(persona) + 1) % len(ids)]
