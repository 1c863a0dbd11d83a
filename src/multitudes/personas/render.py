"""A persona becomes the system prompt of the model that plays it, on the user side of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

from multitudes.core.records import Persona
from multitudes.personas._templates import fill, hash_of, template


class PersonaView(NamedTuple):
    """What a model may be told of a persona: everything but where it was placed, its weight and its origin."""

    id: str
    name: str
    text: str
    facts: Mapping[str, str]

    @classmethod
    def of(cls, persona: Persona) -> Self:
        """The part of ``persona`` that may be told."""
        return cls(persona.id, persona.name, persona.text, persona.facts)


def render(persona: Persona | PersonaView, *, scenario_goal: str | None = None, context: str = "") -> str:
    """System prompt for a model that plays ``persona``.

    Args:
        persona: Who is played. A ``Persona`` is narrowed to its ``PersonaView`` before anything else happens.
        scenario_goal: What the person wants from the conversation; None where there is no such thing.
        context: The setting, one or two sentences.

    >>> ana = Persona(id="a", name="Ana", text="You keep bees.", facts={"home_town": "Porto"})
    >>> render(ana, scenario_goal="to unblock a card").splitlines()[:4]
    ['You are Ana.', 'You keep bees.', 'Your home town: Porto.', 'What you want now: to unblock a card']
    """
    view = PersonaView.of(persona) if isinstance(persona, Persona) else persona
    return fill(
        template("persona"),
        name=view.name,
        text=view.text,
        facts=" ".join(_sentence(key, value) for key, value in view.facts.items() if value),
        context=context,
        goal=scenario_goal or "",
    )


def _sentence(key: str, value: str) -> str:
    sentence = fill(template("fact"), key=key.replace("_", " "), value=value)
    return sentence.removesuffix(".") if value.endswith((".", "!", "?")) else sentence


def template_hash() -> str:
    """Hash of the templates behind ``render``; part of what a run records."""
    return hash_of("persona", "fact")
