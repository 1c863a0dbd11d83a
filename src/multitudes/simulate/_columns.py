"""Files of rows as columns: CSV, TSV, JSON lines, JSON and Parquet. Every cell is a text, every row has a place.

Cells are stored once per distinct value, as codes into a list of values, so that a million rows of a few hundred
people cost eight bytes a cell, and what is checked of a value is checked once. What makes one row unreadable is a
finding, so that rows can be dropped and counted. What makes it unknowable where rows begin and end, or how many are
lost, ends the reading: a cut gzip file, bytes that are not UTF-8, an unclosed quote.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from array import array
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from multitudes.core.errors import DataFormatError, MissingExtra, did_you_mean
from multitudes.core.toml import not_utf8

TableFormat = Literal["csv", "tsv", "jsonl", "json", "parquet"]
SUFFIXES: dict[str, TableFormat] = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"
}  # fmt: skip
MAX_FINDINGS = 20  # as many as a reader mends in one go
_SHOWN = 80  # characters of a cell in a message
_ROWS_AT_ONCE = 16_384
_QUOTING = 'close every quote, double quotes inside a field (""), keep fields under 131,072 characters; or use JSONL'


class Nested(NamedTuple):
    """A cell that holds a list, an object or bytes: no answer, no label, no text."""

    kind: str
    shown: str


Cell = str | Nested | None


class Finding(NamedTuple):
    """What is wrong with one row.

    Attributes:
        line: Line, entry or row of the file, from 1.
        what: What is wrong, and in which column.
        found: What is there.
        expected: What would be right.
    """

    line: int
    what: str
    found: str
    expected: str


class Column:
    """Cells of one column as codes into its distinct values, in order of their first appearance."""

    def __init__(self, n_missing: int = 0) -> None:
        self._index: dict[Cell, int] = {None: 0} if n_missing else {}
        self._codes = array("q", bytes(8 * n_missing))

    def extend(self, cells: Iterable[Cell]) -> None:
        """Add cells at the end."""
        index = self._index
        self._codes.extend([index.setdefault(cell, len(index)) for cell in cells])

    @property
    def values(self) -> list[Cell]:
        """The distinct values."""
        return list(self._index)

    @property
    def codes(self) -> NDArray[np.int64]:
        """(n,) which of the values each row has."""
        return np.array(self._codes, dtype=np.int64)


@dataclass
class Columns:
    """A file as it was read.

    Attributes:
        path: The file.
        format: Its format.
        columns: By name, in the order of the file.
        lines: Line, entry or row of each row that was read.
        findings: The first unreadable rows.
        skipped: How many there are.
    """

    path: Path
    format: TableFormat
    columns: dict[str, Column] = field(default_factory=dict)
    lines: array[int] = field(default_factory=lambda: array("q"))
    findings: list[Finding] = field(default_factory=list)
    skipped: int = 0

    def add(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Add rows whose cells are in the order of the columns."""
        if rows:
            for column, cells in zip(self.columns.values(), zip(*rows, strict=True), strict=True):
                column.extend(cells)

    def reject(self, line: int, what: str, found: str, expected: str) -> None:
        """Note a row that could not be read."""
        self.skipped += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(line, what, found, expected))

    def place(self, line: int) -> str:
        """The file and where in it."""
        return place(self.path, self.format, line)

    def fail(self, line: int, what: str, **details: str) -> NoReturn:
        """End the reading."""
        raise DataFormatError(what, where=self.place(line) if line else str(self.path), **details)


def place(path: Path, format: TableFormat, line: int) -> str:
    """``FILE:LINE``, or the number of the row where a format has no lines."""
    return f"{path}, row {line}" if format in ("json", "parquet") else f"{path}:{line}"


def shown(text: str) -> str:
    """A cell as it stands in a message."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def read_columns(path: Path) -> Columns:
    """The columns of a file, by its extension; gzip is recognised by content.

    Raises:
        DataFormatError: The file as a whole cannot be read. Unreadable rows are findings.
        MissingExtra: Parquet without the extra.
    """
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in SUFFIXES:
        raise DataFormatError(
            f"unknown extension {suffix!r}", where=str(path), expected=", ".join(SUFFIXES) + ", or .gz after a text",
            hint=did_you_mean(suffix, SUFFIXES),
        )  # fmt: skip
    if not path.is_file():
        raise DataFormatError("no such file", where=str(path), expected="a table of answers", hint="check the path")
    out = Columns(path, SUFFIXES[suffix])
    try:
        packed = _check_content(out)
        if out.format == "parquet":
            _parquet(out)
        else:
            with gzip.open(path, "rb") if packed else path.open("rb") as stream:
                _TEXTS[out.format](out, stream)  # type: ignore[arg-type]
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        last = out.lines[-1] if out.lines else 0
        out.fail(0, "a damaged gzip file", found=f"{error} after line {last}", expected="a whole file",
                 hint="copy or download it again: how many rows are lost cannot be known")  # fmt: skip
    except UnicodeDecodeError as error:
        raise _first_not_utf8(out, packed, error) from error
    except OSError as error:
        out.fail(0, "cannot be read", found=error.strerror or str(error), hint="check the file and its permissions")
    if not out.columns:
        out.fail(0, "an empty file", expected="column names and at least one row")
    if not out.lines and not out.skipped:
        out.fail(0, "no rows", found="column names only: " + ", ".join(out.columns), expected="at least one row")
    return out


def _check_content(out: Columns) -> bool:
    """Whether the file is packed; refuses what its extension does not promise."""
    with out.path.open("rb") as stream:
        head = stream.read(4)
    packed = head[:2] == b"\x1f\x8b"
    if out.path.name.lower().endswith(".gz") and head and not packed:
        out.fail(0, "not a gzip file", found=f"it begins with {head!r}", hint="unpacked? then drop .gz from its name")
    kinds = {b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip archive, such as an Excel workbook"}
    if out.format == "parquet" and head != b"PAR1":
        found = "a gzip file" if packed else "an empty file" if not head else f"it begins with {head!r}"
        out.fail(0, "not a Parquet file", found=found, expected="a file that begins with b'PAR1'")
    if out.format != "parquet" and head in kinds:
        out.fail(
            0, f"not a {out.format.upper()} file", found=kinds[head], hint="name it by what it is, or export CSV"
        )
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        out.fail(0, "the file is not UTF-8", found="UTF-16", expected="UTF-8 text",
                 hint="save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8 OLD > NEW")  # fmt: skip
    return packed


def _first_not_utf8(out: Columns, packed: bool, error: UnicodeDecodeError) -> DataFormatError:
    """Where the first wrong byte is: readers decode in blocks, which have no lines."""
    if out.format != "parquet":
        with gzip.open(out.path, "rb") if packed else out.path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    line.decode()
                except UnicodeDecodeError as found:
                    return not_utf8(f"{out.path}:{number}", found)
    return not_utf8(str(out.path), error)


# --- formats ----------------------------------------------------------------------------------------------------


def _separated(out: Columns, stream: IO[bytes]) -> None:
    reader = csv.reader(
        io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""),
        delimiter="\t" if out.format == "tsv" else ",",
        strict=True,
    )
    last, width = 0, 0
    rows: list[list[str]] = []
    try:
        for cells in reader:
            line, last = last + 1, reader.line_num
            if not cells:
                continue
            if not width:
                _set_header(out, [name.strip() for name in cells], line)
                width = len(cells)
                continue
            if len(cells) != width:
                _reject_ragged(out, cells, line, last, width)
                continue
            rows.append(cells)
            out.lines.append(line)
            if len(rows) == _ROWS_AT_ONCE:
                out.add(rows)
                rows.clear()
    except csv.Error as error:
        out.fail(last + 1, "fields cannot be told apart", found=str(error), expected=_QUOTING)
    out.add(rows)


def _reject_ragged(out: Columns, cells: Sequence[str], line: int, last: int, width: int) -> None:
    lines = f" in lines {line} to {last}" if last > line else ""
    what = "NUL bytes in a row" if any("\0" in cell for cell in cells) else "a row of another length"
    out.reject(line, what, f"{len(cells)} fields{lines}", f"{width}, as in the header")


def _set_header(out: Columns, names: Sequence[str], line: int) -> None:
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        out.fail(line, "a column name twice", found=repr(twice[0]), expected="every name once", hint="rename one")
    if any("\0" in name for name in names):
        out.fail(line, "NUL bytes in the header", found=shown(names[0]), expected="UTF-8 text")
    out.columns = {name: Column() for name in names}


class _TwoKeys(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwoKeys(next(name for i, name in enumerate(names) if name in names[:i]))
    return found


_DECODE = json.JSONDecoder(object_pairs_hook=_object).decode


def _lines(out: Columns, stream: IO[bytes]) -> None:
    records: list[tuple[int, Any]] = []
    for line, raw in enumerate(stream, start=1):
        text = raw.decode("utf-8-sig" if line == 1 else "utf-8").strip()
        if not text:
            continue
        try:
            records.append((line, _DECODE(text)))
        except _TwoKeys as error:
            out.reject(line, "a key twice in one object", repr(str(error)), "every key once")
        except (ValueError, RecursionError) as error:
            out.reject(line, "not JSON", f"{error} in {shown(text)}", "one JSON object a line")
        if len(records) == _ROWS_AT_ONCE:
            _add_records(out, records)
            records.clear()
    _add_records(out, records)


def _list(out: Columns, stream: IO[bytes]) -> None:
    text = stream.read().decode("utf-8-sig").strip()
    if not text:
        return
    try:
        document = _DECODE(text)
    except json.JSONDecodeError as error:
        hint = "if it holds one object a line, name it .jsonl" if error.msg == "Extra data" else "mend that line"
        raise DataFormatError("not JSON", where=f"{out.path}:{error.lineno}", found=f"{error.msg} at column "
                              f"{error.colno}", expected="a list of objects", hint=hint) from error  # fmt: skip
    except (ValueError, RecursionError) as error:
        out.fail(0, "not JSON that can be read", found=str(error), expected="a list of objects, every key once")
    if not isinstance(document, list):
        out.fail(0, "not a list of objects", found=f"a JSON {_kind(document)}", expected='[{"persona": …}, …]',
                 hint='write one object a row (in pandas: orient="records")')  # fmt: skip
    _add_records(out, list(enumerate(document, start=1)))


def _add_records(out: Columns, records: Sequence[tuple[int, Any]]) -> None:
    """Add objects; a key that comes up late was empty before, and one that is left out is empty."""
    good = []
    for line, record in records:
        if isinstance(record, dict) and record:
            good.append((line, record))
        else:
            found = "{}" if record == {} else f"a JSON {_kind(record)}"
            out.reject(line, "not an object with keys", found, 'an object such as {"persona": …}')
    for name in dict.fromkeys(name for _, record in good for name in record):
        out.columns.setdefault(name, Column(len(out.lines)))
    out.lines.extend(line for line, _ in good)
    for name, column in out.columns.items():
        cells = [record.get(name) for _, record in good]
        column.extend([cell if type(cell) is str else _cell(cell) for cell in cells])


def _parquet(out: Columns) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("parquet", "reading Parquet files") from error
    try:
        with closing(parquet.ParquetFile(out.path)) as file:
            _set_header(out, file.schema_arrow.names, 0)
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                start = len(out.lines)
                out.lines.extend(range(start + 1, start + batch.num_rows + 1))
                for column, cells in zip(out.columns.values(), batch.columns, strict=True):
                    column.extend(map(_cell, cells.to_pylist()))
    except (pyarrow.ArrowException, OSError) as error:
        out.fail(0, "a Parquet file that cannot be read", found=str(error).strip().splitlines()[0][:200],
                 expected="a whole Parquet file", hint="write or download it again")  # fmt: skip


def _cell(value: Any) -> Cell:
    """A value as text: numbers so that reading them again gives the same number, truth as true and false."""
    if value is None or type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Decimal | date | time):
        return str(value)
    return Nested(_kind(value), shown(str(value)))


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", str: "text", int: "number", float: "number", bool: "truth value"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


_TEXTS = {"csv": _separated, "tsv": _separated, "jsonl": _lines, "json": _list}
