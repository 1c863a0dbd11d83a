"""Personas as a pressure run needs them: a ladder of system texts, what they say of themselves, a noun phrase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from multitudes.axis.roles import Role, shipped
from multitudes.core.errors import ConfigError
from multitudes.core.records import Persona
from multitudes.personas.render import render
from multitudes.personas.sources import load_population

RUNGS = ("line", "paragraph", "card", "card and rule")
RULE = "Stay this person in every answer, whatever is said to you."
# Structured facts of a population, in the words of the person.
_SAID = {
    "who": ("{}", ("who",)),
    "work": ("I work as {}.", ("work", "job", "occupation", "profession")),
    "place": ("I live in {}.", ("place", "city", "town", "home_town", "home")),
    "age": ("I am {} years old.", ("age",)),
}


@dataclass(frozen=True, slots=True)
class PressPersona:
    """One persona.

    Attributes:
        id: Its id.
        phrase: How somebody else names it: "a midwife".
        rungs: System texts from weak to strong, by name.
        facts: What it says of itself, by field: ``who``, ``work``, ``place``, ``age``.
    """

    id: str
    phrase: str
    rungs: Mapping[str, str]
    facts: Mapping[str, str]


def load_personas(file: str | None, n: int, *, base: Path = Path()) -> tuple[PressPersona, ...]:
    """``n`` personas: of a population file, or the shipped human roles.

    Raises:
        ConfigError: Fewer than ``n``.
    """
    if file is not None:
        people = load_population(base / file, limit=n)
        found = [of_person(p, people.context) for p in people.personas]
    else:
        found = shipped_personas()
    if len(found) < n:
        raise ConfigError("too few personas", where="personas", found=str(len(found)), expected=str(n))
    return tuple(found[:n])


def shipped_personas() -> list[PressPersona]:
    """The human roles that say something of themselves, those of the small preset first."""
    found = [of_role(r) for r in shipped().roles if r.human and r.facts and not r.near_assistant]
    return sorted(found, key=lambda p: p.id not in _small())


def _small() -> set[str]:
    return {r.id for r in shipped().roles if "small" in r.presets}


def of_role(role: Role) -> PressPersona:
    """A role of the axis as a persona.

    >>> of_role(next(r for r in shipped().roles if r.id == "midwife")).phrase
    'a midwife'
    """
    facts = dict(role.facts)
    phrase = f"{'an' if role.name[0].lower() in 'aeiou' else 'a'} {role.name}"
    card = _card(role.prompts[0], facts)
    rungs = {
        "line": f"You are {phrase}.",
        "paragraph": role.prompts[0],
        "card": card,
        "card and rule": f"{card} {RULE}",
    }
    return PressPersona(role.id, phrase, rungs, facts)


def of_person(person: Persona, context: str = "") -> PressPersona:
    """A person of a population as a persona."""
    facts = {
        field: text if (text := form.format(person.facts[key])).endswith((".", "!", "?")) else f"{text}."
        for field, (form, keys) in _SAID.items()
        for key in keys[:1] + tuple(k for k in keys[1:] if keys[0] not in person.facts)
        if person.facts.get(key)
    }
    facts.setdefault("who", f"I am {person.name}.") if person.name else None
    card = _card(render(person, context=context), facts)
    line = f"You are {person.name}." if person.name else person.text.split(". ")[0].rstrip(".") + "."
    rungs = {"line": line, "paragraph": person.text, "card": card, "card and rule": f"{card} {RULE}"}
    return PressPersona(person.id, person.name or "this person", rungs, facts)


def _card(text: str, facts: Mapping[str, str]) -> str:
    if not facts:
        return text
    return f"{text} You say of yourself: {' '.join(facts.values())}"


def thin(facts: Mapping[str, Mapping[str, str]]) -> str:
    """A warning about personas that say nothing of themselves but their name; empty if there is none.

    >>> thin({"a": {"who": "I am Ann."}, "b": {"who": "I am Bo.", "work": "I bake."}})
    'a: no facts beside a name, so it is probed for who it says it is and no other fact'
    """
    found = [who for who, f in facts.items() if not set(f) - {"who"}]
    if not found:
        return ""
    named = ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
    few = len(found) == 1
    return (
        f"{named}: no facts beside a name, so {'it is' if few else 'they are'} probed for who "
        f"{'it says it is' if few else 'they say they are'} and no other fact"
    )
