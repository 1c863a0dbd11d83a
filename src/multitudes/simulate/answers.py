"""Answers of a table as numbers or categories, with who gave them to what: what the gauges of answers take.

No row is dropped: arrays have the table's rows in the table's order, and an answer that is none is *unscored*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import ConfigError, DataFormatError
from multitudes.simulate._columns import shown
from multitudes.simulate.tables import Table, parse_number

UNSCORED = ("", "na", "n/a", "nan", "null")  # whatever their case
REFUSED = "(refused)"  # the category of refusals
KEY = ("persona", "item", "wording", "run", "arm")
FREE_TEXT = 0.5  # share of different words among at least 20 answers above which they look like texts

Kind = Literal["auto", "numeric", "categorical"]


class DuplicateAnswerError(DataFormatError):
    """One persona's answer to one item, wording, run and arm is in the file twice."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Answers in the order of the table's rows.

    Attributes:
        kind: Whether they are numbers or categories.
        y: (n,) numbers, NaN where unscored or refused; None for categories.
        labels: The K categories, sorted, ``REFUSED`` last where anybody refused; empty for numbers.
        codes: (n,) index of each answer's label, -1 where unscored; None for numbers.
        persona: (n,) labels.
        item: (n,) labels.
        run: (n,) labels; None where the file has no such column, as for the next two.
        wording: (n,) labels.
        arm: (n,) labels.
        refused: (n,) whether the answer is one of the refusals.
        unscored: How many are empty, "NA", "NaN" or "null".
        notes: What was decided, one sentence each.
    """

    kind: Literal["numeric", "categorical"]
    y: NDArray[np.float64] | None
    labels: tuple[str, ...]
    codes: NDArray[np.int64] | None
    persona: NDArray[Any]
    item: NDArray[Any]
    run: NDArray[Any] | None
    wording: NDArray[Any] | None
    arm: NDArray[Any] | None
    refused: NDArray[np.bool_]
    unscored: int
    notes: tuple[str, ...]


def answers_of(table: Table, *, refusals: Sequence[str] = (), kind: Kind = "auto") -> Answers:
    """The answers of a table.

    Args:
        table: With the roles ``persona``, ``item`` and ``answer``.
        refusals: Answers that mean "I will not say", compared without case. As numbers they are unscored; among
            categories they are one of their own.
        kind: ``auto`` takes numbers where every answer is one and categories where none is; ``categorical`` takes
            numbers as labels, 1 and 1.0 being one.

    Raises:
        DataFormatError: Numbers and words mixed, nothing scored, or nobody who answered twice.
        DuplicateAnswerError: An answer that is there twice; names both lines.
        ConfigError: A role the table lacks, or an unknown kind.
    """
    if kind not in ("auto", "numeric", "categorical"):
        raise ConfigError("unknown kind", where="kind", found=repr(kind), expected="auto, numeric or categorical")
    for role in ("persona", "item", "answer"):
        if role not in table.roles:
            raise ConfigError(f"the table has no {role!r}", where=str(table.path), hint=f"columns={{{role!r}: …}}")
    _refuse_repeats(table)
    _refuse_row_numbers(table)
    codes, words = _coded(table.roles["answer"])
    counts = np.bincount(codes, minlength=len(words))
    markers = {text.strip().casefold() for text in refusals}
    refuses = np.array([word.casefold() in markers for word in words], dtype=bool)
    empty = np.array([word.casefold() in UNSCORED for word in words], dtype=bool) & ~refuses
    numbers = [None if skip else parse_number(word) for word, skip in zip(words, refuses | empty, strict=True)]
    is_number = np.array([value is not None for value in numbers], dtype=bool)
    is_word = ~(is_number | refuses | empty)
    notes = _notes(words, counts, empty, refuses)
    if not (is_number | is_word).any():
        raise DataFormatError("no answer is scored", where=str(table.path), found="; ".join(notes),
                              expected="a number or a word in some row")  # fmt: skip
    mixed = is_number.any() and is_word.any() and kind == "auto"
    if mixed or (is_word.any() and kind == "numeric"):
        raise _mixed(table, codes, words, counts, is_word)
    roles = {role: table.roles.get(role) for role in ("run", "wording", "arm")}
    who = {"persona": table.roles["persona"], "item": table.roles["item"]}
    base: dict[str, Any] = {**who, **roles, "refused": refuses[codes], "unscored": int(counts[empty].sum())}
    if kind != "categorical" and not is_word.any():
        value = np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)
        return Answers(kind="numeric", y=value[codes], labels=(), codes=None, notes=tuple(notes), **base)
    names = [_label(word, number) for word, number in zip(words, numbers, strict=True)]
    labels = _sorted_labels([name for name, there in zip(names, is_number | is_word, strict=True) if there])
    labels = (*labels, REFUSED) if counts[refuses].any() else labels
    place = {label: i for i, label in enumerate(labels)}
    code = [place[REFUSED] if no else -1 if blank else place[name]
            for name, no, blank in zip(names, refuses, empty, strict=True)]  # fmt: skip
    notes += _category_notes(labels, int(counts[is_word].sum()), asked=kind == "categorical")
    return Answers(kind="categorical", y=None, labels=labels, codes=np.array(code, dtype=np.int64)[codes],
                   notes=tuple(notes), **base)  # fmt: skip


def _coded(labels: NDArray[Any]) -> tuple[NDArray[np.int64], list[str]]:
    """Codes into the distinct labels, by first appearance; faster than sorting a million texts."""
    index: dict[str, int] = {}
    codes = np.fromiter((index.setdefault(x, len(index)) for x in labels), dtype=np.int64, count=len(labels))
    return codes, list(index)


def _label(word: str, number: float | None) -> str:
    if number is None:
        return word
    return str(int(number)) if number.is_integer() else repr(number)


def _sorted_labels(names: Sequence[str]) -> tuple[str, ...]:
    distinct = set(names)
    numeric = all(parse_number(name) is not None for name in distinct)
    return tuple(sorted(distinct, key=(lambda name: (float(name), name)) if numeric else (lambda name: (0.0, name))))


# --- what is refused --------------------------------------------------------------------------------------------


def _refuse_repeats(table: Table) -> None:
    """No answer twice: not even an equal one, which is a copied row or a run that was not numbered."""
    roles = [role for role in KEY if role in table.roles]
    key = np.zeros(table.n, dtype=np.int64)
    for role in roles:
        codes, labels = _coded(table.roles[role])
        _, key = np.unique(key * len(labels) + codes, return_inverse=True)  # dense again, so that nothing overflows
    order = np.argsort(key, kind="stable")
    again = order[1:][key[order][1:] == key[order][:-1]]
    if not len(again):
        return
    second = int(again.min())
    first = int(np.flatnonzero(key == key[second])[0])
    others = [
        name for name, array in {**table.roles, **table.attributes}.items()
        if name not in (*KEY, "answer", "text") and array[first] != array[second]
    ]  # fmt: skip
    hint = "number the repeats in a column of their own, and name it: columns={'run': …}"
    if "run" in table.roles:
        hint = "remove the copies, or name the column that tells these rows apart, such as columns={'arm': …}"
    if others:
        hint = f"these rows differ in {others[0]!r}: if that makes two conditions, read it as 'arm'"
    raise DuplicateAnswerError(
        "an answer is there twice",
        where=table.place(second),
        found=", ".join(f"{role} {shown(str(table.roles[role][second]))}" for role in roles)
        + f", as in {table.place(first)}; {len(again):,} such rows",
        expected="one answer for each " + ", ".join(roles),
        hint=hint,
    )


def _refuse_row_numbers(table: Table) -> None:
    column = table.columns["persona"]
    _, people = _coded(table.roles["persona"])
    if len(people) == table.n:
        raise DataFormatError(
            "nobody answered twice", where=str(table.path), found=f"{table.n:,} rows, each of another {column!r}",
            expected="people who answer several items, or several times",
            hint=f"if {column!r} numbers the rows, name the column of the person: columns={{'persona': …}}",
        )  # fmt: skip


def _mixed(
    table: Table,
    codes: NDArray[np.int64],
    words: Sequence[str],
    counts: NDArray[np.int64],
    is_word: NDArray[np.bool_],
) -> DataFormatError:
    first = int(np.flatnonzero(is_word[codes])[0])
    commonest = sorted(np.flatnonzero(is_word).tolist(), key=lambda i: -counts[i])[:5]
    listed = ", ".join(f"{shown(words[i])} ({counts[i]:,})" for i in commonest)
    n = int(counts[is_word].sum())
    return DataFormatError(
        "numbers and words among the answers", where=table.place(first),
        found=f"{shown(words[codes[first]])}; {n:,} of {table.n:,} answers are words: {listed}",
        expected="numbers only, or words only",
        hint="name refusals with refusals=[…], or read all of them as categories with kind='categorical'",
    )  # fmt: skip


# --- what is said -----------------------------------------------------------------------------------------------


def _notes(
    words: Sequence[str], counts: NDArray[np.int64], empty: NDArray[np.bool_], refuses: NDArray[np.bool_]
) -> list[str]:
    notes = []
    for mask, what in ((empty, "unscored"), (refuses, "refusals")):
        found = Counter({words[i] or "empty": int(counts[i]) for i in np.flatnonzero(mask).tolist()})
        if found:
            parts = ", ".join(f"{n:,} {word if word == 'empty' else repr(word)}" for word, n in found.most_common(5))
            notes.append(f"{sum(found.values()):,} answers are {what}: {parts}")
    return notes


def _category_notes(labels: Sequence[str], n: int, *, asked: bool) -> list[str]:
    notes = [] if asked else [f"the answers are words and were read as {len(labels)} categories"]
    if n >= 20 and len(labels) > FREE_TEXT * n:
        notes.append(f"{len(labels):,} different answers among {n:,} look like texts: read that column as 'text'")
    folded = Counter(label.casefold() for label in labels)
    same = [label for label in labels if folded[label.casefold()] > 1]
    if same:
        notes.append(f"{' and '.join(map(repr, same[:2]))} differ in case only, and are two categories")
    return notes
