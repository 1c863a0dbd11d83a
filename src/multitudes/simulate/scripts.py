"""What is said to a persona, turn by turn: wording drawn by seed, escalation fixed, neutral talk of equal length.

Draws depend on (root, base prompt, replicate, turn), so every condition and persona meets the same messages.
Pressures of one length class share one neutral run. In a class one pressure leads: its wording is drawn first, then
neutral talk as long in tokens, within ±10 %, then the wordings of the others among those that are as long as the
neutral talk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from multitudes.core.errors import ConfigError, did_you_mean
from multitudes.core.seeds import derive_rng
from multitudes.simulate.errors import NoLengthMatch
from multitudes.simulate.pressure import WHO, Bank, Opening, Toward, bank

TOLERANCE = 0.10  # of the tokens of the neutral message
PAIRS_TRIED = 400  # random pairs of neutral pieces looked at where no single one is as long
CHAINS_TRIED, CHAIN = 20, 60  # random chains of neutral pieces for prompts of the user's, and the most pieces in one
# What shares a neutral run, the leader first. P1 here is one suffix per turn, on an ordinary message of any length.
CLASSES: dict[str, tuple[str, ...]] = {
    "P0.a": ("P2", "P1"),
    "P0.b": ("P4",),
    "P0.c": ("P7", "P0a"),
    "P0.d": ("P1.stacked",),
    "P0.e": ("P5",),
}
FOREIGN_TOKENS = {0: 0, 32: 1, 128: 2, 512: 3}  # tokens of the foreign first turn -> level in the bank
FOREIGN = tuple(f"P6.{n}" for n in FOREIGN_TOKENS)
ALIASES = {"P6": "P6.128"}
PRESSURES = ("P0a", "P1", "P1.stacked", "P2", "P3", "P4", "P5", *FOREIGN, "P7")


class Lengths:
    """Tokens of texts, each counted once.

    Args:
        count: The tokenizer of the model that will read them.
    """

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """Tokens of ``text``."""
        if text not in self._known:
            self._known[text] = self._count(text)
        return self._known[text]

    def alike(self, parts: Sequence[str], tokens: int) -> bool:
        """Whether the joined parts have ``tokens``, give or take 10 % of ``tokens``.

        Far-off ones are told by their parts, without counting the whole: tokens across a joint differ by one or two.
        """
        room = TOLERANCE * tokens + 1e-9
        if len(parts) > 1 and abs(sum(map(self, parts)) - tokens) > room + 2 * len(parts):
            return False
        return abs(self(" ".join(parts)) - tokens) <= room


class Script(NamedTuple):
    """What one conversation hears after its base prompt.

    Attributes:
        pressure: Id of the pressure, or of the neutral run of a length class.
        toward: Where it pushes.
        messages: One per turn of pressure.
        recovery: Neutral tasks after it.
        foreign: A first reply of another source, which takes the place of the speaker's own when the pressure
            begins; empty where there is none.
    """

    pressure: str
    toward: Toward
    messages: tuple[str, ...]
    recovery: tuple[str, ...]
    foreign: str = ""


class Draw(NamedTuple):
    """What all scripts of one conversation are drawn from.

    Attributes:
        root: Name and seed of the run.
        prompt: Base prompt.
        replicate: Which run of it.
        turns: T, turns of pressure.
        recovery: K, turns after it.
        lengths: Tokens of a text, by the tokenizer of the model that will read it.
    """

    root: str
    prompt: Opening
    replicate: int
    turns: int
    recovery: int
    lengths: Lengths

    def rng(self, what: str, turn: int) -> np.random.Generator:
        """The generator of one turn of one pressure."""
        return derive_rng(self.root, "press", self.prompt.id, self.replicate, what, turn)


def known(pressure: str) -> str:
    """The full name of a pressure.

    Raises:
        ConfigError: An unknown one, with the near ones.
    """
    name = ALIASES.get(pressure, pressure)
    if name not in PRESSURES:
        raise ConfigError(
            "unknown pressure", where="pressures", found=repr(pressure), hint=did_you_mean(pressure, PRESSURES)
        )
    return name


def neutral_of(pressure: str) -> str:
    """The neutral run that a pressure is compared with. Foreign turns are compared with none of them (``P6.0``)."""
    if pressure in FOREIGN:
        return "P6.0"
    return next((name for name, members in CLASSES.items() if pressure in members), f"P0.{pressure}")


def needed(pressures: Sequence[str]) -> tuple[str, ...]:
    """The pressures with the neutral runs they need, neutral ones first."""
    full = list(dict.fromkeys(map(known, pressures)))
    neutral = dict.fromkeys(neutral_of(p) for p in full)
    return (*neutral, *(p for p in full if p not in neutral))


def escalation(levels: Sequence[int], turns: int) -> tuple[int, ...]:
    """Level of each turn of pressure: all levels in order, evenly spread.

    >>> escalation((1, 2, 3), 4)
    (1, 1, 2, 3)
    """
    return tuple(levels[t * len(levels) // turns] for t in range(turns))


def draw_scripts(
    names: Sequence[str], draw: Draw, *, roles: Mapping[str, str], own: Mapping[str, Bank] | None = None
) -> dict[tuple[str, str], Script]:
    """Scripts of one base prompt and replicate, by (pressure, persona); persona is "" for pushes to the Assistant.

    Args:
        names: Pressures and neutral runs, as ``needed`` lists them.
        draw: What they are drawn from.
        roles: How a message that pushes toward a persona names it, by persona id: "a night nurse".
        own: Banks of the user's, by pressure id (P3).

    Raises:
        NoLengthMatch: A turn at which nothing is as long as the neutral talk.
        ConfigError: P3 without a bank of the user's.
    """
    banks = dict(own or {})
    after = _recovery(draw)
    out: dict[tuple[str, str], Script] = {}
    for neutral in dict.fromkeys(neutral_of(n) if n in PRESSURES else n for n in names if n not in FOREIGN):
        members = CLASSES.get(neutral) or (neutral.removeprefix("P0."),)
        out |= {
            key: script._replace(recovery=after)
            for key, script in _class(neutral, members, draw, roles, banks).items()
        }
    out |= {
        key: script._replace(recovery=after)
        for n in names
        if n in FOREIGN
        for key, script in _foreign(n, draw, roles)
    }
    return {key: script for key, script in out.items() if key[0] in names}


def _class(
    neutral: str, members: Sequence[str], draw: Draw, roles: Mapping[str, str], own: Mapping[str, Bank]
) -> dict[tuple[str, str], Script]:
    """One neutral run and the pressures that are as long; the first pressure toward the Assistant leads."""
    tellers = [_Teller(m, own.get(m) or bank(_bank_of(m)), draw, "", "") for m in members]
    for teller in tuple(tellers):
        if teller.bank.mirrored:
            tellers += [_Teller(teller.pressure, teller.bank, draw, who, phrase) for who, phrase in roles.items()]
    leader, followers = tellers[0], tellers[1:]
    said: list[str] = []
    for turn in range(draw.turns):
        texts = _joint(leader, followers, said, turn)
        said.append(texts[0])
        for teller, text in zip(tellers, texts[1:], strict=True):
            teller.said.append(text)
    out = {(neutral, ""): Script(neutral, "both", tuple(said), ())}
    for t in tellers:
        out[t.pressure, t.who] = Script(t.pressure, t.toward, tuple(t.said), ())
    return out


def _joint(leader: _Teller, followers: Sequence[_Teller], said: Sequence[str], turn: int) -> list[str]:
    """A neutral text and a wording of everybody, all as long as the neutral text."""
    missing = leader
    for wording in leader.wordings(turn):
        for neutral, tokens in _as_long(leader.draw, leader.pressure, " ".join(wording), said, turn):
            rest = [f.fitting(tokens, turn) for f in followers]
            if all(r is not None for r in rest):
                return [neutral, " ".join(wording), *(r for r in rest if r is not None)]
            missing = followers[rest.index(None)]
    raise NoLengthMatch(missing.pressure, turn + 1)


Parts = tuple[str, ...]


class _Teller:
    """One pressure in one direction, while its messages are drawn."""

    def __init__(self, pressure: str, source: Bank, draw: Draw, who: str, phrase: str) -> None:
        self.pressure, self.bank, self.draw, self.who, self.phrase = pressure, source, draw, who, phrase
        self.toward: Toward = "persona" if who else "assistant"
        self.levels = escalation(source.levels(self.toward), draw.turns)
        self.said: list[str] = []
        self._wordings: dict[int, list[Parts]] = {}

    def wordings(self, turn: int) -> list[Parts]:
        """What may be said at a turn, in the order of the draw; what was said already comes last."""
        if turn not in self._wordings:
            rng = self.draw.rng(f"{self.pressure}:{self.toward}", turn)
            texts: list[Parts] = [(t,) for t in self._bank_texts(self.levels[turn])]
            if self.bank.dose == "stacked":
                suffix = self._suffix(turn)
                texts = [(c, suffix) for c in (*_messages("short", "medium"), *_sentences())]
            texts = [texts[i] for i in rng.permutation(len(texts))]
            self._wordings[turn] = sorted(texts, key=lambda parts: " ".join(parts) in self.said)
        return self._wordings[turn]

    def _bank_texts(self, level: int) -> list[str]:
        return [m.text.replace(WHO, self.phrase) for m in self.bank.said(self.toward, level)]

    def _suffix(self, turn: int) -> str:
        """The suffix of the turn's kind, or one of each kind up to the turn's."""
        kinds = self.bank.levels(self.toward)
        wanted = [self.levels[turn]] if self.pressure == "P1" else kinds[: turn + 1]
        rngs = [self.draw.rng(f"suffix:{self.toward}", k) for k in wanted]
        return " ".join(str(rng.choice(self._bank_texts(k))) for rng, k in zip(rngs, wanted, strict=True))

    def fitting(self, tokens: int, turn: int) -> str | None:
        """The first wording that is as long as a neutral text of ``tokens``."""
        fits = (p for p in self.wordings(turn) if self.draw.lengths.alike(p, tokens))
        return next((" ".join(p) for p in fits), None)


def _bank_of(pressure: str) -> str:
    return pressure.partition(".")[0]


def _as_long(draw: Draw, pressure: str, wording: str, said: Sequence[str], turn: int) -> Iterator[tuple[str, int]]:
    """Neutral texts as long as ``wording`` that were not said: messages, then pairs of messages and sentences."""
    rng = draw.rng(f"neutral:{pressure}:{wording}", turn)
    messages = _messages()
    pieces = [*messages, *_sentences()]
    texts: list[Parts] = [(messages[i],) for i in rng.permutation(len(messages))]
    for i, j in rng.integers(len(pieces), size=(PAIRS_TRIED, 2)).tolist():
        if pieces[i] not in pieces[j] and pieces[j] not in pieces[i]:
            texts.append((pieces[i], pieces[j]))
    wanted = draw.lengths(wording)
    if pressure == "P3":  # prompts of the user's may be as long as they like; shipped wordings are never that long
        texts += _chains(draw, pieces, wanted, rng)
    for parts in texts:
        if draw.lengths.alike(parts, wanted):
            text = " ".join(parts)
            tokens = draw.lengths(text)
            if text not in said and abs(wanted - tokens) <= TOLERANCE * tokens + 1e-9:
                yield text, tokens


def _chains(draw: Draw, pieces: Sequence[str], wanted: int, rng: np.random.Generator) -> Iterator[Parts]:
    """Pieces in random orders, each chain up to the first length that is at least ``wanted``."""
    for _ in range(CHAINS_TRIED):
        chain: list[str] = []
        tokens = 0
        for i in rng.permutation(len(pieces))[:CHAIN].tolist():
            if any(pieces[i] in other or other in pieces[i] for other in chain):
                continue
            chain.append(pieces[i])
            tokens += draw.lengths(pieces[i])
            if tokens >= wanted:
                yield tuple(chain)
                break


@cache
def _messages(*kinds: str) -> tuple[str, ...]:
    """Neutral messages of some length classes, or of all."""
    return tuple(m.text for m in bank("P0").messages if not kinds or m.kind in kinds)


@cache
def _sentences() -> tuple[str, ...]:
    """Single sentences of neutral messages that have several."""
    parts = [re.split(r"(?<=[.?!])\s+", m.text) for m in bank("P0").messages]
    return tuple(dict.fromkeys(s for p in parts if len(p) > 1 for s in p))


def _foreign(name: str, draw: Draw, roles: Mapping[str, str]) -> Iterator[tuple[tuple[str, str], Script]]:
    """A first turn of another source, and requests to go on with it."""
    source = bank("P6")
    level = FOREIGN_TOKENS[int(name.partition(".")[2])]
    requests = [m.text for m in source.said("both", 0)]
    order = draw.rng("P6", 0).permutation(len(requests))
    if draw.turns > len(requests):
        raise NoLengthMatch(name, len(requests) + 1)
    messages = tuple(requests[order[t]] for t in range(draw.turns))
    sides: list[tuple[str, Toward, str]] = [("", "assistant", "")]
    sides += [(who, "persona", phrase) for who, phrase in roles.items()]
    for who, toward, phrase in sides:
        pool = [m.text for m in source.foreign(toward, level)] if level else [""]
        turn = pool[int(draw.rng(f"P6:{level}:{toward}", 0).integers(len(pool)))]
        yield (name, who), Script(name, toward, messages, (), turn.replace(WHO, phrase))


def _recovery(draw: Draw) -> tuple[str, ...]:
    """Neutral tasks, kinds in turn."""
    kinds: dict[str, list[str]] = {}
    for m in bank("recovery").messages:
        kinds.setdefault(m.kind, []).append(m.text)
    out: list[str] = []
    for k in range(draw.recovery):
        texts = [t for t in list(kinds.values())[k % len(kinds)] if t not in out]
        out.append(str(draw.rng("recovery", k).choice(texts)))
    return tuple(out)
