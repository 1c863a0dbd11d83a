"""Batteries of questions that are asked of a persona in side branches, and answered by likelihoods.

An item has several wordings of a question and two full answers: the persona's and the other one. Answers are never
listed; each is scored as the next message, so there is no order effect. What is returned are log-likelihoods; levels
are made of them by ``measure.retention.forced_choice``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError
from multitudes.core.records import Frozen
from multitudes.core.seeds import derive_seed
from multitudes.models.base import ChatModel, Message, Scored, ScoreItem
from multitudes.models.edit import Edit

Battery = Literal["id", "fact", "trait"]
BATTERIES: tuple[Battery, ...] = ("id", "fact", "trait")
FIELDS = ("who", "work", "place", "age")


class ProbeItem(NamedTuple):
    """One forced choice about one persona.

    Attributes:
        battery: ``id`` who it says it is, ``fact`` what it says of its life, ``trait`` how it says it is.
        id: Name within the battery.
        questions: Wordings of the question.
        own: The persona's answer.
        other: The answer it is weighed against.
    """

    battery: Battery
    id: str
    questions: tuple[str, ...]
    own: str
    other: str


@dataclass(frozen=True, slots=True)
class Target:
    """A persona whose dispositions are probed in a conversation, and its items."""

    persona: str
    items: tuple[ProbeItem, ...]


class ItemScore(Frozen):
    """Log-likelihoods of the two answers to one item at one turn, in nats.

    Attributes:
        turn: After which reply it was asked; 0 is the first.
        own: Of the persona's answer, one per wording; summed over tokens with the end of turn.
        other: Of the other answer.
    """

    turn: int
    persona: str
    battery: Battery
    item: str
    own: tuple[float, ...]
    other: tuple[float, ...]


class Asked(NamedTuple):
    """Answers of one probe, and what they cost.

    Attributes:
        scores: One per item.
        engine: Fingerprint of the engine.
        prompt: Tokens read.
        cached: Of these, not computed anew.
    """

    scores: tuple[ItemScore, ...]
    engine: str
    prompt: int
    cached: int


def items_of(
    persona: str,
    facts: Mapping[str, str],
    batteries: Sequence[Battery],
    *,
    others: Mapping[str, Mapping[str, str]] | None = None,
    root: str = "",
    per_battery: int = 6,
) -> tuple[ProbeItem, ...]:
    """The items that can be asked about a persona.

    Args:
        persona: Its id.
        facts: What it says of itself, by field: ``who``, ``work``, ``place``, ``age``. Items without a fact are left
            out.
        batteries: Which.
        others: Facts of other personas, by id. ``fact`` items are weighed against the answer of one of them to the
            same question, the nearest in length; without others against the plain assistant's.
        root: Root of the draw among others that are equally near.
        per_battery: The first so many items of each battery.

    >>> len(items_of("m", {"who": "I am a midwife."}, ["id"]))
    3
    """
    out: list[ProbeItem] = []
    for battery in batteries:
        rows = [row for row in _rows() if row["battery"] == battery]
        found: list[ProbeItem] = []
        for row in rows:
            questions = tuple(row["question"])
            if battery == "trait":
                high, low = row["option_high"], row["option_low"]
                own, other = (low, high) if row["reversed"] else (high, low)
            elif row["field"] not in facts:
                continue
            else:
                own, other = facts[row["field"]], row["foil_assistant"]
                if battery == "fact" and others:
                    other = _near(own, row["field"], persona, others, root) or other
            found.append(ProbeItem(battery, row["id"], questions, own, other))
        out += found[:per_battery]
    return tuple(out)


def _near(own: str, field: str, persona: str, others: Mapping[str, Mapping[str, str]], root: str) -> str | None:
    """Another persona's answer to the same question, nearest in words."""
    pool = [(who, f[field]) for who, f in others.items() if who != persona and f.get(field) not in (None, own)]
    length = len(own.split())
    key = {who: (abs(len(t.split()) - length), derive_seed(root, "foil", persona, field, who)) for who, t in pool}
    return min(pool, key=lambda p: key[p[0]])[1] if pool else None


def batteries_hash() -> str:
    """Hash of the batteries, for the record of a run."""
    return content_hash([list(map(str, row.items())) for row in _rows()], length=16)


class Branch(NamedTuple):
    """A side branch in which a probe is asked.

    Attributes:
        history: The conversation so far, as the persona sees it.
        targets: Personas and items. Answers that several share are scored once.
        turn: Number of the last reply, for the record.
        edit: The condition's own edit, so that the branch is computed as the conversation is.
    """

    history: Sequence[Message]
    targets: Sequence[Target]
    turn: int = 0
    edit: Edit | None = None


async def ask(
    model: ChatModel,
    history: Sequence[Message],
    targets: Sequence[Target],
    *,
    turn: int,
    edit: Edit | None = None,
    wordings: int = 3,
) -> Asked:
    """Log-likelihoods of all answers after ``history``: ``ask_all`` of one branch.

    Args:
        model: An engine with log-likelihoods of given texts.
        history: See ``Branch``.
        targets: See ``Branch``.
        turn: See ``Branch``.
        edit: See ``Branch``.
        wordings: The first so many wordings of each question.

    Raises:
        Unsupported: If the engine has no log-likelihoods.
        ConfigError: Nothing to ask.
    """
    [asked] = await ask_all(model, [Branch(history, targets, turn, edit)], wordings=wordings)
    return asked


async def ask_all(model: ChatModel, branches: Sequence[Branch], *, wordings: int = 3) -> list[Asked]:
    """Log-likelihoods of all answers in many side branches, in one batch; no history is touched.

    Args:
        model: An engine with log-likelihoods of given texts.
        branches: Where to ask, and what.
        wordings: The first so many wordings of each question.

    Raises:
        Unsupported: If the engine has no log-likelihoods.
        ConfigError: A branch in which there is nothing to ask.
    """
    wanted = [_wanted(branch, wordings) for branch in branches]
    items = [
        ScoreItem((*branch.history, Message("user", q)), a, include_end=True, edit=branch.edit)
        for branch, own in zip(branches, wanted, strict=True)
        for q, a in own
    ]
    scored = await model.score(items)
    out, start = [], 0
    for branch, own in zip(branches, wanted, strict=True):
        out.append(_asked(branch, own, scored[start : start + len(own)], wordings))
        start += len(own)
    return out


def _wanted(branch: Branch, wordings: int) -> dict[tuple[str, str], int]:
    """Questions with answers that a branch needs, and where each stands."""
    wanted: dict[tuple[str, str], int] = {}
    for item in (i for t in branch.targets for i in t.items):
        for question in item.questions[:wordings]:
            for answer in (item.own, item.other):
                wanted.setdefault((question, answer), len(wanted))
    if not wanted:
        raise ConfigError(
            "no probe to ask", where="targets", hint="give the personas facts, or use the trait battery"
        )
    return wanted


def _asked(branch: Branch, wanted: Mapping[tuple[str, str], int], scored: Sequence[Scored], wordings: int) -> Asked:
    def logp(question: str, answer: str) -> float:
        return scored[wanted[question, answer]].total

    scores = [
        ItemScore(
            turn=branch.turn, persona=t.persona, battery=i.battery, item=i.id,
            own=tuple(logp(q, i.own) for q in i.questions[:wordings]),
            other=tuple(logp(q, i.other) for q in i.questions[:wordings]),
        )
        for t in branch.targets
        for i in t.items
    ]  # fmt: skip
    prompt, cached = (sum(getattr(s.usage, k) for s in scored) for k in ("prompt", "cached"))
    return Asked(tuple(scores), scored[0].engine, prompt, cached)


@cache
def _rows() -> tuple[dict[str, Any], ...]:
    text = (files("multitudes.simulate") / "banks" / "probes.toml").read_text("utf-8")
    return tuple(tomllib.loads(text)["item"])
