"""Rows of persona files, whatever the format, with the place each row came from."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from multitudes.core.errors import DataFormatError, MissingExtra, did_you_mean
from multitudes.core.toml import key_lines, line_of, not_utf8, parse, read_text

MAX_FINDINGS = 20
MAX_FIELD = 100_000  # characters; a persona that long is a quoting error, and no model reads it


class Row(NamedTuple):
    """One row as it was read: where it stands in the file, and its fields."""

    place: str
    data: dict[str, Any]


class Finding(NamedTuple):
    """One thing wrong with a file."""

    place: str
    field: str
    found: str
    expected: str

    def __str__(self) -> str:
        subject = f"{self.place}, {self.field!r}" if self.field else self.place
        return f"{subject}: found {self.found}, expected {self.expected}"


@dataclass
class Report:
    """What is wrong with one file, collected so that all of it can be mended at once."""

    path: Path
    findings: list[Finding] = field(default_factory=list)

    def add(self, place: str, name: str, found: str, expected: str) -> None:
        """Note a finding; the twentieth ends the reading."""
        self.findings.append(Finding(place, name, found, expected))
        if len(self.findings) >= MAX_FINDINGS:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Raise what was collected as one error."""
        n = len(self.findings)
        if n:
            many = f"the first {n} problems" if n >= MAX_FINDINGS else f"{n} problem" + "s" * (n > 1)
            raise DataFormatError(
                f"{many} in a file of personas",
                where=str(self.path),
                found="".join(f"\n    {f}" for f in self.findings),
                hint="mend these places, or remove the rows",
            )


def read_rows(path: Path, report: Report) -> Iterator[Row]:
    """Rows of ``path`` by its extension; ``.gz`` after it is fine for JSONL and CSV.

    Raises:
        DataFormatError: If the file as a whole cannot be read. Bad rows go to ``report``.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in READERS:
        raise DataFormatError(
            f"unknown extension {suffix!r}", where=str(path), expected=", ".join(READERS),
            hint=did_you_mean(suffix, READERS),
        )  # fmt: skip
    try:
        yield from READERS[suffix](path, report)
    except (OSError, EOFError) as error:
        raise DataFormatError("cannot be read", where=str(path), found=str(error), hint="check the path") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends, decoded one by one, so that a wrong byte is found where it is."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise not_utf8(f"{path}:{number}", error) from error


def _jsonl(path: Path, report: Report) -> Iterator[Row]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            data = json.loads(line)
        except json.JSONDecodeError as error:
            report.add(place, "", f"{error.msg} at column {error.colno}", "one JSON object a line")
            continue
        if isinstance(data, dict):
            yield Row(place, data)
        else:
            report.add(place, "", f"a JSON {type(data).__name__}", "a JSON object")


def _json(path: Path, report: Report) -> Iterator[Row]:
    text = read_text(path)
    if not text.strip():
        return
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        report.add(f"line {error.lineno}", "", f"{error.msg} at column {error.colno}", "JSON")
        return
    if isinstance(document, dict) and isinstance(document.get("personas"), list):
        document = document["personas"]
    for i, data in enumerate(document if isinstance(document, list) else [document], start=1):
        if isinstance(data, dict):
            yield Row(f"entry {i}", data)
        else:
            report.add(f"entry {i}", "", f"a JSON {type(data).__name__}", "a JSON object")


def _toml(path: Path, report: Report) -> Iterator[Row]:
    text = read_text(path)
    tables = parse(text, where=str(path)).get("personas", [])
    lines = key_lines(text)
    if not isinstance(tables, list):
        report.add(f"line {line_of(lines, ('personas',))}", "personas", "a value", "tables [[personas]]")
        return
    for i, data in enumerate(tables):
        place = f"line {line_of(lines, ('personas', i))}"
        if isinstance(data, dict):
            yield Row(place, data)
        else:
            report.add(place, "personas", repr(data), "tables [[personas]]")


def _csv(path: Path, report: Report) -> Iterator[Row]:
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    header: list[str] = []
    last = 0
    try:
        for values in reader:
            place, last = f"line {last + 1}", reader.line_num
            if not values:
                continue
            if not header:
                header = [name.strip() for name in values]
                for name in {n for n in header if header.count(n) > 1}:
                    report.add(place, name, "the same column twice", "different names in the header")
            elif len(values) != len(header):
                report.add(place, "", f"{len(values)} fields", f"{len(header)}, as in the header")
            else:
                yield Row(place, dict(zip(header, values, strict=True)))
    except csv.Error as error:
        report.add(f"line {last + 1}", "", str(error), 'fields under 131,072 characters, quotes doubled ("")')


def _parquet(path: Path, report: Report) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("parquet", "reading Parquet files") from error
    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for data in batch.to_pylist():
                    number += 1
                    yield Row(f"row {number}", data)
    except pyarrow.ArrowInvalid as error:
        report.add("file", "", str(error), "a Parquet file")


READERS: dict[str, Callable[[Path, Report], Iterator[Row]]] = {
    ".toml": _toml,
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
