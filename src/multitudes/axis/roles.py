"""Roles, questions and arms: what is asked of a model to find its axis.

The shipped set is ours: 275 roles in 11 families, 240 questions on 10 topics, arms without a role. Anybody's roles
can be added to it or replace it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from multitudes.axis.errors import RoleSetError, TooFewRoles
from multitudes.core.canonical import content_hash
from multitudes.core.errors import DataFormatError

PresetName = Literal["small", "balanced", "full"]

FAMILIES = {
    1: "helping professions", 2: "technical and scientific trades", 3: "arts and stage",
    4: "public office and power", 5: "land, sea and manual work", 6: "ages, kin and life situations",
    7: "conflict and crime", 8: "belief and thought", 9: "myth and spirits",
    10: "animals, plants, things, collectives", 11: "temperaments and conversational stances",
}  # fmt: skip
PROMPTS = 5
LONGEST_DEFINITION = 40  # words
PROMPT_WORDS = (12, 60)
ALIKE = 0.5  # word 3-gram Jaccard of two prompts of a role; above, they are one prompt
BANNED = re.compile(r"\b(ai|model|assistant|chatbot|role-?play\w*|pretend\w*)\b", re.IGNORECASE)
NEAR_IN_HELPING = 12  # roles near the Assistant in the first two families: an axis needs a near end
FAMILY_SPREAD = 0.2  # mean prompt length of a family, relative to the whole


@dataclass(frozen=True, slots=True)
class Role:
    """A role and the ways of asking for it.

    Attributes:
        id: Slug.
        name: Ordinary noun.
        family: 1 to 11, see ``FAMILIES``.
        human: Whether it is a person.
        definition: What it is, at most 40 words.
        prompts: Ways of asking for it, in the second person.
        near_assistant: Whether it is expected near the Assistant.
        presets: Presets that use it.
        facts: What it says of itself, by field (``who``, ``work``, ``place``, ``age``).
    """

    id: str
    name: str
    family: int
    human: bool
    definition: str
    prompts: tuple[str, ...]
    near_assistant: bool = False
    presets: tuple[str, ...] = ("full",)
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def described(self) -> str:
        """Its definition; a role of your own that has none is what its name says."""
        return self.definition.strip() or self.name


@dataclass(frozen=True, slots=True)
class Question:
    """A question that any role can answer. ``half`` splits the set for stability: 0 = A, 1 = B."""

    id: str
    text: str
    topic: str
    half: int


@dataclass(frozen=True, slots=True)
class Arms:
    """System texts without a role.

    Attributes:
        default: By id: no text, told what it is in several ways. ``{model}`` stands for the model's name.
        neutral: Rules of an exchange, no role.
        placebo: Plain prose about nothing of the kind.
        continuation: The constant text of the fixed-text method.
    """

    default: tuple[tuple[str, str], ...]
    neutral: tuple[str, ...]
    placebo: tuple[str, ...]
    continuation: str


@dataclass(frozen=True, slots=True)
class RoleSet:
    """Everything that is asked. ``name`` is ``shipped`` or the file it came from."""

    name: str
    roles: tuple[Role, ...]
    questions: tuple[Question, ...]
    arms: Arms

    @property
    def hash(self) -> str:
        """Hash of all texts, 16 hex digits."""
        arms = [self.arms.default, self.arms.neutral, self.arms.placebo, self.arms.continuation]
        rows = [[r.id, r.family, r.prompts] for r in self.roles]
        return content_hash([rows, [[q.id, q.text, q.half] for q in self.questions], arms], length=16)


@cache
def shipped() -> RoleSet:
    """The set of the package."""
    folder = files(__package__) / "data"
    arms = json.loads((folder / "arms.json").read_text(encoding="utf-8"))
    return RoleSet(
        "shipped",
        tuple(_role(row, "roles.jsonl") for row in _lines((folder / "roles.jsonl").read_text(encoding="utf-8"))),
        halved(_lines((folder / "questions.jsonl").read_text(encoding="utf-8"))),
        Arms(
            tuple((a["id"], a["text"]) for a in arms["default"]), tuple(arms["neutral"]), tuple(arms["placebo"]),
            arms["continuation"],
        ),
    )  # fmt: skip


def read_roles(path: Path, *, replace: bool = False) -> RoleSet:
    """Somebody's roles (JSON lines), beside the shipped ones or in their place.

    A line needs ``id``, ``name`` and ``prompts`` (one or more); ``family`` defaults to 11 and is only used to see
    that roles are of several kinds. Roles of a file belong to every preset.

    Raises:
        DataFormatError: A line that cannot be read, with its number.
        RoleSetError: Double ids.
        TooFewRoles: Fewer than two roles in all.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataFormatError("cannot be read", where=str(path), found=str(error)) from error
    rows = []
    for i, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows.append(_role({"preset": ["small", "balanced", "full"], **json.loads(line)}, f"{path}:{i}"))
        except (ValueError, TypeError) as error:
            raise DataFormatError("not a JSON object", where=f"{path}:{i}", found=str(error)) from error
    base = shipped()
    roles = tuple(rows) if replace else (*base.roles, *rows)
    double = [k for k, n in Counter(r.id for r in roles).items() if n > 1]
    if double:
        raise RoleSetError("ids of roles must be unique", where=str(path), found=", ".join(double[:5]))
    if len(roles) < 2:
        raise TooFewRoles(
            "one role is no average role", where=str(path), found=f"{len(roles)} roles", expected="20 or more",
            hint="add roles, or leave out --replace to keep the shipped ones",
        )  # fmt: skip
    return RoleSet(str(path.name), roles, base.questions, base.arms)


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _role(row: dict[str, Any], where: str) -> Role:
    missing = [k for k in ("id", "name", "prompts") if not row.get(k)]
    if missing or not isinstance(row["prompts"], list) or not all(isinstance(p, str) and p for p in row["prompts"]):
        raise DataFormatError(
            "a role needs an id, a name and a list of prompts", where=where, found="no " + ", ".join(missing)
            if missing else repr(row["prompts"])[:80],
        )  # fmt: skip
    return Role(
        id=str(row["id"]), name=str(row["name"]), family=int(row.get("family", 11)),
        human=bool(row.get("human", True)),
        definition=str(row.get("definition", "")), prompts=tuple(row["prompts"]),
        near_assistant=bool(row.get("near_assistant", False)), presets=tuple(row.get("preset", ("full",))),
        facts=tuple((k, str(v)) for k, v in row.get("probe", {}).items()),
    )  # fmt: skip


def halved(rows: Sequence[dict[str, Any]]) -> tuple[Question, ...]:
    """Questions with their halves: in each topic those with the smaller SHA-256 of their id are A, the others B."""
    by_topic: dict[str, list[str]] = {}
    for row in rows:
        by_topic.setdefault(row["topic"], []).append(row["id"])
    first = set()
    for ids in by_topic.values():
        first |= set(sorted(ids, key=lambda i: content_hash(i))[: (len(ids) + 1) // 2])
    return tuple(Question(r["id"], r["text"], r["topic"], 0 if r["id"] in first else 1) for r in rows)


def chosen_questions(questions: Sequence[Question], n: int) -> tuple[Question, ...]:
    """``n`` of them, half from each half, topics in turn.

    >>> [q.half for q in chosen_questions(shipped().questions, 4)]
    [0, 1, 0, 1]
    """
    ranked = []
    for half in (0, 1):
        topics: dict[str, list[Question]] = {}
        for q in questions:
            if q.half == half:
                topics.setdefault(q.topic, []).append(q)
        turns = [q for row in zip(*topics.values(), strict=False) for q in row]
        ranked.append(turns + [q for q in questions if q.half == half and q not in turns])
    offset = len(ranked[0]) and 3 % len(ranked[0])  # the halves begin with other topics
    ranked[1] = ranked[1][offset:] + ranked[1][:offset]
    mixed = [q for pair in zip(*ranked, strict=False) for q in pair]
    return tuple((mixed + [q for row in ranked for q in row if q not in mixed])[:n])


def lint(roles: Sequence[Role]) -> list[str]:
    """What is wrong with a set of roles, one line each; empty if nothing is. Rules of the shipped set."""
    problems = [f"{i}: id twice" for i, n in Counter(r.id for r in roles).items() if n > 1]
    problems += [f"{n!r}: name twice" for n, k in Counter(r.name for r in roles).items() if k > 1]
    names = {r.name.lower(): r.id for r in roles}
    for role in roles:
        problems += [f"{role.id}: {text}" for text in _faults_of(role, names)]
    lengths = {f: [len(p.split()) for r in roles if r.family == f for p in r.prompts] for f in FAMILIES}
    overall = sum(map(sum, lengths.values())) / max(1, sum(map(len, lengths.values())))
    for family, words in lengths.items():
        n = len(words) // PROMPTS
        if n != 25:
            problems.append(f"family {family}: {n} roles, expected 25")
        elif abs(sum(words) / len(words) / overall - 1) > FAMILY_SPREAD:
            problems.append(f"family {family}: prompts of {sum(words) / len(words):.1f} words, overall {overall:.1f}")
    near = sum(r.near_assistant for r in roles if r.family in (1, 2))
    if near < NEAR_IN_HELPING:
        problems.append(f"families 1 and 2: {near} roles near the Assistant, expected {NEAR_IN_HELPING}")
    return problems


def _faults_of(role: Role, names: dict[str, str]) -> Iterable[str]:
    if len(role.prompts) != PROMPTS:
        yield f"{len(role.prompts)} prompts, expected {PROMPTS}"
    if len(role.definition.split()) > LONGEST_DEFINITION:
        yield f"definition of {len(role.definition.split())} words"
    for i, prompt in enumerate(role.prompts):
        n = len(prompt.split())
        if not PROMPT_WORDS[0] <= n <= PROMPT_WORDS[1]:
            yield f"prompt {i} has {n} words"
        if not re.search(r"\byou(r|rs|rself|'re|'ve)?\b|^(speak|talk|answer)\b", prompt, re.IGNORECASE):
            yield f"prompt {i} is not in the second person"
    for text in (*role.prompts, role.definition):
        if found := BANNED.search(text):
            yield f"says {found[0]!r}"
    words = {w for k in (1, 2, 3) for w in _ngrams(role.definition, k)}
    for name, owner in names.items():
        if owner != role.id and tuple(name.split()) in words:
            yield f"definition names another role: {name!r}"
    for (i, a), (j, b) in combinations(enumerate(role.prompts), 2):
        x, y = _ngrams(a, 3), _ngrams(b, 3)
        if x | y and len(x & y) / len(x | y) >= ALIKE:
            yield f"prompts {i} and {j} are nearly the same"


def _ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    words = re.findall(r"[\w'-]+", text.lower())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
