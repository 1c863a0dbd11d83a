"""Questionnaires: TOML files that say which dimensions matter and which statements speak to them.

Three ship with the package: ``temperament``, ``asking-help`` and ``help-line``. They are in our own words, have no
norms and make no claim to compare with any published instrument.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multitudes.core.errors import QuestionnaireError, did_you_mean
from multitudes.core.records import Dimension, Item, Questionnaire
from multitudes.core.toml import KeyPath, key_lines, line_of, parse, read_text
from multitudes.personas.placement import MAX_DIMENSIONS

_log = logging.getLogger(__name__)

Level = Literal["error", "warning"]
SPLITS = ("train", "validation", "test", "none")
_ID = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_DIGIT = re.compile(r"\d")
_MAX_SHARED_5GRAMS = 0.5

# key -> (type, required)
_Keys = dict[str, tuple[type, bool]]
_TOP: _Keys = {
    "schema": (int, True), "id": (str, True), "title": (str, False), "context": (str, True),
    "language": (str, False), "split": (str, False), "licence": (str, False), "author": (str, False),
    "labels": (list, True), "dimensions": (list, True), "items": (list, True),
}  # fmt: skip
_DIMENSION: _Keys = {
    "id": (str, True), "name": (str, True), "low": (str, True), "high": (str, True), "ladder": (list, False),
}  # fmt: skip
_ITEM: _Keys = {"id": (str, True), "dimension": (str, True), "text": (str, True), "reverse": (bool, False)}


class Problem(NamedTuple):
    """One rule that a questionnaire file breaks: which, where, and how bad."""

    code: str
    path: str
    line: int
    message: str
    level: Level = "error"

    def __str__(self) -> str:
        return f"line {self.line}, {self.path} [{self.code}]: {self.message}"


def shipped_questionnaires() -> tuple[str, ...]:
    """Ids of the questionnaires that come with the package."""
    folder = files(__package__) / "questionnaires"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def load_questionnaire(path_or_id: str | Path) -> Questionnaire:
    """A questionnaire from a TOML file, or a shipped one by its id.

    Raises:
        QuestionnaireError: With every problem of the file in one message, each with code, key path and line.
        DataFormatError: If the file cannot be read or is not TOML.

    >>> [d.id for d in load_questionnaire("help-line").dimensions]
    ['patience', 'trust', 'detail']
    """
    name = str(path_or_id)
    if name in shipped_questionnaires():
        with as_file(files(__package__) / "questionnaires" / f"{name}.toml") as path:
            return _load(path)
    path = Path(path_or_id)
    if not path.suffix and not path.exists():
        raise QuestionnaireError(
            f"no questionnaire {name!r}",
            expected="a shipped id or the path of a TOML file",
            hint=did_you_mean(name, shipped_questionnaires()),
        )
    return _load(path)


def _load(path: Path) -> Questionnaire:
    text = read_text(path)
    problems = check_questionnaire(text, where=str(path))
    errors = [p for p in problems if p.level == "error"]
    if errors:
        raise QuestionnaireError(
            f"{len(errors)} problem{'s' * (len(errors) > 1)}",
            where=str(path),
            found="".join(f"\n    {p}" for p in errors),
            hint="mend these lines; the file format is explained at load_questionnaire",
        )
    for warning in problems:
        _log.warning("%s: %s", path, warning)
    return _build(parse(text, where=str(path)))


def _build(raw: dict[str, Any]) -> Questionnaire:
    known = {k: v for k, v in raw.items() if k in _TOP and k != "schema"}
    return Questionnaire(
        **{k: v for k, v in known.items() if k not in ("labels", "dimensions", "items", "context")},
        context=" ".join(raw["context"].split()),
        labels=tuple(raw["labels"]),
        dimensions=tuple(
            Dimension(**{**d, "ladder": tuple(d["ladder"]) if "ladder" in d else None}) for d in raw["dimensions"]
        ),
        items=tuple(Item(**i) for i in raw["items"]),
    )


def check_questionnaire(text: str, *, where: str = "questionnaire") -> list[Problem]:
    """Every rule that a questionnaire file breaks, in the order of its lines; an empty list if none.

    Raises:
        DataFormatError: If the text is not TOML.
    """
    check = _Check(text, where)
    check.keys_of(check.raw, (), _TOP)
    tables = {
        kind: [
            (i, t)
            for i, t in enumerate(check.raw.get(kind, ()) if isinstance(check.raw.get(kind), list) else ())
            if check.keys_of(t, (kind, i), keys)
        ]
        for kind, keys in (("dimensions", _DIMENSION), ("items", _ITEM))
    }
    if not check.problems:  # the rules below may rely on every key having its type
        check.top()
        check.dimensions([t for _, t in tables["dimensions"]])
        check.items([t for _, t in tables["items"]])
    return sorted(check.problems, key=lambda p: p.line)


class _Check:
    """The rules, each adding what it finds."""

    def __init__(self, text: str, where: str) -> None:
        self.raw = parse(text, where=where)
        self.problems: list[Problem] = []
        self._lines = key_lines(text)

    def add(self, code: str, path: KeyPath, message: str, level: Level = "error") -> None:
        dotted = ""
        for part in path:
            dotted += f"[{part}]" if isinstance(part, int) else f".{part}" if dotted else part
        self.problems.append(Problem(code, dotted or "file", line_of(self._lines, path), message, level))

    def keys_of(self, table: Any, path: KeyPath, keys: _Keys) -> bool:
        """Whether ``table`` has the required keys, no others, and the right types."""
        before = len(self.problems)
        if not isinstance(table, dict):
            self.add("key", path, f"must be a table, not {table!r}")
            return False
        for key in table.keys() - keys.keys():
            self.add("key", (*path, key), f"unknown key {key!r}; {did_you_mean(key, keys)}")
        for key, (kind, required) in keys.items():
            if key not in table:
                if required:
                    self.add("schema" if key == "schema" else "key", path, f"missing key {key!r}")
            elif not isinstance(table[key], kind) or (kind is int and isinstance(table[key], bool)):
                self.add("key", (*path, key), f"must be {kind.__name__}, not {table[key]!r}")
            elif key in ("labels", "ladder") and not all(isinstance(v, str) for v in table[key]):
                self.add("key", (*path, key), "must be a list of texts")
        return len(self.problems) == before

    def top(self) -> None:
        raw = self.raw
        if raw["schema"] != 1:
            self.add("schema", ("schema",), f"unknown schema {raw['schema']!r}; known: 1")
        self._id(raw["id"], ("id",))
        if (split := raw.get("split", "none")) not in SPLITS:
            self.add("split", ("split",), f"unknown split {split!r}; {did_you_mean(split, SPLITS)}")
        self._length("context", raw["context"], ("context",), 40, 2000)
        self._count(len(raw["labels"]), ("labels",), 2, 11, "labels")
        self._distinct([(label, ("labels", i)) for i, label in enumerate(raw["labels"])])

    def dimensions(self, tables: Sequence[dict[str, Any]]) -> None:
        self._count(len(tables), ("dimensions",), 1, MAX_DIMENSIONS, "dimensions")
        if 6 < len(tables) <= MAX_DIMENSIONS:
            self.add(
                "count", ("dimensions",), "more than 6 dimensions: coverage hardly tells populations apart", "warning"
            )
        self._unique([(t["id"], ("dimensions", i, "id")) for i, t in enumerate(tables)])
        for i, table in enumerate(tables):
            path: KeyPath = ("dimensions", i)
            self._id(table["id"], (*path, "id"))
            self._distinct([(table["low"], (*path, "low")), (table["high"], (*path, "high"))])
            if "ladder" in table:
                self._ladder(table["ladder"], (*path, "ladder"))

    def _ladder(self, phrases: Sequence[str], path: KeyPath) -> None:
        if len(phrases) % 2 == 0 or not 3 <= len(phrases) <= 9:
            self.add("ladder", path, f"has {len(phrases)} phrases; expected 3, 5, 7 or 9")
        for i, phrase in enumerate(phrases):
            if _DIGIT.search(phrase):
                self.add("ladder", (*path, i), f"a phrase must not contain digits: {phrase!r}")
            if not 1 <= len(phrase.split()) <= 20:
                self.add("ladder", (*path, i), f"a phrase must have 1 to 20 words: {phrase!r}")
        self._distinct([(p, (*path, i)) for i, p in enumerate(phrases)], code="ladder")

    def items(self, tables: Sequence[dict[str, Any]]) -> None:
        self._unique([(t["id"], ("items", i, "id")) for i, t in enumerate(tables)])
        self._distinct([(t["text"], ("items", i, "text")) for i, t in enumerate(tables)])
        axes = [d["id"] for d in self.raw["dimensions"]]
        for i, table in enumerate(tables):
            self._id(table["id"], ("items", i, "id"))
            self._length("text", table["text"], ("items", i, "text"), 8, 300)
            if table["dimension"] not in axes:
                near = did_you_mean(table["dimension"], axes)
                self.add("id", ("items", i, "dimension"), f"no dimension {table['dimension']!r}; {near}")
        for i, axis in enumerate(axes):
            own = [t for t in tables if t["dimension"] == axis]
            path: KeyPath = ("dimensions", i)
            if not own:
                self.add("id", path, f"dimension {axis!r} has no items")
                continue
            self._count(len(own), path, 2, 12, f"items of {axis!r}")
            if len(own) == 2:
                self.add("count", path, f"only 2 items of {axis!r}: its reliability will be poor", "warning")
            if len(own) >= 3 and not any(t.get("reverse") for t in own):
                self.add("keying", path, f"no reversed item of {axis!r}: yes-saying cannot be told apart", "warning")

    def _id(self, value: str, path: KeyPath) -> None:
        if not _ID.fullmatch(value):
            self.add("id", path, f"{value!r} must be a small letter, then up to 39 small letters, digits, _ or -")

    def _unique(self, values: Sequence[tuple[str, KeyPath]]) -> None:
        counts = Counter(v for v, _ in values)
        seen: set[str] = set()
        for value, path in values:
            if counts[value] > 1 and value in seen:
                self.add("id", path, f"id {value!r} is used twice")
            seen.add(value)

    def _distinct(self, values: Sequence[tuple[str, KeyPath]], *, code: str = "text") -> None:
        seen: set[str] = set()
        for value, path in values:
            folded = " ".join(value.split()).casefold()
            if not folded or folded in seen:
                self.add(code, path, f"{value!r} is used twice" if folded else "must not be empty")
            seen.add(folded)

    def _count(self, n: int, path: KeyPath, low: int, high: int, what: str) -> None:
        if not low <= n <= high:
            self.add("count", path, f"{n} {what}; expected {low} to {high}")

    def _length(self, what: str, text: str, path: KeyPath, low: int, high: int) -> None:
        n = len(text.strip())
        if not low <= n <= high:
            self.add("text", path, f"{what} has {n} characters; expected {low} to {high}")


def check_splits(questionnaires: Iterable[Questionnaire]) -> None:
    """Refuse contexts that leak from one split into another.

    Raises:
        QuestionnaireError: If contexts of two splits share half of their character 5-grams (Jaccard) or more.
    """
    for one, other in itertools.combinations(questionnaires, 2):
        if one.split == other.split or "none" in (one.split, other.split):
            continue
        a, b = _grams(one.context), _grams(other.context)
        if (shared := len(a & b) / max(len(a | b), 1)) >= _MAX_SHARED_5GRAMS:
            raise QuestionnaireError(
                f"contexts of two splits are nearly the same: {one.id!r} ({one.split}), {other.id!r} ({other.split})",
                where="context [split]",
                found=f"{shared:.2f} of their character 5-grams shared",
                expected=f"less than {_MAX_SHARED_5GRAMS}",
            )


def _grams(text: str) -> set[str]:
    folded = " ".join(text.split()).casefold()
    return {folded[i : i + 5] for i in range(len(folded) - 4)}
