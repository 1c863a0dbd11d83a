"""Readers of the public data sets behind the human anchors: files in, columns of ratings out."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitudes.core.errors import DataFormatError


class Ratings(NamedTuple):
    """Columns of a table of ratings."""

    value: list[float]
    person: list[str]
    item: list[str]


Reader = Callable[[Sequence[Path]], Ratings]


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line of a JSONL file, plain or gzipped, with where it stands."""
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
    with opened as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                where = f"{path.name}:{number}"
                try:
                    yield where, json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataFormatError("this line is no JSON", where=where, found=str(error)) from error


def field_of(row: Any, name: str, where: str) -> Any:
    """The value of a field that must be there."""
    if not isinstance(row, dict) or row.get(name) is None:
        names = list(row)[:12] if isinstance(row, dict) else type(row).__name__
        raise DataFormatError(f"there is no {name!r}", where=where, found=str(names), expected=f"a field {name!r}")
    return row[name]


def number_of(text: Any, where: str) -> float:
    """The number that a field holds."""
    try:
        return float(text)
    except (TypeError, ValueError) as error:
        raise DataFormatError("this is no number", where=where, found=repr(text)) from error


def csv_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row of a CSV file that has the needed columns, with where it stands."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        missing = [name for name in needed if name not in (rows.fieldnames or ())]
        if missing:
            raise DataFormatError(
                "columns are missing", where=path.name, found=", ".join(rows.fieldnames or ()),
                expected=", ".join(missing),
            )  # fmt: skip
        for row in rows:
            yield f"{path.name}:{rows.line_num}", row


def rating_lines(field: str) -> Reader:
    """One rating a line: ``item``, ``annotator`` and the rating under ``field``."""

    def read(files: Sequence[Path]) -> Ratings:
        out = Ratings([], [], [])
        for path in files:
            for where, row in json_lines(path):
                out.value.append(number_of(field_of(row, field, where), where))
                out.person.append(str(field_of(row, "annotator", where)))
                out.item.append(str(field_of(row, "item", where)))
        return out

    return read


def item_lines(files: Sequence[Path]) -> Ratings:
    """One item a line, with lists of annotators and labels."""
    out = Ratings([], [], [])
    for path in files:
        for where, row in json_lines(path):
            people, labels = field_of(row, "annotators", where), field_of(row, "labels", where)
            _add(out, where, str(field_of(row, "id", where)), people, labels)
    return out


def _add(out: Ratings, where: str, item: str, people: Sequence[Any], labels: Sequence[Any]) -> None:
    if len(people) != len(labels):
        raise DataFormatError(
            "annotators and annotations differ in number", where=where, found=f"{len(people)} and {len(labels)}"
        )
    out.value.extend(number_of(x, where) for x in labels)
    out.person.extend(str(p).strip() for p in people)
    out.item.extend([item] * len(labels))


def popquorn(files: Sequence[Path]) -> Ratings:
    """One rating a row, as in the repository of the data."""
    out = Ratings([], [], [])
    for path in files:
        for where, row in csv_rows(path, ("instance_id", "user_id", "offensiveness")):
            out.value.append(number_of(row["offensiveness"], where))
            out.person.append(row["user_id"])
            out.item.append(row["instance_id"])
    return out


def le_wi_di(files: Sequence[Path]) -> Ratings:
    """Items by id; annotators and annotations as comma-separated strings, or annotations by annotator.

    Ids start again in every split, so the file's name belongs to them. Items without annotations are left out: those
    of a test split may be withheld.
    """
    out = Ratings([], [], [])
    for path in files:
        try:
            items = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise DataFormatError("this file is no JSON", where=path.name, found=str(error)) from error
        if not isinstance(items, dict):
            raise DataFormatError("this file has no items by id", where=path.name, found=type(items).__name__)
        for key, row in items.items():
            where = f"{path.name}[{key}]"
            given = row.get("annotations") if isinstance(row, dict) else None
            if isinstance(given, dict):
                _add(out, where, f"{path.stem}-{key}", list(given), list(given.values()))
            elif given is not None and str(given).strip():
                people = str(field_of(row, "annotators", where)).split(",")
                _add(out, where, f"{path.stem}-{key}", people, str(given).split(","))
    return out
