"""Anybody's answers and texts as arrays: who answered what, in CSV, TSV, JSON lines, JSON or Parquet.

The columns of a file become *roles*. Obvious names are guessed and said; everything else is named by the caller.

| role | what it is | guessed from |
|---|---|---|
| ``persona`` | who answered | persona, person, annotator, respondent (each also with _id), user_id |
| ``item`` | what was asked | item, question (each also with _id), prompt_id |
| ``answer`` | a number or a category | answer, rating, label, response, score |
| ``text`` | what was written | text, output, completion |
| ``run`` | which repeat | run, replicate, sample |
| ``wording``, ``arm``, ``prompt``, ``model``, ``domain``, ``class`` | labels | their own names |
| ``paraphrase``, ``first``, ``second`` | further texts, of references and labelled pairs | their own names |
| ``temperature``, ``length``, ``weight``, ``tokens`` | numbers from 0; empty is NaN | their own names |
| ``valid``, ``different`` | true, false, 1, 0, yes or no | their own names |

Nothing is mended and nothing dropped in silence. A file with unreadable rows is refused with the first of them, or
read without them and with their count (``skip_invalid``). Spaces around labels and answers do not count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import ConfigError, DataFormatError, did_you_mean
from multitudes.simulate._columns import (
    MAX_FINDINGS,
    Cell,
    Columns,
    Finding,
    Nested,
    TableFormat,
    place,
    read_columns,
    shown,
)

GUESSES: dict[str, tuple[str, ...]] = {
    "persona": (
        "persona", "persona_id", "person", "person_id", "annotator", "annotator_id", "respondent", "respondent_id",
        "user_id",
    ),
    "item": ("item", "item_id", "question", "question_id", "prompt_id"),
    "answer": ("answer", "rating", "label", "response", "score"),
    "text": ("text", "output", "completion"),
    "run": ("run", "replicate", "sample"),
    **{role: (role,) for role in ("wording", "arm", "prompt", "model", "domain", "class")},
    **{role: (role,) for role in ("paraphrase", "first", "second")},
    **{role: (role,) for role in ("temperature", "length", "weight", "tokens", "valid", "different")},
}  # fmt: skip
NUMBERS = ("temperature", "length", "weight", "tokens")
TRUTHS = ("valid", "different")
REQUIRED = ("persona", "item", "answer")

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITE = frozenset({"inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"})
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_DIALOGUES = frozenset({"messages", "conversations", "turns"})


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A file as arrays, one row each.

    Attributes:
        path: The file.
        format: Its format.
        n: Rows that were read.
        roles: Array (n,) by role: labels, answers and texts are ``str`` (dtype object, "" where empty), numbers are
            float64 (NaN where empty), ``valid`` and ``different`` are bool. They cannot be written to.
        attributes: Labels (n,) of further columns the caller named, by column.
        columns: Column of the file by role.
        guessed: Roles whose column has another name and was guessed.
        unused: Columns of the file that were not read.
        lines: (n,) line of each row, or its number in JSON and Parquet.
        skipped: Rows that were dropped for a finding, with ``skip_invalid``.
        findings: The first of those findings.
        warnings: What a reader of the numbers should know, one sentence each.
    """

    path: Path
    format: TableFormat
    n: int
    roles: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, NDArray[Any]]
    columns: Mapping[str, str]
    guessed: tuple[str, ...]
    unused: tuple[str, ...]
    lines: NDArray[np.int64]
    skipped: int
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]

    def place(self, row: int) -> str:
        """File and line of a row."""
        return place(self.path, self.format, int(self.lines[row]))


def read_table(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    *,
    attributes: Sequence[str] = (),
    require: Sequence[str] = REQUIRED,
    skip_invalid: bool = False,
) -> Table:
    """The rows of a file of answers or texts.

    Args:
        path: CSV, TSV, JSONL (.ndjson), JSON (a list of objects) or Parquet; the text ones may be gzipped.
        columns: Column of the file by role; what is not named is guessed. See the table above.
        attributes: Further columns to keep, such as a person's age group.
        require: Roles that must be there; ``("text",)`` for a file of texts.
        skip_invalid: Drop unreadable rows and count them.

    Raises:
        DataFormatError: No such file, an unreadable one, no column for a required role, or unreadable rows: names
            the first with its line, and up to 19 more.
        ConfigError: An unknown role.
        MissingExtra: Parquet without the extra.
    """
    wanted = dict(columns or {})
    for role in (*wanted, *require):
        if role not in GUESSES:
            raise ConfigError("unknown role", where="columns", found=repr(role), hint=did_you_mean(role, GUESSES))
    raw = read_columns(Path(path))
    names = tuple(raw.columns)
    for name in (*wanted.values(), *attributes):
        if name not in raw.columns:
            raise DataFormatError(f"no column {name!r}", where=str(path), found=_listed(names),
                                  hint=did_you_mean(name, names))  # fmt: skip
    chosen, notes = _choose(raw, wanted, require)
    arrays, bad, findings = _read_cells(raw, chosen, attributes)
    findings = sorted([*raw.findings, *findings])[:MAX_FINDINGS]
    skipped = raw.skipped + int(bad.sum())
    n = len(bad) - int(bad.sum())
    if skipped and not (skip_invalid and n):
        raise _error(raw, findings, skipped)
    if skipped:
        notes.append(f"{skipped:,} unreadable rows were skipped, the first in {raw.place(findings[0].line)}")
    kept = {name: _frozen(array[~bad] if bad.any() else array) for name, array in arrays.items()}
    for role in chosen:
        empty = int((kept[role] == "").sum()) if role not in (*NUMBERS, *TRUTHS, "answer") else 0
        if empty:
            notes.append(f"{role!r} is empty in {empty:,} rows; they share the label ''")
    return Table(
        path=Path(path),
        format=raw.format,
        n=n,
        roles={role: kept[role] for role in chosen},
        attributes={name: kept[_attribute(name)] for name in attributes},
        columns=chosen,
        guessed=tuple(role for role, name in chosen.items() if role not in wanted and name != role),
        unused=tuple(name for name in names if name not in {*chosen.values(), *attributes}),
        lines=_frozen(np.array(raw.lines, dtype=np.int64)[~bad]),
        skipped=skipped,
        findings=tuple(findings),
        warnings=tuple(notes),
    )


# --- columns ----------------------------------------------------------------------------------------------------


def _listed(names: Sequence[str]) -> str:
    return "columns " + ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def _choose(raw: Columns, wanted: Mapping[str, str], require: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Column by role: what was asked for, then what can be guessed. A role with two candidates is not guessed."""
    chosen, notes = dict(wanted), []
    plain = {
        name: re.sub(r"[\s-]+", "_", name.strip().casefold()) for name in raw.columns if name not in wanted.values()
    }
    for role, guesses in GUESSES.items():
        if role in chosen:
            continue
        own = [role] if role in plain else [name for name in plain if plain[name] == role]
        candidates = own or [name for guess in guesses for name in plain if plain[name] == guess]
        if not candidates:
            continue
        if len(candidates) == 1:
            chosen[role] = candidates[0]
            if candidates[0] != role:
                notes.append(f"column {candidates[0]!r} was taken for {role!r}")
        elif role in require:
            raise DataFormatError(
                f"several columns may be {role!r}", where=str(raw.path), found=" and ".join(map(repr, candidates)),
                expected="one", hint=f"say which: columns={{{role!r}: {candidates[0]!r}}}",
            )  # fmt: skip
        else:
            notes.append(f"{role!r} was not read: {' and '.join(map(repr, candidates))} may be it")
    missing = [role for role in require if role not in chosen]
    if missing:
        raise _no_column(raw, missing[0])
    return chosen, notes


def _no_column(raw: Columns, role: str) -> DataFormatError:
    names = list(raw.columns)
    if _DIALOGUES & {name.casefold() for name in names}:
        hint = "these look like dialogues: read them as transcripts"
    elif len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        hint = "the columns are not separated by commas: export CSV with commas, or name a file with tabs .tsv"
    elif all(_NUMBER.fullmatch(name) for name in names):
        hint = "the first row holds data: put the names of the columns above it"
    else:
        hint = f"{did_you_mean(role, names)} Say which: columns={{{role!r}: …}}"
    return DataFormatError(
        f"no column for {role!r}", where=str(raw.path), found=_listed(names),
        expected="a column named " + ", ".join(GUESSES[role]), hint=hint,
    )  # fmt: skip


# --- cells ------------------------------------------------------------------------------------------------------


class _Problem(NamedTuple):
    what: str
    found: str
    expected: str


def _attribute(name: str) -> str:
    return f"attribute {name}"


def _read_cells(
    raw: Columns, chosen: Mapping[str, str], attributes: Sequence[str]
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_], list[Finding]]:
    """Arrays by role and attribute, which rows hold a bad cell, and the first of those cells."""
    bad = np.zeros(len(raw.lines), dtype=bool)
    arrays: dict[str, NDArray[Any]] = {}
    findings: list[Finding] = []
    for key, name in {**chosen, **{_attribute(name): name for name in attributes}}.items():
        column = raw.columns[name]
        read, blank, dtype = _reader(key)
        values = [_checked(cell, read) for cell in column.values]
        codes = column.codes
        wrong = np.array([isinstance(value, _Problem) for value in values], dtype=bool)
        if wrong.any():
            rows = np.flatnonzero(wrong[codes])
            bad[rows] = True
            for row in rows[:MAX_FINDINGS]:
                what, found, expected = values[codes[row]]
                findings.append(Finding(raw.lines[row], f"{what} in column {name!r}", found, expected))
        lookup = np.empty(len(values), dtype=dtype)
        lookup[:] = [blank if isinstance(value, _Problem) else value for value in values]
        arrays[key] = lookup[codes]
    return arrays, bad, findings


def _reader(key: str) -> tuple[Callable[[str], Any], Any, Any]:
    """How cells of a role are read, what stands for a bad one, and the type of the array."""
    if key in NUMBERS:
        return _number, np.nan, np.float64
    readers: dict[str, Callable[[str], Any]] = {
        **dict.fromkeys(TRUTHS, _truth), "persona": _named, "item": _named, "answer": _answer, "text": str
    }  # fmt: skip
    truth = key in TRUTHS
    return readers.get(key, str.strip), (False if truth else ""), (np.bool_ if truth else object)


def _checked(cell: Cell, read: Callable[[str], Any]) -> Any:
    if isinstance(cell, Nested):
        return _Problem(f"a nested value ({cell.kind})", cell.shown, "one text, number or truth value")
    text = cell or ""
    if "\0" in text:
        return _Problem("NUL bytes", shown(text), "text")
    try:
        text.encode()
    except UnicodeEncodeError:
        return _Problem("half of a surrogate pair", shown(text), "Unicode text")
    return read(text)


def _named(text: str) -> Any:
    return text.strip() or _Problem("no label", "an empty cell", "who, or what, as a label")


def _answer(text: str) -> Any:
    plain = text.strip()
    value = parse_number(plain)
    if plain.casefold() in _INFINITE or (value is not None and math.isinf(value)):
        return _Problem("an infinite number", shown(plain), "a finite number, a word, or nothing")
    return plain


def _number(text: str) -> Any:
    plain = text.strip()
    if plain.casefold() in ("", "na", "nan", "null"):
        return np.nan
    value = parse_number(plain)
    if value is None or not 0 <= value < math.inf:
        return _Problem("no number", shown(plain), "a finite number from 0, or nothing")
    return value


def _truth(text: str) -> Any:
    plain = text.strip().casefold()
    return _TRUTH.get(plain, _Problem("neither true nor false", shown(text), "true, false, 1, 0, yes or no"))


def parse_number(text: str) -> float | None:
    """The number a text writes in decimal, None where it writes none; infinite where it is too large.

    >>> parse_number("-2.5e1"), parse_number("1_000"), parse_number("3,5")
    (-25.0, None, None)
    """
    return float(text) if _NUMBER.fullmatch(text) else None


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _error(raw: Columns, findings: Sequence[Finding], n: int) -> DataFormatError:
    first = findings[0]
    rest = "".join(f"\n    {raw.place(f.line)}: {f.what}, found {f.found}" for f in findings[1:])
    more = f"; {n:,} rows in all, the next:{rest}" if n > 1 else ""
    return DataFormatError(
        first.what, where=raw.place(first.line), found=first.found, expected=first.expected + more,
        hint="mend these rows, or leave them out and count them with skip_invalid=True (--skip-invalid)",
    )  # fmt: skip


def is_table(path: str | Path) -> bool:
    """Whether the name says that a file is a table; JSON lines may be a table or dialogues."""
    suffixes = [x for x in Path(path).suffixes if x != ".gz"]
    return bool(suffixes) and suffixes[-1].casefold() in (".csv", ".tsv", ".parquet")
