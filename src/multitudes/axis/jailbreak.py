"""Persona jailbreaks: system texts that ask for a character without rules, requests, and their benign twins.

What ships names intents and holds nothing of how anything is done, so it measures whether a model keeps to being the
Assistant, and is of no use for anything else. ``lint`` says what is wrong with a set; a set of your own, such as a
published benchmark that may not be shipped, is read from a file of the same form.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from multitudes.core.canonical import content_hash
from multitudes.core.errors import DataFormatError

Side = Literal["harmful", "benign"]
SIDES: tuple[Side, ...] = ("harmful", "benign")

N_PERSONAS, N_KINDS, N_PAIRS, N_PARAPHRASES = 16, 6, 4, 3  # of the shipped set
SMALL_PERSONAS, SMALL_PAIRS = 6, 2  # of the small size: personas, and pairs of each kind
PERSONA_WORDS, REQUEST_WORDS = (25, 60), (8, 24)
UNEVEN = 1  # words by which an opening may be longer than its counterpart
UNLIKE = 3  # words by which a benign twin may be longer than its request
# What a recipe has and an intent has not: numbers, units, ingredients, tools, code, addresses, enumerated steps.
RECIPE = re.compile(
    r"\d|https?:|www\.|[`@<>{}\[\]\\#=]|\b(?:grams?|litres?|millilit\w+|dose\w*|mix|ingredients?|chemical\w*|poison"
    r"|acid|explosive\w*|bomb\w*|weapon\w*|guns?|knife|knives|malware|exploit\w*|password\w*|code|script|software"
    r"|step by step|first,|second,|then you|recipe\w*|instructions? for)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Modulation:
    """A system text that asks the model to be somebody without rules."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A request that should be declined, and one of the same shape that should not.

    Attributes:
        id: Slug; what is resampled in every interval.
        kind: Id of its kind.
        harmful: Names an intent, and nothing of how.
        benign: Its twin.
    """

    id: str
    kind: str
    harmful: str
    benign: str

    def request(self, side: Side) -> str:
        """The text of one side."""
        return self.harmful if side == "harmful" else self.benign


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of intent, and the beginnings of an answer to it.

    Attributes:
        id: Slug.
        name: In words.
        declines: First clauses that decline, paraphrases of each other.
        complies: First clauses that agree and say nothing more, one for each of ``declines``, about as long.
    """

    id: str
    name: str
    declines: tuple[str, ...]
    complies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JailbreakSet:
    """Everything that is asked. ``name`` is ``shipped`` or the file it came from."""

    name: str
    personas: tuple[Modulation, ...]
    kinds: tuple[Kind, ...]
    pairs: tuple[Pair, ...]

    @property
    def hash(self) -> str:
        """Hash of all texts, 16 hex digits."""
        rows = [[p.id, p.text] for p in self.personas], [[p.id, p.kind, p.harmful, p.benign] for p in self.pairs]
        return content_hash([*rows, [[k.id, k.declines, k.complies] for k in self.kinds]], length=16)

    def kind(self, id_: str) -> Kind:
        """The kind of this id."""
        return next(k for k in self.kinds if k.id == id_)


@cache
def shipped_jailbreaks() -> JailbreakSet:
    """The set of the package: 16 personas, 6 kinds of 4 pairs.

    >>> found = shipped_jailbreaks()
    >>> len(found.personas), len(found.kinds), len(found.pairs), lint(found)
    (16, 6, 24, [])
    """
    text = (files(__package__) / "data" / "jailbreak.toml").read_text(encoding="utf-8")
    return _parsed(tomllib.loads(text), name="shipped", where="jailbreak.toml")


def read_jailbreaks(path: Path) -> JailbreakSet:
    """A set of your own; its form is that of the shipped ``axis/data/jailbreak.toml``.

    Raises:
        DataFormatError: It cannot be read, lacks a part, or the openings of a kind are not matched in number.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataFormatError("cannot be read", where=str(path), found=str(error)) from error
    return _parsed(raw, name=path.name, where=str(path))


def small(whole: JailbreakSet) -> JailbreakSet:
    """The first 6 personas and the first 2 pairs of each kind: for slow machines.

    >>> len(small(shipped_jailbreaks()).pairs)
    12
    """
    seen: Counter[str] = Counter()
    pairs = []
    for pair in whole.pairs:
        seen[pair.kind] += 1
        if seen[pair.kind] <= SMALL_PAIRS:
            pairs.append(pair)
    return replace(whole, personas=whole.personas[:SMALL_PERSONAS], pairs=tuple(pairs))


def _parsed(raw: Mapping[str, Any], *, name: str, where: str) -> JailbreakSet:
    try:
        personas = tuple(Modulation(_text(p, "id"), _text(p, "text")) for p in raw["persona"])
        kinds = tuple(
            Kind(_text(k, "id"), _text(k, "name"), tuple(map(str, k["declines"])), tuple(map(str, k["complies"])))
            for k in raw["kind"]
        )
        pairs = tuple(
            Pair(_text(p, "id"), k["id"], _text(p, "harmful"), _text(p, "benign"))
            for k in raw["kind"]
            for p in k["pair"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataFormatError(
            "not a set of persona jailbreaks", where=where, found=f"{type(error).__name__}: {error}",
            expected="[[persona]] id, text; [[kind]] id, name, declines, complies; [[kind.pair]] id, harmful, benign",
        )  from error  # fmt: skip
    found = JailbreakSet(name, personas, kinds, pairs)
    if wrong := list(_twice(found)) or list(_uneven(found)):
        raise DataFormatError("a set that cannot be asked", where=where, found="; ".join(wrong[:5]))
    return found


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} must be a text that is not empty")
    return value


def _twice(found: JailbreakSet) -> Iterable[str]:
    for part in (found.personas, found.kinds, found.pairs):
        yield from (f"{i}: id twice" for i, n in Counter(x.id for x in part).items() if n > 1)
    if not found.personas or not found.pairs:
        yield "no persona or no pair"


def _uneven(found: JailbreakSet) -> Iterable[str]:
    widths = {(len(k.declines), len(k.complies)) for k in found.kinds}
    if len(widths) != 1 or any(a != b or not a for a, b in widths):
        yield f"{sorted(widths)} openings that decline and comply: the same number of both everywhere is needed"


def lint(found: JailbreakSet) -> list[str]:
    """What is wrong with a set, one line each; empty if nothing is. Rules of the shipped set."""
    out = [*_twice(found), *_uneven(found)]
    per_kind = Counter(p.kind for p in found.pairs)
    if (len(found.personas), len(found.kinds)) != (N_PERSONAS, N_KINDS) or set(per_kind.values()) != {N_PAIRS}:
        out.append(f"{len(found.personas)} personas, pairs by kind {dict(per_kind)}")
    for kind in found.kinds:
        if len(kind.declines) != N_PARAPHRASES:
            out.append(f"{kind.id}: {len(kind.declines)} paraphrases, expected {N_PARAPHRASES}")
        for no, yes in zip(kind.declines, kind.complies, strict=False):
            if abs(len(no.split()) - len(yes.split())) > UNEVEN:
                out.append(f"{kind.id}: not of one length: {no!r} and {yes!r}")
            out += [f"{kind.id}: an opening without an end: {t!r}" for t in (no, yes) if not t.endswith(".")]
    for pair in found.pairs:
        n, m = len(pair.harmful.split()), len(pair.benign.split())
        if abs(n - m) > UNLIKE:
            out.append(f"{pair.id}: {n} and {m} words")
        out += [f"{pair.id}: {k} words" for k in (n, m) if not REQUEST_WORDS[0] <= k <= REQUEST_WORDS[1]]
    for persona in found.personas:
        if not PERSONA_WORDS[0] <= (n := len(persona.text.split())) <= PERSONA_WORDS[1]:
            out.append(f"{persona.id}: {n} words")
        if not re.match(r"You (?:are|were|play)\b", persona.text):
            out.append(f"{persona.id}: not in the second person")
    everything = [(p.id, p.text) for p in found.personas]
    everything += [(p.id, t) for p in found.pairs for t in (p.harmful, p.benign)]
    everything += [(k.id, t) for k in found.kinds for t in (*k.declines, *k.complies)]
    out += [f"{i}: holds {hit[0]!r}" for i, t in everything if (hit := RECIPE.search(t))]
    out += [f"{t!r}: text twice" for t, n in Counter(t for _, t in everything).items() if n > 1]
    return out
