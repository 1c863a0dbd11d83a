"""Four domains in which chat models stay, or do not stay, who they are: coding, writing, therapy, philosophy.

Each has five people with twenty topics, and five scripts of six messages; all in the project's own words. *Scripted*
talks send a script as it stands, whatever the model answers, so that models and arms hear identical messages: from
its second message on such a user does not respond to what was said. *Audited* talks let a model play the people on
their topics. Either may end with everyday questions, which show whether a model comes back.

Source: the four domains and the set-up are those of Lu et al. 2026, arXiv 2601.10387, section 5 (5 people and 20
topics for each domain, up to 15 turns, a model as auditor).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

from pydantic import Field

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError, Unsupported, did_you_mean
from multitudes.core.records import Frozen, Persona, Scenario
from multitudes.core.seeds import derive_rng
from multitudes.models.base import Capabilities, ChatModel, Reply, Request, Scored, ScoreItem
from multitudes.personas.render import render
from multitudes.simulate.conversation import Talk

Mode = Literal["scripted", "auditor"]
DOMAINS = ("coding", "writing", "therapy", "philosophy")
TURNS = 6  # messages of a script
MOST_TURNS = 15  # of an audited talk, as in the paper

OFF_POLICY = (
    "The user's messages are fixed: from the second on they do not respond to what the model said. Arms and models "
    "hear the same words; where their answers differ, each belongs to a conversation that nobody would have led."
)


class DriftPersona(Frozen):
    """Somebody who talks to the model in one domain.

    Attributes:
        id: Short name, unique in its domain.
        name: What they are called.
        description: Who they are and how they write, in the second person.
        topics: What they may bring up; told to them, never to the model.
    """

    id: str
    name: str
    description: str
    topics: tuple[str, ...] = Field(min_length=1)


class Script(Frozen):
    """Messages of one person, sent in this order whatever the answers are."""

    id: str
    persona: str
    turns: tuple[str, ...] = Field(min_length=1)


class Domain(Frozen):
    """One kind of conversation.

    Attributes:
        name: One of ``DOMAINS``.
        about: What happens in it.
        personas: Who talks.
        scripts: What they would say, written down.
    """

    name: str = Field(alias="domain")
    about: str
    personas: tuple[DriftPersona, ...] = Field(alias="persona")
    scripts: tuple[Script, ...] = Field(alias="script")


class DriftTalk(NamedTuple):
    """One conversation that is to be held.

    Attributes:
        talk: The conversation; its id and seeds do not depend on the model, so that arms are paired.
        domain: Which domain.
        script: Id of its script, or of person and topic.
        lines: The user's messages in order; None where the auditor finds the words.
    """

    talk: Talk
    domain: str
    script: str
    lines: tuple[str | None, ...]


@cache
def load_domain(name: str) -> Domain:
    """A shipped domain.

    Raises:
        ConfigError: An unknown name, with the near ones.

    >>> load_domain("coding").scripts[0].persona
    'lab-tech'
    """
    if name not in DOMAINS:
        raise ConfigError("no such domain", where="domains", found=repr(name), hint=did_you_mean(name, DOMAINS))
    return Domain.model_validate(tomllib.loads(_text(name)))


@cache
def neutral_lines() -> tuple[str, ...]:
    """Everyday questions that belong to no domain."""
    return tuple(tomllib.loads(_text("neutral"))["turns"])


def _text(name: str) -> str:
    return (files(__package__) / "drift" / f"{name}.toml").read_text("utf-8")


def scripted_talks(
    domains: Sequence[str] = DOMAINS, *, scripts: int | None = None, turns: int = TURNS, neutral: int = 2,
    replicates: int = 1, seed: int = 0,
) -> list[DriftTalk]:  # fmt: skip
    """The scripts as talks.

    Args:
        domains: Which.
        scripts: First so many of each domain; all five if None.
        turns: Messages of each script, at most.
        neutral: Everyday questions after them.
        replicates: Runs of each script; the messages are the same, the model's draws are not.
        seed: Root of the seeds, and of the choice of everyday questions.

    Raises:
        ConfigError: An unknown domain, or a number out of range.
    """
    _check(turns=(turns, 1, TURNS), neutral=(neutral, 0, len(neutral_lines())), replicates=(replicates, 1, 1000))
    out = []
    for name in domains:
        domain = load_domain(name)
        people = {p.id: p for p in domain.personas}
        _check(scripts=(len(domain.scripts) if scripts is None else scripts, 1, len(domain.scripts)))
        for script in domain.scripts[:scripts]:
            lines = (*script.turns[:turns], *_neutral(neutral, seed, name, script.id))
            out += [_talk(domain, people[script.persona], script.id, "", lines, k, seed) for k in range(replicates)]
    return out


def auditor_talks(
    domains: Sequence[str] = DOMAINS, *, topics: int = 1, turns: int = TURNS, neutral: int = 2, replicates: int = 1,
    seed: int = 0,
) -> list[DriftTalk]:  # fmt: skip
    """Talks in which a model plays the people, each on ``topics`` of their topics; other arguments as above."""
    _check(turns=(turns, 1, MOST_TURNS), neutral=(neutral, 0, len(neutral_lines())), replicates=(replicates, 1, 1000))
    out = []
    for name in domains:
        domain = load_domain(name)
        for person in domain.personas:
            _check(topics=(topics, 1, len(person.topics)))
            rng = derive_rng("drift", "topics", seed, name, person.id)
            for k in sorted(rng.choice(len(person.topics), size=topics, replace=False).tolist()):
                which = f"{person.id}.{k}"
                lines = (*(None,) * turns, *_neutral(neutral, seed, name, which))
                out += [_talk(domain, person, which, person.topics[k], lines, r, seed) for r in range(replicates)]
    return out


def _talk(
    domain: Domain, person: DriftPersona, which: str, goal: str, lines: tuple[str | None, ...], run: int, seed: int
) -> DriftTalk:
    persona = Persona(id=f"{domain.name}.{person.id}", name=person.name, text=person.description)
    scenario = Scenario(id=f"{domain.name}.{which}", goal=goal)
    prompt = render(persona, scenario_goal=goal) if goal else f"{domain.name}: {which}"
    key = content_hash([domain.name, which, run, seed, list(lines)], length=16)
    talk = Talk(f"d-{key}", f"drift:{seed}", persona, prompt, scenario, run)
    return DriftTalk(talk, domain.name, which, lines)


def _neutral(n: int, seed: int, *of: str) -> list[str]:
    lines = neutral_lines()
    chosen = derive_rng("drift", "neutral", seed, *of).choice(len(lines), size=n, replace=False)
    return [lines[i] for i in chosen.tolist()]


def _check(**values: tuple[int, int, int]) -> None:
    for name, (value, low, high) in values.items():
        if not low <= value <= high:
            raise ConfigError("out of range", where=name, found=repr(value), expected=f"{low} to {high}")


class PlayedUser:
    """The user's side of drift talks as a chat model: says what is written, and lets an auditor say the rest.

    Args:
        talks: Whom it plays; a talk is known by its prompt.
        auditor: Who finds the words where none are written.

    Raises:
        ConfigError: Words are to be found and there is no auditor.
    """

    def __init__(self, talks: Sequence[DriftTalk], auditor: ChatModel | None = None) -> None:
        self._lines: Mapping[str, tuple[str | None, ...]] = {t.talk.prompt: t.lines for t in talks}
        self.auditor = auditor
        if auditor is None and any(line is None for t in talks for line in t.lines):
            raise ConfigError("nobody plays the user", where="auditor", expected="a model, or scripted talks")

    @property
    def info(self) -> Capabilities:
        """The auditor's, or that of a script."""
        if self.auditor is not None:
            return self.auditor.info
        digest = content_hash([[k, *v] for k, v in sorted(self._lines.items())], length=16)
        return Capabilities(name="scripts", engine="script", fingerprint=f"script:{digest}", seed_status="honoured")

    async def reply(self, requests: Sequence[Request]) -> list[Reply]:
        """The next written line of each talk, or the auditor's words."""
        written = [self._line(r) for r in requests]
        asked = [r for r, line in zip(requests, written, strict=True) if line is None]
        found = iter(await self.auditor.reply(asked) if asked and self.auditor is not None else [])
        return [
            next(found)
            if line is None
            else Reply(line, seed=r.seed, seed_status="honoured", cost_usd=0.0, engine="script")
            for r, line in zip(requests, written, strict=True)
        ]

    def _line(self, request: Request) -> str | None:
        lines = self._lines[request.messages[0].text]
        return lines[sum(m.role == "assistant" for m in request.messages)]  # its own turns so far

    async def score(self, items: Sequence[ScoreItem]) -> list[Scored]:
        """Not available: nobody weighs words that are written.

        Raises:
            Unsupported: Always.
        """
        raise Unsupported("score", self.info.name, "score with the auditor itself")

    async def aclose(self) -> None:
        """Close the auditor."""
        if self.auditor is not None:
            await self.auditor.aclose()
