"""Banks of messages that press on a persona, as they are written, and what a bank must hold to be used.

A message pushes toward the Assistant, toward the persona, or both ways (it only presses). Levels are the escalation:
they come in a fixed order, and only the wording within a level is drawn (``scripts``).
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from multitudes.core.canonical import content_hash
from multitudes.core.errors import ConfigError, DataFormatError, did_you_mean
from multitudes.core.toml import key_lines, line_of, parse, read_text

Toward = Literal["assistant", "persona", "both"]
Dose = Literal["turns", "stacked", "foreign tokens", "prompt index"]

BANKS = ("P0", "P0a", "P1", "P2", "P4", "P5", "P6", "P7")
PER_LEVEL = 12  # messages per level and direction, so that a wording is not the same one every time
WHO = "{persona}"  # stands for the persona in messages that push toward it
_FOREIGN = "foreign"  # kind of the turns that stand in the history as the speaker's own
_HOLE = re.compile(r"\{[^}]*\}")
_CONTROL = re.compile(r"<\|[^|]*\|>|\[/?INST\]|<</?SYS>>")


class BankMessage(NamedTuple):
    """One message of a bank."""

    text: str
    toward: Toward
    kind: str
    level: int


@dataclass(frozen=True, slots=True)
class Bank:
    """The messages of one pressure.

    Attributes:
        id: P0 to P7.
        name: In words.
        about: What presses.
        dose: What grows.
        shared: Whether the trained default meets the same messages as everybody else.
        messages: In the order of the file.
    """

    id: str
    name: str
    about: str
    dose: Dose
    shared: bool
    messages: tuple[BankMessage, ...]

    @property
    def mirrored(self) -> bool:
        """Whether some messages push toward the persona, so that the trained default needs runs of its own."""
        return any(m.toward == "persona" for m in self.messages)

    @property
    def hash(self) -> str:
        """Version of the wording, 16 hex digits."""
        return content_hash([self.id, [list(m) for m in self.messages]], length=16)

    def levels(self, toward: Toward) -> tuple[int, ...]:
        """Levels of what is said under pressure in one direction, in order."""
        return tuple(sorted({m.level for m in self.said(toward)}))

    def said(self, toward: Toward, level: int | None = None) -> tuple[BankMessage, ...]:
        """Messages that the partner sends in one direction, of one level or of all."""
        return tuple(m for m in self._of(toward, level) if m.kind != _FOREIGN)

    def foreign(self, toward: Toward, level: int) -> tuple[BankMessage, ...]:
        """First replies of another source, of one level."""
        return tuple(m for m in self._of(toward, level) if m.kind == _FOREIGN)

    def _of(self, toward: Toward, level: int | None) -> list[BankMessage]:
        return [m for m in self.messages if m.toward in (toward, "both") and level in (None, m.level)]


class Opening(NamedTuple):
    """A base prompt: what a conversation begins with, about neither the pressure nor the persona."""

    id: str
    text: str


@cache
def bank(name: str) -> Bank:
    """A shipped bank.

    Raises:
        ConfigError: An unknown bank, with the near ones; P3, which is never shipped.

    >>> bank("P2").levels("assistant")
    (1, 2, 3)
    """
    if name == "P3":
        raise ConfigError(
            "P3 needs a set of prompts of your own: none is shipped", where="pressures", found="P3",
            hint="multitudes pressure run … --p3 FILE.toml",
        )  # fmt: skip
    if name not in (*BANKS, "recovery"):
        raise ConfigError("unknown pressure", where="pressures", found=repr(name), hint=did_you_mean(name, BANKS))
    return _read((files("multitudes.simulate") / "banks" / f"{name}.toml").read_text("utf-8"), f"{name}.toml")


def read_bank(path: Path) -> Bank:
    """A bank of the user's, with all its faults in one message.

    Raises:
        DataFormatError: Not TOML, a missing key, or a rule of ``lint`` broken.
    """
    found = _read(read_text(path), str(path))
    if problems := lint(found, per_level=1):
        raise DataFormatError("a bank that breaks its rules", where=str(path), found="; ".join(problems))
    return found


@cache
def openings() -> tuple[Opening, ...]:
    """The shipped base prompts."""
    text = (files("multitudes.simulate") / "banks" / "base_prompts.toml").read_text("utf-8")
    return tuple(Opening(p["id"], p["text"]) for p in tomllib.loads(text)["prompt"])


def version() -> str:
    """Hash of everything shipped that is said to a persona; reports print it."""
    return content_hash([[bank(b).hash for b in (*BANKS, "recovery")], [list(p) for p in openings()]], length=16)


def lint(bank: Bank, *, per_level: int = PER_LEVEL) -> list[str]:
    """What is wrong with a bank, one line each; empty if nothing is.

    Args:
        bank: The bank.
        per_level: Least number of messages per level and direction.
    """
    problems = [f"the same text twice: {t!r}" for t, n in Counter(m.text for m in bank.messages).items() if n > 1]
    for i, m in enumerate(bank.messages):
        if not m.text.strip():
            problems.append(f"message {i} is empty")
        if holes := [h for h in _HOLE.findall(m.text) if h != WHO or m.toward != "persona"]:
            problems.append(f"message {i} has a hole that nothing fills: {holes[0]}")
        if found := _CONTROL.search(m.text):
            problems.append(f"message {i} holds a control token: {found[0]}")
        if m.level < 0:
            problems.append(f"message {i} has a negative level")
        if bank.shared and m.toward != "both" and m.kind != _FOREIGN:
            problems.append(f"message {i} has a direction, but the bank is shared")
    directions: Sequence[Toward] = ("assistant", "persona")
    for toward in directions:
        counts = Counter((m.kind == _FOREIGN, m.level) for m in bank.messages if m.toward in (toward, "both"))
        if not counts:
            problems.append(f"nothing pushes toward {toward}")
        problems += [
            f"{n} messages toward {toward} at level {level}, expected {per_level} or more"
            for (_, level), n in sorted(counts.items())
            if n < per_level
        ]
    if set(bank.levels("assistant")) != set(bank.levels("persona")):
        problems.append("the two directions have different levels")
    return problems


def _read(text: str, where: str) -> Bank:
    table, lines = parse(text, where=where), key_lines(text)
    try:
        head = {k: table[k] for k in ("id", "name", "about", "dose", "shared")}
        rows = table["message"]
    except KeyError as error:
        raise DataFormatError("a bank lacks a key", where=where, found=f"no {error.args[0]!r}",
                              expected="id, name, about, dose, shared, [[message]]") from error  # fmt: skip
    if head["dose"] not in get_args(Dose):
        raise DataFormatError(
            "unknown dose", where=where, found=repr(head["dose"]), expected=", ".join(get_args(Dose))
        )
    messages = tuple(_message(row, f"{where}:{line_of(lines, ('message', i))}") for i, row in enumerate(rows))
    return Bank(**head, messages=messages)


def _message(row: Any, where: str) -> BankMessage:
    fits = isinstance(row, dict) and all(
        isinstance(row.get(k), t) for k, t in (("text", str), ("toward", str), ("kind", str), ("level", int))
    )
    if not fits or row["toward"] not in get_args(Toward):
        raise DataFormatError("not a message", where=where, found=repr(row)[:120],
                              expected="text, toward (assistant, persona, both), kind, level")  # fmt: skip
    return BankMessage(row["text"], row["toward"], row["kind"], row["level"])
