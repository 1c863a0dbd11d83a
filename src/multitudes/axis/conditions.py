"""Under what system text a question is asked: a role, the default in several ways, or a control without a role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from multitudes.axis.presets import Preset, roles_of
from multitudes.axis.roles import Question, RoleSet
from multitudes.models.base import Message

Kind = Literal["role", "default", "neutral", "placebo"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One system text.

    Attributes:
        id: Name, such as ``role:tutor:0`` or ``default:none``.
        kind: What it is.
        system: The text; empty for the default that is told nothing.
        role: Index of the role in the preset's roles; None for other kinds.
        role_id: Its id.
    """

    id: str
    kind: Kind
    system: str
    role: int | None
    role_id: str = ""


def default_arms(model: Any, everything: RoleSet) -> list[tuple[str, str]]:
    """The default's system texts. The template's own text is one of them, where it writes one by itself."""
    name = model.info.name.rpartition("/")[2]
    arms = [(k, text.replace("{model}", name)) for k, text in everything.arms.default]
    own = model.template.own_system()
    return [*arms[:1], *([("template", own)] if own else []), *arms[1:]]


def conditions_of(model: Any, everything: RoleSet, size: Preset) -> list[Condition]:
    """All conditions of a preset; those without a role come first."""
    out = [Condition(f"default:{k}", "default", text, None) for k, text in default_arms(model, everything)]
    out += [Condition(f"neutral:{i}", "neutral", text, None) for i, text in enumerate(everything.arms.neutral)]
    out += [Condition(f"placebo:{i}", "placebo", text, None) for i, text in enumerate(everything.arms.placebo)]
    for i, role in enumerate(roles_of(size, everything)):
        out += [
            Condition(f"role:{role.id}:{k}", "role", p, i, role.id)
            for k, p in enumerate(role.prompts[: size.prompts])
        ]
    return out


def messages_of(condition: Condition, question: Question) -> tuple[Message, ...]:
    """System text and question; a model without a system role gets the text before the question."""
    return Message("system", condition.system), Message("user", question.text)
